#![no_main]

libfuzzer_sys::fuzz_target!(
    init: host_targets::exec::prepare(),
    |input: &[u8]| host_targets::exec::run(input)
);
