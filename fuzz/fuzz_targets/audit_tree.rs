//! See `src/targets/audit_tree.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| srpd_fuzz::targets::audit_tree::run(data));
