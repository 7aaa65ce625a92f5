//! A bank on `AtlasDB`'s store: it is backed up while it works, is lost as a whole, and comes back.

use crate::{
    cluster::{Cluster, Room, contents, rows},
    mini::{self, Bank, MONEY, Oracle, coordinate, entry, highest},
    rng::Rng,
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

pub const ACCOUNTS: usize = 40;

pub fn rounds() -> u64 {
    std::env::var("REKEEP_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3)
}

/// Workers and a sweeper at work until they are dropped.
pub struct AtWork {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl AtWork {
    pub fn begin(cluster: &Cluster, database: &str, bank: &Arc<Bank>, seed: u64) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut threads = Vec::new();
        for worker in 0..4 {
            let (bank, stop, done, mut client) =
                (Arc::clone(bank), Arc::clone(&stop), Arc::clone(&done), cluster.client(database));
            let mut rng = Rng::new(seed * 10 + worker);
            threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let from = rng.below(ACCOUNTS as u64) as usize;
                    if worker == 0 {
                        bank.sweep(&mut client, from);
                    } else {
                        let to = (from + 1 + rng.below(ACCOUNTS as u64 - 1) as usize) % ACCOUNTS;
                        bank.transfer(&mut client, from, to, rng.below(20) as i64, rng.chance(5));
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }));
        }
        Self { stop, done, threads }
    }

    /// Waits until as many more transfers are done.
    pub fn wait_for(&self, transfers: u64) {
        let until = self.done.load(Ordering::Relaxed) + transfers;
        while self.done.load(Ordering::Relaxed) < until {
            assert!(self.threads.iter().any(|thread| !thread.is_finished()), "nobody is at work any more");
            std::thread::yield_now();
        }
    }

    pub fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

#[test]
#[ignore = "needs postgresql"]
fn a_bank_that_is_lost_while_it_works_comes_back_with_its_sum_and_no_timestamp_is_given_twice() {
    let cluster = Cluster::new();
    for seed in 0..rounds() {
        let schema = [1, 2, 3][seed as usize % 3];
        let prefix = ["a_", ""][seed as usize % 2];
        let (from, to) = (format!("bank{seed}"), format!("copy{seed}"));
        let mut client = cluster.database(&from);
        mini::create(&mut client, prefix);
        if schema > 1 {
            coordinate(&mut client, prefix, &[(1, None, i64::from(schema))]);
        }
        let oracle = Oracle::start(cluster.client(&from), prefix, 7);
        let bank = Arc::new(Bank::new(oracle, prefix, schema, ACCOUNTS));
        bank.open(&mut client);
        let room = Room::new();
        let url = |database: &str| format!("atlasdb:{}?prefix={prefix}", cluster.url(database));
        let at_work = AtWork::begin(&cluster, &from, &bank, seed);
        at_work.wait_for(20);
        room.backup(&url(&from));
        at_work.wait_for(20);
        let before = bank.told(&mut client);
        let second = room.backup(&url(&from));
        assert_eq!(second["complete"], true, "{second}");
        assert!(second["parent"].is_string(), "{second}");
        at_work.wait_for(5);
        at_work.end();
        // All is lost.
        drop(client);
        cluster
            .client("postgres")
            .batch_execute(&format!("ALTER DATABASE {from} WITH ALLOW_CONNECTIONS false"))
            .unwrap();

        let mut copy = cluster.database(&to);
        let restored = room.ok(&["--json", "restore", "latest", &url(&to), "--verify"]).json();
        assert_eq!((&restored["different"], &restored["complete"]), (&0.into(), &true.into()), "{restored}");
        let told = bank.told(&mut copy);
        assert!(before.is_subset(&told), "what had committed before the backup began is there");
        let written = highest(&mut copy, prefix);
        let again = Oracle::start(cluster.client(&to), prefix, 7);
        let at = again.fresh();
        assert!(at > written, "seed {seed}: {at} was used already");
        let bank_again = Bank::new(again, prefix, schema, ACCOUNTS);
        let balances: Vec<i64> = (0..ACCOUNTS).map(|account| bank_again.balance(&mut copy, account, at)).collect();
        assert_eq!(balances.iter().sum::<i64>(), MONEY * ACCOUNTS as i64, "seed {seed}");
        assert_eq!(balances, bank.after(&told), "seed {seed}");
        // It goes on: each cell that it writes is a new one.
        let mut rng = Rng::new(seed);
        for _ in 0..40 {
            let from = rng.below(ACCOUNTS as u64) as usize;
            bank_again.transfer(&mut copy, from, (from + 1) % ACCOUNTS, 3, false);
        }
        let at = bank_again.oracle.fresh();
        let sum: i64 = (0..ACCOUNTS).map(|account| bank_again.balance(&mut copy, account, at)).sum();
        assert_eq!(sum, MONEY * ACCOUNTS as i64, "seed {seed}");
    }
}

/// Copies a table as it is at this moment: what a copy that is made table by table does.
fn copy_table(cluster: &Cluster, table: &str) {
    use std::io::{Read as _, Write as _};
    let (mut from, mut to) = (cluster.client("store"), cluster.client("copy"));
    let mut bytes = Vec::new();
    from.copy_out(&format!("COPY {table} TO STDOUT (FORMAT binary)")).unwrap().read_to_end(&mut bytes).unwrap();
    let mut out = to.copy_in(&format!("COPY {table} FROM STDIN (FORMAT binary)")).unwrap();
    out.write_all(&bytes).unwrap();
    out.finish().unwrap();
}

/// A store and an empty copy, and a transaction in the store that another one reads.
struct Fuzzy {
    cluster: Cluster,
    room: Room,
    store: postgres::Client,
    copy: postgres::Client,
}

impl Fuzzy {
    fn new() -> Self {
        let cluster = Cluster::new();
        let (mut store, mut copy) = (cluster.database("store"), cluster.database("copy"));
        mini::create(&mut store, "");
        mini::create(&mut copy, "");
        store.batch_execute("INSERT INTO _timestamp VALUES (1009999)").unwrap();
        let mut fuzzy = Self { cluster, room: Room::new(), store, copy };
        for account in [b"a", b"b"] {
            fuzzy.write(account, 10_001, "1000");
        }
        fuzzy.commit(10_001, 10_002);
        fuzzy
    }

    fn write(&mut self, account: &[u8], start: i64, balance: &str) {
        let sql = "INSERT INTO default__account VALUES ($1, 'b', $2, $3)";
        self.store.execute(sql, &[&account, &start, &balance.as_bytes()]).unwrap();
    }

    fn commit(&mut self, start: i64, commit: i64) {
        let (table, row, column, value) = entry(1, start, Some(commit));
        let sql = format!("INSERT INTO {table} VALUES ($1, $2, 0, $3)");
        self.store.execute(&sql, &[&row, &column, &value]).unwrap();
    }

    fn copied(&mut self, account: &[u8]) -> Option<String> {
        let value = mini::read(&mut self.copy, "", "default__account", 1, account, 2_000_000);
        value.map(|value| String::from_utf8(value).unwrap())
    }

    fn verb(&self, verb: &str, timestamp: i64) {
        let url = self.cluster.url("copy");
        self.room.ok(&["atlas", verb, &url, "--timestamp", &timestamp.to_string(), "--force"]);
    }

    /// What the one command makes of the store as it is now.
    fn by_rekeep(&self) -> postgres::Client {
        self.room.backup(&format!("atlasdb:{}", self.cluster.url("store")));
        let client = self.cluster.database("whole");
        self.room.ok(&["restore", "latest", &format!("atlasdb:{}", self.cluster.url("whole"))]);
        client
    }
}

#[test]
#[ignore = "needs postgresql"]
fn a_copy_that_is_not_cleaned_has_half_a_transaction() {
    let mut fuzzy = Fuzzy::new();
    let timestamp = 10_010;
    // A transfer writes one half, the cells are copied, it writes the other half and commits; then the transactions are copied.
    fuzzy.write(b"a", 10_005, "900");
    copy_table(&fuzzy.cluster, "default__account");
    fuzzy.write(b"b", 10_005, "1100");
    fuzzy.commit(10_005, 10_011);
    copy_table(&fuzzy.cluster, "_transactions");
    assert_eq!((fuzzy.copied(b"a").as_deref(), fuzzy.copied(b"b").as_deref()), (Some("900"), Some("1000")));
    fuzzy.verb("clean-transactions", timestamp);
    assert_eq!((fuzzy.copied(b"a").as_deref(), fuzzy.copied(b"b").as_deref()), (Some("1000"), Some("1000")));
    let mut whole = fuzzy.by_rekeep();
    let read = |client: &mut postgres::Client, account: &[u8]| {
        mini::read(client, "", "default__account", 1, account, 2_000_000)
    };
    assert_eq!(read(&mut whole, b"a").as_deref(), Some(&b"900"[..]));
    assert_eq!(read(&mut whole, b"b").as_deref(), Some(&b"1100"[..]));
}

#[test]
#[ignore = "needs postgresql"]
fn a_copy_of_transactions_before_cells_loses_one_that_had_committed() {
    let mut fuzzy = Fuzzy::new();
    fuzzy.write(b"a", 10_005, "900");
    fuzzy.write(b"b", 10_005, "1100");
    // Its commit timestamp, 10006, is handed out, then the backup's; it says that it committed when its table was copied.
    let timestamp = 10_007;
    copy_table(&fuzzy.cluster, "_transactions");
    fuzzy.commit(10_005, 10_006);
    copy_table(&fuzzy.cluster, "default__account");
    fuzzy.verb("clean-transactions", timestamp);
    assert_eq!(fuzzy.copied(b"a").as_deref(), Some("1000"), "lost, though it committed before the timestamp");
    fuzzy.copy.batch_execute("TRUNCATE _transactions").unwrap();
    copy_table(&fuzzy.cluster, "_transactions");
    fuzzy.verb("clean-transactions", timestamp);
    assert_eq!(fuzzy.copied(b"a").as_deref(), Some("900"), "the right order keeps it");
}

#[test]
#[ignore = "needs postgresql"]
fn sweep_during_a_copy_takes_away_what_the_timestamp_needs() {
    let mut fuzzy = Fuzzy::new();
    let timestamp = 10_004;
    fuzzy.write(b"a", 10_005, "900");
    fuzzy.commit(10_005, 10_006);
    // Nothing that runs can read the older version any more: sweep takes it away in the midst of the copy.
    let sweep = "INSERT INTO default__account VALUES ('a', 'b', -1, ''); DELETE FROM default__account WHERE row_name = 'a' AND ts = 10001";
    fuzzy.store.batch_execute(sweep).unwrap();
    copy_table(&fuzzy.cluster, "default__account");
    copy_table(&fuzzy.cluster, "_transactions");
    fuzzy.verb("clean-transactions", timestamp);
    assert_eq!(fuzzy.copied(b"a"), None, "neither version is left");
    let mut whole = fuzzy.by_rekeep();
    assert!(mini::read(&mut whole, "", "default__account", 1, b"a", 2_000_000).is_some());
}

#[test]
#[ignore = "needs postgresql"]
fn a_copy_that_is_not_moved_forward_gives_timestamps_twice() {
    let mut fuzzy = Fuzzy::new();
    copy_table(&fuzzy.cluster, "_timestamp");
    fuzzy.copy.batch_execute("DELETE FROM _timestamp WHERE ctid <> (SELECT min(ctid) FROM _timestamp)").unwrap();
    // While the rest is copied the service uses up what it had noted.
    fuzzy.store.batch_execute("UPDATE _timestamp SET last_allocated = 2009999").unwrap();
    for start in 1_010_000..1_010_050 {
        fuzzy.write(b"b", start, "1");
    }
    copy_table(&fuzzy.cluster, "default__account");
    copy_table(&fuzzy.cluster, "_transactions");
    let collides = |fuzzy: &mut Fuzzy| {
        let start = Oracle::start(fuzzy.cluster.client("copy"), "", 1000).fresh();
        let sql = "INSERT INTO default__account VALUES ('b', 'b', $1, '')";
        fuzzy.copy.execute(sql, &[&start]).is_err()
    };
    assert!(collides(&mut fuzzy), "a cell of that very timestamp is there");
    fuzzy.verb("fast-forward", 1_010_050);
    assert!(!collides(&mut fuzzy));
    let mut whole = fuzzy.by_rekeep();
    let start = Oracle::start(fuzzy.cluster.client("whole"), "", 1000).fresh();
    assert!(start > highest(&mut whole, ""));
}

#[test]
#[ignore = "needs postgresql"]
fn a_restore_that_is_killed_anywhere_has_done_nothing_and_is_done_again() {
    let cluster = Cluster::new();
    let mut client = cluster.database("store");
    mini::create(&mut client, "");
    let bank = Bank::new(Oracle::start(cluster.client("store"), "", 1_000_000), "", 1, ACCOUNTS);
    bank.open(&mut client);
    client
        .batch_execute(
            "INSERT INTO default__audit SELECT int8send(i), 'x', i, int8send(i) FROM generate_series(1, 20000) i",
        )
        .unwrap();
    let was = contents(&mut client);
    let room = Room::new();
    room.backup(&format!("atlasdb:{}", cluster.url("store")));
    let mut copy = cluster.database("copy");
    let url = format!("atlasdb:{}", cluster.url("copy"));
    // Each time it is killed at another statement: its connection is ended when it is seen at it.
    for word in
        ["CREATE TABLE", "LOCK", "COPY public._transactions", "COPY", "ALTER TABLE ONLY", "FETCH", "UPDATE", "COMMIT"]
    {
        let mut command = room.command(&["restore", "latest", &url]);
        let mut child =
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        let mut watch = cluster.client("postgres");
        let sql = "SELECT pid FROM pg_stat_activity WHERE datname = 'copy' AND application_name = 'rekeep' AND query LIKE '%' || $1 || '%'";
        let ended = loop {
            if !watch.query(sql, &[&word]).unwrap().is_empty() {
                rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::KILL)
                    .unwrap();
                break child.wait().unwrap();
            }
            if let Some(ended) = child.try_wait().unwrap() {
                break ended;
            }
        };
        while !watch
            .query("SELECT 1 FROM pg_stat_activity WHERE datname = 'copy' AND application_name = 'rekeep'", &[])
            .unwrap()
            .is_empty()
        {}
        let there = rows(
            &mut copy,
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'",
        );
        if there.is_empty() {
            assert!(!ended.success(), "{word}");
        } else {
            // Too quick, or killed behind its end: then all of it is there.
            assert_eq!(contents(&mut copy).len(), was.len(), "{word}");
            copy.batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").unwrap();
        }
    }
    room.ok(&["restore", "latest", &url, "--verify"]);
    let moved = |contents: Vec<(String, Vec<String>)>| {
        contents.into_iter().filter(|(name, _)| name != "public._timestamp").collect::<Vec<_>>()
    };
    assert!(moved(was) == moved(contents(&mut copy)));
    let told: BTreeSet<i64> = bank.told(&mut copy);
    assert_eq!(told.len(), 1);
    // A second one into the same place is refused.
    room.run(&["restore", "latest", &url]).ends(2, &["empty schema only"]);
    room.run(&["restore", "latest", &url, "--make-equal"]).ends(2, &["empty schema only"]);
    room.run(&["restore", "latest", &url, "--overwrite", "always"]).ends(2, &["empty schema only"]);
}
