//! The damage matrix: each kind of object, each kind of damage, and what every verb then says. Never a panic, never
//! silently wrong data, always the name of what is damaged.

use crate::support::{
    Db, Heard, Image, MemorySource, MemoryTarget, Rec, Rng, World,
    db::{assert_same, sample},
    world::{back_up, plain, restore_with, restored, verify_all},
};
use rekeep::{
    ops::{
        OpsError,
        backup::backup,
        restore::{RestoreOptions, RestoreOutcome},
        verify::{Finding, verify_keyless},
    },
    repo::{Manifest, RepoError, Repository, Snapshot, SnapshotId, ids::PackKind, object::ObjectKind, pack},
};
use std::{collections::BTreeMap, sync::OnceLock};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Object {
    Config,
    Slot,
    Snapshot,
    Index,
    MetadataPack,
    DataPack,
    Lease,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Truncated,
    Emptied,
    BitFlipped,
    Lengthened,
    Swapped,
    Duplicated,
    Gone,
}

const OBJECTS: [Object; 7] = [
    Object::Config,
    Object::Slot,
    Object::Snapshot,
    Object::Index,
    Object::MetadataPack,
    Object::DataPack,
    Object::Lease,
];

const HARMS: [Harm; 7] =
    [Harm::Truncated, Harm::Emptied, Harm::BitFlipped, Harm::Lengthened, Harm::Swapped, Harm::Duplicated, Harm::Gone];

/// A sound repository of three snapshots, and what it should give.
struct Sound {
    image: Image,
    /// Another repository's `rekeep.json`.
    foreign: Vec<u8>,
    /// By snapshot, oldest first: what it holds. The second is a delta on the first, the third stands alone.
    states: Vec<(SnapshotId, Db)>,
    /// The object of each kind that is damaged, and its sibling.
    chosen: BTreeMap<&'static str, (String, Option<String>)>,
}

fn sound() -> &'static Sound {
    static SOUND: OnceLock<Sound> = OnceLock::new();
    SOUND.get_or_init(make)
}

fn make() -> Sound {
    let (world, repo) = World::new();
    let mut db = sample(51, 1_200, 700);
    db.get_mut("c").unwrap().records.insert(b"zz big".to_vec(), Rec::blob(Rng::new(4).bytes(600_000)));
    let mut states = Vec::new();
    let mut take = |db: &Db, name: &str| {
        let mut source = MemorySource::of(db.clone(), &world.clock);
        name.clone_into(&mut source.name);
        states.push((back_up(&repo, &source).id.unwrap(), db.clone()));
        world.clock.advance(1000);
    };
    take(&db, "memory");
    let first: Vec<String> = world.backend.names("packs/");
    let records = &mut db.get_mut("c").unwrap().records;
    for n in (0..1_200).step_by(40) {
        records.insert(format!("key{n:06}").into_bytes(), Rec::text("changed"));
    }
    records.remove(b"key000003".as_slice());
    take(&db, "memory");
    take(&sample(52, 100, 300), "other");

    let image = world.backend.image();
    let mut chosen = BTreeMap::new();
    let pair = |names: Vec<String>| (names[0].clone(), names.get(1).cloned());
    let packs = |kind: PackKind| {
        let mut names: Vec<String> =
            repo.packs().unwrap().iter().filter(|info| info.kind == kind).map(|info| pack::path(&info.name)).collect();
        // That of the first snapshot, so that two snapshots need it.
        names.sort_by_key(|name| !first.contains(name));
        pair(names)
    };
    chosen.insert("metadata", packs(PackKind::Metadata));
    chosen.insert("data", packs(PackKind::Data));
    let snapshots: Vec<String> = states.iter().map(|(id, _)| format!("snapshots/{id}/0")).collect();
    chosen.insert("snapshot", pair(snapshots));
    chosen.insert("index", pair(world.backend.names("index/")));
    chosen.insert("lease", pair(world.backend.names("leases/")));
    // The slot that the password opens comes first.
    let mut slots = world.backend.names("keys/");
    slots.sort_by_key(|name| {
        let mut without = image.clone();
        without.remove(name);
        without.remove(&format!("copies/{name}"));
        World::over(without).try_open().is_ok()
    });
    chosen.insert("slot", pair(slots));
    let (other, _) = World::new();
    Sound { image, foreign: other.backend.image()["rekeep.json"].clone(), states, chosen }
}

impl Object {
    fn chosen(self, sound: &Sound) -> (String, Option<String>) {
        match self {
            Self::Config => ("rekeep.json".to_owned(), None),
            Self::Slot => sound.chosen["slot"].clone(),
            Self::Snapshot => sound.chosen["snapshot"].clone(),
            Self::Index => sound.chosen["index"].clone(),
            Self::MetadataPack => sound.chosen["metadata"].clone(),
            Self::DataPack => sound.chosen["data"].clone(),
            Self::Lease => sound.chosen["lease"].clone(),
        }
    }

    /// Where a copy would lie, under a name of the same form.
    fn copy_of(name: &str) -> String {
        let swapped = |digit: char| if digit == 'a' { 'b' } else { 'a' };
        let (folder, last) = name.rsplit_once('/').unwrap_or(("", name));
        match folder.split('/').next().unwrap_or_default() {
            "snapshots" | "leases" => {
                let (root, id) = folder.split_once('/').unwrap();
                let other: String = id.chars().map(swapped).collect();
                format!("{root}/{other}/{last}")
            }
            "packs" => {
                let other: String = last.chars().map(swapped).collect();
                format!("packs/{}/{other}", &other[..2])
            }
            "" => "rekeep.json.copy".to_owned(),
            _ => format!("{folder}/{}", last.chars().map(swapped).collect::<String>()),
        }
    }
}

/// Damages the image; gives the names that are now wrong.
fn harm(image: &mut Image, sound: &Sound, object: Object, harm: Harm) -> Vec<String> {
    let (name, sibling) = object.chosen(sound);
    let bytes = image.get_mut(&name).unwrap();
    match harm {
        Harm::Truncated => bytes.truncate(bytes.len() / 2),
        Harm::Emptied => bytes.clear(),
        Harm::BitFlipped => {
            // A frame in the middle; in packs the padding at the end would be harmless to readers.
            let at = if matches!(object, Object::DataPack | Object::MetadataPack) { 400 } else { bytes.len() / 2 };
            bytes[at] ^= 0x10;
        }
        Harm::Lengthened => bytes.push(0),
        Harm::Swapped => {
            let Some(sibling) = sibling else {
                bytes.clone_from(&sound.foreign);
                return vec![name];
            };
            let (one, two) = (image[&name].clone(), image[&sibling].clone());
            image.insert(name.clone(), two);
            image.insert(sibling.clone(), one);
            return vec![name, sibling];
        }
        Harm::Duplicated => {
            let copy = Object::copy_of(&name);
            let bytes = bytes.clone();
            image.insert(copy.clone(), bytes);
            return vec![copy];
        }
        Harm::Gone => drop(image.remove(&name)),
    }
    vec![name]
}

/// The part of a name that messages must hold.
fn short(name: &str) -> &str {
    let mut parts = name.rsplit('/');
    let last = parts.next().unwrap();
    if name.starts_with("snapshots/") || name.starts_with("leases/") { parts.next().unwrap() } else { last }
}

fn names_it(texts: &[String], names: &[String]) -> bool {
    names.iter().any(|name| texts.iter().any(|text| text.contains(short(name))))
}

fn texts(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| format!("{}: {}", finding.object, finding.problem)).collect()
}

/// A restore gives just what was there, or says that it does not.
fn check_restore(repo: &Repository, taken: &Snapshot, expected: &Db, what: &str, heard: &mut Vec<String>) -> bool {
    let target = MemoryTarget::default();
    let strict = restore_with(repo, taken, &target, &RestoreOptions::default());
    let whole = match &strict {
        Ok(outcome) => {
            assert!(outcome.complete, "{what}: a restore without keep-going is whole or fails");
            assert_same(&target.held(), expected, what);
            true
        }
        Err(error) => {
            heard.push(error.to_string());
            false
        }
    };
    let target = MemoryTarget::default();
    let options = RestoreOptions { keep_going: true, ..RestoreOptions::default() };
    match restore_with(repo, taken, &target, &options) {
        Ok(outcome) => check_kept(&outcome, &target.held(), expected, whole, what, heard),
        Err(error) => {
            assert!(!whole, "{what}: keep-going fails where a strict restore works: {error}");
            heard.push(error.to_string());
        }
    }
    whole
}

fn check_kept(outcome: &RestoreOutcome, held: &Db, expected: &Db, whole: bool, what: &str, heard: &mut Vec<String>) {
    heard.extend(outcome.damage.iter().cloned());
    for (name, coll) in held {
        for (key, rec) in &coll.records {
            assert_eq!(expected[name].records.get(key), Some(rec), "{what}: keep-going gave something else");
        }
    }
    assert_eq!(outcome.complete, whole, "{what}: {:?}", outcome.damage);
    if whole {
        assert_same(held, expected, what);
    } else {
        assert!(!outcome.damage.is_empty(), "{what}: what is lost is said");
    }
}

fn check_opened(repo: &Repository, object: Object, kind: Harm, names: &[String], world: &World) {
    let sound = sound();
    let what = format!("{object:?} {kind:?}");
    let found = repo.snapshots().unwrap();
    let all = repo.warnings().iter().cloned().chain(repo.listing().unwrap().warnings);
    let mut heard: Vec<String> = all.map(|warning| warning.words).collect();
    let mut whole = 0;
    for (id, expected) in &sound.states {
        match found.iter().find(|s| s.id == *id) {
            Some(taken) => whole += usize::from(check_restore(repo, taken, expected, &what, &mut heard)),
            None => assert_eq!(object, Object::Snapshot, "{what}: snapshot {id} is gone"),
        }
    }
    let verified = verify_all(repo).unwrap_or_else(|error| panic!("{what}: verify: {error}"));
    let findings = texts(&verified.findings);
    let all_whole = whole == sound.states.len();
    assert!(all_whole || !findings.is_empty() || found.len() < sound.states.len(), "{what}: verify finds nothing");
    if object == Object::Snapshot && kind != Harm::Gone {
        assert!(names_it(&findings, names), "{what}: verify does not name {names:?}: {findings:#?}");
    }
    heard.extend(findings);
    match (object, kind) {
        // Nobody can know of a snapshot that is not there and never was here; leases of the past bind nobody.
        (Object::Snapshot, Harm::Gone) | (Object::Lease, _) => {}
        // A pack under a wrong name is in no index: only the scrub sees it. A second config or slot is a stray file.
        (Object::MetadataPack | Object::DataPack | Object::Config, Harm::Duplicated) => assert!(all_whole, "{what}"),
        // Without an index object its chunks are in no pack.
        (Object::Index, Harm::Gone) => assert!(!heard.is_empty(), "{what}"),
        (Object::Slot, _) => assert!(all_whole && names_it(&heard, names), "{what}: {heard:#?}"),
        _ => assert!(names_it(&heard, names), "{what}: {names:?} is named nowhere in {heard:#?}"),
    }
    check_next_backup(repo, object, kind, names, world);
}

/// The next backup of what the second snapshot was taken of, plus something.
fn check_next_backup(repo: &Repository, object: Object, kind: Harm, names: &[String], world: &World) {
    let what = format!("{object:?} {kind:?}: the next backup");
    let mut db = sound().states[1].1.clone();
    db.get_mut("c").unwrap().records.insert(b"after".to_vec(), Rec::text("the damage"));
    world.clock.advance(60_000);
    let source = MemorySource::of(db.clone(), &world.clock);
    let progress = Heard::default();
    let outcome = backup(repo, &source, &plain(), &progress).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(outcome.complete, "{what}");
    // Half of a pack may be all but padding: what is in it can be read then.
    let unreadable = matches!(kind, Harm::Emptied | Harm::BitFlipped | Harm::Swapped | Harm::Gone);
    if object == Object::MetadataPack && unreadable {
        assert_eq!(outcome.parent, None, "{what}: a parent whose keys cannot be read is no parent");
        assert!(names_it(&[progress.warnings()], names), "{what}: {}", progress.warnings());
    }
    let taken = repo.snapshots().unwrap().into_iter().find(|s| Some(s.id) == outcome.id).unwrap();
    let target = MemoryTarget::default();
    match restore_with(repo, &taken, &target, &RestoreOptions::default()) {
        Ok(_) => assert_same(&target.held(), &db, &what),
        // Values under a name that promises other bytes are only found out by reading them: a join reads its parent's
        // keys alone. The error names the pack.
        Err(error) => {
            assert!(
                object == Object::DataPack && kind != Harm::Gone && kind != Harm::Duplicated,
                "{what} cannot be restored: {error}"
            );
            assert!(error.to_string().contains("in pack"), "{what}: {error}");
        }
    }
}

fn check_keyless(world: &World, object: Object, kind: Harm, names: &[String]) {
    let what = format!("{object:?} {kind:?} without a key");
    let found = match verify_keyless(&world.storage(), &Heard::default()) {
        Ok(outcome) => texts(&outcome.findings),
        Err(error) => vec![error.to_string()],
    };
    match (object, kind) {
        // What is gone without a trace, or is whole but another's, is not seen from outside: sealed objects carry their
        // name in the seal only.
        (Object::Snapshot | Object::Index | Object::Lease | Object::Slot, Harm::Gone)
        | (Object::Config | Object::Slot | Object::Snapshot, Harm::Swapped | Harm::Duplicated) => {}
        _ => assert!(names_it(&found, names), "{what}: {names:?} is named nowhere in {found:#?}"),
    }
}

fn check(object: Object, kind: Harm) {
    let sound = sound();
    let mut image = sound.image.clone();
    let names = harm(&mut image, sound, object, kind);
    let world = World::over(image);
    check_keyless(&world, object, kind, &names);
    // Of what the repository cannot be opened without there is a second one.
    let repo = world.try_open().unwrap_or_else(|error| panic!("{object:?} {kind:?}: opening: {error}"));
    check_opened(&repo, object, kind, &names, &world);
}

#[test]
fn the_sound_repository_is_sound() {
    let world = World::over(sound().image.clone());
    let repo = world.open();
    for (taken, (_, expected)) in repo.snapshots().unwrap().iter().zip(&sound().states) {
        assert_same(&restored(&repo, taken), expected, "undamaged");
    }
    let outcome = verify_all(&repo).unwrap();
    assert!(outcome.findings.is_empty(), "{:#?}", outcome.findings);
    let keyless = verify_keyless(&world.storage(), &Heard::default()).unwrap();
    assert!(keyless.findings.is_empty(), "{:#?}", keyless.findings);
}

#[test]
fn each_damage_to_each_object_is_named_and_harms_nothing_else() {
    let mut failed = Vec::new();
    for object in OBJECTS {
        for kind in HARMS {
            if std::panic::catch_unwind(|| check(object, kind)).is_err() {
                failed.push(format!("{object:?} {kind:?}"));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// Every byte of a small repository, one after the other, in steps: no panic, nothing silently wrong.
#[test]
fn a_flipped_bit_anywhere_is_an_error_or_harmless() {
    let (world, repo) = World::new();
    let db = sample(61, 30, 60);
    let id = back_up(&repo, &MemorySource::of(db.clone(), &world.clock)).id.unwrap();
    let image = world.backend.image();
    let mut rng = Rng::new(77);
    for (name, bytes) in &image {
        // The metadata and data packs are padded: what lies in the padding is covered by the name alone.
        for _ in 0..8 {
            let at = rng.below(bytes.len().min(4096) as u64) as usize;
            let bit = 1 << rng.below(8);
            let mut harmed = image.clone();
            harmed.get_mut(name).unwrap()[at] ^= bit;
            let what = format!("{name} byte {at} bit {bit}");
            let world = World::over(harmed);
            let Ok(repo) = world.try_open() else { continue };
            let Some(taken) = repo.snapshots().unwrap().into_iter().find(|s| s.id == id) else {
                assert!(
                    !(repo.warnings().is_empty() && repo.listing().unwrap().warnings.is_empty()),
                    "{what}: a snapshot is gone without a word"
                );
                continue;
            };
            let target = MemoryTarget::default();
            if restore_with(&repo, &taken, &target, &RestoreOptions::default()).is_ok() {
                assert_same(&target.held(), &db, &what);
            }
            let keyless = verify_keyless(&world.storage(), &Heard::default());
            assert!(keyless.map_or(true, |outcome| !outcome.findings.is_empty()), "{what}: the scrub finds nothing");
        }
    }
}

#[test]
fn the_recovery_key_opens_when_the_password_slot_is_damaged() {
    let world = World::over(Image::new());
    let init = rekeep::repo::InitOptions { kdf: crate::support::world::fast_kdf(), label: "test".to_owned() };
    let (repo, recovery) =
        Repository::init(&world.storage(), &crate::support::world::unlock(), None, &init, &world.options()).unwrap();
    drop(repo);
    let unlock = rekeep::repo::Unlock::Recovery(recovery.0.clone());
    for slot in world.backend.names("keys/") {
        let image = world.backend.image();
        world.backend.tamper(|image| {
            image.get_mut(&slot).unwrap().truncate(10);
            image.get_mut(&format!("copies/{slot}")).unwrap().truncate(10);
        });
        let by_password = world.try_open().is_ok();
        let by_recovery = Repository::open(&world.storage(), &unlock, &world.options()).is_ok();
        assert!(by_password != by_recovery, "one slot opens, the damaged one does not");
        world.backend.tamper(|now| now.clone_from(&image));
    }
}

#[test]
fn a_damaged_old_snapshot_does_not_keep_the_parent_from_being_used() {
    let sound = sound();
    let mut image = sound.image.clone();
    image.get_mut(&format!("snapshots/{}/0", sound.states[0].0)).unwrap()[60] ^= 1;
    let world = World::over(image);
    world.clock.advance(60_000);
    let repo = world.open();
    let outcome = back_up(&repo, &MemorySource::of(sound.states[1].1.clone(), &world.clock));
    assert_eq!(outcome.parent, Some(sound.states[1].0));
    assert_eq!(outcome.stats.chunks_new, 0);
}

#[test]
fn make_equal_removes_nothing_when_parts_of_the_snapshot_are_lost() {
    let sound = sound();
    let mut image = sound.image.clone();
    harm(&mut image, sound, Object::DataPack, Harm::BitFlipped);
    let world = World::over(image);
    let repo = world.open();
    let taken = repo.snapshots().unwrap().into_iter().find(|s| s.id == sound.states[0].0).unwrap();
    let mut before = sound.states[0].1.clone();
    before.get_mut("c").unwrap().records.insert(b"extra".to_vec(), Rec::text("extra"));
    for rec in before.get_mut("c").unwrap().records.values_mut() {
        rec.expiry = 4_000_000_000_000;
    }
    let target = MemoryTarget::holding(before);
    let options = RestoreOptions { make_equal: true, keep_going: true, ..RestoreOptions::default() };
    let outcome = restore_with(&repo, &taken, &target, &options).unwrap();
    assert!(!outcome.complete && outcome.outcomes.removed == 0, "{outcome:?}");
    assert!(target.held()["c"].records.contains_key(b"extra".as_slice()));
    assert!(outcome.notes.iter().any(|note| note.contains("nothing was removed")), "{:?}", outcome.notes);
}

#[test]
fn a_repository_from_the_future_is_refused_in_words() {
    let edit = |from: &str, to: &str| {
        let mut image = sound().image.clone();
        let text = String::from_utf8(image["rekeep.json"].clone()).unwrap();
        let line = format!("{}\n", text.lines().next().unwrap().replace(from, to));
        assert!(!text.starts_with(&line), "the edit changed something");
        let hash = blake3::hash(line.as_bytes());
        image.insert("rekeep.json".to_owned(), format!("{line}\"{hash}\"\n").into_bytes());
        World::over(image).try_open()
    };
    let newer = edit("\"format\":1", "\"format\":2").err().unwrap();
    assert!(matches!(&newer, RepoError::NewerFormat { found: 2, .. }), "{newer}");
    assert!(newer.to_string().contains("newer rekeep"));
    let feature = edit("\"features\":[]", "\"features\":[\"time-travel\"]").err().unwrap();
    assert!(
        matches!(&feature, RepoError::UnknownFeature { feature, .. } if feature.contains("time-travel")),
        "{feature}"
    );
    let changed = edit("\"created\":1", "\"created\":2").unwrap();
    let told: String = changed.warnings().iter().map(ToString::to_string).collect();
    assert!(told.contains("rekeep.json is damaged") && told.contains("copy was used"), "{told}");
}

#[test]
fn a_wrong_password_and_an_empty_place_are_told_apart() {
    let world = World::over(sound().image.clone());
    let wrong = rekeep::repo::Unlock::Password("not it".to_owned());
    let error = Repository::open(&world.storage(), &wrong, &world.options()).err().unwrap();
    assert!(matches!(error, RepoError::WrongPassword { .. }), "{error}");
    let error = World::over(Image::new()).try_open().err().unwrap();
    assert!(matches!(error, RepoError::NoRepository { .. }), "{error}");
    let error: OpsError = verify_keyless(&World::over(Image::new()).storage(), &Heard::default()).err().unwrap();
    assert!(matches!(error, OpsError::Repo(RepoError::NoRepository { .. })), "{error}");
}

#[test]
fn numbers_that_are_wrong_are_named_by_the_test_restore() {
    let (world, repo) = World::new();
    let db = sample(61, 300, 400);
    back_up(&repo, &MemorySource::of(db.clone(), &world.clock));
    world.clock.advance(1000);
    let mut changed = db;
    changed.values_mut().next().unwrap().records.pop_first();
    let id = back_up(&repo, &MemorySource::of(changed, &world.clock)).id.unwrap();
    let sound = repo.snapshot(&id).unwrap().unwrap();
    let image = world.backend.image();
    let found = |change: &dyn Fn(&mut Manifest)| {
        let mut wrong = (*sound).clone();
        wrong.revision = 1;
        change(&mut wrong);
        let path = format!("snapshots/{id}/1");
        let sealed = repo.made_by_operator(ObjectKind::Snapshot, &path, &serde_json::to_vec(&wrong).unwrap()).unwrap();
        let mut image = image.clone();
        image.insert(path, sealed);
        let repo = World::over(image).open();
        texts(&verify_all(&repo).unwrap().findings).join("; ")
    };
    let with = |collection: &'static dyn Fn(&mut rekeep::repo::manifest::Collection)| {
        found(&|wrong| collection(wrong.collections.iter_mut().find(|it| it.stack.len() == 2).unwrap()))
    };
    assert_eq!(found(&|wrong| wrong.tags.push("t".to_owned())), "");
    for (text, words) in [
        (with(&|it| it.bytes += 1 << 40), "were backed up"),
        (with(&|it| it.bytes = 1), "were backed up"),
        (with(&|it| it.records += 1), "were backed up"),
        (with(&|it| drop(it.stack.remove(0))), "one is missing"),
        (with(&|it| it.stack.swap(0, 1)), "fingerprint differs"),
        (with(&|it| drop(it.stack.pop())), "fingerprint differs"),
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}
