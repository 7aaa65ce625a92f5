//! Through real clusters, where they are named: `REKEEP_TEST_AEROSPIKE` is read (`HOST:PORT/NAMESPACE`),
//! `REKEEP_TEST_AEROSPIKE_TARGET` is written, and loses what it holds. Without them there is nothing to test.

use crate::{
    cluster::quick,
    support::{Heard, World, world::snapshot},
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
use std::time::Duration;

fn named(variable: &str) -> Option<SourceUrl> {
    let place = std::env::var(variable).ok().filter(|place| !place.is_empty())?;
    Some(SourceUrl::parse(&format!("aerospike://{place}")).unwrap())
}

#[test]
fn a_real_namespace_comes_back_in_another() {
    let (Some(from), Some(to)) = (named("REKEEP_TEST_AEROSPIKE"), named("REKEEP_TEST_AEROSPIKE_TARGET")) else {
        return;
    };
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
    assert!(again.notes.is_empty() && again.missing.is_empty(), "{again:#?}");
}
