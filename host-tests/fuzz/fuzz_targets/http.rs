#![no_main]

libfuzzer_sys::fuzz_target!(
    init: host_targets::http::prepare(),
    |input: &[u8]| host_targets::http::run(input)
);
