//! From one cluster into another: `REKEEP_TEST_AEROSPIKE_FROM` (`HOST:PORT/NAMESPACE`) is read, `REKEEP_TEST_AEROSPIKE_TO` is
//! written, and loses what it holds. One that is not named is a server in this process.

use crate::{
    cluster::{quick, some_record, start, url},
    support::{Heard, Rng, World, world::snapshot},
};
use rekeep::{
    connector::{
        Overwrite, SourceUrl,
        aerospike::{AerospikeOptions, AerospikeSource, AerospikeTarget, AerospikeTargetOptions},
    },
    ops::{
        backup::{BackupOptions, backup},
        restore::{RestoreOptions, restore},
    },
};
use rekeep_aerospike_server::Handle;
use std::time::Duration;

/// The place that a variable names, or the namespace of a server in this process.
fn place(variable: &str, here: &Handle) -> SourceUrl {
    let named = std::env::var(variable).ok().filter(|place| !place.is_empty());
    named.map_or_else(|| url(here), |place| SourceUrl::parse(&format!("aerospike://{place}")).unwrap())
}

#[test]
fn one_namespace_comes_back_in_another() {
    let (one, other) = (start(2), start(1));
    let mut rng = Rng::new(90);
    one.put_all("test", (0..500).map(|n| some_record(&mut rng, n)));
    other.put_all("test", (300..900).map(|n| some_record(&mut rng, n)));
    other.advance(Duration::from_secs(1));
    let (from, to) = (place("REKEEP_TEST_AEROSPIKE_FROM", &one), place("REKEEP_TEST_AEROSPIKE_TO", &other));
    let options = AerospikeOptions { partition_timeout: Duration::from_mins(1), ..quick() };
    let (_world, repo) = World::new();
    let keep = |url: &SourceUrl| {
        let source = AerospikeSource::new(url, options.clone()).unwrap();
        let how = BackupOptions { parallel: 2, url: "aerospike:".to_owned(), ..BackupOptions::default() };
        backup(&repo, &source, &how, &Heard::default()).unwrap().id.unwrap()
    };
    let id = keep(&from);
    let target = AerospikeTarget::new(&to, options.clone(), AerospikeTargetOptions::default()).unwrap();
    let kept = snapshot(&repo, id);
    let mut what = RestoreOptions { make_equal: true, verify: true, parallel: 2, ..RestoreOptions::default() };
    let outcome = restore(&repo, &kept, &target, &what, &Heard::default()).unwrap();
    assert!(outcome.complete, "{outcome:#?}");
    assert_eq!((outcome.different, outcome.verified), (0, Some(outcome.records)));
    // A second time there is nothing to do.
    what.overwrite = Some(Overwrite::IfChanged);
    let again = restore(&repo, &kept, &target, &what, &Heard::default()).unwrap();
    assert_eq!((again.outcomes.inserted, again.outcomes.replaced, again.outcomes.removed), (0, 0, 0), "{again:#?}");
    // A server drops no user key that it once stored.
    assert!(again.notes.iter().all(|note| note.contains("have kept the user key")), "{again:#?}");
    assert!(again.missing.is_empty() && again.complete, "{again:#?}");
}
