#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rekeep_fuzz::decoders::asb_layers(data));
