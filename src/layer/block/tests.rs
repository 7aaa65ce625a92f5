use super::*;
use crate::{
    layer::{list::List, tests::model::Rng},
    record::{CellWriter, Expiry, Tag, bytes::DecodeError},
    repo::{ChunkPlain, chunk::MAX_RUNS},
};

type Cells = Vec<(Vec<u8>, u8, Vec<u8>)>;

fn encode(cells: &Cells) -> (Arc<Shape>, Vec<u8>) {
    let mut value = Vec::new();
    let mut writer = CellWriter::new(&mut value, cells.len());
    for (_, tag, bytes) in cells {
        writer.cell(Tag(*tag), bytes);
    }
    (Arc::new(Shape::new(cells.iter().map(|cell| cell.0.clone()).collect())), value)
}

/// Builds a block of these values, reads it back, and checks every value, in order, backwards and twice.
fn round_trip(values: &[Cells]) -> (ChunkPlain, ChunkPlain) {
    let mut builder = BlockBuilder::default();
    // Leftovers of the block before must not show.
    for round in 0..2 {
        builder.clear();
        for (i, cells) in values.iter().enumerate() {
            let (shape, value) = encode(cells);
            let key = (i as u32 * 3 + round).to_be_bytes();
            let row = NewRow {
                key: &key,
                meta: Meta::default(),
                fingerprint: Fingerprint([i as u8; 12]),
                value_bytes: value.len() as u64,
                value: RowValue::InPlace(&shape, &value),
            };
            builder.push(&row).unwrap();
        }
    }
    let (mut keys, mut plain) = (ChunkPlain::default(), ChunkPlain::default());
    builder.keys.write(&mut keys);
    builder.values.write(&mut plain);
    assert!(plain.ends.len() <= MAX_RUNS);
    let block = KeysBlock::decode(&keys).unwrap();
    assert_eq!((block.len(), block.values()), (values.len(), values.len() as u64));
    let mut read = ValuesBlock::decode(plain.clone()).unwrap();
    assert_eq!(read.len(), values.len());
    for i in (0..values.len()).chain((0..values.len()).rev().step_by(7)).flat_map(|i| [i, i]) {
        let (shape, value) = encode(&values[i]);
        let (read_shape, read_value) = read.value(i);
        assert_eq!(*read_shape, shape);
        assert_eq!(read_value, value, "value {i}");
    }
    (keys, plain)
}

fn name(i: u64) -> Vec<u8> {
    format!("name{i:04}").into_bytes()
}

#[test]
fn values_of_odd_shapes_come_back() {
    let empty: Cells = Vec::new();
    round_trip(std::slice::from_ref(&empty));
    round_trip(&[vec![(name(1), 0, Vec::new())]]);
    round_trip(&[empty.clone(), vec![(name(1), 3, b"x".to_vec())], empty.clone(), vec![(Vec::new(), 4, vec![7; 8])]]);
    round_trip(&vec![vec![(name(1), 1, vec![1, 2, 3, 4, 5, 6, 7, 8]), (name(2), 2, vec![9; 8])]; 50]);
    let mixed =
        |i: u64| vec![(name(1), 1, i.to_be_bytes().to_vec()), (name(2), i as u8, vec![i as u8; i as usize % 9])];
    round_trip(&(0..200).map(mixed).collect::<Vec<_>>());
}

#[test]
fn a_hundred_shapes_and_more_names_than_columns_come_back() {
    let mut rng = Rng(1);
    for names in [10, 64, 65, 300] {
        let values: Vec<Cells> = (0..400)
            .map(|_| {
                let chosen = (0..names).filter(|_| rng.below(names) < 8).collect::<Vec<_>>();
                chosen
                    .into_iter()
                    .map(|i| {
                        let len = if i % 3 == 0 { 8 } else { rng.below(30) as usize };
                        (name(i), if i % 2 == 0 { 3 } else { rng.below(4) as u8 }, rng.bytes(len))
                    })
                    .collect()
            })
            .collect();
        round_trip(&values);
    }
}

#[test]
fn the_columns_are_the_most_frequent_names() {
    let mut values: Vec<Cells> = (0..100).map(|i| vec![(name(i), 3, b"rare".to_vec())]).collect();
    values.extend((0..5).map(|_| vec![(b"zz".to_vec(), 3, b"frequents".to_vec())]));
    let (_, plain) = round_trip(&values);
    let runs: Vec<&[u8]> = plain.runs().map(|run| &plain.bytes[run]).collect();
    assert_eq!(runs.len(), 2 + 3 * 64 + 3);
    assert_eq!(runs[2 + 3 * 63 + 2], b"frequents".repeat(5));
    // Ties go to the lesser names: 63 of the hundred, 37 are rest cells.
    assert_eq!(*runs.last().unwrap(), b"rare".repeat(37));
}

#[test]
fn a_value_that_is_not_of_its_shape_is_refused() {
    for (names, value) in [(0, &b"x"[..]), (1, b""), (2, b"\x03\x05ab"), (2, b"\x03\x01a")] {
        let shape = Arc::new(Shape::new((0..names).map(name).collect()));
        let value = RowValue::InPlace(&shape, value);
        let row =
            NewRow { key: b"k", meta: Meta::default(), fingerprint: Fingerprint::default(), value_bytes: 0, value };
        assert!(BlockBuilder::default().push(&row).is_err());
    }
}

struct Row {
    key: Vec<u8>,
    set: Vec<u8>,
    user_key: Option<Vec<u8>>,
    numbers: (u32, u64, u64),
    fingerprint: [u8; 12],
    kind: u8,
    value: Vec<u8>,
}

fn random_rows(rng: &mut Rng, count: u64) -> Vec<Row> {
    let mut keys: Vec<Vec<u8>> = (0..count)
        .map(|i| {
            let len = match i {
                0 => 0,
                1 => 65_536,
                _ => 1 + rng.below(6) as usize,
            };
            rng.bytes(len)
        })
        .collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .map(|key| {
            let len = rng.below(20) as usize;
            Row {
                key,
                set: vec![b's'; rng.below(3) as usize],
                user_key: (rng.below(2) == 0).then(|| rng.bytes(len)),
                numbers: (rng.next() as u32, rng.next(), rng.next()),
                fingerprint: std::array::from_fn(|_| rng.next() as u8),
                kind: rng.below(4) as u8,
                value: [&[3], rng.bytes(len).as_slice()].concat(),
            }
        })
        .collect()
}

fn build(rows: &[Row], shape: &Arc<Shape>) -> (ChunkPlain, ChunkPlain) {
    let mut builder = BlockBuilder::default();
    for row in rows {
        let value = match row.kind {
            0 => RowValue::InPlace(shape, &row.value),
            1 => RowValue::Inherited,
            2 => RowValue::Pieces(shape, &row.value),
            _ => RowValue::Tombstone,
        };
        let (generation, expiry, stamp) = row.numbers;
        let expiry = Expiry::from_millis(expiry);
        let meta = Meta { set: &row.set, generation, expiry, stamp, user_key: row.user_key.as_deref() };
        let (fingerprint, value_bytes) = (Fingerprint(row.fingerprint), row.value.len() as u64);
        let new = match row.kind {
            3 => NewRow::tombstone(&row.key),
            _ => NewRow { key: &row.key, meta, fingerprint, value_bytes, value },
        };
        let mut key_row = Vec::new();
        new.meta.write_key_row(new.key, &new.fingerprint, &mut key_row);
        assert_eq!(key_row_len(new.key, &new.meta), key_row.len() as u64);
        builder.push(&new).unwrap();
    }
    let (mut keys, mut values) = (ChunkPlain::default(), ChunkPlain::default());
    builder.keys.write(&mut keys);
    builder.values.write(&mut values);
    (keys, values)
}

#[test]
fn key_rows_of_every_kind_come_back() {
    let mut rng = Rng(2);
    let shape = Arc::new(Shape::new(vec![name(1)]));
    for _ in 0..20 {
        let rows = random_rows(&mut rng, 150);
        let (keys, _) = build(&rows, &shape);
        let block = KeysBlock::decode(&keys).unwrap();
        assert_eq!(block.len(), rows.len());
        for (i, row) in rows.iter().enumerate() {
            let head = block.row(i);
            assert_eq!(block.key(i), row.key);
            assert_eq!(block.lower_bound(&row.key), i);
            assert_eq!(head.kind as u8, row.kind);
            if row.kind == 3 {
                continue;
            }
            let meta = block.meta(i);
            assert_eq!((meta.set, meta.user_key), (row.set.as_slice(), row.user_key.as_deref()));
            assert_eq!((meta.generation, meta.expiry.as_millis(), meta.stamp), row.numbers);
            assert_eq!((head.fingerprint.0, head.value_bytes), (row.fingerprint, row.value.len() as u64));
            if row.kind == 2 {
                assert_eq!(block.pieces(i), (&shape, row.value.as_slice()));
            }
        }
    }
}

#[test]
fn constant_columns_cost_nothing() {
    let shape = Arc::new(Shape::new(vec![name(1)]));
    let rows: Vec<Row> = (0..1000u32)
        .map(|i| Row {
            key: i.to_be_bytes().to_vec(),
            set: Vec::new(),
            user_key: None,
            numbers: (0, 0, 0),
            fingerprint: [0; 12],
            kind: 0,
            value: vec![3, 1, 2],
        })
        .collect();
    let (keys, values) = build(&rows, &shape);
    let lens: Vec<usize> = keys.runs().map(|run| run.len()).collect();
    assert_eq!(&lens[3..10], &[0; 7]);
    assert!(lens[0] < 24, "header of {} bytes", lens[0]);
    let lens: Vec<usize> = values.runs().map(|run| run.len()).collect();
    assert_eq!(&lens[1..], &[0, 0, 0, 2000, 0, 0, 0]);
}

fn mutate(plain: &ChunkPlain, rng: &mut Rng) -> ChunkPlain {
    let mut damaged = plain.clone();
    for _ in 0..=rng.below(3) {
        let at = rng.below(damaged.bytes.len() as u64) as usize;
        match rng.below(5) {
            0 => damaged.bytes[at] ^= 1 << rng.below(8),
            1 => damaged.bytes[at] = rng.next() as u8,
            2 => damaged.bytes[at] = 0xff,
            3 => {
                let run = rng.below(damaged.ends.len() as u64) as usize;
                damaged.ends[run] = rng.below(2 * damaged.bytes.len() as u64) as usize;
            }
            _ => {
                // The header decides most.
                let at = rng.below(damaged.ends[0].clamp(1, damaged.bytes.len()) as u64) as usize;
                damaged.bytes[at] = rng.next() as u8;
            }
        }
    }
    damaged
}

#[test]
fn decoders_survive_any_damage() {
    let mut rng = Rng(3);
    let shape = Arc::new(Shape::new(vec![name(1)]));
    let (mut refused, mut accepted) = (0, 0);
    let mut count = |result: Result<(), DecodeError>| if result.is_ok() { accepted += 1 } else { refused += 1 };
    for _ in 0..8 {
        let rows: Vec<Row> = random_rows(&mut rng, 40).into_iter().filter(|row| row.key.len() < 100).collect();
        let (keys, _) = build(&rows, &shape);
        let wide: Vec<Cells> =
            (0..30).map(|i| (0..i * 5).map(|n| (name(n), n as u8, rng.bytes(8))).collect()).collect();
        let (_, values) = round_trip(&wide);
        let list = crate::layer::list::sample(&mut rng);
        for _ in 0..300 {
            count(KeysBlock::decode(&mutate(&keys, &mut rng)).map(|block| {
                for i in 0..block.len() {
                    std::hint::black_box((block.key(i), block.meta(i)));
                }
            }));
            count(ValuesBlock::decode(mutate(&values, &mut rng)).map(|mut block| {
                for i in 0..block.len() {
                    std::hint::black_box(block.value(i));
                }
            }));
            count(List::decode(&mutate(&list, &mut rng)).map(|_| ()));
        }
    }
    assert!(refused > 3_000 && accepted > 100, "{refused} refused, {accepted} accepted");
}

#[test]
fn keys_out_of_order_are_refused() {
    let shape = Arc::new(Shape::new(vec![name(1)]));
    let mut rows: Vec<Row> = random_rows(&mut Rng(4), 40);
    rows.swap(10, 11);
    assert!(KeysBlock::decode(&build(&rows, &shape).0).is_err());
    rows.swap(10, 11);
    let again = rows[12].key.clone();
    rows[13].key = again;
    assert!(KeysBlock::decode(&build(&rows, &shape).0).is_err());
}

#[test]
fn what_a_later_format_may_hold_is_unknown_and_not_damaged() {
    let (keys, values) = round_trip(&[vec![(b"a".to_vec(), 3, vec![1; 8])]]);
    let altered = |plain: &ChunkPlain, run: usize, to: u8| {
        let at = plain.runs().nth(run).unwrap().start;
        let mut plain = plain.clone();
        plain.bytes[at] = to;
        plain
    };
    let refused = |plain: ChunkPlain| KeysBlock::decode(&plain).map(drop).unwrap_err();
    assert_eq!(RowKind::from_u64(5), Err(DecodeError::Unknown("row kind", 5)));
    let mut newer = altered(&keys, 0, 2);
    assert_eq!(refused(newer.clone()), DecodeError::Unknown("version of a keys chunk", 2));
    newer.ends.push(*newer.ends.last().unwrap());
    assert_eq!(refused(newer), DecodeError::Unknown("version of a keys chunk", 2), "it may have more runs");
    assert_eq!(refused(altered(&keys, 0, 0)), DecodeError::Invalid("version of a keys chunk"));
    let newer = ValuesBlock::decode(altered(&values, 0, 9)).map(drop).unwrap_err();
    assert_eq!(newer, DecodeError::Unknown("version of a values chunk", 9));
    let id = crate::repo::ChunkId([7; 32]);
    let error = crate::layer::LayerError::damaged(id, newer);
    assert_eq!(error.kind(), crate::report::ErrorKind::NewerFormat);
}
