//! The ciphers that seal, with keys, nonces and tags as plain arrays.
//!
//! They are generic, so whoever names their types compiles them. In a crate of its own that is done once, and optimised in a
//! build for development, too: in rekeep itself, which such a build optimises little, a core seals 3 MB a second.

use aes_gcm::Aes256Gcm;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Tag, XChaCha20Poly1305};
use xaes_256_gcm::Xaes256Gcm;

/// The length of every tag.
pub const TAG_BYTES: usize = 16;

/// A cipher with its key, and nonces that are counted.
#[derive(Clone)]
pub enum Cipher {
    /// ChaCha20-Poly1305.
    ChaCha(Box<ChaCha20Poly1305>),
    /// AES-256-GCM.
    Aes(Box<Aes256Gcm>),
}

/// A cipher with its key, and nonces long enough to be drawn.
#[derive(Clone)]
pub enum LongCipher {
    /// XChaCha20-Poly1305.
    ChaCha(Box<XChaCha20Poly1305>),
    /// XAES-256-GCM.
    Aes(Box<Xaes256Gcm>),
}

macro_rules! seals {
    ($cipher:ident, $chacha:ident, $aes:ident, $nonce:literal) => {
        impl $cipher {
            /// With the first of them.
            #[must_use]
            pub fn chacha(key: &[u8; 32]) -> Self {
                Self::ChaCha(Box::new($chacha::new(key.into())))
            }

            /// With the second.
            #[must_use]
            pub fn aes(key: &[u8; 32]) -> Self {
                Self::Aes(Box::new($aes::new(key.into())))
            }

            /// Encrypts in place and gives the tag; `None` if these are more bytes than one nonce may seal.
            #[must_use]
            pub fn seal(&self, nonce: &[u8; $nonce], ad: &[u8], body: &mut [u8]) -> Option<[u8; TAG_BYTES]> {
                match self {
                    Self::ChaCha(cipher) => cipher.encrypt_inout_detached(nonce.into(), ad, body.into()),
                    Self::Aes(cipher) => cipher.encrypt_inout_detached(nonce.into(), ad, body.into()),
                }
                .ok()
                .map(Into::into)
            }

            /// Decrypts in place; `false` if this is not what was sealed.
            #[must_use]
            pub fn open(&self, nonce: &[u8; $nonce], ad: &[u8], body: &mut [u8], tag: [u8; TAG_BYTES]) -> bool {
                let tag = &Tag::from(tag);
                match self {
                    Self::ChaCha(cipher) => cipher.decrypt_inout_detached(nonce.into(), ad, body.into(), tag),
                    Self::Aes(cipher) => cipher.decrypt_inout_detached(nonce.into(), ad, body.into(), tag),
                }
                .is_ok()
            }
        }
    };
}

seals!(Cipher, ChaCha20Poly1305, Aes256Gcm, 12);
seals!(LongCipher, XChaCha20Poly1305, Xaes256Gcm, 24);
