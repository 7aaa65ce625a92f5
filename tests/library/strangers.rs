//! Every kind of object, as somebody else would have it: forged, of another repository, under another name, of a kind, version,
//! suite or epoch that is not known, signed and nonsense, cut, longer than it may be, brought back after it had gone. Whatever it
//! is, it is named, and nothing else is harmed: the other snapshots come back, backups commit, prunes take away nothing that is
//! needed, and what reads the folder goes on.
//!
//! Each harm is done to several kinds at once; with `REKEEP_TEST_LARGE=1` to each alone.

use crate::{
    matrix::{running, take},
    support::{
        Db, Heard, Image, MemorySource, MemoryTarget, World,
        db::sample,
        rng::from_env,
        world::{plain, restore_with},
    },
};
use rekeep::{
    ops::{
        backup::{BackupOptions, backup},
        prune::{PruneOptions, prune},
        restore::RestoreOptions,
        verify::{VerifyOptions, verify},
    },
    record::{Clock, Timestamp},
    repo::{
        RepoError, Repository, SnapshotId, claims::Claimed, drills::DrillReport, object, object::ObjectKind,
        session::SessionTiming,
    },
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// What is done to which objects, and the bytes that lie under their names then.
struct Harmed {
    thing: String,
    harm: &'static str,
    objects: Vec<(String, Vec<u8>)>,
}

/// What of a configuration is never passed over, though its copy says something else: a newer program may have written it.
const REFUSED: [&str; 3] = ["of a newer format", "of an unknown suite", "of an unknown feature"];

/// What keeps pruners from deleting is not harmed together with what does not.
const STOPPING: [&str; 3] = ["the only revision", "a tombstone", "a mark"];

/// The cells with one harm each become cells with the same harm to many.
fn together(cells: Vec<Harmed>) -> Vec<Harmed> {
    let mut by_harm: BTreeMap<(&str, bool), Vec<Harmed>> = BTreeMap::new();
    for cell in cells {
        by_harm.entry((cell.harm, STOPPING.contains(&cell.thing.as_str()))).or_default().push(cell);
    }
    by_harm.into_iter().map(|((harm, _), cells)| one(harm, cells)).collect()
}

fn one(harm: &'static str, cells: Vec<Harmed>) -> Harmed {
    let mut things: Vec<&str> = cells.iter().map(|it| it.thing.as_str()).collect();
    things.dedup();
    Harmed { thing: things.join(", "), harm, objects: cells.into_iter().flat_map(|it| it.objects).collect() }
}

/// A repository with every kind of object, and another one like it.
struct Sound {
    image: Image,
    now: Timestamp,
    states: Vec<(SnapshotId, Db)>,
    /// Small objects by kind.
    small: Vec<(&'static str, ObjectKind, String)>,
    /// What was there once and is there no more.
    gone: Image,
    /// Makes objects as an operator of this repository would.
    maker: Repository,
}

pub fn report(repo: &Repository, id: SnapshotId) -> DrillReport {
    serde_json::from_value(json!({
        "source": { "connector": "memory", "name": "memory", "host": "h", "url": "memory:" },
        "snapshot": id, "snapshot_end": 0, "scope": "", "tags": [], "previous": null, "location": repo.place_hash(),
        "place": "test:", "host": "h", "program": { "name": "rekeep", "version": "0" }, "started": 0, "finished": 1,
        "target": "memory:", "sample": null, "rpo_millis": 0, "rto_millis": 1, "goals": { "rpo_millis": null, "rto_millis": null },
        "records": 1, "bytes": 1, "compared": 1, "different": 0, "collections": [], "checks": [], "passed": true, "notes": [],
    }))
    .unwrap()
}

/// A repository in memory with something of everything, and the names of what is looked at.
fn make(seed: u64) -> Sound {
    let (world, repo) = World::new();
    let one = |folder: &str| world.backend.names(folder)[0].clone();
    let gathered: Vec<SnapshotId> = (0..2).map(|n| take(&world, &repo, &sample(seed + n, 20, 50), "gone")).collect();
    for id in &gathered {
        repo.forget(id).unwrap();
    }
    let before = world.backend.image();
    let options = rekeep::repo::pruner::PrunerOptions {
        walk: Arc::new(rekeep::repo::pruner::flat::Flat),
        grace: Duration::ZERO,
        write_limit: None,
    };
    let pruning = repo.begin_prune(&options, &SessionTiming::default()).unwrap();
    pruning.tidy().unwrap();
    pruning.gather_from(0).unwrap();
    pruning.end().unwrap();
    prune(&repo, &PruneOptions::default(), &Heard::default()).unwrap();
    let mut states = Vec::new();
    for (n, name) in [(10, "memory"), (11, "alone"), (12, "third")] {
        let db = sample(seed + n, 60, 200);
        states.push((take(&world, &repo, &db, name), db));
    }
    repo.revise(&states[0].0, &|manifest| manifest.tags = vec!["kept".to_owned()]).unwrap();
    let forgotten = take(&world, &repo, &sample(seed + 20, 50, 100), "other");
    repo.forget(&forgotten).unwrap();
    let fenced = running(&repo, true);
    let killed = running(&repo, false);
    repo.fence(&fenced).unwrap();
    prune(&repo, &PruneOptions::default(), &Heard::default()).unwrap();
    let mark = one("trash/");
    let body = object::unwrap(ObjectKind::Mark, &mark, &world.backend.image()[&mark]).unwrap();
    let body: rekeep::repo::lease::MarkBody = serde_json::from_slice(&body).unwrap();
    let note = format!("damage/{}", body.packs[0]);
    let says = json!({"damaged": body.packs[0], "problem": "it was", "host": "a", "time": 0}).to_string();
    let promises = format!("promises/{}/0", "ab".repeat(16));
    let verdict = json!({
        "location": "ab".repeat(32), "conditional_create": true, "prompt_listing": true, "findings": [], "time": 0,
    });
    for (kind, name, says) in
        [(ObjectKind::Damage, &note, says), (ObjectKind::Promises, &promises, verdict.to_string())]
    {
        let made = repo.made_by_operator(kind, name, says.as_bytes()).unwrap();
        world.backend.tamper(|image| drop(image.insert(name.clone(), made)));
    }
    for _ in 0..2 {
        repo.keep_drill(&report(&repo, states[0].0)).unwrap();
    }
    let mut series = repo.begin_audit(None).unwrap();
    for _ in 0..2 {
        repo.append_audit(&mut series, vec![json!({"did": "it"})]).unwrap();
    }
    assert_eq!(repo.claim("nightly", 5, "me").unwrap(), Claimed::Ours);
    let broken = Arc::new(Mutex::new(sample(seed + 30, 200, 50)));
    let mut source = MemorySource::resumable(&broken, &world.clock, 4);
    "broken".clone_into(&mut source.name);
    let heard = Heard::default();
    heard.cancel_after.store(100, Ordering::Relaxed);
    backup(&repo, &source, &BackupOptions { parallel: 1, checkpoint_after: Duration::ZERO, ..plain() }, &heard)
        .unwrap_err();
    let ended = one("checkpoints/").split('/').nth(1).unwrap().to_owned();

    let small = vec![
        ("the only revision", ObjectKind::Snapshot, format!("snapshots/{}/0", states[1].0)),
        ("a revision", ObjectKind::Snapshot, format!("snapshots/{}/1", states[0].0)),
        ("a tombstone", ObjectKind::Tombstone, format!("snapshots/{forgotten}/1")),
        ("a void", ObjectKind::Void, format!("snapshots/{fenced}/0")),
        ("a lease", ObjectKind::Lease, format!("leases/{killed}/0")),
        ("an end", ObjectKind::LeaseEnd, format!("leases/{ended}/end")),
        ("a mark", ObjectKind::Mark, mark),
        ("a checkpoint", ObjectKind::Checkpoint, one("checkpoints/")),
        ("a collective tombstone", ObjectKind::Forgotten, one("forgotten/")),
        ("a damage note", ObjectKind::Damage, note),
        ("promises", ObjectKind::Promises, promises),
        ("a claim", ObjectKind::Claim, one("claims/")),
        ("an audit entry", ObjectKind::Audit, one("audit/")),
        ("a report", ObjectKind::Drill, one("drills/")),
    ];
    let image = world.backend.image();
    let gone = before.into_iter().filter(|(name, _)| !image.contains_key(name)).collect();
    Sound { image, now: world.clock.now(), states, small, gone, maker: repo }
}

fn both() -> &'static (Sound, Sound) {
    static BOTH: OnceLock<(Sound, Sound)> = OnceLock::new();
    BOTH.get_or_init(|| (make(500), make(600)))
}

/// The hash at the end is made to fit again.
fn rehashed(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - 32;
    let hash = blake3::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(hash.as_bytes());
    bytes
}

fn with(bytes: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[at] = byte;
    rehashed(changed)
}

/// The same folder, a name that nothing bears.
fn elsewhere(name: &str) -> String {
    let mut parts: Vec<String> = name.split('/').map(str::to_owned).collect();
    parts[1] = parts[1].chars().map(|digit| if digit == 'a' { 'b' } else { 'a' }).collect();
    parts.join("/")
}

fn small_ones(sound: &Sound, other: &Sound) -> Vec<Harmed> {
    let mut all = Vec::new();
    for (at, (thing, kind, name)) in sound.small.iter().enumerate() {
        let bytes = &sound.image[name];
        let fellow = &other.image[&other.small[at].2];
        let mut put = |harm, name: &str, bytes: Vec<u8>| {
            all.push(Harmed { thing: (*thing).to_owned(), harm, objects: vec![(name.to_owned(), bytes)] });
        };
        put("forged", name, object::unsigned(*kind, name, b"{}"));
        put("another repository's", name, fellow.clone());
        put("another repository's, beside it", &elsewhere(name), fellow.clone());
        put("under another name", &elsewhere(name), bytes.clone());
        put("an unknown kind", name, with(bytes, 10, 99));
        put("a kind that is reserved", name, with(bytes, 10, 15));
        put("a newer version", name, with(bytes, 8, 2));
        put("an epoch that nobody holds", name, with(bytes, 12, 9));
        put("an unknown suite", name, with(bytes, 11, 9));
        put("cut", name, bytes[..bytes.len() * 2 / 3].to_vec());
        put("cut to its magic", name, bytes[..8].to_vec());
        put("longer than it may be", name, vec![0; ObjectKind::max_bytes_in(name) as usize + 1]);
        let wrong = if *kind == ObjectKind::Mark { ObjectKind::Damage } else { ObjectKind::Mark };
        put("an operator's, of another kind", name, sound.maker.made_by_operator(wrong, name, b"{}").unwrap());
        put("an operator's nonsense", name, sound.maker.made_by_operator(*kind, name, b"[\"nonsense").unwrap());
    }
    all
}

/// Packs and index objects have the name of their hash: what is altered lies beside the true ones.
fn hashed_ones(sound: &Sound, other: &Sound) -> Vec<Harmed> {
    let mut all = Vec::new();
    let first = |image: &Image, folder: &str| {
        image.iter().find(|(name, _)| name.starts_with(folder)).map(|(_, bytes)| bytes.clone()).unwrap()
    };
    for (thing, folder, suite) in [("a pack", "packs/", 11), ("an index object", "index/", 10)] {
        let bytes = first(&sound.image, folder);
        let mut put = |harm, bytes: Vec<u8>| {
            let hash = blake3::hash(&bytes).to_hex();
            let name =
                if folder == "packs/" { format!("packs/{}/{hash}", &hash[..2]) } else { format!("index/{hash}") };
            all.push(Harmed { thing: thing.to_owned(), harm, objects: vec![(name, bytes)] });
        };
        let change = |at: usize, byte: u8| {
            let mut changed = bytes.clone();
            changed[at] = byte;
            changed
        };
        put("another repository's", first(&other.image, folder));
        put("a newer version", change(8, 2));
        put("an unknown suite", change(suite, 9));
        put("an epoch that nobody holds", change(12, 9));
        put("another id", change(16, bytes[16] ^ 1));
        put("a turned bit", change(bytes.len() / 2, bytes[bytes.len() / 2] ^ 1));
        put("cut", bytes[..bytes.len() / 2].to_vec());
        put("zeros", vec![0; 65_536]);
        if folder == "packs/" {
            put("an unknown wrap", change(48, 9));
            put("an unknown kind", change(10, 3));
        } else {
            put("more packs than it has", change(32, 0xff));
        }
    }
    all
}

fn configs(sound: &Sound, other: &Sound) -> Vec<Harmed> {
    let mut all = Vec::new();
    // Of the slots that of the password.
    let of = |image: &Image, folder: &str| {
        let is_it = |(name, bytes): &(&String, &Vec<u8>)| {
            name.starts_with(folder) && (folder != "keys/" || String::from_utf8_lossy(bytes).contains("argon2id"))
        };
        image.iter().find(is_it).unwrap().0.clone()
    };
    let forged = |bytes: &[u8], from: &str, to: &str| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(text.contains(from), "{from}: {text}");
        let line = format!("{}\n", text.lines().next().unwrap().replacen(from, to, 1));
        let hash = blake3::hash(line.as_bytes()).to_hex();
        format!("{line}\"{hash}\"\n").into_bytes()
    };
    for folder in ["rekeep.json", "keys/"] {
        for prefix in ["", "copies/"] {
            let name = of(&sound.image, folder);
            let bytes = sound.image[&name].clone();
            let mut put = |harm, bytes: Vec<u8>| {
                let objects = vec![(format!("{prefix}{name}"), bytes)];
                let thing = if folder == "keys/" { "a slot" } else { "the configuration" }.to_owned();
                all.push(Harmed { thing, harm, objects });
            };
            put("another repository's", other.image[&of(&other.image, folder)].clone());
            let is_slot = folder == "keys/";
            put(if is_slot { "a newer format" } else { REFUSED[0] }, forged(&bytes, "\"format\":1", "\"format\":2"));
            put(if is_slot { "an unknown suite" } else { REFUSED[1] }, forged(&bytes, "\"suite\":1", "\"suite\":9"));
            put("a member more", forged(&bytes, "{", "{\"more\":1,"));
            put("cut", bytes[..bytes.len() / 2].to_vec());
            put("longer than it may be", vec![b' '; (1 << 20) + 1]);
            if is_slot {
                put("an unknown role", forged(&bytes, "\"admin\"", "\"owner\""));
                put("an unknown kind", forged(&bytes, "\"kind\":\"", "\"kind\":\"x-"));
                put("a costly password", forged(&bytes, "\"memory_kib\":8", "\"memory_kib\":4194304"));
            } else {
                put(REFUSED[2], forged(&bytes, "\"features\":[]", "\"features\":[\"shards\"]"));
            }
        }
    }
    all
}

fn brought_back(sound: &Sound) -> Vec<Harmed> {
    let mut by_folder: BTreeMap<String, Vec<(String, Vec<u8>)>> = BTreeMap::new();
    for (name, bytes) in &sound.gone {
        let folder = name.split('/').next().unwrap().to_owned();
        by_folder.entry(folder).or_default().push((name.clone(), bytes.clone()));
    }
    assert!(["index", "packs", "snapshots"].iter().all(|folder| by_folder.contains_key(*folder)), "{by_folder:?}");
    let all = by_folder.values().flatten().cloned().collect();
    let mut cells: Vec<Harmed> = by_folder
        .into_values()
        .map(|objects| Harmed { thing: "what had gone, of one folder,".to_owned(), harm: "brought back", objects })
        .collect();
    cells.push(Harmed { thing: "all that had gone".to_owned(), harm: "brought back", objects: all });
    cells
}

/// What went wrong that may not.
struct Cell<'a> {
    sound: &'a Sound,
    harmed: &'a Harmed,
    world: World,
    wrong: Vec<String>,
}

impl Cell<'_> {
    fn wrong(&mut self, what: impl std::fmt::Display) {
        self.wrong.push(format!("{} ({}): {what}", self.harmed.thing, self.harmed.harm));
    }

    /// Whether these words name one of the objects.
    fn is_named(&self, words: &str) -> bool {
        self.harmed.objects.iter().any(|(name, _)| Self::names(words, name))
    }

    fn names(words: &str, name: &str) -> bool {
        words.contains(name) || name.split('/').nth(1).is_some_and(|id| id.len() > 2 && words.contains(id))
    }

    /// Every snapshot that was not harmed comes back, on this host or a new one.
    fn restores(&mut self, repo: &Repository, when: &str) {
        let Some(snapshots) = self.must(when, repo.snapshots()) else { return };
        for (at, (id, db)) in self.sound.states.iter().enumerate() {
            if at == 1 && self.harmed.thing.contains("the only revision") {
                continue;
            }
            let Some(snapshot) = snapshots.iter().find(|it| it.id == *id) else {
                self.wrong(format!("{when}: snapshot {at} is not there"));
                continue;
            };
            let target = MemoryTarget::default();
            match restore_with(repo, snapshot, &target, &RestoreOptions::default()) {
                Ok(_) if target.held() == *db => {}
                Ok(_) => self.wrong(format!("{when}: snapshot {at} comes back as another")),
                Err(error) => self.wrong(format!("{when}: snapshot {at}: {error}")),
            }
        }
    }

    /// What may fail as long as it says why.
    fn may_fail<T>(&mut self, what: &str, outcome: Result<T, impl std::fmt::Display>) {
        if let Err(error) = outcome {
            let words = error.to_string();
            if !self.is_named(&words) {
                self.wrong(format!("{what} fails without the name of the object: {words}"));
            }
        }
    }

    fn must<T>(&mut self, what: &str, outcome: Result<T, impl std::fmt::Display>) -> Option<T> {
        outcome.map_err(|error| self.wrong(format!("{what}: {error}"))).ok()
    }

    fn verify(&mut self, repo: &Repository) -> String {
        let snapshots = repo.snapshots().unwrap_or_default();
        let options = VerifyOptions { parallel: 1, ..VerifyOptions::default() };
        let verified = verify(repo, &snapshots, &options, &Heard::default());
        self.must("verify", verified).map_or_else(String::new, |found| {
            let findings = found.findings.iter().map(|one| format!("{}: {}\n", one.object, one.problem));
            findings.chain(found.notes.iter().map(|note| format!("{note}\n"))).collect()
        })
    }

    fn run(mut self) -> Vec<String> {
        if REFUSED.contains(&self.harmed.harm) {
            match self.world.try_open() {
                Ok(_) => self.wrong("it opens"),
                Err(error) => self.may_fail("open", Err::<(), _>(error)),
            }
            return self.wrong;
        }
        let Some(repo) = self.must("open", self.world.try_open()) else { return self.wrong };
        self.restores(&repo, "at first");
        let words = self.verify(&repo);
        let harmed = self.harmed;
        for (name, _) in harmed.objects.iter().filter(|_| harmed.harm != "brought back") {
            // Of packs that one run left, one is named.
            let is_left = name.starts_with("packs/") && words.contains("in no index object");
            if !Self::names(&words, name) && !is_left {
                self.wrong(format!("verify does not name {name}: {words}"));
            }
        }
        self.must("drills", repo.drills());
        self.must("the newest drills", repo.newest_drills(9, &|_| false));
        self.must("audit", repo.audit());
        self.must("a claim", repo.claim("nightly", 5, "somebody"));
        self.must("checkpoints", repo.checkpoints());
        self.must("damaged packs", repo.damaged_packs());
        self.must("leases", repo.leases());
        if self.must("a report", repo.keep_drill(&report(&repo, self.sound.states[0].0))).is_some() {
            self.must("drills with one more", repo.drills());
        }
        self.world.clock.advance(1000);
        let (_, db) = &self.sound.states[0];
        let source = MemorySource::of(db.clone(), &self.world.clock);
        if let Some(outcome) = self.must("backup", backup(&repo, &source, &plain(), &Heard::default())) {
            let beside = self.world.beside();
            let cold = beside.open();
            let target = MemoryTarget::default();
            let snapshots = cold.snapshots().unwrap_or_default();
            if let Some(taken) = snapshots.iter().find(|it| Some(it.id) == outcome.id) {
                self.must("restore of the backup", restore_with(&cold, taken, &target, &RestoreOptions::default()));
            }
            if target.held() != *db {
                self.wrong("the backup does not come back on a new host");
            }
        }
        self.may_fail("a prune", prune(&repo, &PruneOptions::default(), &Heard::default()));
        for done in [
            repo.repair_config(false),
            repo.repair_marks(false),
            repo.repair_index(false, &mut |_| true),
            repo.repair_snapshots(false),
            repo.repair_objects(false),
        ] {
            self.must("a repair", done);
        }
        self.may_fail("a prune after repairs", prune(&repo, &PruneOptions::default(), &Heard::default()));
        self.restores(&repo, "after prunes and repairs");
        let beside = self.world.beside();
        if let Some(cold) = self.must("open on a new host", beside.try_open()) {
            self.restores(&cold, "on a new host");
        }
        self.wrong
    }
}

#[test]
fn whatever_somebody_else_puts_there_is_named_and_harms_nothing_else() {
    let (sound, other) = both();
    let is_large = from_env("REKEEP_TEST_LARGE", 0) > 0;
    let (mut cells, hashed) = (small_ones(sound, other), hashed_ones(sound, other));
    if is_large {
        cells.extend(hashed);
    } else {
        cells = together(cells);
        cells.push(one("altered, under its right name", hashed));
    }
    cells.extend(configs(sound, other).into_iter().filter(|it| is_large || !it.objects[0].0.starts_with("copies/")));
    cells.extend(brought_back(sound));
    let only = std::env::var("REKEEP_TEST_ONLY").unwrap_or_default();
    cells.retain(|it| format!("{} {}", it.thing, it.harm).contains(&only));
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(harmed) = cells.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let mut image = sound.image.clone();
                    image.extend(harmed.objects.iter().cloned());
                    let world = World::over(image);
                    world.clock.advance(sound.now.as_millis() - world.clock.now().as_millis());
                    let cell = Cell { sound, harmed, world, wrong: Vec::new() };
                    wrong.lock().unwrap().extend(cell.run());
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} cells, {} wrong: {wrong:#?}", cells.len(), wrong.len());
}

#[test]
fn a_configuration_that_cannot_be_opened_is_refused_in_words_and_opens_again_when_it_is_put_back() {
    let (sound, other) = both();
    for harmed in configs(sound, other).iter().filter(|it| !it.objects[0].0.starts_with("copies/")) {
        let mut image = sound.image.clone();
        for (name, bytes) in &harmed.objects {
            image.insert(name.clone(), bytes.clone());
            image.insert(format!("copies/{name}"), bytes.clone());
        }
        let world = World::over(image);
        let is_config = harmed.thing == "the configuration";
        match world.try_open() {
            // The slot that the password opens is another one.
            Ok(_) if !is_config => {}
            Ok(_) => panic!("{} ({}): it opens", harmed.thing, harmed.harm),
            Err(error) => {
                let words = error.to_string();
                let is_clear = words.contains("rekeep.json") || words.contains("keys/");
                assert!(
                    is_clear || matches!(error, RepoError::WrongPassword { .. }),
                    "{} ({}): {words}",
                    harmed.thing,
                    harmed.harm
                );
            }
        }
        world.backend.tamper(|image| image.clone_from(&sound.image));
        assert_eq!(world.open().snapshots().unwrap().len(), sound.states.len(), "{} ({})", harmed.thing, harmed.harm);
    }
}
