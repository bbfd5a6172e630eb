//! Looks for a difference between the times in which wrong tokens are refused, as dudect does
//! (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2017).
//!
//! Two classes of tokens of the same length are presented in a random order: tokens that differ
//! from a valid one in their last characters, and tokens of random characters. Welch's t-test
//! compares the times, once with all of them and once each without the longest, which other
//! programs cause. A |t| above 10 means that an attacker can tell the classes apart, and fails.
//!
//! A valid token takes longer, because the guard is asked. The figures show by how much.
//!
//! ```text
//! cargo bench -p clawdb-session-bench-core --bench timing
//! ```

mod fixture;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use clawdb_session::{Entropy, Token};

use fixture::{SeededEntropy, complete, manager_with_sessions};

const SESSIONS: u64 = 1_000;
/// The number of measurements of both classes together.
const MEASUREMENTS: usize = 1_000_000;
/// How many tokens are made at a time.
const BATCH: usize = 1_000;
/// The number of characters at the end in which a nearly valid token differs.
const RANDOM_END: usize = 8;
/// The parts of the measurements, in percent, that are compared: the shortest ones.
const PARTS: [usize; 5] = [100, 99, 95, 90, 50];
/// The threshold above which dudect reports a difference.
const MAX_T: f64 = 10.0;

/// The classes of tokens.
const CLASSES: [&str; 3] = ["nearly valid", "random", "valid"];

fn main() -> ExitCode {
    let mut valid = Vec::new();
    let manager = manager_with_sessions(SESSIONS, |_, grant| valid.push(grant.token));
    let random = SeededEntropy::default();
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..MEASUREMENTS / BATCH {
        // The tokens are made before the first is presented, so that making one affects no time.
        let tokens: Vec<_> = (0..BATCH)
            .map(|number| token(number, &valid, &random))
            .collect();
        for (class, token) in tokens {
            let started = Instant::now();
            let answer = complete(manager.validate(token));
            let time = started.elapsed();
            drop(black_box(answer));
            times[class].push(time.as_secs_f64() * 1e9);
        }
    }
    for times in &mut times {
        times.sort_unstable_by(f64::total_cmp);
    }
    for (class, times) in CLASSES.iter().zip(&times) {
        println!(
            "{class}: {} calls, median {:.0} ns",
            times.len(),
            times[times.len() / 2]
        );
    }
    let mut is_constant = true;
    let mut both = [&times[0][..], &times[1]].concat();
    both.sort_unstable_by(f64::total_cmp);
    for part in PARTS {
        let longest = both[(both.len() - 1) * part / 100];
        let [a, b] = [&times[0], &times[1]]
            .map(|times| &times[..times.partition_point(|time| *time <= longest)]);
        let t = welch(a, b);
        println!("the shortest {part} %: t = {t:.2}");
        is_constant &= t.abs() <= MAX_T;
    }
    if is_constant {
        ExitCode::SUCCESS
    } else {
        println!("error: the times of the two classes differ");
        ExitCode::FAILURE
    }
}

/// Returns the class and the text of a token: one of ten is valid. Each wrong token is another one,
/// so that no place in a table of the core is that of a class.
fn token(number: usize, valid: &[Token], random: &SeededEntropy) -> (usize, Token) {
    let mut bytes = [0; 64];
    random.fill(&mut bytes).expect("the bytes are computed");
    let class = if number % 10 == 0 {
        2
    } else {
        usize::from(bytes[0] % 2)
    };
    let place = usize::from(u16::from_le_bytes([bytes[1], bytes[2]]));
    let valid = valid[place % valid.len()].expose();
    let kept = [valid.len() - RANDOM_END, 0, valid.len()][class];
    // No valid token has these letters.
    let letters = bytes[3..].iter().map(|byte| b'g' + byte % 16);
    let mut text: Vec<u8> = letters.take(valid.len()).collect();
    text[..kept].copy_from_slice(&valid.as_bytes()[..kept]);
    let text = String::from_utf8(text).expect("the letters are ASCII");
    (
        class,
        Token::parse(text).expect("the token is short enough"),
    )
}

/// Returns the statistic of Welch's t-test.
#[expect(clippy::cast_precision_loss, reason = "the counts are below 2^52")]
fn welch(a: &[f64], b: &[f64]) -> f64 {
    let moments = |times: &[f64]| {
        let count = times.len() as f64;
        let mean = times.iter().sum::<f64>() / count;
        let squares = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>();
        (mean, squares / (count - 1.0) / count)
    };
    let ((mean_a, variance_a), (mean_b, variance_b)) = (moments(a), moments(b));
    (mean_a - mean_b) / (variance_a + variance_b).sqrt()
}
