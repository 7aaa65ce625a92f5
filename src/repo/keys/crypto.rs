//! The few cryptographic operations that all objects share.

use crate::repo::{RepoError, entropy};
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Tag, XChaCha20Poly1305};
use zeroize::Zeroizing;

/// The length of a Poly1305 tag.
pub(in crate::repo) const TAG_BYTES: usize = 16;

/// The length of an `XChaCha20` nonce.
pub(in crate::repo) const NONCE_BYTES: usize = 24;

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

/// Encrypts `buffer` from `start` on in place and appends the tag.
pub(in crate::repo) fn xseal(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    ad: &[u8],
    buffer: &mut Vec<u8>,
    start: usize,
) -> Result<(), RepoError> {
    let cipher = XChaCha20Poly1305::new(key.into());
    let tag = cipher
        .encrypt_inout_detached(nonce.into(), ad, (&mut buffer[start..]).into())
        .map_err(|_| RepoError::Internal("too many bytes for one seal".to_owned()))?;
    buffer.extend_from_slice(&tag);
    Ok(())
}

/// Opens ciphertext and tag; `None` if key, nonce, associated data or bytes are others.
pub(in crate::repo) fn xopen(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    ad: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let (body, tag) = sealed.split_last_chunk::<TAG_BYTES>()?;
    let mut plain = Zeroizing::new(body.to_vec());
    let cipher = XChaCha20Poly1305::new(key.into());
    cipher.decrypt_inout_detached(nonce.into(), ad, plain.as_mut_slice().into(), &Tag::from(*tag)).ok()?;
    Some(plain)
}

/// Draws a nonce and gives it with ciphertext and tag.
pub(in crate::repo) fn seal_with_nonce(key: &[u8; 32], ad: &[u8], plain: &[u8]) -> Result<Vec<u8>, RepoError> {
    let nonce = random::<NONCE_BYTES>()?;
    let mut out = Vec::with_capacity(NONCE_BYTES + plain.len() + TAG_BYTES);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(plain);
    xseal(key, &nonce, ad, &mut out, NONCE_BYTES)?;
    Ok(out)
}

/// The inverse of [`seal_with_nonce`].
pub(in crate::repo) fn open_with_nonce(key: &[u8; 32], ad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    xopen(key, nonce, ad, rest)
}

/// The nonce of a frame.
fn frame_nonce(ordinal: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&ordinal.to_le_bytes());
    nonce
}

/// Encrypts a frame's body in place and gives the tag.
pub(in crate::repo) fn seal_frame(
    cipher: &ChaCha20Poly1305,
    ordinal: u64,
    ad: &[u8],
    body: &mut [u8],
) -> Result<[u8; TAG_BYTES], RepoError> {
    cipher
        .encrypt_inout_detached(&frame_nonce(ordinal).into(), ad, body.into())
        .map(Into::into)
        .map_err(|_| RepoError::Internal("too many bytes for one frame".to_owned()))
}

/// Decrypts a frame's body in place; `false` if it is not what was sealed.
pub(in crate::repo) fn open_frame(
    cipher: &ChaCha20Poly1305,
    ordinal: u64,
    ad: &[u8],
    body: &mut [u8],
    tag: [u8; TAG_BYTES],
) -> bool {
    cipher.decrypt_inout_detached(&frame_nonce(ordinal).into(), ad, body.into(), &Tag::from(tag)).is_ok()
}

/// Appends a `u32` length and the bytes, for associated data.
pub(in crate::repo) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}
