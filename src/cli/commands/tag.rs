//! `tag`: changes what may be changed of a snapshot: its tags, its hold, its lock.

use crate::{
    cli::{
        common::NarrowArgs,
        context::{Context, now},
        exit::{Failure, Status, usage},
        units::show_time,
    },
    ops::select::parse_time,
    record::Timestamp,
    repo::Manifest,
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
    /// The tags after the change: sorted as they came, each once.
    fn apply(&self, tags: &[String]) -> Vec<String> {
        let before = if self.set.is_empty() { tags } else { &self.set };
        let mut after: Vec<String> = Vec::new();
        for tag in before.iter().chain(&self.add) {
            if !tag.is_empty() && !self.remove.contains(tag) && !after.contains(tag) {
                after.push(tag.clone());
            }
        }
        after
    }
}

/// When the lock is to end: in the future, and not before the end of the lock that there is.
fn lock(text: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
    let Some(text) = text else { return Ok(None) };
    match parse_time(text, now)? {
        until if until > now => Ok(Some(until)),
        until => Err(usage(format!("--lock-until {text}: {until} has passed"))),
    }
}

pub(super) fn run(args: &TagArgs, context: &Context) -> Result<Status, Failure> {
    let lock = lock(args.lock_until.as_deref(), now())?;
    let repo = context.open()?;
    let snapshot = context.resolve(&repo, &args.snapshot, &args.narrow.narrow())?;
    if let (Some(asked), Some(there)) = (lock, snapshot.lock_until)
        && asked < there
    {
        let id = snapshot.id.short();
        return Err(usage(format!("snapshot {id} is locked until {there}: a lock cannot be made shorter")));
    }
    let change = |manifest: &mut Manifest| {
        manifest.tags = args.apply(&manifest.tags);
        manifest.hold = (manifest.hold || args.hold) && !args.release;
        manifest.lock_until = manifest.lock_until.max(lock);
    };
    let mut changed = snapshot.clone();
    change(&mut changed);
    let snapshot = if changed == snapshot { snapshot } else { repo.revise(&snapshot.id, &change)? };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_added_removed_and_set() {
        let words = |list: &[&str]| list.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
        let args = |add: &[&str], remove: &[&str], set: &[&str]| TagArgs {
            snapshot: String::new(),
            add: words(add),
            remove: words(remove),
            set: words(set),
            hold: false,
            release: false,
            lock_until: None,
            narrow: NarrowArgs::default(),
        };
        assert_eq!(args(&["b", "a"], &["c"], &[]).apply(&words(&["a", "c"])), words(&["a", "b"]));
        assert_eq!(args(&[], &[], &["x", "x"]).apply(&words(&["a"])), words(&["x"]));
        assert_eq!(args(&[], &[], &[""]).apply(&words(&["a"])), words(&[]));
    }

    #[test]
    fn a_lock_ends_in_the_future() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        assert_eq!(lock(Some("1800000000001"), now).unwrap(), Some(Timestamp::from_millis(1_800_000_000_001)));
        assert!(lock(Some("1800000000000"), now).is_err());
        assert!(lock(Some("soon"), now).is_err());
        assert_eq!(lock(None, now).unwrap(), None);
    }
}
