//! The damage matrix: one object of every folder, harmed in every way, on a host that knows the repository and on a new one, and
//! what every verb says. The answers are those of the table in `docs/damage.md`, which this test reads; with
//! `REKEEP_TEST_WRITE=1` it writes them there. `REKEEP_TEST_ONLY=drills/` asks for the rows of one object.
//!
//! Whatever the table says, no verb may lose what was not harmed, call whole what is not, hang or panic.

use crate::support::{
    Db, Heard, Image, MemorySource, MemoryTarget, World,
    db::sample,
    world::{TestClock, back_up, plain, restore_with, unlock},
};
use rekeep::{
    ops::{
        backup::backup,
        prune::{PruneOptions, prune},
        repair::{self, RepairPacksOptions},
        restore::RestoreOptions,
        verify::{ReadData, VerifyOptions, verify},
    },
    record::{Clock, Timestamp},
    repo::{
        ObjectName, OpenOptions, Repository, Snapshot, SnapshotId, Storage, WriteOptions,
        ids::PackKind,
        lease::MarkBody,
        object::ObjectKind,
        pack,
        parity::{Outline, Percent},
        repair::Looked,
        session::SessionTiming,
    },
};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

const PAGE: &str = "docs/damage.md";

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Missing,
    Junk,
    Cut,
    Empty,
    Swapped,
    Copied,
    Pipe,
    Link,
}

const HARMS: [(Harm, &str); 8] = [
    (Harm::Missing, "missing"),
    (Harm::Junk, "junk"),
    (Harm::Cut, "cut"),
    (Harm::Empty, "empty"),
    (Harm::Swapped, "swapped"),
    (Harm::Copied, "copied"),
    (Harm::Pipe, "pipe"),
    (Harm::Link, "link"),
];

const VERBS: [&str; 9] = ["snapshots", "restore", "verify", "backup", "restore", "prune", "repair", "prune", "verify"];

/// The repository before any harm.
struct Sound {
    image: Image,
    now: Timestamp,
    /// What the two snapshots of the source that goes on hold, the older first.
    states: [(SnapshotId, Db); 2],
    /// Objects by what they are, and where a copy would be out of place.
    targets: Vec<(&'static str, String, String)>,
}

fn make(parity: Option<Percent>) -> Sound {
    let (world, repo) = World::new();
    if parity.is_some() {
        repo.set_parity(parity).unwrap();
    }
    let gathered: Vec<SnapshotId> = (0..2).map(|n| take(&world, &repo, &sample(70 + n, 20, 50), "gone")).collect();
    for id in &gathered {
        repo.forget(id).unwrap();
    }
    let pruning = repo
        .begin_prune(
            &rekeep::repo::pruner::PrunerOptions {
                walk: Arc::new(rekeep::repo::pruner::flat::Flat),
                grace: std::time::Duration::ZERO,
                write_limit: None,
            },
            &SessionTiming::default(),
        )
        .unwrap();
    pruning.tidy().unwrap();
    pruning.gather_from(0).unwrap();
    pruning.end().unwrap();
    let db = sample(61, 300, 400);
    let first = take(&world, &repo, &db, "memory");
    let mut changed = db.clone();
    changed.values_mut().next().unwrap().records.pop_first();
    let second = take(&world, &repo, &changed, "memory");
    repo.revise(&first, &|manifest| manifest.tags = vec!["kept".to_owned()]).unwrap();
    let forgotten = take(&world, &repo, &sample(62, 50, 100), "other");
    repo.forget(&forgotten).unwrap();
    let fenced = running(&repo, true);
    repo.fence(&fenced).unwrap();
    // A writer that was killed, before the mark.
    let killed = running(&repo, false);
    prune(&repo, &PruneOptions::default(), &Heard::default()).unwrap();
    let mark = one(&world, "trash/");
    let body: MarkBody = serde_json::from_slice(
        &rekeep::repo::object::unwrap(ObjectKind::Mark, &mark, &world.backend.image()[&mark]).unwrap(),
    )
    .unwrap();
    let noted = body.packs[0];
    let note = format!("damage/{noted}");
    let says = serde_json::json!({"damaged": noted, "problem": "it was", "host": "a", "time": 0}).to_string();
    let made = repo.made_by_operator(ObjectKind::Damage, &note, says.as_bytes()).unwrap();
    world.backend.tamper(|image| drop(image.insert(note.clone(), made)));

    let report = crate::strangers::report(&repo, first);
    (0..2).for_each(|_| drop(repo.keep_drill(&report).unwrap()));
    let mut series = repo.begin_audit(None).unwrap();
    (0..2).for_each(|n| drop(repo.append_audit(&mut series, vec![serde_json::json!({"did": n})]).unwrap()));
    repo.claim("nightly", 5, "somebody").unwrap();

    // A verdict of a place where the repository lay before.
    let place = "5a".repeat(32);
    let promises = format!("promises/{}/0", &place[..32]);
    let says = serde_json::json!({"location": place, "conditional_create": true, "prompt_listing": true, "time": 0});
    let made = repo.made_by_operator(ObjectKind::Promises, &promises, says.to_string().as_bytes()).unwrap();
    world.backend.tamper(|image| drop(image.insert(promises.clone(), made)));

    let pack_of = |kind: PackKind| {
        let packs = repo.packs().unwrap();
        let mut names: Vec<ObjectName> = packs
            .iter()
            .filter(|info| info.kind == kind && !body.packs.contains(&info.name))
            .map(|info| info.name)
            .collect();
        names.sort_unstable();
        names[0]
    };
    // Of the packs of lists and keys always the one that both snapshots stand on: names are drawn at random.
    let base = repo.snapshots().unwrap()[0].collections[0].stack[0].id;
    let metadata = repo.chunk_places(&base).unwrap()[0].name;
    let data = pack_of(PackKind::Data);
    // And of index objects the one that describes it.
    let listed = repo.raw_index_objects().unwrap().into_iter().map(|listed| listed.name);
    let describes = |name: &String| {
        let parsed: ObjectName = name.trim_start_matches("index/").parse().unwrap();
        repo.read_index_object(&parsed).unwrap().iter().any(|pack| pack.name == metadata)
    };
    let index = listed.filter(describes).min().unwrap();
    let slot = one(&world, "keys/");
    let at = |text: String| text;
    let id_of = |name: &str| name.rsplit('/').next().unwrap().to_owned();
    let targets = vec![
        ("rekeep.json", at("rekeep.json".into()), at("keys/rekeep.json".into())),
        ("copies/rekeep.json", at("copies/rekeep.json".into()), at("index/rekeep.json".into())),
        ("keys/", slot.clone(), format!("trash/{}", id_of(&slot))),
        ("copies/keys/", format!("copies/{slot}"), format!("forgotten/{}", id_of(&slot))),
        ("packs/ (lists, keys)", pack::path(&metadata), format!("index/{metadata}")),
        ("packs/ (values)", pack::path(&data), format!("damage/{data}")),
        ("index/", index.clone(), format!("packs/{}/{}", &id_of(&index)[..2], id_of(&index))),
        ("snapshots/ (0)", format!("snapshots/{first}/0"), format!("leases/{first}/0")),
        ("snapshots/ (the only one)", format!("snapshots/{second}/0"), format!("snapshots/{second}/1")),
        ("snapshots/ (a tag)", format!("snapshots/{first}/1"), format!("snapshots/{second}/1")),
        ("snapshots/ (tombstone)", format!("snapshots/{forgotten}/1"), format!("snapshots/{second}/1")),
        ("snapshots/ (void)", format!("snapshots/{fenced}/0"), format!("snapshots/{second}/1")),
        ("leases/", format!("leases/{killed}/0"), format!("snapshots/{killed}/0")),
        ("trash/", mark.clone(), format!("forgotten/{}", id_of(&mark))),
        ("damage/", note, format!("damage/{data}")),
        ("promises/", promises.clone(), promises.replace("/0", "/1")),
        ("forgotten/", one(&world, "forgotten/"), format!("trash/{}", id_of(&one(&world, "forgotten/")))),
        ("checkpoints/", format!("checkpoints/{killed}/0"), format!("checkpoints/{killed}/1")),
        ("drills/", one(&world, "drills/"), one(&world, "drills/").replace("/0", "/7")),
        ("claims/", one(&world, "claims/"), one(&world, "claims/").replace("/5", "/6")),
        ("audit/", one(&world, "audit/"), one(&world, "audit/").replace("/0", "/7")),
    ];
    let image = world.backend.image();
    let mut targets: Vec<(&'static str, String, String)> = targets;
    if parity.is_some() {
        let protects = |name: &String| {
            let outline = Outline::parse(name, &image[name]).unwrap();
            outline.members().any(|it| it.name == data)
        };
        let group = world.backend.names("parity/").into_iter().find(protects).unwrap();
        targets.retain(|(object, ..)| object.starts_with("packs/"));
        targets.push(("parity/", group.clone(), format!("damage/{}", id_of(&group))));
        targets.push(("settings/", at("settings/0".into()), at("settings/9".into())));
    }
    Sound { image, now: world.clock.now(), states: [(first, db), (second, changed)], targets }
}

/// Backs up a database of this name, a second later.
pub fn take(world: &World, repo: &Repository, db: &Db, name: &str) -> SnapshotId {
    let mut source = MemorySource::of(db.clone(), &world.clock);
    name.clone_into(&mut source.name);
    world.clock.advance(1000);
    back_up(repo, &source).id.unwrap()
}

/// The lease of a writer that does nothing more, or has ended.
pub fn running(repo: &Repository, ends: bool) -> SnapshotId {
    let options = WriteOptions { purpose: "backup".to_owned(), compression: 3, check: false, write_limit: None };
    let session = repo.begin_write_timed(&options, &SessionTiming { alone: true, ..SessionTiming::default() }).unwrap();
    let id = session.id();
    if ends {
        drop(session);
    } else {
        std::mem::forget(session);
    }
    id
}

fn one(world: &World, folder: &str) -> String {
    world.backend.names(folder)[0].clone()
}

/// One harmed repository on disk.
struct Cell {
    dir: tempfile::TempDir,
    clock: Arc<TestClock>,
}

impl Cell {
    fn new(sound: &Sound, target: &(&'static str, String, String), harm: Harm, is_warm: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cell = Self { dir, clock: Arc::default() };
        cell.clock.advance(sound.now.as_millis() - cell.clock.now().as_millis());
        for (name, bytes) in &sound.image {
            write(&cell.path(name), bytes);
        }
        if is_warm {
            cell.open().unwrap();
        }
        cell.harm(sound, target, harm);
        cell
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("repo").join(name)
    }

    fn harm(&self, sound: &Sound, (_, name, elsewhere): &(&'static str, String, String), harm: Harm) {
        let path = self.path(name);
        let whole = sound.image.get(name).cloned().unwrap_or_else(|| b"no checkpoint of ours".to_vec());
        let junk: Vec<u8> = whole.iter().map(|byte| byte.wrapping_mul(31).wrapping_add(7)).collect();
        let folder = name.split('/').next().unwrap();
        let sibling =
            sound.image.iter().find(|(other, bytes)| other.starts_with(folder) && *other != name && **bytes != whole);
        let other = sibling.or_else(|| sound.image.iter().find(|(other, _)| other.starts_with("leases/"))).unwrap().1;
        if harm != Harm::Copied && path.exists() {
            fs::remove_file(&path).unwrap();
        }
        match harm {
            Harm::Missing => {}
            Harm::Junk => write(&path, &junk),
            // The order of chunks in a pack is that of threads: a cut leaves none whole, or the answer would depend on it.
            Harm::Cut if folder == "packs" => write(&path, &whole[..whole.len().min(100)]),
            Harm::Cut => write(&path, &whole[..whole.len() / 2]),
            Harm::Empty => write(&path, b""),
            Harm::Swapped => write(&path, other),
            Harm::Copied => write(&self.path(elsewhere), &whole),
            Harm::Pipe => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
            }
            Harm::Link => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                symlink(self.dir.path().join("nowhere"), &path).unwrap();
            }
        }
    }

    fn open(&self) -> Result<Repository, String> {
        self.open_as("cache")
    }

    fn open_as(&self, cache: &str) -> Result<Repository, String> {
        let storage = Storage::at(self.dir.path().join("repo").to_str().unwrap()).unwrap();
        let options = OpenOptions {
            cache_dir: self.dir.path().join(cache),
            clock: Arc::clone(&self.clock) as Arc<_>,
            host: "testhost".to_owned(),
        };
        Repository::open(&storage, &unlock(), &options).map_err(|error| error.to_string())
    }

    /// Runs all verbs; what each came to, and what went wrong that may not.
    fn run(&self, sound: &Sound) -> (Vec<char>, Vec<String>) {
        let mut wrong = Vec::new();
        let mut answers = Vec::new();
        let mut say = |answer: Result<bool, String>| {
            answers.push(match answer {
                Ok(true) => '0',
                Ok(false) => '3',
                Err(_) => '1',
            });
        };
        let first = self.open();
        let listed = first.as_ref().map(|repo| repo.snapshots().unwrap_or_default()).unwrap_or_default();
        say(first
            .as_ref()
            .map(|_| {
                listed.iter().any(|it| it.id == sound.states[0].0) && listed.iter().any(|it| it.id == sound.states[1].0)
            })
            .map_err(Clone::clone));
        drop(first);
        say(self.restore(sound, &mut wrong));
        let verified = self.verify();
        say(verified
            .clone()
            .and_then(|findings| if findings.is_empty() { Ok(true) } else { Err(findings.join("; ")) }));
        if verified.is_ok_and(|findings| findings.is_empty()) && self.restores_elsewhere(sound, &mut wrong) != Ok(true)
        {
            wrong.push("verify finds nothing, and another host cannot restore".to_owned());
        }
        let backed = self.back_up(sound);
        if backed == Ok(true) && self.newest_elsewhere(sound) != Ok(true) {
            wrong.push("a backup is complete, and another host cannot restore it".to_owned());
        }
        say(backed);
        let before = self.restore(sound, &mut wrong);
        say(before.clone());
        let prune = || {
            let repo = self.open()?;
            prune(&repo, &PruneOptions::default(), &Heard::default())
                .map(|outcome| outcome.failures.is_empty())
                .map_err(|error| error.to_string())
        };
        say(prune());
        say(self.repair());
        if before == Ok(true) && self.restore(sound, &mut wrong) != Ok(true) {
            wrong.push("what could be restored before a prune and a repair cannot any more".to_owned());
        }
        say(prune());
        if before == Ok(true) && self.restore(sound, &mut wrong) != Ok(true) {
            wrong.push("what could be restored before a second prune cannot any more".to_owned());
        }
        let verified = self.verify();
        say(verified
            .clone()
            .and_then(|findings| if findings.is_empty() { Ok(true) } else { Err(findings.join("; ")) }));
        if verified.is_ok_and(|findings| findings.is_empty()) && self.restores_elsewhere(sound, &mut wrong).is_err() {
            wrong.push("verify finds nothing after the repair, and another host cannot restore".to_owned());
        }
        (answers, wrong)
    }

    /// Restores both snapshots with what is wrong passed over: all of both, or not.
    fn restore(&self, sound: &Sound, wrong: &mut Vec<String>) -> Result<bool, String> {
        let repo = self.open()?;
        let snapshots = repo.snapshots().map_err(|error| error.to_string())?;
        let mut all = true;
        for (id, expected) in &sound.states {
            let Some(snapshot) = snapshots.iter().find(|it| it.id == *id) else {
                all = false;
                continue;
            };
            all &= restored(&repo, snapshot, expected, wrong)?;
        }
        Ok(all)
    }

    fn restores_elsewhere(&self, sound: &Sound, wrong: &mut Vec<String>) -> Result<bool, String> {
        let repo = self.open_as("elsewhere")?;
        let snapshots = repo.snapshots().map_err(|error| error.to_string())?;
        let mut all = true;
        for snapshot in &snapshots {
            if let Some((_, expected)) = sound.states.iter().find(|(id, _)| *id == snapshot.id) {
                all &= restored(&repo, snapshot, expected, wrong)?;
            }
        }
        Ok(all)
    }

    fn newest_elsewhere(&self, sound: &Sound) -> Result<bool, String> {
        let repo = self.open_as("elsewhere")?;
        let snapshots = repo.snapshots().map_err(|error| error.to_string())?;
        let newest = snapshots.iter().filter(|it| it.source().name.contains("memory")).max_by_key(|it| it.content.end);
        newest.map_or(Ok(false), |newest| restored(&repo, newest, &sound.states[1].1, &mut Vec::new()))
    }

    fn back_up(&self, sound: &Sound) -> Result<bool, String> {
        let repo = self.open()?;
        self.clock.advance(1000);
        let source = MemorySource::of(sound.states[1].1.clone(), &self.clock);
        backup(&repo, &source, &plain(), &Heard::default())
            .map(|outcome| outcome.complete)
            .map_err(|error| error.to_string())
    }

    fn verify(&self) -> Result<Vec<String>, String> {
        let repo = self.open()?;
        let options = VerifyOptions { read_data: ReadData::All, restore: true, parallel: 1, read_limit: None };
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let snapshots = repo.snapshots().map_err(|error| text(&error))?;
        let outcome = verify(&repo, &snapshots, &options, &Heard::default()).map_err(|error| text(&error))?;
        Ok(outcome.findings.iter().map(|finding| format!("{} {}", finding.object, finding.problem)).collect())
    }

    /// Every repair, one after the other; whether nothing stays lost.
    fn repair(&self) -> Result<bool, String> {
        let repo = self.open()?;
        let text = |error: rekeep::repo::RepoError| error.to_string();
        let mut lost = Vec::new();
        lost.extend(repo.repair_config(false).map_err(text)?.lost);
        lost.extend(repo.repair_marks(false).map_err(text)?.lost);
        let options = RepairPacksOptions { looked: Looked::All, dry_run: false };
        lost.extend(repair::packs(&repo, &options, &Heard::default()).map_err(|error| error.to_string())?.lost);
        lost.extend(repo.repair_index(false, &mut |_| true).map_err(text)?.lost);
        lost.extend(repo.repair_snapshots(false).map_err(text)?.lost);
        lost.extend(repo.repair_objects(false).map_err(text)?.lost);
        lost.extend(repo.repair_parity(false, &mut |_| true).map_err(text)?.lost);
        Ok(lost.is_empty())
    }
}

/// Whether a snapshot comes back whole; what comes back must be what was there in any case.
fn restored(repo: &Repository, snapshot: &Snapshot, expected: &Db, wrong: &mut Vec<String>) -> Result<bool, String> {
    let target = MemoryTarget::default();
    let options = RestoreOptions { keep_going: true, ..RestoreOptions::default() };
    let outcome = restore_with(repo, snapshot, &target, &options).map_err(|error| error.to_string())?;
    let held = target.held();
    for (name, collection) in &held {
        let Some(there) = expected.get(name) else {
            wrong.push(format!("collection {name} comes out of nowhere"));
            continue;
        };
        for (key, record) in &collection.records {
            if there.records.get(key) != Some(record) {
                wrong.push(format!("{name} {key:?} is not what was there"));
            }
        }
    }
    let count = |db: &Db| db.values().map(|collection| collection.records.len()).sum::<usize>();
    let is_whole = count(&held) == count(expected);
    if outcome.complete && !is_whole {
        wrong.push("a restore calls itself complete and is not".to_owned());
    }
    Ok(is_whole && outcome.complete)
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Whether the rows of an object are asked for.
fn is_asked_for(object: &str) -> bool {
    std::env::var("REKEEP_TEST_ONLY").map_or(true, |only| object == only)
}

/// The table as the page shows it.
fn table(sound: &Sound, rows: &BTreeMap<(usize, usize, bool), Vec<char>>) -> String {
    let mut text =
        format!("| object | harm | host | {} |\n|---|---|---|{}\n", VERBS.join(" | "), "---|".repeat(VERBS.len()));
    let every = (0..sound.targets.len()).flat_map(|t| (0..HARMS.len()).map(move |h| (t, h)));
    for (target, harm) in every.filter(|(target, harm)| rows.contains_key(&(*target, *harm, true))) {
        let [warm, cold] = [true, false].map(|is_warm| rows[&(target, harm, is_warm)].clone());
        let lines: Vec<(&str, Vec<char>)> =
            if warm == cold { vec![("any", warm)] } else { vec![("knows it", warm), ("new", cold)] };
        for (host, answers) in lines {
            let cells: Vec<String> = answers.iter().map(ToString::to_string).collect();
            let (object, harm) = (sound.targets[target].0, HARMS[harm].1);
            writeln!(text, "| `{object}` | {harm} | {host} | {} |", cells.join(" | ")).unwrap();
        }
    }
    text
}

/// The page is written by one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Harms every object in every way, and holds the answers against the table of the page that begins and ends with these lines.
fn answers(sound: &Sound, begin: &str, end: &str) -> BTreeMap<(usize, usize, bool), Vec<char>> {
    let cells: Vec<(usize, usize, bool)> = (0..sound.targets.len())
        .flat_map(|target| (0..HARMS.len()).flat_map(move |harm| [true, false].map(|is_warm| (target, harm, is_warm))))
        .filter(|(target, ..)| is_asked_for(sound.targets[*target].0))
        .collect();
    let next = AtomicUsize::new(0);
    let (rows, wrong) = (Mutex::new(BTreeMap::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(&(target, harm, is_warm)) = cells.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let cell = Cell::new(sound, &sound.targets[target], HARMS[harm].0, is_warm);
                    let (answers, bad) = cell.run(sound);
                    let what = format!("{} {} warm: {is_warm}", sound.targets[target].0, HARMS[harm].1);
                    wrong.lock().unwrap().extend(bad.into_iter().map(|bad| format!("{what}: {bad}")));
                    rows.lock().unwrap().insert((target, harm, is_warm), answers);
                }
            });
        }
    });
    let (rows, wrong) = (rows.into_inner().unwrap(), wrong.into_inner().unwrap());
    let text = table(sound, &rows);
    let turn = ONE_AT_A_TIME.lock().unwrap();
    let page = fs::read_to_string(PAGE).unwrap();
    let (words, rest) = page.split_once(begin).unwrap();
    let (there, behind) = rest.split_once(end).unwrap();
    // Of what was not asked for the page stands.
    let mut lines: Vec<&str> = text.lines().take(2).collect();
    for (name, ..) in &sound.targets {
        let of = if is_asked_for(name) { &text } else { there };
        lines.extend(of.lines().filter(|line| line.starts_with(&format!("| `{name}` |"))));
    }
    let text = lines.join("\n") + "\n";
    if std::env::var_os("REKEEP_TEST_WRITE").is_some() {
        fs::write(PAGE, format!("{words}{begin}\n\n{text}\n{end}{behind}")).unwrap();
    }
    drop(turn);
    assert!(wrong.is_empty(), "{wrong:#?}");
    let differ: Vec<(&str, &str)> = there.trim().lines().zip(text.trim().lines()).filter(|(a, b)| a != b).collect();
    assert!(there.trim() == text.trim(), "the page says otherwise: {differ:#?}");
    rows
}

#[test]
fn every_harm_to_every_object_has_its_answer_from_every_verb() {
    answers(&make(None), "<!-- answers -->", "<!-- end of answers -->");
}

/// With parity every pack that is lost or damaged comes back, although its source has gone on.
#[test]
fn with_parity_a_repair_leaves_nothing_lost() {
    let sound = make(Percent::new(10));
    let rows = answers(&sound, "<!-- answers with parity -->", "<!-- end of answers with parity -->");
    for ((target, harm, _), said) in rows {
        assert_eq!(said[6..], ['0'; 3], "{} {}: repair, prune, verify", sound.targets[target].0, HARMS[harm].1);
    }
}
