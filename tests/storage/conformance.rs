//! What every backend must do: `docs/storage.md` in checks. Each is given a place that is empty.

use rekeep::repo::{
    RepoError, Storage,
    storage::{Class, Created},
};
use std::{
    collections::BTreeSet,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Everything, each in a folder of its own. `objects` is how many make more than one page.
pub fn conforms(at: &dyn Fn(&str) -> Storage, objects: usize) {
    conforms_with(at, objects, &|_| true);
}

/// The same at a server that cannot have all of the odd names, which no repository has.
pub fn conforms_with(at: &dyn Fn(&str) -> Storage, objects: usize, may_have: &dyn Fn(&str) -> bool) {
    objects_are_created_once_read_listed_and_deleted(&at("basic"));
    ranges_are_exact_and_never_past_the_end(&at("ranges"));
    exactly_one_of_ten_creates_wins(&at("race"));
    odd_names_come_back_as_they_went(&at("names"), may_have);
    large_objects_come_back_whole(&at("large"));
    packs_are_compared(&at("packs"));
    every_page_is_listed(&at("pages"), objects);
}

/// The names, sorted.
fn names(storage: &Storage, prefix: &str) -> Vec<String> {
    let mut names: Vec<String> = storage.list(prefix).unwrap().into_iter().map(|listed| listed.name).collect();
    names.sort_unstable();
    names
}

pub fn objects_are_created_once_read_listed_and_deleted(storage: &Storage) {
    assert!(storage.list("").unwrap().is_empty(), "a place that is not there is an empty one");
    assert!(storage.list("packs/").unwrap().is_empty());
    assert!(matches!(storage.read("a"), Err(RepoError::Missing { .. })));
    assert!(matches!(storage.read_range("a", 0..1), Err(RepoError::Missing { .. })));
    assert_eq!(storage.len("a").unwrap(), None);
    storage.delete("a").unwrap();
    assert_eq!(storage.create("a/b/c", b"0123456789").unwrap(), Created::New);
    assert_eq!(storage.read("a/b/c").unwrap(), b"0123456789", "read after write");
    assert_eq!(storage.create("a/b/c", b"other").unwrap(), Created::Exists);
    assert_eq!(storage.read("a/b/c").unwrap(), b"0123456789", "a create changes nothing that is there");
    assert_eq!(storage.create("a/b/empty", b"").unwrap(), Created::New);
    assert_eq!(storage.create("a/b/empty", b"x").unwrap(), Created::Exists);
    assert_eq!(storage.read("a/b/empty").unwrap(), b"");
    assert_eq!(storage.len("a/b/empty").unwrap(), Some(0));
    assert_eq!(storage.len("a/b/c").unwrap(), Some(10));
    assert_eq!(storage.len("a/b").unwrap(), None, "a folder is no object");
    let listed: BTreeSet<(String, u64)> =
        storage.list("").unwrap().into_iter().map(|listed| (listed.name, listed.bytes)).collect();
    assert_eq!(listed, [("a/b/c".to_owned(), 10), ("a/b/empty".to_owned(), 0)].into());
    assert_eq!(names(storage, "a/"), ["a/b/c", "a/b/empty"]);
    assert_eq!(names(storage, "a/b/"), ["a/b/c", "a/b/empty"]);
    assert!(names(storage, "b/").is_empty());
    storage.delete("a/b/c").unwrap();
    storage.delete("a/b/c").unwrap();
    assert_eq!(storage.len("a/b/c").unwrap(), None);
    assert_eq!(names(storage, ""), ["a/b/empty"], "a listing shows nothing that is deleted");
    assert_eq!(storage.create("a/b/c", b"again").unwrap(), Created::New);
    assert_eq!(storage.read("a/b/c").unwrap(), b"again");
}

pub fn ranges_are_exact_and_never_past_the_end(storage: &Storage) {
    let bytes: Vec<u8> = (0..100_000_u32).map(|i| (i * 7 % 251) as u8).collect();
    storage.create("r", &bytes).unwrap();
    for range in [0..1, 0..100_000, 5..5, 99_999..100_000, 100_000..100_000, 1_000..70_000] {
        let want = &bytes[range.start as usize..range.end as usize];
        assert_eq!(storage.read_range("r", range.clone()).unwrap(), want, "{range:?}");
    }
    for range in [0..100_001, 99_999..100_001, 100_000..100_001, 200_000..200_010] {
        let error = storage.read_range("r", range.clone()).unwrap_err();
        assert!(matches!(error, RepoError::Damaged { .. }), "{range:?}: {error}");
    }
}

pub fn exactly_one_of_ten_creates_wins(storage: &Storage) {
    const WRITERS: u8 = 10;
    for round in 0..6 {
        // The folder is new each time: making it is part of the race.
        let name = format!("snapshots/{round}/0");
        let (wins, barrier) = (AtomicUsize::new(0), Barrier::new(usize::from(WRITERS)));
        let winner = AtomicUsize::new(usize::MAX);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (name, wins, barrier, winner) = (&name, &wins, &barrier, &winner);
                scope.spawn(move || {
                    barrier.wait();
                    if storage.create(name, &vec![writer; 20_000]).unwrap() == Created::New {
                        wins.fetch_add(1, Ordering::SeqCst);
                        winner.store(usize::from(writer), Ordering::SeqCst);
                    }
                    // Whoever has an answer sees the winner's bytes, all of them.
                    let seen = storage.read(name).unwrap();
                    assert_eq!(seen.len(), 20_000);
                    assert!(seen.iter().all(|byte| *byte == seen[0]));
                });
            }
        });
        assert_eq!(wins.into_inner(), 1, "round {round}");
        assert_eq!(usize::from(storage.read(&name).unwrap()[0]), winner.into_inner());
    }
}

/// Not names that begin with a dot (nginx lists none) or have a semicolon (wsgidav takes the rest for parameters): a repository
/// has none.
pub fn odd_names_come_back_as_they_went(storage: &Storage, may_have: &dyn Fn(&str) -> bool) {
    let odd = [
        "a b",
        "a+b",
        "a%20b",
        "a%2Fb",
        "a&b=c",
        "a#b",
        "a?b",
        "ä/ö/日本",
        "a'b\"c",
        "a,b",
        "(a)[b]{c}",
        "~a!$@",
        "UPPER/lower",
    ];
    let long = format!("long/{}", "n".repeat(200));
    let all: Vec<&str> = odd.into_iter().chain([long.as_str()]).filter(|name| may_have(name)).collect();
    for name in &all {
        assert_eq!(storage.create(name, name.as_bytes()).unwrap(), Created::New, "{name}");
    }
    for name in &all {
        assert_eq!(storage.read(name).unwrap(), name.as_bytes(), "{name}");
        assert_eq!(storage.create(name, b"x").unwrap(), Created::Exists, "{name}");
    }
    let mut want: Vec<String> = all.iter().map(|name| (*name).to_owned()).collect();
    want.sort_unstable();
    assert_eq!(names(storage, ""), want);
    for name in &all {
        storage.delete(name).unwrap();
        assert_eq!(storage.len(name).unwrap(), None, "{name}");
    }
    assert!(names(storage, "").is_empty());
}

pub fn large_objects_come_back_whole(storage: &Storage) {
    let bytes: Vec<u8> = (0..64 * 1024 * 1024_u32).map(|i| (i ^ (i >> 9)) as u8).collect();
    let bytes = bytes::Bytes::from(bytes);
    assert_eq!(storage.create_shared("large", &bytes, Class::Data).unwrap(), Created::New);
    assert_eq!(storage.create("large", b"x").unwrap(), Created::Exists);
    assert_eq!(storage.len("large").unwrap(), Some(bytes.len() as u64));
    assert!(storage.read("large").unwrap() == bytes, "the bytes differ");
    let range = 17_000_000..17_000_400;
    let want = &bytes[range.start as usize..range.end as usize];
    assert_eq!(storage.read_range("large", range).unwrap(), want);
    storage.delete("large").unwrap();
    assert!(names(storage, "").is_empty());
}

pub fn packs_are_compared(storage: &Storage) {
    let name = format!("packs/ab/{}", "ab".repeat(32));
    assert_eq!(storage.create(&name, b"half").unwrap(), Created::New);
    assert_eq!(storage.create(&name, b"half").unwrap(), Created::Exists);
    assert!(matches!(storage.create(&name, b"half and the rest"), Err(RepoError::Damaged { .. })));
}

pub fn every_page_is_listed(storage: &Storage, objects: usize) {
    const WRITERS: usize = 16;
    let name = |number: usize| format!("index/{:02x}/{number:06}", number % 7);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for number in (writer..objects).step_by(WRITERS) {
                    storage.create(&name(number), b"x").unwrap();
                }
            });
        }
    });
    let want: BTreeSet<String> = (0..objects).map(name).collect();
    let listed: BTreeSet<String> = storage.list("").unwrap().into_iter().map(|listed| listed.name).collect();
    assert!(want == listed, "{} listed of {}", listed.len(), want.len());
    let part = storage.list("index/03/").unwrap().len();
    assert_eq!(part, (0..objects).filter(|number| number % 7 == 3).count());
}

/// How many objects make more than one page: `REKEEP_TEST_OBJECTS`, or so many.
pub fn objects(usual: usize) -> usize {
    std::env::var("REKEEP_TEST_OBJECTS").map_or(usual, |text| text.parse().unwrap())
}
