//! The target `body` of `skynet::fuzzing`, driven by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skynet::fuzzing::body(data));
