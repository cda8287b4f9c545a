//! See `src/targets/chunked.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| srpd_fuzz::targets::chunked::run(data));
