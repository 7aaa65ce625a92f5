//! Digests as a person types them.

use super::{KeyCodec, KeyPart, escaped};
use crate::record::digest::Digest;
use data_encoding::HEXLOWER;

/// The sort key that a person's text names: `SET/int:5`, `/str:abc`, `digest:HEX|BASE64`.
pub(super) fn parse_key(text: &str) -> Option<Vec<u8>> {
    if let Some(digest) = text.strip_prefix("digest:") {
        return Some(Digest::parse(digest)?.sort_key().to_vec());
    }
    let (set, key) = split_at_last_slash(text)?;
    let (particle, bytes) = match KeyCodec::Raw.parse_single(&key)? {
        KeyPart::Int(value) => (1, value.to_be_bytes().to_vec()),
        KeyPart::Float(value) => (2, value.to_bits().to_be_bytes().to_vec()),
        KeyPart::Str(bytes) => (3, bytes),
        KeyPart::Bytes(bytes) => (4, bytes),
        _ => return None,
    };
    Some(Digest::of(set.as_bytes(), particle, &bytes).sort_key().to_vec())
}

/// Set and key; `\/` in the key is a slash that does not divide, `\\` a backslash.
fn split_at_last_slash(text: &str) -> Option<(&str, String)> {
    let bytes = text.as_bytes();
    let is_escaped = |at: usize| bytes[..at].iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1;
    let at = (0..bytes.len()).rev().find(|&at| bytes[at] == b'/' && !is_escaped(at))?;
    let mut key = String::new();
    let mut chars = text[at + 1..].chars();
    while let Some(c) = chars.next() {
        key.push(if c == '\\' { escaped(&mut chars, "/,")? } else { c });
    }
    Some((&text[..at], key))
}

/// As a person would type it.
pub(super) fn show_key(key: &[u8]) -> Option<String> {
    Some(format!("digest:{}", HEXLOWER.encode(&Digest::from_sort_key(key)?.0)))
}
