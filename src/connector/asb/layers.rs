//! The layers around the text: compression inside of encryption.

use super::{
    cipher::{Cipher, Decrypt, Encrypt},
    codec::{AsbError, AsbReader, Fault},
};
use std::io::{self, BufReader, Cursor, Read, Write};

/// What compressed text begins with.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

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
        let decoder = zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(256 << 10, input))?;
        return Ok((Box::new(decoder), layers));
    }
    Ok((Box::new(input), layers))
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
    let (plain, layers) = peel(input, cipher).map_err(failed)?;
    let reader = AsbReader::new(plain).map_err(|error| match error {
        AsbError::Wrong { fault: Fault::NotAsb, line, offset, reason } => {
            let guess = match (cipher.is_some(), reason.ends_with("is empty")) {
                (_, true) => "",
                (true, _) => ": the key or the mode is wrong, or it is not encrypted",
                (false, _) => ": it is probably encrypted (then mode and key are needed), or no ASB file",
            };
            AsbError::Wrong { fault: Fault::NotAsb, line, offset, reason: format!("{reason}{guess}") }
        }
        error => error,
    })?;
    Ok((reader, layers))
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
