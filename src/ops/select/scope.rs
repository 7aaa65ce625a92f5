//! Which part of a source a snapshot holds, and which of several parts is meant: the widest, if there is one.

use crate::{
    ops::{OpsError, Progress},
    repo::Snapshot,
    report::{ErrorKind, Remedy, WarningKind},
};
use std::{collections::BTreeMap, sync::LazyLock};

/// The hash of the scope of everything.
static EVERYTHING: LazyLock<String> = LazyLock::new(|| scope_hash(""));

/// How a person asks for the scope of everything.
const ALL: &str = "everything";

/// Digits of a scope's hash that are shown.
const DIGITS: usize = 8;

/// Digits of a scope's hash that name it at least.
const FEWEST_DIGITS: usize = 4;

/// The canonical hash of a scope's text, as manifests give it.
pub(in crate::ops) fn scope_hash(canonical: &str) -> String {
    let hash = blake3::derive_key("rekeep 1 scope", canonical.as_bytes());
    data_encoding::HEXLOWER.encode(&hash[..16])
}

/// Whether nothing of the source was left out.
#[must_use]
pub fn is_everything(snapshot: &Snapshot) -> bool {
    snapshot.content.scope == *EVERYTHING
}

/// Whether this is the hash of the scope of everything.
pub(in crate::ops) fn is_of_everything(hash: &str) -> bool {
    hash == *EVERYTHING
}

/// Whether all that `narrow` asked for was asked for by `wide` too; `false` also where that cannot be told.
#[must_use]
pub fn covers(wide: &Snapshot, narrow: &Snapshot) -> bool {
    let (its, own) = (&narrow.content, &wide.content);
    own.scope == its.scope
        || is_everything(wide) && its.asked.form.is_empty()
        // What says nothing of a scope that is not everything cannot be compared.
        || !is_everything(wide) && !own.asked.is_everything() && !its.asked.is_everything() && own.asked.covers(&its.asked)
}

/// A snapshot's scope in words.
#[must_use]
pub fn words(snapshot: &Snapshot) -> String {
    if is_everything(snapshot) {
        return ALL.to_owned();
    }
    let content = &snapshot.content;
    let hash = content.scope.get(..DIGITS).unwrap_or(&content.scope);
    if content.scope_note.is_empty() { format!("scope {hash}") } else { format!("{} ({hash})", content.scope_note) }
}

/// Whether a person's words mean the snapshot's scope.
pub(super) fn matches(snapshot: &Snapshot, wanted: &str) -> bool {
    let content = &snapshot.content;
    let is_prefix = wanted.len() >= FEWEST_DIGITS && content.scope.starts_with(&wanted.to_ascii_lowercase());
    (wanted == ALL && is_everything(snapshot))
        || (!content.scope_note.is_empty() && content.scope_note == wanted)
        || is_prefix
}

/// The newest snapshot of each scope, the newest first.
pub(in crate::ops) fn newest_of_each<'s>(snapshots: &[&'s Snapshot]) -> Vec<&'s Snapshot> {
    let mut found: BTreeMap<&str, (usize, &Snapshot)> = BTreeMap::new();
    for (at, snapshot) in snapshots.iter().enumerate() {
        found.insert(&snapshot.content.scope, (at, snapshot));
    }
    let mut newest: Vec<_> = found.into_values().collect();
    newest.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    newest.into_iter().map(|(_, snapshot)| snapshot).collect()
}

/// Of snapshots of one source, oldest first, those of its widest scope.
///
/// # Errors
/// [`ErrorKind::SeveralScopes`] with the list, if none of several scopes holds all the others.
pub fn of_one_scope<'s>(snapshots: Vec<&'s Snapshot>, progress: &dyn Progress) -> Result<Vec<&'s Snapshot>, OpsError> {
    let scopes = newest_of_each(&snapshots);
    if scopes.len() <= 1 {
        return Ok(snapshots);
    }
    let Some(widest) = scopes.iter().position(|wide| scopes.iter().all(|other| covers(wide, other))) else {
        let list: Vec<String> = scopes
            .iter()
            .map(|newest| {
                format!("\n  {}: the newest is {} of {}", words(newest), newest.id.short(), newest.content.end)
            })
            .collect();
        let words =
            format!("the snapshots hold different parts of the source, and none of them holds all:{}", list.concat());
        return Err(OpsError::refused_unless(Remedy::ChooseScope, ErrorKind::SeveralScopes, words));
    };
    let (wide, newer) = (scopes[widest], &scopes[..widest]);
    if !newer.is_empty() {
        let list: Vec<String> = newer
            .iter()
            .map(|other| format!("{} of {}: {}", other.id.short(), other.content.end, words(other)))
            .collect();
        let text = format!(
            "of several scopes the widest is taken: {}; there are newer snapshots of less: {}",
            words(wide),
            list.join("; ")
        );
        progress.warn(WarningKind::ScopeChosen, wide.id.short(), text);
    }
    Ok(snapshots.into_iter().filter(|s| s.content.scope == wide.content.scope).collect())
}
