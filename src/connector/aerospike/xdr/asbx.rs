//! ASBX: the files in which the vendor's tool keeps what XDR ships, byte for byte. How a folder of them is read is in `feed`, how
//! one is written in `sink`.

mod feed;
mod listing;
mod place;
mod sink;

pub use feed::AsbxFolder;
pub use place::AsbxPlace;
pub use sink::AsbxSink;

use super::{super::wire, Shipped};
use std::io::{self, Read, Write};
use thiserror::Error;

/// What the names of such files end in.
pub const SUFFIX: &str = ".asbx";

const HEAD_BYTES: usize = 44;
const NAMESPACE_BYTES: usize = 31;
const VERSION: u8 = 1;

/// The longest change: what the vendor's reader takes.
const MAX_PAYLOAD: u64 = 128 << 20;

/// Why bytes are no such file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AsbxError {
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not begin as one.
    #[error("it is no ASBX file, or it is compressed or encrypted: {0}")]
    Head(String),
    /// It ends inside of something.
    #[error("it ends inside {what} at byte {at}")]
    Cut {
        /// Of what.
        what: &'static str,
        /// Where that begins.
        at: u64,
    },
    /// A change is not what one is.
    #[error("the change at byte {at}: {reason}")]
    Change {
        /// Where it begins.
        at: u64,
        /// What is wrong.
        reason: String,
    },
}

/// Reads one file.
pub struct AsbxReader<R: Read> {
    input: R,
    at: u64,
    payload: Vec<u8>,
    /// Its number among the files of its backup.
    pub number: u64,
    /// Its namespace.
    pub namespace: Vec<u8>,
}

impl<R: Read> AsbxReader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// [`AsbxError`].
    pub fn new(mut input: R) -> Result<Self, AsbxError> {
        let mut head = [0; HEAD_BYTES];
        if read_up_to(&mut input, &mut head)? < HEAD_BYTES {
            return Err(AsbxError::Head(format!("it has less than {HEAD_BYTES} bytes")));
        }
        if head[0] != VERSION {
            return Err(AsbxError::Head(format!("its version is {}, not {VERSION}", head[0])));
        }
        let (number, rest) = head[1..].split_at(8);
        let (reserved, namespace) = rest.split_at(4);
        let end = namespace.iter().position(|byte| *byte == 0).unwrap_or(NAMESPACE_BYTES);
        let (namespace, padding) = namespace.split_at(end);
        if namespace.is_empty() || reserved.iter().chain(padding).any(|byte| *byte != 0) {
            return Err(AsbxError::Head("its namespace is not padded with zeros".to_owned()));
        }
        let number = number.try_into().map_or(0, u64::from_be_bytes);
        Ok(Self { input, at: HEAD_BYTES as u64, payload: Vec::new(), number, namespace: namespace.to_vec() })
    }

    /// The next change; `None` at the end.
    ///
    /// # Errors
    /// [`AsbxError`]. What comes behind cannot be found any more if the file is cut; a change that is wrong in itself can be
    /// passed over by asking again.
    pub fn next_change(&mut self) -> Result<Option<Shipped<'_>>, AsbxError> {
        let at = self.at;
        let mut head = [0; 26];
        match read_up_to(&mut self.input, &mut head)? {
            0 => return Ok(None),
            26 => {}
            _ => return Err(AsbxError::Cut { what: "the head of a change", at }),
        }
        let (digest, len) = head.split_at(20);
        let len = len.iter().fold(0u64, |len, byte| len << 8 | u64::from(*byte));
        if len > MAX_PAYLOAD {
            return Err(AsbxError::Cut { what: "a change that claims more than 128 MiB", at });
        }
        self.payload.clear();
        // Memory grows with what is there, not with what is claimed.
        let read = self.input.by_ref().take(len).read_to_end(&mut self.payload)? as u64;
        self.at += 26 + read;
        if read < len {
            return Err(AsbxError::Cut { what: "a change", at });
        }
        let wrong = |reason: String| AsbxError::Change { at, reason };
        let Some((head, body)) = self.payload.split_first_chunk::<{ wire::FRAME_HEAD_BYTES }>() else {
            return Err(wrong("it has no frame".to_owned()));
        };
        let (kind, bytes) = wire::parse_frame_head(*head).map_err(|error| wrong(error.to_string()))?;
        if kind != wire::KIND_MESSAGE || bytes != body.len() {
            return Err(wrong("its frame is none of a message of its length".to_owned()));
        }
        let shipped = Shipped::parse(body).map_err(|error| wrong(error.to_string()))?;
        if shipped.digest.0 != digest {
            return Err(wrong("its digest is not the one that stands before it".to_owned()));
        }
        if shipped.namespace() != self.namespace {
            return Err(wrong("its namespace is not that of the file".to_owned()));
        }
        Ok(Some(shipped))
    }
}

fn read_up_to(input: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match input.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes the head of a file.
///
/// # Errors
/// What the output says, or [`io::ErrorKind::InvalidInput`] for a namespace that no file can name.
pub fn put_head(out: &mut impl Write, number: u64, namespace: &[u8]) -> io::Result<()> {
    if namespace.is_empty() || namespace.len() > NAMESPACE_BYTES || namespace.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a namespace that no such file can name"));
    }
    let mut head = [0; HEAD_BYTES];
    head[0] = VERSION;
    head[1..9].copy_from_slice(&number.to_be_bytes());
    head[13..13 + namespace.len()].copy_from_slice(namespace);
    out.write_all(&head)
}

/// Writes a change: the body of its message, in which the mark of XDR is taken off as the vendor's tool does.
///
/// # Errors
/// What the output says.
pub fn put_change(out: &mut impl Write, digest: &[u8; 20], body: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(wire::FRAME_HEAD_BYTES + body.len());
    wire::put_frame_head(&mut frame, wire::KIND_MESSAGE, body.len());
    frame.extend_from_slice(body);
    if let Some(info1) = frame.get_mut(wire::FRAME_HEAD_BYTES + 1) {
        *info1 &= !super::INFO1_XDR;
    }
    out.write_all(digest)?;
    out.write_all(&(frame.len() as u64).to_be_bytes()[2..])?;
    out.write_all(&frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        connector::aerospike::xdr::{Change, body_of},
        record::Digest,
    };

    pub(super) fn put(digest: u8, generation: u32, millis: u64) -> Vec<u8> {
        let change = Change::Put { generation, left: None, bins: &[(b"a", 3, b"value")] };
        body_of(b"test", &Digest([digest; 20]), b"s", None, millis, &change)
    }

    pub(super) fn file(number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put_head(&mut out, number, b"test").unwrap();
        for generation in 1..4 {
            put_change(&mut out, &[5; 20], &put(5, generation, 1_700_000_000_000 + u64::from(generation))).unwrap();
        }
        out
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_cut_anywhere_is_named() {
        let whole = file(7);
        let mut reader = AsbxReader::new(whole.as_slice()).unwrap();
        assert_eq!((reader.number, reader.namespace.as_slice()), (7, b"test".as_slice()));
        let mut ends = vec![HEAD_BYTES];
        while reader.next_change().unwrap().is_some() {
            ends.push(reader.at as usize);
        }
        assert_eq!(ends.len(), 4);
        for cut in 0..whole.len() {
            let Ok(mut reader) = AsbxReader::new(&whole[..cut]) else {
                assert!(cut < HEAD_BYTES);
                continue;
            };
            let mut last = Ok(true);
            while let Ok(true) = last {
                last = reader.next_change().map(|found| found.is_some());
            }
            assert_eq!(last.is_ok(), ends.contains(&cut), "{cut}");
        }
    }
}
