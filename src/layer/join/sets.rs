//! What the records of each set are like: what a restore wants to know before it begins, counted where records are.

use crate::record::{
    Expiry, Meta,
    bytes::{DecodeError, Reader, put_slice, put_u64, same},
};
use std::collections::BTreeMap;

/// Sets that are told apart; the records of all further ones are counted together.
pub const MAX_SETS: usize = 4096;

/// A longer name is not told apart.
const MAX_NAME_BYTES: usize = 1024;

/// What the records of one set are like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetSummary {
    /// How many there are.
    pub records: u64,
    /// The canonical bytes of their values.
    pub value_bytes: u64,
    /// Those that expire.
    pub expiring: u64,
    /// The latest expiry in milliseconds; 0 if none expires.
    pub latest_expiry: u64,
    /// The canonical bytes of the largest value.
    pub largest_value: u64,
    /// Those without a user key.
    pub without_user_key: u64,
}

impl SetSummary {
    const fn fields(&self) -> [u64; 6] {
        [self.records, self.value_bytes, self.expiring, self.latest_expiry, self.largest_value, self.without_user_key]
    }

    /// Adds what was counted elsewhere.
    fn add(&mut self, other: &Self) {
        self.records = self.records.saturating_add(other.records);
        self.value_bytes = self.value_bytes.saturating_add(other.value_bytes);
        self.expiring = self.expiring.saturating_add(other.expiring);
        self.latest_expiry = self.latest_expiry.max(other.latest_expiry);
        self.largest_value = self.largest_value.max(other.largest_value);
        self.without_user_key = self.without_user_key.saturating_add(other.without_user_key);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut fields = [0; 6];
        for field in &mut fields {
            *field = reader.u64("a set's number")?;
        }
        let [records, value_bytes, expiring, latest_expiry, largest_value, without_user_key] = fields;
        let found = Self { records, value_bytes, expiring, latest_expiry, largest_value, without_user_key };
        let fits = expiring <= records && without_user_key <= records && largest_value <= value_bytes && records > 0;
        if fits { Ok(found) } else { Err(DecodeError::Invalid("a set's numbers")) }
    }
}

/// The sets of one range, or of a collection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sets {
    named: BTreeMap<Vec<u8>, SetSummary>,
    /// Of all further ones.
    others: SetSummary,
    /// The set of the records at hand, not among the above yet: neighbours are mostly alike.
    current: (Vec<u8>, SetSummary),
}

impl Sets {
    /// Counts a record.
    #[inline]
    pub(super) fn count(&mut self, meta: &Meta<'_>, value_bytes: u64) {
        if !same(&self.current.0, meta.set) {
            self.settle();
            self.current.0.extend_from_slice(meta.set);
        }
        let summary = &mut self.current.1;
        summary.records += 1;
        summary.value_bytes += value_bytes;
        summary.expiring += u64::from(meta.expiry != Expiry::NEVER);
        summary.latest_expiry = summary.latest_expiry.max(meta.expiry.as_millis());
        summary.largest_value = summary.largest_value.max(value_bytes);
        summary.without_user_key += u64::from(meta.user_key.is_none());
    }

    /// Puts the set at hand among the others.
    pub(super) fn settle(&mut self) {
        let (name, summary) = std::mem::take(&mut self.current);
        if summary.records > 0 {
            self.put(name, &summary);
        }
    }

    fn put(&mut self, name: Vec<u8>, summary: &SetSummary) {
        let has_room = self.named.len() < MAX_SETS && name.len() <= MAX_NAME_BYTES;
        match self.named.get_mut(&name) {
            Some(known) => known.add(summary),
            None if has_room => _ = self.named.insert(name, *summary),
            None => self.others.add(summary),
        }
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (name, summary) in &other.named {
            self.put(name.clone(), summary);
        }
        self.others.add(&other.others);
        if other.current.1.records > 0 {
            self.put(other.current.0.clone(), &other.current.1);
        }
    }

    /// The sets by name; last, without one, all further ones.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&[u8]>, &SetSummary)> {
        let named = self.named.iter().map(|(name, summary)| (Some(name.as_slice()), summary));
        named.chain((self.others.records > 0).then_some((None, &self.others)))
    }

    /// Records of all of them.
    pub(super) fn records(&self) -> u64 {
        self.iter().fold(self.current.1.records, |sum, (_, summary)| sum.saturating_add(summary.records))
    }

    pub(super) fn put_numbers(&self, out: &mut Vec<u8>) {
        put_u64(out, self.iter().count() as u64);
        for (name, summary) in self.iter() {
            out.push(u8::from(name.is_some()));
            put_slice(out, name.unwrap_or_default());
            summary.fields().into_iter().for_each(|field| put_u64(out, field));
        }
    }

    pub(super) fn from_numbers(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut sets = Self::default();
        let count = reader.len("a number of sets")?;
        for number in 0..count {
            let is_named = reader.u8("whether a set has a name")?;
            let name = reader.slice("a set's name")?.to_vec();
            let ascends = sets.named.last_key_value().is_none_or(|(last, _)| *last < name);
            let summary = SetSummary::read(reader)?;
            match is_named {
                1 if ascends && sets.named.len() < MAX_SETS && name.len() <= MAX_NAME_BYTES => {
                    sets.named.insert(name, summary);
                }
                0 if number + 1 == count && name.is_empty() => sets.others = summary,
                _ => return Err(DecodeError::Invalid("the sets of a range")),
            }
        }
        Ok(sets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta<'a>(set: &'a [u8], expiry: u64, user_key: Option<&'a [u8]>) -> Meta<'a> {
        Meta { set, expiry: Expiry::from_millis(expiry), user_key, ..Meta::default() }
    }

    #[test]
    fn every_record_is_counted_in_its_set_and_comes_back_from_bytes() {
        let mut sets = Sets::default();
        for (set, expiry, key, bytes) in
            [(&b"a"[..], 0, None, 5), (b"a", 70, Some(&b"k"[..]), 9), (b"", 3, None, 1), (b"a", 60, None, 2)]
        {
            sets.count(&meta(set, expiry, key), bytes);
        }
        assert_eq!(sets.records(), 4);
        sets.settle();
        let a = SetSummary {
            records: 3,
            value_bytes: 16,
            expiring: 2,
            latest_expiry: 70,
            largest_value: 9,
            without_user_key: 2,
        };
        let found: Vec<_> = sets.iter().map(|(name, summary)| (name.unwrap().to_vec(), *summary)).collect();
        assert_eq!((found.len(), &found[1]), (2, &(b"a".to_vec(), a)));
        let mut bytes = Vec::new();
        sets.put_numbers(&mut bytes);
        let mut reader = Reader::new(&bytes);
        assert_eq!(Sets::from_numbers(&mut reader).unwrap(), sets);
        let mut twice = sets.clone();
        twice.add(&sets);
        assert_eq!(twice.records(), 8);
    }

    #[test]
    fn sets_beyond_the_limit_are_counted_together() {
        let mut sets = Sets::default();
        for n in 0..MAX_SETS + 10 {
            sets.count(&meta(format!("{n:06}").as_bytes(), 0, None), 1);
        }
        sets.count(&meta(&[b'x'; MAX_NAME_BYTES + 1], 0, None), 1);
        sets.settle();
        let (name, others) = sets.iter().last().unwrap();
        assert_eq!((name, others.records, sets.iter().count()), (None, 11, MAX_SETS + 1));
    }
}
