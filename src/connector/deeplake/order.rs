//! In which order the small files of a dataset are written to a service, so that nobody sees one that is not whole.

use super::{
    entry::parse_name,
    find::{Format, LOG, METADATA},
    log::META,
    nodes::VERSIONS,
};

/// The file by which version 3 takes a folder for a dataset.
const MARKER_3: &str = "dataset_meta.json";

/// Keys of a dataset in the order in which they may be written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// What nobody looks at before one of the others is there: in any order.
    pub(super) unseen: Vec<String>,
    /// What makes it a dataset: one after the other, the last of them shows the whole.
    pub(super) shown: Vec<String>,
}

impl Order {
    pub(super) fn of(keys: Vec<String>, format: Format) -> Self {
        let (mut shown, unseen): (Vec<_>, Vec<_>) =
            keys.into_iter().map(|key| (rank(&key, format), key)).partition(|(rank, _)| rank.is_some());
        shown.sort();
        let keys = |ranked: Vec<(_, String)>| ranked.into_iter().map(|(_, key)| key).collect();
        Self { unseen: keys(unseen), shown: keys(shown) }
    }
}

/// Where a key stands among those that show a dataset; the entries of what concerns all branches from their end to their
/// beginning, since the library takes a dataset for one by the first of them.
fn rank(key: &str, format: Format) -> Option<(u8, u64)> {
    let entry = key.strip_prefix(LOG).and_then(|rest| rest.strip_prefix('/')?.strip_prefix(META)?.strip_prefix('/'));
    match format {
        _ if key == METADATA => Some((3, 0)),
        Format::Four => parse_name(entry?).map(|name| (0, u64::MAX - name.number)),
        Format::Three if key == VERSIONS => Some((1, 0)),
        Format::Three if key == MARKER_3 => Some((2, 0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(keys: &[&str], format: Format) -> (Vec<String>, Vec<String>) {
        let Order { unseen, shown } = Order::of(keys.iter().map(|key| (*key).to_owned()).collect(), format);
        (unseen, shown)
    }

    #[test]
    fn what_makes_it_a_dataset_comes_last_and_what_services_find_it_by_after_that() {
        let keys = [
            "_deeplake_log/_meta/0000000001c00000000.jsonl",
            "_deeplake_log/_meta/0000000002m00000000.jsonl",
            "_deeplake_log/_meta/next_base",
            "_deeplake_log/8a/0000000001m00000000.jsonl",
            "dataset_metadata.json",
            "other",
        ];
        let (unseen, shown) = order(&keys, Format::Four);
        assert_eq!(unseen, [keys[2], keys[3], keys[5]]);
        assert_eq!(shown, [keys[1], keys[0], keys[4]]);
        let keys = ["dataset_meta.json", "versions/a/dataset_meta.json", "version_control_info.json"];
        let (unseen, shown) = order(&keys, Format::Three);
        assert_eq!(
            (unseen.as_slice(), shown.as_slice()),
            (&[keys[1].to_owned()][..], &[keys[2].to_owned(), keys[0].to_owned()][..])
        );
    }
}
