//! Deep Lake datasets, backed up and restored through the verbs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]
#![cfg(target_os = "linux")]

mod bad_input;
#[path = "../support/clock.rs"]
mod clock;
mod dr;
mod made;
mod real;
mod restoring;

use clock::rest;
use made::{MAIN, Made, files, make_nodes};
use rekeep::{
    connector::{
        SourceUrl,
        deeplake::{DeepLakeOptions, DeepLakeSource, DeepLakeTarget, DeepLakeTargetOptions},
    },
    ops::{
        OpsError, Silent,
        backup::{Ask, BackupOptions, BackupOutcome, backup},
        restore::{RestoreOptions, RestoreOutcome, restore},
        stats::stats,
    },
    record::SystemClock,
    repo::{InitOptions, OpenOptions, Repository, Snapshot, Storage, Unlock, keys::KdfParams},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;

/// A root of tenants beside a repository.
struct World {
    dir: TempDir,
    repo: Repository,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("lake")).unwrap();
        let storage = Storage::at(dir.path().join("repo").to_str().unwrap()).unwrap();
        let init = InitOptions { kdf: KdfParams { memory_kib: 64, passes: 1, lanes: 1 }, label: "test".to_owned() };
        let open =
            OpenOptions { cache_dir: dir.path().join("cache"), clock: Arc::new(SystemClock), host: "here".to_owned() };
        let password = Unlock::Password("secret".to_owned());
        let (repo, _) = Repository::init(&storage, &password, None, &init, &open).unwrap();
        Self { dir, repo }
    }

    fn lake(&self) -> PathBuf {
        self.dir.path().join("lake")
    }

    fn made(&self, name: &str) -> Made {
        Made::new(&self.lake().join(name))
    }

    fn try_back_up(&self, options: DeepLakeOptions) -> Result<BackupOutcome, OpsError> {
        let source = DeepLakeSource::new(&url(&self.lake()), options).unwrap();
        backup(&self.repo, &source, &BackupOptions::default(), &Silent)
    }

    fn back_up(&self) -> BackupOutcome {
        self.try_back_up(DeepLakeOptions::default()).unwrap()
    }

    fn snapshot(&self, outcome: &BackupOutcome) -> Snapshot {
        let id = outcome.id.unwrap();
        self.repo.snapshots().unwrap().into_iter().find(|snapshot| snapshot.id == id).unwrap()
    }

    fn try_restore(
        &self,
        outcome: &BackupOutcome,
        to: &Path,
        target: DeepLakeTargetOptions,
        options: &RestoreOptions,
    ) -> Result<RestoreOutcome, OpsError> {
        let target = DeepLakeTarget::new(&url(to), target).unwrap();
        restore(&self.repo, &self.snapshot(outcome), &target, options, &Silent)
    }

    fn restore(&self, outcome: &BackupOutcome, to: &Path) -> RestoreOutcome {
        self.try_restore(outcome, to, DeepLakeTargetOptions::default(), &RestoreOptions::default()).unwrap()
    }
}

fn url(path: &Path) -> SourceUrl {
    SourceUrl::parse(&format!("deeplake:{}", path.display())).unwrap()
}

#[test]
fn datasets_of_all_tenants_come_back_file_by_file_without_locks() {
    let world = World::new();
    for name in ["acme/one", "acme/two", "other/one"] {
        let mut made = world.made(name);
        made.commit(&[("a", name.as_bytes()), ("b", &vec![7; 300_000])]);
        made.commit(&[("c", b"")]);
        made.describe("d", "t");
    }
    fs::write(world.lake().join("acme/notes.txt"), "no dataset").unwrap();
    let outcome = world.back_up();
    assert!(outcome.complete, "{:?}", outcome.problems);
    let snapshot = world.snapshot(&outcome);
    let found: Vec<_> = snapshot.collections.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(found, ["acme/one", "acme/two", "other/one"]);
    let attributes = &snapshot.collections[0].attributes;
    assert_eq!((attributes["version"].as_u64(), attributes["tenant"].as_str()), (Some(4), Some("acme")));
    assert_eq!(attributes["branches"][0]["head"], "0000000002m00000000");

    let to = world.dir.path().join("back");
    let restored = world.restore(&outcome, &to);
    assert!(restored.complete, "{restored:?}");
    let mut expected = files(&world.lake());
    assert!(expected.remove("acme/notes.txt").is_some());
    assert_eq!(files(&to), expected);
    assert!(locks(&world.lake()) > 0);
    assert_eq!(locks(&to), 0, "locks are nobody's there");
}

/// How many locks lie below a folder.
fn locks(root: &Path) -> usize {
    let below = |entry: fs::DirEntry| {
        let path = entry.path();
        if path.is_dir() { locks(&path) } else { usize::from(path.extension().is_some_and(|ext| ext == "lock")) }
    };
    fs::read_dir(root).unwrap().map(|entry| below(entry.unwrap())).sum()
}

#[test]
fn a_tenants_folder_and_a_dataset_are_found_by_themselves() {
    let world = World::new();
    world.made("acme/one").commit(&[("a", b"1")]);
    for (place, name) in [("acme", "one"), ("acme/one", "one")] {
        let source = DeepLakeSource::new(&url(&world.lake().join(place)), DeepLakeOptions::default()).unwrap();
        let outcome = backup(&world.repo, &source, &BackupOptions::default(), &Silent).unwrap();
        let snapshot = world.snapshot(&outcome);
        assert_eq!(snapshot.collections.len(), 1);
        assert_eq!(snapshot.collections[0].name, name);
        assert_eq!(snapshot.collections[0].attributes["tenant"], "acme");
    }
    let chosen = DeepLakeOptions { tenant: Some("nobody".to_owned()), ..DeepLakeOptions::default() };
    assert!(world.try_back_up(chosen).unwrap_err().to_string().contains("tenant nobody"));
}

#[test]
fn an_incremental_reads_what_a_commit_added_and_files_that_moved() {
    let world = World::new();
    let mut made = world.made("t/d");
    for number in 0..20 {
        made.commit(&[(&format!("n{number}"), &vec![number; 100_000])]);
    }
    rest();
    let first = world.back_up();
    assert!(first.stats.bytes_read > 2_000_000);
    rest();
    made.commit(&[("new", b"one row")]);
    rest();
    let before = stats(&world.repo).unwrap();
    let second = world.back_up();
    assert!(second.complete && second.parent == first.id);
    assert_eq!(second.stats.new, 2, "an entry and a block");
    assert!(second.stats.bytes_read < 20_000, "{}", second.stats.bytes_read);
    let after = stats(&world.repo).unwrap();
    let (chunk_bytes, packs) = (after.plain_bytes - before.plain_bytes, after.packs - before.packs);
    assert!(chunk_bytes < 16_384 && (1..=2).contains(&packs), "{chunk_bytes} bytes of chunks in {packs} packs");
    // Packs of the smallest size, and what lists them.
    assert!(second.stats.bytes_added < 2 * 65_536 + 16_384, "{}", second.stats.bytes_added);

    let full = BackupOptions { ask: Ask::Full, ..BackupOptions::default() };
    let source = DeepLakeSource::new(&url(&world.lake()), DeepLakeOptions::default()).unwrap();
    let full = backup(&world.repo, &source, &full, &Silent).unwrap();
    let there: usize = files(&world.lake()).values().map(Vec::len).sum();
    assert!(full.complete && full.stats.bytes_read >= there as u64, "{} of {there}", full.stats.bytes_read);

    // Each part of the condition: another size is named, another time, mode or file is read again.
    let block = made.block("n3");
    fs::write(&block, vec![3; 100_000]).unwrap();
    rest();
    assert!(world.back_up().stats.bytes_read > 100_000, "it was written again");
    let other = world.lake().join("t/other");
    fs::write(&other, vec![3; 100_000]).unwrap();
    fs::rename(&other, &block).unwrap();
    rest();
    assert!(world.back_up().stats.bytes_read > 100_000, "it is another file");
    rest();
    let still = world.back_up();
    assert!(still.stats.bytes_read < 20_000, "{}", still.stats.bytes_read);
}

#[test]
fn the_next_number_follows_the_log_that_was_restored() {
    let world = World::new();
    let mut made = world.made("t/d");
    made.commit(&[("a", b"1")]);
    // A writer has taken a number, and its entry is not there yet.
    fs::write(made.branch(MAIN).join("next_base"), 9_u64.to_le_bytes()).unwrap();
    let outcome = world.back_up();
    let to = world.dir.path().join("back");
    world.restore(&outcome, &to);
    let next = to.join("t/d/_deeplake_log").join(MAIN).join("next_base");
    assert_eq!(fs::read(next).unwrap(), 2_u64.to_le_bytes());
}
