//! See `src/targets/forwarded.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| srpd_fuzz::targets::forwarded::run(data));
