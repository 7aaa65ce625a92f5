//! The codec and its layers, on files that the stock tools wrote and on such as nobody should.

use super::{
    cipher::{Cipher, Mode},
    codec::{
        AsbError, AsbReader, Fault, Form, Index, IndexData, IndexKind, Item, Record, RecordParts, Version, put_header,
        put_index, put_module, put_record,
    },
    key::cipher_of,
    layers::{Wrapped, open},
};
use data_encoding::BASE64;
use std::{
    io::{Read, Write as _},
    path::Path,
};

pub(super) fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/asb").join(name)).unwrap()
}

pub(super) fn plain() -> Vec<u8> {
    fixture("source-ns2_00000.asb")
}

fn test_cipher(mode: Mode) -> Cipher {
    cipher_of(mode, &fixture("test-only-rsa-key.pem")).unwrap()
}

/// Reads a few bytes at a time.
struct Drops(Vec<u8>, usize);

impl Read for Drops {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(7).min(self.0.len() - self.1);
        buffer[..most].copy_from_slice(&self.0[self.1..self.1 + most]);
        self.1 += most;
        Ok(most)
    }
}

/// Reads all and writes it again.
fn again(mut reader: AsbReader<impl Read>, compact: bool) -> Result<Vec<u8>, AsbError> {
    let header = reader.header().clone();
    let form = Form { version: header.version, compact };
    let (mut out, mut record) = (Vec::new(), Record::default());
    put_header(&mut out, header.namespace.as_deref().unwrap_or_default(), header.first_file, form).unwrap();
    header.unknown.iter().for_each(|line| out.extend_from_slice(line));
    while let Some(item) = reader.next(&mut record)? {
        match item {
            Item::Unknown(line) => out.extend_from_slice(&line),
            Item::Module(module) => put_module(&mut out, &module, form).unwrap(),
            // What the tool wrote for an index of the null set is one of a set with a name.
            Item::Index(index) => put_index(&mut out, &index, form).unwrap(),
            Item::Record => {
                let parts = RecordParts {
                    namespace: record.namespace(),
                    set: record.set(),
                    user_key: record.user_key(),
                    digest: &record.digest,
                    generation: record.generation.into(),
                    void_time: record.void_time,
                };
                let bins = record.bins().map(|bin| (bin.name, bin.particle, bin.value));
                put_record(&mut out, &parts, bins, form).unwrap();
            }
        }
    }
    Ok(out)
}

fn sorted_lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines
}

fn error_of(text: impl AsRef<[u8]>) -> AsbError {
    let text = text.as_ref().to_vec();
    AsbReader::new(Drops(text, 0)).and_then(|reader| again(reader, false)).expect_err("it is wrong")
}

fn text_again(text: &str) -> String {
    String::from_utf8(again(AsbReader::new(text.as_bytes()).unwrap(), false).unwrap()).unwrap()
}

const HEAD: &str = "Version 3.1\n# namespace n\n";
const DIGEST: &str = "+ d q+LsiGs1gD9duJDbzQSXytajtCY=\n";

fn record(bins: &str) -> String {
    let count = bins.lines().filter(|line| line.starts_with("- ")).count();
    format!("{HEAD}+ n n\n{DIGEST}+ g 1\n+ t 0\n+ b {count}\n{bins}")
}

#[test]
fn what_the_stock_tool_wrote_comes_out_byte_for_byte() {
    let files = [("source-ns2_00000.asb", false), ("source-ns2.compact.asb", true)];
    for (name, compact) in files {
        let bytes = fixture(name);
        assert!(again(AsbReader::new(&bytes[..]).unwrap(), compact).unwrap() == bytes, "{name}");
        assert!(again(AsbReader::new(Drops(bytes.clone(), 0)).unwrap(), compact).unwrap() == bytes, "{name} in drops");
    }
}

#[test]
fn layers_of_the_stock_tool_come_off_and_go_on_again() {
    let layers = [
        ("source-ns2.zstd.asb", None),
        ("source-ns2.aes128.asb", Some(Mode::Aes128)),
        ("source-ns2.zstd.aes256.asb", Some(Mode::Aes256)),
    ];
    for (name, mode) in layers {
        let cipher = mode.map(test_cipher);
        let (reader, found) = open(std::io::Cursor::new(fixture(name)), cipher.as_ref()).unwrap();
        assert_eq!((found.is_compressed, found.is_encrypted), (name.contains("zstd"), mode.is_some()));
        let text = again(reader, false).unwrap();
        // Their threads wrote the records in different orders.
        assert_eq!(sorted_lines(&text), sorted_lines(&plain()), "{name}");
        for level in [None, Some(3)] {
            let mut wrapped = Wrapped::new(Vec::new(), level, cipher.as_ref()).unwrap();
            wrapped.write_all(&text).unwrap();
            let (reader, _) = open(std::io::Cursor::new(wrapped.finish().unwrap()), cipher.as_ref()).unwrap();
            assert!(again(reader, false).unwrap() == text, "{name} at {level:?}");
        }
    }
}

#[test]
fn a_missing_or_wrong_key_is_guessed() {
    let said = |name: &str, cipher: Option<Cipher>| {
        open(std::io::Cursor::new(fixture(name)), cipher.as_ref()).err().unwrap().to_string()
    };
    assert!(said("source-ns2.aes128.asb", None).contains("probably encrypted"));
    let wrong = said("source-ns2.aes128.asb", Some(test_cipher(Mode::Aes256)));
    assert!(wrong.contains("the key or the mode is wrong"), "{wrong}");
    let wrong = said("source-ns2.zstd.aes256.asb", Some(Cipher::new(Mode::Aes256, &[7; 32])));
    assert!(wrong.contains("the key or the mode is wrong"), "{wrong}");
    for (begins, words) in [(&b"\x1f\x8b\x08\x00"[..], "gzip"), (b"\xef\xbb\xbfVersion 3.1\n", "byte order mark")] {
        let said = open(std::io::Cursor::new(begins.to_vec()), None).err().unwrap().to_string();
        assert!(said.contains(words) && !said.contains("encrypted"), "{said}");
    }
    let empty = open(std::io::empty(), None).err().unwrap().to_string();
    assert!(empty.contains("empty") && !empty.contains("encrypted"), "{empty}");
}

/// How many records come before an error, and the error; `None` if there is none.
fn records_until_wrong(bytes: Vec<u8>) -> (usize, Option<AsbError>) {
    let mut reader = match open(std::io::Cursor::new(bytes), None) {
        Ok((reader, _)) => reader,
        Err(error) => return (0, Some(error)),
    };
    let (mut record, mut count) = (Record::default(), 0);
    loop {
        match reader.next(&mut record) {
            Ok(Some(Item::Record)) => count += 1,
            Ok(Some(_)) => {}
            Ok(None) => return (count, None),
            Err(error) => return (count, Some(error)),
        }
    }
}

#[test]
fn a_compressed_file_that_is_cut_off_is_never_taken_for_whole_and_gives_what_came_before() {
    // Each record in a frame's block of its own, so that the stream can end between two.
    let text = plain();
    let mut packed = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    let mut ends = Vec::new();
    for item in text.split_inclusive(|byte| *byte == b'\n') {
        packed.write_all(item).unwrap();
        packed.flush().unwrap();
        ends.push(packed.get_ref().len());
    }
    let packed = packed.finish().unwrap();
    let (all, wrong) = records_until_wrong(packed.clone());
    assert!(all > 50 && wrong.is_none(), "{wrong:?}");
    let mut most = 0;
    for end in ends {
        let (count, wrong) = records_until_wrong(packed[..end].to_vec());
        let wrong = wrong.unwrap();
        assert!(count >= most && wrong.to_string().contains("compressed stream ends in the middle"), "{wrong}");
        assert_eq!(wrong.fault(), Some(Fault::Truncated));
        most = count;
    }
    assert_eq!(most, all, "all of them came, and still it is not whole");
    // Damaged in the middle: what came before is there.
    let mut damaged = packed;
    let middle = damaged.len() / 2;
    damaged[middle..].iter_mut().for_each(|byte| *byte = 0xff);
    let (count, wrong) = records_until_wrong(damaged);
    let wrong = wrong.unwrap();
    assert!(count > 0 && wrong.to_string().contains("damaged from here on"), "{wrong}");
    assert_eq!(wrong.fault(), Some(Fault::Truncated));
}

#[test]
fn damage_that_only_the_checksum_shows_is_not_said_to_begin_behind_it() {
    let mut packed = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    packed.include_checksum(true).unwrap();
    packed.write_all(&plain()).unwrap();
    let mut packed = packed.finish().unwrap();
    *packed.last_mut().unwrap() ^= 1;
    let wrong = records_until_wrong(packed).1.unwrap();
    assert!(wrong.to_string().contains("some of what came before is damaged"), "{wrong}");
    assert_eq!(wrong.fault(), Some(Fault::Truncated));
}

#[test]
fn files_that_were_joined_are_told_from_damaged_ones() {
    let (count, wrong) = records_until_wrong([plain(), plain()].concat());
    assert!(count > 50 && wrong.unwrap().to_string().contains("another file begins here"));
}

#[test]
fn keys_are_taken_in_every_form_of_the_tools() {
    let pem = fixture("test-only-rsa-key.pem");
    let text = String::from_utf8(pem.clone()).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = BASE64.decode(body.as_bytes()).unwrap();
    let once = BASE64.encode(&pem);
    let forms =
        [pem.clone(), once.clone().into_bytes(), BASE64.encode(once.as_bytes()).into_bytes(), body.into_bytes(), der];
    for key in forms {
        let cipher = cipher_of(Mode::Aes128, &key).unwrap();
        assert!(open(std::io::Cursor::new(fixture("source-ns2.aes128.asb")), Some(&cipher)).is_ok());
    }
    for bad in
        ["", "no key", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----"]
    {
        assert!(cipher_of(Mode::Aes128, bad.as_bytes()).is_err(), "{bad}");
    }
    for at in 0..600 {
        let mut hurt = pem.clone();
        hurt[at] ^= 1;
        let _ = cipher_of(Mode::Aes256, &hurt);
    }
}

#[test]
fn every_kind_of_bin_and_key_is_read() {
    let text = record(
        "- N nil\n- Z yes T\n- Z no F\n- I i -9223372036854775808\n- D d 1.5\n- S s 3 a\nb\n- X x 4 YWJj\n- G g 2 {}\n\
         - B b 4 AAE=\n- J j 0 \n- C c 4 AAE=\n- P p 4 AAE=\n- R r 4 AAE=\n- H h 4 AAE=\n- E e 4 AAE=\n- Y y 4 AAE=\n\
         - M m 4 gA==\n- L l 4 kA==\n- B! raw 3 \n+ \n- M! m2 1 \u{1}\n",
    );
    let mut record = Record::default();
    let mut reader = AsbReader::new(text.as_bytes()).unwrap();
    assert_eq!(reader.next(&mut record).unwrap(), Some(Item::Record));
    let bins: Vec<(u8, Vec<u8>)> = record.bins().map(|bin| (bin.particle, bin.value.to_vec())).collect();
    let particles: Vec<u8> = bins.iter().map(|bin| bin.0).collect();
    assert_eq!(particles, [0, 17, 17, 1, 2, 3, 3, 23, 4, 7, 8, 9, 10, 11, 12, 18, 19, 20, 4, 19]);
    assert_eq!(bins[3].1, i64::MIN.to_be_bytes());
    assert_eq!(
        (bins[5].1.as_slice(), bins[6].1.as_slice(), bins[18].1.as_slice()),
        (&b"a\nb"[..], &b"abc"[..], &b"\n+ "[..])
    );
    record.sort().unwrap();
    assert!(record.bins().is_sorted_by_key(|bin| bin.name.to_vec()));
    for (line, key) in [
        ("I -5", [&[1][..], &(-5i64).to_be_bytes()].concat()),
        ("D 1.5", [&[2][..], &1.5f64.to_be_bytes()].concat()),
        ("S 4 1\n 3", b"\x031\n 3".to_vec()),
        ("X 4 YWJj", b"\x03abc".to_vec()),
        ("B 4 AAE=", vec![4, 0, 1]),
        ("B! 2 \n\n", vec![4, 10, 10]),
    ] {
        let text = format!("{HEAD}+ k {line}\n+ n n\n{DIGEST}+ s a\\ set\n+ g 7\n+ t 9\n+ b 0\n");
        let mut reader = AsbReader::new(Drops(text.into_bytes(), 0)).unwrap();
        assert_eq!(reader.next(&mut record).unwrap(), Some(Item::Record));
        assert_eq!((record.user_key(), record.set()), (Some(key.as_slice()), &b"a set"[..]), "{line}");
        assert_eq!((record.generation, record.void_time), (7, 9));
    }
}

#[test]
fn names_are_escaped_in_versions_that_do_so() {
    let text = record("- N b\\\nin\\ Nam\\\\e\n");
    assert_eq!(text_again(&text), text);
    let old = "Version 3.0\n# namespace n\n+ n n\n+ d q+LsiGs1gD9duJDbzQSXytajtCY=\n+ s a\\b c\n+ g 1\n+ t 0\n+ b 0\n";
    let mut record = Record::default();
    assert_eq!(AsbReader::new(old.as_bytes()).unwrap().next(&mut record).unwrap(), Some(Item::Record));
    assert_eq!(record.set(), b"a\\b c");
    let parts = RecordParts {
        namespace: b"n",
        set: record.set(),
        user_key: None,
        digest: &record.digest,
        generation: 1,
        void_time: 0,
    };
    let mut out = b"before".to_vec();
    let form = Form { version: Version::V30, compact: false };
    let loss = put_record(&mut out, &parts, std::iter::empty(), form).unwrap_err();
    assert!(loss.contains("needs escapes") && out == b"before", "{loss}");
}

#[test]
fn names_and_numbers_are_taken_up_to_their_limits_and_no_further() {
    for (escaped, plain) in [(0, 999), (1, 1000), (1, 999), (500, 1000)] {
        // An escape is two bytes of the line and one of the name.
        let name = format!("{}{}", "\\ ".repeat(escaped), "x".repeat(plain - 2 * escaped));
        assert!(text_again(&record(&format!("- I {name} 1\n"))).contains(&format!("- I {name} 1\n")), "{name}");
        let over = format!("- I {name}{} 1\n", "x".repeat(1001 - plain));
        assert!(error_of(record(&over)).to_string().contains("longer than 1000"), "{over}");
    }
    for number in ["0", "-0", "7", "007", "999999999999999999", "-9223372036854775808", "9223372036854775807"] {
        let told = number.parse::<i64>().unwrap();
        assert!(text_again(&record(&format!("- I n {number}\n"))).contains(&format!("- I n {told}\n")), "{number}");
    }
    for number in ["", "-", "--1", "+1", "1x", "9223372036854775808", "-9223372036854775809", "1-"] {
        assert!(error_of(record(&format!("- I n {number}\n"))).to_string().contains("is no integer"), "{number}");
    }
}

#[test]
fn indexes_of_every_version_are_read_and_written_in_the_lowest_that_can() {
    let index = |set: &str, kind, data, context: Option<&str>, expression: Option<&str>| Index {
        namespace: b"n".to_vec(),
        set: set.into(),
        name: b"an index".to_vec(),
        kind,
        bin: b"b".to_vec(),
        data,
        context: context.map(Into::into),
        expression: expression.map(Into::into),
    };
    for (index, version) in [
        (index("s", IndexKind::Bin, IndexData::String, None, None), Version::V30),
        (index("s", IndexKind::MapKeys, IndexData::Blob, Some("kgA="), None), Version::V30),
        (index("", IndexKind::List, IndexData::Geo, None, None), Version::V32),
        (index("s", IndexKind::MapValues, IndexData::Numeric, None, Some("kgA=")), Version::V32),
        (index("s", IndexKind::Set, IndexData::None, None, None), Version::V33),
    ] {
        assert_eq!(index.needs(), version);
        let form = Form { version: version.max(Version::V31), compact: false };
        let mut line = Vec::new();
        put_index(&mut line, &index, form).unwrap();
        let file = [format!("Version {}\n# namespace n\n", form.version).into_bytes(), line].concat();
        let item = AsbReader::new(Drops(file, 0)).unwrap().next(&mut Record::default()).unwrap();
        assert_eq!(item, Some(Item::Index(index.clone())));
        if version > Version::V31 {
            assert!(put_index(&mut Vec::new(), &index, Form::default()).unwrap_err().contains("3.1 cannot"));
        }
    }
}

#[test]
fn what_is_of_no_known_kind_is_kept_raw() {
    let text = format!(
        "{HEAD}# of another day\n* i n s name T 1 b N\n* i n s two N 2 b N c S\n* e n s noexp N 1 b N\n* q whatever\\\n it is\n\
         + n n\n{DIGEST}+ l 1234\n+ g 1\n+ t 0\n+ b 0\n"
    );
    let mut reader = AsbReader::new(Drops(text.clone().into_bytes(), 0)).unwrap();
    let (mut unknown, mut record) = (reader.header().unknown.clone(), Record::default());
    while let Some(item) = reader.next(&mut record).unwrap() {
        match item {
            Item::Unknown(line) => unknown.push(line),
            item => assert_eq!(item, Item::Record),
        }
    }
    let raw: Vec<u8> = unknown.concat();
    let expected = &text[HEAD.len()..text.find("+ n n").unwrap()];
    assert_eq!(String::from_utf8(raw).unwrap(), expected);
    assert_eq!(record.unknown, [b"+ l 1234\n".to_vec()]);
}

#[test]
fn wrong_text_is_named_with_line_and_byte() {
    let good = record("- I i 5\n- S s 3 abc\n");
    for (from, to, said) in [
        ("Version 3.1", "Version 4.0", "not known"),
        ("3.1\n", "3.1\r\n", "carriage return"),
        ("+ g 1\n", "+ g 1\r\n", "carriage return"),
        ("+ g 1", "+ g 65536", "over 65535"),
        ("+ t 0", "+ t 4294967296", "over 4294967295"),
        ("+ t 0", "+ t -1", "expected"),
        ("q+LsiG", "q+Lsi!", "digest"),
        ("q+LsiGs1", "q+LsiG", "digest"),
        ("+ b 2", "+ b 3", "ends in the middle"),
        ("+ b 2", "+ b 1", "announces fewer"),
        ("- I i 5", "- I i 5x", "no integer"),
        ("- I i 5", "- I i 9223372036854775808", "no integer"),
        ("- I i 5", "- D i five", "no number"),
        ("- I i 5", "- Z i true", "boolean"),
        ("- I i 5", "- B i 5 AAE=x", "base64"),
        ("- I i 5", "- B i 4 A E=", "base64"),
        ("3 abc\n", "4 abc\n+", "end of the line"),
        ("3 abc", "2 abc", "end of the line"),
        ("3 abc", "99999999999 abc", "more than any server stores"),
        ("3 abc", "99999999999999999999999 abc", "over"),
        ("+ n n", "+ n", "expected"),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        let error = error_of(&text);
        let AsbError::Wrong { line, offset, reason, .. } = &error else { panic!("{error}") };
        assert!(reason.contains(said), "{to}: {reason}");
        let at = usize::try_from(*offset).unwrap();
        assert_eq!(*line, 1 + text[..at].matches('\n').count() as u64, "{to}: {error}");
        let place = text.find(to).unwrap();
        assert!(at + 2 >= place, "{to}: {error}");
    }
    for cut in HEAD.len() + 1..good.len() {
        assert_eq!(error_of(&good[..cut]).fault(), Some(Fault::Truncated), "cut at {cut}");
    }
    let name = "x".repeat(1001);
    assert!(error_of(record(&format!("- N {name}\n"))).to_string().contains("longer than 1000"));
    let unknown = error_of(record("- ? b 4 AAE=\n"));
    assert_eq!(unknown.fault(), Some(Fault::Unknown), "{unknown}");
    assert!(error_of(record("- U ldt 4 AAE=\n")).to_string().contains("large data types"));
}

#[test]
fn a_length_that_lies_takes_no_memory() {
    let text = record("- S s 60000000 abc\n");
    let mut reader = AsbReader::new(text.as_bytes()).unwrap();
    let error = reader.next(&mut Record::default()).unwrap_err();
    assert_eq!(error.fault(), Some(Fault::Truncated));
}

#[test]
fn reading_goes_on_behind_what_is_wrong() {
    let one = |n: u8, key: &str| {
        let digest = BASE64.encode(&[n; 20]);
        format!("{key}+ n n\n+ d {digest}\n+ g 1\n+ t 0\n+ b 1\n- I i {n}\n")
    };
    let (first, last) = (one(1, "+ k I 1\n"), one(3, ""));
    for wrong in [
        one(2, "+ k ? 5\n"),
        one(2, "+ k I 5\n").replace("+ g 1", "+ g one"),
        one(2, "").replace("- I i 2", "- ? i 2"),
        one(2, "").replace("+ b 1", "+ b 2"),
        one(2, "+ k I 7\n").replace("+ n n", "+ n"),
        "stray bytes\n".to_owned(),
    ] {
        let text = format!("{HEAD}{first}{wrong}{last}");
        let mut reader = AsbReader::new(Drops(text.into_bytes(), 0)).unwrap();
        let (mut record, mut digests, mut errors) = (Record::default(), Vec::new(), 0);
        loop {
            match reader.next(&mut record) {
                Ok(Some(_)) => digests.push(record.digest[0]),
                Ok(None) => break,
                Err(_) => {
                    errors += 1;
                    if reader.skip().unwrap().is_none() {
                        break;
                    }
                }
            }
        }
        assert_eq!((digests, errors), (vec![1, 3], 1), "{wrong}");
    }
}

#[test]
fn what_the_format_cannot_say_is_a_loss_and_leaves_nothing() {
    let parts =
        RecordParts { namespace: b"n", set: b"", user_key: None, digest: &[7; 20], generation: 1, void_time: 0 };
    let put = |parts: &RecordParts<'_>, bin: (&[u8], u8, &[u8])| {
        let mut out = Vec::new();
        let put = put_record(&mut out, parts, std::iter::once(bin), Form::default());
        assert!(put.is_ok() || out.is_empty());
        put
    };
    assert!(put(&parts, (b"d", 2, &f64::NAN.to_be_bytes())).is_ok());
    let payload = put(&parts, (b"d", 2, &0x7ff8_0000_0000_0001u64.to_be_bytes())).unwrap_err();
    assert!(payload.contains("NaN") && payload.contains("`d`"), "{payload}");
    assert!(put(&parts, (b"d", 2, &(-f64::NAN).to_be_bytes())).is_err(), "its sign");
    assert!(put(&parts, (b"v", 99, b"x")).unwrap_err().contains("no letter"));
    assert!(put(&parts, (b"i", 1, b"x")).is_err() && put(&parts, (b"z", 17, &[2])).is_err());
    assert!(put(&parts, (b"a\0b", 4, b"x")).unwrap_err().contains("zero byte"));
    assert!(put(&RecordParts { generation: 65_536, ..parts }, (b"a", 4, b"x")).is_err());
    assert!(put(&RecordParts { user_key: Some(&[9, 1]), ..parts }, (b"a", 4, b"x")).is_err());
}
