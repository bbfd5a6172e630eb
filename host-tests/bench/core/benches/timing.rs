//! Looks for a difference between the times in which wrong tokens are refused, as dudect does
//! (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2017).
//!
//! Two classes of tokens of the same length are presented in a random order. Welch's t-test
//! compares the times, once with all of them and once each without the longest, which other
//! programs cause. A |t| above 10 means that an attacker can tell the classes apart, and fails.
//!
//! - The core (`validate`, `rotate` and `revoke_by_token`): tokens that differ from a valid one in
//!   their last characters, and tokens of random characters.
//! - The JWT guard: tokens of which the first byte of the signature is wrong, and tokens of which
//!   the last byte is.
//!
//! In a control, a comparison that ends at the first different byte precedes `validate`. The test
//! fails if it does not find that difference, because then it could miss others too.
//!
//! A valid token takes longer: the core asks its guard, and the JWT guard reads the claims. The
//! figures show by how much. `rotate` and `revoke_by_token` get no valid token, because it would
//! change a session.
//!
//! ```text
//! cargo bench -p clawdb-session-bench-core --bench timing
//! ```

mod fixture;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use clawdb_session::{Entropy, Token};
use clawdb_session_guard_jwt_core::{Key, Keys, TokenRequest, Tokens};
use uuid::Uuid;

use fixture::{SeededEntropy, complete, manager_with_sessions};

const SESSIONS: u64 = 1_000;
/// The number of measurements of all classes together.
const MEASUREMENTS: usize = 1_000_000;
/// How many tokens are made at a time.
const BATCH: usize = 1_000;
/// The number of characters at the end in which a nearly valid token differs.
const RANDOM_END: usize = 8;
/// The parts of the measurements, in percent, that are compared: the shortest ones.
const PARTS: [usize; 5] = [100, 99, 95, 90, 50];
/// The threshold above which dudect reports a difference.
const MAX_T: f64 = 10.0;

/// The class of valid tokens, after the two classes of wrong ones.
const VALID: usize = 2;
/// The classes of tokens that are presented to the core.
const CORE_CLASSES: [&str; 3] = ["nearly valid", "random", "valid"];
/// The classes of JSON Web Tokens.
const JWT_CLASSES: [&str; 3] = ["wrong first byte", "wrong last byte", "valid"];

/// The characters of a signature of 32 bytes.
const SIGNATURE: usize = 43;
/// The characters that can be the last one of a signature. It has only four bits of the last byte.
const SIGNATURE_ENDS: &[u8; 16] = b"AEIMQUYcgkosw048";
/// The time at which JSON Web Tokens are issued and validated: 2030-01-01T00:00:00Z.
const NOW: u64 = 1_893_456_000_000;

fn main() -> ExitCode {
    let mut valid = Vec::new();
    let manager = manager_with_sessions(SESSIONS, |_, grant| valid.push(grant.token));
    let random = SeededEntropy::default();
    let mut is_constant = true;
    let mut check = |call: &str, classes, times| {
        let t = compare(call, classes, times);
        if t > MAX_T {
            println!("error: the times of {call} differ between the two classes");
            is_constant = false;
        }
    };

    let with_valid = |number| core_token(class_with_valid(number, &random), &valid, &random);
    let wrong = |_| core_token(class_of_wrong(&random), &valid, &random);
    let times = measure(with_valid, |token| complete(manager.validate(token)));
    check("validate", CORE_CLASSES, times);
    let times = measure(wrong, |token| complete(manager.rotate(token)));
    check("rotate", CORE_CLASSES, times);
    let times = measure(wrong, |token| complete(manager.revoke_by_token(token)));
    check("revoke_by_token", CORE_CLASSES, times);

    let guard = Tokens::new(Keys::new(
        Key::new(&[7; 32]).expect("the key is long enough"),
    ));
    let issued: Vec<String> = (0..SESSIONS).map(|number| issue(&guard, number)).collect();
    let token = |number| jwt(class_with_valid(number, &random), &issued, &random);
    let times = measure(token, |token: String| guard.validate(&token, NOW));
    check("the validation of a JSON Web Token", JWT_CLASSES, times);

    // The nearly valid tokens are all similar to the token that they are compared with.
    let similar = &valid[..1];
    let token = |_| core_token(class_of_wrong(&random), similar, &random);
    let times = measure(token, |token| {
        black_box(is_equal_with_early_end(&similar[0], &token));
        complete(manager.validate(token))
    });
    let t = compare("the control", CORE_CLASSES, times);
    if t <= MAX_T {
        println!("error: the test does not find the difference of the control");
    }
    if is_constant && t > MAX_T {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Returns the times of a call in nanoseconds by the class of its token. `make` returns the class
/// and the token of a number.
fn measure<T, A, E>(
    make: impl Fn(usize) -> (usize, T),
    call: impl Fn(T) -> Result<A, E>,
) -> [Vec<f64>; 3] {
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..MEASUREMENTS / BATCH {
        // The tokens are made before the first is presented, so that making one affects no time.
        let tokens: Vec<_> = (0..BATCH).map(&make).collect();
        for (class, token) in tokens {
            let started = Instant::now();
            let answer = call(token);
            let time = started.elapsed();
            assert_eq!(black_box(answer).is_ok(), class == VALID);
            times[class].push(time.as_secs_f64() * 1e9);
        }
    }
    times
}

/// Compares the times of the two classes of wrong tokens, and prints the figures. Returns the
/// greatest |t| of all parts.
fn compare(call: &str, classes: [&str; 3], mut times: [Vec<f64>; 3]) -> f64 {
    println!("{call}");
    for (class, times) in classes.iter().zip(&mut times) {
        times.sort_unstable_by(f64::total_cmp);
        if let Some(median) = times.get(times.len() / 2) {
            println!("  {class}: {} calls, median {median:.0} ns", times.len());
        }
    }
    let mut both = [&times[0][..], &times[1]].concat();
    both.sort_unstable_by(f64::total_cmp);
    let mut greatest = 0.0_f64;
    for part in PARTS {
        let longest = both[(both.len() - 1) * part / 100];
        let [a, b] = [&times[0], &times[1]]
            .map(|times| &times[..times.partition_point(|time| *time <= longest)]);
        let t = welch(a, b);
        println!("  the shortest {part} %: t = {t:.2}");
        greatest = greatest.max(t.abs());
    }
    greatest
}

/// Returns one of the two classes of wrong tokens.
fn class_of_wrong(random: &SeededEntropy) -> usize {
    let [byte] = random_bytes(random);
    usize::from(byte % 2)
}

/// Returns the class of the token with this number. One of ten is valid.
fn class_with_valid(number: usize, random: &SeededEntropy) -> usize {
    if number.is_multiple_of(10) {
        VALID
    } else {
        class_of_wrong(random)
    }
}

/// Returns the class and a token of this class for the core. Each wrong token is another one, so
/// that no place in a table of the core is that of a class.
fn core_token(class: usize, valid: &[Token], random: &SeededEntropy) -> (usize, Token) {
    let valid = pick(valid, random).expose();
    let kept = [valid.len() - RANDOM_END, 0, valid.len()][class];
    // No valid token has these letters.
    let letters = random_bytes::<64>(random).map(|byte| b'g' + byte % 16);
    let mut text = letters[..valid.len()].to_vec();
    text[..kept].copy_from_slice(&valid.as_bytes()[..kept]);
    let text = String::from_utf8(text).expect("the letters are ASCII");
    let token = Token::parse(text).expect("the token is short enough");
    (class, token)
}

/// Returns the JSON Web Token of the session with this number.
fn issue(guard: &Tokens, number: u64) -> String {
    let request = TokenRequest {
        principal: "agent:0a9e0000-0000-4000-8000-000000000000",
        session_id: "5e550000-0000-4000-8000-000000000000",
        expires_at: NOW + 3_600_000,
        full: None,
    };
    let issued = guard.issue(request, Uuid::from_u128(number.into()), NOW);
    issued.expect("the token is short enough").token
}

/// Returns the class and a JSON Web Token of this class.
fn jwt(class: usize, issued: &[String], random: &SeededEntropy) -> (usize, String) {
    let mut token = pick(issued, random).clone().into_bytes();
    let [byte] = random_bytes(random);
    let changed = [token.len() - SIGNATURE, token.len() - 1];
    if let Some(changed) = changed.get(class) {
        let character = &mut token[*changed];
        let mut others = SIGNATURE_ENDS.iter().cycle().skip(usize::from(byte % 16));
        let other = others.find(|other| *other != character);
        *character = *other.expect("the characters differ");
    }
    let token = String::from_utf8(token).expect("the characters are ASCII");
    (class, token)
}

/// Returns whether two tokens are equal. The time that this takes shows how many bytes at their
/// beginning are equal.
fn is_equal_with_early_end(a: &Token, b: &Token) -> bool {
    let mut bytes = a.expose().bytes().zip(b.expose().bytes());
    bytes.all(|(a, b)| a == b)
}

fn pick<'a, T>(values: &'a [T], random: &SeededEntropy) -> &'a T {
    &values[usize::from(u16::from_le_bytes(random_bytes(random))) % values.len()]
}

fn random_bytes<const N: usize>(random: &SeededEntropy) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes).expect("the bytes are computed");
    bytes
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
