//! A file system that tells no names apart by case and keeps no permissions: what is lost there is said.

use crate::Place;
use rekeep::{connector::Overwrite, ops::restore::RestoreOptions};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// NTFS in a file, mounted as root.
struct Ntfs {
    dir: tempfile::TempDir,
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Ntfs {
    fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        run(Command::new("mkfs.ntfs").args(["-F", "-Q", "-q"]).arg(&image));
        fs::create_dir(dir.path().join("disk")).unwrap();
        run(Command::new("lowntfs-3g").args(["-o", "ignore_case"]).arg(&image).arg(dir.path().join("disk")));
        let disk = Self { dir };
        fs::write(disk.path().join("Tried"), b"").unwrap();
        assert!(disk.path().join("tRIED").exists(), "it tells no case apart");
        fs::remove_file(disk.path().join("Tried")).unwrap();
        disk
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }
}

impl Drop for Ntfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
#[ignore = "needs ntfs-3g"]
fn records_whose_names_are_one_there_do_not_take_each_others_place() {
    let place = Place::new();
    for (name, content) in
        [("Case", "big"), ("case", "small"), ("Dir/x", "in Dir"), ("dir/X", "in dir"), ("other", "it")]
    {
        place.write(name, content.as_bytes());
    }
    let snapshot = place.snapshot(&place.back_up());
    let disk = Ntfs::mount();
    for (round, overwrite) in [Overwrite::Never, Overwrite::Always, Overwrite::IfChanged].into_iter().enumerate() {
        let to = disk.path().join(format!("out{round}"));
        let options = || RestoreOptions { overwrite: Some(overwrite), parallel: 2, ..RestoreOptions::default() };
        let outcome = place.restore(&snapshot, &to, &options());
        assert!(!outcome.complete);
        let failures: Vec<_> = outcome.outcomes.failures.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(failures, ["case", "dir/", "dir/X"], "{overwrite:?}");
        assert!(outcome.outcomes.failures[0].1.contains("Case"), "{:?}", outcome.outcomes.failures);
        assert_eq!((read(&to.join("Case")), read(&to.join("Dir/x"))), ("big".to_owned(), "in Dir".to_owned()));
        // Once more over what stands there.
        let again = place.restore(&snapshot, &to, &options());
        // This one shows names in small letters, so that neither is told from the other by then: both are named, or one.
        assert!(!again.complete, "{overwrite:?}");
    }
    // A name that nobody else of the snapshot has is found under any spelling, as the file system means it.
    let to = disk.path().join("spelled");
    fs::create_dir(&to).unwrap();
    fs::write(to.join("OTHER"), b"before").unwrap();
    let options = RestoreOptions {
        overwrite: Some(Overwrite::Always),
        keys: vec!["other".to_owned()],
        ..RestoreOptions::default()
    };
    let outcome = place.restore(&snapshot, &to, &options);
    assert_eq!((outcome.outcomes.failures.len(), read(&to.join("other"))), (0, "it".to_owned()));
}

#[test]
#[ignore = "needs ntfs-3g"]
fn permissions_that_are_taken_and_not_kept_are_counted() {
    let place = Place::new();
    place.write("open", b"1");
    place.write("closed", b"2");
    fs::set_permissions(place.path("open"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(place.path("closed"), fs::Permissions::from_mode(0o600)).unwrap();
    let snapshot = place.snapshot(&place.back_up());
    let disk = Ntfs::mount();
    let to = disk.path().join("out");
    let outcome = place.restore(&snapshot, &to, &RestoreOptions::default());
    assert_eq!(fs::metadata(to.join("closed")).unwrap().permissions().mode() & 0o7777, 0o777, "as it keeps it");
    let said = outcome.notes.iter().find(|note| note.starts_with("permissions of 2 entries are not as they were"));
    assert!(said.is_some(), "the closed file and the root: {:?}", outcome.notes);
    // Where they are kept nothing is said.
    let outcome = place.restore(&snapshot, &place.dir.path().join("kept"), &RestoreOptions::default());
    assert_eq!(outcome.notes, Vec::<String>::new());
}
