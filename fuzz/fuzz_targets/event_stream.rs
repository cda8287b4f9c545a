//! See `src/targets/event_stream.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| srpd_fuzz::targets::event_stream::run(data));
