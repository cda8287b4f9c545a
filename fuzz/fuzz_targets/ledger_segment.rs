//! See `src/targets/ledger_segment.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| srpd_fuzz::targets::ledger_segment::run(data));
