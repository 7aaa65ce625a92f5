//! A wire reader and a wire writer of Aerospike that do nothing else: what any tool must at least spend.

use crate::common::Outcome;
use rekeep::connector::aerospike::wire::{self, KIND_MESSAGE, Message};
use std::{
    io::{BufReader, Write},
    net::TcpStream,
    str::FromStr,
};

const PARTITIONS: u16 = 4096;
/// Partitions of one query.
const WINDOW: usize = 64;
/// Rows of one batch.
const ROWS: u64 = 128;
const READERS: u64 = 2;
const WRITERS: u64 = 4;
/// Not a whole number of any run's records, so that no two queries of a server have the same id.
const FIRST_QUERY: u64 = 0x5eed_0000_0000_0000;

/// What a process of the bare kind does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Reads every record whole.
    Scan,
    /// Reads every record's metadata.
    Sweep,
    /// Reads the records updated at or after the time given as the version, in milliseconds since 1970.
    Since,
    /// Writes each `every`th record at a version.
    Write,
    /// Deletes each `every`th record.
    Delete,
}

impl FromStr for Task {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::Scan, Self::Sweep, Self::Since, Self::Write, Self::Delete];
        known.into_iter().find(|task| task.name() == text).ok_or_else(|| format!("no task: {text}"))
    }
}

impl Task {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Sweep => "sweep",
            Self::Since => "since",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }
}

/// What it is done to.
#[derive(Debug, Clone)]
pub struct Bare {
    pub task: Task,
    pub address: String,
    pub namespace: String,
    pub records: u64,
    pub bytes: usize,
    pub every: u64,
    pub version: u64,
}

impl Bare {
    /// Does it; gives the records read or written.
    pub fn run(&self) -> Outcome<u64> {
        let workers = if matches!(self.task, Task::Write | Task::Delete) { WRITERS } else { READERS };
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..workers)
                .map(|number| scope.spawn(move || self.share(number, workers).map_err(|error| error.to_string())))
                .collect();
            let mut total = 0;
            for one in all {
                total += one.join().map_err(|_| "a worker panicked")??;
            }
            Ok(total)
        })
    }

    fn share(&self, number: u64, workers: u64) -> Outcome<u64> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        let mut connection = BufReader::with_capacity(256 * 1024, stream);
        let mut body = Vec::new();
        match self.task {
            Task::Scan | Task::Sweep | Task::Since => {
                let pids: Vec<u16> = (0..PARTITIONS).filter(|pid| u64::from(*pid) * workers / 4096 == number).collect();
                let mut read = 0;
                for pids in pids.chunks(WINDOW) {
                    let id = FIRST_QUERY ^ u64::from(std::process::id()) << 16 ^ u64::from(pids[0]);
                    connection.get_mut().write_all(&self.query(id, pids))?;
                    read += receive(&mut connection, &mut body)?;
                }
                Ok(read)
            }
            Task::Write | Task::Delete => {
                let (mut wrote, mut next) = (0, number * ROWS * self.every);
                let mut frame = Vec::new();
                while next < self.records {
                    let end = self.records.min(next + ROWS * self.every);
                    let rows = self.batch(&mut frame, (next..end).step_by(self.every as usize));
                    connection.get_mut().write_all(&frame)?;
                    let answered = receive(&mut connection, &mut body)?;
                    if answered != rows {
                        return Err(format!("{answered} of {rows} rows were answered").into());
                    }
                    wrote += rows;
                    next += workers * ROWS * self.every;
                }
                Ok(wrote)
            }
        }
    }

    fn query(&self, id: u64, pids: &[u16]) -> Vec<u8> {
        let pids: Vec<u8> = pids.iter().flat_map(|pid| pid.to_le_bytes()).collect();
        let mut fields = vec![
            (wire::field::NAMESPACE, self.namespace.as_bytes().to_vec()),
            (wire::field::SOCKET_TIMEOUT, 10_000u32.to_be_bytes().to_vec()),
            (wire::field::QUERY_ID, id.to_be_bytes().to_vec()),
            (wire::field::PARTITIONS, pids),
        ];
        if self.task == Task::Since {
            let nanos = (self.version * 1_000_000).to_be_bytes();
            // [>=, [last update], nanoseconds]
            fields.push((wire::field::FILTER, [&[0x93, 0x04, 0x91, 0x42, 0xcf][..], &nanos].concat()));
        }
        let info1 = wire::READ | if self.task == Task::Sweep { wire::NO_BINS } else { wire::GET_ALL };
        message([info1, 0, wire::PARTITION_DONE], &fields)
    }

    /// Fills `frame` with a batch of these records; gives their number.
    fn batch(&self, frame: &mut Vec<u8>, records: impl Iterator<Item = u64>) -> u64 {
        let mut body = vec![0, 0, 0, 0, 0x01 | 0x04];
        let mut rows = 0u32;
        for record in records {
            let [info2, info3] = if self.task == Task::Write { [0x01, 0x10] } else { [0x01 | 0x02, 0] };
            body.extend_from_slice(&rows.to_be_bytes());
            body.extend_from_slice(&digest(record));
            // A row with info bytes, generation and time to live: never expires.
            body.extend_from_slice(&[0x0e, 0, info2, info3, 0, 0, 0xff, 0xff, 0xff, 0xff]);
            let bins = if self.task == Task::Write { bins(record, self.version, self.bytes) } else { Vec::new() };
            body.extend_from_slice(&2u16.to_be_bytes());
            body.extend_from_slice(&(bins.len() as u16).to_be_bytes());
            for (kind, value) in [(wire::field::NAMESPACE, self.namespace.as_bytes()), (wire::field::SET, b"bench")] {
                body.extend_from_slice(&(value.len() as u32 + 1).to_be_bytes());
                body.push(kind);
                body.extend_from_slice(value);
            }
            for (name, particle, value) in bins {
                body.extend_from_slice(&((4 + name.len() + value.len()) as u32).to_be_bytes());
                body.extend_from_slice(&[2, particle, 0, name.len() as u8]);
                body.extend_from_slice(name.as_bytes());
                body.extend_from_slice(&value);
            }
            rows += 1;
        }
        body[..4].copy_from_slice(&rows.to_be_bytes());
        *frame = message([wire::BATCH, 0, 0], &[(wire::field::BATCH, body)]);
        u64::from(rows)
    }
}

fn message(info: [u8; 3], fields: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut body = vec![22, info[0], info[1], info[2], 0, 0, 0, 0, 0, 0];
    body.extend_from_slice(&[0; 8]);
    body.extend_from_slice(&(fields.len() as u16).to_be_bytes());
    body.extend_from_slice(&[0, 0]);
    for (kind, value) in fields {
        body.extend_from_slice(&(value.len() as u32 + 1).to_be_bytes());
        body.push(*kind);
        body.extend_from_slice(value);
    }
    let mut frame = Vec::with_capacity(body.len() + wire::FRAME_HEAD_BYTES);
    wire::put_frame_head(&mut frame, KIND_MESSAGE, body.len());
    frame.extend_from_slice(&body);
    frame
}

/// Walks messages up to the last one; gives their number without those that end a partition.
fn receive(connection: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> Outcome<u64> {
    let mut records = 0;
    loop {
        wire::read_frame(connection, KIND_MESSAGE, body)?;
        let mut rest = body.as_slice();
        while !rest.is_empty() {
            let (message, len) = Message::parse(rest)?;
            rest = &rest[len..];
            if message.info3 & wire::LAST != 0 {
                return if message.result == 0 {
                    Ok(records)
                } else {
                    Err(format!("the node says {}", message.result).into())
                };
            }
            if message.info3 & wire::PARTITION_DONE == 0 {
                if message.result != 0 {
                    return Err(format!("a record's result is {}", message.result).into());
                }
                records += 1;
            }
        }
    }
}

const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A digest as evenly spread as a hash's.
fn digest(record: u64) -> [u8; 20] {
    let mut digest = [0; 20];
    digest[..8].copy_from_slice(&mix(record * 2).to_be_bytes());
    digest[8..16].copy_from_slice(&mix(record * 2 + 1).to_be_bytes());
    digest[16..].copy_from_slice(&(record as u32).to_be_bytes());
    digest
}

const WORDS: [&str; 16] = [
    "amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "haven", "inlet", "jetty", "knoll", "ledge",
    "marsh", "north", "ocean", "plain",
];

/// A counter, a float, two names, a text of words and a token of random bytes; about `bytes` together.
fn bins(record: u64, version: u64, bytes: usize) -> Vec<(&'static str, u8, Vec<u8>)> {
    let seed = mix(record ^ version << 40);
    let word = |n: u64| WORDS[(mix(seed ^ n) % 16) as usize];
    let mut bins = vec![
        ("id", 1, record.to_be_bytes().to_vec()),
        ("seen", 1, (1_700_000_000 + version * 86_400 + seed % 86_400).to_be_bytes().to_vec()),
    ];
    if bytes >= 100 {
        bins.push(("score", 2, ((seed % 10_000) as f64 / 100.0).to_be_bytes().to_vec()));
        bins.push(("city", 3, word(1).as_bytes().to_vec()));
        bins.push(("name", 3, format!("{} {}", word(2), word(3)).into_bytes()));
        let token: Vec<u8> = (0..4).flat_map(|n| mix(seed ^ (100 + n)).to_be_bytes()).collect();
        bins.push(("token", 4, token));
        let have: usize = bins.iter().map(|(name, _, value)| name.len() + value.len()).sum();
        let mut text = String::new();
        let mut n = 10;
        while have + text.len() + 12 < bytes {
            text.push_str(word(n));
            text.push(' ');
            n += 1;
        }
        bins.push(("note", 3, text.into_bytes()));
    }
    bins
}
