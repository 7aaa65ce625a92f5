//! Files with several paths: whatever part of them is restored, and over whatever stands there, comes back exactly.

use crate::{Place, url};
use rekeep::{
    connector::{
        Overwrite, SourceUrl,
        files::{FilesOptions, FilesSource},
    },
    ops::{
        Silent,
        backup::{BackupOptions, backup},
        restore::RestoreOptions,
    },
};
use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
};

/// The paths, and which of them are one file.
const PATHS: [(&str, char); 7] =
    [("a", '1'), ("b", '1'), ("c", '2'), ("d/e", '1'), ("d/f", '3'), ("g", '3'), ("z", '2')];

fn content(group: char) -> Vec<u8> {
    if group != '2' {
        return format!("the content of {group}").repeat(100).into_bytes();
    }
    let mut sparse = vec![0; 1 << 20];
    sparse[300_000..300_004].copy_from_slice(b"data");
    sparse
}

fn make(root: &Path) {
    let mut made: HashMap<char, &str> = HashMap::new();
    fs::create_dir_all(root.join("d")).unwrap();
    for (path, group) in PATHS {
        match made.get(&group) {
            Some(first) => fs::hard_link(root.join(first), root.join(path)).unwrap(),
            None if group == '2' => {
                let file = fs::File::create(root.join(path)).unwrap();
                file.write_all_at(b"data", 300_000).unwrap();
                file.set_len(1 << 20).unwrap();
            }
            None => fs::write(root.join(path), content(group)).unwrap(),
        }
        made.entry(group).or_insert(path);
    }
    let set = |path: &str| {
        rustix::fs::setxattr(root.join(path), "user.kept", b"yes", rustix::fs::XattrFlags::empty()).unwrap();
    };
    ["a", "c", "d/f"].into_iter().for_each(set);
}

/// What stands in the target before.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    /// First paths with another content of the same length and time.
    Stale,
    /// All of it, in files of their own.
    Apart,
    /// All of it, as it was.
    Restored,
}

#[test]
fn every_subset_of_link_sets_restores_exactly() {
    let place = Place::new();
    make(&place.path(""));
    let snapshot = place.snapshot(&place.back_up());
    let options = |keys: Vec<String>, overwrite| RestoreOptions {
        keys,
        overwrite: Some(overwrite),
        parallel: 1,
        ..RestoreOptions::default()
    };
    for before in [Before::Nothing, Before::Stale, Before::Apart, Before::Restored] {
        for subset in 1..1_u32 << PATHS.len() {
            // Over what stands there each pattern of one group against another is tried once.
            if before != Before::Nothing && subset % 3 != 0 {
                continue;
            }
            let dir = tempfile::tempdir().unwrap();
            let to = dir.path().join("to");
            prepare(&place, &to, before);
            let chosen: Vec<(&str, char)> =
                (0..PATHS.len()).filter(|at| subset >> at & 1 == 1).map(|at| PATHS[at]).collect();
            let keys = chosen.iter().map(|(path, _)| (*path).to_owned()).collect();
            let overwrite = if subset % 2 == 0 { Overwrite::Always } else { Overwrite::IfChanged };
            let outcome = place.restore(&snapshot, &to, &options(keys, overwrite));
            assert!(outcome.complete, "{before:?}, {chosen:?}: {outcome:?}");
            check(&place, &to, before, &chosen);
        }
    }
}

fn prepare(place: &Place, to: &Path, before: Before) {
    match before {
        Before::Nothing => {}
        Before::Restored => {
            let snapshot = place.repo.snapshots().unwrap().pop().unwrap();
            assert!(place.restore(&snapshot, to, &RestoreOptions::default()).complete);
        }
        Before::Stale | Before::Apart => {
            fs::create_dir_all(to.join("d")).unwrap();
            let mut met = Vec::new();
            for (path, group) in PATHS {
                let mut bytes = content(group);
                if before == Before::Stale {
                    if met.contains(&group) {
                        continue;
                    }
                    met.push(group);
                    bytes[10] ^= 1;
                }
                fs::write(to.join(path), bytes).unwrap();
                let time = fs::metadata(place.path(path)).unwrap().modified().unwrap();
                let file = fs::File::options().write(true).open(to.join(path)).unwrap();
                file.set_times(fs::FileTimes::new().set_modified(time)).unwrap();
            }
        }
    }
}

fn check(place: &Place, to: &Path, before: Before, chosen: &[(&str, char)]) {
    let mut inodes: HashMap<char, u64> = HashMap::new();
    for (path, group) in chosen {
        let context = || format!("{before:?}, {path} of {chosen:?}");
        assert!(fs::read(to.join(path)).unwrap() == content(*group), "{}", context());
        let (is, was) = (fs::metadata(to.join(path)).unwrap(), fs::metadata(place.path(path)).unwrap());
        assert_eq!((is.mode(), is.mtime_nsec(), is.len()), (was.mode(), was.mtime_nsec(), was.len()), "{}", context());
        let mut value = [0; 8];
        assert_eq!(rustix::fs::getxattr(to.join(path), "user.kept", &mut value), Ok(3), "{}", context());
        assert!(*group != '2' || is.blocks() < 1000, "{}: a hole stays a hole", context());
        assert_eq!(is.ino(), *inodes.entry(*group).or_insert(is.ino()), "{}: paths of one file", context());
    }
    for (path, group) in PATHS.iter().filter(|one| !chosen.contains(one)) {
        match before {
            Before::Nothing => assert!(!to.join(path).exists(), "{path}"),
            Before::Stale => {
                let stands = fs::read(to.join(path)).is_ok_and(|bytes| bytes != content(*group));
                assert_eq!(
                    stands,
                    PATHS.iter().find(|one| one.1 == *group).unwrap().0 == *path,
                    "{path} was not chosen"
                );
            }
            Before::Apart | Before::Restored => assert!(fs::read(to.join(path)).unwrap() == content(*group), "{path}"),
        }
    }
}

#[test]
fn a_first_path_that_is_left_alone_gives_no_content() {
    let place = Place::new();
    make(&place.path(""));
    let snapshot = place.snapshot(&place.back_up());
    let to = place.dir.path().join("to");
    fs::create_dir(&to).unwrap();
    fs::write(to.join("a"), "today's").unwrap();
    let options = RestoreOptions { overwrite: Some(Overwrite::Never), ..RestoreOptions::default() };
    let outcome = place.restore(&snapshot, &to, &options);
    assert!(outcome.complete, "{outcome:?}");
    assert_eq!(fs::read(to.join("a")).unwrap(), b"today's");
    assert_eq!(fs::read(to.join("b")).unwrap(), content('1'));
    let inode = |path: &str| fs::metadata(to.join(path)).unwrap().ino();
    assert_eq!(inode("b"), inode("d/e"));
    assert_ne!(inode("a"), inode("b"));
}

#[test]
fn links_come_through_lines_of_json_and_are_whole_there() {
    let place = Place::new();
    make(&place.path(""));
    let snapshot = place.snapshot(&place.back_up());
    let lines = place.dir.path().join("lines.jsonl");
    let at = SourceUrl { scheme: "jsonl".to_owned(), ..url(&lines) };
    let target = rekeep::connector::jsonl::JsonlTarget::new(&at).unwrap();
    let options = RestoreOptions { verify: true, ..RestoreOptions::default() };
    let outcome = rekeep::ops::restore::restore(&place.repo, &snapshot, &target, &options, &Silent).unwrap();
    assert!(outcome.complete && outcome.different == 0, "{outcome:?}");
    for line in fs::read_to_string(&lines).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let Some((_, group)) = PATHS.iter().find(|(path, _)| line["key"] == *path) else { continue };
        let bytes = line["value"]["content"]["base64"].as_str().unwrap();
        let bytes = data_encoding::BASE64.decode(bytes.as_bytes()).unwrap();
        assert!(bytes == content(*group), "{}", line["key"]);
    }
    let source = rekeep::connector::jsonl::JsonlSource::new(&at).unwrap();
    let taken = backup(&place.repo, &source, &BackupOptions::default(), &Silent).unwrap();
    let to = place.dir.path().join("to");
    assert!(place.restore(&place.snapshot(&taken), &to, &RestoreOptions::default()).complete);
    check(&place, &to, Before::Nothing, &PATHS);
    let from = FilesSource::new(&url(&to), FilesOptions::default()).unwrap();
    let again = backup(&place.repo, &from, &BackupOptions::default(), &Silent).unwrap();
    assert_eq!(again.records, taken.records);
}

#[test]
fn dump_gives_the_whole_file_by_each_of_its_paths() {
    let place = Place::new();
    make(&place.path(""));
    let snapshot = place.snapshot(&place.back_up());
    for (path, group) in PATHS {
        assert!(place.dump(&snapshot, path).unwrap() == content(group), "{path}");
    }
    let mut out = Vec::new();
    rekeep::ops::dump::dump(&place.repo, &snapshot, "files", "b", Some("attr.hardlink"), &mut out).unwrap();
    assert_eq!(out, b"a");
}
