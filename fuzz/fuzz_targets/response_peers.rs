//! See `src/targets/response_peers.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| srpd_fuzz::targets::response_peers::run(data));
