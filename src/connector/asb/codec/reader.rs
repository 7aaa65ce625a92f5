//! Reading a file item by item: what is in memory is one item and what was read ahead, and it never grows faster than what
//! is read.

use super::{
    MAX_ITEM_BYTES, Version,
    cursor::{Cursor, wrong_at},
    error::{AsbError, BrokenOff, Fault, Stop},
    index::{Index, Module, parse_index},
    record::Record,
};
use std::io::Read;

const JOINED: &str =
    "another file begins here: several were joined into one, and are to be given one by one, or as a directory";

/// How much is read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// What stands before a file's items.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// The version.
    pub version: Version,
    /// The namespace that it is of.
    pub namespace: Option<Vec<u8>>,
    /// Whether it is the one of its backup that holds indexes and modules.
    pub first_file: bool,
    /// Lines that are not known.
    pub unknown: Vec<Vec<u8>>,
}

/// One item of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A record, which was put where the caller said.
    Record,
    /// A secondary index.
    Index(Index),
    /// A UDF module.
    Module(Module),
    /// A line of a kind that is not known, as it is, with its end.
    Unknown(Vec<u8>),
}

/// Reads a file.
#[derive(Debug)]
pub struct AsbReader<R> {
    input: R,
    buffer: Vec<u8>,
    /// Where the next item begins in the buffer.
    start: usize,
    /// The offset of the buffer's first byte, and the number of its line.
    offset: u64,
    line: u64,
    ended: bool,
    /// Why the input ended where it should not, until that was told.
    broken: Option<String>,
    header: Header,
    /// Where in the buffer the last piece was found wrong.
    failed_at: usize,
}

impl<R: Read> AsbReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`AsbError`] with [`Fault::Empty`] or [`Fault::NotAsb`] if it does not begin as such a file does.
    pub fn new(input: R) -> Result<Self, AsbError> {
        let mut reader = Self {
            input,
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            line: 1,
            ended: false,
            broken: None,
            header: Header::default(),
            failed_at: 0,
        };
        reader.header = match reader.piece("the header", header) {
            Ok(header) => header,
            Err(error) => {
                let at = reader.buffer.len();
                // What is not all there cannot be told from what is something else.
                return Err(match reader.broken.take() {
                    Some(words) => reader.wrong(at, Fault::Truncated, words),
                    None => error,
                });
            }
        };
        Ok(reader)
    }

    /// What stands before the items.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The number of the line at which the next item begins.
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// The offset at which the next item begins.
    pub const fn offset(&self) -> u64 {
        self.offset + self.start as u64
    }

    /// The next item; `None` at the end. A record is put into `record`.
    ///
    /// # Errors
    /// [`AsbError`]. Behind one with a [`Fault`], [`Self::skip`] may find where to go on.
    #[inline]
    pub fn next(&mut self, record: &mut Record) -> Result<Option<Item>, AsbError> {
        let escapes = self.header.version.escapes();
        let next = self.piece("an item", |cursor, at_end| match cursor.peek() {
            Err(_) if at_end => Ok(None),
            Err(more) => Err(more),
            Ok(b'+') => record.parse(cursor, escapes).map(|()| Some(Item::Record)),
            Ok(b'*') => global(cursor, escapes).map(Some),
            Ok(b'#') => Ok(Some(Item::Unknown(cursor.raw_line(escapes)?.to_vec()))),
            Ok(b'-') => cursor.wrong("a bin stands where no record is open: the record before it announces fewer"),
            Ok(b'V') if cursor.pass(b"Version ").is_ok_and(|it| it) => wrong_at(0, JOINED),
            Ok(_) => cursor.unexpected("a record (`+ `) or a global line (`* `)"),
        });
        match (next, &self.broken) {
            // Between two items nobody else would see it.
            (Ok(None), Some(_)) => {
                self.failed_at = self.buffer.len();
                let words = self.broken.take().unwrap_or_default();
                Err(self.wrong(self.failed_at, Fault::Truncated, words))
            }
            (next, _) => next,
        }
    }

    /// Goes on behind an item that is wrong, at the next line that begins as a record or an index does. Gives the offset;
    /// `None` if there is none to the end. What it finds may lie inside of a value.
    ///
    /// # Errors
    /// [`AsbError::Io`].
    pub fn skip(&mut self) -> Result<Option<u64>, AsbError> {
        // In the head of a record the next `+ n` may still be its own.
        let mut head = self.buffer[self.start..self.failed_at.min(self.buffer.len())].starts_with(b"+ ")
            && !contains(&self.buffer[self.start..self.failed_at.min(self.buffer.len())], b"\n+ b ");
        // A line that begins where it went wrong may be a good one.
        let behind = self.failed_at.min(self.buffer.len()).saturating_sub(1);
        self.consume(behind.max(self.start));
        loop {
            let rest = &self.buffer[self.start..];
            let mut found = None;
            for (at, _) in rest.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
                let next = &rest[at + 1..];
                if next.len() < 4 && !self.ended {
                    break;
                }
                if next.starts_with(b"+ b ") {
                    head = false;
                } else if next.starts_with(b"+ k ")
                    || next.starts_with(b"+ n ") && !head
                    || [b"* i ", b"* e ", b"* u "].iter().any(|start| next.starts_with(*start))
                {
                    found = Some(at + 1);
                    break;
                }
            }
            if let Some(at) = found {
                self.consume(self.start + at);
                return Ok(Some(self.offset()));
            }
            if self.ended {
                self.consume(self.buffer.len());
                return Ok(None);
            }
            let kept = rest.len().min(4);
            self.consume(self.buffer.len() - kept);
            self.fill(self.buffer.len() - self.start + 1)?;
        }
    }

    /// Parses a piece as soon as enough of it was read.
    #[inline]
    fn piece<T>(
        &mut self,
        what: &str,
        mut parse: impl FnMut(&mut Cursor<'_>, bool) -> Result<T, Stop>,
    ) -> Result<T, AsbError> {
        loop {
            let mut cursor = Cursor::new(&self.buffer[self.start..]);
            match parse(&mut cursor, self.ended) {
                Ok(parsed) => {
                    let end = self.start + cursor.at;
                    self.consume(end);
                    return Ok(parsed);
                }
                Err(Stop::Wrong { at, fault, reason }) => {
                    self.failed_at = self.start + at;
                    return Err(self.wrong(self.failed_at, fault, reason));
                }
                Err(Stop::More(_)) if self.ended => {
                    self.failed_at = self.buffer.len();
                    let begun = self.line;
                    let reason = match self.broken.take() {
                        Some(words) => format!("{words}; {what} that begins on line {begun} is not all there"),
                        None => format!(
                            "the file ends in the middle of {what} that begins on line {begun}: it was cut off, or is still being written"
                        ),
                    };
                    return Err(self.wrong(self.buffer.len(), Fault::Truncated, reason));
                }
                Err(Stop::More(needed)) => {
                    if self.buffer.len() - self.start >= MAX_ITEM_BYTES + CHUNK_BYTES {
                        self.failed_at = self.start + 1;
                        let reason = format!("{what} is longer than {} MiB", MAX_ITEM_BYTES >> 20);
                        return Err(self.wrong(self.start, Fault::Malformed, reason));
                    }
                    self.fill(needed)?;
                }
            }
        }
    }

    fn wrong(&self, at: usize, fault: Fault, reason: String) -> AsbError {
        let before = &self.buffer[self.start..at.min(self.buffer.len())];
        AsbError::Wrong { fault, line: self.line + lines(before), offset: self.offset + at as u64, reason }
    }

    #[inline]
    fn consume(&mut self, end: usize) {
        self.line += lines(&self.buffer[self.start..end]);
        self.start = end;
    }

    /// Reads on until so many bytes of the next item are there, or the input ends.
    fn fill(&mut self, needed: usize) -> Result<(), AsbError> {
        self.buffer.drain(..self.start);
        self.offset += self.start as u64;
        self.start = 0;
        if self.buffer.is_empty() {
            // One long item must not keep its memory.
            self.buffer.shrink_to(4 * CHUNK_BYTES);
        }
        while self.buffer.len() < needed && !self.ended {
            // What is announced is allocated only as fast as it comes.
            let len = self.buffer.len();
            let most = (needed - len).max(CHUNK_BYTES).min(len.max(CHUNK_BYTES));
            self.buffer.resize(len + most, 0);
            let mut filled = len;
            while filled < self.buffer.len() {
                match self.input.read(&mut self.buffer[filled..]) {
                    Ok(0) => {
                        self.ended = true;
                        break;
                    }
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) if is_broken_off(&error) => {
                        self.ended = true;
                        self.broken = Some(error.to_string());
                        break;
                    }
                    Err(source) => {
                        self.buffer.truncate(filled);
                        return Err(AsbError::Io { offset: self.offset + filled as u64, source });
                    }
                }
            }
            self.buffer.truncate(filled);
        }
        Ok(())
    }
}

fn is_broken_off(error: &std::io::Error) -> bool {
    let Some(inner) = error.get_ref() else { return false };
    inner.is::<BrokenOff>()
}

#[inline]
fn lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn header(cursor: &mut Cursor<'_>, at_end: bool) -> Result<Header, Stop> {
    let stop =
        |cursor: &Cursor<'_>, fault, reason: &str| Err(Stop::Wrong { at: cursor.at, fault, reason: reason.to_owned() });
    match cursor.pass(b"Version ") {
        Ok(true) => {}
        Err(more) if !at_end => return Err(more),
        Err(_) if cursor.peek().is_err() => return stop(cursor, Fault::Empty, "the file is empty"),
        _ => return stop(cursor, Fault::NotAsb, "it does not begin with `Version `"),
    }
    let text = cursor.until(b"\n", "the version")?;
    let text = match text.strip_suffix(b"\r") {
        Some(text) if text.len() == 3 => {
            cursor.at -= 1;
            return cursor.unexpected("the end of the line");
        }
        _ => text,
    };
    let version = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    let Some(version) = version else {
        let reason = format!("version `{}` of the format is not known: 3.0 to 3.3 are", text.escape_ascii());
        return Err(Stop::Wrong { at: cursor.at, fault: Fault::Version, reason });
    };
    cursor.end_line()?;
    let mut header = Header { version, ..Header::default() };
    loop {
        match cursor.peek() {
            Ok(b'#') => {}
            Err(more) if !at_end => return Err(more),
            _ => return Ok(header),
        }
        if header.namespace.is_none() && cursor.pass(b"# namespace ")? {
            let mut namespace = Vec::new();
            cursor.name(b'\n', header.version.escapes(), "the namespace", &mut namespace)?;
            cursor.end_line()?;
            header.namespace = Some(namespace);
        } else if cursor.pass(b"# first-file\n")? {
            header.first_file = true;
        } else {
            let line = cursor.raw_line(header.version.escapes())?;
            if header.unknown.len() < 64 {
                header.unknown.push(line.to_vec());
            }
        }
    }
}

fn global(cursor: &mut Cursor<'_>, escapes: bool) -> Result<Item, Stop> {
    let start = cursor.at;
    for (mark, is_expression) in [(&b"* i "[..], false), (b"* e ", true)] {
        if cursor.pass(mark)? {
            let line = cursor.raw_line(escapes)?;
            return Ok(match parse_index(line, is_expression, escapes) {
                Some(index) => Item::Index(index),
                None => Item::Unknown([mark, line].concat()),
            });
        }
    }
    if cursor.pass(b"* u L ")? {
        let mut name = Vec::new();
        cursor.name(b' ', escapes, "a module's name", &mut name)?;
        cursor.expect(b" ", "a space")?;
        let len = cursor.number(u64::MAX, "a module's length")?;
        cursor.expect(b" ", "a space")?;
        let content = cursor.take(len, "a module")?.to_vec();
        cursor.end_line()?;
        return Ok(Item::Module(Module { name, content }));
    }
    cursor.at = start;
    cursor.expect(b"* ", "a global line (`* `)")?;
    cursor.at = start;
    Ok(Item::Unknown(cursor.raw_line(escapes)?.to_vec()))
}
