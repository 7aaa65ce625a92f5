//! `tag`: changes what may be changed of a snapshot: its tags, its hold, its lock.

use crate::{
    cli::{
        common::NarrowArgs,
        context::{Context, now},
        exit::{Failure, Status},
        show::safe,
        units::show_time,
    },
    ops::{
        select::parse_time,
        tag::{TagChange, tag},
    },
};
use clap::Args;
use serde_json::json;

/// `tag`.
#[derive(Debug, Args)]
#[group(id = "change", required = true, multiple = true, args = ["add", "remove", "set", "hold", "release", "lock_until"])]
pub struct TagArgs {
    /// Which snapshot
    pub snapshot: String,
    /// Add a tag (repeatable)
    #[arg(long, value_name = "TAG")]
    pub add: Vec<String>,
    /// Take a tag off (repeatable)
    #[arg(long, value_name = "TAG")]
    pub remove: Vec<String>,
    /// Make these the only tags (repeatable; an empty one for none)
    #[arg(long, value_name = "TAG", conflicts_with_all = ["add", "remove"])]
    pub set: Vec<String>,
    /// Hold it: nothing may drop it until it is released
    #[arg(long, conflicts_with = "release")]
    pub hold: bool,
    /// Release it from its hold
    #[arg(long)]
    pub release: bool,
    /// Lock it: nothing may drop it before this time, which can only be moved to a later one
    #[arg(long, value_name = "TIME")]
    pub lock_until: Option<String>,
    #[command(flatten)]
    narrow: NarrowArgs,
}

impl TagArgs {
    /// The same as the verb takes it.
    fn change(&self) -> Result<TagChange, Failure> {
        let now = now();
        let change = TagChange {
            add: self.add.clone(),
            remove: self.remove.clone(),
            set: (!self.set.is_empty()).then(|| self.set.clone()),
            hold: (self.hold || self.release).then_some(self.hold),
            lock_until: self.lock_until.as_deref().map(|text| parse_time(text, now)).transpose()?,
        };
        // Before anyone is asked for a password.
        change.check(now)?;
        Ok(change)
    }
}

pub(super) fn run(args: &TagArgs, context: &Context) -> Result<Status, Failure> {
    let change = args.change()?;
    let repo = context.open()?;
    let snapshot = context.resolve(&repo, &args.snapshot, &args.narrow.narrow())?;
    for tag in change.remove.iter().filter(|tag| !snapshot.tags.contains(tag)) {
        context.reporter.note(&format!("snapshot {} has no tag {}", snapshot.id.short(), safe(tag)));
    }
    let snapshot = tag(&repo, &snapshot, &change)?;
    if context.json {
        context.out.json(&json!({
            "id": snapshot.id,
            "revision": snapshot.revision,
            "tags": snapshot.tags,
            "hold": snapshot.hold,
            "lock_until": snapshot.lock_until,
        }));
    } else if !context.quiet {
        let mut line = format!("snapshot {}: tags [{}]", snapshot.id.short(), snapshot.tags.join(", "));
        if snapshot.hold {
            line.push_str(", on hold");
        }
        if let Some(until) = snapshot.lock_until {
            line.push_str(&format!(", locked until {}", show_time(until)));
        }
        context.out.line(line);
    }
    Ok(Status::Done)
}
