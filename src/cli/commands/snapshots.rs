//! `snapshots`: what there is to go back to.

use crate::{
    cli::{
        common::NarrowArgs,
        context::{Context, now},
        exit::{Failure, Status},
        show::{brief, brief_tags, counted, render, safe, table},
        units::{show_count, show_size, show_time},
    },
    ops::{
        Progress as _,
        list::{SnapshotRow, row},
        select::{Within, ahead_warning, is_ahead, keep_newest, newest_of_each, parse_time},
    },
};
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;

/// `snapshots`.
#[derive(Debug, Args)]
pub struct SnapshotsArgs {
    /// Only the newest N of each source and scope
    #[arg(long, value_name = "N")]
    pub latest: Option<usize>,
    /// Only those that end at or after this time
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Only those that end at or before this time
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// One table for each source, host, tags (no effect with --json)
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub group_by: Vec<GroupBy>,
    #[command(flatten)]
    narrow: NarrowArgs,
}

/// What tables are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GroupBy {
    /// Connector and name.
    Source,
    /// The host the backup ran on.
    Host,
    /// All tags together.
    Tags,
}

pub(super) fn run(args: &SnapshotsArgs, context: &Context) -> Result<Status, Failure> {
    let now = now();
    let time = |text: &Option<String>| text.as_deref().map(|text| parse_time(text, now)).transpose();
    let (from, to) = (time(&args.from)?, time(&args.to)?);
    let repo = context.open()?;
    let (narrow, within) = (args.narrow.narrow(), Within { from, to });
    let mut snapshots = match args.latest {
        Some(count) if !narrow.whole => newest_of_each(&repo, &narrow, within, count, now)?,
        // Whether everything of one is there is told of all at once.
        _ => narrow.apply_within(&repo, within, &context.reporter)?,
    };
    if let Some(count) = args.latest.filter(|_| narrow.whole) {
        keep_newest(&mut snapshots, count, now);
    }
    let unread = context.unread(&repo)?;
    let rows: Vec<SnapshotRow> = snapshots.iter().map(|snapshot| row(snapshot, now)).collect();
    let ahead = snapshots.iter().filter(|s| is_ahead(s.content.end, now));
    ahead.for_each(|snapshot| context.reporter.warning(&ahead_warning(snapshot)));
    if context.json {
        context.out.json(&rows);
        return Ok(Status::Done);
    }
    if rows.is_empty() {
        context.out.line(no_snapshots(unread));
        return Ok(Status::Done);
    }
    let mut groups: BTreeMap<Vec<String>, Vec<&SnapshotRow>> = BTreeMap::new();
    for row in &rows {
        groups
            .entry(args.group_by.iter().map(|by| group(row, *by, args.group_by.contains(&GroupBy::Host))).collect())
            .or_default()
            .push(row);
    }
    for (name, rows) in groups {
        if !name.is_empty() {
            context.out.line(name.join(", "));
        }
        print(&rows, context);
    }
    if unread > 0 {
        context.out.line(format_args!("{unread} more cannot be read"));
    }
    Ok(Status::Done)
}

/// What is told where a listing holds none.
pub(super) fn no_snapshots(unread: usize) -> String {
    match unread {
        0 => "no snapshots".to_owned(),
        unread => format!("no snapshot that can be read; {unread} cannot"),
    }
}

fn group(row: &SnapshotRow, by: GroupBy, with_host: bool) -> String {
    match by {
        // Without the host a local source is the same on each.
        GroupBy::Source if !with_host => format!("source {}:{}", row.source.connector, safe(row.source.local_name())),
        GroupBy::Source => format!("source {}:{}", row.source.connector, safe(&row.source.name)),
        GroupBy::Host => format!("host {}", safe(&row.source.host)),
        GroupBy::Tags if row.tags.is_empty() => "no tags".to_owned(),
        GroupBy::Tags => {
            let mut tags = row.tags.clone();
            tags.sort();
            format!("tags {}", safe(&tags.join(" ")))
        }
    }
}

fn protection(row: &SnapshotRow) -> String {
    let hold = row.hold.then(|| "hold".to_owned());
    let lock = row.lock_until.map(|until| format!("locked until {}", show_time(until)));
    hold.into_iter().chain(lock).collect::<Vec<_>>().join(", ")
}

fn print(rows: &[&SnapshotRow], context: &Context) {
    let mut header = vec!["id", "as of", "kind", "source", "tags", "collections", "records", "bytes", "added"];
    let scoped = rows.iter().any(|row| row.scope_note != rows[0].scope_note || row.scope_note != "everything");
    if scoped {
        header.push("scope");
    }
    let protected = rows.iter().any(|row| row.hold || row.lock_until.is_some());
    if protected {
        header.push("protected");
    }
    let mut out = table(&header, &[5, 6, 7, 8]);
    for row in rows {
        let kind = format!("{:?}", row.kind).to_lowercase();
        let at_most = if row.collections.iter().all(|c| c.counted) { "" } else { "at most " };
        let mut cells = vec![
            row.short_id.clone(),
            show_time(row.time),
            match (row.complete, row.ahead) {
                (true, false) => kind,
                (false, false) => format!("{kind}, PARTIAL"),
                (true, true) => format!("{kind}, IN THE FUTURE"),
                (false, true) => format!("{kind}, PARTIAL, IN THE FUTURE"),
            },
            safe(&row.source.url),
            brief_tags(&row.tags),
            row.collections.len().to_string(),
            format!("{at_most}{}", show_count(row.collections.iter().map(|c| c.records).sum())),
            format!("{at_most}{}", show_size(row.collections.iter().map(|c| c.bytes).sum())),
            show_size(row.stats.bytes_added),
        ];
        if scoped {
            cells.push(brief(&row.scope_note));
        }
        if protected {
            cells.push(protection(row));
        }
        out.add_row(cells);
    }
    context.out.line(render(&out));
    context.out.line(counted(rows.len() as u64, "snapshot"));
}
