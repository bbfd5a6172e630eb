//! The tests of `durable` in the world `session-sync`, except those whose calls overlap.
//! `interludes` and `waiting_guard` have tests of this world only.

use clawdb_session_host::World;

#[path = "../durable/calling_guard.rs"]
mod calling_guard;
#[path = "../durable/chaos.rs"]
mod chaos;
#[path = "../durable/events.rs"]
mod events;
#[path = "../durable/fencing.rs"]
mod fencing;
#[path = "../durable/fixture.rs"]
mod fixture;
mod interludes;
#[path = "../durable/journal.rs"]
mod journal;
#[path = "../durable/keys.rs"]
mod keys;
#[path = "../durable/supervisor.rs"]
mod supervisor;
#[path = "../durable/survival.rs"]
mod survival;
#[path = "../durable/tenants.rs"]
mod tenants;
#[path = "../durable/upgrade.rs"]
mod upgrade;
mod waiting_guard;

/// The world in which the tests run.
const WORLD: World = World::SessionSync;
