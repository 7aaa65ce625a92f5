use super::*;
use std::{
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

fn stores() -> Vec<(Option<tempfile::TempDir>, Storage)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not/yet/there");
    let local = Storage::at(path.to_str().unwrap()).unwrap();
    vec![(Some(folder), local), (None, Storage::at("memory:///").unwrap())]
}

#[test]
fn objects_are_created_once_read_listed_and_deleted() {
    for (_folder, storage) in stores() {
        assert!(storage.list("").unwrap().is_empty());
        assert!(storage.list("packs/").unwrap().is_empty());
        assert!(matches!(storage.read("a"), Err(RepoError::Missing { .. })));
        assert_eq!(storage.create("packs/ab/abcd", b"0123456789").unwrap(), Created::New);
        assert_eq!(storage.create("packs/ab/abcd", b"other").unwrap(), Created::Exists);
        assert_eq!(storage.create("empty", b"").unwrap(), Created::New);
        assert_eq!(storage.read("packs/ab/abcd").unwrap(), b"0123456789");
        assert_eq!(storage.read("empty").unwrap(), b"");
        assert_eq!(storage.read_range("packs/ab/abcd", 2..5).unwrap(), b"234");
        assert_eq!(storage.read_range("packs/ab/abcd", 9..10).unwrap(), b"9");
        assert!(storage.read_range("packs/ab/abcd", 9..11).is_err());
        assert!(storage.read_range("packs/ab/abcd", 20..30).is_err());
        assert!(matches!(storage.read_range("packs/ab/none", 0..1), Err(RepoError::Missing { .. })));
        assert_eq!(storage.len("packs/ab/abcd").unwrap(), Some(10));
        assert_eq!(storage.len("packs/ab/none").unwrap(), None);
        assert_eq!(storage.len("packs").unwrap(), None);
        let mut listed = storage.list("").unwrap();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(listed[0], Listed { name: "empty".to_owned(), bytes: 0 });
        assert_eq!(listed[1], Listed { name: "packs/ab/abcd".to_owned(), bytes: 10 });
        assert_eq!(
            (listed.len(), storage.list("packs/").unwrap().len(), storage.list("pa/").unwrap().len()),
            (2, 1, 0)
        );
        storage.delete("packs/ab/abcd").unwrap();
        storage.delete("packs/ab/abcd").unwrap();
        assert_eq!(storage.len("packs/ab/abcd").unwrap(), None);
        assert!(storage.promises().conditional_create);
    }
}

#[test]
fn names_never_leave_the_repository() {
    for (_folder, storage) in stores() {
        for name in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "tmp/x", "a\\b", "a\0"] {
            assert!(storage.create(name, b"x").is_err(), "{name:?}");
            assert!(storage.read(name).is_err(), "{name:?}");
            assert!(storage.delete(name).is_err(), "{name:?}");
        }
        assert!(storage.list("../").is_err());
    }
}

#[test]
fn of_many_creates_of_one_name_exactly_one_succeeds_and_readers_see_all_or_nothing() {
    for (_folder, storage) in stores() {
        for round in 0..20 {
            let name = format!("snapshots/{round}/0");
            let wins = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for writer in 0..4_u8 {
                    let (storage, name, wins) = (&storage, &name, &wins);
                    scope.spawn(move || {
                        if storage.create(name, &vec![writer; 50_000]).unwrap() == Created::New {
                            wins.fetch_add(1, Ordering::Relaxed);
                        }
                        let seen = storage.read(name).unwrap();
                        assert_eq!(seen.len(), 50_000);
                        assert!(seen.iter().all(|byte| *byte == seen[0]));
                    });
                }
            });
            assert_eq!(wins.into_inner(), 1);
        }
    }
}

#[test]
fn opening_a_place_makes_nothing_and_different_ways_there_are_one_location() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().canonicalize().unwrap().join("real");
    let storage = Storage::at(real.to_str().unwrap()).unwrap();
    assert!(storage.list("").unwrap().is_empty() && storage.len("x").unwrap().is_none());
    storage.delete("x").unwrap();
    assert!(!real.exists());
    fs::create_dir(&real).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    for way in [link.join("sub").display().to_string(), format!("fs://{}/sub/", real.display())] {
        assert_eq!(Storage::at(&way).unwrap().location(), real.join("sub").to_str().unwrap(), "{way}");
    }
}

#[test]
fn a_location_that_cannot_be_used_is_told_without_its_options_and_credentials() {
    for location in
        ["nosuch://me:hunter22@host/p?token=hunter22", "s3://bucket/p?token=hunter22", "fs://host/path?hunter22"]
    {
        let error = Storage::at(location).unwrap_err().to_string();
        assert!(!error.contains("hunter22"), "{error}");
    }
    assert!(Storage::at("").is_err());
}

#[test]
fn temporary_files_are_never_listed_and_never_stay() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::at(folder.path().to_str().unwrap()).unwrap();
    storage.create("a/b", b"x").unwrap();
    storage.create("a/b", b"y").unwrap();
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
    fs::write(folder.path().join("tmp/left-over"), b"torn").unwrap();
    assert_eq!(storage.list("").unwrap().len(), 1);
}

#[test]
fn a_create_that_fails_leaves_neither_name_nor_temporary_file() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::at(folder.path().to_str().unwrap()).unwrap();
    storage.create("file", b"x").unwrap();
    // A file where a folder is needed.
    assert!(storage.create("file/b", b"x").is_err());
    let long = format!("a/{}", "n".repeat(300));
    assert!(storage.create(&long, b"x").is_err());
    assert_eq!(storage.list("").unwrap().len(), 1);
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
}

#[test]
#[ignore = "needs small-disk"]
fn a_full_disk_leaves_neither_name_nor_temporary_file() {
    let parts = std::env::var("REKEEP_PARTS").unwrap();
    let folder = tempfile::tempdir_in(std::path::Path::new(&parts).join("small-disk")).unwrap();
    let storage = Storage::at(folder.path().to_str().unwrap()).unwrap();
    let error = storage.create("packs/a", &vec![1; 64 << 20]).unwrap_err();
    assert!(matches!(error, RepoError::Storage { source, .. } if source.kind() == ErrorKind::StorageFull));
    assert!(storage.list("").unwrap().is_empty());
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
    assert_eq!(storage.create("packs/a", b"room again").unwrap(), Created::New);
}

#[test]
fn folders_removed_by_others_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::at(folder.path().to_str().unwrap()).unwrap();
    storage.create("leases/a/0", b"x").unwrap();
    fs::remove_dir_all(folder.path().join("leases")).unwrap();
    fs::remove_dir_all(folder.path().join("tmp")).unwrap();
    assert_eq!(storage.create("leases/a/0", b"y").unwrap(), Created::New);
}

#[test]
fn without_hard_links_a_rename_does_not_replace() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second, target] = ["first", "second", "target"].map(|name| folder.path().join(name));
    fs::write(&first, b"1").unwrap();
    fs::write(&second, b"2").unwrap();
    assert_eq!(local::rename_new(&first, &target).unwrap(), Created::New);
    assert_eq!(local::rename_new(&second, &target).unwrap(), Created::Exists);
    assert_eq!(fs::read(&target).unwrap(), b"1");
}

/// Fails as told, then does what it was asked for; or does it and fails to say so.
struct Flaky {
    inner: Storage,
    failures: Mutex<Vec<(ErrorKind, bool)>>,
    /// What the system says so often before anything else.
    stumbles: Mutex<(i32, usize)>,
}

impl Flaky {
    fn over(failures: &[(ErrorKind, bool)]) -> Storage {
        let inner = Storage::at("memory:///").unwrap();
        let stumbles = Mutex::default();
        Storage::over(Arc::new(Self { inner, failures: Mutex::new(failures.to_vec()), stumbles }), "flaky")
    }

    fn stumbling(code: i32, times: usize) -> Storage {
        let inner = Storage::at("memory:///").unwrap();
        inner.create("a", b"whole").unwrap();
        let (failures, stumbles) = (Mutex::default(), Mutex::new((code, times)));
        Storage::over(Arc::new(Self { inner, failures, stumbles }), "flaky")
    }

    fn run<T>(&self, work: impl Fn(&dyn Backend) -> io::Result<T>) -> io::Result<T> {
        let mut stumbles = self.stumbles.lock().unwrap();
        if stumbles.1 > 0 {
            stumbles.1 -= 1;
            return Err(io::Error::from_raw_os_error(stumbles.0));
        }
        drop(stumbles);
        let failure = self.failures.lock().unwrap().pop();
        match failure {
            None => work(&*self.inner.backend),
            Some((kind, done)) => {
                if done {
                    work(&*self.inner.backend)?;
                }
                Err(kind.into())
            }
        }
    }
}

impl Backend for Flaky {
    fn list(&self, prefix: &str) -> io::Result<Vec<Listed>> {
        self.run(|inner| inner.list(prefix))
    }
    fn read(&self, name: &str, range: Option<Range<u64>>) -> io::Result<Vec<u8>> {
        self.run(|inner| inner.read(name, range.clone()))
    }
    fn create(&self, name: &str, bytes: &bytes::Bytes) -> io::Result<Created> {
        self.run(|inner| inner.create(name, bytes))
    }
    fn delete(&self, name: &str) -> io::Result<()> {
        self.run(|inner| inner.delete(name))
    }
    fn len(&self, name: &str) -> io::Result<u64> {
        self.run(|inner| inner.len(name))
    }
    fn promises(&self) -> Promises {
        self.inner.promises()
    }
}

#[test]
fn passing_failures_are_tried_again_and_others_are_not() {
    let storage = Flaky::over(&[(ErrorKind::TimedOut, false), (ErrorKind::ConnectionReset, false)]);
    assert_eq!(storage.create("a", b"x").unwrap(), Created::New);
    for kind in [ErrorKind::StorageFull, ErrorKind::PermissionDenied, ErrorKind::Other] {
        let storage = Flaky::over(&[(kind, false)]);
        let error = storage.create("a", b"x").unwrap_err();
        assert!(matches!(&error, RepoError::Storage { operation: "creating", source, .. } if source.kind() == kind));
    }
}

#[test]
fn half_a_pack_under_its_name_is_no_pack() {
    let name = format!("packs/ab/{}", "ab".repeat(32));
    let storage = Flaky::over(&[]);
    assert_eq!(storage.create(&name, b"half").unwrap(), Created::New);
    assert!(matches!(storage.create(&name, b"half and the rest"), Err(RepoError::Damaged { .. })));
    assert_eq!(storage.create(&name, b"half").unwrap(), Created::Exists);
    // Names that say nothing of their bytes are taken, whatever lies there.
    assert_eq!(storage.create("snapshots/a/0", b"ours").unwrap(), Created::New);
    assert_eq!(storage.create("snapshots/a/0", b"theirs").unwrap(), Created::Exists);
}

#[test]
fn a_conflict_of_two_requests_is_no_answer_and_a_taken_name_after_it_is_compared() {
    let storage = Flaky::over(&[(ErrorKind::ResourceBusy, true)]);
    assert_eq!(storage.create("snapshots/a/0", b"ours").unwrap(), Created::New);
    let storage = Flaky::over(&[(ErrorKind::ResourceBusy, false)]);
    assert_eq!(storage.create("snapshots/a/0", b"ours").unwrap(), Created::New);
}

#[test]
fn a_create_without_an_answer_is_recognised_as_ours() {
    let storage = Flaky::over(&[(ErrorKind::TimedOut, true)]);
    assert_eq!(storage.create("a", b"ours").unwrap(), Created::New);
    assert_eq!(storage.create("a", b"ours").unwrap(), Created::Exists, "a plain second create");
}

#[test]
fn only_what_dead_processes_of_this_machine_left_half_written_is_swept() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::at(folder.path().to_str().unwrap()).unwrap();
    assert_eq!(storage.sweep().unwrap(), 0);
    storage.create("a", b"x").unwrap();
    let Some(this) = crate::repo::process::ProcessId::this() else { return };
    let dead = crate::repo::process::ProcessId { boot: "earlier".to_owned(), ..this.clone() };
    let other = crate::repo::process::ProcessId { machine: "another".to_owned(), ..dead.clone() };
    let file = |name: String| folder.path().join("tmp").join(name);
    for name in ["unknown".to_owned(), this.to_token() + ".1", dead.to_token() + ".1", other.to_token() + ".1"] {
        fs::write(file(name), b"torn").unwrap();
    }
    assert_eq!(storage.sweep().unwrap(), 1);
    assert!(!file(dead.to_token() + ".1").exists());
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 3);
}

#[test]
fn what_killed_writers_left_is_swept_after_a_day_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::at(dir.path().to_str().unwrap()).unwrap();
    assert_eq!(storage.sweep().unwrap(), 0, "nothing is made where nothing is");
    assert!(!dir.path().join("tmp").exists());
    storage.create("rekeep.json", b"x").unwrap();
    let make = |name: &str, hours: u64| {
        let path = dir.path().join("tmp").join(name);
        let file = std::fs::File::create(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_hours(hours)).unwrap();
        path
    };
    let (old, young) = (make(&"a".repeat(32), 25), make(&"b".repeat(32), 23));
    let (foreign, probe) = (make("letter.txt", 1000), make(&format!("{}.now", "c".repeat(32)), 30));
    assert_eq!(storage.sweep().unwrap(), 2);
    assert!(!old.exists() && !probe.exists() && young.exists() && foreign.exists());
    assert_eq!(storage.sweep().unwrap(), 0);
    assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 2, "the probe is gone");
    assert_eq!(storage.read("rekeep.json").unwrap(), b"x");
}

#[test]
fn an_object_longer_than_any_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::at(folder.path().to_str().unwrap()).unwrap();
    storage.create("leases/x/0", b"short").unwrap();
    // Three GiB that take no room on the disk would take three in memory.
    let sparse = std::fs::File::create(folder.path().join("leases/x/1")).unwrap();
    sparse.set_len(3 << 30).unwrap();
    assert_eq!(storage.read_at_most("leases/x/0", 5).unwrap(), b"short");
    for (name, most) in [("leases/x/0", 4), ("leases/x/1", 4 << 20)] {
        let error = storage.read_at_most(name, most).unwrap_err();
        assert!(matches!(error, RepoError::Damaged { .. }), "{error}");
    }
    let remote = Storage::at("memory:///").unwrap();
    remote.create("x", b"12345").unwrap();
    assert!(remote.read_at_most("x", 4).is_err());
    assert_eq!(remote.read_at_most("x", 5).unwrap(), b"12345");
}

#[test]
fn a_file_server_that_stumbles_once_is_asked_again_and_a_broken_disk_is_told_as_such() {
    for code in [Errno::IO, Errno::STALE] {
        let code = code.raw_os_error();
        assert_eq!(Flaky::stumbling(code, 2).read("a").unwrap(), b"whole");
        let Err(error) = Flaky::stumbling(code, 100).read("a") else { panic!("it never answers") };
        assert!(matches!(&error, RepoError::Storage { source, .. } if source.raw_os_error() == Some(code)), "{error}");
    }
}

/// A disk without room but for what its reserve gives back.
#[derive(Default)]
struct Cramped {
    has_reserve: AtomicBool,
    objects: Mutex<std::collections::BTreeMap<String, Vec<u8>>>,
    room: Mutex<usize>,
}

impl Backend for Cramped {
    fn list(&self, _: &str) -> io::Result<Vec<Listed>> {
        Ok(Vec::new())
    }
    fn read(&self, _: &str, _: Option<Range<u64>>) -> io::Result<Vec<u8>> {
        Err(ErrorKind::NotFound.into())
    }
    fn create(&self, name: &str, bytes: &bytes::Bytes) -> io::Result<Created> {
        let mut room = self.room.lock().unwrap();
        *room = room.checked_sub(bytes.len()).ok_or(ErrorKind::StorageFull)?;
        self.objects.lock().unwrap().insert(name.to_owned(), bytes.to_vec());
        Ok(Created::New)
    }
    fn delete(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn len(&self, _: &str) -> io::Result<u64> {
        Err(ErrorKind::NotFound.into())
    }
    fn promises(&self) -> Promises {
        Promises { conditional_create: true, prompt_listing: true }
    }
    fn spend_reserve(&self) -> io::Result<bool> {
        let had = self.has_reserve.swap(false, Ordering::SeqCst);
        if had {
            *self.room.lock().unwrap() += 10;
        }
        Ok(had)
    }
}

#[test]
fn only_what_makes_room_may_spend_the_reserve() {
    let disk = Arc::new(Cramped { has_reserve: AtomicBool::new(true), ..Cramped::default() });
    let storage = Storage::over(Arc::clone(&disk) as Arc<dyn Backend>, "cramped");
    let full = |done: Result<Created, RepoError>| assert!(done.is_err_and(|error| error.is_full()));
    full(storage.create("a", b"12345"));
    let spending = storage.clone().spending();
    assert_eq!(storage.create("b", b"12345").unwrap(), Created::New);
    assert_eq!(storage.create("c", b"12345").unwrap(), Created::New);
    full(storage.create("d", b"1"));
    drop(spending);
    disk.has_reserve.store(true, Ordering::SeqCst);
    full(storage.create("e", b"1"));
}

#[test]
fn a_local_repository_sets_a_little_aside_and_gives_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::at(folder.path().to_str().unwrap()).unwrap();
    assert_eq!(storage.keep_reserve().unwrap(), 0, "there is no repository yet");
    storage.create("rekeep.json", b"x").unwrap();
    let kept = storage.keep_reserve().unwrap();
    assert_eq!(storage.keep_reserve().unwrap(), kept);
    let file = folder.path().join(local::RESERVE);
    assert_eq!(fs::metadata(&file).map_or(0, |file| file.len()), kept);
    assert_eq!(storage.sweep().unwrap(), 0);
    assert_eq!(storage.list("").unwrap().len(), 1, "it is no object");
    assert_eq!(storage.backend.spend_reserve().unwrap(), kept > 0);
    assert!(!file.exists());
}

#[test]
fn a_local_file_system_says_how_old_an_object_is_by_its_own_clock() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::at(folder.path().to_str().unwrap()).unwrap();
    storage.create("a", b"x").unwrap();
    let file = fs::File::open(folder.path().join("a")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    // What a program may set says nothing; where the clock is not that of one machine nothing is said at all.
    let age = storage.age_millis("a").unwrap();
    assert!(age.is_none_or(|age| age < 1_000_000_000), "{age:?}");
    assert_eq!(storage.age_millis("b").unwrap(), None);
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_repository_whose_disk_is_gone_is_not_taken_for_empty_and_nothing_is_written_below() {
    let dir = tempfile::tempdir().unwrap();
    let (root, away) = (dir.path().join("repo"), dir.path().join("away"));
    let storage = Storage::at(root.to_str().unwrap()).unwrap();
    storage.create("rekeep.json", b"x").unwrap();
    storage.create("leases/x/0", b"1").unwrap();
    assert_eq!(storage.list("leases/").unwrap().len(), 1);
    fs::rename(&root, &away).unwrap();
    fs::create_dir(&root).unwrap();
    let gone = |error: io::Error| {
        assert!(
            error.kind() == ErrorKind::NotConnected && error.to_string().contains("is its disk mounted"),
            "{error}"
        );
    };
    gone(storage.backend.list("leases/").unwrap_err());
    gone(storage.backend.create("leases/x/1", &Bytes::from_static(b"2")).unwrap_err());
    gone(storage.backend.read("leases/x/0", None).unwrap_err());
    gone(storage.backend.len("leases/x/0").unwrap_err());
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    assert!(matches!(storage.read("rekeep.json"), Err(RepoError::Missing { .. })));
    // It may come back.
    fs::remove_dir(&root).unwrap();
    fs::rename(&away, &root).unwrap();
    assert_eq!(storage.read("leases/x/0").unwrap(), b"1");
    storage.create("leases/x/1", b"2").unwrap();
}
