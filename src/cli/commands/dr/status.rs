//! `dr status`: the newest backup of each part that is backed up, and what was tested of it.

use super::{
    backup_id,
    place::{Setup, noted},
    verify::tested,
};
use crate::{
    cli::{
        context::{Context, now},
        exit::{Failure, Status},
        show::{brief, render, table},
        units::show_age,
    },
    repo::Snapshot,
};
use serde_json::json;
use std::collections::BTreeMap;

pub(super) fn run(setup: &Setup, context: &Context) -> Result<Status, Failure> {
    let repo = setup.open(context)?;
    let all = backup_id::all(&repo)?;
    let mut parts: BTreeMap<(&str, &str), Vec<&Snapshot>> = BTreeMap::new();
    for one in &all {
        parts.entry((&one.source().name, &one.content.scope_note)).or_default().push(one);
    }
    let age = |one: &Snapshot| (now().as_millis() - one.content.end.as_millis()).max(0) as u64 / 1000;
    let test_of = |ones: &[&Snapshot]| {
        ones.iter().rev().find_map(|one| Some((backup_id::of(one), tested(one).last()?.to_string())))
    };
    if context.json {
        let rows: Vec<_> = parts
            .iter()
            .map(|((source, scope), ones)| {
                let good = ones.iter().rev().find(|one| one.content.complete);
                json!({
                    "source": source, "scope": scope, "backups": ones.len(),
                    "newest_good": good.map(|one| super::list::row(one)),
                    "age_seconds": good.map(|one| age(one)),
                    "newest_status": ones.last().map(|one| if one.content.complete { "completed" } else { "incomplete" }),
                    "last_test": test_of(ones).map(|(backup, result)| json!({ "backup_id": backup, "result": result })),
                })
            })
            .collect();
        context.out.json(&json!({ "repository": setup.repository(context)?, "parts": rows }));
        return Ok(Status::Done);
    }
    if parts.is_empty() {
        context.out.line("no backups");
        return Ok(Status::Done);
    }
    let mut rows = table(&["source", "part", "newest good backup", "type", "age", "backups", "last test"], &[4, 5]);
    for ((source, scope), ones) in &parts {
        let good = ones.iter().rev().find(|one| one.content.complete);
        rows.add_row(vec![
            brief(source),
            if scope.is_empty() { "everything".to_owned() } else { brief(scope) },
            good.map_or_else(|| "NONE".to_owned(), |one| backup_id::of(one)),
            good.and_then(|one| noted(one, "done")).unwrap_or("-").to_owned(),
            good.map_or_else(|| "-".to_owned(), |one| show_age(age(one))),
            ones.len().to_string(),
            test_of(ones).map_or_else(|| "never".to_owned(), |(_, result)| result),
        ]);
    }
    context.out.line(render(&rows));
    Ok(Status::Done)
}
