//! `dr history`, and `ls --commits`: branches, tags and commits of datasets in a backup.

use super::{backup_id, place::Setup};
use crate::{
    cli::{
        context::Context,
        exit::{Failure, Status, usage},
        show::{brief, render, safe, table},
        units::show_time,
    },
    ops::datasets::datasets,
    record::Timestamp,
    repo::{Repository, Snapshot},
};

pub(super) fn run(backup: &str, dataset: Option<&str>, setup: &Setup, context: &Context) -> Result<Status, Failure> {
    let repo = setup.open(context)?;
    let snapshot = backup_id::find(&repo, backup)?;
    commits(&repo, &snapshot, dataset, context)
}

/// Every commit of the datasets of a snapshot, or of one of them.
pub(in crate::cli::commands) fn commits(
    repo: &Repository,
    snapshot: &Snapshot,
    dataset: Option<&str>,
    context: &Context,
) -> Result<Status, Failure> {
    if snapshot.source().connector != "deeplake" {
        return Err(usage(format!("{} is no source of datasets: only those have commits", snapshot.source().url)));
    }
    let reports = datasets(repo, snapshot, dataset, &context.reporter)?;
    context.reporter.finish();
    if context.json {
        context.out.json(&reports);
        return Ok(Status::Done);
    }
    for report in &reports {
        let version =
            report.version.map_or_else(|| "of no known version".to_owned(), |version| format!("version {version}"));
        context.out.line(format_args!("{}, {version}", safe(&report.collection)));
        let mut rows = table(&["branch", "", "version", "time", "message", "tags"], &[1]);
        for branch in &report.branches {
            for commit in &branch.commits {
                let on = |tag: &&crate::connector::deeplake::TagRef| {
                    tag.branch == branch.id && tag.version == commit.version
                };
                let tags: Vec<&str> = report.tags.iter().filter(on).map(|tag| tag.name.as_str()).collect();
                let time = commit.seconds.and_then(|seconds| seconds.checked_mul(1000));
                rows.add_row(vec![
                    safe(&branch.branch.name),
                    commit.number.to_string(),
                    safe(&commit.version),
                    time.map_or_else(|| "-".to_owned(), |time| show_time(Timestamp::from_millis(time))),
                    brief(&commit.message),
                    brief(&tags.join(", ")),
                ]);
            }
        }
        context.out.line(render(&rows));
        context.out.line("");
    }
    Ok(Status::Done)
}
