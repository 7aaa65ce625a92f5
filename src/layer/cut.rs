//! Where blocks and lists end: decided by keys and lengths, so that equal records give equal blocks whatever their history.

/// No block ends below this many bytes unless its range does.
const LEAST_BYTES: u64 = 32 * 1024;

/// Every block ends at this many bytes.
const MOST_BYTES: u64 = 1024 * 1024;

/// Counts the rows of the block in the making.
#[derive(Debug, Clone)]
pub(super) struct Cutter {
    key: [u8; 32],
    bytes: u64,
    rows: u64,
    least_rows: u64,
}

impl Cutter {
    /// A cutter for blocks.
    pub(super) const fn for_blocks(cut_key: [u8; 32]) -> Self {
        Self { key: cut_key, bytes: 0, rows: 0, least_rows: 1 }
    }

    /// A cutter for lists: two entries at least, so that every level of lists is at most half as long as the one below.
    pub(super) const fn for_lists(cut_key: [u8; 32]) -> Self {
        Self { key: cut_key, bytes: 0, rows: 0, least_rows: 2 }
    }

    /// Counts a row of `len` bytes; says whether the block ends after it, and then starts anew.
    #[inline]
    pub(super) fn ends_after(&mut self, key: &[u8], len: u64) -> bool {
        self.bytes = self.bytes.saturating_add(len);
        self.rows += 1;
        if self.bytes < LEAST_BYTES || self.rows < self.least_rows {
            return false;
        }
        let ends = self.bytes >= MOST_BYTES || self.hash(key) < threshold(len, self.bytes);
        if ends {
            self.restart();
        }
        ends
    }

    /// Starts a new block.
    pub(super) const fn restart(&mut self) {
        self.bytes = 0;
        self.rows = 0;
    }

    fn hash(&self, key: &[u8]) -> u64 {
        let hash = blake3::keyed_hash(&self.key, key);
        u64::from_le_bytes(std::array::from_fn(|i| hash.as_bytes()[i]))
    }
}

fn threshold(len: u64, bytes: u64) -> u64 {
    let wide = u128::from(len) * u128::from(bytes - LEAST_BYTES) * (1 << 29);
    u64::try_from(wide).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rng(u64);

    impl Rng {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
    }

    fn cuts(rows: &[(u64, u64)]) -> (Vec<usize>, Vec<u64>) {
        let mut cutter = Cutter::for_blocks([9; 32]);
        let (mut ends, mut sizes, mut size) = (Vec::new(), Vec::new(), 0);
        for (i, (key, len)) in rows.iter().enumerate() {
            size += len;
            if cutter.ends_after(&key.to_be_bytes(), *len) {
                ends.push(i);
                sizes.push(size);
                size = 0;
            }
        }
        (ends, sizes)
    }

    #[test]
    fn blocks_are_about_260_kib_for_records_of_any_usual_size() {
        for (len, seed) in [(50, 1), (430, 2), (4_000, 3), (30_000, 4)] {
            let mut rng = Rng(seed);
            let count = 40_000_000 / len;
            let rows: Vec<(u64, u64)> = (0..count).map(|_| (rng.next(), len)).collect();
            let (_, mut sizes) = cuts(&rows);
            let mean = sizes.iter().sum::<u64>() / sizes.len() as u64 / 1024;
            assert!((230..=300).contains(&mean), "records of {len} B: mean {mean} KiB");
            sizes.sort_unstable();
            let p99 = sizes[sizes.len() * 99 / 100] / 1024;
            assert!(p99 < 700, "records of {len} B: p99 {p99} KiB");
            assert!(*sizes.last().unwrap() < 1024 * 1024 + len);
        }
    }

    #[test]
    fn after_an_insertion_cuts_soon_agree_again() {
        let mut rng = Rng(5);
        let rows: Vec<(u64, u64)> =
            (0..200_000).map(|i| (i << 32 | rng.next() >> 32, 100 + rng.next() % 700)).collect();
        let (before, _) = cuts(&rows);
        let mut blocks_off = 0;
        let tries = 40;
        for _ in 0..tries {
            let at = (rng.next() % 100_000) as usize;
            let mut with = rows.clone();
            with.insert(at, (rows[at].0 - 1, 100 + rng.next() % 700));
            let (after, _) = cuts(&with);
            let shifted: std::collections::HashSet<usize> = before.iter().map(|i| i + usize::from(*i >= at)).collect();
            blocks_off += after.iter().filter(|end| **end >= at).take_while(|end| !shifted.contains(end)).count();
        }
        let mean = f64::from(u32::try_from(blocks_off).unwrap()) / f64::from(tries);
        assert!(mean < 1.4, "{mean} blocks on average");
    }

    #[test]
    fn a_list_holds_two_entries_however_long_their_keys() {
        let mut cutter = Cutter::for_lists([0; 32]);
        assert!(!cutter.ends_after(b"a", 2 << 20));
        assert!(cutter.ends_after(b"b", 2 << 20));
    }
}
