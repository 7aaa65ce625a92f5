//! Datasets that are damaged, hostile, or moved away while they are read: what is wrong is named, and nothing else is lost.

use super::*;
use rekeep::{
    connector::{Identity, SessionOptions, Source, SourceSession},
    ops::Progress,
};
use std::os::unix::ffi::OsStrExt as _;

/// A source that does something once its datasets were looked at and nothing is read yet.
struct Meanwhile<F: Fn() + Send + Sync>(DeepLakeSource, F);

impl<F: Fn() + Send + Sync> Source for Meanwhile<F> {
    fn identity(&self) -> Identity {
        self.0.identity()
    }
    fn begin(&self, options: &SessionOptions) -> Result<Box<dyn SourceSession>, rekeep::connector::ConnectorError> {
        let session = self.0.begin(options)?;
        (self.1)();
        Ok(session)
    }
}

fn back_up_while(world: &World, meanwhile: impl Fn() + Send + Sync) -> BackupOutcome {
    let source = DeepLakeSource::new(&url(&world.lake()), DeepLakeOptions::default()).unwrap();
    let progress: &dyn Progress = &Silent;
    backup(&world.repo, &Meanwhile(source, meanwhile), &BackupOptions::default(), progress).unwrap()
}

fn says(outcome: &BackupOutcome, words: &str) {
    assert!(!outcome.complete);
    assert!(outcome.problems.iter().any(|problem| problem.contains(words)), "{words}: {:?}", outcome.problems);
}

#[test]
fn a_block_that_is_missing_or_short_or_long_is_named_and_what_was_saved_of_it_stands() {
    let world = World::new();
    let mut made = world.made("t/d");
    made.commit(&[("a", b"0123456789"), ("b", b"0123456789"), ("c", b"0123456789")]);
    made.commit(&[("d", b"other")]);
    rest();
    let whole = world.back_up();
    assert!(whole.complete);
    fs::remove_file(made.block("a")).unwrap();
    fs::write(made.block("b"), b"01234").unwrap();
    fs::write(made.block("c"), b"0123456789x").unwrap();
    let outcome = world.back_up();
    says(&outcome, &format!("{}: it is not there", Made::block_name("a")));
    says(&outcome, &format!("{}: it has 5 bytes, where the log says 10", Made::block_name("b")));
    says(&outcome, &format!("{}: it has 11 bytes", Made::block_name("c")));
    assert_eq!(outcome.records, whole.records, "what the parent holds of them stands");
    let to = world.dir.path().join("back");
    assert!(world.restore(&outcome, &to).missing.is_empty());
    assert_eq!(fs::read(to.join("t/d").join(Made::block_name("a"))).unwrap(), b"0123456789");

    // Without a parent it is not in the snapshot, and a restore says so again.
    let fresh = World::new();
    let mut made = fresh.made("t/d");
    made.commit(&[("a", b"0123456789")]);
    fs::remove_file(made.block("a")).unwrap();
    let outcome = fresh.back_up();
    says(&outcome, "it is not there");
    let restored = fresh.restore(&outcome, &fresh.dir.path().join("back"));
    assert!(!restored.complete && restored.missing[0].contains("the log names it"), "{restored:?}");
}

#[test]
fn a_foreign_block_is_refused_by_name_and_never_read() {
    let world = World::new();
    fs::write(world.dir.path().join("secret"), "secret").unwrap();
    let mut made = world.made("t/d");
    made.commit(&[("a", b"1")]);
    for path in ["../../../secret", "/etc/passwd", "a/../../x", "_deeplake_log/_meta/next_base", "x/", "", "a\\u0000b"]
    {
        made.commit_lines(&format!("{{\"updateData\":{{\"f\":{{\"p\":\"{path}\",\"b\":6}}}}}}"));
    }
    let outcome = world.back_up();
    says(&outcome, "it leads out of the dataset");
    assert_eq!(outcome.problems.iter().filter(|one| one.contains("leads out")).count(), 7, "{:?}", outcome.problems);
    let to = world.dir.path().join("back");
    world.restore(&outcome, &to);
    assert!(!to.join("secret").exists() && files(&to).values().all(|bytes| bytes != b"secret"));
}

#[test]
fn a_torn_entry_and_a_gap_are_named_and_what_was_saved_of_them_stands() {
    let world = World::new();
    let mut made = world.made("t/d");
    for name in ["a", "b", "c"] {
        made.commit(&[(name, b"1")]);
    }
    let whole = world.back_up();
    let entry = fs::read(made.entry(2)).unwrap();
    fs::write(made.entry(2), &entry[..entry.len() - 3]).unwrap();
    let torn = world.back_up();
    says(&torn, "0000000002m00000000.jsonl.lz4: its LZ4 block is torn");
    let to = world.dir.path().join("back");
    assert!(world.restore(&torn, &to).missing.is_empty(), "the parent's entry stands");
    assert_eq!(files(&to).len() as u64, whole.records);

    fs::remove_file(made.entry(2)).unwrap();
    let gap = world.back_up();
    says(&gap, "there is no entry 2, though there are later ones");
    let to = world.dir.path().join("again");
    assert!(world.restore(&gap, &to).missing.is_empty(), "it stands still");
}

#[test]
fn a_link_or_fifo_in_place_of_a_block_is_not_followed() {
    let world = World::new();
    fs::write(world.dir.path().join("elsewhere"), "0123456789").unwrap();
    let mut made = world.made("t/d");
    made.commit(&[("a", b"0123456789"), ("b", b"0123456789")]);
    for name in ["a", "b"] {
        fs::remove_file(made.block(name)).unwrap();
    }
    std::os::unix::fs::symlink(world.dir.path().join("elsewhere"), made.block("a")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(made.block("b")).status().unwrap();
    assert!(fifo.success());
    let outcome = world.back_up();
    assert_eq!(
        outcome.problems.iter().filter(|one| one.contains("no regular file")).count(),
        2,
        "{:?}",
        outcome.problems
    );
}

#[test]
fn a_dataset_deleted_or_moved_while_it_is_read_is_said_to_be_so() {
    let world = World::new();
    let mut made = world.made("t/d");
    made.commit(&[("a", &vec![1; 200_000]), ("b", &vec![2; 200_000])]);
    world.made("t/stays").commit(&[("a", b"1")]);
    let whole = world.back_up();
    let (from, to) = (world.lake().join("t/d"), world.dir.path().join("moved"));
    let outcome = back_up_while(&world, || fs::rename(&from, &to).unwrap());
    says(&outcome, "t/d: it was deleted or moved while it was read");
    assert_eq!(outcome.records, whole.records, "what the parent holds stands");
}

#[test]
fn a_commit_made_meanwhile_is_not_in_it_and_what_it_added_is_left_for_the_next() {
    let world = World::new();
    let mut made = world.made("t/d");
    made.commit(&[("a", b"1")]);
    let other = std::sync::Mutex::new(made);
    let outcome = back_up_while(&world, || other.lock().unwrap().commit(&[("b", b"2")]));
    assert!(outcome.complete, "{:?}", outcome.problems);
    let to = world.dir.path().join("back");
    assert!(world.restore(&outcome, &to).complete);
    assert!(to.join("t/d").join(Made::block_name("a")).exists());
    assert!(!to.join("t/d").join(Made::block_name("b")).exists());
    assert_eq!(world.back_up().stats.new, 2);
}

#[test]
fn blocks_of_a_commit_under_way_are_left_out_and_told() {
    let world = World::new();
    let mut made = world.made("t/d");
    made.commit(&[("a", b"1")]);
    fs::write(made.block("z"), "not committed").unwrap();
    let outcome = world.back_up();
    assert!(outcome.complete);
    assert_eq!(outcome.records, 5, "two entries, two next numbers, a block");
}

#[test]
fn a_folder_of_no_known_version_and_one_for_later_readers_are_copied_and_named() {
    let world = World::new();
    let odd = world.lake().join("t/odd");
    fs::create_dir_all(&odd).unwrap();
    fs::write(odd.join("dataset_metadata.json"), "{}").unwrap();
    fs::write(odd.join("data"), "kept").unwrap();
    let made = world.made("t/later");
    made.meta(2, "{\"setMinReader\":{\"minReader\":5}}");
    fs::create_dir(made.root.join("new")).unwrap();
    fs::write(made.root.join("new/form"), "kept too").unwrap();
    let outcome = world.back_up();
    says(&outcome, "t/odd: it is written in no version that is known");
    says(&outcome, "t/later: it asks for readers of version 5");
    let to = world.dir.path().join("back");
    world.restore(&outcome, &to);
    assert_eq!(fs::read(to.join("t/odd/data")).unwrap(), b"kept");
    assert_eq!(fs::read(to.join("t/later/new/form")).unwrap(), b"kept too");

    let empty = World::new();
    let error = empty.try_back_up(DeepLakeOptions::default()).unwrap_err().to_string();
    assert!(error.contains("a dataset (a folder with _deeplake_log"), "{error}");
}

#[test]
fn a_sum_of_the_log_names_blocks_like_any_entry() {
    let world = World::new();
    let mut made = world.made("t/d");
    made.commit(&[("a", b"1")]);
    fs::write(made.block("sum"), "12").unwrap();
    let line = format!("{{\"updateData\":{{\"f\":{{\"p\":\"{}\",\"b\":2}}}}}}", Made::block_name("sum"));
    fs::write(made.branch(MAIN).join("0000000001o0000000a.jsonl"), line).unwrap();
    let outcome = world.back_up();
    assert!(outcome.complete, "{:?}", outcome.problems);
    let to = world.dir.path().join("back");
    assert!(world.restore(&outcome, &to).complete);
    assert_eq!(fs::read(to.join("t/d").join(Made::block_name("sum"))).unwrap(), b"12");
}

#[test]
fn lines_that_may_name_blocks_in_a_new_way_bring_every_file_along() {
    let world = World::new();
    let mut made = world.made("t/d");
    made.commit(&[("a", b"1")]);
    fs::write(made.block("index"), "an index").unwrap();
    made.commit_lines("{\"addInvertedBlock\":{\"q\":\"somewhere\"}}");
    let outcome = world.back_up();
    assert!(outcome.complete, "{:?}", outcome.problems);
    let to = world.dir.path().join("back");
    world.restore(&outcome, &to);
    assert_eq!(fs::read(to.join("t/d").join(Made::block_name("index"))).unwrap(), b"an index");
}

#[test]
fn blocks_of_indexes_are_looked_for_like_any() {
    let world = World::new();
    let mut made = world.made("t/d");
    let (index, matrix) = ("2zz2ep/i/a2/index000000000000000000000000", Made::block_name("matrix"));
    fs::create_dir_all(made.root.join("2zz2ep/i/a2")).unwrap();
    fs::create_dir_all(made.root.join("2zz2ep/a2")).unwrap();
    fs::write(made.root.join(index), "index").unwrap();
    fs::write(made.root.join("2zz2ep/i/a2/notcommitted000000000000000000"), "later").unwrap();
    fs::write(made.block("matrix"), "matrix").unwrap();
    made.commit_lines(&format!(
        "{{\"addInvertedBlock\":{{\"i\":{{\"i\":[{{\"t\":{{\"p\":\"{index}\",\"b\":5}}}}]}}}}}}\n\
         {{\"addMatrixBlock\":{{\"c\":1,\"p\":{{\"p\":[\"\"],\"b\":[6],\"x\":\"{matrix}\"}},\"b\":1}}}}\n\
         {{\"setName\":{{\"name\":\"n\"}}}}"
    ));
    let outcome = world.back_up();
    assert!(outcome.complete, "{:?}", outcome.problems);
    assert_eq!(outcome.records, 6, "two entries, two next numbers, two blocks");
    fs::remove_file(made.block("matrix")).unwrap();
    fs::write(made.root.join(index), "ind").unwrap();
    let outcome = World::back_up(&world);
    says(&outcome, &format!("{matrix}: it is not there"));
    says(&outcome, &format!("{index}: it has 3 bytes, where the log says 5"));
}

#[test]
fn rows_that_are_staged_are_kept_though_a_commit_takes_them_over_meanwhile() {
    let world = World::new();
    let mut made = world.made("t/d");
    made.commit(&[("a", b"1")]);
    let staged = "_deeplake_wal/main/0001796025243_25213dcc_4.wal";
    fs::create_dir_all(made.root.join("_deeplake_wal/main")).unwrap();
    fs::write(made.root.join(staged), b"rows").unwrap();
    let outcome = back_up_while(&world, || fs::remove_file(world.lake().join("t/d").join(staged)).unwrap());
    assert!(outcome.complete, "{:?}", outcome.problems);
    let to = world.dir.path().join("back");
    assert!(world.restore(&outcome, &to).complete);
    assert_eq!(fs::read(to.join("t/d").join(staged)).unwrap(), b"rows");
    assert_eq!(world.back_up().stats.deleted, 1, "it is in the log by then");
}

#[test]
fn datasets_that_are_too_deep_or_behind_a_link_are_named() {
    let world = World::new();
    world.made("t/d").commit(&[("a", b"1")]);
    world.made("team/project/deep").commit(&[("a", b"1")]);
    Made::new(&world.dir.path().join("elsewhere/far")).commit(&[("a", b"1")]);
    std::os::unix::fs::symlink(world.dir.path().join("elsewhere/far"), world.lake().join("t/far")).unwrap();
    std::os::unix::fs::symlink(world.lake().join("t/d"), world.lake().join("t/again")).unwrap();
    let outcome = world.back_up();
    says(&outcome, "team/project/deep: a dataset that lies deeper");
    says(&outcome, "t/far: a link, not followed, to datasets");
    assert!(!outcome.problems.iter().any(|problem| problem.contains("again")), "{:?}", outcome.problems);
    // Who chooses some has all that was chosen.
    let chosen = DeepLakeOptions { tenant: Some("t".to_owned()), ..DeepLakeOptions::default() };
    assert!(world.try_back_up(chosen).unwrap().complete);
}

#[test]
fn a_log_that_contradicts_itself_is_named() {
    let world = World::new();
    for name in ["linked", "bare", "tail", "unborn"] {
        let mut made = world.made(&format!("t/{name}"));
        made.commit(&[("a", b"1")]);
        made.commit(&[("b", b"1")]);
        made.meta(2, &format!(
            "{{\"createTag\":{{\"id\":\"1\",\"name\":\"two\",\"branch_id\":\"{MAIN}\",\"version\":\"0000000002m00000000\"}}}}"
        ));
    }
    let at = |name: &str| world.lake().join("t").join(name);
    let log = |name: &str| at(name).join("_deeplake_log");
    let moved = world.dir.path().join("moved");
    fs::rename(log("linked").join(MAIN), &moved).unwrap();
    std::os::unix::fs::symlink(&moved, log("linked").join(MAIN)).unwrap();
    fs::remove_dir_all(log("bare").join("_meta")).unwrap();
    fs::remove_file(log("tail").join(MAIN).join("0000000002m00000000.jsonl.lz4")).unwrap();
    fs::create_dir(log("unborn").join("5e")).unwrap();
    fs::copy(
        log("tail").join(MAIN).join("0000000001m00000000.jsonl.lz4"),
        log("unborn").join("5e/0000000001m00000000.jsonl.lz4"),
    )
    .unwrap();
    fs::write(at("unborn").join(std::ffi::OsStr::from_bytes(b"odd\xff")), "x").unwrap();
    let outcome = world.back_up();
    says(&outcome, &format!("t/linked: _deeplake_log/{MAIN}: it is no regular file"));
    says(
        &outcome,
        "t/linked: _deeplake_log/8a057f1faa67a352506e9935f50881b3: tag two names version 0000000002m00000000",
    );
    says(&outcome, "t/bare: _deeplake_log/_meta: it has no entry");
    says(&outcome, "t/tail: _deeplake_log/8a057f1faa67a352506e9935f50881b3: tag two names version 0000000002m00000000");
    says(&outcome, "t/unborn: _deeplake_log/5e: no entry says that this branch began");
    says(&outcome, "its name is no text");
    let snapshot = world.snapshot(&outcome);
    let linked = snapshot.collections.iter().find(|one| one.name == "t/linked").unwrap().records;
    assert_eq!(linked, 5, "blocks that a branch behind a link may name are copied");
}

#[test]
fn lengths_beyond_all_reason_are_only_named() {
    let world = World::new();
    let mut made = world.made("t/d");
    made.commit(&[("a", b"1")]);
    let lines: Vec<String> = (0..3)
        .map(|n| {
            let path = Made::block_name(&n.to_string());
            format!("{{\"addBlock\":{{\"d\":{{\"p\":[\"\"],\"b\":[{}],\"x\":\"{path}\"}},\"c\":1}}}}", u64::MAX)
        })
        .collect();
    made.commit_lines(&lines.join("\n"));
    let outcome = world.back_up();
    says(&outcome, &format!("{}: it is not there", Made::block_name("2")));
}

#[test]
fn nodes_that_cannot_be_told_leave_what_was_saved_of_them() {
    let world = World::new();
    let root = world.lake().join("t/d");
    make_nodes(&root, &["one", "two"]);
    let whole = world.back_up();
    fs::write(root.join("version_control_info.json"), "").unwrap();
    let outcome = world.back_up();
    says(&outcome, "version_control_info.json: it is empty; which nodes are committed cannot be told");
    assert_eq!(outcome.records, whole.records);
    let to = world.dir.path().join("back");
    let restored = world.restore(&outcome, &to);
    assert!(restored.missing.is_empty(), "{restored:?}");
    let there = to.join("t/d");
    assert_eq!(fs::read(there.join("versions/two/x/chunks/c")).unwrap(), b"two");
    assert!(fs::read_to_string(there.join("version_control_info.json")).unwrap().contains("two"));
}

#[test]
fn a_dataset_that_cannot_be_looked_at_keeps_no_other_from_being_read_and_what_was_saved_of_it_stands() {
    let world = World::new();
    make_nodes(&world.lake().join("t/bad"), &["one"]);
    let mut good = world.made("t/good");
    good.commit(&[("a", b"1")]);
    let first = world.back_up();
    assert!(first.complete, "{:?}", first.problems);
    let expected = files(&world.lake());
    // Longer than anything that names nodes.
    let versions = world.lake().join("t/bad/version_control_info.json");
    let whole = fs::read(&versions).unwrap();
    fs::File::create(&versions).unwrap().set_len(65 << 20).unwrap();
    good.commit(&[("b", b"2")]);
    let second = world.back_up();
    says(&second, "t/bad: it cannot be looked at");
    let to = world.dir.path().join("back");
    world.restore(&second, &to);
    let back = files(&to);
    assert!(expected.iter().filter(|(name, _)| name.starts_with("t/bad/")).all(|(name, bytes)| back[name] == *bytes));
    assert!(back.keys().any(|name| name.starts_with("t/good/") && name.ends_with('b')), "{back:?}");
    // Where there is no other, it is an error.
    let alone = DeepLakeSource::new(&url(&world.lake().join("t/bad")), DeepLakeOptions::default()).unwrap();
    let error = backup(&world.repo, &alone, &BackupOptions::default(), &Silent).unwrap_err();
    assert!(error.to_string().contains("look at the dataset"), "{error}");
    fs::write(&versions, whole).unwrap();
    assert!(world.back_up().complete);
}
