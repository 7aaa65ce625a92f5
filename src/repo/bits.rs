//! A set of chunk numbers: one bit each, 1.25 MB for 10 million chunks.

/// A set of dense numbers.
#[derive(Debug, Clone, Default)]
pub(in crate::repo) struct ChunkSet(Vec<u64>);

impl ChunkSet {
    /// Adds a number; gives whether it is new.
    pub fn insert(&mut self, number: u64) -> bool {
        // Numbers come from a catalog's dense counting; one that no memory could hold is no chunk's.
        let Ok(word) = usize::try_from(number / 64) else { return false };
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let bit = 1 << (number % 64);
        let fresh = self.0[word] & bit == 0;
        self.0[word] |= bit;
        fresh
    }

    pub fn has(&self, number: u64) -> bool {
        let word = usize::try_from(number / 64).ok().and_then(|word| self.0.get(word));
        word.is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    pub fn len(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// The least number that is in this set and not in the other.
    pub fn first_beyond(&self, other: &Self) -> Option<u64> {
        let words = self.0.iter().enumerate();
        let mut beyond = words.map(|(index, word)| (index, word & !other.0.get(index).copied().unwrap_or(0)));
        beyond.find(|(_, left)| *left != 0).map(|(index, left)| index as u64 * 64 + u64::from(left.trailing_zeros()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_once_they_were_put_in() {
        let (mut all, mut some) = (ChunkSet::default(), ChunkSet::default());
        for number in [1, 63, 64, 1000] {
            assert!(all.insert(number));
            assert!(!all.insert(number));
        }
        assert_eq!((all.len(), all.has(63), all.has(62), all.has(5000)), (4, true, false, false));
        some.insert(1);
        some.insert(63);
        assert_eq!(all.first_beyond(&some), Some(64));
        assert_eq!(some.first_beyond(&all), None);
    }
}
