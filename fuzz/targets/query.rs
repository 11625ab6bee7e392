//! The target `query` of `skynet::fuzzing`, driven by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skynet::fuzzing::query(data));
