use super::*;
use crate::record::value::value_to_json;
use data_encoding::{BASE64, HEXLOWER};

/// One change as the vendor's tool keeps it.
const CAPTURED: &str = "FhABEAAAAAAAAgAnjQAAAAAAAAUAAQAAAAsAc291cmNlLW5zMQAAABUE/+Ptyjj06wW9zx0AnxOmq45xJzsAAAAFAXNldDEAAAAKAgEAAAAAAAADCQAAAAkOAAAAbcndaZgAAAAUAgMAAWF6enp6enp6enp6enp6eno=";

#[test]
fn a_captured_change_says_what_it_is_known_to_say() {
    let body = BASE64.decode(CAPTURED.as_bytes()).unwrap();
    let shipped = Shipped::parse(&body).unwrap();
    assert_eq!(shipped.namespace(), b"source-ns1");
    assert_eq!(HEXLOWER.encode(&shipped.digest.0), "ffe3edca38f4eb05bdcf1d009f13a6ab8e71273b");
    assert!(!shipped.is_deletion && !shipped.is_monitor);
    let updated = Timestamp::from_millis(shipped.updated.unwrap() as i64);
    assert_eq!(updated.to_string(), "2024-12-10T14:49:26.168Z");
    let mut batch = ChangeBatch::default();
    shipped.add_to(updated, &mut Decoder::default(), &mut batch).unwrap();
    let row = batch.row(0);
    assert_eq!((row.meta.set, row.meta.generation), (b"set1".as_slice(), 2));
    assert_eq!(row.meta.user_key, Some([1, 0, 0, 0, 0, 0, 0, 3, 9].as_slice()));
    assert_eq!(row.meta.expiry.as_millis(), (updated.as_millis() as u64 / 1000 + 2_592_000 + 1) * 1000);
    assert_eq!(value_to_json(row.shape, row.value).unwrap()["a"], "zzzzzzzzzzzzzzz");
}

#[test]
fn what_is_written_is_read_back() {
    let digest = Digest([7; 20]);
    let bins: [(&[u8], u8, &[u8]); 2] = [(b"b", 3, b"text"), (b"a", 1, &[0, 0, 0, 0, 0, 0, 0, 9])];
    let put = Change::Put { generation: 3, left: Some(60), bins: &bins };
    let body = body_of(b"ns", &digest, b"s", Some(&[3, b'k']), 1_764_374_400_123, &put);
    let shipped = Shipped::parse(&body).unwrap();
    assert_eq!(shipped.updated, Some(1_764_374_400_123));
    assert_eq!(shipped.time(Timestamp::default()), VersionTime { millis: 1_764_374_400_123, order: 6 });
    let mut batch = ChangeBatch::default();
    shipped.add_to(Timestamp::default(), &mut Decoder::default(), &mut batch).unwrap();
    assert_eq!(batch.row(0).meta.expiry.as_millis(), 1_764_374_461_000);
    let gone = body_of(b"ns", &digest, b"", None, 1_764_374_400_124, &Change::Delete { generation: 4 });
    let gone = Shipped::parse(&gone).unwrap();
    gone.add_to(Timestamp::default(), &mut Decoder::default(), &mut batch).unwrap();
    assert!(batch.time(1).is_deletion && batch.time(1).time.order == 9);
}

#[test]
fn what_is_no_change_is_refused() {
    let whole = BASE64.decode(CAPTURED.as_bytes()).unwrap();
    for cut in 0..whole.len() {
        assert!(Shipped::parse(&whole[..cut]).is_err(), "{cut}");
    }
    let harmed = |at: usize, byte: u8| {
        let mut body = whole.clone();
        body[at] = byte;
        Shipped::parse(&body).map(drop)
    };
    assert!(harmed(2, 0).is_err(), "writes nothing");
    assert!(harmed(3, 0).unwrap_err().to_string().contains("bin-policy"));
    let mut longer = whole.clone();
    longer.push(0);
    assert!(Shipped::parse(&longer).is_err());
}

#[test]
fn what_belongs_to_a_transaction_is_passed_over() {
    let put = Change::Put { generation: 1, left: None, bins: &[] };
    let body = body_of(b"ns", &Digest([1; 20]), MONITOR_SET, None, 5, &put);
    let mut batch = ChangeBatch::default();
    let shipped = Shipped::parse(&body).unwrap();
    shipped.add_to(Timestamp::default(), &mut Decoder::default(), &mut batch).unwrap();
    assert!(shipped.is_monitor && batch.is_empty());
}
