//! Whatever lies in the log's folder, reading it ends: without a panic, with records only as long as what was read, and
//! with every byte of the file either in a good record or told as damaged.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| whence_fuzz::log::read(input));
