//! Lines as they are read: some of them at once, so that several threads have something to do.

use super::plain::{self, Keyed};
use crate::connector::ConnectorError;
use std::io::{BufRead as _, BufReader, Read};

/// The longest line.
const MAX_LINE_BYTES: u64 = 512 << 20;

/// Bytes of lines that a thread takes at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Whole lines that follow one another.
pub(super) struct Chunk {
    /// How many were read before it.
    pub(super) number: u64,
    /// The number of its first line.
    pub(super) line: u64,
    pub(super) text: Vec<u8>,
    /// How its lines are keyed, if they are ordinary ones.
    pub(super) keyed: Option<Keyed>,
}

/// A line that ends everything, by its number.
pub(super) type Failure = (u64, ConnectorError);

/// What a line's reader is told about one that makes no sense.
pub(super) fn wrong(origin: &str, line: u64, reason: &str) -> Failure {
    let object = format!("line {line} of {origin}");
    (line, ConnectorError::Unreadable { object, reason: reason.to_owned() })
}

/// Reads lines.
pub(super) struct Chunks<'a> {
    input: BufReader<Box<dyn Read + Send + 'a>>,
    origin: &'a str,
    number: u64,
    /// Lines that were read.
    pub(super) line: u64,
    /// How they are keyed, if they are ordinary ones; not known before the first.
    pub(super) keyed: Option<Keyed>,
    is_ours: bool,
    /// Whether the last line ended.
    pub(super) ended: bool,
    /// Whether the first line said that lines are ordinary.
    pub(super) found_out: bool,
}

impl<'a> Chunks<'a> {
    pub(super) fn new(input: Box<dyn Read + Send + 'a>, origin: &'a str, keyed: Option<Keyed>) -> Self {
        let input = BufReader::with_capacity(1 << 20, input);
        Self { input, origin, number: 0, line: 0, keyed, is_ours: false, ended: true, found_out: false }
    }

    /// The next lines, in memory that is used again; `None` behind the last.
    pub(super) fn next(&mut self, mut text: Vec<u8>) -> Result<Option<Chunk>, Failure> {
        text.clear();
        // One long line must not keep its memory.
        text.shrink_to(2 * CHUNK_BYTES);
        let mut first = self.line + 1;
        while text.len() < CHUNK_BYTES {
            let start = text.len();
            let read = (&mut self.input).take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut text);
            let read = read.map_err(|source| {
                let object = self.origin.to_owned();
                (self.line + 1, ConnectorError::Io { operation: "read", object, source })
            })?;
            if read == 0 {
                break;
            }
            self.line += 1;
            self.ended = text.ends_with(b"\n");
            if read as u64 > MAX_LINE_BYTES {
                return Err(wrong(self.origin, self.line, "the line is longer than 512 MiB"));
            }
            if self.keyed.is_none() && !self.is_ours {
                let line = without_mark(&text[start..], self.line);
                if line.trim_ascii().is_empty() {
                    // Whatever the lines are: it says nothing.
                    text.truncate(start);
                    first = self.line + 1;
                    continue;
                }
                self.is_ours = plain::is_ours(line);
                if !self.is_ours {
                    self.keyed = Some(Keyed::ByNumber);
                    self.found_out = true;
                }
            }
        }
        if text.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(Chunk { number: self.number - 1, line: first, text, keyed: self.keyed.clone() }))
    }
}

/// A line without the byte order mark that a text may begin with.
pub(super) fn without_mark(text: &[u8], line: u64) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").filter(|_| line == 1).unwrap_or(text)
}
