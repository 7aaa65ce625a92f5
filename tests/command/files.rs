//! Directories of files, as a person backs them up and restores them.
#![cfg(unix)]

use crate::world::{Ran, World, files};
use serde_json::{Value as Json, json};
use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::Path,
};

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn dump_gives_a_sparse_file_whole_and_a_hard_link_its_content() {
    let world = World::new();
    let root = world.path("src");
    fs::create_dir(&root).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(&[7; 4096], 1 << 20).unwrap();
    sparse.write_all_at(&[8; 4096], 8 << 20).unwrap();
    sparse.set_len(10 << 20).unwrap();
    write(&root.join("a"), "linked");
    fs::hard_link(root.join("a"), root.join("b")).unwrap();
    world.backup(&["files:src"]);
    assert!(world.ok(&["dump", "latest", "files", "sparse"]).bytes == fs::read(root.join("sparse")).unwrap());
    assert_eq!(world.ok(&["dump", "latest", "files", "b"]).out, "linked");
}

#[test]
fn a_hard_link_is_restored_without_its_first_path() {
    let world = World::new();
    let root = world.path("src");
    write(&root.join("a"), "the content");
    fs::create_dir(root.join("b")).unwrap();
    fs::hard_link(root.join("a"), root.join("b/c")).unwrap();
    world.backup(&["files:src"]);
    world.ok(&["restore", "latest", "files:out", "--include", "b/*", "--verify"]);
    assert_eq!(fs::read_to_string(world.path("out/b/c")).unwrap(), "the content");
    // What stands there today under the first path is not what it was.
    write(&world.path("other/a"), "something else");
    world.ok(&["restore", "latest", "files:other", "--key", "b/c", "--overwrite", "always"]);
    assert_eq!(fs::read_to_string(world.path("other/b/c")).unwrap(), "the content");
    assert_eq!(fs::read_to_string(world.path("other/a")).unwrap(), "something else");
}

/// A default ACL that gives user 12345 everything: version 2, then tag, permissions and id of each entry.
fn default_acl() -> Vec<u8> {
    let mut acl = 2_u32.to_le_bytes().to_vec();
    let none = u32::MAX;
    for (tag, permissions, id) in
        [(0x01_u16, 7_u16, none), (0x02, 7, 12345), (0x04, 5, none), (0x10, 7, none), (0x20, 5, none)]
    {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    acl
}

#[test]
#[cfg(target_os = "linux")]
fn what_a_directory_of_the_target_gives_by_default_stays_off() {
    let world = World::new();
    let root = world.path("src");
    write(&root.join("d/private"), "x");
    set_mode(&root.join("d/private"), 0o640);
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("fifo"), rustix::fs::Mode::from_raw_mode(0o640)).unwrap();
    world.backup(&["files:src"]);
    let out = world.path("out");
    fs::create_dir(&out).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&out, "system.posix_acl_default", &default_acl(), flags)
        .expect("the tests need a file system with ACLs");
    for key in [&["--include", "d/private"][..], &["--overwrite", "always"]] {
        let mut args = vec!["restore", "latest", "files:out", "--overwrite", "always"];
        if key[0] == "--include" {
            args.extend(key);
        }
        world.ok(&args);
        for name in ["d", "d/private", "fifo"].into_iter().filter(|name| out.join(name).exists()) {
            let mut value = [0; 256];
            for acl in ["system.posix_acl_access", "system.posix_acl_default"] {
                let found = rustix::fs::getxattr(out.join(name), acl, &mut value);
                assert_eq!(found, Err(rustix::io::Errno::NODATA), "{acl} of {name}");
            }
            assert_eq!(mode(&out.join(name)), mode(&root.join(name)), "{name}");
        }
    }
}

#[test]
fn directories_on_the_way_to_what_is_included_come_as_they_were() {
    let world = World::new();
    let root = world.path("src");
    write(&root.join("p/q/file"), "x");
    for (name, mode) in [("p/q", 0o2750), ("p", 0o711), ("", 0o700)] {
        set_mode(&root.join(name), mode);
    }
    world.backup(&["files:src"]);
    world.ok(&["restore", "latest", "files:out", "--include", "p/q/file"]);
    for name in ["p/q", "p", ""] {
        assert_eq!(mode(&world.path("out").join(name)), mode(&root.join(name)), "{name}");
        let time = |root: &Path| root.join(name).metadata().unwrap().modified().unwrap();
        assert_eq!(time(&world.path("out")), time(&root), "{name}");
    }
    // One that stands there already is as it is.
    write(&world.path("there/p/other"), "x");
    set_mode(&world.path("there/p"), 0o755);
    world.ok(&["restore", "latest", "files:there", "--include", "./p/q/", "--overwrite", "always"]);
    assert_eq!((mode(&world.path("there/p")), mode(&world.path("there/p/q"))), (0o755, 0o2750));
}

#[test]
fn patterns_that_match_nothing_are_said_and_bad_ones_refused() {
    let world = World::new();
    let root = world.path("src");
    for name in ["a.txt", "b.tmp", "d/c.txt"] {
        write(&root.join(name), name);
    }
    world.backup(&["files:src"]);
    let args = ["restore", "latest", "files:out", "--include", "./a.txt", "--include", "typo*", "--exclude", "x.?"];
    let ran = world.ok(&args);
    assert!(ran.err.contains("`typo*` matched nothing") && ran.err.contains("`x.?` matched nothing"), "{}", ran.err);
    assert!(!ran.err.contains("a.txt"), "{}", ran.err);
    assert!(world.path("out/a.txt").exists());
    for bad in ["a[", "{x", ""] {
        for flag in ["--include", "--exclude"] {
            world.run(&["restore", "latest", "files:bad", flag, bad]).fails(2, &["pattern"]);
        }
        world.run(&["backup", "files:src", "--exclude", bad]).fails(2, &["pattern"]);
    }
    assert!(!world.path("bad").exists());
    let ran = world.ok(&["backup", "files:src", "--exclude", "*.tpm", "--exclude", "./d"]);
    assert!(ran.err.contains("`*.tpm` matched nothing") && !ran.err.contains("`./d`"), "{}", ran.err);
    let kept: Vec<Json> =
        world.json(&["ls", "latest", "files", "--scope", "without *.tpm, ./d"]).as_array().unwrap().clone();
    let keys: Vec<&str> = kept.iter().map(|record| record["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["./", "a.txt", "b.tmp"]);
    fs::write(world.path("list"), "a.txt\r\nd\r\n").unwrap();
    let listed = world.json(&["backup", "files:src", "--files-from", "list"]);
    assert_eq!((&listed["records"], &listed["complete"]), (&json!(4), &json!(true)), "{listed}");
    for empty in ["", "\n\n"] {
        fs::write(world.path("list"), empty).unwrap();
        world.run(&["backup", "files:src", "--files-from", "list"]).fails(2, &["list", "no path"]);
    }
}

#[test]
fn a_full_directory_gives_way_to_a_file_where_all_is_made_equal() {
    let world = World::new();
    write(&world.path("src/name"), "a file");
    world.backup(&["files:src"]);
    write(&world.path("out/name/with/things"), "in it");
    write(&world.path("out/name/more"), "in it");
    world.run(&["restore", "latest", "files:out", "--overwrite", "always"]).fails(3, &["not empty"]);
    world.ok(&["restore", "latest", "files:out", "--make-equal", "--verify"]);
    assert_eq!(files(&world.path("out")), files(&world.path("src")));
}

#[test]
#[cfg(target_os = "linux")]
fn files_that_are_made_when_they_are_read_are_read() {
    let world = World::new();
    fs::write(world.path("list"), "/proc/sys/kernel/ostype\n/proc/sys/kernel/osrelease\n").unwrap();
    let outcome = world.json(&["backup", "files:/proc/sys/kernel", "--files-from", "list"]);
    assert_eq!((&outcome["complete"], &outcome["records"]), (&json!(true), &json!(3)), "{outcome}");
    assert_eq!(world.ok(&["dump", "latest", "files", "ostype"]).out, "Linux\n");
    world.ok(&["restore", "latest", "files:out"]);
    assert_eq!(fs::read_to_string(world.path("out/ostype")).unwrap(), "Linux\n");
}

#[test]
fn a_database_in_use_gets_a_hint() {
    let world = World::new();
    fs::create_dir_all(world.path("src/d")).unwrap();
    world.sql("src/idle.db", "CREATE TABLE t(a)");
    world.sql("src/d/live.db", "CREATE TABLE t(a)");
    write(&world.path("src/other"), "no database");
    write(&world.path("src/other-wal"), "beside it");
    let live = rusqlite::Connection::open(world.path("src/d/live.db")).unwrap();
    live.execute_batch("PRAGMA journal_mode = WAL; INSERT INTO t VALUES(1)").unwrap();
    let ran = world.ok(&["backup", "files:src"]);
    let hint = format!("sqlite:{}", world.path("src/d/live.db").canonicalize().unwrap().display());
    assert!(ran.err.contains(&hint) && ran.err.contains("live.db-wal"), "{}", ran.err);
    assert!(!ran.err.contains("idle.db") && !ran.err.contains("other"), "{}", ran.err);
}

#[test]
fn names_that_are_no_text_are_shown_so_that_they_can_be_typed() {
    let world = World::new();
    let root = world.path("").join(OsStr::from_bytes(b"src\xff"));
    fs::create_dir(&root).unwrap();
    for name in [&b"byte\xff"[..], b"line\nfeed", b"hex:00", b"str:x", b"plain"] {
        fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let mut url = OsString::from("files:");
    url.push(&root);
    let ran: Ran = world.command(&["--json", "backup"]).arg(&url).output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let listed = world.json(&["ls", "latest", "files"]);
    let keys: Vec<&str> = listed.as_array().unwrap().iter().map(|record| record["key"].as_str().unwrap()).collect();
    assert_eq!(keys.len(), 6);
    for key in keys.iter().filter(|key| **key != "./") {
        let content = world.ok(&["dump", "latest", "files", key]).bytes;
        assert!(root.join(OsStr::from_bytes(&content)).exists(), "{key}");
        world.ok(&["history", "files", key]).says(&["live"]);
        let out = format!("files:out {}", key.len());
        world.ok(&["restore", "latest", &out, "--include", key, "--overwrite", "always"]);
        assert!(world.path(&format!("out {}", key.len())).join(OsStr::from_bytes(&content)).exists(), "{key}");
    }
    // The same without the detour, as a shell gives it.
    let dumped = world.command(&["dump", "latest", "files"]).arg(OsStr::from_bytes(b"byte\xff")).output().unwrap();
    assert_eq!(dumped.stdout, b"byte\xff");
    // Shown as the source's name, which is typed back where a source is named.
    let name = world.snapshots()[0]["source"]["name"].as_str().unwrap().to_owned();
    let (_host, path) = name.split_once(':').unwrap();
    let again = world.json(&["backup", &format!("files:{path}")]);
    assert_eq!((&again["stats"]["new"], again["parent"].is_null()), (&json!(0), false), "{again}");
    let mut target = OsString::from("files:");
    target.push(OsStr::from_bytes(b"out\xfe"));
    let ran: Ran = world.command(&["restore", "latest"]).arg(&target).output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(files(&world.path("").join(OsStr::from_bytes(b"out\xfe"))), files(&root));
}

/// The world given to a user who is not root, and the command run by him. Whoever runs the tests as himself is him.
fn by_nobody(world: &World, args: &[&str]) -> Ran {
    let mut command = world.command(args);
    if rustix::process::geteuid().is_root() {
        let program = world.path("rekeep-for-all");
        if !program.exists() {
            fs::copy(env!("CARGO_BIN_EXE_rekeep"), &program).unwrap();
        }
        let given = std::process::Command::new("chown").args(["-R", "65534:65534"]).arg(world.path("")).status();
        assert!(given.unwrap().success());
        let mut other = std::process::Command::new(program);
        other.args(args).current_dir(world.path("")).uid(65534).gid(65534);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => other.env(name, value),
                None => other.env_remove(name),
            };
        }
        command = other;
    }
    command.output().unwrap().into()
}

#[test]
fn a_file_that_cannot_be_read_makes_the_snapshot_partial() {
    let world = World::new();
    let root = world.path("src");
    write(&root.join("fine"), "x");
    write(&root.join("secret"), "y");
    set_mode(&root.join("secret"), 0o000);
    let ran = by_nobody(&world, &["--json", "backup", "files:src"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let outcome = ran.json();
    assert_eq!((&outcome["complete"], &outcome["records"]), (&json!(false), &json!(2)), "{outcome}");
    assert!(outcome["problems"].to_string().contains("secret"), "{outcome}");
    let id = outcome["id"].as_str().unwrap();
    world.run(&["restore", "latest", "files:out", "--complete"]).fails(1, &["partial", "no complete snapshot"]);
    let newest = world.run(&["restore", "latest", "files:newest"]).fails(3, &["PARTIAL", "secret", "no older one"]);
    assert!(newest.out.contains("INCOMPLETE"), "{newest:?}");
    world.run(&["restore", id, "files:out", "--make-equal"]).fails(2, &["partial", "--force"]);
    assert_eq!(world.run(&["restore", id, "files:out"]).code, Some(3));
    assert_eq!(fs::read_to_string(world.path("out/fine")).unwrap(), "x");
    assert!(!world.path("out/secret").exists());
}

#[test]
fn who_may_set_no_owners_verifies_and_drills_all_the_rest() {
    // Whoever is not root backs up files of his own, and sets all of them.
    let is_root = rustix::process::geteuid().is_root();
    let world = World::new();
    write(&world.path("src/deep/fine"), "x");
    set_mode(&world.path("src/deep/fine"), 0o4755);
    symlink("fine", world.path("src/deep/link")).unwrap();
    fs::hard_link(world.path("src/deep/fine"), world.path("src/deep/twin")).unwrap();
    world.ok(&["backup", "files:src"]);
    let ran = by_nobody(&world, &["--json", "restore", "latest", "files:out", "--verify"]);
    let outcome = ran.json();
    assert_eq!((ran.code, &outcome["different"]), (Some(0), &json!(0)), "{ran:?}");
    let says = outcome["notes"].to_string().contains("owners, permissions were not compared");
    assert_eq!(
        (says, mode(&world.path("out/deep/fine"))),
        (is_root, if is_root { 0o755 } else { 0o4755 }),
        "{outcome}"
    );
    let ran = by_nobody(&world, &["--json", "drill"]);
    assert_eq!((ran.code, &ran.json()["different"]), (Some(0), &json!(0)), "{ran:?}");
    // Nothing is set of what stays, so that nothing is passed over of it.
    write(&world.path("out/deep/fine"), "y");
    let ran = by_nobody(&world, &["--json", "restore", "latest", "files:out", "--overwrite", "never", "--verify"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
}

#[test]
fn a_repository_is_no_source_of_its_own() {
    let world = World::new();
    write(&world.path("src/a"), "a");
    symlink("repo", world.path("other-name")).unwrap();
    for source in ["files:repo", "files:repo/packs", "files:other-name"] {
        fs::create_dir_all(world.path("repo/packs")).unwrap();
        world.run(&["backup", source]).fails(2, &["is in the repository"]);
    }
    assert!(world.snapshots().is_empty());
}

#[test]
fn a_file_that_cannot_be_opened_is_not_told_to_differ() {
    let world = World::new();
    let root = world.path("src");
    for name in ["a", "b", "c"] {
        write(&root.join(name), name);
    }
    let first = by_nobody(&world, &["--json", "backup", "files:src"]).json();
    let id = first["id"].as_str().unwrap().to_owned();
    // The mode is an attribute, and differs; that of the directory is told to nobody who cannot open a file in it.
    let against = |world: &World| by_nobody(world, &["--json", "verify", &id, "--against", "files:src"]);
    assert_eq!(against(&world).code, Some(0));
    set_mode(&root.join("b"), 0o000);
    let ran = against(&world);
    let outcome = ran.json();
    assert_eq!((&outcome["different"], &outcome["unread"]), (&json!(0), &json!(1)), "{outcome}");
    assert!(outcome["problems"].to_string().contains("b: "), "{outcome}");
    assert_eq!(ran.code, Some(3), "{ran:?}");
}

#[test]
fn what_of_a_target_cannot_be_looked_at_is_said() {
    let world = World::new();
    write(&world.path("src/a"), "a");
    by_nobody(&world, &["backup", "files:src"]);
    write(&world.path("out/a"), "a");
    write(&world.path("out/closed/x"), "x");
    set_mode(&world.path("out/closed"), 0o000);
    let ran = by_nobody(&world, &["restore", "latest", "files:out", "--overwrite", "if-changed"]);
    assert!(ran.err.contains("could not be looked at") && ran.err.contains("closed/"), "{ran:?}");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = by_nobody(&world, &["restore", "latest", "files:out", "--make-equal"]);
    assert!(ran.err.contains("could not be looked at") && ran.err.contains("not empty"), "{ran:?}");
    assert_eq!(ran.code, Some(3), "{ran:?}");
    set_mode(&world.path("out/closed"), 0o700);
}

#[test]
#[cfg(target_os = "linux")]
fn lines_go_to_devices_pipes_and_through_links_and_replace_none() {
    let world = World::new();
    write(&world.path("src/a"), &"some text ".repeat(10_000));
    world.backup(&["files:src"]);
    let is_device = |path: &Path| {
        use std::os::unix::fs::FileTypeExt as _;
        fs::symlink_metadata(path).unwrap().file_type().is_char_device()
    };
    world.run(&["restore", "latest", "jsonl:/dev/full"]).fails(1, &["/dev/full", "No space left"]);
    world.ok(&["restore", "latest", "jsonl:/dev/null", "--overwrite", "always"]);
    assert!(is_device(Path::new("/dev/full")) && is_device(Path::new("/dev/null")));
    let pipe = world.path("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read_to_string(pipe).unwrap()
    });
    world.ok(&["restore", "latest", "jsonl:pipe"]);
    let lines = reader.join().unwrap();
    assert_eq!(lines.lines().count(), 4);
    std::os::unix::fs::symlink("real.jsonl", world.path("link.jsonl")).unwrap();
    fs::write(world.path("real.jsonl"), "").unwrap();
    world.ok(&["restore", "latest", "jsonl:link.jsonl", "--verify"]);
    assert_eq!(fs::read_link(world.path("link.jsonl")).unwrap(), Path::new("real.jsonl"));
    assert_eq!(fs::read_to_string(world.path("real.jsonl")).unwrap(), lines);
    std::os::unix::fs::symlink("nowhere.jsonl", world.path("dangling.jsonl")).unwrap();
    world.run(&["restore", "latest", "jsonl:dangling.jsonl"]).fails(1, &["link", "nothing was written"]);
    assert!(!world.path("nowhere.jsonl").exists());
    let socket = std::os::unix::net::UnixListener::bind(world.path("socket")).unwrap();
    world.run(&["restore", "latest", "jsonl:socket", "--overwrite", "always"]).fails(1, &["socket"]);
    drop(socket);
    // A database is not written into what is none, and takes the place of nothing that is no file.
    world.sql("a.db", "CREATE TABLE t(id INTEGER PRIMARY KEY)");
    let database = world.backup(&["sqlite:a.db"]);
    for place in ["pipe", "dangling.jsonl", "/dev/full"] {
        let url = format!("sqlite:{place}");
        for args in [&["--overwrite", "always"][..], &[]] {
            let ran = world.command(&["restore", &database, &url]).args(args).output().unwrap();
            let _ = Ran::from(ran).fails(1, &[place, "cannot be written"]);
        }
    }
    assert!(is_device(Path::new("/dev/full")) && fs::read_link(world.path("dangling.jsonl")).is_ok());
}

/// With few files that may be open at once; `limit` is what is typed behind `ulimit`.
fn with_few_files(world: &World, limit: &str, args: &[&str]) -> Ran {
    let inner = world.command(args);
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(format!("ulimit {limit} && exec \"$@\"")).arg("sh");
    command.arg(inner.get_program()).args(inner.get_args()).current_dir(inner.get_current_dir().unwrap());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Ran::from(command.output().unwrap())
}

#[test]
fn what_cannot_be_opened_for_want_of_handles_is_no_file_that_cannot_be_read() {
    let world = World::new();
    let deep = "d/".repeat(40);
    write(&world.path(&format!("src/{deep}a")), "a");
    write(&world.path("src/b"), "b");
    let ran = with_few_files(&world, "-n 24", &["backup", "files:src"]);
    let _ = ran.fails(1, &["Too many open files", "ulimit -n"]);
    assert_eq!(world.snapshots(), Vec::<Json>::new());
    // What the system allows is taken, whatever a shell begins with.
    let ran = with_few_files(&world, "-S -n 24", &["backup", "files:src"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(world.snapshots().len(), 1);
}
