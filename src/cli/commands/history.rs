//! `history`: every stored version of one record.

use crate::{
    cli::{
        common::NarrowArgs,
        context::{Context, now},
        exit::{Failure, Status},
        show::{counted, safe},
        typed,
        units::{show_size, show_time},
    },
    connector::CellKind,
    ops::{
        cell_history::{CellHistory, cell_history},
        history::{History, HistoryGap, HistoryVersion, choose, history},
        select::parse_time,
    },
};
use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use serde_json::{Value as Json, json};
use std::fmt::Write as _;

/// `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Which collection
    pub collection: String,
    /// Which record
    #[arg(value_parser = OsStringValueParser::new().map(typed::key))]
    pub key: String,
    /// Only snapshots that end, and versions that were made, at or after this time
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Only snapshots that end, and versions that were made, at or before this time
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    #[command(flatten)]
    narrow: NarrowArgs,
}

pub(super) fn run(args: &HistoryArgs, context: &Context) -> Result<Status, Failure> {
    let now = now();
    let time = |text: &Option<String>| text.as_deref().map(|text| parse_time(text, now)).transpose();
    let (from, to) = (time(&args.from)?, time(&args.to)?);
    let repo = context.open()?;
    context.unread(&repo)?;
    let snapshots = args.narrow.narrow().apply_to_some(&repo, &context.reporter)?;
    let of_source = choose(&snapshots, &args.collection, &context.reporter)?;
    if let Some(found) = cell_history(&repo, &of_source, &args.collection, &args.key, from, to)? {
        if context.json {
            context.out.json(&found);
        } else {
            context.out.text(&show_cell(&found));
        }
        return Ok(Status::Done);
    }
    let found = history(&repo, &of_source, &args.collection, &args.key, from, to, &context.reporter)?;
    if context.json {
        context.out.json(&found);
    } else {
        context.out.text(&show(&found));
    }
    Ok(Status::Done)
}

/// The history of a cell as people read it.
fn show_cell(history: &CellHistory) -> String {
    let word = |value: Json| value.as_str().unwrap_or_default().replace('-', " ");
    let mut text = format!("{} {}\n", safe(&history.collection), safe(&history.cell));
    for version in &history.versions {
        let _ =
            write!(text, "\n{}  written by the transaction that began {}", word(json!(version.kind)), version.start);
        for span in &version.shown {
            let commit = span.commit.map_or_else(String::new, |commit| format!(" at {commit}"));
            let _ = write!(text, "\n  {}{commit}: from {}", word(json!(span.fate)), show_time(span.from));
            if span.snapshots > 1 {
                let _ = write!(text, " to {}", show_time(span.to));
            }
            let _ = write!(text, ", {}, first {}", counted(span.snapshots, "snapshot"), span.first_snapshot.short());
        }
        if let Some(Json::Object(cells)) = version.value.as_ref().filter(|_| version.kind == CellKind::Value) {
            for (name, value) in cells {
                let _ = write!(text, "\n    {}: {}", safe(name), pretty(value));
            }
        }
        text.push('\n');
    }
    if history.versions.is_empty() {
        text.push_str("no version is stored\n");
    }
    let _ = writeln!(text, "\n{} asked", counted(history.snapshots as u64, "snapshot"));
    text
}

/// A history as people read it.
pub(crate) fn show(history: &History) -> String {
    let mut text = format!("{} {}\n", safe(&history.collection), crate::record::key::typed(&history.key));
    let mut gaps = history.gaps.iter().peekable();
    for version in &history.versions {
        while let Some(gap) = gaps.next_if(|gap| gap.to <= version.from) {
            text.push_str(&show_gap(gap));
        }
        text.push_str(&show_version(version));
    }
    for gap in gaps {
        text.push_str(&show_gap(gap));
    }
    if history.versions.is_empty() {
        text.push_str("no version is stored\n");
    }
    let (snapshots, layers) = (counted(history.snapshots as u64, "snapshot"), counted(history.layers as u64, "layer"));
    let _ = writeln!(text, "\n{snapshots}, {layers} asked");
    text
}

fn show_gap(gap: &HistoryGap) -> String {
    let to = show_time(gap.to);
    match gap.from {
        Some(from) => format!(
            "\n--  between {} and {to} snapshots were forgotten:\n    versions in between are no longer promised\n",
            show_time(from)
        ),
        None => format!("\n--  before {to} snapshots were forgotten: earlier versions are no longer promised\n"),
    }
}

fn show_version(version: &HistoryVersion) -> String {
    let from = if version.exact { version.from.to_string() } else { show_time(version.from) };
    let mut text = format!("\n{}  {} {from}", version.state, if version.exact { "at" } else { "from" });
    if version.snapshots > 1 {
        let _ = write!(text, " to {}", show_time(version.to));
    }
    let shown = if version.snapshots > 0 { counted(version.snapshots, "snapshot") } else { "of a stream".to_owned() };
    let _ = write!(text, "\n  {shown}, first {}", version.first_snapshot.short());
    if let Some(generation) = version.generation.filter(|generation| *generation != 0) {
        let _ = write!(text, ", generation {generation}");
    }
    if let Some(expiry) = version.expiry {
        let _ = write!(text, ", expires {}", show_time(expiry));
    }
    if let Some(set) = version.set.as_deref().filter(|set| !set.is_empty()) {
        let _ = write!(text, ", set {}", safe(set));
    }
    if let Some(bytes) = version.value_bytes {
        let _ = write!(text, ", {}", show_size(bytes));
    }
    text.push('\n');
    match &version.value {
        Some(Json::Object(cells)) => {
            for (name, value) in cells {
                // serde_json escapes control characters in values.
                let mark = if version.changed.contains(name) { '*' } else { ' ' };
                let _ = writeln!(text, "  {mark} {}: {}", safe(name), pretty(value));
            }
            for name in version.changed.iter().filter(|name| !cells.contains_key(*name)) {
                let _ = writeln!(text, "  * {}: (gone)", safe(name));
            }
        }
        Some(value) => {
            let _ = writeln!(text, "    {}", pretty(value));
        }
        None if version.state == "live" => text.push_str("    (value not shown: `rekeep dump` writes it)\n"),
        None => {}
    }
    text
}

/// On one line if it is short.
fn pretty(value: &Json) -> String {
    let line = value.to_string();
    if line.len() <= 100 {
        return line;
    }
    serde_json::to_string_pretty(value).unwrap_or_default().replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{record::Timestamp, repo::SnapshotId};

    #[test]
    fn changed_and_vanished_cells_are_marked() {
        let version = HistoryVersion {
            state: "live",
            first_snapshot: SnapshotId([7; 16]),
            from: Timestamp::from_millis(0),
            exact: false,
            last_snapshot: SnapshotId([7; 16]),
            to: Timestamp::from_millis(0),
            snapshots: 1,
            generation: None,
            expiry: None,
            set: None,
            value: Some(json!({ "name": "b", "same": 1 })),
            value_bytes: Some(12),
            changed: vec!["name".into(), "old".into()],
        };
        let text = show_version(&version);
        assert!(text.contains("* name: \"b\""), "{text}");
        assert!(text.contains("    same: 1"), "{text}");
        assert!(text.contains("* old: (gone)"), "{text}");
    }
}
