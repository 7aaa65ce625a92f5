//! Random numbers and text that are the same on every platform for the same seed.

/// `SplitMix64`: 64 bits of state, a permutation of it for every number.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// A generator for one purpose: `seed` is the workload's, `stream` and `version` keep its parts apart.
    pub(super) fn new(seed: u64, stream: u64, version: u64) -> Self {
        let mut mixed = Self(seed);
        let mut mixed = Self(mixed.next() ^ stream);
        Self(mixed.next() ^ version)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, by multiplication; 0 if `bound` is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Whether an event of `num` in `den` happened.
    pub(super) fn chance(&mut self, num: u64, den: u64) -> bool {
        self.below(den) < num
    }

    /// Fills `out` with random bytes.
    pub(super) fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

const WORDS: usize = 4096;
const SYLLABLES: [&str; 32] = [
    "ba", "den", "cor", "mi", "tal", "ru", "ves", "no", "lin", "par", "go", "sta", "qui", "fer", "ho", "jan", "wel",
    "ka", "zu", "pri", "mon", "te", "ral", "bu", "sen", "do", "vi", "cha", "lor", "ne", "gri", "sa",
];

/// A fixed vocabulary of made-up words of two to four syllables.
#[derive(Debug)]
pub(super) struct Vocabulary {
    words: Vec<String>,
}

impl Vocabulary {
    pub(super) fn new() -> Self {
        let mut random = Random::new(0, 0x0076_6f63_6162, 0);
        let words = (0..WORDS).map(|_| {
            let syllables = 2 + random.below(3);
            (0..syllables).map(|_| SYLLABLES[random.below(SYLLABLES.len() as u64) as usize]).collect()
        });
        Self { words: words.collect() }
    }

    /// A word; the smaller of two draws, so that some are much more frequent than others.
    pub(super) fn pick(&self, random: &mut Random) -> &str {
        let bound = self.words.len() as u64;
        &self.words[random.below(bound).min(random.below(bound)) as usize]
    }

    /// One of the first `bound` words.
    pub(super) fn pick_of(&self, bound: u64, random: &mut Random) -> &str {
        &self.words[random.below(bound.min(self.words.len() as u64)) as usize]
    }

    /// Appends words separated by blanks until `out` has grown by at least `bytes`.
    pub(super) fn prose(&self, bytes: usize, random: &mut Random, out: &mut String) {
        let end = out.len() + bytes;
        while out.len() < end {
            out.push_str(self.pick(random));
            out.push(' ');
        }
    }
}
