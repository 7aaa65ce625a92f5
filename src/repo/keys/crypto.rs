//! The few cryptographic operations that all objects share.

use crate::repo::{RepoError, entropy};
use rekeep_seal::{Cipher, LongCipher};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use zeroize::Zeroizing;

/// The length of the tag of either suite.
pub(in crate::repo) const TAG_BYTES: usize = rekeep_seal::TAG_BYTES;

/// The length of a long nonce: `XChaCha20` and XAES-256-GCM have the same.
pub(in crate::repo) const NONCE_BYTES: usize = 24;

/// Which ciphers seal. An object says which it was sealed with; a repository which seals what is new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
#[repr(u8)]
pub enum Suite {
    /// ChaCha20-Poly1305, and XChaCha20-Poly1305 where the nonce is drawn.
    #[default]
    ChaCha20Poly1305 = 1,
    /// AES-256-GCM, and XAES-256-GCM where the nonce is drawn.
    Aes256Gcm = 2,
}

impl Suite {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::ChaCha20Poly1305, Self::Aes256Gcm];

    /// From its number in the format.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::ChaCha20Poly1305),
            2 => Some(Self::Aes256Gcm),
            _ => None,
        }
    }

    /// As commands name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::Aes256Gcm => "aes-256-gcm",
        }
    }
}

impl From<Suite> for u8 {
    fn from(suite: Suite) -> Self {
        suite as Self
    }
}

impl TryFrom<u8> for Suite {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        Self::from_u8(number).ok_or_else(|| format!("suite {number} is unknown"))
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Suite {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|suite| suite.name() == text).ok_or_else(|| format!("the suites are {names}"))
    }
}

/// BLAKE3 in its key derivation mode.
pub(in crate::repo) fn derive(context: &str, material: &[u8]) -> [u8; 32] {
    blake3::derive_key(context, material)
}

/// Random bytes from the system.
pub(in crate::repo) fn random<const N: usize>() -> Result<[u8; N], RepoError> {
    let mut bytes = [0; N];
    entropy::fill(&mut bytes)?;
    Ok(bytes)
}

fn long_cipher(suite: Suite, key: &[u8; 32]) -> LongCipher {
    match suite {
        Suite::ChaCha20Poly1305 => LongCipher::chacha(key),
        Suite::Aes256Gcm => LongCipher::aes(key),
    }
}

/// Encrypts `buffer` from `start` on in place and appends the tag.
pub(in crate::repo) fn xseal(
    suite: Suite,
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    ad: &[u8],
    buffer: &mut Vec<u8>,
    start: usize,
) -> Result<(), RepoError> {
    let tag = long_cipher(suite, key)
        .seal(nonce, ad, &mut buffer[start..])
        .ok_or_else(|| RepoError::Internal("too many bytes for one seal".to_owned()))?;
    buffer.extend_from_slice(&tag);
    Ok(())
}

/// Opens ciphertext and tag; `None` if key, nonce, associated data or bytes are others.
pub(in crate::repo) fn xopen(
    suite: Suite,
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    ad: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let (body, tag) = sealed.split_last_chunk::<TAG_BYTES>()?;
    let mut plain = Zeroizing::new(body.to_vec());
    long_cipher(suite, key).open(nonce, ad, &mut plain, *tag).then_some(plain)
}

/// Draws a nonce and gives it with ciphertext and tag.
pub(in crate::repo) fn seal_with_nonce(
    suite: Suite,
    key: &[u8; 32],
    ad: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, RepoError> {
    let nonce = random::<NONCE_BYTES>()?;
    let mut out = Vec::with_capacity(NONCE_BYTES + plain.len() + TAG_BYTES);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(plain);
    xseal(suite, key, &nonce, ad, &mut out, NONCE_BYTES)?;
    Ok(out)
}

/// The inverse of [`seal_with_nonce`].
pub(in crate::repo) fn open_with_nonce(
    suite: Suite,
    key: &[u8; 32],
    ad: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    xopen(suite, key, nonce, ad, rest)
}

/// The nonce of a frame.
fn frame_nonce(ordinal: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&ordinal.to_le_bytes());
    nonce
}

/// What seals the frames of one pack under its own key.
#[derive(Clone)]
pub(in crate::repo) struct FrameCipher(Cipher);

impl FrameCipher {
    pub fn new(suite: Suite, key: &[u8; 32]) -> Self {
        Self(match suite {
            Suite::ChaCha20Poly1305 => Cipher::chacha(key),
            Suite::Aes256Gcm => Cipher::aes(key),
        })
    }

    /// Encrypts a frame's body in place and gives the tag.
    pub fn seal(&self, ordinal: u64, ad: &[u8], body: &mut [u8]) -> Result<[u8; TAG_BYTES], RepoError> {
        self.0
            .seal(&frame_nonce(ordinal), ad, body)
            .ok_or_else(|| RepoError::Internal("too many bytes for one frame".to_owned()))
    }

    /// Decrypts a frame's body in place; `false` if it is not what was sealed.
    pub fn open(&self, ordinal: u64, ad: &[u8], body: &mut [u8], tag: [u8; TAG_BYTES]) -> bool {
        self.0.open(&frame_nonce(ordinal), ad, body, tag)
    }
}

/// Appends a `u32` length and the bytes, for associated data.
pub(in crate::repo) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    /// The published vector of XAES-256-GCM, and the one of AES-256-GCM that it comes down to.
    #[test]
    fn aes_seals_what_its_vectors_say() {
        let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).unwrap();
        let nonce: [u8; 24] = *b"ABCDEFGHIJKLMNOPQRSTUVWX";
        let mut sealed = b"XAES-256-GCM".to_vec();
        xseal(Suite::Aes256Gcm, &[1; 32], &nonce, b"", &mut sealed, 0).unwrap();
        assert_eq!(sealed, hex("ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"));
        let mut sealed = b"XAES-256-GCM".to_vec();
        xseal(Suite::Aes256Gcm, &[3; 32], &nonce, b"c2sp.org/XAES-256-GCM", &mut sealed, 0).unwrap();
        assert_eq!(sealed, hex("986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"));
        assert_eq!(
            *xopen(Suite::Aes256Gcm, &[3; 32], &nonce, b"c2sp.org/XAES-256-GCM", &sealed).unwrap(),
            b"XAES-256-GCM"
        );
    }

    #[test]
    fn what_one_suite_sealed_the_other_does_not_open() {
        for (seals, opens) in [(Suite::ALL[0], Suite::ALL[1]), (Suite::ALL[1], Suite::ALL[0])] {
            let sealed = seal_with_nonce(seals, &[7; 32], b"ad", b"plain").unwrap();
            assert_eq!(**open_with_nonce(seals, &[7; 32], b"ad", &sealed).unwrap(), *b"plain");
            assert!(open_with_nonce(opens, &[7; 32], b"ad", &sealed).is_none());
            assert!(open_with_nonce(seals, &[7; 32], b"da", &sealed).is_none());
            let mut body = *b"a frame";
            let tag = FrameCipher::new(seals, &[7; 32]).seal(3, b"ad", &mut body).unwrap();
            assert!(!FrameCipher::new(opens, &[7; 32]).open(3, b"ad", &mut body.clone(), tag));
            assert!(FrameCipher::new(seals, &[7; 32]).open(3, b"ad", &mut body, tag));
            assert_eq!(body, *b"a frame");
        }
    }
}
