use super::*;

const NAME: &str = "snapshots/00000000000000000000000000000000/0";

fn keyring() -> Keyring {
    Keyring::ephemeral().unwrap()
}

#[test]
fn bodies_come_back_sealed_and_plain() {
    let keyring = keyring();
    for body in [&b""[..], b"{}", &[b'x'; 10_000]] {
        let sealed = seal(&keyring, ObjectKind::Snapshot, NAME, body);
        assert_eq!(open(&keyring, ObjectKind::Snapshot, NAME, &sealed).unwrap(), body);
        assert_eq!(kind_of(NAME, &sealed).unwrap(), ObjectKind::Snapshot);
        assert!(sealed.len() < 1000, "compressed before it is sealed");
        let plain = wrap(ObjectKind::Void, NAME, body);
        assert_eq!(unwrap(ObjectKind::Void, NAME, &plain).unwrap(), body);
        assert_eq!(kind_of(NAME, &plain).unwrap(), ObjectKind::Void);
    }
}

#[test]
fn an_object_under_another_name_kind_or_repository_does_not_open() {
    let keyring = keyring();
    let sealed = seal(&keyring, ObjectKind::Snapshot, NAME, b"{}");
    assert!(open(&keyring, ObjectKind::Snapshot, "snapshots/1/0", &sealed).is_err());
    assert!(open(&keyring, ObjectKind::Checkpoint, NAME, &sealed).is_err());
    assert!(unwrap(ObjectKind::Snapshot, NAME, &sealed).is_err());
    assert!(open(&self::keyring(), ObjectKind::Snapshot, NAME, &sealed).is_err());
    let plain = wrap(ObjectKind::Lease, "leases/1/0", b"{}");
    assert!(unwrap(ObjectKind::Lease, "leases/2/0", &plain).is_err());
    assert!(unwrap(ObjectKind::Mark, "leases/1/0", &plain).is_err());
    assert!(open(&keyring, ObjectKind::Lease, "leases/1/0", &plain).is_err());
}

/// Bytes with the hash that fits them: what someone without a key can make.
fn rehashed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - HASH_BYTES);
    finish(bytes)
}

#[test]
fn no_flipped_cut_or_added_byte_goes_unseen() {
    let keyring = keyring();
    let sealed = seal(&keyring, ObjectKind::Snapshot, NAME, b"a manifest");
    let plain = wrap(ObjectKind::Lease, NAME, b"a lease");
    let opens = |bytes: &[u8]| {
        open(&keyring, ObjectKind::Snapshot, NAME, bytes).is_ok() || unwrap(ObjectKind::Lease, NAME, bytes).is_ok()
    };
    for bytes in [&sealed, &plain] {
        assert!(opens(bytes));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(!opens(&flipped), "byte {at}");
            }
            assert!(!opens(&bytes[..at]));
        }
        assert!(!opens(&[&bytes[..], &[0]].concat()));
    }
    // Even with a hash that fits, nothing of a sealed object can be changed, nor a plain one's header and name.
    for at in 0..sealed.len() - HASH_BYTES {
        let mut flipped = sealed.clone();
        flipped[at] ^= 1;
        assert!(!opens(&rehashed(flipped)), "byte {at}");
    }
    for at in 0..HEADER_BYTES + 2 + NAME.len() {
        let mut flipped = plain.clone();
        flipped[at] ^= 1;
        assert!(!opens(&rehashed(flipped)), "byte {at}");
    }
}

#[test]
fn newer_versions_are_told() {
    let mut newer = wrap(ObjectKind::Lease, NAME, b"");
    newer[8] = 2;
    let error = kind_of(NAME, &rehashed(newer)).unwrap_err();
    assert!(matches!(error, RepoError::NewerFormat { found: 2, supported: 1, .. }), "{error}");
}

#[test]
fn compressed_bodies_must_be_what_they_declare() {
    let mut stored = Vec::new();
    compress_onto(&[1; 5000], &mut stored).unwrap();
    assert_eq!(decompress(&stored).unwrap(), [1; 5000]);
    for declared in [0_u32, 4999, 5001, MAX_BODY_BYTES as u32, u32::MAX] {
        let mut lie = stored.clone();
        lie[..4].copy_from_slice(&declared.to_le_bytes());
        assert!(decompress(&lie).is_err(), "{declared}");
    }
    assert!(decompress(&[&stored[..], &[0]].concat()).is_err());
    for end in 0..stored.len() {
        assert!(decompress(&stored[..end]).is_err());
    }
}
