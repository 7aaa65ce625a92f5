use super::*;

/// Tests only: opens in microseconds.
const FAST: KdfParams = KdfParams { memory_kib: 8, passes: 1, lanes: 1 };

fn password(text: &str) -> Unlock {
    Unlock::Password(text.to_owned())
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000)
}

fn made(storage: &Storage, text: &str, like: Option<&Secrets>) -> Result<(Keyring, RecoveryKey), RepoError> {
    create(
        storage,
        &password(text),
        &NewKeys { like, suite: DEFAULT_SUITE, kdf: FAST, label: "me@here", regions: &[], parity: false },
        now(),
    )
}

fn add(storage: &Storage, keyring: &Keyring, text: &str, role: Role, label: &str) -> Result<String, RepoError> {
    add_slot(storage, keyring, &password(text), role, FAST, label, now())
}

fn repository() -> (Storage, Keyring, RecoveryKey) {
    let storage = Storage::at("memory:///").unwrap();
    let (keyring, recovery) = made(&storage, "open sesame", None).unwrap();
    (storage, keyring, recovery)
}

/// A storage where one object, and its copy, have other bytes.
fn with(storage: &Storage, name: &str, bytes: &[u8]) -> Storage {
    changed(storage, &mut |there| {
        let is_it = there == name || there.strip_prefix(COPIES) == Some(name);
        if is_it { Some(bytes.to_vec()) } else { Some(storage.read(there).unwrap()) }
    })
}

/// A storage with what `change` makes of each object.
fn changed(storage: &Storage, change: &mut dyn FnMut(&str) -> Option<Vec<u8>>) -> Storage {
    let copy = Storage::at("memory:///").unwrap();
    for object in storage.list("").unwrap() {
        if let Some(content) = change(&object.name) {
            copy.create(&object.name, &content).unwrap();
        }
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
        assert_eq!(opened.current_epoch, made.current_epoch);
        assert_eq!(opened.epochs[&0].data_packs, made.epochs[&0].data_packs);
        assert_eq!(opened.role(), Role::Admin);
    }
    assert_eq!(read_config(&storage).unwrap()["id"], made.repo_id.to_string());
}

#[test]
fn wrong_secrets_are_told_apart_from_typing_errors_and_from_no_repository() {
    let (storage, _, recovery) = repository();
    assert!(matches!(open(&storage, &password("open")), Err(RepoError::WrongPassword { slots: 1, .. })));
    let other = Unlock::Recovery(RecoveryKey::generate().unwrap().0.clone());
    assert!(matches!(open(&storage, &other), Err(RepoError::WrongPassword { slots: 1, .. })));
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
    let again = made(&storage, "other", None);
    assert!(matches!(again, Err(RepoError::AlreadyExists { .. })));
    assert_eq!(storage.list("").unwrap().len(), before);
}

#[test]
fn like_copies_all_lasting_secrets_and_no_other() {
    let (_, first, _) = repository();
    let storage = Storage::at("memory:///").unwrap();
    made(&storage, "x", Some(&first.secrets)).unwrap();
    let second = open(&storage, &password("x")).unwrap();
    assert_eq!(first.secrets.to_bytes(), second.secrets.to_bytes());
    assert_ne!(first.repo_id, second.repo_id);
    assert_ne!(first.epochs[&0].metadata, second.epochs[&0].metadata);
}

#[test]
fn init_refuses_a_place_with_any_object_of_a_repository() {
    for folder in FOLDERS {
        let storage = Storage::at("memory:///").unwrap();
        storage.create(&format!("{folder}left"), b"over").unwrap();
        let Err(error) = made(&storage, "x", None) else { panic!("{folder}") };
        assert!(matches!(&error, RepoError::Occupied { object, .. } if object.starts_with(folder)), "{error}");
        assert_eq!(storage.list("").unwrap().len(), 1, "nothing was added");
    }
    let storage = Storage::at("memory:///").unwrap();
    storage.create("photos/of-somebody.jpg", b"else").unwrap();
    made(&storage, "x", None).unwrap();
}

#[test]
fn no_single_lost_or_damaged_object_costs_the_repository() {
    let (storage, keyring, _) = repository();
    for object in storage.list("").unwrap() {
        for damage in [None, Some(b"rubbish".to_vec())] {
            let hurt = changed(&storage, &mut |name| {
                if name == object.name { damage.clone() } else { Some(storage.read(name).unwrap()) }
            });
            let opened =
                open(&hurt, &password("open sesame")).unwrap_or_else(|error| panic!("{}: {error}", object.name));
            assert_eq!(opened.secrets.to_bytes(), keyring.secrets.to_bytes());
            let told = opened.warnings().join("; ");
            assert!(told.contains(object.name.trim_start_matches(COPIES)), "{}: {told}", object.name);
            assert_eq!(mend(&hurt, &opened, false).unwrap(), (vec![object.name.clone()], Vec::new()));
            assert_eq!(hurt.read(&object.name).unwrap(), storage.read(&object.name).unwrap());
            assert_eq!(open(&hurt, &password("open sesame")).unwrap().warnings(), [] as [String; 0]);
        }
    }
}

#[test]
fn a_slot_gives_what_its_role_has() {
    let (storage, admin, _) = repository();
    for role in Role::ALL {
        add(&storage, &admin, role.name(), role, "").unwrap();
        let opened = open(&storage, &password(role.name())).unwrap();
        assert_eq!((opened.role(), opened.repo_id), (role, admin.repo_id));
        assert_eq!(opened.secrets.to_bytes(), admin.secrets.to_bytes(), "what a join needs");
        assert_eq!(opened.pack_key("it", PackKind::Data, 0).is_ok(), role.has(Capability::ReadValues), "{role}");
        assert!(opened.pack_key("it", PackKind::Metadata, 0).is_ok());
        assert_eq!(opened.party_key(Party::Writer).is_ok(), role.has(Capability::Write));
        assert_eq!(opened.party_key(Party::Operator).is_ok(), role.has(Capability::Prune));
        let made = add(&storage, &opened, "another", Role::PutOnly, "");
        assert_eq!(made.is_ok(), role.has(Capability::Administer), "{role}");
        assert_eq!(opened.epochs[&0].root.is_some(), role == Role::Admin);
    }
    let listed = slots(&storage, &admin).unwrap();
    assert_eq!(listed.iter().filter(|slot| slot.role == Some(Role::PutOnly)).count(), 2);
}

#[test]
fn what_is_sealed_to_the_public_key_of_values_opens_for_who_may_read_them() {
    let (_, admin, _) = repository();
    let put_only = admin.for_role(Role::PutOnly).unwrap();
    let (capsule, key) = put_only.encapsulate().unwrap();
    for role in Role::ALL {
        let opened = admin.for_role(role).unwrap().decapsulate("it", 0, &capsule);
        match opened {
            Ok(found) => assert_eq!(*found, *key),
            Err(error) => assert!(role == Role::PutOnly && matches!(error, RepoError::Role { .. }), "{role}: {error}"),
        }
    }
}

#[test]
fn a_new_epoch_opens_for_new_slots_alone_and_old_objects_for_both() {
    let (storage, admin, recovery) = repository();
    let (name, next_recovery) = begin_epoch(&storage, &admin, &password("new"), FAST, "", now()).unwrap();
    let new = open(&storage, &password("new")).unwrap();
    assert_eq!((new.current_epoch, new.slot()), (1, name.as_str()));
    assert_eq!(new.epochs[&0].objects, admin.epochs[&0].objects);
    let recovered = open(&storage, &Unlock::Recovery(next_recovery.0.clone())).unwrap();
    assert_eq!(recovered.epochs[&1].objects, new.epochs[&1].objects);
    for old in [password("open sesame"), Unlock::Recovery(recovery.0.clone())] {
        let old = open(&storage, &old).unwrap();
        assert_eq!(old.current_epoch, 0);
        assert!(old.object_key("it", 1).unwrap_err().to_string().contains("of key epoch 1"));
    }
    assert!(begin_epoch(&storage, &admin.for_role(Role::Operator).unwrap(), &password("x"), FAST, "", now()).is_err());
}

#[test]
fn the_cheapest_slot_goes_first_so_that_a_planted_costly_one_is_not_met() {
    let (storage, keyring, _) = repository();
    let slot = slot::path(keyring.slot());
    let costly = forge(&storage.read(&slot).unwrap(), "\"memory_kib\":8", "\"memory_kib\":1048576");
    storage.create(&slot::path(&"0".repeat(32)), &costly).unwrap();
    // It comes first by name; trying it would take a GiB.
    assert_eq!(open(&storage, &password("open sesame")).unwrap().slot(), keyring.slot());
}

/// Keeps keys by turning their bits over.
struct Turning(&'static str);

impl KeyWrapper for Turning {
    fn provider(&self) -> &str {
        self.0
    }
    fn wrap(&self, key: &[u8; 32]) -> Result<Vec<u8>, String> {
        Ok(key.iter().map(|byte| !byte).collect())
    }
    fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        if self.0 == "refuses" {
            return Err("no".to_owned());
        }
        Ok(Zeroizing::new(wrapped.iter().map(|byte| !byte).collect()))
    }
}

#[test]
fn a_service_that_keeps_a_slots_key_opens_it() {
    let (storage, keyring, _) = repository();
    let service = Unlock::External(Arc::new(Turning("turning")));
    let name = add_slot(&storage, &keyring, &service, Role::Operator, FAST, "", now()).unwrap();
    let opened = open(&storage, &service).unwrap();
    assert_eq!((opened.slot(), opened.role()), (name.as_str(), Role::Operator));
    let listed = slots(&storage, &opened).unwrap();
    let shown = listed.iter().find(|slot| slot.name == name).unwrap();
    assert_eq!((shown.kind.as_str(), shown.provider.as_deref()), ("external", Some("turning")));
    let other = Unlock::External(Arc::new(Turning("other")));
    assert!(matches!(open(&storage, &other), Err(RepoError::WrongPassword { slots: 0, .. })));
    let refusing = Unlock::External(Arc::new(Turning("refuses")));
    let error = add_slot(&storage, &keyring, &refusing, Role::Operator, FAST, "", now()).unwrap_err();
    assert!(error.to_string().contains("no"), "{error}");
}

/// What gives no key any more: it says something else of each.
struct Silent;

impl KeyWrapper for Silent {
    fn provider(&self) -> &'static str {
        "turning"
    }
    fn wrap(&self, _: &[u8; 32]) -> Result<Vec<u8>, String> {
        Err("no".to_owned())
    }
    fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        Err(if wrapped[0] < 128 { "no".to_owned() } else { "nobody answers".to_owned() })
    }
}

#[test]
fn a_service_that_gives_no_key_is_no_damage_however_many_slots_it_keeps() {
    let (storage, keyring, _) = repository();
    let service = Unlock::External(Arc::new(Turning("turning")));
    let silent = Unlock::External(Arc::new(Silent));
    for _ in 0..3 {
        add_slot(&storage, &keyring, &service, Role::Operator, FAST, "", now()).unwrap();
        let Err(RepoError::KeyService { service, reason }) = open(&storage, &silent) else { panic!("another error") };
        assert_eq!(service, "turning");
        assert!(reason == "no" || reason == "nobody answers" || reason.split("; ").count() == 2, "{reason}");
    }
    let name = slot::path(keyring.slot());
    let torn = with(&storage, &name, &storage.read(&name).unwrap()[..40]);
    let Err(RepoError::KeyService { reason, .. }) = open(&torn, &silent) else { panic!("another error") };
    assert!(reason.contains(&name), "{reason}");
    assert_eq!(open(&torn, &service).unwrap().role(), Role::Operator);
}

#[test]
fn a_wrong_password_beside_a_slot_that_is_not_known_is_a_wrong_password() {
    let (storage, keyring, _) = repository();
    let other = slot::path(&add(&storage, &keyring, "other", Role::Admin, "there").unwrap());
    let bytes = storage.read(&other).unwrap();
    for (from, to) in [
        ("\"password\"", "\"passkey\""),
        ("\"role\":\"admin\"", "\"role\":\"auditor\""),
        ("\"suite\":1", "\"suite\":9"),
    ] {
        let newer = with(&storage, &other, &forge(&bytes, from, to));
        let error = open(&newer, &password("mistyped")).unwrap_err();
        assert!(matches!(error, RepoError::WrongPassword { slots: 1, .. }), "{error}");
        assert!(error.to_string().contains(&other), "{error}");
        // Where it is the only one, it is the reason.
        let alone = with(&newer, &slot::path(keyring.slot()), &forge(&bytes, from, to));
        let error = open(&alone, &password("open sesame")).unwrap_err();
        assert!(!matches!(error, RepoError::Damaged { .. }), "{error}");
    }
}

#[test]
fn slots_are_added_listed_and_removed_but_never_the_last() {
    let (storage, keyring, recovery) = repository();
    let added = add(&storage, &keyring, "second", Role::Admin, "you@there").unwrap();
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
            assert!(opened.unwrap().warnings().iter().any(|warning| warning.contains(&name)));
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
        config::parse_config(CONFIG, bytes).map(drop)
    } else {
        slot::Slot::parse(keyring.slot(), name, bytes, &keyring.repo_id).map(drop)
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
        (&slot, "\"role\":\"admin\"", "\"role\":\"operator\""),
        (&slot, "\"suite\":1", "\"suite\":2"),
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
        ("\"memory_kib\":8,\"passes\":1", "\"memory_kib\":1048576,\"passes\":5"),
    ] {
        let costly = with(&storage, &slot, &forge(&storage.read(&slot).unwrap(), from, to));
        assert!(matches!(open(&costly, &password("open sesame")), Err(RepoError::Damaged { .. })), "{to}");
    }
    assert!(made(&Storage::at("memory:///").unwrap(), "", None).is_err());
    let suite = with(&storage, CONFIG, &forge(&config, "\"suite\":1", "\"suite\":3"));
    assert!(matches!(open(&suite, &password("x")), Err(RepoError::UnknownFeature { .. })));
}

#[test]
fn a_slot_of_a_kind_that_is_not_known_is_named_and_keeps_nobody_out() {
    let (storage, keyring, _) = repository();
    let other = add(&storage, &keyring, "other", Role::Admin, "there").unwrap();
    let slot = slot::path(&other);
    let newer = with(&storage, &slot, &forge(&storage.read(&slot).unwrap(), "\"password\"", "\"passkey\""));
    let opened = open(&newer, &password("open sesame")).unwrap();
    let said = opened.newer().join("; ");
    assert_eq!(opened.warnings(), [] as [&str; 0]);
    assert!(said.contains("slot kind `passkey`") && said.contains("the other key slots are tried"), "{said}");
}

#[test]
fn a_feature_that_writers_must_know_lets_readers_read() {
    let mut keyring = Keyring::ephemeral().unwrap();
    keyring.unwritable = Some("write:shards".to_owned());
    assert!(keyring.need(Capability::ReadValues).is_ok());
    let error = keyring.need(Capability::Write).unwrap_err();
    assert!(
        error.to_string().contains("write:shards") && error.to_string().contains("everything can be read"),
        "{error}"
    );
    let lease = keyring.lease_key(Party::Reader).unwrap();
    let (kind, name) = (crate::repo::object::ObjectKind::Lease, format!("leases/{}/0", lease.lease()));
    crate::repo::object::make(&keyring, Signer::Lease(&lease), kind, &name, b"{}").unwrap();
    for party in [Party::Writer, Party::Operator] {
        assert!(matches!(keyring.lease_key(party), Err(RepoError::UnknownFeature { .. })));
    }
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
        self.inner.delete(&format!("{COPIES}{}", self.victim)).map_err(std::io::Error::other)?;
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
