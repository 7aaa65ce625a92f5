//! A small client of `AtlasDB`'s store, made after its sources and not after the code under test: transactions with snapshot
//! isolation over cells in `PostgreSQL`, timestamps with a bound that is noted ahead, sweep.

use crate::cluster::rows;
use postgres::Client;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

/// What a store makes when it is new, and the tables of a bank.
pub fn create(client: &mut Client, prefix: &str) {
    let cells = "row_name bytea NOT NULL, col_name bytea NOT NULL, ts int8 NOT NULL, val bytea";
    let mut sql = format!(
        "CREATE TABLE _metadata (table_name varchar(2000) NOT NULL, table_size bigint NOT NULL, value bytea NULL, CONSTRAINT pk__metadata PRIMARY KEY (table_name));
         CREATE UNIQUE INDEX unique_lower_case__metadata_index ON _metadata (lower(table_name));
         CREATE TABLE dual (id bigint, CONSTRAINT pk_dual PRIMARY KEY (id)); INSERT INTO dual VALUES (1);
         CREATE TABLE {prefix}_timestamp (last_allocated int8 NOT NULL);"
    );
    for name in ["_transactions", "_transactions2", "_coordination", "_punch", "default.account", "default.audit"] {
        let table = format!("{prefix}{}", name.replacen('.', "__", usize::from(!name.starts_with('_'))));
        sql.push_str(&format!(
            "CREATE TABLE {table} ({cells}, CONSTRAINT pk_{table} PRIMARY KEY (row_name, col_name, ts));
             INSERT INTO _metadata VALUES ('{name}', 3, NULL);"
        ));
    }
    client.batch_execute(&sql).unwrap();
}

pub fn var_long(value: i64) -> Vec<u8> {
    let value = value as u64;
    let bits = 64 - value.leading_zeros();
    let len = bits.div_ceil(7).max(1) as usize;
    let mut bytes = vec![0; len];
    let mut rest = value;
    for byte in bytes.iter_mut().rev() {
        *byte = rest as u8;
        rest >>= 8;
    }
    for one in 0..len - 1 {
        bytes[one / 8] |= 0x80 >> (one % 8);
    }
    bytes
}

pub fn to_long(bytes: &[u8]) -> i64 {
    let len = bytes.len();
    let all = bytes.iter().fold(0_u128, |all, byte| all << 8 | u128::from(*byte));
    let value = (all & ((1 << (7 * len)) - 1)) as u64 as i64;
    assert_eq!(var_long(value), bytes);
    value
}

/// Which table and cell, and which value, says what became of a transaction: schemas 1, 2 and 3.
pub fn entry(schema: u8, start: i64, commit: Option<i64>) -> (&'static str, Vec<u8>, Vec<u8>, Vec<u8>) {
    if schema == 1 {
        return ("_transactions", var_long(start), b"t".to_vec(), var_long(commit.unwrap_or(-1)));
    }
    let (quantum, rows) = (25_000_000, 16);
    let row = (start / quantum) * rows + (start % quantum) % rows;
    let mut value = commit.map_or_else(Vec::new, |commit| var_long(commit - start));
    if schema == 3 {
        value.push(1);
    }
    ("_transactions2", (row as u64).reverse_bits().to_be_bytes().to_vec(), var_long((start % quantum) / rows), value)
}

/// When a transaction committed, as a store holds it; `None` if it did not.
pub fn commit_of(client: &mut Client, prefix: &str, schema: u8, start: i64) -> Option<i64> {
    let (table, row, column, _) = entry(schema, start, None);
    let sql = format!("SELECT val FROM {prefix}{table} WHERE row_name = $1 AND col_name = $2 AND ts = 0");
    let mut value: Vec<u8> = client.query_opt(&sql, &[&row, &column]).unwrap()?.get(0);
    if schema == 1 {
        return Some(to_long(&value)).filter(|commit| *commit != -1);
    }
    if schema == 3 && value.pop() != Some(1) {
        return None;
    }
    (!value.is_empty()).then(|| start + to_long(&value))
}

/// A cell as a transaction that began at `at` reads it.
pub fn read(client: &mut Client, prefix: &str, table: &str, schema: u8, row: &[u8], at: i64) -> Option<Vec<u8>> {
    let sql =
        format!("SELECT ts, val FROM {prefix}{table} WHERE row_name = $1 AND ts < $2 AND ts >= 0 ORDER BY ts DESC");
    for version in client.query(&sql, &[&row, &at]).unwrap() {
        if commit_of(client, prefix, schema, version.get(0)).is_some_and(|commit| commit < at) {
            return version.get::<_, Option<Vec<u8>>>(1).filter(|value| !value.is_empty());
        }
    }
    None
}

/// Hands timestamps out, and notes a bound ahead of them before it does.
pub struct Oracle {
    state: Mutex<(Client, i64, i64)>,
    prefix: String,
    ahead: i64,
}

impl Oracle {
    /// A service that starts: it goes on above what may have been handed out.
    pub fn start(mut client: Client, prefix: &str, ahead: i64) -> Self {
        let bound = client.query_opt(&format!("SELECT last_allocated FROM {prefix}_timestamp"), &[]).unwrap();
        let bound: i64 = bound.map_or_else(
            || {
                client.execute(&format!("INSERT INTO {prefix}_timestamp VALUES (9999)"), &[]).unwrap();
                9999
            },
            |row| row.get(0),
        );
        Self { state: Mutex::new((client, bound, bound)), prefix: prefix.to_owned(), ahead }
    }

    pub fn fresh(&self) -> i64 {
        let mut state = self.state.lock().unwrap();
        let (client, last, bound) = &mut *state;
        if *last == *bound {
            *bound += self.ahead;
            client.execute(&format!("UPDATE {}_timestamp SET last_allocated = $1", self.prefix), &[&*bound]).unwrap();
        }
        *last += 1;
        *last
    }
}

/// When a transaction committed, and which account it gave which balance.
type Written = (i64, Vec<(usize, i64)>);

/// Accounts of a bank, each a cell; what was ever written to them is remembered.
pub struct Bank {
    pub oracle: Oracle,
    prefix: String,
    schema: u8,
    accounts: Vec<Mutex<()>>,
    running: Mutex<BTreeSet<i64>>,
    /// By start timestamp: commit timestamp, and what was written to which account.
    written: Mutex<BTreeMap<i64, Written>>,
}

pub const MONEY: i64 = 1000;

fn key(account: usize) -> Vec<u8> {
    vec![account as u8, 0, 0xff]
}

impl Bank {
    pub fn new(oracle: Oracle, prefix: &str, schema: u8, accounts: usize) -> Self {
        Self {
            oracle,
            prefix: prefix.to_owned(),
            schema,
            accounts: (0..accounts).map(|_| Mutex::new(())).collect(),
            running: Mutex::default(),
            written: Mutex::default(),
        }
    }

    /// Gives each account its money.
    pub fn open(&self, client: &mut Client) {
        let all: Vec<(usize, i64)> = (0..self.accounts.len()).map(|account| (account, MONEY)).collect();
        let start = self.begin();
        self.write(client, start, &all);
        self.commit(client, start, all);
    }

    fn begin(&self) -> i64 {
        let mut running = self.running.lock().unwrap();
        let start = self.oracle.fresh();
        running.insert(start);
        start
    }

    fn write(&self, client: &mut Client, start: i64, balances: &[(usize, i64)]) {
        for (account, balance) in balances {
            let sql = format!("INSERT INTO {}default__account VALUES ($1, 'b', $2, $3)", self.prefix);
            client.execute(&sql, &[&key(*account), &start, &balance.to_be_bytes().to_vec()]).unwrap();
        }
        let sql = format!("INSERT INTO {}default__audit VALUES ($1, 'a', $2, '\\x01')", self.prefix);
        client.execute(&sql, &[&start.to_be_bytes().to_vec(), &start]).unwrap();
    }

    fn commit(&self, client: &mut Client, start: i64, balances: Vec<(usize, i64)>) {
        let commit = self.oracle.fresh();
        let (table, row, column, value) = entry(self.schema, start, Some(commit));
        // What is remembered is what was acknowledged: noted with the entry, before others see it.
        self.written.lock().unwrap().insert(start, (commit, balances));
        let sql = format!("INSERT INTO {}{table} VALUES ($1, $2, 0, $3)", self.prefix);
        client.execute(&sql, &[&row, &column, &value]).unwrap();
        self.running.lock().unwrap().remove(&start);
    }

    pub fn balance(&self, client: &mut Client, account: usize, at: i64) -> i64 {
        let value = read(client, &self.prefix, "default__account", self.schema, &key(account), at).unwrap();
        i64::from_be_bytes(value.try_into().unwrap())
    }

    /// Moves money, or dies before it says that it committed.
    pub fn transfer(&self, client: &mut Client, from: usize, to: usize, amount: i64, dies: bool) {
        let (low, high) = (from.min(to), from.max(to));
        let (_low, _high) = (self.accounts[low].lock().unwrap(), self.accounts[high].lock().unwrap());
        let start = self.begin();
        let balances =
            vec![(from, self.balance(client, from, start) - amount), (to, self.balance(client, to, start) + amount)];
        self.write(client, start, &balances);
        if dies {
            self.running.lock().unwrap().remove(&start);
        } else {
            self.commit(client, start, balances);
        }
    }

    /// Takes away versions that nobody who runs or will run can read.
    pub fn sweep(&self, client: &mut Client, account: usize) {
        let immutable = {
            let running = self.running.lock().unwrap();
            running.first().copied().unwrap_or_else(|| self.oracle.fresh())
        };
        let sql = format!(
            "SELECT ts FROM {}default__account WHERE row_name = $1 AND ts < $2 AND ts >= 0 ORDER BY ts DESC",
            self.prefix
        );
        let versions = client.query(&sql, &[&key(account), &immutable]).unwrap();
        let committed = versions.iter().position(|version| {
            commit_of(client, &self.prefix, self.schema, version.get(0)).is_some_and(|commit| commit < immutable)
        });
        let Some(newest) = committed else { return };
        let sql =
            format!("INSERT INTO {}default__account VALUES ($1, 'b', -1, '') ON CONFLICT DO NOTHING", self.prefix);
        client.execute(&sql, &[&key(account)]).unwrap();
        let older: Vec<i64> = versions[newest + 1..].iter().map(|version| version.get(0)).collect();
        let sql = format!("DELETE FROM {}default__account WHERE row_name = $1 AND ts = ANY ($2)", self.prefix);
        client.execute(&sql, &[&key(account), &older]).unwrap();
    }

    /// Keeps sweep from what can be read from now on: by a number to let go, which is a lower bound of what stays.
    pub fn hold(&self) -> (i64, i64) {
        let own = self.begin();
        (own, self.running.lock().unwrap().first().copied().unwrap_or(own))
    }

    pub fn let_go(&self, own: i64) {
        self.running.lock().unwrap().remove(&own);
    }

    /// The transactions whose commit timestamps are lower.
    pub fn committed_before(&self, timestamp: i64) -> BTreeSet<i64> {
        let written = self.written.lock().unwrap();
        written.iter().filter(|(_, (commit, _))| *commit < timestamp).map(|(start, _)| *start).collect()
    }

    /// What each account held after exactly these transactions.
    pub fn after(&self, transactions: &BTreeSet<i64>) -> Vec<i64> {
        let mut by_commit: Vec<Written> = self
            .written
            .lock()
            .unwrap()
            .iter()
            .filter(|(start, _)| transactions.contains(start))
            .map(|(_, (commit, balances))| (*commit, balances.clone()))
            .collect();
        by_commit.sort();
        let mut balances = vec![0; self.accounts.len()];
        for (account, balance) in by_commit.into_iter().flat_map(|(_, balances)| balances) {
            balances[account] = balance;
        }
        balances
    }

    /// The transactions of whose commits a store tells.
    pub fn told(&self, client: &mut Client) -> BTreeSet<i64> {
        let starts: Vec<i64> = self.written.lock().unwrap().keys().copied().collect();
        starts.into_iter().filter(|start| commit_of(client, &self.prefix, self.schema, *start).is_some()).collect()
    }
}

/// The highest timestamp of any cell.
pub fn highest(client: &mut Client, prefix: &str) -> i64 {
    let sql = format!(
        "SELECT greatest((SELECT max(ts) FROM {prefix}default__account), (SELECT max(ts) FROM {prefix}default__audit))"
    );
    rows(client, &sql)[0].parse().unwrap()
}

/// Says that start timestamps up to the end are written by these schemas, one range after the other.
pub fn coordinate(client: &mut Client, prefix: &str, ranges: &[(i64, Option<i64>, i64)]) {
    let mapping = |(lower, upper, schema): &(i64, Option<i64>, i64)| {
        let upper =
            upper.map_or_else(String::new, |upper| format!(r#","upperEndpoint":{upper},"upperBoundType":"OPEN""#));
        format!(r#"{{"longRange":{{"lowerEndpoint":{lower},"lowerBoundType":"CLOSED"{upper}}},"value":{schema}}}"#)
    };
    let list: Vec<String> = ranges.iter().map(mapping).collect();
    let map =
        format!(r#"{{"timestampToTransactionsTableSchemaVersion":{{"timestampMappings":[{}]}}}}"#, list.join(","));
    let value = format!(r#"{{"version":1,"payload":"{}"}}"#, data_encoding::BASE64.encode(map.as_bytes()));
    let sql = format!(
        "INSERT INTO {prefix}_coordination VALUES ('m', '\\x00', 0, $1), ('m', '\\x03', 0, $2) ON CONFLICT (row_name, col_name, ts) DO UPDATE SET val = excluded.val"
    );
    client.execute(&sql, &[&&br#"{"sequence":3,"bound":9}"#[..], &value.as_bytes()]).unwrap();
}
