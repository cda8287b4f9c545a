//! See `src/targets/stream_options.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| srpd_fuzz::targets::stream_options::run(data));
