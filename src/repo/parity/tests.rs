//! The code against its definition, groups against damage, and which groups may go.

use super::{
    BLOCK_BYTES, Filling, Head, MAX_HELD_BYTES, Member, Outline, Percent, Rebuilt, Shelf, Shelved, TakenOut, There,
    check,
    code::{Block, Decoder, Encoder},
    path, put_back, rebuild,
};
use crate::repo::{
    Backend, ObjectName, RepoError, RepoId, Storage, pack,
    repository::testing::{Fault, Memory},
};
use bytes::Bytes;
use std::{collections::HashSet, sync::Arc};

const REPO: RepoId = RepoId([5; 16]);

/// The basis elements and the polynomial, as the specification lists them.
const BASIS: [u32; 16] = [
    0x0001, 0xacca, 0x3c0e, 0x163e, 0xc582, 0xed2e, 0x914c, 0x4012, 0x6c98, 0x10d8, 0x6a72, 0xb900, 0xfdb8, 0xfb34,
    0xff38, 0x991e,
];
const POLYNOMIAL: u32 = 0x1_002d;

/// Elements of the field, as polynomials.
fn times(a: u32, b: u32) -> u32 {
    let mut product = 0;
    for bit in (0..16).rev() {
        product <<= 1;
        if product & 0x1_0000 != 0 {
            product ^= POLYNOMIAL;
        }
        if b >> bit & 1 == 1 {
            product ^= a;
        }
    }
    product
}

fn inverse(a: u32) -> u32 {
    // a^(2^16 - 2)
    (1..16).fold((1, a), |(all, power), _| (times(all, times(power, power)), times(power, power))).0
}

/// The element that a number stands for.
fn element(number: u32) -> u32 {
    (0..16).filter(|bit| number >> bit & 1 == 1).fold(0, |sum, bit| sum ^ BASIS[bit])
}

/// The number that stands for an element.
fn number_of(wanted: u32) -> u32 {
    (0..0x1_0000).find(|&number| element(number) == wanted).unwrap()
}

/// The symbols of a row by the words of the specification, for one symbol of each place.
fn row_symbol(symbols: &[u32], rows: usize, row: usize) -> u32 {
    let c = rows.next_power_of_two();
    let mut sum = 0;
    for (batch, places) in symbols.chunks(c).enumerate() {
        let points: Vec<u32> = (0..c).map(|s| element((c + batch * c + s) as u32)).collect();
        let at = element(row as u32);
        for (s, symbol) in places.iter().enumerate() {
            let mut term = element(*symbol);
            for (_, point) in points.iter().enumerate().filter(|(other, _)| *other != s) {
                term = times(term, times(at ^ point, inverse(points[s] ^ point)));
            }
            sum ^= term;
        }
    }
    number_of(sum)
}

/// Bytes that look random, by a number.
fn noise(seed: u64, blocks: usize) -> Bytes {
    let mut bytes = vec![0; blocks * BLOCK_BYTES];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    Bytes::from(bytes)
}

fn name_of(bytes: &[u8]) -> ObjectName {
    ObjectName(*blake3::hash(bytes).as_bytes())
}

fn parity_of(blocks: &[Bytes], rows: usize) -> Vec<Vec<u8>> {
    let mut parity = vec![Vec::new(); rows];
    let mut encoder = Encoder::new(blocks.len(), rows).unwrap();
    encoder.column(blocks.iter().map(|it| Some(&it[..])), &mut |row, block| parity[row] = block.to_vec()).unwrap();
    parity
}

#[test]
fn the_code_is_what_the_specification_says() {
    assert!((1..200).all(|a| times(a, inverse(a)) == 1));
    for (places, rows) in [(3, 1), (1, 2), (5, 2), (4, 3), (7, 5)] {
        let blocks: Vec<Bytes> = (0..places).map(|place| noise(place, 1)).collect();
        let parity = parity_of(&blocks, rows);
        // A symbol at the beginning, one in another stretch.
        for (stretch, symbol) in [(0, 0), (0, 31), (700, 5)] {
            let at = |block: &[u8]| {
                let byte = |half: usize| u32::from(block[stretch * 64 + half * 32 + symbol]);
                byte(0) + 256 * byte(1)
            };
            let symbols: Vec<u32> = blocks.iter().map(|block| at(block)).collect();
            for (row, parity) in parity.iter().enumerate() {
                assert_eq!(at(parity), row_symbol(&symbols, rows, row), "{places} {rows}: row {row}");
            }
        }
    }
}

#[test]
fn one_row_is_the_exclusive_or_of_all_members() {
    let blocks: Vec<Bytes> = (0..10).map(|place| noise(place, 1)).collect();
    let expected = (0..BLOCK_BYTES).map(|at| blocks.iter().fold(0, |sum, block| sum ^ block[at])).collect::<Vec<u8>>();
    assert_eq!(parity_of(&blocks, 1), [expected]);
}

#[test]
fn as_many_blocks_as_there_are_rows_come_back_and_no_more() {
    for (places, rows) in [(1, 1), (10, 1), (3, 2), (10, 3), (20, 5)] {
        let blocks: Vec<Bytes> = (0..places as u64).map(|place| noise(place, 1)).collect();
        let parity = parity_of(&blocks, rows);
        let mut decoder = Decoder::new(places, rows).unwrap();
        let lost = rows.min(places);
        let known = |lost: usize| -> Vec<Block<'_>> {
            blocks.iter().enumerate().map(|(n, it)| if n < lost { Block::Lost } else { Block::Right(it) }).collect()
        };
        let all: Vec<Option<&[u8]>> = parity.iter().map(|row| Some(&row[..])).collect();
        for (wanted, block) in blocks.iter().enumerate().take(lost) {
            assert_eq!(decoder.find(wanted, &known(lost), &all).unwrap().unwrap(), *block);
        }
        let mut fewer = all.clone();
        fewer[0] = None;
        assert_eq!(decoder.find(0, &known(rows), &fewer).unwrap().is_some(), places < rows);
    }
}

/// `format-spec/vectors/groups.json`: what every version of every engine makes of the same packs, one group with a member
/// taken out (`REKEEP_WRITE_VECTORS=1` writes it).
#[test]
fn groups_have_the_bytes_that_the_vectors_say() {
    let path_of_vectors = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors/groups.json");
    let groups: Vec<serde_json::Value> = [
        ("one row", 1, &[2, 1, 3][..], None),
        ("more places than rows, in batches", 3, &[2, 1, 3, 1, 1], None),
        ("more rows than places", 5, &[1, 2], None),
        ("one pack by itself", 1, &[2], None),
        ("the second was taken out", 2, &[1, 3, 2, 1], Some(1)),
    ]
    .into_iter()
    .map(|(what, rows, blocks, gone)| {
        let texts = (0..blocks.len()).map(|place| format!("member {place} of {what}"));
        let mut members: Vec<(String, ObjectName, Bytes)> = Vec::new();
        for (text, blocks) in texts.zip(blocks) {
            let mut bytes = vec![0; blocks * BLOCK_BYTES];
            blake3::Hasher::new().update(text.as_bytes()).finalize_xof().fill(&mut bytes);
            members.push((text, name_of(&bytes), Bytes::from(bytes)));
        }
        let packs: Vec<(ObjectName, Bytes)> = members.iter().map(|(_, name, bytes)| (*name, bytes.clone())).collect();
        let (mut name, mut bytes) = super::group::make(REPO, rows, &packs).unwrap();
        if let Some(gone) = gone {
            let storage = Storage::over(Arc::new(Memory::default()), "test:");
            storage.create(&path(&name), &bytes).unwrap();
            storage.create(&pack::path(&packs[gone].0), &packs[gone].1).unwrap();
            let mut taken = TakenOut::of(&storage, &Shelf::read(&storage, REPO).unwrap().groups[0]).unwrap();
            taken.take_out(&storage, &packs[gone].0).unwrap();
            (name, bytes, _) = taken.finish().unwrap();
        }
        assert_eq!(name_of(&bytes), name);
        let head = Head::parse("parity/x", &bytes).unwrap();
        assert_eq!(head.outline.bytes(), bytes.len() as u64);
        let places = members.iter().enumerate().map(|(place, (text, name, bytes))| {
            if gone == Some(place) {
                return serde_json::Value::Null;
            }
            serde_json::json!({"text": text, "bytes": bytes.len(), "name": name.to_string()})
        });
        serde_json::json!({
            "what": what, "rows": rows, "places": places.collect::<Vec<_>>(), "bytes": bytes.len(), "name": name.to_string(),
            "list": data_encoding::HEXLOWER.encode(&bytes[..head.outline.list_bytes()]),
        })
    })
    .collect();
    let made = serde_json::json!({"repository": REPO.to_string(), "groups": groups});
    if std::env::var_os("REKEEP_WRITE_VECTORS").is_some() {
        std::fs::write(&path_of_vectors, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let kept: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path_of_vectors).unwrap()).unwrap();
    assert_eq!(kept, made);
}

#[test]
fn groups_close_when_they_are_worth_their_rows_and_never_hold_more_than_they_may() {
    for percent in [5, 7, 10, 20, 50, 100] {
        let share = Percent::new(percent).unwrap();
        let target = share.pack_bytes() / BLOCK_BYTES * BLOCK_BYTES;
        let pack = Bytes::from(vec![0; target]);
        let (mut filling, mut count, mut full) = (Filling::new(share), 0, Vec::new());
        while full.is_empty() {
            count += 1;
            full = filling.add(ObjectName([count; 32]), pack.clone());
        }
        let held = usize::from(count) * target;
        assert!(held <= MAX_HELD_BYTES, "{percent}: {held}");
        let enough = |bytes: usize| bytes * usize::from(percent) >= target * share.rows() * 100;
        assert!(enough(held) && !enough(held - target), "{percent}: {count}");
    }
    // One that is far longer than the others closes what was held without it.
    let mut filling = Filling::new(Percent::new(10).unwrap());
    assert!(filling.add(ObjectName([1; 32]), Bytes::from(vec![0; BLOCK_BYTES])).is_empty());
    assert_eq!(filling.add(ObjectName([2; 32]), Bytes::from(vec![0; MAX_HELD_BYTES])).len(), 1);
    assert_eq!(filling.close().unwrap().len(), 1);
    for wrong in [0, 4, 101] {
        assert_eq!(Percent::new(wrong), None);
    }
    assert_eq!("10 %".parse(), Ok(Percent::new(10).unwrap()));
}

/// What is done to a group, and what is said of it then.
type Harm<'a> = (&'a str, &'a dyn Fn(&mut Vec<u8>));

/// Packs that are none, in a storage, and a group of them.
fn stored(percent: u8, lengths: &[usize]) -> (Storage, Vec<(ObjectName, Bytes)>, Shelf) {
    stored_in(&Arc::new(Memory::default()), percent, lengths)
}

fn stored_in(memory: &Arc<Memory>, percent: u8, lengths: &[usize]) -> (Storage, Vec<(ObjectName, Bytes)>, Shelf) {
    let storage = Storage::over(Arc::clone(memory) as Arc<dyn Backend>, "test:");
    let mut filling = Filling::new(Percent::new(percent).unwrap());
    let packs: Vec<(ObjectName, Bytes)> = lengths
        .iter()
        .enumerate()
        .map(|(seed, blocks)| {
            let bytes = noise(seed as u64, *blocks);
            (name_of(&bytes), bytes)
        })
        .collect();
    let mut full = Vec::new();
    for (name, bytes) in &packs {
        storage.create(&pack::path(name), bytes).unwrap();
        full.extend(filling.add(*name, bytes.clone()));
    }
    full.extend(filling.close());
    for full in full {
        let (name, bytes) = full.make(REPO).unwrap();
        storage.create(&path(&name), &bytes).unwrap();
    }
    let shelf = Shelf::read(&storage, REPO).unwrap();
    (storage, packs, shelf)
}

fn there(packs: &[(ObjectName, Bytes)]) -> There {
    packs.iter().map(|(name, bytes)| (*name, bytes.len() as u64)).collect()
}

fn is_made_again(storage: &Storage, shelf: &Shelf, packs: &[(ObjectName, Bytes)], which: usize) -> bool {
    match rebuild(storage, shelf, &there(packs), &packs[which].0).unwrap() {
        Rebuilt::Whole(bytes) => {
            assert_eq!(bytes, packs[which].1);
            true
        }
        Rebuilt::NoGroup | Rebuilt::TooMuchIsLost(_) => false,
    }
}

#[test]
fn a_lost_pack_is_made_again_and_two_only_with_two_rows() {
    for (percent, rows) in [(10, 1), (20, 2)] {
        let (storage, packs, shelf) = stored(percent, &[17, 3, 40, 1]);
        for (first, second) in [(2, 0), (0, 3)] {
            storage.delete(&pack::path(&packs[first].0)).unwrap();
            assert!(is_made_again(&storage, &shelf, &packs, first), "{percent}: {first}");
            storage.delete(&pack::path(&packs[second].0)).unwrap();
            // Behind the end of the shorter one nothing is missing.
            assert_eq!(is_made_again(&storage, &shelf, &packs, first), rows == 2, "{percent}: {first}");
            for lost in [first, second] {
                put_back(&storage, REPO, &packs[lost].0, &packs[lost].1, false).unwrap();
            }
        }
    }
}

#[test]
fn bad_blocks_of_several_packs_come_back_as_long_as_no_column_has_two() {
    let (storage, packs, shelf) = stored(10, &[20, 20, 20]);
    let spoil = |which: usize, blocks: &[usize]| {
        let path = pack::path(&packs[which].0);
        let mut bytes = packs[which].1.to_vec();
        for block in blocks {
            bytes[block * BLOCK_BYTES + 77] ^= 1;
        }
        storage.delete(&path).unwrap();
        storage.create(&path, &bytes).unwrap();
    };
    spoil(0, &[0, 18]);
    spoil(1, &[1, 19]);
    spoil(2, &[7]);
    assert!((0..3).all(|which| is_made_again(&storage, &shelf, &packs, which)));
    spoil(2, &[18]);
    assert!(!is_made_again(&storage, &shelf, &packs, 0) && is_made_again(&storage, &shelf, &packs, 1));
    put_back(&storage, REPO, &packs[2].0, &packs[2].1, true).unwrap();
    assert!(is_made_again(&storage, &shelf, &packs, 0));
}

/// What is damaged still holds what another damaged pack needs: it must not be gone before its place is filled again.
#[test]
fn a_pack_that_was_to_be_put_back_when_everything_ended_is_made_again_and_so_are_the_others() {
    for percent in [10, 20] {
        let memory = Arc::new(Memory::default());
        let (storage, packs, _) = stored_in(&memory, percent, &[20, 20, 20]);
        for (which, block) in [(0, 3), (1, 7), (2, 11)] {
            let mut bytes = packs[which].1.to_vec();
            bytes[block * BLOCK_BYTES] ^= 1;
            memory.put(&pack::path(&packs[which].0), bytes);
        }
        memory.fail("packs/", Fault::Refused);
        assert!(put_back(&storage, REPO, &packs[0].0, &packs[0].1, true).is_err());
        assert_eq!(memory.names(&pack::path(&packs[0].0)), [""; 0], "the fault came where it was to come");
        memory.heal();
        let shelf = Shelf::read(&storage, REPO).unwrap();
        for (which, (name, bytes)) in packs.iter().enumerate() {
            assert!(is_made_again(&storage, &shelf, &packs, which), "{percent}: {which}");
            put_back(&storage, REPO, name, bytes, which > 0).unwrap();
        }
        // What was there for that alone is gone, but for the one that ended half-way; it goes with the next that looks.
        let shelf = Shelf::read(&storage, REPO).unwrap();
        assert_eq!(shelf.groups.len(), 2);
        let there = there(&packs);
        let superfluous: Vec<usize> =
            shelf.superfluous(&there, &HashSet::new()).iter().map(|group| group.outline.places.len()).collect();
        assert_eq!(superfluous, [1]);
    }
}

#[test]
fn a_forged_group_makes_no_pack() {
    let (storage, packs, shelf) = stored(10, &[2, 2]);
    // It names the packs, and holds other bytes.
    let mut filling = Filling::new(Percent::new(10).unwrap());
    filling.add(packs[0].0, noise(77, 2));
    filling.add(packs[1].0, packs[1].1.clone());
    let (name, bytes) = filling.close().unwrap().make(REPO).unwrap();
    storage.create(&path(&name), &bytes).unwrap();
    let forged = Shelf::read(&storage, REPO).unwrap();
    assert_eq!((forged.groups.len(), forged.damaged.len()), (2, 0));
    storage.delete(&pack::path(&packs[0].0)).unwrap();
    assert!(is_made_again(&storage, &forged, &packs, 0), "the good one makes it, whichever is tried first");
    storage.delete(&path(&shelf.groups[0].name)).unwrap();
    let forged = Shelf::read(&storage, REPO).unwrap();
    let Rebuilt::TooMuchIsLost(reason) = rebuild(&storage, &forged, &there(&packs), &packs[0].0).unwrap() else {
        panic!("a forged group makes a pack");
    };
    assert!(reason.contains("forged"), "{reason}");
}

#[test]
fn what_is_no_whole_group_is_named() {
    let (storage, packs, shelf) = stored(10, &[3, 2]);
    let group = &shelf.groups[0];
    let bytes = storage.read(&path(&group.name)).unwrap();
    assert_eq!(check(&storage, group).unwrap(), None);
    let other = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        storage.delete(&path(&group.name)).unwrap();
        storage.create(&path(&group.name), &bytes).unwrap();
        Shelf::read(&storage, REPO).unwrap()
    };
    let list: [Harm<'_>; 4] = [
        ("no group", &|it| it[0] ^= 1),
        ("hash of the list", &|it| it[70] ^= 1),
        ("it has", &|it| it.truncate(it.len() - 1)),
        ("cut off", &|it| it.clear()),
    ];
    for (words, change) in list {
        let shelf = other(change);
        assert!(shelf.groups.is_empty() && shelf.damaged[0].1.contains(words), "{words}: {:?}", shelf.damaged);
    }
    // The list alone is right: reading all of it shows the rest.
    let shelf = other(&|it| *it.last_mut().unwrap() ^= 1);
    assert!(check(&storage, &shelf.groups[0]).unwrap().unwrap().contains("hash that it is named by"));
    assert_eq!(Shelf::read(&storage, RepoId([6; 16])).unwrap().damaged.len(), 1);
    // A newer program's.
    let shelf = other(&|it| it[8] = 2);
    assert_eq!((shelf.damaged.len(), shelf.unknown.len()), (0, 1));
    drop(packs);
}

#[test]
fn a_member_is_taken_out_by_itself_alone() {
    for percent in [10, 30] {
        let (storage, packs, shelf) = stored(percent, &[5, 9, 2, 4]);
        let mut taken = TakenOut::of(&storage, &shelf.groups[0]).unwrap();
        // Nothing but what goes is read.
        for stays in [0, 2, 3] {
            storage.delete(&pack::path(&packs[stays].0)).unwrap();
        }
        taken.take_out(&storage, &packs[1].0).unwrap();
        let (name, bytes, outline) = taken.finish().unwrap();
        assert_eq!(outline.places.iter().flatten().count(), 3);
        assert_eq!(Outline::parse("x", &bytes).unwrap(), outline);
        storage.create(&path(&name), &bytes).unwrap();
        for stays in [2, 3] {
            put_back(&storage, REPO, &packs[stays].0, &packs[stays].1, false).unwrap();
        }
        storage.delete(&pack::path(&packs[1].0)).unwrap();
        storage.delete(&path(&shelf.groups[0].name)).unwrap();
        let shelf = Shelf::read(&storage, REPO).unwrap();
        assert!(is_made_again(&storage, &shelf, &packs, 0));
        put_back(&storage, REPO, &packs[0].0, &packs[0].1, false).unwrap();
        assert_eq!(check(&storage, &shelf.groups[0]).unwrap(), None);
        assert!(TakenOut::of(&storage, &shelf.groups[0]).is_ok_and(|mut taken| {
            [0, 2, 3].iter().all(|n| taken.take_out(&storage, &packs[*n].0).is_ok()) && taken.finish().is_none()
        }));
        // What goes and is not what it was takes nobody out.
        storage.delete(&pack::path(&packs[0].0)).unwrap();
        storage.create(&pack::path(&packs[0].0), &packs[2].1).unwrap();
        let mut taken = TakenOut::of(&storage, &shelf.groups[0]).unwrap();
        assert!(matches!(taken.take_out(&storage, &packs[0].0), Err(RepoError::Damaged { .. })));
    }
}

/// A group of packs named by a byte.
fn group(name: u8, rows: usize, packs: &[u8]) -> Shelved {
    let member = |pack: &u8| Some(Member { name: ObjectName([*pack; 32]), bytes: BLOCK_BYTES as u64 });
    let outline = Outline { repo: REPO, rows, places: packs.iter().map(member).collect() };
    Shelved { name: ObjectName([name; 32]), bytes: outline.bytes(), outline }
}

#[test]
fn a_group_is_superfluous_once_nothing_is_lost_with_it() {
    let listed = |packs: &[u8]| -> There { packs.iter().map(|n| (ObjectName([*n; 32]), BLOCK_BYTES as u64)).collect() };
    let gone = |groups: Vec<Shelved>, there: &[u8], missed: &[u8]| -> Vec<u8> {
        let shelf = Shelf { groups, ..Shelf::default() };
        let missed = missed.iter().map(|n| ObjectName([*n; 32])).collect();
        let mut gone: Vec<u8> = shelf.superfluous(&listed(there), &missed).iter().map(|it| it.name.0[0]).collect();
        gone.sort_unstable();
        gone
    };
    // It protects somebody; nobody of it is left; another protects as much.
    assert_eq!(gone(vec![group(1, 1, &[1, 2])], &[1, 2], &[]), [0; 0]);
    assert_eq!(gone(vec![group(1, 1, &[1, 2])], &[], &[]), [1]);
    assert_eq!(gone(vec![group(1, 1, &[1, 2]), group(2, 1, &[1, 2, 3])], &[1, 2, 3], &[]), [1]);
    assert_eq!(gone(vec![group(1, 1, &[1, 2]), group(2, 1, &[1, 2])], &[1, 2], &[]), [2]);
    // A member went: the new group protects the other.
    assert_eq!(gone(vec![group(1, 1, &[1, 2]), group(2, 1, &[1])], &[1], &[]), [1]);
    // With none in its place it stays: with it a pack that turns up again is worth something.
    assert_eq!(gone(vec![group(1, 1, &[1, 2])], &[1], &[]), [0; 0]);
    // A member is missed: it may be made again.
    assert_eq!(gone(vec![group(1, 1, &[1, 2]), group(2, 1, &[1])], &[1], &[2]), [0; 0]);
    let shelf = Shelf { groups: vec![group(1, 2, &[1, 2, 3]), group(2, 1, &[4, 5])], ..Shelf::default() };
    let mut protected: Vec<u8> = shelf.protected(&listed(&[1, 2, 4])).iter().map(|name| name.0[0]).collect();
    protected.sort_unstable();
    assert_eq!(protected, [1, 2]);
}
