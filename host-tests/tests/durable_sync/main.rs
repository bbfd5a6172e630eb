//! The tests of `durable` in the world `session-sync`, except those whose calls overlap.

use clawdb_session_host::World;

#[path = "../durable/chaos.rs"]
mod chaos;
#[path = "../durable/events.rs"]
mod events;
#[path = "../durable/fencing.rs"]
mod fencing;
#[path = "../durable/fixture.rs"]
mod fixture;
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

/// The world in which the tests run.
const WORLD: World = World::SessionSync;
