//! The memory that a manager keeps when everything has ended (R21), over the kept inputs.
//!
//! A manager that was used keeps more than one that was only configured. This does not depend on
//! how many sessions it has had:
//!
//! - the newest events, which callers can still read;
//! - of each table, the list of its 256 parts, which are empty (`collections/table.rs`);
//! - of each slab and each ordered set, the first places, so that one that often becomes empty does
//!   not allocate each time; the key of the fingerprints; and the list of active cut-offs;
//! - with a state key, places in the feed for the most records that it had at a time, because the
//!   meta record stays in it. This does depend on the sessions. The inputs need few of them.
//!
//! The allocator counts the bytes that the thread of the test requests and returns.

mod corpus;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

use allocation_counter::measure;
use clawdb_session::{Config, Event};
use fuzz_targets::TARGETS;
use fuzz_targets::operations::{run_to_end, unused};

use corpus::corpus;

/// A part of a table.
type Shard = Option<HashMap<[u8; 8], u32, BuildHasherDefault<DefaultHasher>>>;

/// The bytes of the list of a table's parts.
const TABLE: usize = 256 * size_of::<Shard>();
/// The tables of the sessions: by id, reserved ids, by token, handles, agents, roles, outcomes.
const TABLES: usize = 7;
/// The tables of the feed: tombstones, revocations, cut-offs.
const FEED_TABLES: usize = 3;
/// The bytes of the first places of slabs and ordered sets, and of what is kept once.
const FIRST_PLACES: usize = 6 << 10;
/// The bytes of the places of the feed for the records of an input.
const FEED_PLACES: usize = 4 << 10;
/// The bytes that the test would notice if each session of an input left them behind.
const NOTICED: usize = 256;

/// Returns the most bytes that a manager with this configuration keeps, without its events, in
/// addition to those of one that was only configured.
fn bound(config: &Config) -> usize {
    let feed = config.state_key.is_some();
    let feed = usize::from(feed) * (FEED_TABLES * TABLE + FEED_PLACES);
    TABLES * TABLE + FIRST_PLACES + feed
}

/// Returns the bytes of the ring of events after this many events. Its capacity doubles.
fn event_bytes(recorded: u64, config: &Config) -> usize {
    let most = config.event_capacity.unwrap().into();
    let kept = usize::try_from(recorded.min(most)).unwrap();
    let capacity = if kept == 0 {
        0
    } else {
        kept.next_power_of_two().max(4)
    };
    capacity * size_of::<Event>()
}

/// Returns what a function returns, and how many bytes more are allocated after it than before.
fn with_bytes<T>(function: impl FnOnce() -> T) -> (T, usize) {
    let mut result = None;
    let allocated = measure(|| result = Some(function()));
    let bytes = usize::try_from(allocated.bytes_current).unwrap();
    (result.unwrap(), bytes)
}

#[test]
fn r21_a_manager_in_which_everything_has_ended_keeps_no_memory_of_sessions() {
    let mut is_noticed = false;
    for (path, input) in corpus("operations") {
        let ((manager, config), used) = with_bytes(|| run_to_end(&input));
        let (_unused, base) = with_bytes(|| unused(&config));
        let stats = manager.stats();
        let kept = used - base - event_bytes(stats.last_event, &config);
        let sessions = usize::try_from(stats.totals.created).unwrap();
        let bound = bound(&config);
        assert!(
            kept <= bound,
            "{}: {kept} bytes are kept after {sessions} sessions, at most {bound} are expected",
            path.display()
        );
        is_noticed |= kept + NOTICED * sessions > bound;
    }
    assert!(
        is_noticed,
        "no input has enough sessions to notice {NOTICED} bytes that each leaves behind"
    );
}

#[test]
fn a_manager_that_is_dropped_frees_all_its_memory() {
    for (name, run) in TARGETS {
        for (path, input) in corpus(name) {
            let allocated = measure(|| run(&input));
            let left = (allocated.count_current, allocated.bytes_current);
            assert_eq!(left, (0, 0), "{}", path.display());
        }
    }
}
