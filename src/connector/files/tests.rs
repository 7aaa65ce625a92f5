//! A tree is read through the source and written through the target, and must be the same tree.

use super::*;
use crate::{
    connector::{
        Outcomes, Overwrite, RecordLookup, Removal, SessionEnd, SessionOptions, SourceSession, Target,
        TargetCollection, TargetPlan,
    },
    record::{KeyRange, RecordBatch, RowHead, Shape, StreamError, Tag, Timestamp},
};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::{ffi::OsStrExt, fs::FileExt, fs::MetadataExt, fs::PermissionsExt, fs::symlink},
    path::Path,
    sync::Arc,
};

fn url(path: &Path) -> SourceUrl {
    SourceUrl {
        scheme: "files".to_owned(),
        place: path.to_str().unwrap().to_owned(),
        written: String::new(),
        options: Vec::new(),
    }
}

fn source(path: &Path) -> FilesSource {
    FilesSource::new(&url(path), FilesOptions::default()).unwrap()
}

fn plan(overwrite: Overwrite, make_equal: bool) -> TargetPlan {
    let collection = TargetCollection {
        name: COLLECTION.to_owned(),
        source_name: COLLECTION.to_owned(),
        codec: KeyCodec::Path,
        attributes: json!({}),
        records: 0,
    };
    TargetPlan {
        connector: "files".to_owned(),
        attributes: json!({}),
        collections: vec![collection],
        overwrite,
        make_equal,
        partial: false,
        left_out: None,
        leave_alone: Vec::new(),
        repository: None,
        snapshot: None,
        as_of: Timestamp::from_millis(0),
        parallel: 1,
    }
}

/// All records: key to canonical value, stamps left out.
fn read_all(source: &FilesSource, ranges: &[KeyRange]) -> (BTreeMap<Vec<u8>, Vec<u8>>, SessionEnd) {
    let session = source.begin(&SessionOptions::default()).unwrap();
    let (mut all, mut batch) = (BTreeMap::new(), RecordBatch::new());
    for range in ranges {
        let mut stream = session.read(0, range).unwrap();
        while stream.next_batch(&mut batch).unwrap() {
            for index in 0..batch.len() {
                let row = batch.row(index);
                let (key, mut value, stream) = (row.key.to_vec(), row.value.to_vec(), row.stream);
                assert!(range.contains(&key));
                if let Some(mut stream) = stream.and_then(|number| batch.take_stream(number)) {
                    stream.open().unwrap().read_to_end(&mut value).unwrap();
                    assert!(stream.is_untorn().unwrap());
                }
                let names = batch.row(index).shape.names().concat();
                assert!(all.insert(key, [names, value].concat()).is_none());
            }
        }
    }
    (all, session.finish().unwrap())
}

fn snapshot(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (all, end) = read_all(&source(path), &[KeyRange::all()]);
    assert!(end.missing.is_empty(), "{:?}", end.missing);
    all
}

/// The keys of the records that differ: contents would fill a page.
fn differing(a: &BTreeMap<Vec<u8>, Vec<u8>>, b: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<String> {
    let keys: std::collections::BTreeSet<&Vec<u8>> = a.keys().chain(b.keys()).collect();
    keys.into_iter().filter(|key| a.get(*key) != b.get(*key)).map(|key| KeyCodec::Path.show(key)).collect()
}

/// A tree in the place of the snapshot that it became.
struct Tree(Box<dyn SourceSession>);

impl RecordLookup for Tree {
    fn find(&self, key: &[u8], batch: &mut RecordBatch) -> Result<bool, StreamError> {
        self.0.read(0, &KeyRange::only(key))?.next_batch(batch)
    }
}

fn copy(from: &Path, to: &Path, plan: &TargetPlan) -> (Outcomes, Vec<String>) {
    let source = source(from);
    let reading = source.begin(&SessionOptions::default()).unwrap();
    let target = FilesTarget::new(&url(to), FilesTargetOptions::default()).unwrap();
    let mut session = target.begin(plan).unwrap();
    let mut outcomes = Outcomes::default();
    let mut writer = session.open(0).unwrap();
    writer.meet_snapshot(Arc::new(Tree(source.begin(&SessionOptions::default()).unwrap())));
    let mut batch = RecordBatch::new();
    let mut stream = reading.read(0, &KeyRange::all()).unwrap();
    while stream.next_batch(&mut batch).unwrap() {
        writer.write(&mut batch, &mut outcomes).unwrap();
    }
    writer.finish().unwrap();
    let notes = session.finish().unwrap().notes;
    (outcomes, notes)
}

#[test]
fn a_second_restore_into_a_directory_is_refused_while_the_first_writes() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, to) = (plan(Overwrite::IfChanged, true), dir.path().join("to"));
    let begin = |path: &Path| FilesTarget::new(&url(path), FilesTargetOptions::default()).unwrap().begin(&plan);
    let first = begin(&to).unwrap();
    // By whatever name it is reached.
    let link = dir.path().join("link");
    symlink(&to, &link).unwrap();
    for path in [&to, &link] {
        let refused = begin(path).err();
        assert!(matches!(refused, Some(ConnectorError::Locked { .. })), "{refused:?}");
    }
    begin(&dir.path().join("other")).unwrap();
    drop(first);
    begin(&link).unwrap();
}

fn set_time(path: &Path, seconds: i64, nanos: u32) {
    let time = cells::FileTime { seconds, nanos };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, path, &times::times(time), flags).unwrap();
}

/// A tree with everything that tends to get lost.
fn nasty(root: &Path) {
    let write = |name: &[u8], bytes: &[u8]| {
        let path = root.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
    };
    for name in [&b"a.b"[..], b"a/b", b"a-b", b"a0", b"-x", b".-", b".hidden", b"\xff\xfe\n\x01 name", b"deep/1/2/3/4"]
    {
        write(name, name);
    }
    write(b"empty", b"");
    write(b"big", &(0..3_000_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect::<Vec<_>>());
    fs::create_dir(root.join("empty dir")).unwrap();
    symlink("../does/not/exist", root.join("dangling")).unwrap();
    symlink("a", root.join("to a directory")).unwrap();
    fs::hard_link(root.join("a/b"), root.join("z-linked")).unwrap();
    fs::hard_link(root.join("a/b"), root.join("deep/linked")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(b"start", 0).unwrap();
    sparse.write_all_at(b"middle", 8 << 20).unwrap();
    sparse.set_len(1 << 34).unwrap();
    File::create(root.join("only hole")).unwrap().set_len(1 << 20).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o640);
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("fifo"), mode).unwrap();
    let closed = if rustix::process::geteuid().is_root() { 0o000 } else { 0o400 };
    for (name, mode) in [("a.b", 0o4755), ("a0", closed), ("a", 0o1555), ("empty dir", 0o700)] {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    for (name, value) in [("user.plain", &b"v"[..]), ("user.bytes", b"\0\xff")] {
        for path in ["a-b", "deep"] {
            rustix::fs::setxattr(root.join(path), name, value, rustix::fs::XattrFlags::empty())
                .expect("the tests need a file system with extended attributes (ext4, XFS, Btrfs, a recent tmpfs)");
        }
    }
    for (name, seconds, nanos) in [
        ("a-b", -5, 1),
        ("dangling", 1_000_000_000, 123_456_789),
        ("deep/1/2", 5, 0),
        ("a", 7, 999_999_999),
        ("", 99, 5),
    ] {
        set_time(&root.join(name), seconds, nanos);
    }
}

#[test]
fn a_nasty_tree_comes_back_and_comes_back_again() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    nasty(&from);
    let before = snapshot(&from);
    let (outcomes, notes) = copy(&from, &to, &plan(Overwrite::Always, false));
    assert_eq!((outcomes.failed, outcomes.failures), (0, Vec::new()));
    assert_eq!(notes, Vec::<String>::new());
    assert_eq!(outcomes.inserted, before.len() as u64);
    assert_eq!(differing(&snapshot(&to), &before), Vec::<String>::new());

    let inode = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
    assert_eq!((inode("a/b"), inode("a/b")), (inode("z-linked"), inode("deep/linked")));
    let sparse = fs::metadata(to.join("sparse")).unwrap();
    assert!(sparse.len() == 1 << 34 && sparse.blocks() < 1000, "holes come back as holes");
    let mut value = [0; 8];
    assert_eq!(rustix::fs::getxattr(to.join("a-b"), "user.bytes", &mut value), Ok(2));
    assert_eq!(value[..2], *b"\0\xff");
    assert_eq!(fs::metadata(to.join("a.b")).unwrap().mode() & 0o7777, 0o4755);
    let time = fs::metadata(to.join("deep/1/2")).unwrap();
    assert_eq!((time.mtime(), time.mtime_nsec()), (5, 0), "children do not move a directory's time");

    let (outcomes, _) = copy(&from, &to, &plan(Overwrite::Always, false));
    assert_eq!((outcomes.failed, outcomes.inserted), (0, 0), "{:?}", outcomes.failures);
    assert_eq!(differing(&snapshot(&to), &before), Vec::<String>::new(), "restoring twice is restoring once");

    let (outcomes, _) = copy(&from, &to, &plan(Overwrite::Never, false));
    assert_eq!((outcomes.existed, outcomes.inserted, outcomes.replaced), (before.len() as u64, 0, 0));
    let leftovers = read_all(&source(&to), &[KeyRange::all()]).0;
    assert!(leftovers.keys().all(|key| !key.windows(8).any(|part| part == b".rekeep-")));
}

#[test]
fn ranges_partition_the_tree_and_agree_on_hard_links() {
    let dir = tempfile::tempdir().unwrap();
    nasty(dir.path());
    let all = snapshot(dir.path());
    let splits = [&b"a-b"[..], b"a/", b"a/a", b"deep/1/2/x", b"deep0", b"only hole"].map(<[u8]>::to_vec);
    let mut ranges = KeyRange::between(&splits);
    ranges.reverse();
    let (parts, end) = read_all(&source(dir.path()), &ranges);
    assert_eq!(differing(&parts, &all), Vec::<String>::new());
    assert!(end.missing.is_empty());
    let session = source(dir.path()).begin(&SessionOptions::default()).unwrap();
    let splits = session.splits(0, 4).unwrap();
    assert!((3..12).contains(&splits.len()) && splits.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn splits_cut_a_tree_into_ranges_of_like_numbers() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..600 {
        let path = dir.path().join(format!("{}/{}", number % 7, number % 5));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(number.to_string()), [0; 1000]).unwrap();
    }
    let source = source(dir.path());
    let session = source.begin(&SessionOptions::default()).unwrap();
    let found = &session.collections()[0];
    assert_eq!(found.estimated_records, 600 + 35 + 7 + 1);
    assert!((600_000..900_000).contains(&found.estimated_bytes), "{}", found.estimated_bytes);
    let splits = session.splits(0, 2).unwrap();
    assert!(splits.len() == 5 && splits.windows(2).all(|pair| pair[0] < pair[1]), "{splits:?}");
    let mut batch = RecordBatch::new();
    for range in KeyRange::between(&splits) {
        let mut stream = session.read(0, &range).unwrap();
        let mut records = 0;
        while stream.next_batch(&mut batch).unwrap() {
            records += batch.len();
        }
        assert!((100..115).contains(&records), "{records}");
    }
}

fn stamps(path: &Path) -> BTreeMap<Vec<u8>, u64> {
    let source = source(path);
    let session = source.begin(&SessionOptions::default()).unwrap();
    let (mut all, mut batch) = (BTreeMap::new(), RecordBatch::new());
    let mut stream = session.read(0, &KeyRange::all()).unwrap();
    while stream.next_batch(&mut batch).unwrap() {
        all.extend(batch.rows().map(|row| (row.key.to_vec(), row.meta.stamp)));
    }
    all
}

#[test]
fn stamps_tell_versions_apart_and_distrust_fresh_files() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), "1").unwrap();
    fs::write(dir.path().join("g"), "1").unwrap();
    let key = b"f".to_vec();
    assert_eq!(stamps(dir.path())[&key], 0, "it may still change within the tick of its times");
    let rest = || std::thread::sleep(std::time::Duration::from_millis(60));
    rest();
    let first = stamps(dir.path());
    assert!(first[&key] != 0 && first == stamps(dir.path()));
    fs::set_permissions(dir.path().join("f"), fs::Permissions::from_mode(0o600)).unwrap();
    rest();
    let second = stamps(dir.path());
    assert!(second[&key] != first[&key] && second[&b"g".to_vec()] == first[&b"g".to_vec()]);
    let time = fs::metadata(dir.path().join("f")).unwrap();
    fs::write(dir.path().join("f"), "2").unwrap();
    set_time(&dir.path().join("f"), time.mtime(), time.mtime_nsec() as u32);
    rest();
    assert_ne!(stamps(dir.path())[&key], second[&key], "setting the time back hides nothing");
}

/// Reads the one file `f` while `change` happens between its attributes and its content.
fn read_while(change: impl FnOnce(&Path)) -> (std::io::Result<(Vec<u8>, bool)>, SessionEnd) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, "0123456789").unwrap();
    let source = source(dir.path());
    let session = source.begin(&SessionOptions::default()).unwrap();
    let mut batch = RecordBatch::new();
    let mut records = session.read(0, &KeyRange::only(b"f")).unwrap();
    assert!(records.next_batch(&mut batch).unwrap());
    let mut stream = batch.take_stream(batch.row(0).stream.unwrap()).unwrap();
    change(&path);
    let mut value = Vec::new();
    let read = stream.open().and_then(|mut reader| reader.read_to_end(&mut value));
    let result = read.and_then(|_| stream.is_untorn()).map(|untorn| (value, untorn));
    drop(records);
    let end = session.finish().unwrap();
    (result, end)
}

#[test]
fn files_that_change_while_they_are_read_are_told() {
    let (read, end) = read_while(|_| {});
    assert_eq!(read.unwrap(), (b"0123456789".to_vec(), true));
    assert_eq!((end.missing.len(), end.notes.len()), (0, 0));

    let append = |path: &Path| OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap();
    let (read, end) = read_while(append);
    assert_eq!(read.unwrap(), (b"0123456789".to_vec(), false), "as many bytes as the attributes say");
    assert_eq!((end.missing.len(), end.notes.len()), (0, 0), "who reads the stream names it");

    let (read, end) = read_while(|path| File::options().write(true).open(path).unwrap().set_len(3).unwrap());
    assert_eq!(read.unwrap_err().to_string(), "it became shorter while it was read");
    assert!(end.missing.is_empty());

    let (read, end) = read_while(|path| fs::remove_file(path).unwrap());
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    assert_eq!((end.missing.len(), end.notes), (0, vec!["f vanished before it was read".to_owned()]));

    let others: [fn(&Path); 3] = [
        |path| symlink("/etc/passwd", path).unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
    ];
    for other in others {
        let (read, end) = read_while(|path| {
            fs::remove_file(path).unwrap();
            other(path);
        });
        assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::NotFound, "no link is followed, and the file is gone");
        assert_eq!((end.missing.len(), end.notes), (0, vec!["f vanished before it was read".to_owned()]));
    }
}

/// Writes records made by hand: key, cells before the content, content.
fn write_raw(to: &Path, overwrite: Overwrite, records: &[(&[u8], cells::Attributes, &[u8])]) -> Outcomes {
    let target = FilesTarget::new(&url(to), FilesTargetOptions::default()).unwrap();
    let mut session = target.begin(&plan(overwrite, false)).unwrap();
    let mut outcomes = Outcomes::default();
    let mut writer = session.open(0).unwrap();
    let (mut batch, mut shapes) = (RecordBatch::new(), cells::Shapes::default());
    for (key, attributes, content) in records {
        let cells = attributes.cells();
        let has_content = attributes.kind == cells::Kind::File;
        let shape = shapes.of(&cells, has_content);
        batch.push(RowHead { key, ..RowHead::default() }, &shape, |writer| {
            for (_, tag, bytes) in &cells {
                writer.cell(*tag, bytes);
            }
            if has_content {
                writer.cell(Tag::BLOB, content);
            }
        });
    }
    writer.write(&mut batch, &mut outcomes).unwrap();
    writer.finish().unwrap();
    session.finish().unwrap();
    outcomes
}

#[test]
fn hostile_records_stay_below_the_target() {
    let dir = tempfile::tempdir().unwrap();
    let (to, outside) = (dir.path().join("to"), dir.path().join("outside"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), "safe").unwrap();
    let file = cells::Attributes::default;
    let link = |target: &Path| cells::Attributes {
        kind: cells::Kind::Symlink,
        target: Some(target.as_os_str().as_bytes().to_vec()),
        ..file()
    };
    let linked = |first: &[u8]| cells::Attributes { hardlink: Some(first.to_vec()), ..file() };
    let outcomes = write_raw(
        &to,
        Overwrite::Always,
        &[
            (b"../outside/victim", file(), b"x"),
            (b"/tmp/absolute", file(), b"x"),
            (b"a/../../outside/victim", file(), b"x"),
            (b"link", link(&outside), b""),
            (b"link/victim", file(), b"x"),
            (b"to file", link(&outside.join("victim")), b""),
            (b"to file 2", linked(b"../outside/victim"), b""),
            (b"to file 3", linked(b"link/victim"), b""),
            (b"good", file(), b"x"),
        ],
    );
    assert_eq!((outcomes.failed, outcomes.inserted), (6, 3), "{:?}", outcomes.failures);
    // A link in the way of a file is replaced, not followed.
    let outcomes = write_raw(&to, Overwrite::Always, &[(b"to file", file(), b"new")]);
    assert_eq!(outcomes.replaced, 1);
    assert_eq!(fs::read(to.join("to file")).unwrap(), b"new");
    assert_eq!(fs::read(outside.join("victim")).unwrap(), b"safe");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn entries_of_another_kind_are_replaced_with_care() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path();
    fs::create_dir_all(to.join("full/sub")).unwrap();
    fs::create_dir(to.join("hollow")).unwrap();
    fs::write(to.join("d"), "file").unwrap();
    let directory = || cells::Attributes { kind: cells::Kind::Directory, ..cells::Attributes::default() };
    let file = cells::Attributes::default;
    let outcomes = write_raw(
        to,
        Overwrite::Always,
        &[(b"d/", directory(), b""), (b"d/x", file(), b"1"), (b"full", file(), b"2"), (b"hollow", file(), b"3")],
    );
    assert_eq!((outcomes.inserted, outcomes.replaced, outcomes.failed), (1, 2, 1));
    assert!(to.join("full/sub").is_dir() && to.join("d/x").is_file() && to.join("hollow").is_file());
}

#[test]
fn damaged_records_fail_alone() {
    let dir = tempfile::tempdir().unwrap();
    let sparse =
        |extents: Vec<cells::Extent>, size| cells::Attributes { extents: Some(extents), size, ..Default::default() };
    let extent = cells::Extent { start: 10, len: 3 };
    let outcomes = write_raw(
        dir.path(),
        Overwrite::Always,
        &[
            (b"1", sparse(vec![extent], Some(20)), b"abc"),
            (b"2", sparse(vec![extent], Some(20)), b"ab"),
            (b"3", sparse(vec![extent], Some(20)), b"abcd"),
            (b"4", sparse(vec![extent], Some(11)), b"abc"),
            (b"5", cells::Attributes { size: Some(9), ..Default::default() }, b"abc"),
            (b"6", cells::Attributes { hardlink: Some(b"0".to_vec()), ..Default::default() }, b""),
            (b"7/", cells::Attributes::default(), b""),
        ],
    );
    assert_eq!((outcomes.inserted, outcomes.failed), (1, 6), "{:?}", outcomes.failures);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    let mut batch = RecordBatch::new();
    batch.push(RowHead::default(), &Arc::new(Shape::new(vec![b"x".to_vec()])), |writer| writer.integer(1));
    assert!(cells::Attributes::decode(&batch.row(0)).is_err());
}

#[test]
fn make_equal_removes_deepest_first_and_keeps_times() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    nasty(&from);
    copy(&from, &to, &plan(Overwrite::Always, false));
    let before = snapshot(&to);
    for extra in ["x/y/z", "x/y0", "deep/1/extra", "x/y.a"] {
        fs::create_dir_all(to.join(extra).parent().unwrap()).unwrap();
        fs::write(to.join(extra), "x").unwrap();
    }
    set_time(&to.join("deep/1"), 77, 7);
    let target = FilesTarget::new(&url(&to), FilesTargetOptions::default()).unwrap();
    let mut session = target.begin(&plan(Overwrite::IfChanged, true)).unwrap();
    let mut writer = session.open(0).unwrap();
    let mut extra = Vec::new();
    let mut batch = RecordBatch::new();
    let mut existing = writer.existing(&KeyRange::all()).unwrap().unwrap();
    while existing.next_batch(&mut batch).unwrap() {
        extra.extend(batch.rows().map(|row| row.key.to_vec()).filter(|key| !before.contains_key(key)));
    }
    drop(existing);
    assert_eq!(extra.len(), 6);
    let mut outcomes = Outcomes::default();
    let extra: Vec<Removal> = extra.into_iter().map(|key| Removal { key, generation: 0 }).collect();
    for part in extra.chunks(2) {
        writer.remove(part, &mut outcomes).unwrap();
    }
    writer.finish().unwrap();
    session.finish().unwrap();
    assert_eq!((outcomes.removed, outcomes.failed), (6, 0), "{:?}", outcomes.failures);
    let after = fs::metadata(to.join("deep/1")).unwrap();
    assert_eq!((after.mtime(), after.mtime_nsec()), (77, 7));
    let keys = |all: &BTreeMap<Vec<u8>, Vec<u8>>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&snapshot(&to)), keys(&before));
}

#[test]
fn a_closed_directory_is_written_to_and_closed_again() {
    let dir = tempfile::tempdir().unwrap();
    for (name, mode) in [("r", 0o500), ("none", 0o000)] {
        let path = dir.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let key = format!("{name}/x");
        let outcomes =
            write_raw(dir.path(), Overwrite::IfChanged, &[(key.as_bytes(), cells::Attributes::default(), b"1")]);
        assert_eq!(outcomes.inserted, 1, "{:?}", outcomes.failures);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(path.join("x").is_file());
    }
}

#[test]
fn standard_input_is_one_file() {
    assert!(StdinValue::of("hex:2e2e2f78", None, &[]).is_err(), "it is ../x");
    let value = StdinValue::of("db/dump.sql", Some(Box::new(&b"select 1;"[..])), &[]).unwrap();
    let source = FilesSource {
        origin: Origin::Stdin(value),
        options: FilesOptions::default(),
        selection: Selection::all(),
        scope: Scope::default(),
        part: None,
    };
    let (all, _) = read_all(&source, &KeyRange::between(&[b"db/a".to_vec(), b"e".to_vec()]));
    assert_eq!(all.len(), 1);
    assert!(all[&b"db/dump.sql"[..]].ends_with(b"select 1;"));
    for bad in ["", "/x", "../x", "x/"] {
        assert!(StdinValue::new(bad, &[]).is_err(), "{bad}");
    }
}

#[test]
fn places_behind_a_uri_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    for name in ["a/b", "a.b", "a-b", "x y/ż", "empty"] {
        fs::create_dir_all(from.join(name).parent().unwrap()).unwrap();
        fs::write(from.join(name), name.repeat(if name == "empty" { 0 } else { 1000 })).unwrap();
    }
    let source = FilesSource::new(&url(&from), FilesOptions::default()).unwrap();
    let objects = SourceUrl { place: "memory://".to_owned(), ..url(&from) };
    let target = FilesTarget::new(&objects, FilesTargetOptions::default()).unwrap();
    assert!(target.occupied(&[]).unwrap().is_empty());
    let reading = source.begin(&SessionOptions::default()).unwrap();
    let mut session = target.begin(&plan(Overwrite::Always, false)).unwrap();
    let (mut outcomes, mut batch) = (Outcomes::default(), RecordBatch::new());
    let mut stream = reading.read(0, &KeyRange::all()).unwrap();
    while stream.next_batch(&mut batch).unwrap() {
        session.open(0).unwrap().write(&mut batch, &mut outcomes).unwrap();
    }
    // The root is there already.
    assert_eq!((outcomes.inserted, outcomes.replaced, outcomes.failed), (7, 1, 0), "{:?}", outcomes.failures);
    session.finish().unwrap();
    assert!(!target.occupied(&[]).unwrap().is_empty());

    let back = target.read_back().unwrap().unwrap();
    let reading = back.begin(&SessionOptions::default()).unwrap();
    let mut stream = reading.read(0, &KeyRange::all()).unwrap();
    let mut found = BTreeMap::new();
    while stream.next_batch(&mut batch).unwrap() {
        for index in 0..batch.len() {
            let key = KeyCodec::Path.show(batch.row(index).key);
            let mut content = Vec::new();
            if let Some(number) = batch.row(index).stream {
                let mut stream = batch.take_stream(number).unwrap();
                stream.open().unwrap().read_to_end(&mut content).unwrap();
                assert!(stream.is_untorn().unwrap());
            }
            found.insert(key, content);
        }
    }
    drop(stream);
    assert!(reading.finish().unwrap().missing.is_empty());
    let keys: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(keys, ["a-b", "a.b", "a/", "a/b", "empty", "x y/", "x y/ż"]);
    for name in ["a/b", "a.b", "a-b", "x y/ż", "empty"] {
        assert!(found[name] == fs::read(from.join(name)).unwrap(), "{name}");
    }

    // A repository that lies below goes into no backup, and that is said; one beside of which the name only begins alike does.
    for (place, is_left_out) in [("memory:///a", true), ("memory:///a/", true), ("memory:///a-", false), ("/a", false)]
    {
        let options = SessionOptions { leave_out: vec![place.into()], ..SessionOptions::default() };
        let reading = back.begin(&options).unwrap();
        let mut stream = reading.read(0, &KeyRange::all()).unwrap();
        let mut keys = Vec::new();
        while stream.next_batch(&mut batch).unwrap() {
            keys.extend((0..batch.len()).map(|index| KeyCodec::Path.show(batch.row(index).key)));
        }
        drop(stream);
        assert_eq!(keys.iter().any(|key| key.starts_with("a/")), !is_left_out, "{place}: {keys:?}");
        assert_eq!(keys.len(), if is_left_out { 5 } else { 7 }, "{place}: {keys:?}");
        let notes = reading.finish().unwrap().notes;
        assert_eq!(notes.iter().any(|note| note.contains("is the repository itself")), is_left_out, "{notes:?}");
    }
}
