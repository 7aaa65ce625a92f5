use super::*;

/// Tests only: opens in microseconds.
const FAST: KdfParams = KdfParams { memory_kib: 8, passes: 1, lanes: 1 };

fn password(text: &str) -> Unlock {
    Unlock::Password(text.to_owned())
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000)
}

fn repository() -> (Storage, Keyring, RecoveryKey) {
    let storage = Storage::at("memory:///").unwrap();
    let (keyring, recovery) = create(&storage, &password("open sesame"), None, FAST, "me@here", now()).unwrap();
    (storage, keyring, recovery)
}

/// A storage where one object has other bytes.
fn with(storage: &Storage, name: &str, bytes: &[u8]) -> Storage {
    let copy = Storage::at("memory:///").unwrap();
    for object in storage.list("").unwrap() {
        let content = if object.name == name { bytes.to_vec() } else { storage.read(&object.name).unwrap() };
        copy.create(&object.name, &content).unwrap();
    }
    copy
}

#[test]
fn password_and_recovery_key_open_the_same_keyring() {
    let (storage, made, recovery) = repository();
    for unlock in [password("open sesame"), Unlock::Recovery(recovery.0.to_lowercase().replace('-', " "))] {
        let opened = open(&storage, &unlock).unwrap();
        assert_eq!(opened.repo_id, made.repo_id);
        assert_eq!(opened.current_epoch, 0);
        assert_eq!(opened.secrets.to_bytes(), made.secrets.to_bytes());
        assert_eq!(opened.secrets_by_epoch(), made.secrets_by_epoch());
        assert_eq!(opened.epochs[&0].data, made.epochs[&0].data);
    }
    assert_eq!(read_config(&storage).unwrap()["id"], made.repo_id.to_string());
}

#[test]
fn wrong_secrets_are_told_apart_from_typing_errors_and_from_no_repository() {
    let (storage, _, recovery) = repository();
    assert!(matches!(open(&storage, &password("open")), Err(RepoError::WrongPassword { slots: 1 })));
    let other = Unlock::Recovery(RecoveryKey::generate().unwrap().0.clone());
    assert!(matches!(open(&storage, &other), Err(RepoError::WrongPassword { slots: 1 })));
    let mut typo = recovery.0.clone();
    let last = if typo.ends_with('A') { 'C' } else { 'A' };
    typo.replace_range(0..1, if typo.starts_with('Q') { "R" } else { "Q" });
    assert!(matches!(open(&storage, &Unlock::Recovery(typo.clone())), Err(RepoError::Invalid(_))));
    typo.push(last);
    assert!(matches!(open(&storage, &Unlock::Recovery(typo)), Err(RepoError::Invalid(_))));
    let empty = Storage::at("memory:///").unwrap();
    assert!(matches!(open(&empty, &password("x")), Err(RepoError::NoRepository { .. })));
}

#[test]
fn a_second_init_touches_nothing() {
    let (storage, _, _) = repository();
    let before = storage.list("").unwrap().len();
    let again = create(&storage, &password("other"), None, FAST, "", now());
    assert!(matches!(again, Err(RepoError::AlreadyExists { .. })));
    assert_eq!(storage.list("").unwrap().len(), before);
}

#[test]
fn like_copies_what_decides_deduplication_and_nothing_else() {
    let (_, first, _) = repository();
    let storage = Storage::at("memory:///").unwrap();
    let (second, _) = create(&storage, &password("x"), Some(&first.secrets), FAST, "", now()).unwrap();
    let second = open(&storage, &password("x")).map(|opened| (opened.repo_id == second.repo_id, opened)).unwrap().1;
    assert_eq!(first.secrets.chunk_id, second.secrets.chunk_id);
    assert_eq!(first.secrets.cut, second.secrets.cut);
    assert_eq!(first.secrets.gear_seed, second.secrets.gear_seed);
    assert_ne!(first.secrets.fingerprint, second.secrets.fingerprint);
    assert_ne!(first.secrets.collection, second.secrets.collection);
    assert_ne!(first.secrets_by_epoch(), second.secrets_by_epoch());
}

#[test]
fn slots_are_added_listed_and_removed_but_never_the_last() {
    let (storage, keyring, recovery) = repository();
    let added = add_slot(&storage, &keyring, &password("second"), FAST, "you@there", now()).unwrap();
    let opened = open(&storage, &password("second")).unwrap();
    let listed = slots(&storage, &opened).unwrap();
    assert_eq!(listed.len(), 3);
    let current: Vec<_> = listed.iter().filter(|slot| slot.current).collect();
    assert_eq!((current.len(), &current[0].name, current[0].label.as_str()), (1, &added, "you@there"));
    remove_slot(&storage, &keyring, keyring.slot()).unwrap();
    assert!(matches!(open(&storage, &password("open sesame")), Err(RepoError::WrongPassword { .. })));
    remove_slot(&storage, &keyring, &added[..12]).unwrap();
    assert!(remove_slot(&storage, &keyring, "zz").is_err());
    let last = slots(&storage, &keyring).unwrap().remove(0);
    assert_eq!(last.kind, "recovery");
    assert!(matches!(remove_slot(&storage, &keyring, &last.name), Err(RepoError::Invalid(_))));
    open(&storage, &Unlock::Recovery(recovery.0.clone())).unwrap();
}

#[test]
fn a_damaged_slot_is_named_and_the_others_still_open() {
    let (storage, keyring, _) = repository();
    for slot in slots(&storage, &keyring).unwrap() {
        let name = slot::path(&slot.name);
        let torn = with(&storage, &name, &storage.read(&name).unwrap()[..40]);
        let opened = open(&torn, &password("open sesame"));
        if slot.current {
            let error = opened.unwrap_err().to_string();
            assert!(error.contains(&name), "{error}");
        } else {
            // The damaged one is tried only if it comes first.
            let opened = opened.unwrap();
            assert!(opened.warnings().iter().all(|warning| warning.contains(&name)));
            assert_eq!(opened.warnings().len(), usize::from(slot.name.as_str() < opened.slot()));
        }
    }
}

#[test]
fn no_flipped_byte_of_config_or_slot_goes_unseen() {
    let (storage, keyring, _) = repository();
    for name in [CONFIG.to_owned(), slot::path(keyring.slot())] {
        let bytes = storage.read(&name).unwrap();
        for at in 0..bytes.len() {
            for bit in [0, 5, 7] {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(check(&name, &flipped, &keyring).is_err(), "{name} byte {at}");
            }
        }
        for end in 0..bytes.len() {
            assert!(check(&name, &bytes[..end], &keyring).is_err(), "{name} cut at {end}");
        }
        assert!(check(&name, &[&bytes[..], b"\n"].concat(), &keyring).is_err());
    }
}

fn check(name: &str, bytes: &[u8], keyring: &Keyring) -> Result<(), RepoError> {
    if name == CONFIG {
        parse_config(bytes).map(drop)
    } else {
        Slot::parse(keyring.slot(), bytes, &keyring.repo_id).map(drop)
    }
}

/// Line 1 with another text, and the hash that fits it: what someone with write access but no key can do.
fn forge(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(bytes).unwrap();
    let line = text.lines().next().unwrap();
    assert!(line.contains(from), "{line}");
    let line = line.replacen(from, to, 1) + "\n";
    format!("{line}\"{}\"\n", blake3::hash(line.as_bytes())).into_bytes()
}

#[test]
fn forged_fields_are_refused_after_unlocking() {
    let (storage, keyring, _) = repository();
    let slot = slot::path(keyring.slot());
    let unlock = password("open sesame");
    for (name, from, to) in [
        (CONFIG, "1700000000000", "1700000000001"),
        (&slot, "1700000000000", "1700000000001"),
        (&slot, "me@here", "me@hers"),
        (&slot, "\"passes\":1", "\"passes\":2"),
    ] {
        let forged = with(&storage, name, &forge(&storage.read(name).unwrap(), from, to));
        assert!(open(&forged, &unlock).is_err(), "{name}: {to}");
    }
    let renamed = Storage::at("memory:///").unwrap();
    renamed.create(CONFIG, &storage.read(CONFIG).unwrap()).unwrap();
    renamed.create(&format!("keys/{}", "0".repeat(32)), &storage.read(&slot).unwrap()).unwrap();
    assert!(matches!(open(&renamed, &unlock), Err(RepoError::WrongPassword { .. })));
}

#[test]
fn versions_features_members_and_costs_are_judged_before_any_work() {
    let (storage, keyring, _) = repository();
    let slot = slot::path(keyring.slot());
    let config = storage.read(CONFIG).unwrap();
    let newer = with(&storage, CONFIG, &forge(&config, "\"format\":1", "\"format\":2"));
    assert!(matches!(open(&newer, &password("x")), Err(RepoError::NewerFormat { found: 2, supported: 1, .. })));
    let feature = with(&storage, CONFIG, &forge(&config, "\"features\":[]", "\"features\":[\"shards\"]"));
    assert!(matches!(open(&feature, &password("x")), Err(RepoError::UnknownFeature { .. })));
    let member = with(&storage, CONFIG, &forge(&config, "{", "{\"extra\":1,"));
    assert!(matches!(open(&member, &password("x")), Err(RepoError::Damaged { .. })));
    let twice = with(&storage, CONFIG, &forge(&config, "{", "{\"format\":1,"));
    assert!(matches!(open(&twice, &password("x")), Err(RepoError::Damaged { .. })));
    for (from, to) in [
        ("\"memory_kib\":8", "\"memory_kib\":1048577"),
        ("\"memory_kib\":8", "\"memory_kib\":7"),
        ("\"passes\":1", "\"passes\":65"),
        ("\"passes\":1", "\"passes\":0"),
        ("\"lanes\":1", "\"lanes\":17"),
        ("\"lanes\":1", "\"lanes\":0"),
    ] {
        let costly = with(&storage, &slot, &forge(&storage.read(&slot).unwrap(), from, to));
        assert!(matches!(open(&costly, &password("open sesame")), Err(RepoError::Damaged { .. })), "{to}");
    }
    assert!(create(&Storage::at("memory:///").unwrap(), &password(""), None, FAST, "", now()).is_err());
}

#[test]
fn recovery_keys_are_fourteen_groups_of_four() {
    let text = recovery::print(&[0xa5; 32]);
    assert_eq!(text.split('-').map(str::len).collect::<Vec<_>>(), [4; 14]);
    assert_eq!(*recovery::parse(&text).unwrap(), [0xa5; 32]);
    assert_eq!(*recovery::parse(&text.replace('O', "0").replace('I', "1").replace('B', "8")).unwrap(), [0xa5; 32]);
    assert!(recovery::parse(&text[..text.len() - 5]).is_err());
    assert!(recovery::parse("").is_err());
}

/// Storage on which somebody removes another slot between the look at the slots and what is done about it.
struct Racing {
    inner: Storage,
    victim: String,
}

impl crate::repo::Backend for Racing {
    fn list(&self, prefix: &str) -> std::io::Result<Vec<crate::repo::storage::Listed>> {
        self.inner.list(prefix).map_err(std::io::Error::other)
    }
    fn read(&self, name: &str, _: Option<std::ops::Range<u64>>) -> std::io::Result<Vec<u8>> {
        self.inner.read(name).map_err(std::io::Error::other)
    }
    fn create(&self, name: &str, bytes: &bytes::Bytes) -> std::io::Result<crate::repo::storage::Created> {
        self.inner.create(name, bytes).map_err(std::io::Error::other)
    }
    fn delete(&self, name: &str) -> std::io::Result<()> {
        self.inner.delete(name).map_err(std::io::Error::other)?;
        self.inner.delete(&self.victim).map_err(std::io::Error::other)
    }
    fn len(&self, name: &str) -> std::io::Result<u64> {
        match self.inner.len(name) {
            Ok(Some(len)) => Ok(len),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        }
    }
    fn promises(&self) -> crate::repo::storage::Promises {
        self.inner.promises()
    }
}

#[test]
fn two_who_remove_the_last_two_slots_at_once_leave_one() {
    let (storage, keyring, _) = repository();
    let names: Vec<String> = slots(&storage, &keyring).unwrap().into_iter().map(|slot| slot.name).collect();
    assert_eq!(names.len(), 2);
    let racing = Racing { inner: storage.clone(), victim: slot::path(&names[1]) };
    let racing = Storage::over(std::sync::Arc::new(racing), "racing:");
    let error = remove_slot(&racing, &keyring, &names[0]).unwrap_err().to_string();
    assert!(error.contains("put back"), "{error}");
    let left: Vec<String> = slots(&storage, &keyring).unwrap().into_iter().map(|slot| slot.name).collect();
    assert_eq!(left, names[..1]);
    remove_slot(&storage, &keyring, &names[0]).unwrap_err();
}
