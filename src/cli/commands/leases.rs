//! `leases`: who is at work on the repository.

use crate::{
    cli::{
        context::{Context, now},
        exit::{Failure, Status},
        show::{render, safe, table},
        units::{show_age, show_time},
    },
    ops::leases::running,
    repo::pruner::LeaseInfo,
};

pub(super) fn run(context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    let leases = running(&repo)?;
    if context.json {
        context.out.json(&leases);
    } else if leases.is_empty() {
        context.out.line("nobody is at work on this repository");
    } else {
        context.out.line(rows(&leases));
    }
    Ok(Status::Done)
}

/// Running leases as a table.
pub(super) fn rows(leases: &[LeaseInfo]) -> String {
    let mut rows =
        table(&["lease", "purpose", "host", "process", "began", "unchanged for", "shut out at", "honours"], &[7]);
    for lease in leases {
        let silent = lease.newest_seen.map(|seen| now().as_millis().saturating_sub(seen.as_millis()).max(0) / 1000);
        rows.add_row(vec![
            lease.id.short(),
            if lease.purpose.is_empty() { "?".to_owned() } else { safe(&lease.purpose) },
            safe(&lease.host),
            lease.process.as_ref().map_or_else(|| "-".to_owned(), |process| process.pid.to_string()),
            lease.started.map_or_else(|| "-".to_owned(), show_time),
            silent.map_or_else(|| "-".to_owned(), |seconds| show_age(seconds.cast_unsigned())),
            lease.dead_at.map_or_else(|| "by `unlock`".to_owned(), show_time),
            lease.honours.len().to_string(),
        ]);
    }
    render(&rows)
}
