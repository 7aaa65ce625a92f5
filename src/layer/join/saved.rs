//! The numbers of a range, put away and read back: what a checkpoint keeps of them. The bytes are specified in
//! `format-spec/protocol.md`, section 5.

use super::{
    Expiring, JoinCounts, Known, RangeOutcome,
    expiring::{HORIZON_MILLIS, Note, rounded},
    sets::Sets,
};
use crate::{
    layer::BuiltRange,
    record::{
        CollectionSum, Timestamp,
        bytes::{DecodeError, Reader, put_u64, unzigzag, zigzag},
    },
};
use std::collections::BTreeMap;

const VERSION: u8 = 1;

/// The version whose sum is less that of the parent's records.
const VERSION_CARRIED: u8 = 2;

/// Times further away than this are no times: nothing that is added to them overflows.
const MAX_MILLIS: u64 = 1 << 60;

impl JoinCounts {
    /// All of them, in the order of the format.
    pub(super) const fn fields(&self) -> [u64; 15] {
        [
            self.seen,
            self.new,
            self.changed,
            self.inherited,
            self.deleted,
            self.expired,
            self.seen_expired,
            self.parent_records,
            self.records,
            self.unreadable,
            self.torn,
            self.bytes,
            self.bytes_read,
            self.bytes_changed,
            self.blocks,
        ]
    }

    pub(super) const fn fields_mut(&mut self) -> [&mut u64; 15] {
        [
            &mut self.seen,
            &mut self.new,
            &mut self.changed,
            &mut self.inherited,
            &mut self.deleted,
            &mut self.expired,
            &mut self.seen_expired,
            &mut self.parent_records,
            &mut self.records,
            &mut self.unreadable,
            &mut self.torn,
            &mut self.bytes,
            &mut self.bytes_read,
            &mut self.bytes_changed,
            &mut self.blocks,
        ]
    }
}

impl Note {
    const fn fields(&self) -> [u64; 9] {
        [
            self.records,
            self.bytes,
            self.seen,
            self.stood,
            self.new,
            self.changed,
            self.inherited,
            self.lived,
            self.deleted,
        ]
    }

    const fn fields_mut(&mut self) -> [&mut u64; 9] {
        [
            &mut self.records,
            &mut self.bytes,
            &mut self.seen,
            &mut self.stood,
            &mut self.new,
            &mut self.changed,
            &mut self.inherited,
            &mut self.lived,
            &mut self.deleted,
        ]
    }

    /// Adds another one; `None` if that is more than can be counted.
    fn checked_add(&mut self, other: &Self) -> Option<()> {
        for (field, more) in self.fields_mut().into_iter().zip(other.fields()) {
            *field = field.checked_add(more)?;
        }
        self.sum.add(&other.sum);
        Some(())
    }

    fn adds_up(&self) -> bool {
        self.seen.checked_add(self.stood) == Some(self.records)
            && self.records.checked_add(self.deleted).is_some_and(|sum| self.new.checked_add(self.lived) == Some(sum))
    }
}

impl RangeOutcome {
    /// The time by which live records were counted, if expiries were noted.
    #[must_use]
    pub const fn counted_by(&self) -> Timestamp {
        self.expiring.start
    }

    /// The numbers: everything but what was built and which keys had problems.
    #[must_use]
    pub fn numbers(&self) -> Vec<u8> {
        let mut out = vec![if self.carried { VERSION_CARRIED } else { VERSION }];
        self.counts.fields().into_iter().chain([self.stood]).for_each(|field| put_u64(&mut out, field));
        out.extend_from_slice(&self.sum.0);
        put_u64(&mut out, zigzag(self.expiring.start.as_millis()));
        put_u64(&mut out, self.expiring.notes.len() as u64);
        let mut before = 0;
        for (distance, note) in &self.expiring.notes {
            put_u64(&mut out, distance - before);
            before = *distance;
            note.fields().into_iter().for_each(|field| put_u64(&mut out, field));
            out.extend_from_slice(&note.sum.0);
        }
        self.sets.put_numbers(&mut out);
        out
    }

    /// Takes the numbers out, and leaves none: of ranges whose numbers are kept together one has them all.
    #[must_use]
    pub fn take_numbers(&mut self) -> Self {
        let none = Expiring::new(self.expiring.start);
        Self {
            built: BuiltRange::default(),
            counts: std::mem::take(&mut self.counts),
            sum: std::mem::take(&mut self.sum),
            carried: self.carried,
            added_up: self.added_up.as_mut().map(std::mem::take),
            problems: std::mem::take(&mut self.problems),
            changed: std::mem::take(&mut self.changed),
            stood: std::mem::take(&mut self.stood),
            expiring: std::mem::replace(&mut self.expiring, none),
            sets: std::mem::take(&mut self.sets),
            known: std::mem::take(&mut self.known),
        }
    }

    /// Adds the numbers of a range that lies beside, so that both are kept together. Both were counted by the same time, and are
    /// carried or not.
    pub fn absorb(&mut self, numbers: &Self) {
        debug_assert_eq!(self.carried, numbers.carried, "one run carries sums or does not");
        self.counts.add(&numbers.counts);
        self.changed += numbers.changed;
        self.sum.add(&numbers.sum);
        self.added_up = self.added_up.zip(numbers.added_up).map(|(mut one, other)| {
            one.add(&other);
            one
        });
        self.stood += numbers.stood;
        self.sets.add(&numbers.sets);
        self.known.unread += numbers.known.unread;
        self.known.belied += numbers.known.belied;
        for (distance, note) in &numbers.expiring.notes {
            let own = self.expiring.notes.entry(*distance).or_default();
            own.fields_mut().into_iter().zip(note.fields()).for_each(|(field, more)| *field += more);
            own.sum.add(&note.sum);
        }
    }

    /// Reads what [`Self::numbers`] gave, with nothing built.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no numbers, or numbers that contradict each other.
    pub fn from_numbers(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let carried = match reader.u8("the version of a range's numbers")? {
            VERSION => false,
            VERSION_CARRIED => true,
            _ => return Err(DecodeError::Invalid("the version of a range's numbers")),
        };
        let mut counts = JoinCounts::default();
        for field in counts.fields_mut() {
            *field = reader.u64("a range's count")?;
        }
        let stood = reader.u64("a range's count")?;
        let sum = CollectionSum(reader.array("a range's sum")?);
        let start = unzigzag(reader.u64("the time that a range was counted by")?);
        if start.unsigned_abs() > MAX_MILLIS {
            return Err(DecodeError::Invalid("the time that a range was counted by"));
        }
        let start = Timestamp::from_millis(start);
        let (notes, all) = read_notes(&mut reader)?;
        let sets = Sets::from_numbers(&mut reader)?;
        reader.finish("a range's numbers")?;
        let expiring = Expiring { start, notes };
        let outcome = Self {
            built: BuiltRange::default(),
            counts,
            sum,
            carried,
            added_up: None,
            problems: Vec::new(),
            changed: 0,
            stood,
            expiring,
            sets,
            known: Known::default(),
        };
        if outcome.adds_up() && outcome.can_lose(&all) && outcome.sets.records() == outcome.counts.records {
            Ok(outcome)
        } else {
            Err(DecodeError::Invalid("the counts of a range"))
        }
    }

    /// Whether the identities of a join hold.
    fn adds_up(&self) -> bool {
        let JoinCounts { seen, new, deleted, expired, seen_expired, parent_records, records, unreadable, .. } =
            self.counts;
        let gained = parent_records.checked_add(new);
        let lost = deleted.checked_add(expired);
        let delivered = seen.checked_add(self.stood);
        let dropped = seen_expired.checked_add(unreadable);
        gained.zip(lost).and_then(|(gained, lost)| gained.checked_sub(lost)) == Some(records)
            && delivered.zip(dropped).and_then(|(delivered, dropped)| delivered.checked_sub(dropped)) == Some(records)
    }

    /// Whether as much can be taken off as all notes together say.
    fn can_lose(&self, all: &Note) -> bool {
        let counts = &self.counts;
        let pairs = [
            (all.records, counts.records),
            (all.bytes, counts.bytes),
            (all.stood, self.stood),
            (all.new, counts.new),
            (all.changed, counts.changed),
            (all.inherited, counts.inherited),
            (all.deleted, counts.deleted),
        ];
        pairs.into_iter().all(|(less, all)| less <= all)
            && counts.seen_expired.checked_add(all.seen).is_some()
            && counts.expired.checked_add(all.lived).is_some()
    }
}

fn read_notes(reader: &mut Reader<'_>) -> Result<(BTreeMap<u64, Note>, Note), DecodeError> {
    let (mut notes, mut all) = (BTreeMap::new(), Note::default());
    let mut distance: Option<u64> = None;
    for _ in 0..reader.len("a number of notes")? {
        let step = reader.u64("a note's distance")?;
        let at = match distance {
            None => Some(step),
            Some(before) => before.checked_add(step).filter(|_| step > 0),
        };
        let at = at.filter(|at| *at < HORIZON_MILLIS && rounded(*at) == *at);
        let at = at.ok_or(DecodeError::Invalid("a note's distance"))?;
        distance = Some(at);
        let mut note = Note::default();
        for field in note.fields_mut() {
            *field = reader.u64("a note's count")?;
        }
        note.sum = CollectionSum(reader.array("a note's sum")?);
        if !note.adds_up() || all.checked_add(&note).is_none() {
            return Err(DecodeError::Invalid("a note's counts"));
        }
        notes.insert(at, note);
    }
    Ok((notes, all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Expiry, Meta};

    fn sample() -> RangeOutcome {
        let mut expiring = Expiring { start: Timestamp::from_millis(1_000_000), notes: BTreeMap::new() };
        for distance in [0, 7, 4096, 99_000_000] {
            let note = expiring.note(Expiry::from_millis(1_000_000 + distance)).unwrap();
            *note = Note { records: 3, bytes: 30, seen: 2, stood: 1, new: 1, lived: 3, deleted: 1, ..Note::default() };
            note.sum = CollectionSum([distance as u8; 32]);
        }
        let counts = JoinCounts {
            seen: 20,
            new: 10,
            deleted: 5,
            expired: 2,
            parent_records: 21,
            records: 24,
            bytes: 2_000,
            ..JoinCounts::default()
        };
        let sum = CollectionSum([9; 32]);
        let mut sets = Sets::default();
        for _ in 0..counts.records {
            sets.count(&Meta::default(), 5);
        }
        sets.settle();
        RangeOutcome {
            built: BuiltRange::default(),
            counts,
            sum,
            carried: false,
            added_up: None,
            problems: Vec::new(),
            changed: 0,
            stood: 4,
            expiring,
            sets,
            known: Known::default(),
        }
    }

    #[test]
    fn numbers_come_back_and_settle_alike() {
        let outcome = sample();
        let read = RangeOutcome::from_numbers(&outcome.numbers()).unwrap();
        assert_eq!((read.counts, read.sum, read.stood), (outcome.counts, outcome.sum, outcome.stood));
        assert_eq!(read.expiring.notes, outcome.expiring.notes);
        assert_eq!(read.counted_by(), Timestamp::from_millis(1_000_000));
        assert!(!read.carried);
        let carried = RangeOutcome { carried: true, ..sample() };
        assert!(RangeOutcome::from_numbers(&carried.numbers()).unwrap().carried);
        let (mut one, mut other) = (outcome, read);
        let end = Timestamp::from_millis(1_005_000);
        assert_eq!(one.expiring.end_from(end), other.expiring.end_from(end));
        one.settle(end);
        other.settle(end);
        assert_eq!((one.counts, one.sum, one.stood), (other.counts, other.sum, other.stood));
        assert_eq!(one.counts.records, 24 - 9, "three notes are over");
        assert!(one.adds_up());
    }

    #[test]
    fn ranges_whose_numbers_are_kept_together_settle_to_the_sum_of_both() {
        let end = Timestamp::from_millis(1_005_000);
        let (mut alone, mut together) = (sample(), sample());
        together.absorb(&sample().take_numbers());
        alone.settle(end);
        together.settle(end);
        let mut twice = alone.counts;
        twice.add(&alone.counts);
        let mut sum = alone.sum;
        sum.add(&alone.sum);
        assert_eq!((together.counts, together.sum, together.stood), (twice, sum, 2 * alone.stood));
    }

    #[test]
    fn numbers_that_lie_are_refused() {
        let lies: [fn(&mut RangeOutcome); 11] = [
            |it| it.counts.records += 1,
            |it| it.counts.seen = u64::MAX,
            |it| it.counts.parent_records = u64::MAX,
            |it| it.stood += 1,
            |it| it.counts.bytes = 100,
            |it| it.expiring.notes.get_mut(&7).unwrap().records += 1,
            |it| it.expiring.notes.get_mut(&7).unwrap().new += 1,
            |it| it.expiring.notes.get_mut(&7).unwrap().deleted += 1,
            |it| it.expiring.notes.get_mut(&7).unwrap().bytes = u64::MAX,
            |it| _ = it.expiring.notes.insert(4097, Note::default()),
            |it| _ = it.expiring.notes.insert(HORIZON_MILLIS, Note::default()),
        ];
        for (number, lie) in lies.into_iter().enumerate() {
            let mut outcome = sample();
            lie(&mut outcome);
            assert!(RangeOutcome::from_numbers(&outcome.numbers()).is_err(), "{number}");
        }
        let bytes = sample().numbers();
        for len in 0..bytes.len() {
            assert!(RangeOutcome::from_numbers(&bytes[..len]).is_err(), "{len}");
        }
        assert!(RangeOutcome::from_numbers(&[bytes.as_slice(), &[0]].concat()).is_err());
    }
}
