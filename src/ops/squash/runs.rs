//! Finding runs: adjacent deltas that every stack holds wholly or not at all.

use super::rows;
use crate::repo::{ChunkId, manifest::LayerRef};
use std::collections::{HashMap, HashSet};

/// A delta in a stack: its layer, and which occurrence of it in that stack this is.
type Delta = (ChunkId, u32);

/// What lies beside a delta, in every stack that has it.
#[derive(Default)]
struct Beside {
    before: Option<Delta>,
    after: Option<Delta>,
    /// Who may not be touched.
    blocked: bool,
}

/// The deltas of a stack with their occurrences.
fn numbered(deltas: &[LayerRef]) -> Vec<Delta> {
    let mut seen: HashMap<ChunkId, u32> = HashMap::new();
    let number = |layer: &LayerRef| {
        let count = seen.entry(layer.id).or_default();
        *count += 1;
        (layer.id, *count - 1)
    };
    deltas.iter().map(number).collect()
}

/// Which deltas every stack holds together.
pub(super) struct Links {
    /// What follows a delta wherever it is, and has nothing else before it anywhere.
    next: HashMap<Delta, Delta>,
}

impl Links {
    /// Looks at the deltas of all stacks. Those of `blocked` are linked to nothing.
    pub fn new<'a>(stacks: impl Iterator<Item = &'a [LayerRef]>, blocked: &HashSet<ChunkId>) -> Self {
        let mut all: HashMap<Delta, Beside> = HashMap::new();
        let mut journals: HashSet<ChunkId> = HashSet::new();
        for stack in stacks {
            let deltas = numbered(stack);
            journals.extend(stack.iter().filter(|layer| layer.journal).map(|layer| layer.id));
            for (at, delta) in deltas.iter().enumerate() {
                let before = at.checked_sub(1).map(|at| deltas[at]);
                let after = deltas.get(at + 1).copied();
                let known = all.entry(*delta).or_insert(Beside { before, after, blocked: false });
                // Each side on its own: what begins a run may have anything before it.
                if known.before != before {
                    known.before = None;
                }
                if known.after != after {
                    known.after = None;
                }
                known.blocked |= blocked.contains(&delta.0);
            }
        }
        let free = |delta: &Delta| all.get(delta).is_some_and(|beside| !beside.blocked);
        let next = all.iter().filter_map(|(delta, beside)| {
            let after = beside.after?;
            let mutual = all.get(&after)?.before == Some(*delta);
            // Versions are merged with versions.
            let alike = journals.contains(&delta.0) == journals.contains(&after.0);
            (mutual && alike && free(delta) && free(&after)).then_some((*delta, after))
        });
        Self { next: next.collect() }
    }

    /// The maximal runs of a stack's deltas, each as a range of at least two.
    pub fn runs(&self, deltas: &[LayerRef]) -> Vec<std::ops::Range<usize>> {
        let numbered = numbered(deltas);
        let mut runs = Vec::new();
        let mut start = 0;
        for at in 1..=numbered.len() {
            let linked = at < numbered.len() && self.next.get(&numbered[at - 1]) == Some(&numbered[at]);
            if !linked {
                if at - start > 1 {
                    runs.push(start..at);
                }
                start = at;
            }
        }
        runs
    }
}

/// The parts of a run that are worth merging: not a layer beside which all others are small, for the sake of these.
pub(super) fn worth_it(run: &[LayerRef], max_superseded: f64) -> Vec<std::ops::Range<usize>> {
    let mut parts = Vec::new();
    split(run, 0, max_superseded, &mut parts);
    parts
}

fn split(run: &[LayerRef], from: usize, max_superseded: f64, parts: &mut Vec<std::ops::Range<usize>>) {
    // The first of the largest, so that the same layers are always split alike.
    let largest = run.iter().enumerate().max_by_key(|(at, layer)| (layer.rows, std::cmp::Reverse(*at)));
    let Some((at, largest)) = largest.filter(|_| run.len() > 1) else { return };
    let others = rows(run).saturating_sub(largest.rows);
    if others as f64 > max_superseded * largest.rows as f64 {
        parts.push(from..from + run.len());
        return;
    }
    split(&run[..at], from, max_superseded, parts);
    split(&run[at + 1..], from + at + 1, max_superseded, parts);
}
