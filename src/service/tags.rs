//! Tags that say whose a snapshot is and what was asked for: by them alone backups are found again.

use super::job::StoredJob;
use crate::repo::Snapshot;

/// What the tag begins with that says whose a snapshot is.
const ROUTINE: &str = "routine=";

/// That tag.
pub(super) fn routine_tag(routine: &str) -> String {
    format!("{ROUTINE}{routine}")
}

/// The routine that tags name.
pub(super) fn routine_of(tags: &[String]) -> Option<&str> {
    tags.iter().find_map(|tag| tag.strip_prefix(ROUTINE))
}

/// All routines that tags name, each once.
pub(super) fn routines_of(tags: &[String]) -> impl Iterator<Item = &str> {
    let named = |at: usize| tags[at].strip_prefix(ROUTINE);
    (0..tags.len()).filter(move |at| !tags[..*at].contains(&tags[*at])).filter_map(named)
}

/// What the tag begins with that snapshots of one run have in common, where it left several.
const RUN: &str = "run=";

/// What stands in it before the number of parts that a run is to leave.
const OF: &str = "-of-";

/// That tag. It is the same however often a job is tried, and says of how many parts the run is, so that half of one is known.
pub(super) fn run_tag(job: &StoredJob, parts: usize) -> String {
    format!("{RUN}{}-{}{OF}{parts}", job.created.as_millis(), job.id)
}

/// Of how many parts the run of a snapshot is, if that is known.
pub(super) fn parts_of_run(snapshot: &Snapshot) -> Option<usize> {
    run_of(snapshot)?.rsplit_once(OF)?.1.parse().ok()
}

/// The tag of a snapshot that only lacks that files were the same before and after they were read: it counts as a full.
pub(super) const CHANGED: &str = "changed-while-read";

/// The tag of a snapshot's run, if that left several.
pub(super) fn run_of(snapshot: &Snapshot) -> Option<&str> {
    snapshot.tags.iter().find(|tag| tag.starts_with(RUN)).map(String::as_str)
}

/// Whether a snapshot is of the same run.
pub(super) fn is_same_run(one: &Snapshot, other: &Snapshot) -> bool {
    run_of(one).is_some() && run_of(one) == run_of(other)
}

/// The tag that says what was asked for.
pub(super) const fn type_tag(full: bool) -> &'static str {
    if full { "type=full" } else { "type=incremental" }
}
