//! Records in memory, in one stretch of bytes.

use super::entry::Entry;

/// Records that were taken, in any order until they are sorted.
#[derive(Debug, Default)]
pub(in crate::connector) struct Held {
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    /// What the key begins with, as a number of the same order: most keys differ in it, and it is at hand.
    prefix: u64,
    line: u64,
    at: usize,
    body: usize,
    key: u32,
}

impl Held {
    /// Takes a record; gives the bytes of memory that it takes.
    pub(in crate::connector) fn push(&mut self, entry: Entry<'_>) -> usize {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(entry.key);
        self.bytes.extend_from_slice(entry.body);
        let mut prefix = [0; 8];
        let known = entry.key.len().min(8);
        prefix[..known].copy_from_slice(&entry.key[..known]);
        self.rows.push(Row {
            prefix: u64::from_be_bytes(prefix),
            line: entry.line,
            at,
            body: entry.body.len(),
            key: entry.key.len() as u32,
        });
        entry.key.len() + entry.body.len() + size_of::<Row>()
    }

    /// The bytes of memory that all take.
    pub(in crate::connector) fn bytes(&self) -> usize {
        self.bytes.len() + self.rows.len() * size_of::<Row>()
    }

    pub(in crate::connector) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Forgets all, and keeps the memory for others.
    pub(in crate::connector) fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
    }

    pub(in crate::connector) fn sort(&mut self) {
        let bytes = &self.bytes;
        self.rows
            .sort_unstable_by(|a, b| a.prefix.cmp(&b.prefix).then_with(|| entry_of(bytes, a).cmp(&entry_of(bytes, b))));
    }

    /// The record with this number; `None` behind the last.
    pub(in crate::connector) fn get(&self, number: usize) -> Option<Entry<'_>> {
        self.rows.get(number).map(|row| entry_of(&self.bytes, row))
    }

    pub(in crate::connector) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.rows.iter().map(|row| entry_of(&self.bytes, row))
    }
}

fn entry_of<'a>(bytes: &'a [u8], row: &Row) -> Entry<'a> {
    let (key, body) = bytes[row.at..row.at + row.key as usize + row.body].split_at(row.key as usize);
    Entry { key, line: row.line, body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn records_are_sorted_as_their_keys_lines_and_bodies_are(
            rows in prop::collection::vec(
                (prop::collection::vec(0..3_u8, 0..12), 0..3_u64, prop::collection::vec(any::<u8>(), 0..4)), 0..40),
        ) {
            let mut held = Held::default();
            let mut bytes = 0;
            for (key, line, body) in &rows {
                bytes += held.push(Entry { key, line: *line, body });
            }
            prop_assert_eq!(held.bytes(), bytes);
            held.sort();
            let mut sorted = rows;
            sorted.sort();
            let found: Vec<_> = held.iter().map(|entry| (entry.key.to_vec(), entry.line, entry.body.to_vec())).collect();
            prop_assert_eq!(found, sorted);
        }
    }
}
