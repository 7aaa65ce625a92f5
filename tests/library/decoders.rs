//! Every decoder is total: mutated valid input is an error or something else that is valid, never a panic. The same
//! functions are fuzzed at length by `cargo fuzz` (see `fuzz/`).

#[path = "../../fuzz/src/decoders.rs"]
#[allow(clippy::drop_non_drop, unreachable_pub, reason = "shared with the fuzz targets")]
mod shared;

use crate::support::{Rng, rng::from_env};
use shared::DECODERS;

/// Changes a seed as a fuzzer would: bits, bytes, numbers, lengths, pieces of itself.
fn mutate(rng: &mut Rng, seed: &[u8]) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..=rng.below(4) {
        let at = if data.is_empty() { 0 } else { rng.below(data.len() as u64) as usize };
        match rng.below(8) {
            0 => data.truncate(at),
            1 if !data.is_empty() => data[at] ^= 1 << rng.below(8),
            2 if !data.is_empty() => data[at] = *rng.pick(&[0, 1, 0x7f, 0x80, 0xff]),
            3 => {
                let len = rng.below(9) as usize;
                let fresh = rng.bytes(len);
                data.splice(at..at, fresh);
            }
            4 if data.len() >= at + 8 => data[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes()),
            5 => {
                let to = (at + 1 + rng.below(16) as usize).min(data.len());
                data.drain(at..to);
            }
            6 => {
                let to = (at + 1 + rng.below(64) as usize).min(data.len());
                let copy = data[at..to].to_vec();
                data.splice(at..at, copy);
            }
            _ => data.extend(std::iter::repeat_n(0xff, rng.below(12) as usize)),
        }
    }
    data
}

/// What fuzzing found to lead elsewhere: `fuzz/seeds/NAME/`.
fn found(name: &str) -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

#[test]
fn every_folder_of_found_input_is_a_decoders() {
    let folders = std::fs::read_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds")).unwrap();
    let names: Vec<String> = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.is_empty());
    for name in names {
        assert!(DECODERS.iter().any(|decoder| decoder.name == name) && !found(&name).is_empty(), "{name}");
    }
}

#[test]
fn mutated_input_is_an_error_and_never_a_panic() {
    let rounds = from_env("REKEEP_TEST_MUTATIONS", 150);
    for decoder in DECODERS {
        let mut rng = Rng::new(decoder.name.bytes().map(u64::from).sum());
        let mut seeds = (decoder.seeds)();
        assert!(!seeds.is_empty(), "{} has no seed", decoder.name);
        seeds.extend(found(decoder.name));
        for seed in &seeds {
            (decoder.feed)(seed);
        }
        (decoder.feed)(&[]);
        for round in 0..rounds {
            let data = mutate(&mut rng, &seeds[(round % seeds.len() as u64) as usize]);
            let fed = std::panic::catch_unwind(|| (decoder.feed)(&data));
            assert!(fed.is_ok(), "{} round {round}: {}", decoder.name, data_encoding::HEXLOWER.encode(&data));
        }
    }
}
