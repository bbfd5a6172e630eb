//! A durable host loses no acknowledged change, whatever happens to its instance, its journal, its
//! ownership of the tenant, or the component's build.

mod chaos;
mod events;
mod fencing;
mod fixture;
mod journal;
mod keys;
mod supervisor;
mod survival;
mod tenants;
mod upgrade;
