//! See `src/targets/configuration.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| srpd_fuzz::targets::configuration::run(data));
