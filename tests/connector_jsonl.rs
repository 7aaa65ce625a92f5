//! Lines of JSON as a source and as a target, through a repository: round trips, bad lines, huge lines, lines in any order.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(dead_code, unused_imports, reason = "the shared support has more than this test needs")]

#[path = "support/mod.rs"]
mod support;

use rekeep::{
    connector::{
        SourceUrl,
        jsonl::{JsonlSource, JsonlTarget},
    },
    ops::{
        OpsError,
        backup::{BackupOptions, BackupOutcome, backup},
        restore::{RestoreOptions, restore},
    },
    repo::Repository,
};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};
use support::{
    Heard, Rng, World,
    world::{plain, snapshot},
};
use tempfile::TempDir;

struct Room {
    dir: TempDir,
    world: World,
    repo: Repository,
}

fn url(path: &Path) -> SourceUrl {
    SourceUrl::parse(&format!("jsonl:{}", path.display())).unwrap()
}

impl Room {
    fn new() -> Self {
        let (world, repo) = World::new();
        Self { dir: tempfile::tempdir().unwrap(), world, repo }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn try_back_up(&self, name: &str) -> Result<BackupOutcome, OpsError> {
        let temp = self.path("temp");
        std::fs::create_dir_all(&temp).unwrap();
        let options = BackupOptions { temp_dir: Some(temp.clone()), ..plain() };
        let outcome =
            backup(&self.repo, &JsonlSource::new(&url(&self.path(name))).unwrap(), &options, &Heard::default());
        assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0, "nothing is left in the temporary folder");
        outcome
    }

    fn back_up(&self, name: &str) -> BackupOutcome {
        self.try_back_up(name).unwrap()
    }

    fn restore(&self, taken: &BackupOutcome, name: &str) -> String {
        let target = JsonlTarget::new(&url(&self.path(name))).unwrap();
        let options = RestoreOptions { verify: true, parallel: 2, ..RestoreOptions::default() };
        let taken = snapshot(&self.repo, taken.id.unwrap());
        let outcome = restore(&self.repo, &taken, &target, &options, &Heard::default()).unwrap();
        assert!(outcome.complete && outcome.different == 0, "{outcome:?}");
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// What there is of it, whether or not it is all.
    fn restore_to(&self, taken: &BackupOutcome, path: &Path) {
        let target = JsonlTarget::new(&url(path)).unwrap();
        let taken = snapshot(&self.repo, taken.id.unwrap());
        restore(&self.repo, &taken, &target, &RestoreOptions::default(), &Heard::default()).unwrap();
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }
}

/// A record of every kind of cell and field.
fn line(rng: &mut Rng, key: u64) -> String {
    let value = match rng.below(9) {
        0 => "{}".to_owned(),
        1 => format!("{{\"n\":{}}}", rng.word() as i64),
        2 => "{\"f\":1.5,\"g\":-0.0,\"h\":1e300}".to_owned(),
        3 => "{\"f\":{\"float\":\"NaN\",\"bits\":\"7ff8000000000001\"}}".to_owned(),
        4 => format!("{{\"s\":\"é\\u0000\\n{key}\",\"\":null,\"t\":true}}"),
        5 => "{\"base64:/w==\":false,\"b\":{\"base64\":\"AP8=\"},\"u\":{\"string_base64\":\"/w==\"}}".to_owned(),
        6 => "{\"list\":{\"tag\":20,\"base64\":\"kwEC\"}}".to_owned(),
        7 => format!("{{\"long\":\"{}\"}}", "x".repeat(rng.below(3000) as usize)),
        _ => format!("{{\"a\":{key},\"b\":\"{key}\",\"c\":null}}"),
    };
    let extra = match rng.below(5) {
        0 => ",\"generation\":7,\"stamp\":9".to_owned(),
        1 => ",\"expiry\":4102444800000,\"set\":\"users\"".to_owned(),
        2 => ",\"user_key\":{\"base64\":\"A21l\"},\"set\":{\"base64\":\"/w==\"}".to_owned(),
        _ => String::new(),
    };
    format!("{{\"key\":\"int:{key}\"{extra},\"value\":{value}}}\n")
}

fn shuffled(rng: &mut Rng, lines: &mut [String]) {
    for last in (1..lines.len()).rev() {
        lines.swap(last, rng.below(last as u64 + 1) as usize);
    }
}

#[test]
fn lines_in_any_order_are_one_state_and_come_back_in_key_order() {
    let room = Room::new();
    let mut rng = Rng::new(91);
    let mut lines: Vec<String> = (0..3_000).map(|key| line(&mut rng, key)).collect();
    room.write("in.jsonl", &lines.concat());
    let first = room.back_up("in.jsonl");
    assert_eq!((first.records, first.complete), (3_000, true));
    let text = room.restore(&first, "sorted.jsonl");
    shuffled(&mut rng, &mut lines);
    room.write("in.jsonl", &lines.concat());
    room.world.clock.advance(1_000);
    let second = room.back_up("in.jsonl");
    assert_eq!((second.parent, second.stats.new, second.stats.changed, second.stats.deleted), (first.id, 0, 0, 0));
    assert_eq!(room.restore(&second, "again.jsonl"), text);
    // What was written is a source again, and writes itself.
    let third = room.back_up("sorted.jsonl");
    assert_eq!(room.restore(&third, "third.jsonl"), text);
}

#[test]
fn more_lines_than_fit_memory_are_sorted_in_runs() {
    let room = Room::new();
    let mut rng = Rng::new(92);
    let (count, mut text) = (30_000_u64, String::new());
    for n in 0..count {
        // 7 919 is prime: every key once, in no order.
        let key = n * 7_919 % count;
        writeln!(
            text,
            "{{\"key\":\"int:{key}\",\"value\":{{\"v\":\"{}\"}}}}",
            "y".repeat(1_500 + rng.below(500) as usize)
        )
        .unwrap();
    }
    room.write("in.jsonl", &text);
    let taken = room.back_up("in.jsonl");
    assert_eq!(taken.records, count);
    let text = room.restore(&taken, "out.jsonl");
    let keys: Vec<u64> =
        text.lines().filter_map(|line| line.split_once("\"key\":\"int:")?.1.split('"').next()?.parse().ok()).collect();
    assert_eq!(keys, (0..count).collect::<Vec<_>>());
}

#[test]
fn keys_that_stand_twice_name_both_lines_and_commit_nothing() {
    let room = Room::new();
    let mut rng = Rng::new(93);
    let mut lines: Vec<String> = (0..500).map(|key| line(&mut rng, key)).collect();
    lines.push(line(&mut rng, 17));
    room.write("in.jsonl", &lines.concat());
    let error = room.try_back_up("in.jsonl").unwrap_err().to_string();
    assert!(error.contains("lines 18 and 501"), "{error}");
    assert!(room.repo.snapshots().unwrap().is_empty());
}

#[test]
fn a_bad_line_is_named_and_commits_nothing() {
    let room = Room::new();
    for (bad, words) in [
        ("not json", "line 3"),
        ("{\"key\":\"int:1\"", "line 3"),
        ("{\"value\":{}}", "line 3"),
        ("{\"key\":\"int:9\",\"value\":{\"a\":[1]}}", "line 3"),
        ("{\"key\":\"int:9\",\"value\":{\"a\":99999999999999999999}}", "99999999999999999999 does not fit"),
        ("{\"key\":\"int:9\",\"value\":{\"\\\\\":-9223372036854775809}}", "-9223372036854775809 does not fit"),
        ("{\"key\":\"str\",\"value\":{}}", "line 3"),
        ("{\"key\":\"int:9\",\"value\":{\"a\":1,\"a\":2}}", "line 3"),
        ("{\"key\":\"int:9\",\"colour\":1,\"value\":{}}", "colour"),
        ("{\"key\":\"int:9\",\"value\":{\"a\":{\"base64\":\"*\"}}}", "line 3"),
        ("[1]", "line 3"),
        ("\u{0}", "line 3"),
    ] {
        room.write("bad.jsonl", &format!("{{\"key\":\"int:1\",\"value\":{{}}}}\n\n{bad}\n"));
        let error = room.try_back_up("bad.jsonl").unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("bad.jsonl"), "{bad}: {error}");
    }
    std::fs::write(room.path("bad.jsonl"), b"{\"key\":\"int:1\",\"value\":{}}\n{\"key\":\"str:\xff\",\"value\":{}}\n")
        .unwrap();
    let error = room.try_back_up("bad.jsonl").unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
    assert!(room.repo.snapshots().unwrap().is_empty());
}

#[test]
fn long_numbers_that_fit_and_digits_in_strings_are_kept() {
    let room = Room::new();
    let value = "{\"a\":-9223372036854775808,\"b\":9223372036854775807,\"c\":100000000000000000000.0,\"d\":1e30,\"99999999999999999999\":\"x\\\"99999999999999999999\"}";
    room.write("in.jsonl", &format!("{{\"key\":\"int:1\",\"value\":{value}}}\n"));
    let text = room.restore(&room.back_up("in.jsonl"), "out.jsonl");
    for part in ["-9223372036854775808", "9223372036854775807", "\"x\\\"99999999999999999999\""] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_huge_line_comes_back_and_a_cut_last_line_is_an_error() {
    let room = Room::new();
    let huge = "z".repeat(20 << 20);
    let text = format!("{{\"key\":\"str:a\",\"value\":{{\"v\":\"{huge}\"}}}}\n{{\"key\":\"str:b\",\"value\":{{}}}}");
    // The last line needs no newline.
    room.write("in.jsonl", &text);
    let taken = room.back_up("in.jsonl");
    assert_eq!(taken.records, 2);
    assert!(room.restore(&taken, "out.jsonl").contains(&huge));
    room.write("in.jsonl", &text[..text.len() / 2]);
    let error = room.try_back_up("in.jsonl").unwrap_err().to_string();
    assert!(error.contains("line 1"), "{error}");
}

#[test]
fn an_empty_file_and_windows_line_ends_are_read() {
    let room = Room::new();
    room.write("in.jsonl", "");
    assert_eq!(room.back_up("in.jsonl").records, 0);
    room.write("in.jsonl", "\u{feff}{\"key\":\"int:1\",\"value\":{}}\r\n\r\n{\"key\":\"int:2\",\"value\":{}}\r\n");
    assert_eq!(room.back_up("in.jsonl").records, 2);
}

#[test]
fn a_key_that_is_too_long_is_named_and_the_rest_is_kept() {
    let room = Room::new();
    room.write(
        "in.jsonl",
        &format!("{{\"key\":\"int:1\",\"value\":{{}}}}\n{{\"key\":\"str:{}\",\"value\":{{}}}}\n", "k".repeat(70_000)),
    );
    let taken = room.back_up("in.jsonl");
    assert_eq!((taken.records, taken.complete), (1, false));
    assert!(taken.problems[0].contains("line 2"), "{:?}", taken.problems);
}

#[test]
fn ordinary_lines_are_records_and_the_file_comes_back_byte_for_byte() {
    let room = Room::new();
    for (number, text) in [
        "{\"text\":\"x\"}\n{\"text\": \"y\", \"n\": 1.50}\n",
        "{\"a\":1}\r\n\r\n{ \"a\" : [1, {\"b\":null}] }\r\n",
        "\n\n{\"a\":\"\\u0141\u{f3}d\u{17a}\"}\n   \n\t{\"a\":99999999999999999999999999}\n\n\n",
        "{\"last\":\"has no end\"}",
        "\u{feff}{\"mark\":true}\n[1,2]\n\"text\"\n5\n{\"same\":1}\n{\"same\":1}\n",
        "{\"key\":\"not ours\"}\n{\"value\":{}}\n{\"collection\":\"nor this\",\"name\":1}\n",
        // The first line may be any JSON, and what stands before it is kept, too.
        "[1,2]\n{}\n",
        "  \n\t\n\n\r\n7\n",
        "",
        "\n",
        "\n  \n \t",
        "\u{feff}",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("in{number}.jsonl");
        room.write(&name, text);
        let taken = room.back_up(&name);
        let back = room.restore(&taken, &format!("out{number}.jsonl"));
        assert_eq!(back, text);
        let changed =
            format!("{text}{}{{\"new\":true}}\n", if text.is_empty() || text.ends_with('\n') { "" } else { "\n" });
        room.write(&name, &changed);
        let again = room.back_up(&name);
        assert_eq!(room.restore(&again, &format!("again{number}.jsonl")), changed);
    }
}

#[test]
fn ordinary_lines_take_a_field_for_their_key() {
    let room = Room::new();
    let url = |query: &str| SourceUrl::parse(&format!("jsonl:{}?{query}", room.path("in.jsonl").display())).unwrap();
    room.write(
        "in.jsonl",
        "{\"id\":2,\"v\": \"b\"}\n{\"v\":\"a\",\"id\":1}\n{\"v\":\"none\"}\n{\"id\":\"x\"}\n[5]\n{\"id\":1e999}\n{\"id\":1,\"id\":2}\n",
    );
    let source = JsonlSource::new(&url("key=id")).unwrap();
    let taken = backup(&room.repo, &source, &plain(), &Heard::default()).unwrap();
    assert!(!taken.complete, "a line without the field is missing");
    for line in ["line 3", "line 5", "line 6", "line 7"] {
        assert!(taken.problems.iter().any(|problem| problem.contains(line)), "{line}: {:?}", taken.problems);
    }
    let target =
        JsonlTarget::new(&SourceUrl::parse(&format!("jsonl:{}", room.path("out.jsonl").display())).unwrap()).unwrap();
    let options = RestoreOptions { verify: true, ..RestoreOptions::default() };
    let outcome =
        restore(&room.repo, &snapshot(&room.repo, taken.id.unwrap()), &target, &options, &Heard::default()).unwrap();
    assert_eq!((outcome.records, outcome.different), (3, 0));
    let text = std::fs::read_to_string(room.path("out.jsonl")).unwrap();
    assert_eq!(text, "{\"v\":\"a\",\"id\":1}\n{\"id\":2,\"v\": \"b\"}\n{\"id\":\"x\"}\n");
    // A line that looks like one of ours is ordinary if that is said.
    room.write("in.jsonl", "{\"key\":\"int:5\",\"value\":{\"a\":1}}\n");
    let source = JsonlSource::new(&url("plain=yes")).unwrap();
    let taken = backup(&room.repo, &source, &plain(), &Heard::default()).unwrap();
    assert_eq!(room.restore(&taken, "same.jsonl"), "{\"key\":\"int:5\",\"value\":{\"a\":1}}\n");
    for bad in ["key=", "plain=no", "key=a&key=b", "key=a&plain=yes", "colour=1"] {
        assert!(JsonlSource::new(&url(bad)).is_err(), "{bad}");
    }
}

#[test]
fn a_file_without_one_line_of_json_is_none_and_commits_nothing() {
    let room = Room::new();
    for bad in ["{\"text\":", "{} {}", "nonsense", "{\"n\":NaN}"] {
        for text in [format!("{bad}\n"), format!("{bad}\n").repeat(5000)] {
            room.write("bad.jsonl", &text);
            let error = room.try_back_up("bad.jsonl").unwrap_err().to_string();
            assert!(error.contains("line 1 of") && error.contains("bad.jsonl"), "{bad}: {error}");
            assert!(error.contains("it is no JSON"), "{bad}: {error}");
        }
    }
    room.write("bad.jsonl", "{\"a\":1}\n{\"b\":2}\n");
    let source =
        JsonlSource::new(&SourceUrl::parse(&format!("jsonl:{}?key=id", room.path("bad.jsonl").display())).unwrap());
    let error = backup(&room.repo, &source.unwrap(), &plain(), &Heard::default()).unwrap_err().to_string();
    assert!(error.contains("it has no field `id`"), "{error}");
    assert!(room.repo.snapshots().unwrap().is_empty());
}

/// What whoever writes such a file leaves when he is looked at midway, or when his machine stops.
#[test]
fn torn_lines_are_kept_as_they_are_by_number_and_left_out_by_field() {
    let room = Room::new();
    let torn: [&[u8]; 4] = [
        b"{\"id\":1}\n{\"id\":",
        b"\"id\":0}\n{\"id\":1}\n",
        b"{\"id\":1}\n\0\0\0\0\n{\"id\":2}\n",
        b"{\"id\":1,\"v\":\"\xff\"}\n{\"id\":1}\n",
    ];
    for (number, text) in torn.into_iter().enumerate() {
        let (name, out) = (format!("in{number}.jsonl"), room.path(&format!("out{number}.jsonl")));
        std::fs::write(room.path(&name), text).unwrap();
        let taken = room.back_up(&name);
        assert!(taken.complete, "{:?}", taken.problems);
        room.restore_to(&taken, &out);
        assert_eq!(std::fs::read(&out).unwrap(), text);
        let url = format!("jsonl:{}?key=id", room.path(&name).display());
        let source = JsonlSource::new(&SourceUrl::parse(&url).unwrap()).unwrap();
        let taken = backup(&room.repo, &source, &plain(), &Heard::default()).unwrap();
        assert!(!taken.complete && taken.problems.len() == 1, "{:?}", taken.problems);
        assert!(taken.problems[0].starts_with("line ") && taken.stats.new > 0, "{taken:?}");
    }
}

#[test]
fn of_ordinary_lines_with_one_key_the_last_stays_and_the_others_are_named() {
    let room = Room::new();
    room.write("in.jsonl", "{\"id\":1,\"v\":1}\n{\"id\":2}\n{\"id\":1,\"v\":2}\n{\"id\":1,\"v\":3}\n");
    let url = format!("jsonl:{}?key=id", room.path("in.jsonl").display());
    let source = JsonlSource::new(&SourceUrl::parse(&url).unwrap()).unwrap();
    let taken = backup(&room.repo, &source, &plain(), &Heard::default()).unwrap();
    assert!(!taken.complete);
    assert!(
        taken.problems.iter().any(|it| it.contains("2 lines") && it.contains("line 1 (line 3 stays)")),
        "{taken:?}"
    );
    room.restore_to(&taken, &room.path("out.jsonl"));
    let text = std::fs::read_to_string(room.path("out.jsonl")).unwrap();
    assert_eq!(text, "{\"id\":1,\"v\":3}\n{\"id\":2}\n");
}
