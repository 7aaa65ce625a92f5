//! `audit`: what was done through services, as the repository holds it, checked to follow each other.

use crate::cli::{
    context::Context,
    exit::{Failure, Status},
    show::{counted, safe},
};
use clap::Args;
use serde_json::{Value as Json, json};

/// `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Only the newest so many entries [default: all]
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
}

pub(super) fn run(args: &AuditArgs, context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    let audit = repo.audit()?;
    let mut entries: Vec<Json> = Vec::new();
    for kept in audit.kept {
        for mut entry in kept.body.entries {
            if let Some(fields) = entry.as_object_mut() {
                fields.insert("host".to_owned(), json!(kept.body.host));
                fields.insert("object".to_owned(), json!(kept.name));
            }
            entries.push(entry);
        }
    }
    // Each service counts for itself; times put several in one order, as far as their clocks agree.
    let text = |entry: &Json, name: &str| entry.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
    entries.sort_by_key(|entry| (text(entry, "at"), entry.get("id").and_then(Json::as_i64)));
    let skip = args.last.map_or(0, |last| entries.len().saturating_sub(last));
    let entries = entries.split_off(skip);
    if context.json {
        context.out.json(&json!({ "entries": entries, "problems": audit.problems }));
    } else if entries.is_empty() {
        context.out.line("nothing was written down");
    } else {
        for entry in &entries {
            let words = ["at", "who", "from", "did", "outcome"].map(|name| safe(&text(entry, name)));
            let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
            let more = match entry.get("more").and_then(Json::as_u64) {
                Some(more) => format!("  (before it {} not written down one by one)", counted(more, "refusal")),
                None => String::new(),
            };
            context.out.line(format!("{}{more}", words.join("  ")));
        }
    }
    for problem in &audit.problems {
        context.reporter.problem(problem);
    }
    Ok(if audit.problems.is_empty() { Status::Done } else { Status::Bad })
}
