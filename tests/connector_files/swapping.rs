//! Names that somebody else changes while a tree is read and written by root, and paths that are longer than the system takes.

use crate::{Place, noise, url};
use rekeep::{
    connector::{
        Overwrite,
        files::{FilesOptions, FilesSource},
    },
    ops::{
        Silent,
        backup::{BackupOptions, backup},
        restore::RestoreOptions,
    },
};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

/// What must stay as it is: a directory outside with a file that only its owner may read.
fn outside(dir: &Path) {
    fs::create_dir(dir).unwrap();
    fs::write(dir.join("victim"), "safe").unwrap();
    fs::set_permissions(dir.join("victim"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o711)).unwrap();
}

#[track_caller]
fn is_untouched(dir: &Path) {
    let modes = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!((modes(dir), modes(&dir.join("victim"))), (0o711, 0o600));
    assert_eq!(fs::read(dir.join("victim")).unwrap(), b"safe");
    let names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["victim"], "nothing came into it");
    let mut list = [0; 64];
    assert_eq!(rustix::fs::listxattr(dir.join("victim"), &mut list), Ok(0));
}

/// Stops who swaps, also when a test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` again and again, at least until names were swapped a hundred times meanwhile.
fn while_swapping(swap: impl Fn() -> bool + Sync, mut work: impl FnMut()) {
    let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                swaps.fetch_add(u64::from(swap()), Ordering::Relaxed);
            }
        });
        let _stop = Stop(&stop);
        let mut rounds = 0;
        while rounds < 10 || (swaps.load(Ordering::Relaxed) < 100 && rounds < 1000) {
            work();
            rounds += 1;
        }
    });
    assert!(swaps.load(Ordering::Relaxed) >= 100, "nothing was swapped");
}

#[test]
fn a_directory_swapped_for_a_link_leads_no_restore_out_of_the_target() {
    let place = Place::new();
    for number in 0..20 {
        place.write(&format!("d/sub/{number}"), b"x");
    }
    place.write("d/victim", b"not it");
    let snapshot = place.snapshot(&place.back_up());
    let (to, away) = (place.dir.path().join("to"), place.dir.path().join("away"));
    outside(&away);
    assert!(place.restore(&snapshot, &to, &RestoreOptions::default()).complete);
    let link = place.dir.path().join("link");
    symlink(&away, &link).unwrap();
    let exchange = || rustix::fs::renameat_with(CWD, &link, CWD, to.join("d"), RenameFlags::EXCHANGE).is_ok();
    while_swapping(exchange, || {
        let options = RestoreOptions { overwrite: Some(Overwrite::Always), ..RestoreOptions::default() };
        // Whether a record fails depends on the moment; that nothing goes elsewhere does not.
        place.restore(&snapshot, &to, &options);
        let equal = RestoreOptions { make_equal: true, ..RestoreOptions::default() };
        place.restore(&snapshot, &to, &equal);
    });
    is_untouched(&away);
}

#[test]
fn special_files_swapped_for_links_while_they_are_made_touch_nothing_else() {
    let place = Place::new();
    let (fifo, device) = (place.path("fifo"), place.path("null"));
    for number in 0..30 {
        rustix::fs::mkfifoat(CWD, format!("{}{number}", fifo.display()), Mode::from_raw_mode(0o666)).unwrap();
    }
    if rustix::process::geteuid().is_root() {
        let null = rustix::fs::makedev(1, 3);
        rustix::fs::mknodat(CWD, &device, rustix::fs::FileType::CharacterDevice, Mode::from_raw_mode(0o666), null)
            .unwrap();
    }
    for entry in fs::read_dir(place.path("")).unwrap() {
        fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o666)).unwrap();
    }
    let snapshot = place.snapshot(&place.back_up());
    let (to, away) = (place.dir.path().join("to"), place.dir.path().join("away"));
    outside(&away);
    fs::create_dir(&to).unwrap();
    let victim = away.join("victim");
    let swap = || {
        let mut swapped = false;
        for entry in fs::read_dir(&to).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with(".rekeep-") {
                let removed = fs::remove_file(entry.path());
                swapped |= removed.and_then(|()| symlink(&victim, entry.path())).is_ok();
            }
        }
        swapped
    };
    while_swapping(swap, || {
        let options = RestoreOptions { overwrite: Some(Overwrite::Always), ..RestoreOptions::default() };
        place.restore(&snapshot, &to, &options);
    });
    is_untouched(&away);
}

#[test]
fn a_component_that_becomes_a_link_is_not_read_through() {
    let place = Place::new();
    for number in 0..10 {
        place.write(&format!("d/{number}"), b"inside");
        place.write(&format!("d/sub/{number}"), &noise(number, 2000));
    }
    let away = place.dir.path().join("away");
    outside(&away);
    fs::write(away.join("0"), "outside").unwrap();
    fs::create_dir(away.join("sub")).unwrap();
    fs::write(away.join("sub/0"), "outside").unwrap();
    let link = place.dir.path().join("link");
    symlink(&away, &link).unwrap();
    let exchange = || rustix::fs::renameat_with(CWD, &link, CWD, place.path("d"), RenameFlags::EXCHANGE).is_ok();
    while_swapping(exchange, || {
        let source = FilesSource::new(&url(&place.path("")), FilesOptions::default()).unwrap();
        let options = BackupOptions { max_lost_percent: 100, ..BackupOptions::default() };
        let outcome = backup(&place.repo, &source, &options, &Silent).unwrap();
        let snapshot = place.snapshot(&outcome);
        for key in ["d/0", "d/sub/0", "d/victim"] {
            let dumped = place.dump(&snapshot, key).unwrap_or_default();
            assert!(dumped != b"outside" && dumped != b"safe", "{key} was read through a link");
        }
    });
}

#[test]
fn paths_longer_than_the_system_takes_come_back() {
    const LEVELS: usize = 120;
    let place = Place::new();
    let name = "long".repeat(50);
    let open = |dir: &std::os::fd::OwnedFd, name: &str| {
        rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    };
    let root = |path: &Path| rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let mut here = root(&place.path(""));
    for level in 0..LEVELS {
        let file =
            rustix::fs::openat(&here, "file", OFlags::WRONLY | OFlags::CREATE, Mode::from_raw_mode(0o640)).unwrap();
        rustix::io::write(&file, format!("level {level}").as_bytes()).unwrap();
        rustix::fs::fsetxattr(&file, "user.level", level.to_string().as_bytes(), rustix::fs::XattrFlags::empty())
            .unwrap();
        rustix::fs::symlinkat("file", &here, "zlink").unwrap();
        if level % 10 == 9 {
            rustix::fs::linkat(&here, "file", &here, "zz", AtFlags::empty()).unwrap();
        }
        rustix::fs::mkdirat(&here, &name, Mode::from_raw_mode(if level % 2 == 0 { 0o750 } else { 0o705 })).unwrap();
        here = open(&here, &name);
    }
    let first = place.back_up();
    assert!(first.complete, "{:?}", first.problems);
    assert_eq!(first.records as usize, 1 + LEVELS * 3 + LEVELS / 10);
    let to = place.dir.path().join("to");
    let options = RestoreOptions { verify: true, ..RestoreOptions::default() };
    let outcome = place.restore(&place.snapshot(&first), &to, &options);
    assert!(outcome.complete && outcome.different == 0, "{outcome:?}");
    let mut here = root(&to);
    for level in 0..LEVELS {
        let mut bytes = [0; 20];
        let file = rustix::fs::openat(&here, "file", OFlags::RDONLY, Mode::empty()).unwrap();
        let read = rustix::io::read(&file, &mut bytes).unwrap();
        assert_eq!(bytes[..read], *format!("level {level}").as_bytes());
        let below = open(&here, &name);
        assert_eq!(rustix::fs::fstat(&below).unwrap().st_mode & 0o777, if level % 2 == 0 { 0o750 } else { 0o705 });
        here = below;
    }
    // Made equal to an empty tree, all of it goes.
    let empty = Place::new();
    let nothing = empty.snapshot(&empty.back_up());
    let equal = RestoreOptions { make_equal: true, ..RestoreOptions::default() };
    let outcome = empty.restore(&nothing, &to, &equal);
    assert!(outcome.complete, "{outcome:?}");
    assert_eq!(outcome.outcomes.removed, first.records - 1);
    assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
}
