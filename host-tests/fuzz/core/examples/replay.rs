//! Runs a target on files, without a fuzzer: `cargo run --example replay -- TARGET FILE...`.

use fuzz_targets::TARGETS;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("the name of a target is missing")?;
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    let (_, run) = target.ok_or_else(|| format!("there is no target {name}"))?;
    for path in arguments {
        run(&std::fs::read(path)?);
    }
    Ok(())
}
