//! See `src/targets/form_probe.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| srpd_fuzz::targets::form_probe::run(data));
