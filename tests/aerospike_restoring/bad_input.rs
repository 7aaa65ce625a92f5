//! Damaged repositories, users who may not, indexes that are not what they were: what can be is restored, and the rest said.

use crate::{
    cluster::{Restore, back_up, held, start},
    support::{Rng, World},
};
use rekeep::{
    connector::Overwrite,
    repo::{SnapshotId, ids::PackKind, pack},
};
use rekeep_aerospike_server::{Action, At, Command, Dumped, Fault, Handle, Seed};
use std::collections::BTreeMap;

/// A cluster with records in some thirty blocks, and its snapshot.
fn many() -> (Handle, World, SnapshotId) {
    let server = start(1);
    let mut rng = Rng::new(71);
    server.put_all("test", (0..3_000).map(|n| Seed::int(n).set("s").bin("b", 4, &rng.bytes(2_000))));
    let (world, repo) = World::new();
    let id = back_up(&repo, &server);
    drop(repo);
    (server, world, id)
}

/// Turns a bit of the largest pack of a kind, at this part of its length.
fn harm(world: &World, kind: PackKind, part: f64) {
    let repo = world.open();
    let packs = repo.packs().unwrap();
    let names = packs.iter().filter(|info| info.kind == kind).map(|info| pack::path(&info.name));
    let image = world.backend.image();
    let largest = names.max_by_key(|name| image[name].len()).unwrap();
    drop(repo);
    world.backend.tamper(|image| {
        let bytes = image.get_mut(&largest).unwrap();
        let at = (bytes.len() as f64 * part) as usize;
        bytes[at] ^= 0x10;
    });
}

fn by_digest(records: Vec<Dumped>) -> BTreeMap<[u8; 20], Dumped> {
    records.into_iter().map(|record| (record.digest, record)).collect()
}

#[test]
fn a_chunk_that_is_damaged_costs_its_records_alone_whatever_the_policy() {
    for (kind, part) in [(PackKind::Data, 0.5), (PackKind::Data, 0.2), (PackKind::Metadata, 0.3)] {
        let (server, world, id) = many();
        harm(&world, kind, part);
        let repo = world.open();
        let kept = by_digest(held(&server));
        let strict = start(1);
        let error = Restore::of(&repo, id).error(&strict);
        assert!(error.contains("damaged"), "{error}");
        for (overwrite, equal) in
            [(None, false), (Some(Overwrite::Always), false), (Some(Overwrite::IfChanged), false), (None, true)]
        {
            let to = start(1);
            let what = format!("{kind:?} {part} {overwrite:?} {equal}");
            let holds = overwrite.is_some() || equal;
            if holds {
                // Half stands as it was, a tenth in another state, and something that nobody kept.
                let half = server.dump("test").into_iter().enumerate().filter(|(n, _)| n % 2 == 0);
                to.put_all(
                    "test",
                    half.map(|(n, dumped)| {
                        let bytes = if n % 10 == 0 { b"old".to_vec() } else { dumped.bins[0].2.clone() };
                        Seed::with_digest(dumped.digest).set("s").bin("b", 4, &bytes)
                    }),
                );
                to.put("test", Seed::int(100_000).set("s").bin_int("b", 1));
                to.advance(std::time::Duration::from_secs(10));
            }
            let before = by_digest(held(&to));
            let mut restore = Restore::of(&repo, id);
            (restore.what.overwrite, restore.what.make_equal) = (overwrite, equal);
            restore.what.keep_going = true;
            restore.what.dry_run = true;
            let counted = restore.attempt(&to).unwrap_or_else(|error| panic!("{what}, dry: {error}"));
            assert!(!counted.complete || kind == PackKind::Data, "{what}");
            assert_eq!(by_digest(held(&to)), before, "{what}");
            restore.what.dry_run = false;
            let outcome = restore.attempt(&to).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(!outcome.complete && !outcome.damage.is_empty(), "{what}");
            assert_eq!(outcome.outcomes.removed, 0, "{what}");
            let after = by_digest(held(&to));
            let mut restored = 0;
            for (digest, record) in &after {
                let is_kept = kept.get(digest).is_some_and(|kept| kept.bins == record.bins);
                assert!(is_kept || before.get(digest) == Some(record), "{what}: something else");
                restored += usize::from(is_kept);
            }
            assert!(before.keys().all(|digest| after.contains_key(digest)), "{what}: something is gone");
            assert!(restored > 1_500 && restored < 3_000 + usize::from(holds), "{what}: {restored}");
            if kind == PackKind::Data && !holds {
                assert_eq!(outcome.lost, 3_000 - restored as u64, "{what}");
            }
        }
    }
}

#[test]
fn damage_is_said_once_by_a_restore_that_was_stopped_and_goes_on() {
    let (_server, world, id) = many();
    harm(&world, PackKind::Data, 0.4);
    let repo = world.open();
    let whole = start(1);
    let mut restore = Restore::of(&repo, id);
    restore.what.keep_going = true;
    let expected = restore.run(&whole);
    restore.what.progress_every = Some(std::time::Duration::ZERO);
    let to = start(1);
    for requests in [2, 5, 9] {
        to.fault(Fault::new(At::Start, Action::Refuse(81)).on(Command::Batch).after_requests(requests));
        assert!(restore.attempt(&to).is_err());
        to.clear_faults();
    }
    let outcome = restore.run(&to);
    assert_eq!((outcome.lost, &outcome.damage, outcome.complete), (expected.lost, &expected.damage, false));
    assert_eq!(by_digest(held(&to)), by_digest(held(&whole)));
}

#[test]
fn a_user_who_may_not_write_ends_the_restore_with_the_reason() {
    let (_server, world, id) = many();
    let repo = world.open();
    let to = start(1);
    to.fault(Fault::new(At::Start, Action::Refuse(81)).on(Command::Batch).always());
    let error = Restore::of(&repo, id).error(&to);
    assert!(error.contains("result 81") && error.contains("role"), "{error}");
    assert_eq!(to.count("test"), 0);
}

#[test]
fn a_repository_of_a_newer_format_writes_nothing() {
    let (_server, world, _id) = many();
    world.backend.tamper(|image| {
        let text = String::from_utf8(image["rekeep.json"].clone()).unwrap();
        let line = format!("{}\n", text.lines().next().unwrap().replace("\"format\":1", "\"format\":9"));
        image.insert("rekeep.json".to_owned(), format!("{line}\"{}\"\n", blake3::hash(line.as_bytes())).into_bytes());
    });
    let error = world.try_open().map(drop).unwrap_err().to_string();
    assert!(error.contains("newer rekeep"), "{error}");
}
