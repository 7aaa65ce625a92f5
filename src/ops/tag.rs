//! `tag`: changes what may be changed of a snapshot: its tags, its hold, its lock.

use super::{OpsError, select::all_of_it};
use crate::{
    record::Timestamp,
    repo::{Manifest, Repository, Snapshot},
    report::ErrorKind,
};

/// What is to become of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagChange {
    /// Tags to add.
    pub add: Vec<String>,
    /// Tags to take off.
    pub remove: Vec<String>,
    /// The only tags, in place of those that there are.
    pub set: Option<Vec<String>>,
    /// Whether it is to be on hold; `None` leaves that as it is.
    pub hold: Option<bool>,
    /// Until when nothing may drop it.
    pub lock_until: Option<Timestamp>,
}

/// Refuses tags that are none: an empty one is what a variable that is not set leaves.
pub fn check_tags(tags: &[String]) -> Result<(), OpsError> {
    match tags.iter().find(|tag| tag.trim().is_empty() || tag.chars().any(char::is_control)) {
        None => Ok(()),
        Some(tag) if tag.trim().is_empty() => {
            Err(OpsError::Usage("a tag is empty: leave it out, or give it a name".to_owned()))
        }
        Some(tag) => Err(OpsError::Usage(format!("the tag `{}` holds control characters", tag.escape_debug()))),
    }
}

/// Refuses what would break lines and tables as a name.
pub(in crate::ops) fn check_name(what: &str, name: &str) -> Result<(), OpsError> {
    if name.chars().any(char::is_control) {
        return Err(OpsError::Usage(format!("{what} `{}` holds control characters", name.escape_debug())));
    }
    Ok(())
}

impl TagChange {
    /// Refuses empty tags, and a lock that would be over already.
    pub fn check(&self, now: Timestamp) -> Result<(), OpsError> {
        check_tags(&self.add)?;
        match self.set.as_deref() {
            // One empty tag alone takes all away.
            Some([one]) if one.is_empty() => {}
            Some(set) => check_tags(set)?,
            None => {}
        }
        match self.lock_until {
            Some(until) if until <= now => {
                Err(OpsError::refused(ErrorKind::InvalidInput, format!("a lock until {until}: that time has passed")))
            }
            _ => Ok(()),
        }
    }

    /// The tags after the change: in the order in which they came, each once.
    #[must_use]
    pub fn tags(&self, tags: &[String]) -> Vec<String> {
        let before = self.set.as_deref().unwrap_or(tags);
        let mut after: Vec<String> = Vec::new();
        for tag in before.iter().chain(&self.add) {
            if !tag.is_empty() && !self.remove.contains(tag) && !after.contains(tag) {
                after.push(tag.clone());
            }
        }
        after
    }

    fn apply(&self, manifest: &mut Manifest) {
        manifest.tags = self.tags(&manifest.tags);
        manifest.hold = self.hold.unwrap_or(manifest.hold);
        manifest.lock_until = manifest.lock_until.max(self.lock_until);
    }
}

/// Changes a snapshot; gives it as it is afterwards. Without a difference no revision is written.
///
/// # Errors
/// [`ErrorKind::SnapshotLocked`] if the lock would end sooner than the one that there is.
pub fn tag(repo: &Repository, snapshot: &Snapshot, change: &TagChange) -> Result<Snapshot, OpsError> {
    change.check(repo.clock().now())?;
    all_of_it(snapshot)?;
    if let (Some(asked), Some(there)) = (change.lock_until, snapshot.lock_until)
        && asked < there
    {
        let id = snapshot.id.short();
        let words = format!("snapshot {id} is locked until {there}: a lock cannot be made shorter");
        return Err(OpsError::refused(ErrorKind::SnapshotLocked, words));
    }
    let mut changed = Manifest::clone(snapshot);
    change.apply(&mut changed);
    if changed == **snapshot {
        return Ok(snapshot.clone());
    }
    Ok(repo.revise(&snapshot.id, &|manifest| change.apply(manifest))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_added_removed_and_set() {
        let words = |list: &[&str]| list.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
        let change = |add: &[&str], remove: &[&str], set: Option<&[&str]>| TagChange {
            add: words(add),
            remove: words(remove),
            set: set.map(words),
            ..TagChange::default()
        };
        assert_eq!(change(&["b", "a"], &["c"], None).tags(&words(&["a", "c"])), words(&["a", "b"]));
        assert_eq!(change(&[], &[], Some(&["x", "x"])).tags(&words(&["a"])), words(&["x"]));
        assert_eq!(change(&[], &[], Some(&[""])).tags(&words(&["a"])), words(&[]));
        assert_eq!(change(&[], &[], Some(&[])).tags(&words(&["a"])), words(&[]));
    }

    #[test]
    fn a_lock_ends_in_the_future() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let until =
            |millis: i64| TagChange { lock_until: Some(Timestamp::from_millis(millis)), ..TagChange::default() };
        assert!(until(1_800_000_000_001).check(now).is_ok() && TagChange::default().check(now).is_ok());
        assert_eq!(until(1_800_000_000_000).check(now).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
