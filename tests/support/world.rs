//! A repository on a test backend, with a clock that is moved by hand.

use super::{Db, Image, MemorySource, MemoryTarget, TestBackend};
use rekeep::{
    ops::{
        OpsError, Phase, Progress,
        backup::{BackupOptions, BackupOutcome, backup},
        restore::{RestoreOptions, RestoreOutcome, restore},
        verify::{ReadData, VerifyOptions, VerifyOutcome, verify},
    },
    record::{Clock, Timestamp},
    repo::{InitOptions, OpenOptions, RepoError, Repository, Snapshot, SnapshotId, Storage, Unlock, keys::KdfParams},
    report::Warning,
};
use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};
use tempfile::TempDir;

/// 2026-01-01T00:00:00Z, where all tests begin.
pub const EPOCH: i64 = 1_767_225_600_000;

pub const PASSWORD: &str = "correct horse";

/// A clock that stands still until it is moved.
pub struct TestClock(AtomicI64);

impl Default for TestClock {
    fn default() -> Self {
        Self(AtomicI64::new(EPOCH))
    }
}

impl TestClock {
    /// Moves it; backwards by a negative number.
    pub fn advance(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Hears what a verb says; cancels it on request.
#[derive(Default)]
pub struct Heard {
    warnings: Mutex<Vec<String>>,
    pub cancel: AtomicBool,
    /// Cancels once this many records were reported; 0 for never.
    pub cancel_after: AtomicU64,
    /// Cancels it as soon as these words are said.
    pub cancel_at: OnceLock<&'static str>,
    /// Cancels it as soon as nothing comes.
    pub cancel_at_idle: AtomicBool,
    records: AtomicU64,
}

impl Heard {
    /// Records that were reported.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    pub fn warnings(&self) -> String {
        self.warnings.lock().unwrap().join("\n")
    }
}

impl Progress for Heard {
    fn phase(&self, _: &Phase) {}

    fn count(&self, records: u64, bytes: u64) {
        if records == 0 && bytes == 0 && self.cancel_at_idle.load(Ordering::Relaxed) {
            self.cancel.store(true, Ordering::Relaxed);
        }
        let all = self.records.fetch_add(records, Ordering::Relaxed) + records;
        let limit = self.cancel_after.load(Ordering::Relaxed);
        if limit > 0 && all >= limit {
            self.cancel.store(true, Ordering::Relaxed);
        }
    }

    fn warning(&self, warning: &Warning) {
        self.warnings.lock().unwrap().push(warning.to_string());
        if self.cancel_at.get().is_some_and(|words| warning.words.contains(words)) {
            self.cancel.store(true, Ordering::Relaxed);
        }
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

/// A repository and what is around it.
pub struct World {
    pub backend: Arc<TestBackend>,
    pub clock: Arc<TestClock>,
    cache: TempDir,
}

pub fn unlock() -> Unlock {
    Unlock::Password(PASSWORD.to_owned())
}

pub const fn fast_kdf() -> KdfParams {
    KdfParams { memory_kib: 8, passes: 1, lanes: 1 }
}

impl World {
    /// A new repository.
    pub fn new() -> (Self, Repository) {
        let world = Self::over(Image::new());
        let init = InitOptions { kdf: fast_kdf(), label: "test".to_owned() };
        let (repo, _) = Repository::init(&world.storage(), &unlock(), None, &init, &world.options()).unwrap();
        (world, repo)
    }

    /// The world after a restart on what is stored, without a catalog.
    pub fn over(image: Image) -> Self {
        Self { backend: Arc::new(TestBackend::new(image)), clock: Arc::default(), cache: tempfile::tempdir().unwrap() }
    }

    /// Another machine at the same storage, at the same time.
    pub fn beside(&self) -> Self {
        Self { backend: Arc::clone(&self.backend), clock: Arc::clone(&self.clock), cache: tempfile::tempdir().unwrap() }
    }

    pub fn storage(&self) -> Storage {
        Storage::over(Arc::clone(&self.backend) as Arc<_>, "test:")
    }

    pub fn options(&self) -> OpenOptions {
        OpenOptions {
            cache_dir: self.cache.path().to_owned(),
            clock: Arc::clone(&self.clock) as Arc<_>,
            host: "testhost".to_owned(),
        }
    }

    pub fn try_open(&self) -> Result<Repository, RepoError> {
        Repository::open(&self.storage(), &unlock(), &self.options())
    }

    pub fn open(&self) -> Repository {
        self.try_open().unwrap()
    }

    /// What its clock shows.
    pub fn clock_millis(&self) -> i64 {
        self.clock.now().as_millis()
    }

    pub fn cache_dir(&self) -> &std::path::Path {
        self.cache.path()
    }

    /// Forgets the catalog; all repositories must have been dropped.
    pub fn drop_catalog(&self) {
        for entry in std::fs::read_dir(self.cache.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
        }
    }
}

/// Backs up with few threads and without a word.
pub fn backup_with(
    repo: &Repository,
    source: &MemorySource,
    options: &BackupOptions,
) -> Result<BackupOutcome, OpsError> {
    backup(repo, source, options, &Heard::default())
}

/// The usual options of tests.
pub fn plain() -> BackupOptions {
    // Histories lose all they held as they like; that this is asked about has tests of its own.
    BackupOptions { parallel: 2, url: "memory:".to_owned(), max_lost_percent: 100, ..BackupOptions::default() }
}

/// A backup that must work.
pub fn back_up(repo: &Repository, source: &MemorySource) -> BackupOutcome {
    backup_with(repo, source, &plain()).unwrap()
}

/// The snapshot of this id.
pub fn snapshot(repo: &Repository, id: SnapshotId) -> Snapshot {
    repo.snapshots().unwrap().into_iter().find(|s| s.id == id).unwrap()
}

/// Restores a snapshot into an empty target.
pub fn restored(repo: &Repository, snapshot: &Snapshot) -> Db {
    let target = MemoryTarget::default();
    let outcome = restore_with(repo, snapshot, &target, &RestoreOptions::default()).unwrap();
    assert_eq!(outcome.outcomes.failed, 0, "{:?}", outcome.outcomes.failures);
    target.held()
}

pub fn restore_with(
    repo: &Repository,
    snapshot: &Snapshot,
    target: &MemoryTarget,
    options: &RestoreOptions,
) -> Result<RestoreOutcome, OpsError> {
    let options = RestoreOptions { parallel: 2, ..options.clone() };
    restore(repo, snapshot, target, &options, &Heard::default())
}

/// Verifies everything there is.
pub fn verify_all(repo: &Repository) -> Result<VerifyOutcome, OpsError> {
    let options = VerifyOptions { read_data: ReadData::All, restore: true, parallel: 1, read_limit: None };
    let snapshots = repo.snapshots()?;
    let mut outcome = verify(repo, &snapshots, &options, &Heard::default())?;
    // Only the newest of each source is restored at once: the others one by one.
    for one in &snapshots {
        let options = VerifyOptions { read_data: ReadData::None, ..options.clone() };
        let single = verify(repo, std::slice::from_ref(one), &options, &Heard::default())?;
        outcome.findings.extend(single.findings);
    }
    Ok(outcome)
}

/// Everything verifies.
pub fn assert_sound(repo: &Repository) {
    let outcome = verify_all(repo).unwrap();
    assert!(outcome.findings.is_empty(), "{:#?}", outcome.findings);
}
