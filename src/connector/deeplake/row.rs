//! The records of a dataset as files to write.

use crate::{
    connector::file_record::{
        cells::{Attributes, Kind},
        is_valid_key,
    },
    record::{RecordBatch, StreamedValue},
};
use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

/// A file of a batch.
pub(super) struct PlainFile<'a> {
    pub(super) key: &'a [u8],
    pub(super) attributes: Attributes,
    inline: &'a [u8],
    stream: Option<Box<dyn StreamedValue>>,
}

impl<'a> PlainFile<'a> {
    /// A record of a batch, whose stream it takes.
    ///
    /// # Errors
    /// In words, if it is no file that a dataset may have.
    pub(super) fn of(batch: &'a mut RecordBatch, index: usize) -> Result<Self, String> {
        let stream = match batch.row(index).stream.map(|number| batch.take_stream(number)) {
            Some(None) => return Err("its content was taken already".to_owned()),
            Some(stream) => stream,
            None => None,
        };
        let row = batch.row(index);
        if !is_valid_key(row.key) || row.key.ends_with(b"/") {
            return Err("the key is no path below the dataset".to_owned());
        }
        let (attributes, content, _) = Attributes::decode(&row).map_err(|error| error.to_string())?;
        if attributes.kind != Kind::File || attributes.hardlink.is_some() || attributes.extents.is_some() {
            return Err("it is no plain file".to_owned());
        }
        Ok(Self { key: row.key, attributes, inline: content.unwrap_or_default(), stream })
    }

    /// Gives its content, which fails where it is not as long as its size says.
    ///
    /// # Errors
    /// In words: what the content or whoever takes it says.
    pub(super) fn read<T>(
        &mut self,
        take: impl FnOnce(&Attributes, &mut dyn Read) -> io::Result<T>,
    ) -> Result<T, String> {
        let mut left = self.attributes.size;
        let taken = match &mut self.stream {
            None => take(&self.attributes, &mut Whole { inner: self.inline, left: &mut left }),
            Some(stream) => {
                let rest = stream.open().map_err(|error| error.to_string())?;
                take(&self.attributes, &mut Whole { inner: self.inline.chain(rest), left: &mut left })
            }
        };
        taken.map_err(|error| error.to_string())
    }
}

/// Fails at its end where more or less came than was said.
struct Whole<'l, R> {
    inner: R,
    left: &'l mut Option<u64>,
}

impl<R: Read> Read for Whole<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let Some(left) = self.left else { return Ok(read) };
        let is_right = if read == 0 && !buffer.is_empty() { *left == 0 } else { *left >= read as u64 };
        if !is_right {
            return Err(io::Error::other("its content is not as long as its size says"));
        }
        *left -= read as u64;
        Ok(read)
    }
}

/// Writes a file that is not there yet, with the mode and time that it had.
pub(super) fn write_file(path: &Path, attributes: &Attributes, content: &mut dyn Read) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    io::copy(content, &mut file)?;
    if let Some(mode) = attributes.mode {
        file.set_permissions(fs::Permissions::from_mode(mode & 0o777 | 0o600))?;
    }
    if let Some(time) = attributes.mtime.filter(|time| time.seconds >= 0) {
        file.set_modified(UNIX_EPOCH + Duration::new(time.seconds as u64, time.nanos))?;
    }
    Ok(())
}
