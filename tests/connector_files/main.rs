//! Trees of files, backed up, restored and dumped through the verbs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]
#![cfg(target_os = "linux")]

#[path = "../support/clock.rs"]
mod clock;
mod links;
mod odd;
mod swapping;

use clock::rest;
use rekeep::{
    connector::{
        SourceUrl, Target,
        files::{FilesOptions, FilesSource, FilesTarget, FilesTargetOptions},
    },
    ops::{
        Phase, Progress, Silent,
        backup::{Ask, BackupOptions, BackupOutcome, backup},
        dump::dump,
        restore::{RestoreOptions, RestoreOutcome, restore},
        verify::{VerifyOptions, verify},
    },
    record::SystemClock,
    repo::{InitOptions, OpenOptions, Repository, Snapshot, Storage, Unlock, keys::KdfParams},
    report::Warning,
};
use rustix::fs::inotify;
use std::{
    fs,
    mem::MaybeUninit,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};
use tempfile::TempDir;

const MIB: usize = 1 << 20;

/// A tree beside a repository.
struct Place {
    dir: TempDir,
    repo: Repository,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        let storage = Storage::at(dir.path().join("repo").to_str().unwrap()).unwrap();
        let init = InitOptions { kdf: KdfParams { memory_kib: 64, passes: 1, lanes: 1 }, label: "test".to_owned() };
        let open =
            OpenOptions { cache_dir: dir.path().join("cache"), clock: Arc::new(SystemClock), host: "here".to_owned() };
        let password = Unlock::Password("secret".to_owned());
        let (repo, _) = Repository::init(&storage, &password, None, &init, &open).unwrap();
        Self { dir, repo }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("tree").join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), bytes).unwrap();
    }

    fn back_up(&self) -> BackupOutcome {
        self.back_up_with(&Silent)
    }

    fn back_up_with(&self, progress: &dyn Progress) -> BackupOutcome {
        let source = FilesSource::new(&url(&self.path("")), FilesOptions::default()).unwrap();
        backup(&self.repo, &source, &BackupOptions::default(), progress).unwrap()
    }

    fn restore(&self, snapshot: &Snapshot, to: &Path, options: &RestoreOptions) -> RestoreOutcome {
        let target = FilesTarget::new(&url(to), FilesTargetOptions::default()).unwrap();
        restore(&self.repo, snapshot, &target, options, &Silent).unwrap()
    }

    fn snapshot(&self, outcome: &BackupOutcome) -> Snapshot {
        let id = outcome.id.unwrap();
        self.repo.snapshots().unwrap().into_iter().find(|snapshot| snapshot.id == id).unwrap()
    }

    fn dump(&self, snapshot: &Snapshot, key: &str) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        dump(&self.repo, snapshot, "files", key, None, &mut out).map_err(|error| error.to_string())?;
        Ok(out)
    }

    fn verify(&self) {
        let options = VerifyOptions { restore: true, parallel: 1, ..VerifyOptions::default() };
        let outcome = verify(&self.repo, &self.repo.snapshots().unwrap(), &options, &Silent).unwrap();
        assert!(outcome.findings.is_empty(), "{:?}", outcome.findings);
    }
}

fn url(path: &Path) -> SourceUrl {
    SourceUrl {
        scheme: "files".to_owned(),
        place: path.to_str().unwrap().to_owned(),
        written: String::new(),
        options: Vec::new(),
    }
}

/// Bytes that neither compress nor repeat.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

/// Runs this test again as somebody who may not read everything, if root runs it. `true` for that one.
fn as_nobody(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    // The test program may lie where nobody else may go.
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut child = Command::new(&program);
    child.args(["--exact", test, "--nocapture"]).uid(65534).gid(65534).current_dir("/");
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    false
}

#[test]
fn what_lies_in_a_closed_directory_stands() {
    if !as_nobody("what_lies_in_a_closed_directory_stands") {
        return;
    }
    let place = Place::new();
    for name in ["a", "closed/1", "closed/deep/2", "closed.txt", "z/3", "gone"] {
        place.write(name, name.as_bytes());
    }
    place.write("secret", b"readable for now");
    let first = place.back_up();
    assert!(first.complete && first.records == 11, "{first:?}");

    fs::set_permissions(place.path("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(place.path("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::remove_file(place.path("gone")).unwrap();
    place.write("new", b"new");
    let second = place.back_up();
    fs::set_permissions(place.path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(!second.complete);
    assert_eq!(second.problems.len(), 2, "each problem has one name: {:?}", second.problems);
    assert!(second.problems.iter().any(|problem| problem.contains("closed/")), "{:?}", second.problems);
    assert!(second.problems.iter().any(|problem| problem.contains("secret")), "{:?}", second.problems);
    assert_eq!((second.stats.deleted, second.stats.new, second.records), (1, 1, 11));

    let snapshot = place.snapshot(&second);
    assert!(!snapshot.content.complete);
    for name in ["closed/1", "closed/deep/2", "closed.txt", "z/3", "new"] {
        assert_eq!(place.dump(&snapshot, name).unwrap(), name.as_bytes());
    }
    assert_eq!(place.dump(&snapshot, "secret").unwrap(), b"readable for now");
    assert!(place.dump(&snapshot, "gone").is_err());
    place.verify();

    fs::remove_dir_all(place.path("closed")).unwrap();
    fs::set_permissions(place.path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let third = place.back_up();
    assert!(third.complete, "{:?}", third.problems);
    assert_eq!(third.stats.deleted, 4, "what can be listed again is deleted where it is gone");
}

/// Deletes a file as soon as anything was read.
struct Deleting {
    doomed: PathBuf,
}

impl Progress for Deleting {
    fn phase(&self, _: &Phase) {}
    fn count(&self, _: u64, _: u64) {
        let _ = fs::remove_file(&self.doomed);
    }
    fn warning(&self, _: &Warning) {}
    fn cancelled(&self) -> bool {
        false
    }
}

#[test]
fn a_file_that_vanishes_before_it_is_opened_is_absent() {
    let place = Place::new();
    place.write("a", &noise(1, 4 * MIB));
    place.write("z", b"z");
    let first = place.back_up_with(&Deleting { doomed: place.path("z") });
    assert!(!place.path("z").exists());
    assert!(first.complete, "{:?}", first.problems);
    assert_eq!((first.records, first.stats.unreadable), (2, 0));

    place.write("a", &noise(2, 4 * MIB));
    place.write("z", b"z");
    assert_eq!(place.back_up().records, 3);
    place.write("a", &noise(3, 4 * MIB));
    place.write("z", b"another");
    let last = place.back_up_with(&Deleting { doomed: place.path("z") });
    assert!(last.complete, "{:?}", last.problems);
    assert_eq!((last.records, last.stats.deleted), (2, 1));
    assert!(place.dump(&place.snapshot(&last), "z").is_err());
    place.verify();
}

#[test]
fn a_file_that_is_written_to_while_it_is_read_is_named_once() {
    struct Appending(PathBuf);
    impl Progress for Appending {
        fn phase(&self, _: &Phase) {}
        fn count(&self, _: u64, _: u64) {
            use std::io::Write;
            fs::OpenOptions::new().append(true).open(&self.0).unwrap().write_all(b"x").unwrap();
        }
        fn warning(&self, warning: &Warning) {
            panic!("{warning}");
        }
        fn cancelled(&self) -> bool {
            false
        }
    }
    let place = Place::new();
    place.write("a", &noise(1, 4 * MIB));
    let outcome = place.back_up_with(&Appending(place.path("a")));
    assert_eq!((outcome.stats.torn, outcome.problems.len()), (1, 1), "{:?}", outcome.problems);
    assert_eq!(place.dump(&place.snapshot(&outcome), "a").unwrap(), noise(1, 4 * MIB));
}

/// Backs up; gives the names of the files in the root that were opened for it.
fn opened_by(place: &Place, options: &BackupOptions) -> (BackupOutcome, Vec<String>) {
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, place.path(""), inotify::WatchFlags::OPEN).unwrap();
    let source = FilesSource::new(&url(&place.path("")), FilesOptions::default()).unwrap();
    let outcome = backup(&place.repo, &source, options, &Silent).unwrap();
    let mut buffer = [MaybeUninit::uninit(); 16 << 10];
    let mut reader = inotify::Reader::new(&watch, &mut buffer);
    let mut opened = Vec::new();
    while let Ok(event) = reader.next() {
        if !event.events().contains(inotify::ReadFlags::ISDIR) {
            opened.push(event.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    (outcome, opened)
}

#[test]
fn a_full_backup_reads_what_has_not_moved() {
    let place = Place::new();
    for name in ["a", "b"] {
        place.write(name, name.repeat(1000).as_bytes());
    }
    rest();
    place.back_up();
    let (outcome, opened) = opened_by(&place, &BackupOptions::default());
    assert_eq!((opened, outcome.stats.changed), (Vec::new(), 0));
    let full = BackupOptions { ask: Ask::Full, ..BackupOptions::default() };
    let (outcome, opened) = opened_by(&place, &full);
    assert_eq!(opened, ["a", "b"]);
    assert_eq!((outcome.stats.new, outcome.stats.changed), (0, 0), "reading finds them as they were");
    assert!(outcome.stats.bytes_read > 2000, "{}", outcome.stats.bytes_read);
}

#[test]
fn each_part_of_a_stamp_makes_a_file_be_read() {
    let place = Place::new();
    for name in ["content", "mode", "still", "swapped", "times"] {
        place.write(name, b"the same length");
    }
    place.write("aside", b"THE SAME LENGTH");
    rest();
    place.back_up();
    let times = |name: &str| {
        let metadata = fs::metadata(place.path(name)).unwrap();
        fs::FileTimes::new().set_modified(metadata.modified().unwrap())
    };
    let kept = times("content");
    place.write("content", b"The Same Length");
    fs::File::options().write(true).open(place.path("content")).unwrap().set_times(kept).unwrap();
    fs::set_permissions(place.path("mode"), fs::Permissions::from_mode(0o640)).unwrap();
    let kept = times("swapped");
    fs::File::options().write(true).open(place.path("aside")).unwrap().set_times(kept).unwrap();
    fs::rename(place.path("aside"), place.path("swapped")).unwrap();
    let later = fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
    fs::File::options().write(true).open(place.path("times")).unwrap().set_times(later).unwrap();
    rest();
    let (outcome, opened) = opened_by(&place, &BackupOptions::default());
    assert_eq!(opened, ["content", "mode", "swapped", "times"]);
    assert_eq!(place.dump(&place.snapshot(&outcome), "content").unwrap(), b"The Same Length");
    assert_eq!(place.dump(&place.snapshot(&outcome), "swapped").unwrap(), b"THE SAME LENGTH");
}

#[test]
fn unchanged_files_are_not_opened() {
    let place = Place::new();
    for name in ["a", "b", "c"] {
        place.write(name, name.repeat(1000).as_bytes());
    }
    rest();
    place.back_up();
    place.write("b", b"changed");
    rest();
    let (second, opened) = opened_by(&place, &BackupOptions::default());
    assert_eq!(opened, ["b"]);
    // The directory's time has moved as well.
    assert_eq!((second.stats.changed, second.stats.seen), (1, 4));
    assert!(second.stats.bytes_read < 1000, "{}", second.stats.bytes_read);
}

#[test]
fn bytes_inserted_at_the_front_of_a_large_file_store_little() {
    let place = Place::new();
    let mut bytes = noise(1, 64 * MIB);
    place.write("large", &bytes);
    place.back_up();
    bytes.splice(0..0, noise(2, 1000));
    place.write("large", &bytes);
    let second = place.back_up();
    assert_eq!(second.stats.changed, 1);
    let added = second.stats.bytes_added as usize;
    assert!(added > 1000 && added < 9 * MIB, "{added} bytes were added");
    assert!(place.dump(&place.snapshot(&second), "large").unwrap() == bytes);
    place.verify();
}

#[test]
fn dump_writes_the_content_of_small_and_of_large_files() {
    let place = Place::new();
    let large = noise(1, 5 * MIB + 12345);
    place.write("large", &large);
    place.write("d/small", b"small");
    place.write("d/empty", b"");
    let snapshot = place.snapshot(&place.back_up());
    assert!(place.dump(&snapshot, "large").unwrap() == large);
    assert_eq!(place.dump(&snapshot, "d/small").unwrap(), b"small");
    assert_eq!(place.dump(&snapshot, "d/empty").unwrap(), b"");
    let mut out = Vec::new();
    dump(&place.repo, &snapshot, "files", "large", Some("attr.type"), &mut out).unwrap();
    assert_eq!(out, b"file");
    assert!(place.dump(&snapshot, "d/").is_err(), "a directory has no content");
}

#[test]
fn a_restore_is_verified_and_a_wrong_byte_found() {
    let place = Place::new();
    for number in 0..300 {
        place.write(&format!("d{}/f{number}", number % 7), &noise(number, 3000));
    }
    place.write("large", &noise(1000, 3 * MIB));
    fs::hard_link(place.path("large"), place.path("linked")).unwrap();
    std::os::unix::fs::symlink("large", place.path("symbolic")).unwrap();
    let snapshot = place.snapshot(&place.back_up());
    let to = place.dir.path().join("restored");
    let target = FilesTarget::new(&url(&to), FilesTargetOptions::default()).unwrap();
    let options = RestoreOptions { verify: true, parallel: 2, ..RestoreOptions::default() };
    let outcome = restore(&place.repo, &snapshot, &target, &options, &Silent).unwrap();
    assert!(outcome.complete, "{outcome:?}");
    assert_eq!((outcome.verified, outcome.different), (Some(outcome.records), 0));
    assert_eq!(outcome.records, 300 + 7 + 4);

    let mut bytes = fs::read(to.join("d3/f3")).unwrap();
    bytes[1500] ^= 1;
    fs::write(to.join("d3/f3"), bytes).unwrap();
    fs::remove_file(to.join("symbolic")).unwrap();
    let options = RestoreOptions {
        verify: true,
        overwrite: Some(rekeep::connector::Overwrite::Never),
        ..RestoreOptions::default()
    };
    let outcome = restore(&place.repo, &snapshot, &target, &options, &Silent).unwrap();
    assert!(!outcome.complete);
    assert_eq!((outcome.outcomes.inserted, outcome.verified), (1, Some(outcome.records)));
    assert!(outcome.different >= 1, "{outcome:?}");
    assert!(target.read_back().unwrap().is_some());
}

/// Everything of a tree: paths, kinds, modes, links, content.
fn picture(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            let link = fs::read_link(&path).unwrap_or_default();
            let shown = path.strip_prefix(root).unwrap();
            lines.push(format!(
                "{} {:o} {} {content:?}",
                shown.display(),
                metadata.permissions().mode(),
                link.display()
            ));
            dirs.extend(metadata.is_dir().then_some(path));
        }
    }
    lines.sort();
    lines
}

#[test]
fn what_became_another_kind_of_thing_is_made_equal_and_nothing_is_missed() {
    type Make = fn(&Path);
    let kinds: [Make; 5] = [
        |path| fs::write(path, "file").unwrap(),
        |path| std::os::unix::fs::symlink("elsewhere", path).unwrap(),
        |path| rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| {
            fs::create_dir_all(path.join("a/b")).unwrap();
            fs::write(path.join("a/b/c"), "deep").unwrap();
        },
    ];
    let place = Place::new();
    for (from, make) in kinds.iter().enumerate() {
        for to in 0..kinds.len() {
            make(&place.path(&format!("{from} {to}")));
        }
    }
    let before = place.snapshot(&place.back_up());
    for (to, make) in kinds.iter().enumerate() {
        for from in 0..kinds.len() {
            let path = place.path(&format!("{from} {to}"));
            if path.symlink_metadata().unwrap().is_dir() {
                fs::remove_dir_all(&path).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
            make(&path);
        }
    }
    let after = place.snapshot(&place.back_up());
    let (there, here) = (place.dir.path().join("there"), place.dir.path().join("here"));
    place.restore(&before, &there, &RestoreOptions::default());
    place.restore(&after, &here, &RestoreOptions::default());
    let (before_picture, after_picture) = (picture(&there), picture(&here));
    assert_eq!(after_picture, picture(&place.path("")));
    for (snapshot, wanted) in [(&after, &after_picture), (&before, &before_picture), (&after, &after_picture)] {
        let equal = RestoreOptions { make_equal: true, verify: true, ..RestoreOptions::default() };
        let outcome = place.restore(snapshot, &there, &equal);
        assert_eq!((outcome.complete, &outcome.outcomes.failures), (true, &vec![]), "{outcome:?}");
        assert_eq!(picture(&there), *wanted);
    }
}

#[test]
fn a_link_that_points_to_nothing_is_no_place_for_a_tree() {
    let place = Place::new();
    place.write("x", b"x");
    let snapshot = place.snapshot(&place.back_up());
    let link = place.dir.path().join("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    let target = FilesTarget::new(&url(&link), FilesTargetOptions::default()).unwrap();
    let error = restore(&place.repo, &snapshot, &target, &RestoreOptions::default(), &Silent).unwrap_err();
    assert!(error.to_string().contains("a link that points to nothing"), "{error}");
}
