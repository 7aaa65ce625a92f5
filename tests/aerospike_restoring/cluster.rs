//! What the tests share: clusters, backups of them, restores into them.

use crate::support::{Heard, Rng, World, world::snapshot};
use rekeep::{
    connector::{
        Overwrite, SourceUrl,
        aerospike::{AerospikeOptions, AerospikeSource, AerospikeTarget, AerospikeTargetOptions},
    },
    ops::{
        OpsError,
        backup::{BackupOptions, backup},
        restore::{RestoreOptions, RestoreOutcome, restore},
    },
    repo::{Repository, SnapshotId},
};
use rekeep_aerospike_server::{Config, Dumped, Handle, Seed, Server};
use std::time::Duration;

pub fn url(server: &Handle) -> SourceUrl {
    let addresses: Vec<String> = server.addresses().iter().map(ToString::to_string).collect();
    SourceUrl::parse(&format!("aerospike://{}/test", addresses.join(","))).unwrap()
}

/// Options that do not make a test wait.
pub fn quick() -> AerospikeOptions {
    AerospikeOptions {
        socket_timeout: Duration::from_secs(3),
        partition_timeout: Duration::from_secs(20),
        max_retries: 1,
        ..AerospikeOptions::default()
    }
}

pub fn start(nodes: usize) -> Handle {
    Server::start(Config::with_nodes(nodes)).unwrap()
}

/// Backs up all that a server holds.
pub fn back_up(repo: &Repository, server: &Handle) -> SnapshotId {
    let source = AerospikeSource::new(&url(server), quick()).unwrap();
    let options = BackupOptions { parallel: 2, url: "aerospike:".to_owned(), ..BackupOptions::default() };
    let outcome = backup(repo, &source, &options, &Heard::default()).unwrap();
    assert!(outcome.complete, "{:#?}", outcome.problems);
    outcome.id.unwrap()
}

/// Backs up what some options choose.
pub fn back_up_part(repo: &Repository, server: &Handle, change: impl FnOnce(&mut AerospikeOptions)) -> SnapshotId {
    let mut chosen = quick();
    change(&mut chosen);
    let source = AerospikeSource::new(&url(server), chosen).unwrap();
    let options = BackupOptions { parallel: 2, url: "aerospike:".to_owned(), ..BackupOptions::default() };
    backup(repo, &source, &options, &Heard::default()).unwrap().id.unwrap()
}

/// A restore that has not begun.
pub struct Restore<'a> {
    pub repo: &'a Repository,
    pub id: SnapshotId,
    pub options: AerospikeOptions,
    pub how: AerospikeTargetOptions,
    pub what: RestoreOptions,
}

impl<'a> Restore<'a> {
    pub fn of(repo: &'a Repository, id: SnapshotId) -> Self {
        let what = RestoreOptions { parallel: 2, ..RestoreOptions::default() };
        // Small ones: what the tests break lies between batches.
        let how = AerospikeTargetOptions { batch_size: 128, ..AerospikeTargetOptions::default() };
        Self { repo, id, options: quick(), how, what }
    }

    pub fn overwrite(mut self, overwrite: Overwrite) -> Self {
        self.what.overwrite = Some(overwrite);
        self
    }

    pub fn make_equal(mut self) -> Self {
        self.what.make_equal = true;
        self
    }

    pub fn how(mut self, change: impl FnOnce(&mut AerospikeTargetOptions)) -> Self {
        change(&mut self.how);
        self
    }

    pub fn options(mut self, change: impl FnOnce(&mut AerospikeOptions)) -> Self {
        change(&mut self.options);
        self
    }

    pub fn attempt(&self, server: &Handle) -> Result<RestoreOutcome, OpsError> {
        let target = AerospikeTarget::new(&url(server), self.options.clone(), self.how.clone())?;
        restore(self.repo, &snapshot(self.repo, self.id), &target, &self.what, &Heard::default())
    }

    pub fn run(&self, server: &Handle) -> RestoreOutcome {
        self.attempt(server).unwrap()
    }

    pub fn error(&self, server: &Handle) -> String {
        let error = self.attempt(server).unwrap_err();
        format!("{error} {:?}", error.remedies())
    }
}

/// What of a record comes back.
pub fn comparable(mut dumped: Dumped) -> Dumped {
    dumped.generation = 0;
    dumped.without_lut()
}

/// All records of a server, as far as they come back.
pub fn held(server: &Handle) -> Vec<Dumped> {
    server.dump("test").into_iter().map(comparable).collect()
}

/// Two servers hold the same, expiries within two seconds.
pub fn assert_same(from: &Handle, to: &Handle) {
    assert_same_within(from, to, 2);
}

/// The same where a node may have taken a record and not answered for it: its expiry is as late as the node was.
pub fn assert_same_since(from: &Handle, to: &Handle, began: std::time::Instant) {
    assert_same_within(from, to, 2 + began.elapsed().as_secs() as u32);
}

fn assert_same_within(from: &Handle, to: &Handle, seconds: u32) {
    let (expected, got) = (held(from), held(to));
    assert_eq!(got.len(), expected.len(), "the number of records");
    for (mut expected, mut got) in expected.into_iter().zip(got) {
        let off = expected.void_time.abs_diff(got.void_time);
        assert!(
            off <= seconds && (expected.void_time == 0) == (got.void_time == 0),
            "{off} s off: {expected:?} {got:?}"
        );
        (expected.void_time, got.void_time) = (0, 0);
        assert_eq!(got, expected);
    }
}

/// A cluster with records of several kinds, and a repository with a snapshot of it.
pub fn kept(nodes: usize, count: u64, seed: u64) -> (Handle, World, Repository, SnapshotId) {
    let server = start(nodes);
    let mut rng = Rng::new(seed);
    server.put_all("test", (0..count).map(|n| some_record(&mut rng, n)));
    let (world, repo) = World::new();
    let id = back_up(&repo, &server);
    (server, world, repo, id)
}

/// A record with bins of several types.
pub fn some_record(rng: &mut Rng, n: u64) -> Seed {
    let mut seed = Seed::int(n as i64).bin_int("n", n as i64).generation(1 + rng.below(9) as u16);
    if rng.below(3) != 0 {
        seed = seed.set(["demo", "other", "a set"][rng.below(3) as usize]);
    }
    if rng.below(4) == 0 {
        seed = seed.stores_key();
    }
    if rng.chance(50) {
        let len = rng.below(300) as usize;
        let bytes = rng.bytes(len);
        seed = seed.bin("blob", 4, &bytes);
    }
    if rng.below(5) == 0 {
        seed = seed.bin_string("a text", "żółw");
    }
    if rng.below(5) == 0 { seed.ttl(10_000 + rng.below(100_000) as u32) } else { seed }
}
