//! Replays the kept inputs of each target, without a fuzzer, and changed copies of them.
//!
//! `FUZZ_SECONDS` is how long copies of each target's inputs are changed and replayed (1 second).
//! Unlike a fuzzer, this does not measure which code an input reaches.

mod corpus;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use corpus::{corpus, folder};
use fuzz_targets::TARGETS;

/// The longest input.
const MAX_LEN: usize = 4_096;

#[test]
fn the_inputs_of_each_corpus_break_no_promise() {
    for (name, run) in TARGETS {
        for (path, input) in corpus(name) {
            // The output of a failed test has the input.
            println!("{}", path.display());
            run(&input);
        }
    }
}

#[test]
fn changed_copies_of_the_inputs_break_no_promise() {
    let seconds = std::env::var("FUZZ_SECONDS").map_or(1, |text| text.parse().unwrap());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let mut random = Random(now.unwrap().as_secs());
    for (name, run) in TARGETS {
        let corpus = corpus(name);
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut count = 0;
        while Instant::now() < end {
            let input = changed(&corpus, &mut random);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&input))) {
                let artifacts = folder("artifacts", name);
                fs::create_dir_all(&artifacts).unwrap();
                let path = artifacts.join(format!("changed-{count}"));
                fs::write(&path, &input).unwrap();
                println!("the input is in {}", path.display());
                resume_unwind(panic);
            }
            count += 1;
        }
        println!("{name}: {count} changed inputs");
        assert!(count > 0);
    }
}

/// Returns a copy of an input with one to four changes.
fn changed(corpus: &[(PathBuf, Vec<u8>)], random: &mut Random) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].1.clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let end = at + random.below(input.len() - at + 1).min(64);
        match random.below(5) {
            // A byte is changed.
            0 if at < input.len() => input[at] = random.byte(),
            1 if at < input.len() => input[at] ^= 1 << random.below(8),
            // A part is removed, repeated, or replaced by a part of another input.
            2 => drop(input.drain(at..end)),
            3 => {
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            _ => {
                let other = &corpus[random.below(corpus.len())].1;
                let from = random.below(other.len() + 1);
                let to = from + random.below(other.len() - from + 1).min(256);
                input.splice(at..end, other[from..to].iter().copied());
            }
        }
    }
    input.truncate(MAX_LEN);
    input
}

/// A generator of random numbers (`SplitMix64`).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}
