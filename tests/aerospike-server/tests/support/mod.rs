//! A plain client for the server's tests: requests put together byte by byte, answers taken apart.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rekeep_aerospike_server::codes::{field, info1, info2, info3, op};
use rekeep_aerospike_server::wire::{self, put_field, put_frame, put_request_op, read_frame};

/// A request message under construction.
#[derive(Clone, Default)]
pub struct Request {
    pub info: [u8; 4],
    pub generation: u32,
    pub ttl: u32,
    fields: Vec<u8>,
    n_fields: u16,
    ops: Vec<u8>,
    n_ops: u16,
}

impl Request {
    pub fn new(info1: u8, info2: u8, info3: u8) -> Self {
        Self { info: [info1, info2, info3, 0], ..Self::default() }.field(field::NAMESPACE, b"test")
    }

    /// A request without any field.
    pub fn bare(info1: u8, info2: u8, info3: u8) -> Self {
        Self { info: [info1, info2, info3, 0], ..Self::default() }
    }

    pub fn get() -> Self {
        Self::new(info1::READ | info1::GET_ALL, 0, 0)
    }

    pub fn exists() -> Self {
        Self::new(info1::READ | info1::GET_NO_BINS, 0, 0)
    }

    pub fn read() -> Self {
        Self::new(info1::READ, 0, 0)
    }

    pub fn put() -> Self {
        Self::new(0, info2::WRITE, 0)
    }

    pub fn delete() -> Self {
        Self::new(0, info2::WRITE | info2::DELETE, 0)
    }

    /// A query over these partitions.
    pub fn query(trid: u64, pids: impl IntoIterator<Item = u16>) -> Self {
        let pids: Vec<u8> = pids.into_iter().flat_map(u16::to_le_bytes).collect();
        let request = Self::new(info1::READ, 0, info3::PARTITION_DONE).field(field::TRID, &trid.to_be_bytes());
        if pids.is_empty() { request } else { request.field(field::PID_ARRAY, &pids) }
    }

    pub fn no_bins(mut self) -> Self {
        self.info[0] |= info1::GET_NO_BINS;
        self
    }

    pub fn info2(mut self, bits: u8) -> Self {
        self.info[1] |= bits;
        self
    }

    pub fn info3(mut self, bits: u8) -> Self {
        self.info[2] |= bits;
        self
    }

    pub fn generation(mut self, generation: u32) -> Self {
        self.generation = generation;
        self
    }

    pub fn ttl(mut self, ttl: u32) -> Self {
        self.ttl = ttl;
        self
    }

    pub fn field(mut self, kind: u8, bytes: &[u8]) -> Self {
        put_field(&mut self.fields, kind, bytes);
        self.n_fields += 1;
        self
    }

    pub fn set(self, set: &str) -> Self {
        self.field(field::SET, set.as_bytes())
    }

    pub fn digest(self, digest: &[u8; 20]) -> Self {
        self.field(field::DIGEST, digest)
    }

    pub fn key(self, kind: u8, key: &[u8]) -> Self {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(key);
        self.field(field::KEY, &bytes)
    }

    pub fn filter(self, expression: &[u8]) -> Self {
        self.field(field::FILTER, expression)
    }

    pub fn op(mut self, code: u8, name: &str, kind: u8, value: &[u8]) -> Self {
        put_request_op(&mut self.ops, code, name.as_bytes(), kind, value);
        self.n_ops += 1;
        self
    }

    pub fn write(self, name: &str, kind: u8, value: &[u8]) -> Self {
        self.op(op::WRITE, name, kind, value)
    }

    pub fn write_int(self, name: &str, value: i64) -> Self {
        self.write(name, 1, &value.to_be_bytes())
    }

    /// The body of the frame.
    pub fn body(&self) -> Vec<u8> {
        let mut out = vec![22];
        out.extend_from_slice(&self.info);
        out.push(0);
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&self.ttl.to_be_bytes());
        out.extend_from_slice(&1000u32.to_be_bytes());
        out.extend_from_slice(&self.n_fields.to_be_bytes());
        out.extend_from_slice(&self.n_ops.to_be_bytes());
        out.extend_from_slice(&self.fields);
        out.extend_from_slice(&self.ops);
        out
    }

    /// The row of a batch.
    pub fn row(&self, index: u32, digest: &[u8; 20]) -> Vec<u8> {
        let mut out = index.to_be_bytes().to_vec();
        out.extend_from_slice(digest);
        out.push(0x0E);
        out.extend_from_slice(&self.info[..3]);
        out.extend_from_slice(&(self.generation as u16).to_be_bytes());
        out.extend_from_slice(&self.ttl.to_be_bytes());
        out.extend_from_slice(&self.n_fields.to_be_bytes());
        out.extend_from_slice(&self.n_ops.to_be_bytes());
        out.extend_from_slice(&self.fields);
        out.extend_from_slice(&self.ops);
        out
    }
}

/// A batch of rows.
pub fn batch(flags: u8, rows: &[Vec<u8>]) -> Request {
    let mut body = (rows.len() as u32).to_be_bytes().to_vec();
    body.push(flags);
    for row in rows {
        body.extend_from_slice(row);
    }
    Request { info: [info1::BATCH, 0, 0, 0], ..Request::default() }.field(field::BATCH, &body)
}

/// An answered message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub info1: u8,
    pub info3: u8,
    pub result: u8,
    pub generation: u32,
    pub void_time: u32,
    pub row: u32,
    pub fields: Vec<(u8, Vec<u8>)>,
    pub ops: Vec<(String, u8, Vec<u8>)>,
}

impl Answer {
    pub fn field(&self, kind: u8) -> Option<&[u8]> {
        self.fields.iter().find(|(k, _)| *k == kind).map(|(_, bytes)| &bytes[..])
    }

    pub fn digest(&self) -> [u8; 20] {
        self.field(field::DIGEST).unwrap().try_into().unwrap()
    }

    pub fn bin(&self, name: &str) -> Option<(u8, &[u8])> {
        self.ops.iter().find(|(n, _, _)| n == name).map(|(_, kind, value)| (*kind, &value[..]))
    }

    pub fn int(&self, name: &str) -> i64 {
        i64::from_be_bytes(self.bin(name).unwrap().1.try_into().unwrap())
    }

    pub fn is_last(&self) -> bool {
        self.info3 & info3::LAST != 0
    }
}

/// The messages in the body of a frame.
pub fn messages(body: &[u8]) -> Vec<Answer> {
    let mut cursor = wire::Cursor::new(body);
    let mut out = Vec::new();
    while !cursor.rest.is_empty() {
        let head = cursor.take(22).unwrap();
        let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        let (n_fields, n_ops) = (u16::from_be_bytes([head[18], head[19]]), u16::from_be_bytes([head[20], head[21]]));
        let fields = (0..n_fields).map(|_| {
            let size = cursor.u32().unwrap() as usize;
            let kind = cursor.u8().unwrap();
            (kind, cursor.take(size - 1).unwrap().to_vec())
        });
        let fields = fields.collect();
        let ops = wire::parse_ops(&mut cursor, n_ops).unwrap();
        out.push(Answer {
            info1: head[1],
            info3: head[3],
            result: head[5],
            generation: word(6),
            void_time: word(10),
            row: word(14),
            fields,
            ops: ops
                .iter()
                .map(|op| (String::from_utf8_lossy(op.name).into_owned(), op.particle, op.value.to_vec()))
                .collect(),
        });
    }
    out
}

/// A connection to one node.
pub struct Client(pub TcpStream);

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        // A test that waits for ever says less than one that fails.
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        Self(stream)
    }

    /// A connection, if somebody listens.
    pub fn try_connect(address: SocketAddr) -> Option<Self> {
        TcpStream::connect(address).ok().map(Self)
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub fn send(&mut self, request: &Request) {
        let mut out = Vec::new();
        put_frame(&mut out, wire::MESSAGE, &request.body());
        self.send_raw(&out);
    }

    pub fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        read_frame(&mut self.0).ok().flatten()
    }

    /// One request with one answer.
    pub fn ask(&mut self, request: &Request) -> Answer {
        self.send(request);
        let (_, body) = self.receive().unwrap();
        messages(&body).remove(0)
    }

    /// All messages up to the last, or up to the end of the connection.
    pub fn stream(&mut self, request: &Request) -> Vec<Answer> {
        self.send(request);
        self.rest()
    }

    pub fn rest(&mut self) -> Vec<Answer> {
        let mut out: Vec<Answer> = Vec::new();
        while !out.last().is_some_and(Answer::is_last) {
            let Some((_, body)) = self.receive() else { break };
            out.extend(messages(&body));
        }
        out
    }

    /// A query's records and the code of its end.
    pub fn query(&mut self, request: &Request) -> (Vec<Answer>, Option<u8>) {
        let mut all = self.stream(request);
        let end = all.last().filter(|answer| answer.is_last()).map(|answer| answer.result);
        if end.is_some() {
            all.pop();
        }
        (all, end)
    }

    pub fn info(&mut self, command: &str) -> String {
        let mut out = Vec::new();
        put_frame(&mut out, wire::INFO, format!("{command}\n").as_bytes());
        self.send_raw(&out);
        let (_, body) = self.receive().unwrap();
        let text = String::from_utf8(body).unwrap();
        let (echo, value) = text.trim_end_matches('\n').split_once('\t').unwrap();
        assert_eq!(echo, command);
        value.to_owned()
    }

    /// Everything until the server closes the connection.
    pub fn drain(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let _ = self.0.read_to_end(&mut out);
        out
    }
}
