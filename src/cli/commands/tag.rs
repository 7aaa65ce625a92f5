//! `tag`: changes a snapshot's tags.

use crate::cli::{
    args::NarrowArgs,
    context::Context,
    exit::{Failure, Status},
};
use clap::Args;
use serde_json::json;

/// `tag`.
#[derive(Debug, Args)]
#[group(id = "change", required = true, multiple = true, args = ["add", "remove", "set"])]
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

pub(super) fn run(args: &TagArgs, context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    let snapshot = context.resolve(&repo, &args.snapshot, &args.narrow.narrow())?;
    let snapshot = if args.apply(&snapshot.tags) == snapshot.tags {
        snapshot
    } else {
        repo.revise(&snapshot.id, &|manifest| manifest.tags = args.apply(&manifest.tags))?
    };
    if context.json {
        context.out.json(&json!({ "id": snapshot.id, "revision": snapshot.revision, "tags": snapshot.tags }));
    } else if !context.quiet {
        context.out.line(format_args!("snapshot {}: tags [{}]", snapshot.id.short(), snapshot.tags.join(", ")));
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
            narrow: NarrowArgs::default(),
        };
        assert_eq!(args(&["b", "a"], &["c"], &[]).apply(&words(&["a", "c"])), words(&["a", "b"]));
        assert_eq!(args(&[], &[], &["x", "x"]).apply(&words(&["a"])), words(&["x"]));
        assert_eq!(args(&[], &[], &[""]).apply(&words(&["a"])), words(&[]));
    }
}
