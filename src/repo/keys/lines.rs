//! The two-line form of `rekeep.json` and key slots: a line of JSON, and the BLAKE3 hash of that line.

use super::FORMAT;
use crate::repo::{RepoError, Storage, storage::Wanted};
use serde::{Serialize, de::DeserializeOwned};

/// More than any such object has; larger ones are refused unread.
const MAX_BYTES: usize = 1024 * 1024;

/// Reads such an object.
pub(super) fn read(storage: &Storage, object: &str) -> Result<Vec<u8>, RepoError> {
    storage.read_at_most(object, MAX_BYTES as u64)
}

/// [`read`] of several in their order, at once where that is faster.
pub(super) fn read_each(
    storage: &Storage,
    objects: Vec<String>,
) -> impl Iterator<Item = (String, Result<Vec<u8>, RepoError>)> {
    let wanted = objects.into_iter().map(|name| Wanted { key: name.clone(), name, bytes: 0, most: MAX_BYTES as u64 });
    storage.read_each(wanted).map(|(name, begun)| (name, begun.get()))
}

/// Both lines.
pub(super) fn print(object: &impl Serialize) -> Result<Vec<u8>, RepoError> {
    let mut bytes = serde_json::to_vec(object).map_err(|error| RepoError::Internal(error.to_string()))?;
    bytes.push(b'\n');
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(format!("\"{hash}\"\n").as_bytes());
    Ok(bytes)
}

/// Line 1 after checking its hash and its format version.
pub(super) fn value(object: &str, bytes: &[u8]) -> Result<serde_json::Value, RepoError> {
    let line = first_line(object, bytes)?;
    let value: serde_json::Value = serde_json::from_slice(line).map_err(|error| RepoError::damaged(object, error))?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(format) if format == u64::from(FORMAT) => Ok(value),
        Some(found) if found > u64::from(FORMAT) => {
            Err(RepoError::NewerFormat { object: object.to_owned(), found, supported: u64::from(FORMAT) })
        }
        _ => Err(RepoError::damaged(object, "it has no valid format version")),
    }
}

/// Line 1 as its type, from its text, so that a member given twice is refused.
pub(super) fn parse<T: DeserializeOwned>(object: &str, bytes: &[u8]) -> Result<T, RepoError> {
    value(object, bytes)?;
    serde_json::from_slice(first_line(object, bytes)?).map_err(|error| RepoError::damaged(object, error))
}

fn first_line<'a>(object: &str, bytes: &'a [u8]) -> Result<&'a [u8], RepoError> {
    if bytes.len() > MAX_BYTES {
        return Err(RepoError::damaged(object, format!("{} bytes are too many", bytes.len())));
    }
    let end =
        bytes.iter().position(|&byte| byte == b'\n').ok_or_else(|| RepoError::damaged(object, "it is cut off"))?;
    let (line, rest) = bytes.split_at(end + 1);
    if rest != format!("\"{}\"\n", blake3::hash(line)).as_bytes() {
        return Err(RepoError::damaged(object, "its first line does not have the hash that its second line gives"));
    }
    Ok(line)
}
