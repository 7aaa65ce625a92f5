//! The layers around the text: compression inside of encryption.

use super::{
    cipher::{Cipher, Decrypt, Encrypt},
    codec::{AsbError, AsbReader, BrokenOff, Fault},
};
use std::io::{self, BufReader, Cursor, Read, Write};

/// What compressed text begins with.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The longest window, as a power of two, that unpacking looks back over: that of the highest level there is, 128 MiB. It is
/// what unpacking one file holds in memory at most, whatever its head says.
const MAX_WINDOW_LOG: u32 = 27;

/// So much is unpacked at once.
const UNPACKED_BYTES: usize = 4 << 10;

/// Text, whatever lies around it.
pub type Plain = Box<dyn Read + Send>;

/// Takes the layers off: compression is found by how it begins, encryption has to be told.
///
/// # Errors
/// What the input says.
pub fn peel(input: impl Read + Send + 'static, cipher: Option<&Cipher>) -> io::Result<(Plain, Layers)> {
    let mut input: Plain = match cipher {
        Some(cipher) => Box::new(Decrypt::new(input, cipher.clone())),
        None => Box::new(input),
    };
    let mut first = Vec::new();
    input.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut first)?;
    let is_compressed = first == ZSTD_MAGIC;
    let input = Cursor::new(first).chain(input);
    let layers = Layers { is_compressed, is_encrypted: cipher.is_some() };
    if is_compressed {
        let input = Watched { input, failed: false };
        let mut decoder = zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(256 << 10, input))?;
        decoder.window_log_max(MAX_WINDOW_LOG)?;
        return Ok((Box::new(Unpacked(decoder)), layers));
    }
    Ok((Box::new(input), layers))
}

/// An input that knows whether it was what failed.
struct Watched<R> {
    input: R,
    failed: bool,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer);
        self.failed = read.is_err();
        read
    }
}

/// What was compressed; where it is cut off or damaged it breaks off, and what came before is good.
struct Unpacked<R: Read>(zstd::stream::read::Decoder<'static, BufReader<Watched<R>>>);

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Where it fails, what it had unpacked in the same call is lost.
        let most = buffer.len().min(UNPACKED_BYTES);
        self.0.read(&mut buffer[..most]).map_err(|error| {
            if self.0.get_ref().get_ref().failed {
                return error;
            }
            let words = match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    "the compressed stream ends in the middle: it was cut off, or is still being written".to_owned()
                }
                // That stands at a frame's end, and is of all that is in it.
                _ if error.to_string().contains("checksum") => {
                    "the compressed stream does not match its checksum: some of what came before is damaged, and nobody can \
                     tell what"
                        .to_owned()
                }
                _ if error.to_string().contains("too much memory") => format!(
                    "it was compressed with a window of more than {} MiB, which no backup tool does: unpack it first",
                    1 << (MAX_WINDOW_LOG - 20)
                ),
                _ => format!("the compressed stream is damaged from here on ({error})"),
            };
            io::Error::new(io::ErrorKind::InvalidData, BrokenOff(words))
        })
    }
}

/// What lay around a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layers {
    /// It was compressed.
    pub is_compressed: bool,
    /// It was decrypted.
    pub is_encrypted: bool,
}

/// Opens a file's text; where it does not begin as one does, says what that may mean.
///
/// # Errors
/// [`AsbError`].
pub fn open(
    input: impl Read + Send + 'static,
    cipher: Option<&Cipher>,
) -> Result<(AsbReader<Plain>, Layers), AsbError> {
    let failed = |source| AsbError::Io { offset: 0, source };
    let mut input = input;
    let mut head = Vec::new();
    input.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut head).map_err(failed)?;
    let other = other_format(&head);
    let (plain, layers) = peel(Cursor::new(head).chain(input), cipher).map_err(failed)?;
    let reader = AsbReader::new(plain).map_err(|error| match error {
        AsbError::Wrong { fault: Fault::NotAsb, line, offset, reason } => {
            let guess = match (cipher, other) {
                (Some(_), _) => ": the key or the mode is wrong, or it is not encrypted".to_owned(),
                (None, Some(other)) => format!(": it looks like {other}"),
                (None, None) => ": it is probably encrypted (then mode and key are needed), or no ASB file".to_owned(),
            };
            AsbError::Wrong { fault: Fault::NotAsb, line, offset, reason: format!("{reason}{guess}") }
        }
        error => error,
    })?;
    Ok((reader, layers))
}

/// What else a file may be that begins so.
fn other_format(head: &[u8]) -> Option<&'static str> {
    let begins: [(&[u8], &str); 8] = [
        (&[0x1f, 0x8b], "a file of gzip: unpack it first"),
        (b"BZh", "a file of bzip2: unpack it first"),
        (&[0xfd, b'7', b'z', b'X'], "a file of xz: unpack it first"),
        (b"PK\x03\x04", "a ZIP archive: unpack it first"),
        (
            &[0xef, 0xbb, 0xbf],
            "text that an editor saved, with a byte order mark before it: values in it may have changed, too",
        ),
        (&[0xff, 0xfe], "text that was converted to UTF-16, which spoils the values in it"),
        (&[0xfe, 0xff], "text that was converted to UTF-16, which spoils the values in it"),
        (b"SQLi", "a database of SQLite: write sqlite:FILE"),
    ];
    begins.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, what)| *what)
}

/// Puts the layers on.
pub enum Wrapped<W: Write> {
    /// Text as it is.
    Plain(W),
    /// Encrypted.
    Encrypted(Box<Encrypt<W>>),
    /// Compressed.
    Compressed(Box<zstd::stream::write::Encoder<'static, W>>),
    /// Compressed, then encrypted.
    Both(Box<zstd::stream::write::Encoder<'static, Encrypt<W>>>),
}

impl<W: Write> Wrapped<W> {
    /// Begins.
    ///
    /// # Errors
    /// What the output says.
    pub fn new(output: W, zstd: Option<i32>, cipher: Option<&Cipher>) -> io::Result<Self> {
        Ok(match (zstd, cipher) {
            (None, None) => Self::Plain(output),
            (None, Some(cipher)) => Self::Encrypted(Box::new(Encrypt::new(output, cipher)?)),
            (Some(level), None) => Self::Compressed(Box::new(zstd::stream::write::Encoder::new(output, level)?)),
            (Some(level), Some(cipher)) => {
                Self::Both(Box::new(zstd::stream::write::Encoder::new(Encrypt::new(output, cipher)?, level)?))
            }
        })
    }

    /// Ends the layers.
    ///
    /// # Errors
    /// What the output says.
    pub fn finish(self) -> io::Result<W> {
        Ok(match self {
            Self::Plain(output) => output,
            Self::Encrypted(encrypt) => encrypt.into_inner(),
            Self::Compressed(encoder) => encoder.finish()?,
            Self::Both(encoder) => encoder.finish()?.into_inner(),
        })
    }

    /// What is written to.
    pub fn output(&self) -> &W {
        match self {
            Self::Plain(output) => output,
            Self::Encrypted(encrypt) => encrypt.output(),
            Self::Compressed(encoder) => encoder.get_ref(),
            Self::Both(encoder) => encoder.get_ref().output(),
        }
    }
}

impl<W: Write> Write for Wrapped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(output) => output.write(bytes),
            Self::Encrypted(encrypt) => encrypt.write(bytes),
            Self::Compressed(encoder) => encoder.write(bytes),
            Self::Both(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(output) => output.flush(),
            Self::Encrypted(encrypt) => encrypt.flush(),
            Self::Compressed(encoder) => encoder.flush(),
            Self::Both(encoder) => encoder.flush(),
        }
    }
}
