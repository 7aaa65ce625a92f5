//! Tags that say whose a snapshot is and what was asked for: by them alone backups are found again.

/// The tag that says whose a snapshot is.
pub(super) fn routine_tag(routine: &str) -> String {
    format!("routine={routine}")
}

/// The tag that says what was asked for.
pub(super) const fn type_tag(full: bool) -> &'static str {
    if full { "type=full" } else { "type=incremental" }
}
