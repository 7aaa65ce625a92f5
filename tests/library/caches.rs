//! What is kept on this host is a cache: that it can take nothing more fails nothing that is durable.

use crate::support::{
    Heard, MemorySource, World,
    db::{assert_same, sample},
    world::{assert_sound, back_up, plain, restored, snapshot},
};
use rekeep::ops::{
    backup::backup,
    prune::{PruneOptions, prune},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

fn catalog(world: &World) -> PathBuf {
    let mut files = fs::read_dir(world.cache_dir()).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|ext| ext == "db")).unwrap()
}

const TABLES: [&str; 8] = ["index_objects", "packs", "chunks", "places", "revisions", "layers", "layer_packs", "notes"];

/// From here on the catalog can be read and takes nothing, as on a full disk.
fn fill_up(catalog: &Path, tables: &[&str]) {
    let connection = rusqlite::Connection::open(catalog).unwrap();
    for table in tables {
        let full = "SELECT RAISE(FAIL, 'database or disk is full')";
        let name = format!("full_{table}");
        connection
            .execute_batch(&format!("CREATE TRIGGER {name} BEFORE INSERT ON {table} BEGIN {full}; END;"))
            .unwrap();
    }
}

#[test]
fn a_catalog_that_fills_up_on_the_way_fails_no_backup() {
    for when in ["packs/", "index/", "snapshots/"] {
        let (world, repo) = World::new();
        let mut db = sample(3, 400, 300);
        back_up(&repo, &MemorySource::of(db.clone(), &world.clock));
        world.clock.advance(1000);
        let mut changed = sample(9, 400, 300);
        db.append(&mut changed);
        let source = MemorySource::of(db.clone(), &world.clock);
        let file = Mutex::new(Some(catalog(&world)));
        world.backend.set_rival(move |name| {
            if name.starts_with(when)
                && let Some(file) = file.lock().unwrap().take()
            {
                fill_up(&file, &TABLES);
            }
            None
        });
        let outcome = backup(&repo, &source, &plain(), &Heard::default()).unwrap();
        assert!(outcome.complete, "{when}");
        world.backend.remove_rival();
        let fresh = world.beside();
        let repo = fresh.open();
        assert_same(&restored(&repo, &snapshot(&repo, outcome.id.unwrap())), &db, when);
        assert_sound(&repo);
    }
}

#[test]
fn what_is_durable_is_done_though_the_catalog_cannot_be_told() {
    let (world, repo) = World::new();
    let id = back_up(&repo, &MemorySource::of(sample(3, 100, 100), &world.clock)).id.unwrap();
    world.clock.advance(1000);
    let mut other = MemorySource::of(sample(4, 100, 100), &world.clock);
    "other".clone_into(&mut other.name);
    back_up(&repo, &other);
    fill_up(&catalog(&world), &["revisions", "leases", "notes"]);
    repo.revise(&id, &|manifest| manifest.tags = vec!["kept".to_owned()]).unwrap();
    assert_eq!(snapshot(&world.beside().open(), id).tags, ["kept"]);
    repo.forget(&id).unwrap();
    let seen = world.beside();
    assert_eq!(seen.open().snapshots().unwrap().len(), 1);
    prune(&seen.open(), &PruneOptions::default(), &Heard::default()).unwrap();
    assert_sound(&seen.open());
}
