//! The target `bans_file` of `skynet::fuzzing`, driven by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skynet::fuzzing::bans_file(data));
