//! See `src/targets/body_probe.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| srpd_fuzz::targets::body_probe::run(data));
