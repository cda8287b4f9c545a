//! See `src/targets/request_peers.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| srpd_fuzz::targets::request_peers::run(data));
