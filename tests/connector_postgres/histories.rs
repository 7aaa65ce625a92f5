//! Random tables that change at random between backups: each snapshot comes back as it was.

use crate::{
    cluster::{Cluster, Room, contents},
    rng::{Rng, from_env},
};

/// Types with values at their edges.
const TYPES: [(&str, &[&str]); 22] = [
    ("int2", &["-32768", "32767", "0", "7"]),
    ("int4", &["-2147483648", "2147483647", "0", "1"]),
    ("int8", &["-9223372036854775808", "9223372036854775807", "0"]),
    ("float4", &["'NaN'", "'-0'", "1e-45", "'-Infinity'"]),
    ("float8", &["'NaN'", "'-0'", "0", "5e-324", "1.7976931348623157e308"]),
    ("numeric", &["'NaN'", "'Infinity'", "0.000", "1.50", "1.5", "-1e1000", "1e-1000", "99999.99990"]),
    ("text", &["''", "'a'", "'A'", "'żółw'", "E'\\n\\t\\\\'", "repeat('x', 3000)", "repeat('ab', 600000)"]),
    ("varchar(20)", &["''", "'x  '", "'ü'"]),
    ("char(4)", &["''", "'a'", "'a b'", "'  z'"]),
    ("bytea", &["''", "'\\x00'", "'\\x00ff'", "decode(repeat('00', 5000), 'hex')"]),
    ("bool", &["true", "false"]),
    ("date", &["'infinity'", "'-infinity'", "'4713-01-01 BC'", "'2026-01-31'"]),
    ("timestamp", &["'infinity'", "'2026-01-01 00:00:00.000001'", "'1969-12-31'"]),
    ("timestamptz", &["'-infinity'", "'2026-01-01 00:00:00+05'", "'294276-01-01 00:00:00Z'"]),
    ("interval", &["'0'", "'1 day'", "'24:00'", "'-1 mon 2 days'"]),
    ("uuid", &["'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"]),
    ("inet", &["'10.0.0.1'", "'10.0.0.1/8'", "'::1'"]),
    ("jsonb", &["'null'", "'{\"a\": [1, 1.0]}'", "'\"x\"'", "jsonb_build_object('b', repeat('y', 4000))"]),
    ("colour", &["'red'", "'green'"]),
    ("colour[]", &["'{}'", "'{red,NULL}'", "'[3:4]={green,green}'"]),
    ("int4range", &["'empty'", "'[1,5)'", "'(,3)'"]),
    ("text[]", &["'{}'", "'{a,\"b c\",NULL}'", "'{{a,b},{c,d}}'"]),
];

pub struct Table {
    pub name: String,
    columns: Vec<usize>,
}

impl Table {
    pub fn make(number: usize, rng: &mut Rng) -> (Self, String) {
        let count = 1 + rng.below(6) as usize;
        let columns: Vec<usize> = (0..count).map(|_| rng.below(TYPES.len() as u64) as usize).collect();
        let mut parts: Vec<String> =
            columns.iter().enumerate().map(|(at, kind)| format!("c{} {}", (at * 7) % 10, TYPES[*kind].0)).collect();
        let key: Vec<String> = (0..count).filter(|_| rng.chance(35)).map(|at| format!("c{}", (at * 7) % 10)).collect();
        match rng.below(3) {
            0 if !key.is_empty() => parts.push(format!("PRIMARY KEY ({})", key.join(", "))),
            1 if !key.is_empty() => {
                parts.push(format!("UNIQUE ({})", key.join(", ")));
                for name in &key {
                    let at = parts.iter().position(|part| part.starts_with(&format!("{name} "))).unwrap();
                    parts[at].push_str(" NOT NULL");
                }
            }
            _ => {}
        }
        let name = format!("t{number}");
        let sql = format!("CREATE TABLE {name} ({})", parts.join(", "));
        (Self { name, columns }, sql)
    }

    /// What lies beside its rows: indexes, a reference to another table, views, a trigger, each or none. The server may refuse some.
    fn dress(&self, others: &[Self], rng: &mut Rng) -> Vec<String> {
        let name = &self.name;
        let column = |rng: &mut Rng| format!("c{}", (rng.below(self.columns.len() as u64) * 7) % 10);
        let mut statements = Vec::new();
        for number in 0..rng.below(4) {
            let own = column(rng);
            statements.push(match rng.below(5) {
                0 => format!("CREATE INDEX \"I {name} {number}\" ON {name} ({own}, {})", column(rng)),
                1 => format!("CREATE INDEX ON {name} (({own}::text)) WHERE {own} IS NOT NULL"),
                2 => format!("CREATE UNIQUE INDEX ON {name} ({own}, md5({name}::text))"),
                3 => format!("ALTER TABLE {name} ADD UNIQUE ({own}) DEFERRABLE"),
                _ => format!("ALTER TABLE {name} ADD CHECK ({own} IS NULL OR {own} = {own})"),
            });
        }
        if rng.chance(30) {
            statements.push(format!("ALTER TABLE {name} ADD COLUMN id int GENERATED ALWAYS AS IDENTITY UNIQUE"));
        }
        if let Some(other) = (!others.is_empty()).then(|| rng.pick(others)).filter(|_| rng.chance(60)) {
            statements.push(format!("ALTER TABLE {name} ADD COLUMN other int REFERENCES {}(id)", other.name));
        }
        if rng.chance(25) {
            statements.push(format!("CREATE MATERIALIZED VIEW m_{name} AS SELECT count(*) AS n FROM {name}; CREATE UNIQUE INDEX ON m_{name} (n)"));
        }
        if rng.chance(25) {
            let function = "EXECUTE FUNCTION suppress_redundant_updates_trigger()";
            statements.push(format!("CREATE TRIGGER z BEFORE UPDATE ON {name} FOR EACH ROW {function}"));
        }
        statements
    }

    pub fn change(&self, rng: &mut Rng) -> Vec<String> {
        let value = |kind: usize, rng: &mut Rng| {
            if rng.chance(15) {
                return "NULL".to_owned();
            }
            format!("{}::{}", rng.pick(TYPES[kind].1), TYPES[kind].0)
        };
        let mut statements = Vec::new();
        for _ in 0..rng.below(25) {
            let values: Vec<String> = self.columns.iter().map(|kind| value(*kind, rng)).collect();
            statements.push(match rng.below(10) {
                0 => {
                    format!("DELETE FROM {0} WHERE ctid = (SELECT ctid FROM {0} ORDER BY random() LIMIT 1)", self.name)
                }
                1 => {
                    let at = rng.below(self.columns.len() as u64) as usize;
                    let place = "(SELECT ctid FROM {} ORDER BY random() LIMIT 1)".replace("{}", &self.name);
                    format!("UPDATE {} SET c{} = {} WHERE ctid = {place}", self.name, (at * 7) % 10, values[at])
                }
                _ => {
                    let names: Vec<String> = (0..values.len()).map(|at| format!("c{}", (at * 7) % 10)).collect();
                    format!("INSERT INTO {} ({}) VALUES ({})", self.name, names.join(", "), values.join(", "))
                }
            });
        }
        statements
    }
}

fn history(seed: u64, cluster: &Cluster) {
    let mut rng = Rng::new(seed);
    let name = format!("h{seed}");
    let mut client = cluster.database(&name);
    client.batch_execute("CREATE TYPE colour AS ENUM ('red', 'green')").unwrap();
    let room = Room::new();
    let mut tables: Vec<Table> = Vec::new();
    let (mut states, mut schemas) = (Vec::new(), Vec::new());
    let mut made = 0;
    for round in 0..4 {
        for _ in 0..=rng.below(4) {
            let (table, sql) = Table::make(made, &mut rng);
            made += 1;
            client.batch_execute(&sql).unwrap();
            for sql in table.dress(&tables, &mut rng) {
                let _ = client.batch_execute(&sql);
            }
            tables.push(table);
        }
        for table in &tables {
            for sql in table.change(&mut rng) {
                // Keys that are there, and nulls in keys, are refused by the server: that is no matter.
                let _ = client.batch_execute(&sql);
            }
        }
        if round == 2 && rng.chance(50) {
            let dropped = tables.pop().unwrap().name;
            let altered = tables.first().map_or(String::new(), |table| {
                format!("ALTER TABLE {} ADD COLUMN later text DEFAULT 'd';", table.name)
            });
            client.batch_execute(&format!("{altered} DROP TABLE {dropped} CASCADE")).unwrap();
        }
        if round == 3
            && let Some(table) = tables.last()
        {
            // Where something hangs on its type the server refuses.
            let _ = client.batch_execute(&format!("ALTER TABLE {0} ALTER c0 TYPE text USING c0::text", table.name));
        }
        // A restore makes them of the rows that there are then.
        for table in &tables {
            let _ = client.batch_execute(&format!("REFRESH MATERIALIZED VIEW m_{}", table.name));
        }
        room.backup(&cluster.url(&name));
        states.push(contents(&mut client));
        schemas.push(cluster.dump(&name, &["--schema-only"]));
    }
    for (at, state) in states.iter().enumerate() {
        let copy = format!("{name}c{at}");
        let mut restored = cluster.database(&copy);
        let snapshot = format!("latest~{}", states.len() - 1 - at);
        room.ok(&["restore", &snapshot, &cluster.url(&copy)]);
        for (was, is) in state.iter().zip(&contents(&mut restored)) {
            assert!(was == is, "seed {seed}, snapshot {at}, {}: {:.600?} is {:.600?}", was.0, was.1, is.1);
        }
        assert!(schemas[at] == cluster.dump(&copy, &["--schema-only"]), "seed {seed}, snapshot {at}");
        let compared = room.run(&["verify", &snapshot, "--against", &cluster.url(&copy)]);
        let schema = cluster.dump(&copy, &["--schema-only"]);
        assert_eq!(compared.code, Some(0), "seed {seed}, snapshot {at}: {compared:?} {schema} {state:.2000?}");
    }
    // From any state to any other, in place.
    let target = rng.below(states.len() as u64) as usize;
    let oldest = &states[target];
    let common = |all: &[(String, Vec<String>)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    if common(oldest) == common(&states[states.len() - 1]) {
        let url = cluster.url(&name);
        room.ok(&["restore", &format!("latest~{}", states.len() - 1 - target), &url, "--make-equal", "--verify"]);
        assert!(*oldest == contents(&mut client), "seed {seed}");
    }
}

#[test]
#[ignore = "needs postgresql"]
fn every_snapshot_of_a_random_history_comes_back() {
    let cluster = Cluster::new();
    let first = from_env("REKEEP_TEST_SEED", 1);
    for seed in first..first + from_env("REKEEP_TEST_ROUNDS", 3) {
        history(seed, &cluster);
    }
}
