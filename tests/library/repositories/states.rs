//! What is in the golden repository `stack`.

use crate::support::{Coll, Db, Rec};
use rekeep::record::{KeyCodec, Tag};

pub(super) fn typed(codec: KeyCodec, key: &str) -> Vec<u8> {
    codec.parse(key).unwrap()
}

/// Text that compresses, of which no stretch comes twice.
fn counted(lines: usize) -> Vec<u8> {
    (0..lines)
        .flat_map(|n| format!("{n:07} the quick brown fox jumps over the lazy dog, again\n").into_bytes())
        .collect()
}

/// What keys, cells and rows there can be.
pub(super) fn first_state(now: u64) -> Db {
    let mut db = Db::new();
    let mut keyed = |name: &str, codec: KeyCodec, keys: &[&str]| {
        let mut coll = Coll::new(codec);
        for key in keys {
            coll.records.insert(typed(codec, key), Rec::text(key));
        }
        db.insert(name.to_owned(), coll);
    };
    keyed("int", KeyCodec::Int, &["int:-9223372036854775808", "int:-1", "int:0", "int:9223372036854775807"]);
    let edges = [
        "null",
        "int:9007199254740993",
        "f64:9007199254740994.0",
        "int:-9223372036854775808",
        "f64:-0.0",
        "str:",
        "str:a",
        "str:é",
        "hex:00ff00",
        "hex:",
        "int:1,str:a,null,hex:00",
        "int:9223372036854775807",
    ];
    keyed("tuple", KeyCodec::Tuple, &edges);
    keyed("text16", KeyCodec::TupleUtf16le, &["str:a", "str:é€𝄞", "int:1,str:zwei"]);
    keyed("typed", KeyCodec::Typed, &["str:a", "int:5", "null"]);
    keyed("path", KeyCodec::Path, &["./", "dir/", "dir/file"]);
    let mut digests = Coll::new(KeyCodec::Digest);
    for n in 0..6_u8 {
        let mut rec = Rec::of(&[(b"bin", Tag::INTEGER, &i64::from(n).to_be_bytes())]);
        rec.set = if n % 2 == 0 { b"even".to_vec() } else { Vec::new() };
        rec.generation = u32::from(n) + 1;
        rec.user_key = (n % 3 != 0).then(|| vec![3, b'u', b'0' + n]);
        digests.records.insert([&[0, n][..], &[255 - n; 20]].concat(), rec);
    }
    db.insert("digest".to_owned(), digests);
    // Over, at its end and beyond it at the first snapshot, and again at the second, a second later.
    let mut expiring = Coll::new(KeyCodec::Int);
    for (n, millis) in
        [now - 1, now, now + 1, now + 999, now + 1000, now + 1001, now + 86_400_000].into_iter().enumerate()
    {
        expiring.records.insert(typed(KeyCodec::Int, &format!("int:{n}")), Rec::text("expires").expiring(millis));
    }
    expiring.records.insert(typed(KeyCodec::Int, "int:99"), Rec::text("stays"));
    db.insert("expiring".to_owned(), expiring);
    // More than 64 names, the rest of which are in none of the columns.
    let mut wide = Coll::new(KeyCodec::Int);
    for row in 0..6_i64 {
        let names = (0..90_i64).filter(|column| column % (row + 1) == 0 || *column < 10);
        let cells = names.map(|column| {
            (format!("column {column:02}").into_bytes(), (Tag::INTEGER.0, (row * column).to_be_bytes().to_vec()))
        });
        let rec = Rec { cells: cells.collect(), stamp: row as u64 * 7, ..Rec::default() };
        wide.records.insert(typed(KeyCodec::Int, &format!("int:{row}")), rec);
    }
    wide.records.insert(typed(KeyCodec::Int, "int:100"), Rec::default());
    db.insert("wide".to_owned(), wide);
    // Columns whose tags and lengths differ from row to row.
    let mut mixed = Coll::new(KeyCodec::Int);
    for n in 0..40_i64 {
        let cell: (Tag, Vec<u8>) = match n % 5 {
            0 => (Tag::NULL, Vec::new()),
            1 => (Tag::INTEGER, n.to_be_bytes().to_vec()),
            2 => (Tag::FLOAT, (n as f64 / 3.0).to_be_bytes().to_vec()),
            3 => (Tag::STRING, "x".repeat(n as usize).into_bytes()),
            _ => (Tag::BLOB, vec![n as u8; 3]),
        };
        let flag = [(n % 2) as u8];
        mixed.records.insert(
            typed(KeyCodec::Int, &format!("int:{n}")),
            Rec::of(&[(b"cell", cell.0, &cell.1), (b"flag", Tag::BOOL, &flag), (b"z\xff", Tag(23), b"{}")]),
        );
    }
    db.insert("mixed".to_owned(), mixed);
    // Several blocks.
    let many = (0..2500_u32).map(|n| (n.to_be_bytes().to_vec(), Rec::text(&format!("value of {n}"))));
    db.insert("many".to_owned(), Coll::raw(many));
    // Keys so long that a list has no room for all entries.
    let long = (0..70_u32).map(|n| {
        let key = [vec![b'k'; 20_000], n.to_be_bytes().to_vec()].concat();
        (key, Rec::text("long key"))
    });
    db.insert("long".to_owned(), Coll::raw(long));
    let mut large = Coll::new(KeyCodec::Path);
    large.records.insert(b"in place".to_vec(), Rec::blob(counted(2000)));
    large.records.insert(b"one piece".to_vec(), Rec::blob(counted(3000)));
    large
        .records
        .insert(b"pieces".to_vec(), Rec::of(&[(b"a", Tag::STRING, b"head"), (b"b", Tag::BLOB, &counted(45_000))]));
    db.insert("large".to_owned(), large);
    db
}

/// What became of it: changed, deleted, and changed in what is no value.
pub(super) fn second_state(first: &Db) -> Db {
    let mut db = first.clone();
    let many = &mut db.get_mut("many").unwrap().records;
    many.retain(|key, _| key[3] % 100 != 7);
    for (key, rec) in many.iter_mut().filter(|(key, _)| key[3] % 100 == 8) {
        *rec = Rec::text(&format!("another value of {}", key[3]));
    }
    for rec in db.get_mut("digest").unwrap().records.values_mut().take(3) {
        rec.generation += 10;
    }
    let mixed = &mut db.get_mut("mixed").unwrap().records;
    mixed.remove(&typed(KeyCodec::Int, "int:3"));
    mixed.get_mut(&typed(KeyCodec::Int, "int:4")).unwrap().stamp = 5;
    let large = &mut db.get_mut("large").unwrap().records;
    large.get_mut(b"one piece".as_slice()).unwrap().generation = 2;
    let mut longer = counted(45_000);
    longer.splice(1_500_000..1_500_000, *b"something new");
    large.insert(b"pieces".to_vec(), Rec::of(&[(b"a", Tag::STRING, b"head"), (b"b", Tag::BLOB, &longer)]));
    db
}

/// Deleted ones are back, inherited ones are inherited once more, and a collection is gone.
pub(super) fn third_state(first: &Db, second: &Db) -> Db {
    let mut db = second.clone();
    let mixed = &mut db.get_mut("mixed").unwrap().records;
    mixed.insert(typed(KeyCodec::Int, "int:3"), first["mixed"].records[&typed(KeyCodec::Int, "int:3")].clone());
    mixed.get_mut(&typed(KeyCodec::Int, "int:4")).unwrap().stamp = 6;
    for rec in db.get_mut("digest").unwrap().records.values_mut().take(2) {
        rec.generation += 10;
    }
    db.get_mut("large").unwrap().records.get_mut(b"one piece".as_slice()).unwrap().stamp = 3;
    db.remove("typed");
    db
}
