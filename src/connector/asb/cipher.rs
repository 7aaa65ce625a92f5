//! AES in counter mode as the tools frame it: sixteen bytes of header that hide the first counter, then the text. Nothing
//! says that a file is encrypted, and nothing that it was not changed.

use aes::{
    Aes128, Aes256,
    cipher::{
        Array, BlockCipherDecrypt as _, BlockCipherEncrypt as _, KeyInit as _, KeyIvInit as _, StreamCipher as _,
    },
};
use ctr::Ctr128BE;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    io::{self, Read, Write},
};
use zeroize::Zeroizing;

/// The bytes of the header.
const HEADER_BYTES: usize = 16;

/// How long a key is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// 128 bits.
    Aes128,
    /// 256 bits.
    Aes256,
}

/// A key with its mode.
#[derive(Clone)]
pub struct Cipher {
    mode: Mode,
    key: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// The key stream.
enum Stream {
    Aes128(Ctr128BE<Aes128>),
    Aes256(Ctr128BE<Aes256>),
}

impl Stream {
    fn apply(&mut self, bytes: &mut [u8]) {
        match self {
            Self::Aes128(stream) => stream.apply_keystream(bytes),
            Self::Aes256(stream) => stream.apply_keystream(bytes),
        }
    }
}

impl Cipher {
    /// Of 32 bytes; the shorter mode takes the first 16.
    #[must_use]
    pub fn new(mode: Mode, key: &[u8; 32]) -> Self {
        Self { mode, key: Zeroizing::new(*key) }
    }

    fn short(&self) -> [u8; 16] {
        let mut short = [0; 16];
        short.copy_from_slice(&self.key[..16]);
        short
    }

    fn stream(&self, counter: [u8; HEADER_BYTES]) -> Stream {
        match self.mode {
            Mode::Aes128 => Stream::Aes128(Ctr128BE::<Aes128>::new(&self.short().into(), &counter.into())),
            Mode::Aes256 => Stream::Aes256(Ctr128BE::<Aes256>::new(&(*self.key).into(), &counter.into())),
        }
    }

    /// One block alone, one way or the other.
    fn block(&self, block: [u8; HEADER_BYTES], encrypt: bool) -> [u8; HEADER_BYTES] {
        let mut block = Array::from(block);
        match (self.mode, encrypt) {
            (Mode::Aes128, true) => Aes128::new(&self.short().into()).encrypt_block(&mut block),
            (Mode::Aes128, false) => Aes128::new(&self.short().into()).decrypt_block(&mut block),
            (Mode::Aes256, true) => Aes256::new(&(*self.key).into()).encrypt_block(&mut block),
            (Mode::Aes256, false) => Aes256::new(&(*self.key).into()).decrypt_block(&mut block),
        }
        block.into()
    }

    /// The header that hides a counter.
    fn header_of(&self, counter: [u8; HEADER_BYTES]) -> [u8; HEADER_BYTES] {
        self.block(u128::from_be_bytes(counter).wrapping_sub(1).to_be_bytes(), true)
    }

    /// The counter that a header hides.
    fn counter_of(&self, header: [u8; HEADER_BYTES]) -> [u8; HEADER_BYTES] {
        u128::from_be_bytes(self.block(header, false)).wrapping_add(1).to_be_bytes()
    }
}

/// Decrypts what it reads.
pub struct Decrypt<R> {
    input: R,
    cipher: Cipher,
    stream: Option<Stream>,
}

impl<R: Read> Decrypt<R> {
    /// Reads the header with the first bytes.
    pub const fn new(input: R, cipher: Cipher) -> Self {
        Self { input, cipher, stream: None }
    }
}

impl<R: Read> Read for Decrypt<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stream = if let Some(stream) = &mut self.stream {
            stream
        } else {
            let mut header = [0; HEADER_BYTES];
            self.input.read_exact(&mut header).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    io::Error::new(error.kind(), "it is shorter than the header of an encrypted file")
                }
                _ => error,
            })?;
            self.stream.insert(self.cipher.stream(self.cipher.counter_of(header)))
        };
        let read = self.input.read(buffer)?;
        stream.apply(&mut buffer[..read]);
        Ok(read)
    }
}

/// Encrypts what is written to it.
pub struct Encrypt<W> {
    output: W,
    stream: Stream,
    buffer: Vec<u8>,
}

impl<W: Write> Encrypt<W> {
    /// Writes the header, with a counter drawn by lot.
    ///
    /// # Errors
    /// What the output says, or the system if it has no random bytes.
    pub fn new(output: W, cipher: &Cipher) -> io::Result<Self> {
        let mut counter = [0; HEADER_BYTES];
        getrandom::fill(&mut counter).map_err(io::Error::other)?;
        Self::with(output, cipher, counter)
    }

    fn with(mut output: W, cipher: &Cipher, counter: [u8; HEADER_BYTES]) -> io::Result<Self> {
        output.write_all(&cipher.header_of(counter))?;
        Ok(Self { output, stream: cipher.stream(counter), buffer: Vec::new() })
    }

    /// What it writes to.
    pub fn into_inner(self) -> W {
        self.output
    }

    /// The same, to look at.
    pub const fn output(&self) -> &W {
        &self.output
    }
}

impl<W: Write> Write for Encrypt<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.chunks(64 << 10) {
            self.buffer.clear();
            self.buffer.extend_from_slice(piece);
            self.stream.apply(&mut self.buffer);
            self.output.write_all(&self.buffer)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    const PLAIN: &[u8] = b"Version 3.1\n# namespace test\n";

    fn cipher(mode: Mode) -> Cipher {
        Cipher::new(mode, &std::array::from_fn(|at| at as u8))
    }

    #[test]
    fn files_are_encrypted_as_the_tools_do() {
        let counter = std::array::from_fn(|at| at as u8);
        for (mode, expected) in [
            (
                Mode::Aes256,
                "f58446b4bfaed8bcdde2b5d00ef201ff0c0b762461941fb6c300643721e3c8f30d9663a5a2e63d7d2173882578",
            ),
            (
                Mode::Aes128,
                "e62a2815c64fbb24e09f0b8134764e035cf179c628019e65c2eda552e573843b6f069fe4077b17b6eebf8e7b41",
            ),
        ] {
            let mut encrypt = Encrypt::with(Vec::new(), &cipher(mode), counter).unwrap();
            for byte in PLAIN.chunks(3) {
                encrypt.write_all(byte).unwrap();
            }
            let bytes = encrypt.into_inner();
            assert_eq!(HEXLOWER.encode(&bytes), expected);
            let mut plain = Vec::new();
            Decrypt::new(&bytes[..], cipher(mode)).read_to_end(&mut plain).unwrap();
            assert_eq!(plain, PLAIN);
        }
    }

    #[test]
    fn counters_carry_over_all_their_bits() {
        let cipher = cipher(Mode::Aes256);
        for counter in [[0; 16], [0xff; 16]] {
            assert_eq!(cipher.counter_of(cipher.header_of(counter)), counter);
        }
        let short = Decrypt::new(&b"short"[..], cipher).read(&mut [0; 8]).unwrap_err();
        assert!(short.to_string().contains("shorter than the header"), "{short}");
    }
}
