//! Bad input: each refusal has its exit status, names the object, and leaves everything as it was.

use crate::world::{PASSWORD, Ran, World, many_rows};

#[test]
fn a_wrong_password_is_status_12() {
    let world = World::new();
    let ran: crate::world::Ran = world.command(&["snapshots"]).env("REKEEP_PASSWORD", "wrong").output().unwrap().into();
    ran.fails(12, &["password", "key slots"]);
    std::fs::write(world.path("pw"), "wrong\n").unwrap();
    world.run(&["snapshots", "--password-file", "pw"]).fails(12, &["password"]);
    world.run(&["snapshots", "--password-file", "absent"]).fails(1, &["absent"]);
    world.run(&["snapshots", "--password-command", "exit 4"]).fails(1, &["password command"]);
    let none: crate::world::Ran = world.command(&["snapshots"]).env_remove("REKEEP_PASSWORD").output().unwrap().into();
    none.fails(2, &["no password", "--password-file"]);
    std::fs::write(world.path("pw"), format!("{PASSWORD}\r\n")).unwrap();
    world.ok(&["snapshots", "--password-file", "pw"]);
}

#[test]
fn a_byte_order_mark_before_a_password_is_told_of() {
    let world = World::new();
    std::fs::write(world.path("marked"), format!("\u{feff}{PASSWORD}\r\n")).unwrap();
    world.run(&["snapshots", "--password-file", "marked"]).fails(12, &["byte order mark"]);
    let made = world.run(&["key", "add", "--new-password-file", "marked"]);
    made.fails(2, &["byte order mark"]);
    world.run(&["-r", "new", "init", "--password-file", "marked"]).fails(2, &["byte order mark"]);
    assert!(!world.path("new").join("rekeep.json").exists());
}

#[test]
fn no_repository_is_status_10() {
    let world = World::empty();
    for args in [
        &["snapshots"][..],
        &["verify"],
        &["status"],
        &["stats"],
        &["key", "list"],
        &["restore", "latest", "sqlite:x.db"],
    ] {
        world.run(args).fails(10, &["no repository", "rekeep init"]);
    }
    std::fs::create_dir(world.repo()).unwrap();
    std::fs::write(world.path("repo/letter.txt"), "x").unwrap();
    world.run(&["snapshots"]).fails(10, &["no repository"]);
}

#[test]
fn a_second_repository_is_not_made_over_the_first() {
    let world = World::new();
    let before = world.objects();
    world.run(&["init", "--kdf-memory", "1", "--kdf-passes", "1"]).fails(1, &["already a repository"]);
    assert_eq!(world.objects(), before);
    for args in [&["init", "--kdf-memory", "0"][..], &["init", "--kdf-memory", "1025"], &["init", "--kdf-passes", "65"]]
    {
        world.run(args).fails(2, &["--kdf"]);
    }
}

#[test]
fn a_newer_format_and_an_unknown_feature_are_told_apart_from_damage() {
    let world = World::new();
    let places = ["repo/rekeep.json", "repo/copies/rekeep.json"].map(|name| world.path(name));
    let text = std::fs::read_to_string(&places[0]).unwrap();
    let write = |places: &[std::path::PathBuf], text: &str| {
        for place in places {
            let _ = std::fs::remove_file(place);
            std::fs::write(place, text).unwrap();
        }
    };
    let line = text.lines().next().unwrap().replacen("\"format\":1", "\"format\":7", 1) + "\n";
    write(&places[..1], &format!("{line}\"{}\"\n", blake3::hash(line.as_bytes())));
    world.run(&["snapshots"]).fails(1, &["rekeep.json", "version 7", "newer rekeep"]);
    write(&places[..1], &text[..text.len() / 2]);
    let ran = world.ok(&["snapshots"]);
    assert!(ran.err.contains("rekeep.json") && ran.err.contains("damaged"), "{}", ran.err);
    write(&places, &text[..text.len() / 2]);
    world.run(&["snapshots"]).fails(1, &["rekeep.json", "damaged"]);
    write(&places, &text);
    world.ok(&["snapshots"]);
}

#[test]
fn a_source_that_is_no_database_is_named() {
    let world = World::new();
    std::fs::write(world.path("text.db"), "this is not a database, but it is long enough to be looked at. ".repeat(40))
        .unwrap();
    world.run(&["backup", "sqlite:text.db"]).fails(1, &["text.db"]);
    let noise: Vec<u8> = (0_u32..8192).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(world.path("cipher.db"), noise).unwrap();
    world.run(&["backup", "sqlite:cipher.db"]).fails(1, &["cipher.db", "encrypted"]);
    world.run(&["backup", "sqlite:absent.db"]).fails(1, &["absent.db", "does not exist"]);
    assert!(!world.path("absent.db").exists());
    std::fs::create_dir(world.path("dir.db")).unwrap();
    world.run(&["backup", "sqlite:dir.db"]).fails(1, &["dir.db"]);
    world.run(&["backup", "files:absent"]).fails(1, &["absent", "does not exist"]);
    world.run(&["backup", "jsonl:absent.jsonl"]).fails(1, &["absent.jsonl"]);
    assert_eq!(world.snapshots().len(), 0);
}

#[test]
fn a_corrupt_database_is_named_and_nothing_is_committed() {
    let world = World::new();
    many_rows(&world, "a.db", 5_000);
    let path = world.path("a.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 40_000].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let ran = world.run(&["backup", "sqlite:a.db"]);
    assert!(matches!(ran.code, Some(1 | 3)), "{ran:?}");
    assert!(ran.err.contains("a.db") || ran.err.contains("malformed"), "{ran:?}");
    for snapshot in world.snapshots() {
        assert_eq!(snapshot["complete"], false, "{snapshot}");
    }
}

#[test]
fn a_locked_target_is_status_11() {
    let world = World::new();
    many_rows(&world, "a.db", 10);
    world.backup(&["sqlite:a.db"]);
    world.sql("busy.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, data BLOB)");
    let holder = rusqlite::Connection::open(world.path("busy.db")).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    world.run(&["backup", "sqlite:busy.db"]).fails(11, &["busy.db", "locked"]);
    world.run(&["restore", "latest", "sqlite:busy.db", "--overwrite", "always"]).fails(11, &["busy.db", "locked"]);
    holder.execute_batch("ROLLBACK").unwrap();
    world.ok(&["restore", "latest", "sqlite:busy.db", "--overwrite", "always"]);
}

#[test]
fn an_unwritable_target_is_named_and_nothing_is_left_of_it() {
    let world = World::new();
    many_rows(&world, "a.db", 10);
    world.backup(&["sqlite:a.db"]);
    world.run(&["restore", "latest", "sqlite:no/such/dir/out.db"]).fails(1, &["no/such/dir/out.db"]);
    std::fs::write(world.path("letter.txt"), "dear reader, this is not a database").unwrap();
    world.run(&["restore", "latest", "sqlite:letter.txt", "--overwrite", "always"]).fails(1, &["letter.txt"]);
    assert_eq!(std::fs::read_to_string(world.path("letter.txt")).unwrap(), "dear reader, this is not a database");
    world.run(&["restore", "latest", "files:out"]).fails(1, &["does not fit"]);
    assert!(!world.path("out").exists());
}

#[test]
fn a_missing_table_is_told() {
    let world = World::new();
    many_rows(&world, "a.db", 10);
    let ran = world.run(&["backup", "sqlite:a.db?table=absent"]);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("absent"), "{ran:?}");
    world.run(&["backup", "sqlite:a.db?colour=red"]).fails(2, &["colour"]);
}

#[test]
fn a_repository_of_local_folders_alone_is_told_from_one_of_a_region() {
    let world = World::empty();
    let init = ["init", "--kdf-memory", "1", "--kdf-passes", "1", "--allowed-region"];
    world
        .run(&[&init[..], &["eu-central-1"]].concat())
        .fails(1, &["lies in local", "eu-central-1 alone", "nothing was written"]);
    world.run(&[&init[..], &["Europe"]].concat()).fails(2, &["`Europe` is no region's name"]);
    assert!(!world.repo().exists() || crate::world::files(&world.repo()).is_empty());
    world.ok(&[&init[..], &["local"]].concat());
    world.sql("a.db", "CREATE TABLE t(id INTEGER PRIMARY KEY)");
    world.backup(&["sqlite:a.db"]);
    world.ok(&["replicate", "replica"]);
    world.ok(&["check-storage", "--no-throughput"]).says(&["region", "local"]);
}

#[test]
fn a_machine_without_memory_for_the_password_calls_nothing_damaged() {
    let world = World::empty();
    world.ok(&["--quiet", "init", "--kdf-memory", "1024", "--kdf-passes", "1"]);
    // What the program itself takes fits below the limit, what the key takes does not.
    let command = world.command(&["snapshots"]);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -v 900000 && exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(world.path(""));
    let ran = crate::world::Ran::from(limited.output().unwrap()).fails(1, &["1024 MiB of memory"]);
    assert!(!ran.err.contains("damaged") && !ran.err.contains("repair"), "{ran:?}");
}

#[test]
fn a_path_alone_is_refused_with_what_it_is_likely_meant_as() {
    let world = World::new();
    many_rows(&world, "a.db", 3);
    std::fs::create_dir(world.path("dir")).unwrap();
    world.run(&["backup", "a.db"]).fails(2, &["write sqlite:a.db"]);
    world.run(&["backup", "dir"]).fails(2, &["write files:dir"]);
    world.run(&["backup", "absent"]).fails(2, &["sqlite:FILE", "files:DIRECTORY"]);
}

#[test]
fn a_repository_that_stands_is_said_to_stand_and_nothing_else() {
    let world = World::new();
    let ran = world.run(&["init", "--kdf-memory", "1", "--kdf-passes", "1"]);
    let ran = ran.fails(1, &["already a repository", "choose another location"]);
    assert!(!ran.err.contains("was made"), "{ran:?}");
    world.run(&["-r", "$HOME/repo", "init", "--kdf-memory", "1"]).fails(1, &["`$HOME` is a variable", "./$HOME/repo"]);
    world.run(&["-r", "~/repo", "init", "--kdf-memory", "1"]).fails(1, &["only where a shell expands it", "./~/repo"]);
    assert!(!world.path("~").exists());
}

#[test]
fn a_source_without_a_name_is_no_source() {
    let world = World::new();
    world.sql("a.db", "CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES(1)");
    world.run(&["backup", "sqlite:a.db", "--source-name", ""]).fails(2, &["name is empty"]);
    assert_eq!(world.snapshots().len(), 0);
    world.backup(&["sqlite:a.db", "--host", ""]);
}

#[test]
fn what_is_said_of_another_system_is_refused() {
    let world = World::new();
    world.sql("a.db", "CREATE TABLE t (id INTEGER PRIMARY KEY)");
    for flag in ["--as-password-file", "--as-password-command", "--as-password-env", "--tls-key-password-file"] {
        let words = [flag, "aerospike: sources, not `sqlite:a.db`"];
        world.run(&["backup", "sqlite:a.db", flag, "x"]).fails(2, &words);
    }
    world
        .run(&["backup", "sqlite:a.db", "--timestamp-command", "echo 1"])
        .fails(2, &["--timestamp-command is for atlasdb: sources, not `sqlite:a.db`"]);
    world.backup(&["sqlite:a.db"]);
    for flag in ["--as-password-file", "--timestamp-command"] {
        world.run(&["restore", "latest", "sqlite:b.db", flag, "x"]).fails(2, &[flag, "targets, not `sqlite:b.db`"]);
    }
    let database = "postgresql://127.0.0.1:1/d";
    world.run(&["capture", database, "--dc", "x"]).fails(2, &["--dc is for aerospike: sources"]);
    world.run(&["capture", database, "--as-user", "x"]).fails(2, &["--as-user is for aerospike: sources"]);
    world.run(&["capture", "asbx:folder", "--slot", "x"]).fails(2, &["--slot is for postgresql: sources"]);
    // What is set for all commands is meant for whom it concerns.
    let ran: Ran =
        world.command(&["backup", "sqlite:a.db"]).env("REKEEP_AS_PASSWORD_FILE", "x").output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_password_that_is_asked_of_nobody_is_said_with_the_ways_to_give_it() {
    let world = World::new();
    for verb in ["add", "passwd", "rotate"] {
        world.run(&["key", verb]).fails(2, &["no new password", "--new-password-file"]);
    }
    let like = world.repo();
    world.run(&["init", "-r", "other", "--like", like.to_str().unwrap()]).fails(2, &["--like-password-file"]);
    world.run(&["copy", "--to", like.to_str().unwrap()]).fails(2, &["--to-password-file", "REKEEP_TO_PASSWORD"]);
    world.run(&["snapshots", "--recovery-key=absent"]).fails(1, &["the recovery key's file absent"]);
    world.run(&["forget", "--keep-last", "1", "--group-by", "sauce"]).fails(2, &["source, host, tags"]);
}

#[test]
fn trying_a_folder_leaves_nothing_in_it() {
    let world = World::empty();
    world.ok(&["check-storage", "new", "--no-throughput"]);
    assert!(!world.path("new").exists());
    std::fs::create_dir(world.path("empty")).unwrap();
    world.ok(&["check-storage", "empty", "--no-throughput"]);
    assert_eq!(std::fs::read_dir(world.path("empty")).unwrap().count(), 0);
}

/// A password has no place there; who types one does not find it in the log of the job.
#[test]
fn a_password_in_the_place_of_files_is_not_shown() {
    let world = World::new();
    world.sql("x.db", "CREATE TABLE t (id INTEGER PRIMARY KEY)");
    world.backup(&["sqlite:x.db"]);
    for args in [
        &["backup", "asb:s3://u:s3cr3t@b/x"][..],
        &["inspect", "asb:s3://u:s3cr3t@b/x"],
        &["restore", "latest", "asb:s3://u:s3cr3t@b/x"],
        &["capture", "asbx:s3://u:s3cr3t@b/x"],
        &["replay", "latest", "asbx:s3://u:s3cr3t@b/x"],
        &["--json", "inspect", "asb:s3://u:s3cr3t@b/x"],
        &["asrestore", "--validate", "-d", "s3://u:s3cr3t@b/x"],
    ] {
        let ran = world.run(args);
        assert!(ran.code != Some(0) && ran.err.contains("s3://u@b/x"), "{args:?}: {ran:?}");
        assert!(!ran.err.contains("s3cr3t") && !ran.out.contains("s3cr3t"), "{args:?}: {ran:?}");
    }
}
