use super::*;
use crate::repo::keys::{LeaseKey, Role};

const MARK: &str = "trash/00000000000000000000000000000000";

fn keyring() -> Keyring {
    Keyring::ephemeral().unwrap()
}

fn writer(keyring: &Keyring) -> (LeaseKey, String) {
    let key = keyring.lease_key(Party::Writer).unwrap();
    let name = format!("snapshots/{}/0", key.lease());
    (key, name)
}

fn sealed(keyring: &Keyring, body: &[u8]) -> (Vec<u8>, String) {
    let (key, name) = writer(keyring);
    (make(keyring, Signer::Lease(&key), ObjectKind::Snapshot, &name, body).unwrap(), name)
}

fn mark(keyring: &Keyring, body: &[u8]) -> Vec<u8> {
    make(keyring, Signer::Operator, ObjectKind::Mark, MARK, body).unwrap()
}

#[test]
fn bodies_come_back_sealed_and_plain() {
    for suite in Suite::ALL {
        let keyring = keyring().with_suite(suite);
        for body in [&b""[..], b"{}", &[b'x'; 10_000]] {
            let (sealed, name) = sealed(&keyring, body);
            assert_eq!(open(&keyring, ObjectKind::Snapshot, &name, &sealed).unwrap(), body);
            assert_eq!(kind_of(&name, &sealed).unwrap(), ObjectKind::Snapshot);
            assert!(sealed.len() < 1000, "compressed before it is sealed");
            assert!(unwrap(ObjectKind::Snapshot, &name, &sealed).is_err());
            let plain = mark(&keyring, body);
            assert_eq!(open(&keyring, ObjectKind::Mark, MARK, &plain).unwrap(), body);
            assert_eq!(unwrap(ObjectKind::Mark, MARK, &plain).unwrap(), body, "without a key, too");
        }
    }
}

#[test]
fn an_object_under_another_name_kind_or_repository_is_nobodys() {
    let keyring = keyring();
    let (sealed, name) = sealed(&keyring, b"{}");
    let (_, other) = writer(&keyring);
    for outcome in [
        open(&keyring, ObjectKind::Snapshot, &other, &sealed),
        open(&keyring, ObjectKind::Snapshot, &name.replace("/0", "/1"), &sealed),
        open(&keyring, ObjectKind::Checkpoint, &name, &sealed),
        open(&self::keyring(), ObjectKind::Snapshot, &name, &sealed),
    ] {
        assert!(matches!(outcome, Err(RepoError::Forged { .. })), "{outcome:?}");
    }
    let plain = mark(&keyring, b"{}");
    let elsewhere = MARK.replace('0', "1");
    assert!(matches!(open(&keyring, ObjectKind::Mark, &elsewhere, &plain), Err(RepoError::Forged { .. })));
    assert!(matches!(open(&self::keyring(), ObjectKind::Mark, MARK, &plain), Err(RepoError::Forged { .. })));
}

#[test]
fn without_a_key_nothing_can_be_made() {
    let keyring = keyring();
    let id = "11111111111111111111111111111111";
    for (kind, name) in [
        (ObjectKind::Tombstone, format!("snapshots/{id}/9999")),
        (ObjectKind::Void, format!("snapshots/{id}/0")),
        (ObjectKind::Lease, format!("leases/{id}/7")),
        (ObjectKind::LeaseEnd, format!("leases/{id}/end")),
        (ObjectKind::Mark, MARK.to_owned()),
        (ObjectKind::Forgotten, MARK.replace("trash", "forgotten")),
    ] {
        let forged = unsigned(kind, &name, b"{}");
        assert_eq!(kind_of(&name, &forged).unwrap(), kind);
        let outcome = open(&keyring, kind, &name, &forged);
        assert!(matches!(outcome, Err(RepoError::Forged { .. })), "{kind:?}: {outcome:?}");
    }
}

/// Who may make what, with which key.
#[test]
fn a_role_makes_what_it_may_and_nothing_else() {
    let admin = keyring();
    for role in Role::ALL {
        let keyring = admin.for_role(role).unwrap();
        let taken = make(&keyring, Signer::Operator, ObjectKind::Mark, MARK, b"{}");
        assert_eq!(taken.is_ok(), role.has(keys::Capability::Prune), "{role}");
        if let Ok(mark) = taken {
            open(&admin, ObjectKind::Mark, MARK, &mark).unwrap();
        }
        for party in [Party::Reader, Party::Writer, Party::Operator] {
            let may = match party {
                Party::Reader => true,
                Party::Writer => role.has(keys::Capability::Write),
                Party::Operator => role.has(keys::Capability::Prune),
            };
            let key = match keyring.lease_key(party) {
                Ok(key) => key,
                Err(error) => {
                    assert!(!may && matches!(error, RepoError::Role { .. }), "{role}: {error}");
                    continue;
                }
            };
            assert!(may, "{role} {party:?}");
            let lease = key.lease();
            let commits = party != Party::Reader;
            for (kind, name, accepted) in [
                (ObjectKind::Lease, format!("leases/{lease}/0"), true),
                (ObjectKind::LeaseEnd, format!("leases/{lease}/end"), true),
                (ObjectKind::Snapshot, format!("snapshots/{lease}/0"), commits),
                (ObjectKind::Void, format!("snapshots/{lease}/0"), commits),
                (ObjectKind::Checkpoint, format!("checkpoints/{lease}/3"), commits),
                (ObjectKind::Snapshot, format!("snapshots/{lease}/1"), false),
                (ObjectKind::Tombstone, format!("snapshots/{lease}/1"), false),
                (ObjectKind::Mark, MARK.to_owned(), false),
                (ObjectKind::Lease, format!("leases/{}/1", "7".repeat(32)), false),
                (ObjectKind::LeaseEnd, format!("leases/{}/end", "7".repeat(32)), false),
            ] {
                let made = make(&keyring, Signer::Lease(&key), kind, &name, b"{}").unwrap();
                // Everybody judges alike, whoever made it.
                for judge in Role::ALL {
                    let judge = admin.for_role(judge).unwrap();
                    let outcome = open(&judge, kind, &name, &made);
                    assert_eq!(outcome.is_ok(), accepted, "{role} {party:?} {name}: {outcome:?}");
                }
            }
        }
    }
}

/// Bytes with the hash that fits them: what someone without a key can make.
fn rehashed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - HASH_BYTES);
    finish(bytes)
}

#[test]
fn no_flipped_cut_or_added_byte_goes_unseen() {
    let keyring = keyring();
    let (sealed, name) = sealed(&keyring, b"a manifest");
    let plain = mark(&keyring, b"a mark");
    let opens = |bytes: &[u8]| {
        open(&keyring, ObjectKind::Snapshot, &name, bytes).is_ok()
            || open(&keyring, ObjectKind::Mark, MARK, bytes).is_ok()
    };
    for bytes in [&sealed, &plain] {
        assert!(opens(bytes));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(!opens(&flipped), "byte {at}");
            assert!(!opens(&bytes[..at]));
            // Nothing can be changed, even with a hash that fits.
            if at < bytes.len() - HASH_BYTES {
                assert!(!opens(&rehashed(flipped)), "byte {at}");
            }
        }
        assert!(!opens(&[&bytes[..], &[0]].concat()));
    }
}

#[test]
fn newer_versions_kinds_and_suites_are_told() {
    let keyring = keyring();
    let mut newer = mark(&keyring, b"");
    newer[8] = 2;
    let error = kind_of(MARK, &rehashed(newer)).unwrap_err();
    assert!(matches!(error, RepoError::NewerFormat { found: 2, supported: 1, .. }), "{error}");
    let mut kind = mark(&keyring, b"");
    kind[10] = 99;
    assert!(matches!(kind_of(MARK, &rehashed(kind)), Err(RepoError::UnknownFeature { .. })));
    let (mut suite, name) = sealed(&keyring, b"{}");
    suite[11] = 9;
    assert!(matches!(kind_of(&name, &rehashed(suite)), Err(RepoError::UnknownFeature { .. })));
}

#[test]
fn what_would_be_longer_than_it_may_is_not_made() {
    let keyring = keyring();
    let long = vec![b' '; ObjectKind::Mark.max_bytes() as usize];
    assert!(matches!(make(&keyring, Signer::Operator, ObjectKind::Mark, MARK, &long), Err(RepoError::Internal(_))));
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
