//! The binary form of `COPY`.

use std::io::{self, BufRead};

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// The longest row that is taken into memory.
const MAX_ROW_BYTES: usize = 1 << 30;

/// Rows as they come from a server.
pub(super) struct CopyRows<R> {
    input: R,
    /// What was taken from it because no row ended where it ended, and how far that was read.
    held: Vec<u8>,
    at: usize,
    /// The bytes of the row at hand that lie in the input.
    taken: usize,
    begun: bool,
    ended: bool,
}

/// One row: its fields are stretches of these bytes.
pub(super) struct CopyRow<'a> {
    bytes: &'a [u8],
    fields: &'a [Option<(u32, u32)>],
}

impl<'a> CopyRow<'a> {
    /// One whose fields came in another way.
    pub(super) const fn of(bytes: &'a [u8], fields: &'a [Option<(u32, u32)>]) -> Self {
        Self { bytes, fields }
    }

    /// A field; `None` for NULL, and for one that is not there.
    pub(super) fn field(&self, at: usize) -> Option<&'a [u8]> {
        let (from, to) = (*self.fields.get(at)?)?;
        self.bytes.get(from as usize..to as usize)
    }
}

impl CopyRow<'_> {
    /// All fields.
    pub(super) fn fields(&self) -> impl Iterator<Item = Option<&[u8]>> {
        (0..self.fields.len()).map(|at| self.field(at))
    }
}

impl<R: BufRead> CopyRows<R> {
    pub(super) const fn new(input: R) -> Self {
        Self { input, held: Vec::new(), at: 0, taken: 0, begun: false, ended: false }
    }

    /// The next row; `None` at the end. `fields` is used again for each.
    pub(super) fn next<'a>(&'a mut self, fields: &'a mut Vec<Option<(u32, u32)>>) -> io::Result<Option<CopyRow<'a>>> {
        if self.ended {
            return Ok(None);
        }
        self.input.consume(self.taken);
        self.taken = 0;
        if self.at > 0 {
            self.held.drain(..self.at);
            self.at = 0;
        }
        if !self.begun {
            while self.header()?.is_none() {
                self.take_more()?;
            }
            self.begun = true;
        }
        // Servers send row by row: mostly one is looked at where it lies.
        if self.at == self.held.len()
            && let Parsed::Row(len) = parse_row(self.input.fill_buf()?, fields)?
        {
            self.taken = len;
            return Ok(Some(CopyRow { bytes: &self.input.fill_buf()?[..len], fields }));
        }
        let start = self.at;
        loop {
            match parse_row(&self.held[start..], fields)? {
                Parsed::Row(len) => {
                    self.at = start + len;
                    return Ok(Some(CopyRow { bytes: &self.held[start..self.at], fields }));
                }
                Parsed::End => {
                    self.ended = true;
                    // The server's last word comes behind the trailer: only then is it known that all went well.
                    return if self.input.fill_buf()?.is_empty() {
                        Ok(None)
                    } else {
                        Err(wrong("bytes behind the end"))
                    };
                }
                Parsed::Part if self.held.len() - start > MAX_ROW_BYTES => {
                    return Err(wrong("a row of more than 1 GiB"));
                }
                Parsed::Part => self.take_more()?,
            }
        }
    }

    fn header(&mut self) -> io::Result<Option<()>> {
        let fixed = SIGNATURE.len() + 8;
        let Some(extension) = self.held.get(fixed - 4..fixed) else { return Ok(None) };
        if !self.held.starts_with(SIGNATURE) {
            return Err(wrong("another signature"));
        }
        let flags = u32::from_be_bytes([self.held[11], self.held[12], self.held[13], self.held[14]]);
        if flags != 0 {
            return Err(wrong("flags that are not known"));
        }
        let extension = extension.iter().fold(0_usize, |all, byte| all << 8 | usize::from(*byte));
        if extension > MAX_ROW_BYTES {
            return Err(wrong("a long header"));
        }
        if self.held.len() < fixed + extension {
            return Ok(None);
        }
        self.at = fixed + extension;
        Ok(Some(()))
    }

    fn take_more(&mut self) -> io::Result<()> {
        let more = self.input.fill_buf()?;
        if more.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server ended early"));
        }
        let len = more.len();
        self.held.extend_from_slice(more);
        self.input.consume(len);
        Ok(())
    }
}

enum Parsed {
    Row(usize),
    End,
    Part,
}

fn parse_row(bytes: &[u8], fields: &mut Vec<Option<(u32, u32)>>) -> io::Result<Parsed> {
    fields.clear();
    let Some(count) = bytes.first_chunk::<2>() else { return Ok(Parsed::Part) };
    let count = i16::from_be_bytes(*count);
    if count == -1 {
        return Ok(Parsed::End);
    }
    let count = usize::try_from(count).map_err(|_| wrong("a negative number of fields"))?;
    let mut at = 2;
    for _ in 0..count {
        let Some(len) = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>) else { return Ok(Parsed::Part) };
        let len = i32::from_be_bytes(*len);
        at += 4;
        if len == -1 {
            fields.push(None);
            continue;
        }
        let len = usize::try_from(len).map_err(|_| wrong("a negative length"))?;
        if bytes.len() < at + len {
            return Ok(Parsed::Part);
        }
        fields.push(Some((at as u32, (at + len) as u32)));
        at += len;
    }
    Ok(Parsed::Row(at))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the server sent {what}"))
}

/// Begins a binary copy.
pub(super) fn put_header(out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[0; 8]);
}

/// Ends it.
pub(super) fn put_trailer(out: &mut Vec<u8>) {
    out.extend_from_slice(&(-1_i16).to_be_bytes());
}

/// Begins a row.
pub(super) fn put_count(fields: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(fields as i16).to_be_bytes());
}

/// Appends a field.
pub(super) fn put_field(field: Option<&[u8]>, out: &mut Vec<u8>) {
    match field {
        None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        Some(bytes) => {
            out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

/// Appends a field that is made where it goes: `make` says whether it is set, or gives `None` if it cannot be made, and then the row
/// is of no use.
pub(super) fn make_field(out: &mut Vec<u8>, make: impl FnOnce(&mut Vec<u8>) -> Option<bool>) -> Option<()> {
    let at = out.len();
    put_field(None, out);
    let start = out.len();
    if make(out)? {
        let len = (out.len() - start) as i32;
        out[at..start].copy_from_slice(&len.to_be_bytes());
    } else {
        out.truncate(start);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all<R: BufRead>(input: R) -> io::Result<Vec<Vec<Option<Vec<u8>>>>> {
        let mut rows = CopyRows::new(input);
        let (mut fields, mut found) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next(&mut fields)? {
            found.push(row.fields().map(|field| field.map(<[u8]>::to_vec)).collect());
        }
        Ok(found)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn rows_come_back_however_the_bytes_are_cut(
            rows in prop::collection::vec(prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..20)), 0..5), 0..8),
            cut in 1..40_usize,
            lost in 1..20_usize,
        ) {
            let mut bytes = Vec::new();
            put_header(&mut bytes);
            for row in &rows {
                put_count(row.len(), &mut bytes);
                for (at, field) in row.iter().enumerate() {
                    if at % 2 == 0 {
                        put_field(field.as_deref(), &mut bytes);
                        continue;
                    }
                    make_field(&mut bytes, |out| {
                        out.extend_from_slice(field.as_deref().unwrap_or(b"not set"));
                        Some(field.is_some())
                    }).unwrap();
                }
            }
            put_trailer(&mut bytes);
            prop_assert_eq!(all(io::BufReader::with_capacity(cut, bytes.as_slice())).unwrap(), rows);
            let short = &bytes[..bytes.len() - lost.min(bytes.len())];
            prop_assert!(all(io::BufReader::with_capacity(cut, short)).is_err(), "a stream that ends early is no end");
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100), whole in any::<bool>()) {
            let mut all_bytes = Vec::new();
            if whole {
                put_header(&mut all_bytes);
            }
            all_bytes.extend(bytes);
            let _ = all(all_bytes.as_slice());
        }
    }
}
