//! What a real server sent, replayed through the reader, gives the records that the stock backup tool wrote down.

use crate::{
    cluster::{plain, quick, try_back_up},
    support::{
        Rec, World,
        world::{assert_sound, restored, snapshot},
    },
};
use data_encoding::BASE64;
use rekeep::{
    connector::aerospike::wire::{self, Message},
    record::{Digest, digest::KEY_BYTES},
};
use std::{
    collections::BTreeMap,
    io::Write,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

fn fixture(name: &str) -> Vec<u8> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The messages of a capture with their bytes.
fn messages(capture: &[u8]) -> Vec<Vec<u8>> {
    let (mut all, mut rest) = (Vec::new(), capture);
    while !rest.is_empty() {
        let mut body = Vec::new();
        wire::read_frame(&mut rest, wire::KIND_MESSAGE, &mut body).unwrap();
        let mut at = 0;
        while at < body.len() {
            let (_, len) = Message::parse(&body[at..]).unwrap();
            all.push(body[at..at + len].to_vec());
            at += len;
        }
    }
    all
}

/// Answers as the captured server did: one partition list at a time.
fn serve(
    mut stream: TcpStream,
    info: &BTreeMap<String, String>,
    records: &[Vec<u8>],
    sent: &AtomicUsize,
) -> std::io::Result<()> {
    loop {
        let mut head = [0; wire::FRAME_HEAD_BYTES];
        std::io::Read::read_exact(&mut stream, &mut head)?;
        let (kind, len) = wire::parse_frame_head(head).unwrap();
        let mut body = vec![0; len];
        std::io::Read::read_exact(&mut stream, &mut body)?;
        let mut answer = Vec::new();
        if kind == wire::KIND_INFO {
            for command in std::str::from_utf8(&body).unwrap().lines() {
                let value = match info.get(command) {
                    _ if command.starts_with("query-show") => {
                        format!("status=done(ok):recs-succeeded={}:recs-failed=0", sent.load(Ordering::SeqCst))
                    }
                    Some(value) => value.clone(),
                    None => "ERROR:4:unrecognized command".to_owned(),
                };
                answer.extend_from_slice(format!("{command}\t{value}\n").as_bytes());
            }
        } else {
            let last = [22, 0, 0, wire::LAST, 0, 0].into_iter().chain([0; 16]);
            if body[3] & wire::PARTITION_DONE == 0 {
                // No expressions in single reads: this server's clock is not known.
                answer.extend([22, 0, 0, 0, 0, 4].into_iter().chain([0; 16]));
            } else {
                let wanted = asked(&body);
                let of = |bytes: &&Vec<u8>| {
                    let digest = Message::parse(bytes).unwrap().0.digest;
                    digest.is_some_and(|digest| wanted.contains(&digest.partition()))
                };
                let chosen: Vec<_> = records.iter().filter(of).collect();
                sent.store(chosen.len(), Ordering::SeqCst);
                answer.extend(chosen.into_iter().flatten());
                answer.extend(last);
            }
        }
        let mut frame = Vec::new();
        wire::put_frame_head(&mut frame, kind, answer.len());
        frame.extend_from_slice(&answer);
        stream.write_all(&frame)?;
    }
}

/// The partitions of a query.
fn asked(body: &[u8]) -> Vec<u16> {
    let fields = u16::from_be_bytes([body[18], body[19]]);
    let mut rest = &body[22..];
    let mut pids = Vec::new();
    for _ in 0..fields {
        let size = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        if rest[4] == wire::field::PARTITIONS {
            pids = rest[5..4 + size].chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        }
        rest = &rest[4 + size..];
    }
    pids
}

/// A port at which the captured server answers.
fn replay() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut info = BTreeMap::new();
    for name in ["aerospike-wire/info.txt", "aerospike-wire/udf-get.txt"] {
        for line in String::from_utf8(fixture(name)).unwrap().lines() {
            if let Some((command, value)) = line.split_once('\t') {
                info.insert(command.to_owned(), value.to_owned());
            }
        }
    }
    let mut records = messages(&fixture("aerospike-wire/scan-all-bins.response.bin"));
    assert_eq!(Message::parse(&records.pop().unwrap()).unwrap().0.info3, wire::LAST);
    let (info, records) = (Arc::new(info), Arc::new(records));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (info, records) = (Arc::clone(&info), Arc::clone(&records));
            std::thread::spawn(move || serve(stream.unwrap(), &info, &records, &AtomicUsize::new(0)));
        }
    });
    port
}

/// A record as the stock tool wrote it: bins by name with their type's letter and value.
#[derive(Debug, Default)]
struct Written {
    digest: Vec<u8>,
    set: Vec<u8>,
    generation: u32,
    void_time: u64,
    key: Option<(char, Vec<u8>)>,
    bins: BTreeMap<Vec<u8>, (char, Vec<u8>)>,
}

struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    /// Up to the next blank or line end; a backslash escapes both.
    fn token(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some((&byte, rest)) = self.0.split_first() {
            self.0 = rest;
            match byte {
                b'\\' => {
                    out.push(self.0[0]);
                    self.0 = &self.0[1..];
                }
                b' ' | b'\n' => break,
                byte => out.push(byte),
            }
        }
        out
    }

    fn number<T: std::str::FromStr>(&mut self) -> T {
        String::from_utf8(self.token()).unwrap().parse().ok().unwrap()
    }

    fn counted(&mut self) -> &'a [u8] {
        let len: usize = self.number();
        let (value, rest) = self.0.split_at(len);
        self.0 = rest.strip_prefix(b"\n").unwrap();
        value
    }

    fn value(&mut self, kind: char) -> Vec<u8> {
        match kind {
            'I' => self.number::<i64>().to_be_bytes().to_vec(),
            'D' => self.number::<f64>().to_be_bytes().to_vec(),
            'Z' => vec![u8::from(self.token() == b"T")],
            'S' | 'G' => self.counted().to_vec(),
            _ => BASE64.decode(self.counted()).unwrap(),
        }
    }
}

fn written() -> BTreeMap<Vec<u8>, Written> {
    let text = fixture("asb/source-ns2_00000.asb");
    let begin = text.windows(5).position(|window| window == b"\n+ k ").unwrap() + 1;
    let mut lines = Lines(&text[begin..]);
    let mut all = BTreeMap::new();
    let mut at = Written::default();
    while !lines.0.is_empty() {
        let line = (lines.token(), lines.token());
        match (line.0.as_slice(), line.1[0] as char) {
            (b"+", 'k') => {
                let kind = lines.token()[0] as char;
                at.key = Some((kind, lines.value(kind)));
            }
            (b"+", 'n') => drop(lines.token()),
            (b"+", 'd') => at.digest = BASE64.decode(&lines.token()).unwrap(),
            (b"+", 's') => at.set = lines.token(),
            (b"+", 'g') => at.generation = lines.number(),
            (b"+", 't') => at.void_time = lines.number(),
            (b"+", 'b') => {
                for _ in 0..lines.number::<usize>() {
                    assert_eq!(lines.token(), b"-");
                    let kind = lines.token()[0] as char;
                    let name = lines.token();
                    at.bins.insert(name, (kind, lines.value(kind)));
                }
                let done = std::mem::take(&mut at);
                let key = Digest(done.digest.clone().try_into().unwrap()).sort_key();
                all.insert(key.to_vec(), done);
            }
            other => panic!("{other:?}"),
        }
    }
    all
}

const KINDS: [(char, u8); 9] =
    [('I', 1), ('D', 2), ('S', 3), ('B', 4), ('Z', 17), ('Y', 18), ('M', 19), ('L', 20), ('G', 23)];

fn particle(kind: char) -> u8 {
    KINDS.iter().find(|(letter, _)| *letter == kind).unwrap_or_else(|| panic!("{kind}")).1
}

fn compare(key: &[u8], rec: &Rec, written: &Written) {
    let at = format!("{:?}", String::from_utf8_lossy(&written.key.as_ref().map(|k| k.1.clone()).unwrap_or_default()));
    // An element was appended to the ordered list of the record `cdt` between the two.
    let generation = written.generation + u32::from(at == "\"cdt\"");
    assert_eq!((key.len(), &rec.set, rec.generation), (KEY_BYTES, &written.set, generation), "{at}");
    let expiry = if written.void_time == 0 { 0 } else { (1_262_304_000 + written.void_time + 1) * 1000 };
    assert_eq!(rec.expiry, expiry, "{at}");
    let user_key = written.key.as_ref().map(|(kind, bytes)| [&[particle(*kind)][..], bytes].concat());
    assert_eq!(rec.user_key, user_key, "{at}");
    assert_eq!(rec.cells.len(), written.bins.len(), "{at}");
    for (name, (kind, value)) in &written.bins {
        let (tag, bytes) = &rec.cells[name];
        assert_eq!(*tag, particle(*kind), "{at} {name:?}");
        let number = |bytes: &[u8]| f64::from_be_bytes(bytes.try_into().unwrap());
        if *kind == 'D' && number(value).is_nan() {
            // Its text does not say which NaN it was.
            assert!(number(bytes).is_nan());
        } else if (at.as_str(), name.as_slice()) != ("\"cdt\"", b"ol") {
            assert_eq!(bytes, value, "{at} {}", String::from_utf8_lossy(name));
        }
    }
}

#[test]
fn a_real_servers_answers_give_the_records_that_the_stock_tool_wrote() {
    let (_world, repo) = World::new();
    let url = format!("aerospike://127.0.0.1:{}/source-ns2", replay());
    let (outcome, warnings) = try_back_up(&repo, &url, quick(), &plain()).unwrap();
    assert!(outcome.complete, "{:?}", outcome.problems);
    assert!(warnings.contains("clock"), "{warnings}");
    let taken = snapshot(&repo, outcome.id.unwrap());
    assert_eq!(taken.content.source.name, "backup-bench");
    let got = restored(&repo, &taken);
    let (got, expected) = (&got["source-ns2"].records, written());
    assert_eq!((got.len(), expected.len(), outcome.records), (61, 61, 61));
    for (key, written) in &expected {
        compare(key, &got[key], written);
    }
    let attributes = &taken.collections[0].attributes;
    let indexes = attributes["sindexes"].as_array().unwrap();
    assert_eq!(indexes.len(), 10);
    let named = |name: &str| indexes.iter().find(|index| index["name"] == name).unwrap();
    assert_eq!(named("idx_nullset").get("set"), None);
    assert!(named("idx_exp")["expression"].is_string() && named("idx_exp").get("bin").is_none());
    assert_eq!(named("idx_ctx")["context"], "lCKiA24ipQNkZWVw");
    assert_eq!(taken.content.attributes["udfs"].as_array().unwrap().len(), 2);
    assert_sound(&repo);
}

/// Set, generation, void-time and stored key.
type Head = (Vec<u8>, u32, u32, Option<Vec<u8>>);

#[test]
fn a_sweep_of_a_real_server_names_the_same_records() {
    let swept = messages(&fixture("aerospike-wire/scan-metadata-only.response.bin"));
    let whole = messages(&fixture("aerospike-wire/scan-all-bins.response.bin"));
    let heads = |all: &[Vec<u8>]| -> BTreeMap<Vec<u8>, Head> {
        all.iter()
            .map(|bytes| Message::parse(bytes).unwrap().0)
            .filter_map(|m| {
                let head = (m.set.to_vec(), m.generation, m.void_time, m.user_key.map(<[u8]>::to_vec));
                Some((m.digest?.sort_key().to_vec(), head))
            })
            .collect()
    };
    assert_eq!(heads(&swept), heads(&whole));
    assert_eq!(heads(&swept).len(), 61);
}
