//! See `src/targets/residency.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| srpd_fuzz::targets::residency::run(data));
