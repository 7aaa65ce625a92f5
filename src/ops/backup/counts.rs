//! What must hold of the counts of a join before anything is committed, and what of them a snapshot says.

use crate::{layer::JoinCounts, ops::OpsError, repo::manifest::Stats};

pub(super) fn add_stats(stats: &mut Stats, counts: &JoinCounts) {
    stats.seen += counts.seen;
    stats.new += counts.new;
    stats.changed += counts.changed;
    stats.inherited += counts.inherited;
    stats.deleted += counts.deleted;
    stats.expired += counts.expired;
    stats.unreadable += counts.unreadable;
    stats.torn += counts.torn;
    stats.bytes_read += counts.bytes_read;
    stats.bytes_changed += counts.bytes_changed;
    stats.blocks += counts.blocks;
}

/// The identities that a correct join of all ranges fulfils, checked before anything is committed: a range that was
/// skipped, read twice or joined at a wrong seam breaks one of them.
pub(in crate::ops) fn check_counts(
    collection: &str,
    parent_records: u64,
    counts: &JoinCounts,
    stood: u64,
) -> Result<(), OpsError> {
    let wrong = |identity: String| Err(OpsError::Counts { collection: collection.to_owned(), identity });
    if counts.parent_records != parent_records {
        return wrong(format!(
            "the parent has {parent_records} records, but the join met {} of them",
            counts.parent_records
        ));
    }
    if (parent_records + counts.new).checked_sub(counts.deleted + counts.expired) != Some(counts.records) {
        return wrong(format!(
            "{parent_records} in the parent + {} new - {} deleted - {} expired is not {} in the new state",
            counts.new, counts.deleted, counts.expired, counts.records
        ));
    }
    if (counts.seen + stood).checked_sub(counts.seen_expired + counts.unreadable) != Some(counts.records) {
        return wrong(format!(
            "{} seen - {} expired by the end - {} unreadable + {stood} that stand is not {} in the new state",
            counts.seen, counts.seen_expired, counts.unreadable, counts.records
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: JoinCounts = JoinCounts {
        seen: 105,
        new: 10,
        changed: 3,
        inherited: 1,
        deleted: 4,
        expired: 1,
        seen_expired: 0,
        parent_records: 100,
        records: 105,
        unreadable: 0,
        torn: 0,
        bytes: 0,
        bytes_read: 0,
        bytes_changed: 0,
        blocks: 0,
    };

    #[test]
    fn counts_that_add_up_are_accepted() {
        check_counts("c", 100, &GOOD, 0).unwrap();
    }

    #[test]
    fn a_join_that_loses_a_deletion_at_a_seam_is_refused() {
        let lost = JoinCounts { deleted: GOOD.deleted - 1, ..GOOD };
        assert!(matches!(check_counts("c", 100, &lost, 0), Err(OpsError::Counts { .. })));
    }

    #[test]
    fn a_range_that_was_skipped_or_read_twice_is_refused() {
        let skipped = JoinCounts { parent_records: 90, seen: 95, records: 95, ..GOOD };
        assert!(check_counts("c", 100, &skipped, 0).is_err());
        let twice = JoinCounts { seen: 110, ..GOOD };
        assert!(check_counts("c", 100, &twice, 0).is_err());
    }
}
