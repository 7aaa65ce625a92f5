//! Files of Aerospike's backup tools as a source and as a target, through a repository: what comes in goes out again, and
//! what is wrong with files is said and never makes records up or lets them fall.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(dead_code, unused_imports, reason = "the shared support has more than this test needs")]

#[path = "support/mod.rs"]
mod support;

use data_encoding::BASE64;
use rekeep::{
    connector::{ConnectorError, Options, Overwrite, Registry},
    ops::{
        OpsError,
        backup::{BackupOptions, BackupOutcome, backup, backup_chain},
        restore::{RestoreOptions, RestoreOutcome, restore},
    },
    record::{Digest, Timestamp},
    repo::{Repository, manifest::Kind},
};
use serde_json::json;
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};
use support::{
    Db, Heard, World,
    world::{plain, restored, snapshot},
};
use tempfile::TempDir;

struct Room {
    dir: TempDir,
    world: World,
    repo: Repository,
}

fn options(document: serde_json::Value) -> Options {
    serde_json::from_value(document).unwrap()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/asb").join(name)
}

/// Words that records of `namespace` with these numbers make, each in set `s` with a bin `n`.
fn records(namespace: &str, numbers: impl IntoIterator<Item = (i64, i64)>) -> String {
    let mut text = String::new();
    for (key, value) in numbers {
        let digest = BASE64.encode(&Digest::of(b"s", 1, &key.to_be_bytes()).0);
        write!(
            text,
            "+ k I {key}\n+ n {namespace}\n+ d {digest}\n+ s s\n+ g 1\n+ t 0\n+ b 2\n- S name 3 a\nb\n- I n {value}\n"
        )
        .unwrap();
    }
    text
}

fn file(namespace: &str, first: bool, numbers: impl IntoIterator<Item = (i64, i64)>) -> String {
    let mark = if first { "# first-file\n" } else { "" };
    format!("Version 3.1\n# namespace {namespace}\n{mark}{}", records(namespace, numbers))
}

impl Room {
    fn new() -> Self {
        let (world, repo) = World::new();
        Self { dir: tempfile::tempdir().unwrap(), world, repo }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn url(&self, name: &str) -> String {
        format!("asb:{}", self.path(name).display())
    }

    fn try_back_up(&self, url: &str, given: serde_json::Value) -> Result<(BackupOutcome, String), String> {
        let temp = self.path("temp");
        fs::create_dir_all(&temp).unwrap();
        let how = BackupOptions { temp_dir: Some(temp.clone()), url: url.to_owned(), ..plain() };
        let heard = Heard::default();
        let source = Registry::default().source(url, &options(given)).map_err(|error| error.to_string())?;
        let outcome = backup(&self.repo, source.as_ref(), &how, &heard).map_err(|error| error.to_string());
        assert_eq!(fs::read_dir(&temp).unwrap().count(), 0, "nothing is left in the temporary folder");
        Ok((outcome?, heard.warnings()))
    }

    fn back_up(&self, url: &str) -> BackupOutcome {
        self.try_back_up(url, json!({})).unwrap().0
    }

    fn held(&self, taken: &BackupOutcome) -> Db {
        restored(&self.repo, &snapshot(&self.repo, taken.id.unwrap()))
    }

    /// The bin `n` of every record of a namespace.
    fn numbers(&self, taken: &BackupOutcome, namespace: &str) -> Vec<i64> {
        let records = &self.held(taken)[namespace].records;
        let mut all: Vec<i64> = records
            .values()
            .map(|rec| i64::from_be_bytes(rec.cells[&b"n"[..]].1.as_slice().try_into().unwrap()))
            .collect();
        all.sort_unstable();
        all
    }

    fn try_restore(
        &self,
        taken: &BackupOutcome,
        url: &str,
        given: serde_json::Value,
    ) -> Result<RestoreOutcome, OpsError> {
        let target = Registry::default().target(url, &options(given)).unwrap();
        let how = RestoreOptions { verify: true, parallel: 2, ..RestoreOptions::default() };
        restore(&self.repo, &snapshot(&self.repo, taken.id.unwrap()), target.as_ref(), &how, &Heard::default())
    }

    fn restore(&self, taken: &BackupOutcome, name: &str, given: serde_json::Value) -> RestoreOutcome {
        let outcome = self.try_restore(taken, &self.url(name), given).unwrap();
        assert_eq!((outcome.different, outcome.outcomes.failed), (0, 0), "{outcome:?}");
        outcome
    }

    fn files(&self, name: &str) -> Vec<(String, Vec<u8>)> {
        let mut all: Vec<(String, Vec<u8>)> = fs::read_dir(self.path(name))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
            .collect();
        all.sort();
        all
    }
}

#[test]
fn what_the_stock_tool_wrote_goes_through_the_repository_and_out_again() {
    let room = Room::new();
    let url = format!("asb:{}", fixture("source-ns2_00000.asb").display());
    let (first, heard) = room.try_back_up(&url, json!({})).unwrap();
    assert!(first.complete, "{:?}", first.problems);
    assert!(heard.contains("idx_exp") && heard.contains("left out its expression"), "{heard}");
    let before = room.held(&first);
    let mut key = fixture("test-only-rsa-key.pem");
    for (name, given) in [
        ("source-ns2.compact.asb", json!({})),
        ("source-ns2.zstd.asb", json!({})),
        ("source-ns2.aes128.asb", json!({"encrypt": "aes128", "encryption_key_file": key})),
        (
            "source-ns2.zstd.aes256.asb",
            json!({"encrypt": "aes256", "encryption_key": fs::read_to_string(&key).unwrap()}),
        ),
    ] {
        let (other, _) = room.try_back_up(&format!("asb:{}", fixture(name).display()), given).unwrap();
        assert_eq!(room.held(&other)["source-ns2"].records, before["source-ns2"].records, "{name}");
    }
    key = fixture("test-only-rsa-key.pem");
    for (name, given) in [
        ("plain", json!({})),
        ("again", json!({})),
        ("compact", json!({"compact": true, "layout": "metadata", "output_file_prefix": "p"})),
        (
            "layers",
            json!({"compress": "zstd", "compression_level": 1, "encrypt": "aes256", "encryption_key_file": key}),
        ),
        ("one.asb", json!({})),
        ("small", json!({"file_limit": 2000})),
    ] {
        let outcome = room.restore(&first, name, given.clone());
        assert!(outcome.complete, "{name}: {:?}", outcome.missing);
        let mut reading = given;
        reading.as_object_mut().unwrap().retain(|name, _| name.starts_with("encr"));
        let (back, _) = room.try_back_up(&room.url(name), reading).unwrap();
        let (back, before) = (room.held(&back), &before);
        assert_eq!(back, *before, "{name}");
    }
    assert_eq!(room.files("plain"), room.files("again"), "the same snapshot gives the same bytes");
    assert_eq!(room.files("plain")[0].1, fs::read(room.path("one.asb")).unwrap());
    let names = |name: &str| room.files(name).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names("compact"), ["metadata_source-ns2_00000.asb", "p_00001.asb"]);
    assert!(names("small").len() > 3 && names("small")[0] == "source-ns2_00000.asb");
    assert!(room.files("small").iter().all(|(_, bytes)| bytes.len() < 4000));
}

#[test]
fn the_version_is_the_lowest_that_carries_it_all_or_the_one_that_was_asked_for() {
    let room = Room::new();
    let index = |line: &str| format!("Version 3.3\n# namespace n\n# first-file\n{line}{}", records("n", [(1, 1)]));
    for (name, line, version) in [
        ("plain.asb", "* i n s i N 1 b N\n", "3.1"),
        ("exp.asb", "* e n s i N 1  N kgA=\n", "3.2"),
        ("null.asb", "* i n  i L 1 b S\n", "3.2"),
        ("set.asb", "* i n s i S 1  E\n", "3.3"),
    ] {
        room.write(name, index(line));
        let taken = room.back_up(&room.url(name));
        let out = format!("out-{name}");
        assert!(room.restore(&taken, &out, json!({})).complete);
        let text = fs::read_to_string(room.path(&out)).unwrap();
        assert!(text.starts_with(&format!("Version {version}\n")) && text.contains(line), "{text}");
        let lossy = room.restore(&taken, &format!("lossy-{name}"), json!({"compat": "3.1"}));
        assert_eq!(lossy.complete, version == "3.1", "{name}: {:?}", lossy.missing);
        let text = fs::read_to_string(room.path(&format!("lossy-{name}"))).unwrap();
        assert!(text.starts_with("Version 3.1\n") && text.contains(line) == (version == "3.1"), "{text}");
        assert!(room.restore(&taken, &format!("ok-{name}"), json!({"compat": "3.1", "lossy_ok": true})).complete);
    }
}

#[test]
fn a_record_that_stands_twice_is_as_it_stands_last_and_that_is_said() {
    let room = Room::new();
    room.write("dir/n_00000.asb", file("n", true, [(1, 10), (2, 20), (1, 11)]));
    room.write("dir/n_00001.asb", file("n", false, [(2, 21), (3, 30)]));
    room.write("later/n_00000.asb", file("n", true, [(3, 31)]));
    let url = format!("{}?then={}", room.url("dir"), room.path("later").display());
    let (taken, heard) = room.try_back_up(&url, json!({})).unwrap();
    assert_eq!(room.numbers(&taken, "n"), [11, 21, 31]);
    assert!(taken.complete && heard.contains("3 records stand more than once"), "{heard}");
    assert!(heard.contains("n_00000.asb:4") && heard.contains("later"), "{heard}");
}

#[test]
fn files_of_several_namespaces_are_collections_and_strangers_go_to_their_own() {
    let room = Room::new();
    room.write("dir/a_1.asb", file("a", true, [(1, 1)]) + &records("b", [(7, 7)]));
    room.write("dir/b_1.asb", file("b", true, [(2, 2)]));
    let (taken, heard) = room.try_back_up(&room.url("dir"), json!({})).unwrap();
    assert_eq!((room.numbers(&taken, "a"), room.numbers(&taken, "b")), (vec![1], vec![2, 7]));
    assert!(heard.contains("each goes to its own"), "{heard}");
    let outcome = room.restore(&taken, "out", json!({}));
    assert!(outcome.complete);
    let error = room.try_restore(&taken, &room.url("both.asb"), json!({})).unwrap_err().to_string();
    assert!(error.contains("one file holds one namespace"), "{error}");
}

#[test]
fn what_is_wrong_stops_the_backup_and_says_where() {
    let room = Room::new();
    let good = file("n", true, [(1, 1), (2, 2), (3, 3)]);
    let cut = &good[..good.len() - 5];
    for (name, text, said) in [
        ("cut.asb", cut.to_owned(), "ends in the middle"),
        ("count.asb", good.replacen("+ b 2", "+ b 3", 1), "announces 3 bins and has 2"),
        ("crlf.asb", good.replace('\n', "\r\n"), "carriage return"),
        ("huge.asb", good.replacen("- S name 3", "- S name 123456789012", 1), "more than any server stores"),
        ("other.asb", "{}".to_owned(), "probably encrypted"),
        ("none.asb", String::new(), "empty"),
        ("newer.asb", good.replacen("3.1", "3.4", 1), "not known"),
    ] {
        room.write(name, text);
        let error = room.try_back_up(&room.url(name), json!({})).unwrap_err();
        assert!(error.contains(said) && error.contains(name) && error.contains("byte"), "{error}");
    }
    room.write("runs/n_00000.asb", file("n", true, [(1, 1)]));
    room.write("runs/o_00000.asb", file("n", true, [(1, 2)]));
    let error = room.try_back_up(&room.url("runs"), json!({})).unwrap_err();
    assert!(error.contains("files of two runs"), "{error}");
    fs::create_dir(room.path("empty")).unwrap();
    assert!(room.try_back_up(&room.url("empty"), json!({})).unwrap_err().contains("no file in it"));
    assert!(room.try_back_up(&room.url("absent"), json!({})).unwrap_err().contains("does not exist"));
    assert!(room.repo.snapshots().unwrap().is_empty());
}

#[test]
fn what_is_whole_of_damaged_files_is_kept_if_a_person_says_so() {
    let room = Room::new();
    let good = file("n", true, [(1, 1), (2, 2), (3, 3), (4, 4)]);
    let hurt = good.replacen("- I n 2", "- I n two", 1);
    room.write("dir/n_00000.asb", &hurt[..hurt.len() - 5]);
    room.write("dir/n_00001.asb", file("n", false, [(5, 5)]));
    let (taken, _) = room.try_back_up(&room.url("dir"), json!({"salvage": true})).unwrap();
    assert_eq!(room.numbers(&taken, "n"), [1, 3, 5]);
    assert!(!taken.complete && taken.problems.len() == 2, "{:?}", taken.problems);
    assert!(
        taken.problems.iter().all(|text| text.contains("n_00000.asb") && text.contains("line")),
        "{:?}",
        taken.problems
    );
}

#[test]
fn what_is_not_known_is_kept_or_named() {
    let room = Room::new();
    let lines = "* i n s vec V9 1 b Q\n* q of another day\n";
    let strange = records("n", [(2, 2)]).replace("- I n 2", "- ? n 4 AAE=");
    let text = format!(
        "Version 3.1\n# namespace n\n# first-file\n{lines}{}{strange}{}",
        records("n", [(1, 1)]),
        records("n", [(3, 3)])
    );
    room.write("x.asb", text);
    let (taken, heard) = room.try_back_up(&room.url("x.asb"), json!({})).unwrap();
    assert_eq!(room.numbers(&taken, "n"), [1, 3]);
    assert!(
        !taken.complete && taken.problems.len() == 1 && taken.problems[0].contains("kind `?`"),
        "{:?}",
        taken.problems
    );
    assert!(heard.contains("V9") && heard.contains("of another day"), "{heard}");
    room.restore(&taken, "out.asb", json!({}));
    let text = fs::read_to_string(room.path("out.asb")).unwrap();
    assert!(lines.lines().all(|line| text.contains(line)), "{text}");
}

#[test]
fn records_that_expire_are_there_at_the_time_that_is_taken() {
    let room = Room::new();
    // Over long before the file was written, if its time is believed.
    room.write("x.asb", file("n", true, [(1, 1), (2, 2)]).replacen("+ t 0", "+ t 400000000", 1));
    let (taken, heard) = room.try_back_up(&room.url("x.asb"), json!({})).unwrap();
    assert_eq!(room.numbers(&taken, "n"), [1, 2]);
    assert!(heard.contains("taken to be of 2022-09-04T15:06:40.999Z"), "{heard}");
    let (later, _) = room.try_back_up(&room.url("x.asb"), json!({"as_of": 1_700_000_000_000i64})).unwrap();
    assert_eq!((later.end, room.numbers(&later, "n")), (Timestamp::from_millis(1_700_000_000_000), vec![2]));
}

#[test]
fn parts_of_files_are_chosen() {
    let room = Room::new();
    let other = records("n", [(9, 9)]).replace("+ s s", "+ s t");
    let index = "* i n s i N 1 n N\n* u L m 3 x\ny\n";
    room.write("x.asb", format!("Version 3.1\n# namespace n\n# first-file\n{index}{}{other}", records("n", [(1, 1)])));
    let (taken, _) =
        room.try_back_up(&room.url("x.asb"), json!({"sets": ["t"], "bins": ["n"], "no_udfs": true})).unwrap();
    assert_eq!(room.numbers(&taken, "n"), [9]);
    let held = snapshot(&room.repo, taken.id.unwrap());
    assert_eq!(held.content.attributes["udfs"], json!([]));
    assert_eq!(held.collections[0].attributes["sindexes"][0]["name"], "i");
    let (taken, _) = room.try_back_up(&room.url("x.asb"), json!({"no_records": true, "no_indexes": true})).unwrap();
    let held = snapshot(&room.repo, taken.id.unwrap());
    assert_eq!((taken.records, &held.collections[0].attributes["sindexes"]), (0, &json!([])));
    assert_eq!(held.content.attributes["udfs"][0]["content"], BASE64.encode(b"x\ny"));
}

#[test]
fn files_that_stand_are_only_replaced_when_asked() {
    let room = Room::new();
    room.write("x.asb", file("n", true, (0..200).map(|n| (n, n))));
    let taken = room.back_up(&room.url("x.asb"));
    room.write("out/n_00007.asb", "old");
    room.write("out/notes.txt", "mine");
    let error = room.try_restore(&taken, &room.url("out"), json!({})).unwrap_err().to_string();
    assert!(error.contains("hold"), "{error}");
    assert_eq!(room.files("out").len(), 2);
    let target = Registry::default().target(&room.url("out"), &options(json!({"file_limit": 5000}))).unwrap();
    let how = RestoreOptions { overwrite: Some(Overwrite::Always), parallel: 1, ..RestoreOptions::default() };
    restore(&room.repo, &snapshot(&room.repo, taken.id.unwrap()), target.as_ref(), &how, &Heard::default()).unwrap();
    let names: Vec<String> = room.files("out").into_iter().map(|(name, _)| name).collect();
    assert!(
        names.len() > 3 && names.contains(&"notes.txt".to_owned()) && !names.contains(&"n_00007.asb".to_owned()),
        "{names:?}"
    );
}

#[test]
fn pipes_and_devices_are_written_to_and_links_stay() {
    use std::os::unix::fs::FileTypeExt as _;
    let room = Room::new();
    let text = file("n", true, (0..20).map(|n| (n, n)));
    room.write("x.asb", &text);
    let taken = room.back_up(&room.url("x.asb"));
    let always = |name: &str, single: bool| {
        let target = Registry::default().target(&room.url(name), &options(json!({ "single_file": single })))?;
        let how = RestoreOptions { overwrite: Some(Overwrite::Always), parallel: 1, ..RestoreOptions::default() };
        let snapshot = snapshot(&room.repo, taken.id.unwrap());
        restore(&room.repo, &snapshot, target.as_ref(), &how, &Heard::default())
    };
    always("whole.asb", true).unwrap();
    let whole = fs::read(room.path("whole.asb")).unwrap();
    for single in [true, false] {
        for name in ["pipe", "pipe.asb"] {
            let pipe = room.path(name);
            rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
            let read = std::thread::scope(|scope| {
                let reader = scope.spawn(|| fs::read(&pipe).unwrap());
                always(name, single).unwrap();
                reader.join().unwrap()
            });
            assert_eq!(read, whole);
            assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo(), "it is what it was");
            fs::remove_file(&pipe).unwrap();
        }
    }
    room.write("real.asb", "old");
    std::os::unix::fs::symlink("real.asb", room.path("link.asb")).unwrap();
    always("link.asb", true).unwrap();
    assert!(room.path("link.asb").is_symlink());
    assert_eq!(fs::read(room.path("real.asb")).unwrap(), whole);
    fs::remove_file(room.path("real.asb")).unwrap();
    let said = always("link.asb", true).unwrap_err().to_string();
    assert!(said.contains("a link that points to nothing"), "{said}");
    fs::create_dir(room.path("dir.asb")).unwrap();
    let said = always("dir.asb", true).unwrap_err().to_string();
    assert!(said.contains("it is a directory"), "{said}");
}

const MINUTE: i64 = 60_000;
const BEGIN: i64 = 1_700_000_000_000;

impl Room {
    /// A backup as the service leaves it.
    fn service(&self, kind: &str, at: i64, namespace: &str, numbers: &[(i64, i64)], globals: &str) {
        let folder = format!("routine/{kind}/{at}/data/{namespace}");
        let text = format!(
            "Version 3.1\n# namespace {namespace}\n# first-file\n{globals}{}",
            records(namespace, numbers.iter().copied())
        );
        self.write(&format!("{folder}/0_{namespace}_1.asb"), text);
        let told = format!(
            "created: {}\nfrom: 0001-01-01T00:00:00Z\nnamespace: {namespace}\nrecord-count: {}\nencryption: NONE\n",
            Timestamp::from_millis(at),
            numbers.len()
        );
        self.write(&format!("{folder}/metadata.yaml"), told);
    }

    fn chain(&self) -> Vec<BackupOutcome> {
        let registry = Registry::default();
        let urls = registry.chain(&self.url("routine")).unwrap().unwrap();
        let how = BackupOptions { temp_dir: Some(self.dir.path().to_owned()), ..plain() };
        let mut open = |url: &str| registry.source(url, &Options::default());
        backup_chain(&self.repo, &urls, &mut open, &how, &Heard::default()).unwrap()
    }
}

#[test]
fn the_folders_of_the_backup_service_become_a_chain_of_snapshots_with_their_times() {
    let room = Room::new();
    let index = "* i a s i N 1 n N\n* u L m 1 x\n";
    room.service("incremental", BEGIN - MINUTE, "a", &[(0, 0)], "");
    room.service("backup", BEGIN, "a", &[(1, 1), (2, 2), (3, 3)], index);
    room.service("backup", BEGIN, "b", &[(5, 5)], "");
    room.service("incremental", BEGIN + MINUTE, "a", &[(2, 20), (4, 4)], "");
    room.write(&format!("routine/incremental/{}/data/a/0_a_1.asb", BEGIN + 2 * MINUTE), "Version 3.1\n");
    let taken = room.chain();
    assert_eq!(taken.len(), 2, "what was not finished, and what stands on nothing, is left out");
    assert_eq!(taken.iter().map(|one| one.kind).collect::<Vec<_>>(), [Kind::Full, Kind::Incremental]);
    assert_eq!(taken.iter().map(|one| one.end.as_millis()).collect::<Vec<_>>(), [BEGIN, BEGIN + MINUTE]);
    assert!(taken.iter().all(|one| one.complete), "{:?}", taken[1].problems);
    assert_eq!((room.numbers(&taken[0], "a"), room.numbers(&taken[0], "b")), (vec![1, 2, 3], vec![5]));
    assert_eq!((room.numbers(&taken[1], "a"), room.numbers(&taken[1], "b")), (vec![1, 3, 4, 20], vec![5]));
    assert_eq!((taken[1].parent, taken[1].stats.new, taken[1].stats.changed), (taken[0].id, 1, 1));
    let held = snapshot(&room.repo, taken[1].id.unwrap());
    assert_eq!(held.collections[0].attributes["sindexes"][0]["name"], "i", "increments do not tell of indexes");
    assert_eq!(held.content.attributes["udfs"][0]["name"], "m");

    assert!(room.chain().is_empty(), "nothing is imported twice");
    room.service("incremental", BEGIN + 3 * MINUTE, "b", &[(6, 6)], "");
    room.service("backup", BEGIN + 4 * MINUTE, "a", &[(1, 1)], "");
    let more = room.chain();
    assert_eq!(more.len(), 2);
    assert_eq!((room.numbers(&more[0], "a"), room.numbers(&more[0], "b")), (vec![1, 3, 4, 20], vec![5, 6]));
    assert_eq!((more[1].kind, room.numbers(&more[1], "a")), (Kind::Full, vec![1]));
    // Nobody says that the namespace is to be gone.
    assert!(
        more[1].stats.deleted == 5 && !more[1].complete && more[1].problems[0].contains("`b`"),
        "{:?}",
        more[1].problems
    );
}

#[test]
fn a_backup_of_the_service_that_lacks_records_is_incomplete() {
    let room = Room::new();
    room.service("backup", BEGIN, "a", &[(1, 1), (2, 2)], "");
    let told = room.path(&format!("routine/backup/{BEGIN}/data/a/metadata.yaml"));
    fs::write(&told, fs::read_to_string(&told).unwrap().replace("record-count: 2", "record-count: 3")).unwrap();
    let taken = room.chain();
    assert!(!taken[0].complete && taken[0].problems[0].contains("says 3 records"), "{:?}", taken[0].problems);
    fs::write(&told, "created: [").unwrap();
    let error = Registry::default().chain(&room.url("routine")).unwrap_err().to_string();
    assert!(error.contains("metadata.yaml"), "{error}");
}

#[test]
fn what_an_increment_stands_on_and_nobody_finished_is_missing_in_it_and_in_all_behind_it() {
    let from = |room: &Room, at: i64, from: i64| {
        let told = room.path(&format!("routine/incremental/{at}/data/a/metadata.yaml"));
        let text = fs::read_to_string(&told).unwrap();
        let from = format!("from: {}", Timestamp::from_millis(from));
        fs::write(&told, text.replace("from: 0001-01-01T00:00:00Z", &from)).unwrap();
    };
    let [second, third, fourth] = [1, 2, 3].map(|number| BEGIN + number * MINUTE);
    for (since, is_lost) in [(BEGIN, false), (second, true)] {
        let room = Room::new();
        room.service("backup", BEGIN, "a", &[(1, 1), (2, 2)], "");
        room.service("incremental", second, "a", &[(2, 20)], "");
        fs::remove_file(room.path(&format!("routine/incremental/{second}/data/a/metadata.yaml"))).unwrap();
        room.service("incremental", third, "a", &[(3, 3)], "");
        from(&room, third, since);
        room.service("incremental", fourth, "a", &[(4, 4)], "");
        from(&room, fourth, third);
        let taken = room.chain();
        assert_eq!(taken.iter().map(|one| one.complete).collect::<Vec<_>>(), [true, !is_lost, !is_lost]);
        if is_lost {
            assert!(taken[1].problems[0].contains(&format!("since incremental/{second}")), "{:?}", taken[1].problems);
            assert!(taken[2].problems[0].starts_with("already in what it stands on: "), "{:?}", taken[2].problems);
            // A full backup stands on nothing.
            room.service("backup", BEGIN + 4 * MINUTE, "a", &[(1, 1), (2, 20), (3, 3), (4, 4)], "");
            assert!(room.chain()[0].complete);
        }
    }
}

#[test]
fn increments_lack_what_the_full_backup_before_them_lacks() {
    let room = Room::new();
    room.service("backup", BEGIN, "a", &[(1, 1), (2, 2)], "");
    let told = room.path(&format!("routine/backup/{BEGIN}/data/a/metadata.yaml"));
    fs::write(&told, fs::read_to_string(&told).unwrap().replace("record-count: 2", "record-count: 3")).unwrap();
    room.service("incremental", BEGIN + MINUTE, "a", &[(2, 20)], "");
    let taken = room.chain();
    room.service("incremental", BEGIN + 2 * MINUTE, "a", &[(3, 3)], "");
    for one in taken.iter().chain(&room.chain()) {
        assert!(!one.complete && one.problems[0].contains("says 3 records"), "{:?}", one.problems);
    }
}

#[test]
fn what_the_format_cannot_say_is_left_out_counted_and_named() {
    let room = Room::new();
    room.write("x.asb", file("n", true, [(1, 1), (2, 2)]).replacen("+ s s", "+ s a\\ b", 1));
    let taken = room.back_up(&room.url("x.asb"));
    let outcome = room.try_restore(&taken, &room.url("old.asb"), json!({"compat": "3.0"})).unwrap();
    assert_eq!((outcome.outcomes.inserted, outcome.outcomes.failed, outcome.complete), (1, 1, false));
    assert!(outcome.outcomes.failures[0].1.contains("needs escapes"), "{:?}", outcome.outcomes.failures);
    assert!(fs::read_to_string(room.path("old.asb")).unwrap().starts_with("Version 3.0\n"));
    let target =
        Registry::default().target(&room.url("ok.asb"), &options(json!({"compat": "3.0", "lossy_ok": true}))).unwrap();
    let how = RestoreOptions::default();
    let outcome =
        restore(&room.repo, &snapshot(&room.repo, taken.id.unwrap()), target.as_ref(), &how, &Heard::default())
            .unwrap();
    assert_eq!((outcome.outcomes.inserted, outcome.outcomes.ignored, outcome.complete), (1, 1, true));
}

fn inspected(room: &Room, name: &str) -> rekeep::connector::Inspection {
    Registry::default().inspect(&room.url(name), &options(json!({}))).unwrap()
}

#[test]
fn files_of_two_runs_and_records_of_other_namespaces_are_named_by_looking() {
    let room = Room::new();
    room.write("one/a_00000.asb", file("a", true, [(1, 1)]));
    room.write("one/a_00001.asb", file("a", false, [(2, 2)]) + &records("b", [(3, 3)]));
    let seen = inspected(&room, "one");
    assert!(seen.sound, "each goes to its own: {}", seen.text);
    assert_eq!(seen.document["files"][1]["other_namespaces"], json!(["b"]));
    assert_eq!(seen.document["files"][0]["other_namespaces"], json!([]));
    assert!(seen.text.contains("holds records of namespace b too, the first at line"), "{}", seen.text);
    room.write("two/a_00000.asb", file("a", true, [(1, 1)]));
    room.write("two/a_00001.asb", file("a", true, [(2, 2)]));
    let seen = inspected(&room, "two");
    assert!(!seen.sound, "a restore refuses it: {}", seen.text);
    for of in 0..2 {
        let problem = seen.document["files"][of]["problem"].as_str().unwrap();
        assert!(problem.contains("files of two runs") && problem.contains("a_00000.asb and"), "{problem}");
    }
}

#[test]
fn a_file_that_is_not_there_between_others_is_missing_by_its_number() {
    let room = Room::new();
    room.write("gap/n_00000.asb", file("n", true, [(1, 1)]));
    room.write("gap/n_00002.asb", file("n", false, [(2, 2)]));
    room.write("headless/n_00001.asb", file("n", false, [(2, 2)]));
    room.write("counted/0_n_1.asb", file("n", true, [(1, 1)]));
    room.write("counted/1_n_2.asb", file("n", false, [(2, 2)]));
    room.write("counted/metadata_n_4.asb", "Version 3.1\n# namespace n\n");
    for (folder, said) in [
        ("gap", &["gap/n_00000.asb, …) those with the numbers 1 are not there"][..]),
        ("headless", &["those with the numbers 0 are not there", "says that it is the first of its backup"]),
        ("counted", &["those with the numbers 3 are not there"]),
    ] {
        let (taken, _) = room.try_back_up(&room.url(folder), json!({})).unwrap();
        assert!(!taken.complete && taken.problems.len() == said.len(), "{:?}", taken.problems);
        let seen = inspected(&room, folder);
        assert!(!seen.sound, "{}", seen.text);
        assert_eq!(seen.document["missing"].as_array().unwrap().len(), said.len());
        for (at, said) in said.iter().enumerate() {
            assert!(taken.problems[at].contains(said), "{:?}", taken.problems);
            assert!(seen.text.contains(said), "{}", seen.text);
        }
    }
    // What a person names file by file is what there is to be.
    let url = format!("{}?then={}", room.url("gap/n_00000.asb"), room.path("gap/n_00002.asb").display());
    assert!(room.back_up(&url).complete);
    assert!(room.back_up(&room.url("headless/n_00001.asb")).complete);
    // One run may lie in several folders.
    room.write("other/n_00001.asb", file("n", false, [(3, 3)]));
    let url = format!("{}?then={}", room.url("gap"), room.path("other").display());
    assert!(room.back_up(&url).complete);
}

#[test]
fn a_run_that_was_gone_on_with_is_one_run() {
    let room = Room::new();
    room.write("run/0_n_1.asb", file("n", true, [(1, 1), (2, 2)]));
    room.write("run/0_n_1(1).asb", file("n", true, [(2, 20), (3, 3)]));
    room.write("run/1_n_2(1).asb", file("n", false, [(4, 4)]));
    let (taken, _) = room.try_back_up(&room.url("run"), json!({})).unwrap();
    assert!(taken.complete, "{:?}", taken.problems);
    assert_eq!(room.numbers(&taken, "n"), [1, 3, 4, 20]);
    assert!(inspected(&room, "run").sound);
    room.write("run/2_n_3(1).asb", file("n", true, [(4, 4)]));
    assert!(room.try_back_up(&room.url("run"), json!({})).unwrap_err().contains("files of two runs"));
}

#[test]
fn sets_and_bins_that_no_record_has_are_said() {
    let room = Room::new();
    room.write("x.asb", file("n", true, [(1, 1), (2, 2)]));
    let asked = json!({"sets": ["s", "none"], "bins": ["n", "nothing"]});
    let (taken, heard) = room.try_back_up(&room.url("x.asb"), asked).unwrap();
    assert!(taken.complete && heard.contains("no record that was read is of set `none`"), "{heard}");
    assert!(heard.contains("no record that was read has a bin `nothing`"), "{heard}");
    assert!(!heard.contains("`s`") && !heard.contains("`n`"), "{heard}");
}

#[test]
fn a_routine_is_looked_at_backup_by_backup() {
    let room = Room::new();
    room.service("backup", BEGIN, "a", &[(1, 1)], "");
    room.service("backup", BEGIN, "b", &[(2, 2)], "");
    room.service("backup", BEGIN + MINUTE, "a", &[(1, 1)], "");
    let error = Registry::default().inspect(&room.url("routine"), &options(json!({}))).unwrap_err().to_string();
    let newest = format!("asb:{}?step=backup/{}", room.path("routine").display(), BEGIN + MINUTE);
    assert!(error.contains("the folder of a routine with 2 backups") && error.contains(&newest), "{error}");
    let seen = inspected(&room, &format!("routine?step=backup/{BEGIN}"));
    assert!(seen.sound, "{}", seen.text);
    assert_eq!(seen.document["files"].as_array().unwrap().len(), 2);
}

#[test]
fn the_first_problem_stands_at_a_line_and_a_byte_of_the_text() {
    let room = Room::new();
    let good = file("a", true, [(1, 1)]);
    let twice = records("a", [(2, 2)]).replace("- I n ", "- I name ");
    for bad in [twice.as_str(), "+ k ? \n", "* z\n+ n a\n+ q\n"] {
        let text = format!("{good}{bad}");
        room.write("f.asb", &text);
        let seen = inspected(&room, "f.asb");
        let problem = seen.document["files"][0]["problem"].as_str().unwrap_or_default().to_owned();
        let number = |word: &str| {
            let rest = problem.split(word).nth(1).unwrap_or_else(|| panic!("no `{word}`: {problem:?} of {bad}"));
            rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<usize>().unwrap()
        };
        let (line, byte) = (number("line "), number("byte "));
        assert!(byte >= good.len() && byte <= text.len(), "{problem}");
        assert_eq!(text[..byte].matches('\n').count() + 1, line, "{problem}");
        // The same is said of compressed text.
        room.write("f.zstd.asb", zstd::encode_all(text.as_bytes(), 3).unwrap());
        assert_eq!(inspected(&room, "f.zstd.asb").document["files"][0]["problem"], json!(problem));
    }
}

#[test]
fn a_window_that_no_tool_asks_for_is_refused_and_not_made_room_for() {
    let room = Room::new();
    let text = file("a", true, [(1, 1)]);
    // A frame of one raw block whose head asks for a window of a power of two.
    let asking = |log: u8| {
        let block = ((text.len() as u32) << 3 | 1).to_le_bytes();
        [&[0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3][..], &block[..3], text.as_bytes()].concat()
    };
    room.write("f.asb", asking(27));
    assert!(inspected(&room, "f.asb").sound, "the highest level asks for that");
    assert_eq!(room.back_up(&room.url("f.asb")).records, 1);
    for log in [28, 31, 41] {
        room.write("f.asb", asking(log));
        let seen = inspected(&room, "f.asb");
        assert!(!seen.sound && seen.text.contains("window of more than 128 MiB"), "{log}: {}", seen.text);
        let error = room.try_back_up(&room.url("f.asb"), json!({})).unwrap_err();
        assert!(error.contains("window of more than 128 MiB"), "{error}");
    }
}
