use super::*;
use crate::{
    connector::{
        Outcomes, Overwrite, SessionOptions, Source, Target, TargetCollection, TargetPlan,
        shared::{
            sort::{Duplicates, Sorter, encode_body},
            spool::Spool,
        },
    },
    record::{
        Expiry, KeyCodec, KeyRange, Meta, RecordBatch, RecordStream, RowHead, Shape, StreamedValue, Tag, Timestamp,
    },
};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::{collections::BTreeMap, fs, io::Read, sync::Arc};

#[derive(Debug, Clone, PartialEq)]
struct Row {
    set: Vec<u8>,
    generation: u32,
    expiry: u64,
    stamp: u64,
    user_key: Option<Vec<u8>>,
    cells: BTreeMap<Vec<u8>, (u8, Vec<u8>)>,
}

type Rows = BTreeMap<Vec<u8>, Row>;

fn url(path: &Path) -> SourceUrl {
    SourceUrl {
        scheme: "jsonl".to_owned(),
        place: path.to_str().unwrap().to_owned(),
        written: String::new(),
        options: Vec::new(),
    }
}

fn plan(codec: KeyCodec, overwrite: Overwrite) -> TargetPlan {
    let collection = TargetCollection {
        name: "t".to_owned(),
        source_name: "t".to_owned(),
        codec,
        attributes: json!({ "sql": "x" }),
        records: 0,
    };
    TargetPlan {
        connector: "sqlite".to_owned(),
        attributes: json!({ "page": 4096 }),
        collections: vec![collection],
        overwrite,
        make_equal: false,
        partial: false,
        left_out: None,
        leave_alone: Vec::new(),
        repository: None,
        snapshot: None,
        as_of: Timestamp::from_millis(0),
        parallel: 1,
    }
}

fn batch_of(rows: &Rows) -> RecordBatch {
    let mut batch = RecordBatch::new();
    for (key, row) in rows {
        let shape = Arc::new(Shape::new(row.cells.keys().cloned().collect()));
        let meta = Meta {
            set: &row.set,
            generation: row.generation,
            expiry: Expiry::from_millis(row.expiry),
            stamp: row.stamp,
            user_key: row.user_key.as_deref(),
        };
        batch.push(RowHead { key, meta }, &shape, |writer| {
            for (tag, bytes) in row.cells.values() {
                writer.cell(Tag(*tag), bytes);
            }
        });
    }
    batch
}

fn collect(stream: &mut dyn RecordStream) -> Result<Rows, String> {
    let (mut rows, mut batch, mut last) = (Rows::new(), RecordBatch::new(), None);
    while stream.next_batch(&mut batch).map_err(|error| error.to_string())? {
        for row in batch.rows() {
            assert!(last.as_deref() < Some(row.key), "keys ascend");
            last = Some(row.key.to_vec());
            let cells = row.shape.cells(row.value).map(|cell| cell.map(|cell| (cell.tag.0, cell.bytes.to_vec())));
            let cells = row.shape.names().iter().cloned().zip(cells.map(Result::unwrap)).collect();
            let meta = row.meta;
            let row_read = Row {
                set: meta.set.to_vec(),
                generation: meta.generation,
                expiry: meta.expiry.as_millis(),
                stamp: meta.stamp,
                user_key: meta.user_key.map(<[u8]>::to_vec),
                cells,
            };
            rows.insert(row.key.to_vec(), row_read);
        }
    }
    Ok(rows)
}

fn write(path: &Path, codec: KeyCodec, rows: &Rows) -> Outcomes {
    let target = JsonlTarget::new(&url(path)).unwrap();
    let mut session = target.begin(&plan(codec, Overwrite::Always)).unwrap();
    let mut outcomes = Outcomes::default();
    let mut writer = session.open(0).unwrap();
    writer.write(&mut batch_of(rows), &mut outcomes).unwrap();
    writer.finish().unwrap();
    session.finish().unwrap();
    outcomes
}

fn read(path: &Path) -> Result<(Json, String, KeyCodec, Rows), String> {
    let source = JsonlSource::new(&url(path)).unwrap();
    let session = source.begin(&SessionOptions::default()).map_err(|error| error.to_string())?;
    let collection = &session.collections()[0];
    let mut stream = session.read(0, &KeyRange::all()).unwrap();
    Ok((session.attributes(), collection.name.clone(), collection.codec, collect(stream.as_mut())?))
}

fn cell() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let float = prop_oneof![
        any::<u64>(),
        any::<f64>().prop_map(f64::to_bits),
        any::<i32>().prop_map(|i| f64::from(i).to_bits())
    ];
    prop_oneof![
        any::<i64>().prop_map(|value| (1, value.to_be_bytes().to_vec())),
        float.prop_map(|bits| (2, bits.to_be_bytes().to_vec())),
        ".{0,8}".prop_map(|text| (3, text.into_bytes())),
        (any::<u8>(), prop::collection::vec(any::<u8>(), 0..10)),
        Just((0, Vec::new())),
        any::<bool>().prop_map(|value| (17, vec![u8::from(value)])),
    ]
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z]{0,4}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..6),
        "base64:[a-zA-Z=]{0,4}".prop_map(String::into_bytes),
    ]
}

fn row() -> impl Strategy<Value = Row> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..6);
    let meta = (bytes(), any::<u32>(), any::<u64>(), any::<u64>(), prop::option::of(bytes()));
    (meta, prop::collection::btree_map(name(), cell(), 0..6)).prop_map(|(meta, cells)| {
        let (set, generation, expiry, stamp, user_key) = meta;
        Row { set, generation, expiry, stamp, user_key, cells }
    })
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..14),
        "(hex|str|int|base64|strhex):[0-9a-f,]{0,4}".prop_map(String::into_bytes),
        any::<i64>().prop_map(|value| crate::record::key::encode_int(value).to_vec()),
        any::<f64>().prop_map(|value| KeyCodec::Tuple.encode(&[crate::record::KeyPart::Float(value)]).unwrap()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn random_records_come_back_bit_by_bit(rows in prop::collection::btree_map(key(), row(), 0..8), codec in 0..6usize) {
        let codec = [
            KeyCodec::Int, KeyCodec::Tuple, KeyCodec::TupleUtf16le, KeyCodec::TupleUtf16be, KeyCodec::Path, KeyCodec::Raw,
        ][codec];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        let outcomes = write(&path, codec, &rows);
        prop_assert_eq!(outcomes.inserted, rows.len() as u64);
        let (attributes, name, read_codec, back) = read(&path).unwrap();
        prop_assert_eq!(attributes, json!({ "connector": "sqlite", "attributes": { "page": 4096 } }));
        prop_assert_eq!((name.as_str(), read_codec), ("t", codec));
        prop_assert_eq!(back, rows);
    }

    #[test]
    fn arbitrary_lines_never_panic(text in prop_oneof![
        ".{0,60}",
        "\\{\"key\":\"int:[0-9]{1,3}\",\"value\":\\{\"a\":[\\[{\"0-9.e+}:a-z-]{0,20}\\}\\}",
    ]) {
        let _ = line::read(text.as_bytes());
    }
}

fn read_text(text: &str) -> Result<(Json, String, KeyCodec, Rows), String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plain.jsonl");
    fs::write(&path, text).unwrap();
    read(&path)
}

#[test]
fn plain_lines_in_any_order_are_sorted() {
    let text = "\u{feff}{\"key\":\"int:9\",\"value\":{\"b\":1,\"a\":\"x\"}}\n\r\n{\"key\":\"int:-1\",\"value\":{}}\n{\"key\":\"str:z\",\"value\":{\"c\":1.5}}";
    let (attributes, name, codec, rows) = read_text(text).unwrap();
    assert_eq!((attributes, name.as_str(), codec), (json!({}), "plain", KeyCodec::Tuple));
    let shown: Vec<String> = rows.keys().map(|key| codec.show(key)).collect();
    assert_eq!(shown, ["int:-1", "int:9", "str:z"]);
    assert_eq!(rows.values().nth(1).unwrap().cells.len(), 2);
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let record = |key: &str| format!("{{\"key\":\"{key}\",\"value\":{{}}}}\n");
    for (bad, said) in [
        ("nonsense", "line 2"),
        ("{\"key\":\"int:1\"}", "no value"),
        ("{\"key\":\"5\",\"value\":{}}", "not a key"),
        ("{\"key\":\"int:1\",\"value\":{\"a\":[1]}}", "line 2"),
        ("{\"key\":\"int:1\",\"value\":{\"a\":1,\"a\":2}}", "twice"),
        ("{\"key\":\"int:1\",\"value\":{\"a\":18446744073709551615}}", "64 bits"),
        ("{\"key\":\"int:1\",\"value\":{\"a\":{\"base64\":\"YQ==\",\"base64\":\"YQ==\"}}}", "twice"),
        ("{\"key\":\"int:1\",\"value\":{\"a\":{\"b\":1}}}", "no field"),
        ("{\"key\":\"int:1\",\"value\":{},\"ttl\":5}", "ttl"),
        ("{\"key\":\"int:1\",\"key\":\"int:2\",\"value\":{}}", "duplicate"),
        ("{\"rekeep\":\"jsonl\",\"version\":1}", "first line"),
        ("{\"rekeep\":\"jsonl\",\"version\":9}", "newer"),
        ("{\"collection\":\"plain\",\"codec\":\"int\",\"attributes\":{}}", "before its description"),
    ] {
        let error = read_text(&format!("{}{bad}\n", record("int:0"))).unwrap_err();
        assert!(error.contains("line 2") && error.contains(said), "{bad}: {error}");
    }
    let error = read_text(&[record("int:3"), record("int:1"), record("int:3")].concat()).unwrap_err();
    assert!(error.contains("lines 1 and 3"), "{error}");
}

#[test]
fn many_runs_merge_into_one_order_and_ranges_partition_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut sorter = Sorter::new(Spool::new(dir.path()).unwrap());
    let shape = Shape::new(vec![b"a".to_vec()]);
    let value = [&[3u8][..], &[b'x'; 500]].concat();
    let count = 20_000u64;
    for number in 0..count {
        let key = crate::record::key::encode_int((number * 7_919 % count) as i64);
        sorter.push(&key, number + 1, &encode_body(&Meta::default(), &shape, &value));
        if number % 150 == 0 {
            sorter.spill().unwrap();
        }
    }
    let all_runs = sorter.finish().unwrap();
    let all = collect(&mut all_runs.read(&KeyRange::all(), "x", Duplicates::Refused).unwrap()).unwrap();
    assert_eq!(all.len() as u64, count);
    let splits = all_runs.splits(5);
    assert_eq!(splits.len(), 4);
    let mut joined = Rows::new();
    for range in KeyRange::between(&splits) {
        let part = collect(&mut all_runs.read(&range, "x", Duplicates::Refused).unwrap()).unwrap();
        assert!(part.len() > 100, "the parts are of similar size");
        assert!(part.keys().all(|key| range.contains(key)));
        joined.extend(part);
    }
    assert_eq!(joined, all);
}

#[test]
fn a_file_that_exists_is_only_replaced_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.jsonl");
    fs::write(&path, "keep").unwrap();
    let target = JsonlTarget::new(&url(&path)).unwrap();
    assert_eq!(target.occupied(&["t".to_owned()]).unwrap(), [("t".to_owned(), 1)]);
    for overwrite in [Overwrite::Never, Overwrite::IfChanged] {
        assert!(target.begin(&plan(KeyCodec::Int, overwrite)).is_err());
    }
    let mut session = target.begin(&plan(KeyCodec::Int, Overwrite::Always)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"keep", "nothing changes before the end");
    drop(session);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "an abandoned restore leaves nothing");
    session = target.begin(&plan(KeyCodec::Int, Overwrite::Always)).unwrap();
    session.finish().unwrap();
    assert_ne!(fs::read(&path).unwrap(), b"keep");
}

struct Failing;

impl StreamedValue for Failing {
    fn open(&mut self) -> std::io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new((&b"abc"[..]).chain(Broken)))
    }
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("broken"))
    }
}

#[test]
fn a_value_that_cannot_be_read_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.jsonl");
    let target = JsonlTarget::new(&url(&path)).unwrap();
    let mut session = target.begin(&plan(KeyCodec::Int, Overwrite::Always)).unwrap();
    let mut outcomes = Outcomes::default();
    let mut batch = RecordBatch::new();
    let shape = Arc::new(Shape::new(vec![b"a".to_vec()]));
    let keys = [crate::record::key::encode_int(1), crate::record::key::encode_int(2)];
    batch.push_streamed(RowHead { key: &keys[0], ..RowHead::default() }, &shape, Tag::BLOB, Box::new(Failing), |_| {});
    batch.push(RowHead { key: &keys[1], ..RowHead::default() }, &shape, |writer| writer.integer(1));
    session.open(0).unwrap().write(&mut batch, &mut outcomes).unwrap();
    session.finish().unwrap();
    assert_eq!((outcomes.inserted, outcomes.failed), (1, 1));
    assert_eq!(outcomes.failures, [("int:1".to_owned(), "broken".to_owned())]);
    assert_eq!(read(&path).unwrap().3.len(), 1);
}
