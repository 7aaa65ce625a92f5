//! A place in bytes that may not all have been read yet.

use super::{
    MAX_ITEM_BYTES, MAX_TOKEN_BYTES,
    error::{Fault, Stop},
};

pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn wrong<T>(&self, reason: impl Into<String>) -> Result<T, Stop> {
        wrong_at(self.at, reason)
    }

    #[inline]
    pub(super) fn peek(&self) -> Result<u8, Stop> {
        self.bytes.get(self.at).copied().ok_or(Stop::More(self.at + 1))
    }

    #[inline]
    pub(super) fn next(&mut self) -> Result<u8, Stop> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    /// The next four bytes, if so many are there.
    #[inline]
    pub(super) fn four(&self) -> Option<[u8; 4]> {
        self.bytes.get(self.at..)?.first_chunk().copied()
    }

    /// Passes these bytes, if they stand here.
    #[inline]
    pub(super) fn pass(&mut self, text: &[u8]) -> Result<bool, Stop> {
        let rest = &self.bytes[self.at..];
        if let Some(same) = rest.get(..text.len()) {
            if same == text {
                self.at += text.len();
                return Ok(true);
            }
            return Ok(false);
        }
        // What is there may tell already that it is something else.
        if text.starts_with(rest) { Err(Stop::More(self.at + text.len())) } else { Ok(false) }
    }

    #[inline]
    pub(super) fn expect(&mut self, text: &[u8], what: &str) -> Result<(), Stop> {
        if self.pass(text)? { Ok(()) } else { self.unexpected(what) }
    }

    /// Says what stands here instead of what should.
    pub(super) fn unexpected<T>(&self, what: &str) -> Result<T, Stop> {
        let rest = &self.bytes[self.at..];
        if rest.first() == Some(&b'\r') {
            return self.wrong(format!(
                "{what} is expected, and a carriage return stands there: the file's line ends were converted on the way, \
                 which also changes the values in it"
            ));
        }
        let shown = &rest[..rest.len().min(24)];
        self.wrong(format!("{what} is expected, and `{}` stands there", shown.escape_ascii()))
    }

    /// The end of a line.
    #[inline]
    pub(super) fn end_line(&mut self) -> Result<(), Stop> {
        if self.peek()? == b'\n' {
            self.at += 1;
            return Ok(());
        }
        self.unexpected("the end of the line")
    }

    /// The bytes up to a delimiter, which is not passed.
    #[inline]
    pub(super) fn until(&mut self, delimiters: &[u8], what: &str) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.at..];
        let window = &rest[..rest.len().min(MAX_TOKEN_BYTES + 1)];
        let found = match delimiters {
            [one] => memchr::memchr(*one, window),
            [one, other] => memchr::memchr2(*one, *other, window),
            _ => window.iter().position(|byte| delimiters.contains(byte)),
        };
        match found {
            Some(len) => {
                self.at += len;
                Ok(&rest[..len])
            }
            None if window.len() > MAX_TOKEN_BYTES => {
                self.wrong(format!("{what} is longer than {MAX_TOKEN_BYTES} bytes"))
            }
            None => Err(Stop::More(self.at + window.len() + 1)),
        }
    }

    /// Adds a name up to a delimiter, which is not passed, without its escapes.
    #[inline]
    pub(super) fn name(&mut self, end: u8, escapes: bool, what: &str, out: &mut Vec<u8>) -> Result<(), Stop> {
        let start = self.at;
        loop {
            let rest = &self.bytes[self.at..];
            let window = &rest[..rest.len().min(MAX_TOKEN_BYTES + 1 - (self.at - start))];
            let plain = window.iter().position(|byte| *byte == end || matches!(byte, b'\\' | b'\n'));
            let plain = plain.unwrap_or(window.len());
            out.extend_from_slice(&window[..plain]);
            self.at += plain;
            if self.at - start <= MAX_TOKEN_BYTES {
                match self.next()? {
                    byte if byte == end => {
                        self.at -= 1;
                        return Ok(());
                    }
                    b'\\' if escapes => out.push(self.next()?),
                    b'\n' => {
                        self.at -= 1;
                        return self.wrong(format!("the line ends in the middle of {what}"));
                    }
                    byte => out.push(byte),
                }
            }
            if self.at - start > MAX_TOKEN_BYTES {
                return wrong_at(start, format!("{what} is longer than {MAX_TOKEN_BYTES} bytes"));
            }
        }
    }

    /// A number up to this value, followed by a delimiter that is not passed.
    #[inline]
    pub(super) fn number(&mut self, most: u64, what: &str) -> Result<u64, Stop> {
        let start = self.at;
        let mut value: u64 = 0;
        loop {
            let Some(byte) = self.bytes.get(self.at) else { return Err(Stop::More(self.at + 1)) };
            if !byte.is_ascii_digit() {
                break;
            }
            self.at += 1;
            let next = value.checked_mul(10).and_then(|value| value.checked_add(u64::from(byte - b'0')));
            match next.filter(|next| *next <= most) {
                Some(next) => value = next,
                None => return wrong_at(start, format!("{what} is over {most}")),
            }
        }
        if self.at == start { self.unexpected(what) } else { Ok(value) }
    }

    /// So many bytes.
    #[inline]
    pub(super) fn take(&mut self, len: u64, what: &str) -> Result<&'a [u8], Stop> {
        let end =
            usize::try_from(len).ok().and_then(|len| self.at.checked_add(len)).filter(|end| *end <= MAX_ITEM_BYTES);
        let Some(end) = end else {
            return self.wrong(format!("{what} is to have {len} bytes, more than any server stores"));
        };
        let Some(bytes) = self.bytes.get(self.at..end) else { return Err(Stop::More(end)) };
        self.at = end;
        Ok(bytes)
    }

    /// The rest of the line with its end, as it is. Where names are escaped, an end that is escaped is none.
    pub(super) fn raw_line(&mut self, escapes: bool) -> Result<&'a [u8], Stop> {
        let start = self.at;
        loop {
            match self.next()? {
                b'\n' => return Ok(&self.bytes[start..self.at]),
                b'\\' if escapes => drop(self.next()?),
                _ => {}
            }
            if self.at - start > 16 * MAX_TOKEN_BYTES {
                return wrong_at(start, format!("the line is longer than {} bytes", 16 * MAX_TOKEN_BYTES));
            }
        }
    }
}

pub(super) fn wrong_at<T>(at: usize, reason: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Wrong { at, fault: Fault::Malformed, reason: reason.into() })
}
