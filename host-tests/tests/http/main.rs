//! The HTTP service over real sockets: in this process with a controlled clock and guard, and as
//! the program `clawdb-session serve`.

mod bounds;
mod clock;
mod connection;
mod events;
mod failures;
mod floods;
mod guard_keys;
mod housekeeping;
mod logout;
mod program;
mod protocol;
mod refusals;
mod resets;
mod rotation;
mod service;
mod sessions;
mod slow_clients;
mod slow_guard;
mod tokens;
mod workspaces;
