//! A page of a collection's records: where it begins in the order of keys, and how many. For whoever looks around in a snapshot
//! that may hold millions.

use super::{OpsError, reading::Reading, restore::find_collection};
use crate::{
    layer::{Stack, stack::VersionValue},
    record::{KeyRange, Timestamp, value::value_to_json},
    repo::{Capability, Repository, Snapshot},
};
use serde_json::Value as Json;

/// The bytes of values that a page holds at most; what comes behind is told by its length alone.
const MAX_VALUES_BYTES: u64 = 4 << 20;

/// One record.
#[derive(Debug, Clone)]
pub struct BrowsedRecord {
    /// The key as a person would type it.
    pub key: String,
    /// The source's generation; 0 where it has none.
    pub generation: u32,
    /// When it expires.
    pub expiry: Option<Timestamp>,
    /// Its set, if it has one.
    pub set: Option<String>,
    /// Length of its value's canonical bytes.
    pub bytes: u64,
    /// The value, cells by name; absent if it is stored in pieces or the page holds enough already.
    pub value: Option<Json>,
}

/// A page of records.
#[derive(Debug, Clone, Default)]
pub struct BrowsedPage {
    /// They, in the order of their keys.
    pub records: Vec<BrowsedRecord>,
    /// Where the next page begins: the beginning of a sort key behind all that are here; absent on the last one.
    pub next: Option<Vec<u8>>,
}

/// Where a page begins.
#[derive(Debug, Clone)]
pub enum BrowseFrom {
    /// With this sort key, or the next that there is.
    SortKey(Vec<u8>),
    /// With the key that a person typed, or the next that there is.
    Typed(String),
}

/// The shortest beginning of a key that sorts behind the one before it: a page that begins there begins with that key. Keys of
/// which thousands of bytes are the same are rare, and an address holds no more.
fn between<'k>(before: &[u8], key: &'k [u8]) -> &'k [u8] {
    let same = before.iter().zip(key).take_while(|(one, other)| one == other).count();
    key.get(..=same).unwrap_or(key)
}

/// Reads a page of records.
///
/// # Errors
/// [`crate::report::ErrorKind::NoCollection`]; a usage error if the key is none of this collection's; what the repository says.
pub fn browse(
    repo: &Repository,
    snapshot: &Snapshot,
    collection: &str,
    from: &BrowseFrom,
    limit: usize,
) -> Result<BrowsedPage, OpsError> {
    repo.need(Capability::ReadValues)?;
    let reading = Reading::begin(repo, "browse", std::slice::from_ref(snapshot))?;
    let repo = reading.repo();
    let snapshot = &reading.snapshots()[0];
    let found = find_collection(snapshot, collection)?;
    let start = match from {
        BrowseFrom::SortKey(key) => key.clone(),
        BrowseFrom::Typed(text) => found.codec.parse(text).map_err(|error| OpsError::Usage(error.to_string()))?,
    };
    let stack = Stack::open(&repo.chunks(), &found.stack)?;
    let mut cursor = stack.cursor(&KeyRange { start, end: None }, snapshot.content.end, false)?;
    let mut page = BrowsedPage::default();
    let (mut held, mut last) = (0, Vec::new());
    while cursor.advance()? {
        if page.records.len() == limit {
            page.next = Some(between(&last, cursor.key()).to_vec());
            break;
        }
        last.clear();
        last.extend_from_slice(cursor.key());
        let bytes = cursor.value_bytes();
        let meta = cursor.meta();
        let expiry = meta.expiry.as_millis();
        let mut record = BrowsedRecord {
            key: found.codec.show(cursor.key()),
            generation: meta.generation,
            expiry: (expiry != 0).then(|| Timestamp::from_millis(expiry as i64)),
            set: (!meta.set.is_empty()).then(|| String::from_utf8_lossy(meta.set).into_owned()),
            bytes,
            value: None,
        };
        if held + bytes <= MAX_VALUES_BYTES
            && let (shape, VersionValue::Inline(value)) = cursor.value()?
        {
            held += bytes;
            let json = value_to_json(&shape, value);
            record.value =
                Some(json.map_err(|error| OpsError::Failed(format!("the stored value is no value: {error}")))?);
        }
        page.records.push(record);
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_begins_with_as_little_of_a_key_as_tells_it_from_the_last() {
        let long = vec![b'x'; 60_000];
        for (before, key, next) in [
            (&b"a"[..], &b"b"[..], &b"b"[..]),
            (b"a", b"ab", b"ab"),
            (b"abc", b"abd-and-more", b"abd"),
            (b"", b"x", b"x"),
            (b"k1", &long, b"x"),
        ] {
            let found = between(before, key);
            assert_eq!(found, next);
            assert!(before < found && found <= key);
        }
    }
}
