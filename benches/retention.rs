//! Deciding what to forget over 100 000 snapshots, which is to take less than 2 s: `cargo bench --bench retention`.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{Criterion, criterion_group, criterion_main};
use jiff::tz::TimeZone;
use rekeep::{
    ops::forget::{Candidate, KeepPeriod, KeepWithin, Period, Policy, plan::plan},
    record::Timestamp,
    repo::{SnapshotId, manifest::Kind},
};
use std::hint::black_box;

const NOW: i64 = 1_800_000_000_000;

/// One every ten minutes of each of ten sources, one in six of them full, some partial.
fn candidates(count: u32) -> Vec<Candidate> {
    let one = |n: u32| Candidate {
        id: SnapshotId(u128::from(n).to_be_bytes()),
        order: 0,
        end: Timestamp::from_millis(NOW - i64::from((count - n) / 10) * 600_000),
        source: format!("aerospike:cluster {}", n % 10),
        place: format!("aerospike:cluster {}", n % 10),
        scope: (String::new(), String::new()),
        host: "db1".to_owned(),
        tags: if n.is_multiple_of(100) { vec!["monthly".to_owned()] } else { Vec::new() },
        kind: if n % 60 < 10 { Kind::Full } else { Kind::Incremental },
        complete: !n.is_multiple_of(97),
        confirmed: !n.is_multiple_of(97),
        hold: n.is_multiple_of(1000),
        lock_until: None,
        meant: true,
    };
    (0..count).map(one).collect()
}

fn deciding(c: &mut Criterion) {
    let all = candidates(100_000);
    let policy = Policy {
        last: Some(24),
        periods: Period::ALL.map(|period| KeepPeriod { period, count: 1000 }).to_vec(),
        within: vec![KeepWithin { period: Some(Period::Day), age: "5y".parse().expect("an age") }],
        tags: vec!["monthly".to_owned()],
        full: Some(14),
        incremental: Some(7),
        max_age: Some("10y".parse().expect("an age")),
        ..Policy::default()
    };
    let zone = TimeZone::get("Europe/Berlin").expect("a zone that is known everywhere");
    let mut group = c.benchmark_group("forget");
    group.sample_size(10);
    group.bench_function("plan/100000", |b| {
        b.iter(|| {
            plan(black_box(&all), &policy, &zone, Timestamp::from_millis(NOW)).expect("the policy keeps something")
        });
    });
    group.finish();
}

criterion_group!(benches, deciding);
criterion_main!(benches);
