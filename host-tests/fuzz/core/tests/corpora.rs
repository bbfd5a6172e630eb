//! Replays the kept inputs of each target, without a fuzzer.

use std::fs;
use std::path::Path;

use fuzz_targets::TARGETS;

#[test]
fn the_inputs_of_each_corpus_break_no_promise() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    for (name, run) in TARGETS {
        let inputs = fs::read_dir(corpora.join(name)).unwrap();
        let mut count = 0;
        for input in inputs {
            let path = input.unwrap().path();
            // The output of a failed test has the input.
            println!("{}", path.display());
            run(&fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count > 10, "{name} has {count} inputs");
    }
}
