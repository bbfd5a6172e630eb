#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| host_targets::exec::run(input));
