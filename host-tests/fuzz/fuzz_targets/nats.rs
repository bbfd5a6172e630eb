#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| clawdb_session_fuzz_hosts::nats::run(input));
