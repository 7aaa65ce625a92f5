//! Restores: under other names, over what is there, as of a commit.

use super::*;
use rekeep::connector::Overwrite;

fn renamed(from: &str, to: &str) -> RestoreOptions {
    RestoreOptions { collections: vec![(from.to_owned(), Some(to.to_owned()))], ..RestoreOptions::default() }
}

fn at(version: &str) -> DeepLakeTargetOptions {
    DeepLakeTargetOptions { at_version: Some(version.to_owned()), ..DeepLakeTargetOptions::default() }
}

fn metadata(path: &Path) -> (String, String) {
    let bytes = fs::read(path.join("dataset_metadata.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(json["dimensions"], 3);
    (json["name"].as_str().unwrap().to_owned(), json["tenant_id"].as_str().unwrap().to_owned())
}

#[test]
fn under_another_name_and_tenant_it_says_the_new_ones() {
    let world = World::new();
    let mut made = world.made("acme/docs");
    made.commit(&[("a", b"1")]);
    made.describe("docs", "acme");
    world.made("acme/rest").commit(&[("a", b"1")]);
    let outcome = world.back_up();
    let to = world.dir.path().join("back");
    let plain = DeepLakeTargetOptions::default;
    let options = RestoreOptions { verify: true, ..renamed("acme/docs", "prod/papers") };
    let read_back = world.try_restore(&outcome, &to, plain(), &options).unwrap();
    assert!(read_back.verified.is_some_and(|files| files > 3) && read_back.different == 0, "{read_back:?}");
    assert_eq!(metadata(&to.join("prod/papers")), ("papers".to_owned(), "prod".to_owned()));
    assert!(!to.join("acme").exists(), "only what was mapped");
    world.try_restore(&outcome, &to, plain(), &renamed("acme/docs", "acme/docs")).unwrap();
    assert_eq!(files(&to.join("acme/docs")), files(&world.lake().join("acme/docs")), "nothing to rewrite");
}

#[test]
fn hostile_names_write_nothing_anywhere() {
    let world = World::new();
    world.made("t/d").commit(&[("a", b"1")]);
    let outcome = world.back_up();
    let to = world.dir.path().join("deep/er/back");
    fs::create_dir_all(&to).unwrap();
    std::os::unix::fs::symlink(world.dir.path(), to.join("out")).unwrap();
    let before = files(world.dir.path());
    for name in ["../x", "../../x", "/tmp/x", "a/../../x", "..", ".", "", "a//b", "a/b/c", "out/x", "x\n", ".rekeep-x"]
    {
        let error =
            world.try_restore(&outcome, &to, DeepLakeTargetOptions::default(), &renamed("t/d", name)).unwrap_err();
        assert!(!error.is_partly_done(), "{name:?}: {error}");
    }
    let colliding = RestoreOptions {
        collections: vec![("t/d".to_owned(), Some("x".to_owned())), ("t/d".to_owned(), Some("x".to_owned()))],
        ..RestoreOptions::default()
    };
    let error = world.try_restore(&outcome, &to, DeepLakeTargetOptions::default(), &colliding).unwrap_err();
    assert!(error.to_string().contains("would be restored as x"), "{error}");
    let inside = RestoreOptions {
        collections: vec![("t/d".to_owned(), Some("x".to_owned())), ("t/d".to_owned(), Some("x/y".to_owned()))],
        ..RestoreOptions::default()
    };
    let error = world.try_restore(&outcome, &to, DeepLakeTargetOptions::default(), &inside).unwrap_err();
    assert!(error.to_string().contains("inside of it"), "{error}");
    let is_data = |path: &&String| path.starts_with("deep/") || path.starts_with("lake/") || !path.contains('/');
    let after = files(world.dir.path());
    assert!(before.keys().filter(is_data).eq(after.keys().filter(is_data)));
}

#[test]
fn what_is_there_stays_unless_it_is_to_be_replaced_and_later_commits_are_kept_beside() {
    let world = World::new();
    let mut made = world.made("t/d");
    made.commit(&[("a", b"1")]);
    let outcome = world.back_up();
    let to = world.dir.path().join("back");
    assert!(world.restore(&outcome, &to).complete);
    let plain = DeepLakeTargetOptions::default;
    let error = world.try_restore(&outcome, &to, plain(), &RestoreOptions::default()).unwrap_err();
    assert!(error.to_string().contains("t/d"), "{error}");

    let mut there = Made { root: to.join("t/d"), ..Made::new(&world.dir.path().join("scratch")) };
    there.commits = 1;
    there.commit(&[("later", b"2")]);
    let never = RestoreOptions { overwrite: Some(Overwrite::Never), ..RestoreOptions::default() };
    let left = world.try_restore(&outcome, &to, plain(), &never).unwrap();
    assert!(left.outcomes.existed > 0 && left.outcomes.inserted == 0 && there.block("later").exists());

    let always = RestoreOptions { overwrite: Some(Overwrite::Always), ..RestoreOptions::default() };
    let replaced = world.try_restore(&outcome, &to, plain(), &always).unwrap();
    assert!(replaced.complete && !there.block("later").exists());
    assert_eq!(files(&there.root), files(&made.root));
    let note = replaced.notes.iter().find(|note| note.contains("had 1 commits")).unwrap();
    let kept = PathBuf::from(note.rsplit(" is kept in ").next().unwrap().trim());
    assert!(kept.join(Made::block_name("later")).exists(), "{note}");
    fs::remove_dir_all(kept).unwrap();
    world.try_restore(&outcome, &to, plain(), &always).unwrap();
    let left: Vec<_> = fs::read_dir(to.join("t")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["d"], "nothing lies beside");
}

#[test]
fn commits_and_writes_of_version_3_that_are_newer_are_kept_beside() {
    let world = World::new();
    make_nodes(&world.lake().join("t/d"), &["one", "two"]);
    let outcome = world.back_up();
    assert!(outcome.complete, "{:?}", outcome.problems);
    let (to, there) = (world.dir.path().join("back"), world.dir.path().join("back/t/d"));
    assert!(world.restore(&outcome, &to).complete);
    let replaced = || {
        let always = RestoreOptions { overwrite: Some(Overwrite::Always), ..RestoreOptions::default() };
        let replaced = world.try_restore(&outcome, &to, DeepLakeTargetOptions::default(), &always).unwrap();
        assert!(replaced.complete, "{replaced:?}");
        let note = replaced.notes.into_iter().find(|note| note.contains(" is kept in "));
        note.map(|note| (PathBuf::from(note.rsplit(" is kept in ").next().unwrap().trim()), note))
    };
    assert!(replaced().is_none(), "it is the same");

    make_nodes(&there, &["one", "two", "three"]);
    let (kept, note) = replaced().unwrap();
    assert!(note.contains("had 1 commits"), "{note}");
    assert_eq!(fs::read(kept.join("versions/three/x/chunks/c")).unwrap(), b"three");
    assert!(!there.join("versions/three").exists());

    // What is not committed is newer too.
    fs::create_dir_all(there.join("versions/head/x/chunks")).unwrap();
    fs::write(there.join("versions/head/x/chunks/c"), "late").unwrap();
    let (kept, _) = replaced().unwrap();
    assert_eq!(fs::read(kept.join("versions/head/x/chunks/c")).unwrap(), b"late");

    // The first node of every dataset has the same id: another one's is told by its time and message.
    let versions = there.join("version_control_info.json");
    let other =
        fs::read_to_string(&versions).unwrap().replace("\"commit_message\":\"one\"", "\"commit_message\":\"1\"");
    fs::write(&versions, other).unwrap();
    assert!(replaced().is_some());
    assert!(replaced().is_none(), "it is the same again");
}

#[test]
fn what_is_not_whole_never_takes_the_place_of_what_is_there() {
    let world = World::new();
    let mut made = world.made("t/d");
    made.commit(&[("a", b"0123456789")]);
    let to = world.dir.path().join("back");
    world.restore(&world.back_up(), &to);
    let fresh = World::new();
    let mut broken = fresh.made("t/d");
    broken.commit(&[("a", b"0123456789")]);
    fs::remove_file(broken.block("a")).unwrap();
    let outcome = fresh.back_up();
    let before = files(&to);
    let always = RestoreOptions { overwrite: Some(Overwrite::Always), ..RestoreOptions::default() };
    let restored = fresh.try_restore(&outcome, &to, DeepLakeTargetOptions::default(), &always).unwrap();
    assert!(!restored.complete && restored.missing.iter().any(|one| one.contains("the dataset that is there stays")));
    let after = files(&to);
    assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)));
}

#[test]
fn as_of_a_commit_a_tag_or_a_time_the_log_is_cut_and_later_blocks_are_gone() {
    let world = World::new();
    let mut made = world.made("t/d");
    for name in ["a", "b", "c", "d"] {
        made.commit(&[(name, name.as_bytes())]);
        if name == "b" {
            made.meta(2, &format!(
                "{{\"createTag\":{{\"id\":\"1\",\"name\":\"two\",\"branch_id\":\"{MAIN}\",\"version\":\"0000000002m00000000\"}}}}"
            ));
        }
        if name == "d" {
            made.meta(3, &format!(
                "{{\"createBranch\":{{\"id\":\"5e\",\"name\":\"side\",\"parent\":\"{MAIN}\",\"version\":\"0000000004m00000000\"}}}}"
            ));
        }
    }
    fs::create_dir(made.branch("5e")).unwrap();
    fs::copy(made.entry(1), made.branch("5e").join("0000000001m00000000.jsonl.lz4")).unwrap();
    let outcome = world.back_up();
    let seconds = 1_795_896_966 + 25;
    let time = format!("@{}", jiff::Timestamp::from_second(seconds).unwrap());
    for version in ["2", "0000000002m00000000", "two", time.as_str()] {
        let to = world.dir.path().join(format!("at-{}", version.len()));
        let restored = world.try_restore(&outcome, &to, at(version), &RestoreOptions::default()).unwrap();
        assert!(restored.complete, "{version}: {restored:?}");
        let there = Made { root: to.join("t/d"), ..Made::new(&world.dir.path().join("scratch")) };
        let has = ["a", "b", "c", "d"].map(|name| there.block(name).exists());
        assert_eq!(has, [true, true, false, false], "{version}");
        assert!(there.entry(2).exists() && !there.entry(3).exists() && !there.branch("5e").exists());
        assert_eq!(fs::read(there.branch(MAIN).join("next_base")).unwrap(), 3_u64.to_le_bytes());
        assert_eq!(fs::read(there.branch("_meta").join("next_base")).unwrap(), 3_u64.to_le_bytes());
    }
    let to = world.dir.path().join("none");
    for (version, words) in [("9", "no version or tag `9`"), ("@2001-01-01T00:00:00Z", "as old as that")] {
        let error = world.try_restore(&outcome, &to, at(version), &RestoreOptions::default()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(files(&to).is_empty(), "nothing is left of it");
    let error = DeepLakeTarget::new(&url(&to), at("@yesterday")).unwrap_err().to_string();
    assert!(error.contains("no time such as"), "{error}");
}

/// A branch that took in another one needs of it what it took.
#[test]
fn a_cut_leaves_nothing_that_stands_on_what_it_takes_away() {
    let world = World::new();
    let mut made = world.made("t/d");
    made.commit(&[("a", b"a")]);
    let (first, second) = ("0000000001m00000000", "0000000002m00000000");
    made.meta(2, &format!(r#"{{"createBranch":{{"id":"5e","name":"side","parent":"{MAIN}","version":"{first}"}}}}"#));
    fs::create_dir(made.branch("5e")).unwrap();
    let on_side = |made: &Made, number: u64, name: &str| {
        made.commit_on("5e", number, &[(name, name.as_bytes())]);
    };
    on_side(&made, 1, "s");
    on_side(&made, 2, "t");
    made.meta(3, &format!(r#"{{"createTag":{{"id":"1","name":"late","branch_id":"5e","version":"{second}"}}}}"#));
    made.commit(&[]);
    made.meta(
        4,
        &format!(
            r#"{{"mergeBranch":{{"source":{{"branch":"5e","version":"{second}"}},"destination":{{"branch":"{MAIN}","version":"{second}"}}}}}}"#
        ),
    );
    made.commit(&[("b", b"b")]);
    made.meta(5, &format!(r#"{{"createTag":{{"id":"2","name":"first","branch_id":"{MAIN}","version":"{first}"}}}}"#));
    let outcome = world.back_up();
    assert!(outcome.complete, "{:?}", outcome.problems);
    let restored = |options: DeepLakeTargetOptions, name: &str| {
        let to = world.dir.path().join(name);
        let restored = world.try_restore(&outcome, &to, options, &RestoreOptions::default()).unwrap();
        assert!(restored.complete, "{restored:?}");
        (Made { root: to.join("t/d"), ..Made::new(&world.dir.path().join("scratch")) }, restored.notes.join("; "))
    };
    let metas = |made: &Made| {
        let mut names: Vec<_> =
            fs::read_dir(made.branch("_meta")).unwrap().map(|one| one.unwrap().file_name()).collect();
        names.sort();
        names.into_iter().map(|name| fs::read_to_string(made.branch("_meta").join(name)).unwrap_or_default()).collect()
    };

    // What main took in of the branch is whole: all stays.
    let (there, _) = restored(at("3"), "main");
    assert!(there.entry(3).exists() && there.branch("5e").join(format!("{second}.jsonl.lz4")).exists());
    // The branch is cut behind its first commit: main goes back to before it took in the second.
    let options = DeepLakeTargetOptions { branch: Some("side".to_owned()), ..at("1") };
    let (there, notes) = restored(options, "side");
    assert!(there.branch("5e").join(format!("{first}.jsonl.lz4")).exists());
    assert!(!there.branch("5e").join(format!("{second}.jsonl.lz4")).exists());
    assert!(there.entry(1).exists() && !there.entry(2).exists() && !there.entry(3).exists());
    assert!(notes.contains("branch main after its number 1"), "{notes}");
    let texts: Vec<String> = metas(&there);
    assert!(texts.iter().any(|text| text.contains("\"first\"")), "a tag of what is there stays: {texts:?}");
    assert!(!texts.iter().any(|text| text.contains("mergeBranch") || text.contains("late")), "{texts:?}");
    assert_eq!(fs::read(there.branch("_meta").join("next_base")).unwrap(), 4_u64.to_le_bytes(), "no gaps");
}

#[test]
fn rows_that_are_staged_come_back_and_are_gone_where_the_log_is_cut() {
    let world = World::new();
    let mut made = world.made("t/d");
    made.commit(&[("a", b"a")]);
    made.commit(&[("b", b"b")]);
    let staged = "_deeplake_wal/main/0001796025243_25213dcc_4.wal";
    fs::create_dir_all(made.root.join("_deeplake_wal/main")).unwrap();
    fs::write(made.root.join(staged), b"rows").unwrap();
    let outcome = world.back_up();
    assert!(outcome.complete, "{:?}", outcome.problems);
    let to = world.dir.path().join("whole");
    assert!(world.restore(&outcome, &to).complete);
    assert_eq!(fs::read(to.join("t/d").join(staged)).unwrap(), b"rows");
    let to = world.dir.path().join("cut");
    let restored = world.try_restore(&outcome, &to, at("1"), &RestoreOptions::default()).unwrap();
    assert!(restored.complete && restored.notes.iter().any(|note| note.contains("not committed")), "{restored:?}");
    assert!(!to.join("t/d/_deeplake_wal").exists());
}

#[test]
fn ids_of_nodes_that_lead_elsewhere_write_and_remove_nothing_there() {
    for id in ["../../../victim", "/tmp/x", "..", ".", "a/../../x", ""] {
        let world = World::new();
        let path = world.lake().join("t/d");
        make_nodes(&path, &["one", "two"]);
        let victim = world.dir.path().join("victim");
        fs::create_dir_all(&victim).unwrap();
        fs::write(victim.join("precious"), "1").unwrap();
        let versions = path.join("version_control_info.json");
        let text = fs::read_to_string(&versions).unwrap();
        fs::write(&versions, text.replace("\"head\":", &format!("{id:?}:"))).unwrap();
        let outcome = world.back_up();
        let to = world.dir.path().join("back");
        let restored = world.try_restore(&outcome, &to, DeepLakeTargetOptions::default(), &RestoreOptions::default());
        let said = restored.map(|restored| (restored.complete, format!("{restored:?}")));
        let is_named = said.as_ref().map_or_else(
            |error| error.to_string().contains("has a name that none has"),
            |(complete, said)| !complete && said.contains("has a name that none has"),
        );
        assert!(is_named, "{id:?}: {said:?}");
        assert_eq!(fs::read(victim.join("precious")).unwrap(), b"1", "{id:?}");
        assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), 5, "{id:?}: lake, repo, cache, victim, back");
    }
}

#[test]
fn what_cannot_be_told_to_be_older_is_kept_beside() {
    let world = World::new();
    make_nodes(&world.lake().join("t/d"), &["one", "two"]);
    let outcome = world.back_up();
    let (to, there) = (world.dir.path().join("back"), world.dir.path().join("back/t/d"));
    assert!(world.restore(&outcome, &to).complete);
    let replaced = || {
        let always = RestoreOptions { overwrite: Some(Overwrite::Always), ..RestoreOptions::default() };
        let replaced = world.try_restore(&outcome, &to, DeepLakeTargetOptions::default(), &always).unwrap();
        assert!(replaced.complete, "{replaced:?}");
        let note = replaced.notes.into_iter().find(|note| note.contains("it cannot be told"));
        note.map(|note| PathBuf::from(note.rsplit(" is kept in ").next().unwrap().trim()))
    };
    // What names the nodes is torn: there may be more of them than anybody can say.
    make_nodes(&there, &["one", "two", "three"]);
    fs::write(there.join("version_control_info.json"), "{\"commits\": {").unwrap();
    let kept = replaced().unwrap();
    assert_eq!(fs::read(kept.join("versions/three/x/chunks/c")).unwrap(), b"three");
    assert!(replaced().is_none(), "it is the same");

    // Somebody's folder under the dataset's name.
    fs::remove_dir_all(&there).unwrap();
    fs::create_dir(&there).unwrap();
    fs::write(there.join("thesis.txt"), "all of it").unwrap();
    let kept = replaced().unwrap();
    assert_eq!(fs::read(kept.join("thesis.txt")).unwrap(), b"all of it");
    assert!(there.join("dataset_meta.json").exists());
}
