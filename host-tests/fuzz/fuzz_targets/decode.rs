#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| core_targets::decode::run(input));
