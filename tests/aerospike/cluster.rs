//! What the tests share: a cluster with records, its state as a database in memory, and backups of it.

use crate::{
    place::{Living, SERVER_EPOCH_MILLIS, called},
    support::{
        Coll, Db, Heard, Rec, Rng, World,
        world::{restored, snapshot},
    },
};
use rekeep::{
    connector::{
        SourceUrl,
        aerospike::{AerospikeOptions, AerospikeSource},
    },
    ops::{
        OpsError,
        backup::{BackupOptions, BackupOutcome, backup},
    },
    record::{Digest, KeyCodec, Timestamp},
    repo::{Repository, SnapshotId},
};
use rekeep_aerospike_server::{Dumped, Seed};
use std::time::Duration;

pub fn url(server: &impl Living) -> String {
    server.url()
}

/// Options that do not make a test wait.
pub fn quick() -> AerospikeOptions {
    AerospikeOptions {
        socket_timeout: Duration::from_secs(2),
        partition_timeout: Duration::from_millis(300),
        max_retries: 1,
        ..AerospikeOptions::default()
    }
}

/// Options that wait until what moves has come to rest.
pub fn patient() -> AerospikeOptions {
    AerospikeOptions {
        partition_timeout: Duration::from_secs(20),
        socket_timeout: Duration::from_millis(500),
        ..quick()
    }
}

pub fn source_of(url: &str, options: AerospikeOptions) -> AerospikeSource {
    AerospikeSource::new(&SourceUrl::parse(url).unwrap(), options).unwrap()
}

pub fn plain() -> BackupOptions {
    BackupOptions { parallel: 2, url: "aerospike:".to_owned(), ..BackupOptions::default() }
}

pub fn try_back_up(
    repo: &Repository,
    url: &str,
    options: AerospikeOptions,
    how: &BackupOptions,
) -> Result<(BackupOutcome, String), OpsError> {
    let heard = Heard::default();
    let outcome = backup(repo, &source_of(url, options), how, &heard)?;
    Ok((outcome, heard.warnings()))
}

pub fn back_up(repo: &Repository, server: &impl Living) -> BackupOutcome {
    let (outcome, _) = try_back_up(repo, &url(server), quick(), &plain()).unwrap();
    assert!(outcome.complete, "{:#?}", outcome.problems);
    outcome
}

pub fn server_now(server: &impl Living) -> Timestamp {
    server.now()
}

/// The record as it is kept.
pub fn kept(dumped: Dumped) -> (Vec<u8>, Rec) {
    let cells =
        dumped.bins.into_iter().map(|(name, particle, value)| (name, (particle, without_cells(particle, value))));
    let rec = Rec {
        cells: cells.collect(),
        generation: u32::from(dumped.generation),
        expiry: match dumped.void_time {
            0 => 0,
            seconds => (SERVER_EPOCH_MILLIS as u64 / 1000 + u64::from(seconds) + 1) * 1000,
        },
        stamp: 0,
        set: dumped.set,
        user_key: dumped.key,
    };
    (Digest(dumped.digest).sort_key().to_vec(), rec)
}

fn without_cells(particle: u8, value: Vec<u8>) -> Vec<u8> {
    if particle != 23 {
        return value;
    }
    let cells = usize::from(u16::from_be_bytes([value[1], value[2]]));
    value[3 + 8 * cells..].to_vec()
}

/// What the server holds that is live at this time.
pub fn held(server: &impl Living, namespaces: &[&str], at: Timestamp) -> Db {
    let mut db = Db::new();
    for namespace in namespaces {
        let mut coll = Coll::new(KeyCodec::Digest);
        coll.records = server.dump(namespace).into_iter().map(kept).filter(|(_, rec)| rec.is_live_at(at)).collect();
        db.insert((*namespace).to_owned(), coll);
    }
    db
}

/// What a snapshot gives back, without attributes.
pub fn given_back(repo: &Repository, id: SnapshotId) -> Db {
    let mut db = restored(repo, &snapshot(repo, id));
    for coll in db.values_mut() {
        coll.attributes = serde_json::Value::Null;
    }
    db.into_iter().map(|(name, coll)| (called(&name), coll)).collect()
}

/// A snapshot holds what the server does.
pub fn assert_kept(repo: &Repository, server: &impl Living, outcome: &BackupOutcome, what: &str) {
    let expected = held(server, &["test"], outcome.end);
    let got = given_back(repo, outcome.id.unwrap());
    let (expected, got) = (&expected["test"].records, &got["test"].records);
    for (key, rec) in expected {
        let shown = KeyCodec::Digest.show(key);
        assert_eq!(got.get(key), Some(rec), "{what}: {shown}");
    }
    assert_eq!(got.len(), expected.len(), "{what}: records that should not be there");
    assert_eq!(outcome.records, expected.len() as u64, "{what}: the count");
}

/// A world and a cluster with `count` records of many kinds.
pub fn populated(server: &impl Living, count: u64, seed: u64) -> (World, Repository) {
    let (world, repo) = World::new();
    let mut rng = Rng::new(seed);
    server.put_all("test", (0..count).map(|n| some_record(&mut rng, n)));
    (world, repo)
}

/// A record with bins of several types.
pub fn some_record(rng: &mut Rng, n: u64) -> Seed {
    let mut seed = Seed::int(n as i64).bin_int("n", n as i64);
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
    seed.generation(1 + rng.below(9) as u16)
}
