//! `dr list` and `dr export`.

use super::{
    Format, backup_id,
    place::{Setup, holds_tenant, noted, tenant_of},
};
use crate::{
    cli::{
        context::Context,
        exit::{CliError, Failure, Status},
        show::{brief, counted, render, table},
        units::{show_duration, show_size, show_time},
    },
    repo::Snapshot,
};
use clap::Args;
use serde_json::{Value as Json, json};
use std::{fs::File, io::Write as _, path::Path};

/// `dr list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only backups that hold datasets of this tenant
    #[arg(long, value_name = "NAME")]
    tenant_id: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// How
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// A backup as data.
pub(super) fn row(snapshot: &Snapshot) -> Json {
    let stats = &snapshot.content.stats;
    let datasets: Vec<&str> = snapshot.collections.iter().map(|one| one.name.as_str()).collect();
    json!({
        "backup_id": backup_id::of(snapshot),
        "snapshot": snapshot.id,
        "timestamp": snapshot.content.end,
        "type": noted(snapshot, "type"),
        "type_done": noted(snapshot, "done"),
        "status": if snapshot.content.complete { "completed" } else { "incomplete" },
        "tenant_id": tenant_of(snapshot),
        "dataset_ids": datasets,
        "description": noted(snapshot, "description"),
        "size_bytes": snapshot.collections.iter().map(|one| one.bytes).sum::<u64>(),
        "added_bytes": stats.bytes_added,
        "duration_seconds": stats.duration_seconds,
        "pinned": snapshot.hold,
        "parent": snapshot.content.parent,
        "tested": super::verify::tested(snapshot),
    })
}

pub(super) fn run(args: &ListArgs, setup: &Setup, context: &Context) -> Result<Status, Failure> {
    let repo = setup.open(context)?;
    let unread = context.unread(&repo)?;
    let mut all = backup_id::all(&repo)?;
    all.retain(|one| args.tenant_id.as_deref().is_none_or(|tenant| holds_tenant(one, tenant)));
    all.reverse();
    all.truncate(args.limit as usize);
    if context.json || args.format == Format::Json {
        context.out.json(&all.iter().map(row).collect::<Vec<_>>());
        return Ok(Status::Done);
    }
    if all.is_empty() {
        context.out.line(match unread {
            0 => "no backups".to_owned(),
            unread => format!("no backups; {} cannot be read", counted(unread as u64, "snapshot")),
        });
        return Ok(Status::Done);
    }
    let mut rows =
        table(&["backup", "as of", "type", "status", "datasets", "size", "added", "took", "description"], &[5, 6, 7]);
    for one in &all {
        let asked = noted(one, "type").unwrap_or("-");
        let done = noted(one, "done").filter(|done| *done != asked);
        let names: Vec<&str> = one.collections.iter().map(|one| one.name.as_str()).collect();
        rows.add_row(vec![
            backup_id::of(one),
            show_time(one.content.end),
            done.map_or_else(|| asked.to_owned(), |done| format!("{asked}, done {done}")),
            match (one.content.complete, one.hold) {
                (true, true) => "completed, pinned",
                (true, false) => "completed",
                (false, _) => "INCOMPLETE",
            }
            .to_owned(),
            brief(&names.join(", ")),
            show_size(one.collections.iter().map(|one| one.bytes).sum()),
            show_size(one.content.stats.bytes_added),
            show_duration(one.content.stats.duration_seconds),
            brief(noted(one, "description").unwrap_or_default()),
        ]);
    }
    context.out.line(render(&rows));
    Ok(Status::Done)
}

/// `dr export`.
pub(super) fn export(file: &Path, setup: &Setup, context: &Context) -> Result<Status, Failure> {
    let repo = setup.open(context)?;
    context.unread(&repo)?;
    let all: Vec<Json> = backup_id::all(&repo)?.iter().rev().map(row).collect();
    let shown = file.display().to_string();
    let failed = |operation| {
        let shown = shown.clone();
        move |error| CliError::io(operation, shown, error)
    };
    let mut out = File::options().write(true).create_new(true).open(file).map_err(failed("make"))?;
    let text = serde_json::to_vec_pretty(&json!({ "repository": repo.id(), "backups": all }))
        .map_err(|error| CliError::io("write", shown.clone(), error.into()))?;
    out.write_all(&text).and_then(|()| out.sync_all()).map_err(failed("write"))?;
    if !context.quiet && !context.json {
        context.out.line(format_args!("{} backups listed in {shown}", all.len()));
    }
    Ok(Status::Done)
}
