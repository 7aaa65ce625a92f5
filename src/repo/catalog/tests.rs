use super::*;
use crate::{
    record::Timestamp,
    repo::{
        ChunkId, ChunkKind, ObjectName, SnapshotId,
        ids::PackKind,
        index::IndexedPack,
        pack::{HEADER_BYTES, PackEntry},
    },
};
use std::collections::HashSet;

fn chunk(n: u32) -> ChunkId {
    ChunkId(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

fn name(n: u8) -> ObjectName {
    ObjectName([n; 32])
}

fn pack(n: u8, chunks: &[u32]) -> IndexedPack {
    let entry = |(i, c): (usize, &u32)| PackEntry {
        id: chunk(*c),
        kind: ChunkKind::Keys,
        offset: 160 + 100 * i as u64,
        stored_len: 100,
        plain_len: 200,
    };
    IndexedPack {
        name: name(n),
        bytes: 65536,
        kind: PackKind::Metadata,
        lease: SnapshotId([n; 16]),
        header: [n; HEADER_BYTES].as_slice().into(),
        entries: chunks.iter().enumerate().map(entry).collect(),
    }
}

fn import(catalog: &Catalog, objects: &[(u8, Vec<IndexedPack>)], gone: &[u8]) {
    let mut objects = objects.iter().map(|(n, packs)| (name(*n), 100, packs.clone()));
    let gone: Vec<_> = gone.iter().map(|&n| name(n)).collect();
    catalog.apply_index(&mut || Ok(objects.next()), &gone).unwrap();
}

fn homes(catalog: &Catalog, n: u32) -> Vec<ObjectName> {
    catalog.find(&chunk(n)).unwrap().into_iter().map(|place| place.name).collect()
}

fn temporary() -> (tempfile::TempDir, Catalog) {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open_file(&folder.path().join("c.db")).unwrap();
    (folder, catalog)
}

#[test]
fn a_chunk_is_found_in_every_pack_that_holds_it() {
    let (_folder, catalog) = temporary();
    import(&catalog, &[(1, vec![pack(1, &[10, 11]), pack(2, &[11, 12])]), (2, vec![pack(3, &[12])])], &[]);
    assert_eq!(homes(&catalog, 10), [name(1)]);
    assert_eq!(homes(&catalog, 11), [name(1), name(2)]);
    assert_eq!(homes(&catalog, 12), [name(2), name(3)]);
    assert_eq!(homes(&catalog, 13), []);
    let place = &catalog.find(&chunk(12)).unwrap()[0];
    assert_eq!((place.ordinal, place.entry), (1, pack(2, &[11, 12]).entries[1]));
    assert_eq!(*place.header, [2; HEADER_BYTES]);
}

#[test]
fn every_place_is_counted_once_whatever_came_and_went() {
    let (_dir, catalog) = temporary();
    let places = |catalog: &Catalog| {
        let mut places = Vec::new();
        catalog.for_each_place(&mut |place| places.push(place)).unwrap();
        places
    };
    let expected = |packs: &[(u8, &[u32])]| -> Vec<PlaceUse> {
        let of = |&(n, chunks): &(u8, &[u32])| {
            let number = catalog.pack_number(&name(n)).unwrap().unwrap();
            let place = |(entry, id): (&PackEntry, &u32)| PlaceUse {
                pack: number,
                chunk: catalog.chunk_number(&chunk(*id)).unwrap().unwrap(),
                stored_len: entry.stored_len,
            };
            pack(n, chunks).entries.iter().zip(chunks).map(place).collect::<Vec<_>>()
        };
        let mut places: Vec<PlaceUse> = packs.iter().flat_map(of).collect();
        places.sort_by_key(|place| place.pack);
        places
    };
    import(&catalog, &[(1, vec![pack(1, &[10, 11, 12])]), (2, vec![pack(2, &[12, 5, 10])])], &[]);
    assert_eq!(places(&catalog), expected(&[(1, &[10, 11, 12]), (2, &[12, 5, 10])]));
    // Another object that names pack 2 as well keeps it; pack 1 goes.
    import(&catalog, &[(3, vec![pack(2, &[12, 5, 10]), pack(3, &[])])], &[1, 2]);
    assert_eq!(places(&catalog), expected(&[(2, &[12, 5, 10]), (3, &[])]));
}

#[test]
fn a_pack_goes_with_the_last_index_object_that_names_it() {
    let (_folder, catalog) = temporary();
    import(&catalog, &[(1, vec![pack(1, &[10]), pack(2, &[11])])], &[]);
    import(&catalog, &[(2, vec![pack(2, &[11])])], &[1]);
    assert_eq!(homes(&catalog, 10), []);
    assert_eq!(homes(&catalog, 11), [name(2)]);
    import(&catalog, &[], &[2]);
    assert_eq!(homes(&catalog, 11), []);
    assert_eq!(catalog.packs().unwrap(), []);
}

#[test]
fn numbers_stay_with_their_chunk_and_pack_numbers_are_never_used_again() {
    let (_folder, catalog) = temporary();
    import(&catalog, &[(1, vec![pack(1, &[10, 11])])], &[]);
    let (number, old) = (catalog.chunk_number(&chunk(11)).unwrap(), catalog.pack_number(&name(1)).unwrap());
    import(&catalog, &[], &[1]);
    import(&catalog, &[(2, vec![pack(9, &[11])])], &[]);
    assert_eq!(catalog.chunk_number(&chunk(11)).unwrap(), number);
    assert_ne!(catalog.pack_number(&name(9)).unwrap(), old);
}

#[test]
fn chunks_with_one_prefix_are_told_apart() {
    let (_folder, catalog) = temporary();
    let mut twins = pack(1, &[10, 11]);
    twins.entries[1].id = twins.entries[0].id;
    twins.entries[1].id.0[31] ^= 1;
    import(&catalog, &[(1, vec![twins.clone()])], &[]);
    for (ordinal, entry) in twins.entries.iter().enumerate() {
        let places = catalog.find(&entry.id).unwrap();
        assert_eq!(places.iter().map(|place| place.ordinal).collect::<Vec<_>>(), [ordinal as u64]);
    }
}

#[test]
fn many_chunks_are_numbered_in_one_go_as_each_would_be_alone() {
    let (_folder, catalog) = temporary();
    let mut twins = pack(1, &[10, 11, 12]);
    twins.entries[1].id = twins.entries[0].id;
    twins.entries[1].id.0[31] ^= 1;
    import(&catalog, &[(1, vec![twins.clone(), pack(2, &(20..90).collect::<Vec<_>>())])], &[]);
    let mut asked: Vec<ChunkId> = (20..95).rev().map(chunk).chain(twins.entries.iter().map(|it| it.id)).collect();
    asked.push(asked[30]);
    let alone: Vec<_> = asked.iter().map(|id| catalog.chunk_number(id).unwrap()).collect();
    assert_eq!(catalog.numbers_of(&asked).unwrap(), alone);
    assert_eq!(alone.iter().filter(|number| number.is_none()).count(), 5);
}

#[test]
fn what_is_noted_of_layers_goes_with_them() {
    let (_folder, catalog) = temporary();
    let (stays, goes) = (chunk(1), chunk(2));
    for layer in [stays, goes] {
        catalog.set_layer_numbers(&mut [(layer, vec![3, 1])]).unwrap();
        catalog.set_layer_filter(&layer, b"filter").unwrap();
    }
    catalog.keep_layers(&HashSet::from([stays])).unwrap();
    assert_eq!(catalog.layer_chunks(&stays).unwrap(), Some(vec![1, 3]));
    assert_eq!(catalog.layer_filter(&stays).unwrap().as_deref(), Some(&b"filter"[..]));
    assert!(!catalog.knows_layer(&goes).unwrap() && catalog.layer_filter(&goes).unwrap().is_none());
}

#[test]
fn a_failed_import_changes_nothing() {
    let (_folder, catalog) = temporary();
    import(&catalog, &[(1, vec![pack(1, &[10])])], &[]);
    let mut calls = 0;
    let outcome = catalog.apply_index(
        &mut || {
            calls += 1;
            if calls == 1 { Ok(Some((name(2), 100, vec![pack(2, &[20])]))) } else { Err(RepoError::Interrupted) }
        },
        &[name(1)],
    );
    assert!(matches!(outcome, Err(RepoError::Interrupted)));
    assert_eq!(homes(&catalog, 10), [name(1)]);
    assert_eq!(homes(&catalog, 20), []);
    import(&catalog, &[(3, vec![pack(3, &[30])])], &[]);
    assert_eq!(homes(&catalog, 20), []);
    assert_eq!(homes(&catalog, 30), [name(3)]);
}

#[test]
fn two_processes_import_the_same_object_once() {
    let (folder, catalog) = temporary();
    let other = Catalog::open_file(&folder.path().join("c.db")).unwrap();
    import(&catalog, &[(1, vec![pack(1, &[10])])], &[]);
    import(&other, &[(1, vec![pack(1, &[10])]), (2, vec![pack(1, &[10]), pack(2, &[10])])], &[]);
    assert_eq!(homes(&catalog, 10), [name(1), name(2)]);
    assert_eq!(homes(&other, 10), homes(&catalog, 10));
    import(&other, &[], &[1]);
    assert_eq!(homes(&catalog, 10), [name(1), name(2)]);
}

#[test]
fn a_spoilt_catalog_is_rebuilt_empty() {
    let (folder, catalog) = temporary();
    import(&catalog, &[(1, vec![pack(1, &[10])])], &[]);
    drop(catalog);
    let file = folder.path().join("c.db");
    fs::write(
        &file,
        b"this was a catalog once, and now it is a text of more than a hundred bytes, which no SQLite reads.",
    )
    .unwrap();
    let catalog = Catalog::open_file(&file).unwrap();
    assert_eq!(catalog.index_objects().unwrap(), []);
}

#[test]
fn a_catalog_of_another_schema_is_rebuilt_empty() {
    let (folder, catalog) = temporary();
    import(&catalog, &[(1, vec![pack(1, &[10])])], &[]);
    catalog.writer().pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    drop(catalog);
    let catalog = Catalog::open_file(&folder.path().join("c.db")).unwrap();
    assert_eq!(catalog.index_objects().unwrap(), []);
    drop(catalog);
    let connection = Connection::open(folder.path().join("c.db")).unwrap();
    connection.execute_batch("DROP TABLE places").unwrap();
    drop(connection);
    let catalog = Catalog::open_file(&folder.path().join("c.db")).unwrap();
    assert_eq!(homes(&catalog, 10), []);
}

#[test]
fn the_catalog_of_another_repository_is_rebuilt_empty() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = [RepoId([1; 16]), RepoId([2; 16])];
    let catalog = Catalog::open(folder.path(), &one, "p").unwrap();
    import(&catalog, &[(1, vec![pack(1, &[10])])], &[]);
    let (from, to) = (catalog.path().to_owned(), Catalog::open(folder.path(), &two, "p").unwrap().path().to_owned());
    drop(catalog);
    let again = Catalog::open(folder.path(), &one, "p").unwrap();
    assert_eq!(again.index_objects().unwrap().len(), 1);
    drop(again);
    fs::rename(from, to).unwrap();
    let catalog = Catalog::open(folder.path(), &two, "p").unwrap();
    assert_eq!(catalog.index_objects().unwrap(), []);
    import(&catalog, &[(1, vec![pack(1, &[10])])], &[]);
    drop(catalog);
    assert_eq!(Catalog::open(folder.path(), &two, "p").unwrap().index_objects().unwrap().len(), 1);
}

#[test]
fn locations_of_one_repository_have_catalogs_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let id = RepoId([3; 16]);
    let here = Catalog::open(folder.path(), &id, "/a").unwrap();
    let there = Catalog::open(folder.path(), &id, "/b").unwrap();
    assert_ne!(here.path(), there.path());
    assert!(here.path().file_name().unwrap().to_str().unwrap().starts_with(&format!("{id}-")));
}

#[test]
fn layers_notes_and_first_sights_are_kept() {
    let (_folder, catalog) = temporary();
    import(&catalog, &[(1, vec![pack(1, &[10, 11, 12])])], &[]);
    let layer = chunk(12);
    assert_eq!(catalog.layer_chunks(&layer).unwrap(), None);
    assert!(!catalog.set_layer_chunks(&layer, &[chunk(10), chunk(99)]).unwrap());
    assert_eq!(catalog.layer_chunks(&layer).unwrap(), None);
    assert!(catalog.set_layer_chunks(&layer, &[chunk(12), chunk(10)]).unwrap());
    let number = |n| catalog.chunk_number(&chunk(n)).unwrap().unwrap();
    assert_eq!(catalog.layer_chunks(&layer).unwrap(), Some(vec![number(10), number(12)]));

    assert_eq!(catalog.note("cursor").unwrap(), None);
    catalog.set_note("cursor", "a").unwrap();
    catalog.set_note("cursor", "b").unwrap();
    assert_eq!(catalog.note("cursor").unwrap().as_deref(), Some("b"));
    catalog.set_note("cur", "c").unwrap();
    catalog.set_note("other", "d").unwrap();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(catalog.notes("cur").unwrap(), [pair("cur", "c"), pair("cursor", "b")]);
    catalog.forget_note("cur").unwrap();
    assert_eq!(catalog.notes("cur").unwrap(), [pair("cursor", "b")]);

    let (lease, at) = (SnapshotId([1; 16]), Timestamp::from_millis);
    assert_eq!(catalog.lease_first_seen(&lease, 3, at(100)).unwrap(), at(100));
    assert_eq!(catalog.lease_first_seen(&lease, 3, at(200)).unwrap(), at(100));
    assert_eq!(catalog.lease_first_seen(&lease, 2, at(300)).unwrap(), at(100));
    assert_eq!(catalog.lease_first_seen(&lease, 4, at(400)).unwrap(), at(400));
}

#[test]
fn ten_thousand_chunks_of_many_packs_are_all_found() {
    let (_folder, catalog) = temporary();
    let packs: Vec<_> =
        (0..100_u8).map(|n| pack(n, &(0..100).map(|c| u32::from(n) * 97 + c).collect::<Vec<_>>())).collect();
    import(&catalog, &[(1, packs[..50].to_vec()), (2, packs[50..].to_vec())], &[]);
    for n in 0..99 * 97 + 100 {
        let holders: Vec<_> =
            (0..100_u8).filter(|p| (u32::from(*p) * 97..u32::from(*p) * 97 + 100).contains(&n)).map(name).collect();
        assert_eq!(homes(&catalog, n), holders, "{n}");
    }
    let chunks: u64 = catalog.packs().unwrap().iter().map(|pack| pack.chunks).sum();
    assert_eq!(chunks, 10_000);
}
