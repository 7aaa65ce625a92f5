//! How the heap of a table lies along its key.
//!
//! Rows are added where a table ends, and keys mostly grow: then the heap is in the order of the key already, but for rows that
//! were changed since. Some rows are looked at, one every few pages. Those whose keys grow with their pages divide the heap into
//! stretches, each with the keys from its first row to that of the next stretch. The rows of a stretch that have such keys can be read
//! when their turn comes, and sorted in memory. All others are strays: they are sorted before.

/// The bytes of a stretch, about.
const STRETCH_BYTES: u64 = 2 << 20;

/// The most rows that are looked at. Of a larger table stretches are longer.
const MOST_SAMPLES: u64 = 65_536;

/// The longest stretch between two rows that follow one another: a thread has one in memory.
const LONGEST_BYTES: u64 = 16 << 20;

/// Fewer are not worth it.
const FEWEST_SAMPLES: usize = 4;

/// The pages of strays that are read by one statement.
const PAGES_AT_ONCE: u64 = 8192;

/// The key of a row that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) key: Vec<u8>,
    /// Its parts as the server writes them.
    pub(super) texts: Vec<String>,
}

/// Pages, and which keys are to be expected there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) pages: (u64, Option<u64>),
    /// From which bound to which, by their numbers; `None` where all rows are strays.
    pub(super) keys: Option<(Option<usize>, Option<usize>)>,
}

/// Where the rows of a table lie.
#[derive(Debug, Default)]
pub(super) struct Order {
    pub(super) bounds: Vec<Bound>,
    pub(super) stretches: Vec<Stretch>,
}

/// After how many pages a row is looked at, of a table of so many; `None` if it is too small or too large for it to be worth it.
pub(super) fn step(pages: u64, bytes: u64) -> Option<u64> {
    let of_page = bytes.max(1).div_ceil(pages.max(1));
    let step = (STRETCH_BYTES / of_page).max(pages.div_ceil(MOST_SAMPLES)).max(1);
    (pages / step >= FEWEST_SAMPLES as u64 && step.saturating_mul(of_page) <= LONGEST_BYTES).then_some(step)
}

impl Order {
    /// From rows that were looked at, by the pages where they were looked for, one every `step` pages of so many; `None` if the heap lies
    /// otherwise.
    pub(super) fn of(samples: Vec<(u64, Bound)>, step: u64, pages: u64) -> Option<Self> {
        let chosen = ascending(&samples);
        if chosen.len() < FEWEST_SAMPLES || chosen.len() * 4 < samples.len() * 3 {
            return None;
        }
        let mut order = Self::default();
        let mut samples = samples;
        let mut places: Vec<u64> = Vec::with_capacity(chosen.len());
        for number in chosen {
            let (page, bound) = &mut samples[number];
            places.push(*page);
            order.bounds.push(Bound { key: std::mem::take(&mut bound.key), texts: std::mem::take(&mut bound.texts) });
        }
        let longest = 2 * step;
        let mut begin = 0;
        if places[0] > longest {
            order.strays(0, Some(places[0]), places[0]);
            begin = places[0];
        }
        for (number, place) in places.iter().enumerate() {
            let next = places.get(number + 1).copied();
            // What lies between two that are far from each other, or behind the last, is mostly of neither.
            let most = place + longest;
            let is_long = next.unwrap_or(pages) > most;
            let end = if is_long { Some(most) } else { next };
            let keys = Some(((number > 0).then_some(number), next.is_some().then_some(number + 1)));
            order.stretches.push(Stretch { pages: (begin, end), keys });
            if is_long {
                order.strays(most, next, pages);
            }
            begin = next.unwrap_or_default();
        }
        Some(order)
    }

    fn strays(&mut self, mut begin: u64, end: Option<u64>, pages: u64) {
        let last = end.unwrap_or(pages);
        while last.saturating_sub(begin) > PAGES_AT_ONCE {
            self.stretches.push(Stretch { pages: (begin, Some(begin + PAGES_AT_ONCE)), keys: None });
            begin += PAGES_AT_ONCE;
        }
        self.stretches.push(Stretch { pages: (begin, end), keys: None });
    }

    /// The bounds of a stretch's keys.
    pub(super) fn keys_of(&self, stretch: &Stretch) -> Option<(Option<&Bound>, Option<&Bound>)> {
        let bound = |number: Option<usize>| number.and_then(|number| self.bounds.get(number));
        stretch.keys.map(|(from, to)| (bound(from), bound(to)))
    }

    /// About `parts - 1` keys that split the rows.
    pub(super) fn splits(&self, parts: usize) -> Vec<Vec<u8>> {
        let count = self.bounds.len();
        let mut splits: Vec<Vec<u8>> =
            (1..parts.min(count)).map(|part| self.bounds[part * count / parts.min(count)].key.clone()).collect();
        splits.dedup();
        splits
    }
}

/// The numbers of the longest series of rows whose keys grow.
fn ascending(samples: &[(u64, Bound)]) -> Vec<usize> {
    let key = |number: usize| samples[number].1.key.as_slice();
    // By the length of a series, the row with the least key that ends one, and what stands before each row in the best that it ends.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(samples.len());
    for number in 0..samples.len() {
        let len = ends.partition_point(|end| key(*end) < key(number));
        before.push(len.checked_sub(1).map(|len| ends[len]));
        if len == ends.len() {
            ends.push(number);
        } else {
            ends[len] = number;
        }
    }
    let mut series: Vec<usize> = std::iter::successors(ends.last().copied(), |number| before[*number]).collect();
    series.reverse();
    series
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn samples(keys: &[(u64, u8)]) -> Vec<(u64, Bound)> {
        keys.iter().map(|(page, key)| (*page, Bound { key: vec![*key], texts: vec![key.to_string()] })).collect()
    }

    #[test]
    fn what_was_changed_lies_behind_and_is_astray() {
        let found = samples(&[(0, 10), (4, 20), (8, 30), (12, 40), (16, 50), (20, 60), (24, 15), (28, 35)]);
        let order = Order::of(found, 4, 32).unwrap();
        let stretches: Vec<_> = order.stretches.iter().map(|it| (it.pages, it.keys)).collect();
        let keys = |from, to| Some((from, to));
        assert_eq!(
            stretches,
            [
                ((0, Some(4)), keys(None, Some(1))),
                ((4, Some(8)), keys(Some(1), Some(2))),
                ((8, Some(12)), keys(Some(2), Some(3))),
                ((12, Some(16)), keys(Some(3), Some(4))),
                ((16, Some(20)), keys(Some(4), Some(5))),
                ((20, Some(28)), keys(Some(5), None)),
                ((28, None), None),
            ]
        );
        assert_eq!(order.splits(3), [vec![30], vec![50]]);
        assert_eq!(order.splits(100).len(), 5);
    }

    #[test]
    fn a_heap_without_order_is_found_out() {
        let shuffled = samples(&[(0, 50), (4, 20), (8, 70), (12, 10), (16, 60), (20, 30)]);
        assert!(Order::of(shuffled, 4, 24).is_none());
        assert!(Order::of(samples(&[(0, 1), (4, 2), (8, 3)]), 4, 12).is_none(), "few say nothing");
        let backwards: Vec<(u64, u8)> = (0..20).map(|at| (u64::from(at) * 4, 200 - at)).collect();
        assert!(Order::of(samples(&backwards), 4, 80).is_none());
    }

    #[test]
    fn steps_follow_what_pages_hold() {
        let mib = 1 << 20;
        assert_eq!(step(1_023, 1_023 * 8192), None);
        assert_eq!(step(1_024, 1_024 * 8192), Some(256));
        assert_eq!(step(64, 64 * mib), Some(2), "values beside their rows count");
        assert_eq!(step(4, 4 * 17 * mib), None);
        assert_eq!(step(0, 0), None);
        let pages = 100 * 1024 * 128;
        assert_eq!(step(pages, pages * 8192), Some(256));
        assert_eq!(step(8 * pages, 8 * pages * 8192), Some(1600));
        assert_eq!(step(20 * pages, 20 * pages * 8192), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever the rows are: each page is of one stretch, keys of stretches follow one another, and bounds do.
        #[test]
        fn stretches_have_every_page_once_and_every_key_once(
            keys in prop::collection::vec((any::<bool>(), any::<u8>(), 0..20_u8), 4..60),
            more in 0..40_u64,
        ) {
            let (mut found, mut at) = (Vec::new(), 0);
            for (number, (is_there, key, noise)) in keys.iter().enumerate() {
                at = number as u64 * 4;
                // Mostly in order, so that there is something to look at.
                let key = if *noise == 0 { *key } else { (number * 4) as u8 };
                if *is_there || *noise > 3 {
                    found.push((at, key));
                }
            }
            if let Some(order) = Order::of(samples(&found), 4, at + more) {
                prop_assert!(order.bounds.windows(2).all(|two| two[0].key < two[1].key));
                let mut page = Some(0);
                let mut bound = None;
                for stretch in &order.stretches {
                    prop_assert_eq!(Some(stretch.pages.0), page);
                    prop_assert!(stretch.pages.1.is_none_or(|end| end > stretch.pages.0));
                    page = stretch.pages.1;
                    if let Some((from, to)) = stretch.keys {
                        prop_assert_eq!(from, bound);
                        bound = to;
                    }
                }
                prop_assert_eq!((page, bound), (None, None), "to the end of both");
            }
        }
    }
}
