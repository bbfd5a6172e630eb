//! A durable host loses no acknowledged change, whatever happens to its instance, its journal, its
//! ownership of the tenant, or the component's build. These tests are in the world `session`.
//! `durable_sync` has those that can run in the world `session-sync`.

use clawdb_session_host::World;

mod calling_guard;
mod calling_guard_overlap;
mod chaos;
mod events;
mod fencing;
mod fixture;
mod journal;
mod keys;
mod overlap;
mod supervisor;
mod survival;
mod tenants;
mod upgrade;

/// The world in which the tests run.
const WORLD: World = World::Session;
