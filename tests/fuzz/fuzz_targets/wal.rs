//! Records of the log.

#![no_main]

#[path = "../../src/fuzz.rs"]
#[allow(dead_code)]
mod fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::run("wal", bytes);
});
