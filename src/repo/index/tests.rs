use super::*;
use crate::repo::{ChunkKind, ChunkPlain, pack::PackBuilder};
use std::sync::Arc;

fn packs(keyring: &Arc<Keyring>, count: u8) -> Vec<IndexedPack> {
    (0..count)
        .map(|seed| {
            let lease = SnapshotId([seed; 16]);
            let mut builder = PackBuilder::new(keyring.clone(), PackKind::Data, lease).unwrap();
            for chunk in 0..seed {
                let plain = ChunkPlain::single(vec![chunk; 100]);
                let id = plain.id(&keyring.secrets.chunk_id, ChunkKind::Values);
                builder.add(id, ChunkKind::Values, &plain, 3, false).unwrap();
            }
            let pack = builder.finish().unwrap();
            let bytes = pack.bytes.len() as u64;
            IndexedPack { name: pack.name, bytes, kind: pack.kind, lease, header: pack.header, entries: pack.entries }
        })
        .collect()
}

fn keyring() -> Arc<Keyring> {
    Arc::new(Keyring::ephemeral().unwrap())
}

#[test]
fn packs_come_back_with_a_key_and_their_names_without() {
    let keyring = keyring();
    for count in [0, 1, 4] {
        let packs = packs(&keyring, count);
        let (name, bytes) = seal(&keyring, &packs).unwrap();
        assert_eq!(open(&keyring, &name, &bytes).unwrap(), packs);
        let listed: Vec<_> = packs.iter().map(|pack| (pack.name, pack.bytes)).collect();
        assert_eq!(packs_of(&name, &bytes).unwrap(), listed);
        assert!(open(&self::keyring(), &name, &bytes).is_err());
        assert!(open(&keyring, &ObjectName([0; 32]), &bytes).is_err());
    }
}

#[test]
fn no_flipped_or_cut_byte_goes_unseen_even_under_a_fitting_name() {
    let keyring = keyring();
    let (name, bytes) = seal(&keyring, &packs(&keyring, 2)).unwrap();
    let fitting = |bytes: &[u8]| ObjectName(*blake3::hash(bytes).as_bytes());
    for at in 0..bytes.len() {
        for bit in [0, 3, 7] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(open(&keyring, &fitting(&flipped), &flipped).is_err(), "byte {at}");
            assert!(packs_of(&name, &flipped).is_err());
        }
        assert!(open(&keyring, &fitting(&bytes[..at]), &bytes[..at]).is_err());
        assert!(packs_of(&name, &bytes[..at]).is_err());
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(open(&keyring, &fitting(&longer), &longer).is_err());
}

#[test]
fn a_pack_that_no_reader_would_accept_is_not_indexed() {
    let keyring = keyring();
    let good = packs(&keyring, 3).remove(2);
    assert!(seal(&keyring, std::slice::from_ref(&good)).is_ok());
    let mut outside = good.clone();
    outside.entries[0].offset = good.bytes;
    assert!(seal(&keyring, &[outside]).is_err());
    let lease = IndexedPack { lease: SnapshotId([9; 16]), ..good.clone() };
    assert!(seal(&keyring, &[lease]).is_err());
    let mut kind = good;
    kind.entries[0].kind = ChunkKind::Keys;
    assert!(seal(&keyring, &[kind]).is_err());
}

#[test]
fn newer_versions_are_told_and_counts_are_not_believed() {
    let keyring = keyring();
    let (_, bytes) = seal(&keyring, &[]).unwrap();
    let renamed = |bytes: &[u8]| packs_of(&ObjectName(*blake3::hash(bytes).as_bytes()), bytes);
    let mut newer = bytes.clone();
    newer[8] = 2;
    assert!(matches!(renamed(&newer), Err(RepoError::NewerFormat { found: 2, supported: 1, .. })));
    let mut many = bytes;
    many[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(renamed(&many), Err(RepoError::Damaged { .. })));
}
