//! The target `nats`: the messages of a stream, and the index of a writer.

use clawdb_session_journal_nats::checks;

/// Reads a message, or uses an index, as the first byte says.
///
/// # Panics
/// If a promise is broken.
pub fn run(input: &[u8]) {
    match input.split_first() {
        Some((b'i', steps)) => checks::use_index(steps),
        _ => checks::read_message(input),
    }
}
