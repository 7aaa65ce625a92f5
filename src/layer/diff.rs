//! What differs between two stacks, by keys alone.

use super::{LayerError, Stack, StackCursor};
use crate::record::{KeyRange, Timestamp};
use std::cmp::Ordering;

/// How a record differs between two states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Only the second state has it.
    Added,
    /// Both have it, with different value, set, generation, expiry, stamp or user key.
    Changed {
        /// Whether the value stands: only the rest of the key row differs.
        same_value: bool,
    },
    /// Only the first state has it.
    Removed,
}

/// Calls `found` for every record of `range` that differs between stack `a` at `at_a` and stack `b` at `at_b`, in key order.
/// No values are read. `found` gives `false` to stop.
pub fn diff_stacks(
    a: &Stack,
    at_a: Timestamp,
    b: &Stack,
    at_b: Timestamp,
    range: &KeyRange,
    found: &mut dyn FnMut(&[u8], Change) -> bool,
) -> Result<(), LayerError> {
    let same_layers = a.layers().len() == b.layers().len()
        && a.layers().iter().zip(b.layers()).all(|(a, b)| a.reference().id == b.reference().id);
    if same_layers && at_a == at_b {
        return Ok(());
    }
    let (mut a, mut b) = (a.cursor(range, at_a, true)?, b.cursor(range, at_b, true)?);
    let (mut has_a, mut has_b) = (a.advance()?, b.advance()?);
    while has_a || has_b {
        let order = match (has_a, has_b) {
            (true, true) => a.key().cmp(b.key()),
            (true, false) => Ordering::Less,
            _ => Ordering::Greater,
        };
        let goes_on = match order {
            Ordering::Less => found(a.key(), Change::Removed),
            Ordering::Greater => found(b.key(), Change::Added),
            Ordering::Equal => change(&a, &b).is_none_or(|change| found(b.key(), change)),
        };
        if !goes_on {
            return Ok(());
        }
        if order.is_le() {
            has_a = a.advance()?;
        }
        if order.is_ge() {
            has_b = b.advance()?;
        }
    }
    Ok(())
}

fn change(a: &StackCursor<'_>, b: &StackCursor<'_>) -> Option<Change> {
    let same_value = a.fingerprint() == b.fingerprint() && a.value_bytes() == b.value_bytes();
    (!same_value || a.meta() != b.meta()).then_some(Change::Changed { same_value })
}
