//! A connector of one's own: registered beside those that are built in, opened by URL, backed up, restored, compared. It
//! lives here, and nothing of the library knows of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[allow(dead_code, unused_imports, reason = "other tests use the rest")]
#[path = "../support/mod.rs"]
mod support;
mod toy;

use rekeep::{
    connector::{ConnectorError, Options, Overwrite, Registry},
    ops::{
        backup::{BackupOptions, backup},
        restore::{RestoreOptions, restore},
        verify::{AgainstOptions, verify_against},
    },
};
use serde_json::json;
use std::fs;
use support::{Heard, World, world::snapshot};
use toy::ToyConnector;

fn options(document: serde_json::Value) -> Options {
    serde_json::from_value(document).unwrap()
}

#[test]
fn a_connector_of_ones_own_is_opened_by_url_backed_up_and_restored() {
    let registry = Registry::default().with(ToyConnector);
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let (from_url, to_url) = (format!("toy:{}", from.display()), format!("toy:{}", to.display()));
    let (_world, repo) = World::new();
    let back_up = |url: &str, given: &Options| {
        let source = registry.source(url, given).unwrap();
        backup(&repo, source.as_ref(), &BackupOptions::default(), &Heard::default()).unwrap()
    };
    fs::write(&from, "a=1\nb=2\nc=3\n").unwrap();
    let first = back_up(&from_url, &Options::default());
    fs::write(&from, "a=1\nb=two\nd=4\n").unwrap();
    let second = back_up(&from_url, &Options::default());
    let stats = &second.stats;
    assert_eq!((second.records, stats.new, stats.changed, stats.deleted), (3, 1, 1, 1));

    let target = registry.target(&to_url, &Options::default()).unwrap();
    let restored = |id, options: &RestoreOptions| {
        restore(&repo, &snapshot(&repo, id), target.as_ref(), options, &Heard::default()).unwrap()
    };
    let outcome = restored(second.id.unwrap(), &RestoreOptions { verify: true, ..RestoreOptions::default() });
    assert_eq!((outcome.outcomes.inserted, outcome.verified, outcome.different), (3, Some(3), 0));
    assert_eq!(fs::read_to_string(&to).unwrap(), "a=1\nb=two\nd=4\n");
    let back = RestoreOptions {
        overwrite: Some(Overwrite::IfChanged),
        make_equal: true,
        verify: true,
        ..RestoreOptions::default()
    };
    let outcome = restored(first.id.unwrap(), &back);
    let counts = &outcome.outcomes;
    assert_eq!((counts.inserted, counts.replaced, counts.unchanged, counts.removed), (1, 1, 1, 1));
    assert_eq!(fs::read_to_string(&to).unwrap(), "a=1\nb=2\nc=3\n");

    let live = registry.source(&to_url, &Options::default()).unwrap();
    let first = snapshot(&repo, first.id.unwrap());
    let compared = verify_against(&repo, &first, live.as_ref(), AgainstOptions::default(), &Heard::default()).unwrap();
    assert_eq!((compared.records, compared.missing, compared.extra, compared.different), (3, 0, 0, 0));

    let some = back_up(&from_url, &options(json!({"prefix": "b"})));
    assert_eq!((some.records, some.parent), (1, None), "another part of the source has no parent");
}

#[cfg(all(feature = "sqlite", feature = "files"))]
#[test]
fn its_options_are_its_own() {
    let registry = Registry::default().with(ToyConnector);
    let refused = |url: &str, document| registry.source(url, &options(document)).err().unwrap();
    let error = refused("sqlite:a.db", json!({"prefix": "b"}));
    assert_eq!(error.to_string(), "`prefix` is for toy: sources, not `sqlite:a.db`");
    let error = refused("toy:a", json!({"exclude": ["b"]}));
    assert_eq!(error.to_string(), "`exclude` is for files: sources, not `toy:a`");
    let error = refused("toy:a", json!({"prefix": 5}));
    assert!(matches!(&error, ConnectorError::Options { reason } if reason.contains("`prefix`")), "{error}");
    let error = registry.target("toy:a", &options(json!({"prefix": "b"}))).err().unwrap();
    assert!(matches!(error, ConnectorError::ForeignOptions { of: None, .. }), "{error}");
    assert!(refused("toys:a", json!({})).to_string().contains("`toys:` is not one of"));
}
