//! Which snapshots a person means: `latest`, `latest~2`, `@2026-11-20T10:00:00Z`, `@2 hours ago`, an id prefix; narrowed
//! by source, host and tag.

use super::{OpsError, Progress};
use crate::{
    record::Timestamp,
    repo::{RepoError, Repository, Snapshot, manifest::SourceId},
    report::{ErrorKind, Remedy, WarningKind},
};
use std::{collections::BTreeSet, str::FromStr};

/// How a person names a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotSpec {
    /// The `n`th newest complete one, 0 for the newest.
    Latest(usize),
    /// The newest complete one whose end is at or before this time.
    At(Timestamp),
    /// The one whose id begins with these digits.
    Id(String),
}

impl SnapshotSpec {
    /// Parses `latest`, `latest~N`, `@TIME` or an id prefix; `now` anchors relative times.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, OpsError> {
        let usage =
            || OpsError::Usage(format!("`{text}` names no snapshot: write an id, `latest`, `latest~N` or `@TIME`"));
        if text == "latest" {
            return Ok(Self::Latest(0));
        }
        if let Some(back) = text.strip_prefix("latest~") {
            return back.parse().map(Self::Latest).map_err(|_| usage());
        }
        if let Some(time) = text.strip_prefix('@') {
            return parse_time(time, now).map(Self::At);
        }
        let digits = !text.is_empty() && text.len() <= 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if digits { Ok(Self::Id(text.to_ascii_lowercase())) } else { Err(usage()) }
    }
}

/// Parses RFC 3339 (with or without an offset: then local time), a date, epoch milliseconds, or `2 hours ago`.
pub fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp, OpsError> {
    let text = text.trim();
    if let Ok(millis) = text.parse::<i64>() {
        return Ok(Timestamp::from_millis(millis));
    }
    if let Ok(time) = jiff::Timestamp::from_str(text) {
        return Ok(Timestamp::from_millis(time.as_millisecond()));
    }
    if let Ok(civil) = jiff::civil::DateTime::from_str(text)
        && let Ok(zoned) = civil.to_zoned(jiff::tz::TimeZone::system())
    {
        return Ok(Timestamp::from_millis(zoned.timestamp().as_millisecond()));
    }
    if text == "now" {
        return Ok(now);
    }
    let zoned =
        jiff::Timestamp::from_millisecond(now.as_millis()).map(|now| now.to_zoned(jiff::tz::TimeZone::system()));
    if let (Ok(span), Ok(zoned)) = (jiff::Span::from_str(text), zoned)
        && text.ends_with("ago")
        && let Ok(then) = zoned.checked_add(span)
    {
        return Ok(Timestamp::from_millis(then.timestamp().as_millisecond()));
    }
    Err(OpsError::Usage(format!(
        "`{text}` is no time: write 2026-11-20T10:00:00Z, 2026-11-20, milliseconds since 1970, or \"2 hours ago\""
    )))
}

/// Narrows snapshots to a source, hosts, tags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Narrow {
    /// The source's name, its URL, or `connector:name`.
    pub source: Option<String>,
    /// The host the backup ran on.
    pub host: Option<String>,
    /// Tags that a snapshot must all carry.
    pub tags: Vec<String>,
}

impl Narrow {
    /// Whether a snapshot is meant.
    #[must_use]
    pub fn admits(&self, snapshot: &Snapshot) -> bool {
        let source = &snapshot.content.source;
        self.source.as_deref().is_none_or(|wanted| source_matches(source, wanted))
            && self.host.as_deref().is_none_or(|wanted| source.host == wanted)
            && self.tags.iter().all(|tag| snapshot.tags.contains(tag))
    }

    /// The snapshots that are meant, oldest first.
    pub fn apply(&self, repo: &Repository) -> Result<Vec<Snapshot>, OpsError> {
        Ok(repo.snapshots()?.into_iter().filter(|snapshot| self.admits(snapshot)).collect())
    }
}

fn source_matches(source: &SourceId, wanted: &str) -> bool {
    source.name == wanted
        || source.url == wanted
        || wanted.split_once(':').is_some_and(|(connector, name)| {
            let local = source.name.split_once(':').map_or(source.name.as_str(), |(_, path)| path);
            source.connector == connector && (source.name == name || local == name || same_file(local, name))
        })
}

fn same_file(path: &str, name: &str) -> bool {
    std::fs::canonicalize(name).is_ok_and(|real| real.to_string_lossy() == path)
}

/// The sources among snapshots.
#[must_use]
pub fn sources(snapshots: &[Snapshot]) -> Vec<SourceId> {
    let set: BTreeSet<(String, String)> =
        snapshots.iter().map(|s| (s.content.source.connector.clone(), s.content.source.name.clone())).collect();
    let newest = |(connector, name): &(String, String)| {
        let of_source = |s: &&Snapshot| s.content.source.connector == *connector && s.content.source.name == *name;
        snapshots.iter().rev().find(of_source).map(|s| s.content.source.clone())
    };
    set.iter().filter_map(newest).collect()
}

/// Fails with the list of sources if there is more than one.
pub fn one_source(snapshots: &[Snapshot]) -> Result<(), OpsError> {
    let sources = sources(snapshots);
    if sources.len() <= 1 {
        return Ok(());
    }
    let list: Vec<String> = sources.iter().map(|s| format!("\n  {}:{}", s.connector, s.name)).collect();
    let words = format!("more than one source matches:{}", list.concat());
    Err(OpsError::refused_unless(Remedy::ChooseSource, ErrorKind::SeveralSources, words))
}

/// Finds the one snapshot that is meant. `latest` and `@TIME` skip partial ones with a warning, and need a single source.
pub fn resolve(
    snapshots: &[Snapshot],
    spec: &SnapshotSpec,
    narrow: &Narrow,
    progress: &dyn Progress,
) -> Result<Snapshot, OpsError> {
    let meant: Vec<Snapshot> = snapshots.iter().filter(|s| narrow.admits(s)).cloned().collect();
    match spec {
        SnapshotSpec::Id(prefix) => by_prefix(&meant, prefix),
        SnapshotSpec::Latest(back) => {
            one_source(&meant)?;
            let found = complete_before(&meant, None, progress).nth(*back).cloned();
            found.ok_or_else(|| no_snapshot(&format!("latest~{back}"), &meant))
        }
        SnapshotSpec::At(time) => {
            one_source(&meant)?;
            let found = complete_before(&meant, Some(*time), progress).next().cloned();
            if let Some(spanning) = meant.iter().find(|s| s.content.start <= *time && *time < s.content.end) {
                progress.warn(WarningKind::SnapshotSpansTime, spanning.id.short(), format!(
                    "snapshot {} was being taken at {time} (from {} to {}); it may hold changes made by then, but only its \
                     end counts",
                    spanning.id.short(),
                    spanning.content.start,
                    spanning.content.end
                ));
            }
            found.ok_or_else(|| no_snapshot(&format!("at or before {time}"), &meant))
        }
    }
}

fn complete_before<'a>(
    snapshots: &'a [Snapshot],
    time: Option<Timestamp>,
    progress: &'a dyn Progress,
) -> impl Iterator<Item = &'a Snapshot> {
    snapshots.iter().rev().filter(move |s| time.is_none_or(|time| s.content.end <= time)).filter(move |s| {
        if !s.content.complete {
            progress.warn(
                WarningKind::PartialPassedOver,
                s.id.short(),
                format!("snapshot {} is partial and was passed over; name it by its id to use it", s.id.short()),
            );
        }
        s.content.complete
    })
}

fn by_prefix(snapshots: &[Snapshot], prefix: &str) -> Result<Snapshot, OpsError> {
    let mut found = snapshots.iter().filter(|s| s.id.to_string().starts_with(prefix));
    match (found.next(), found.next()) {
        (Some(snapshot), None) => Ok(snapshot.clone()),
        (None, _) => Err(RepoError::NoSnapshot { name: prefix.to_owned() }.into()),
        (Some(_), Some(_)) => {
            let words = format!("more than one snapshot's id begins with {prefix}");
            Err(OpsError::refused(ErrorKind::Ambiguous, words))
        }
    }
}

fn no_snapshot(what: &str, snapshots: &[Snapshot]) -> OpsError {
    let range = match (snapshots.first(), snapshots.last()) {
        (Some(one), Some(_)) if snapshots.len() == 1 => format!("the one that matches ends at {}", one.content.end),
        (Some(first), Some(last)) => {
            format!("the {} that match end between {} and {}", snapshots.len(), first.content.end, last.content.end)
        }
        _ => "none match".to_owned(),
    };
    OpsError::refused(ErrorKind::NoSnapshot, format!("there is no complete snapshot {what} ({range})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn snapshot_names_are_understood() {
        let parse = |text: &str| SnapshotSpec::parse(text, NOW).unwrap();
        assert_eq!(parse("latest"), SnapshotSpec::Latest(0));
        assert_eq!(parse("latest~3"), SnapshotSpec::Latest(3));
        assert_eq!(parse("@1000"), SnapshotSpec::At(Timestamp::from_millis(1000)));
        assert_eq!(parse("@1970-01-01T00:00:01Z"), SnapshotSpec::At(Timestamp::from_millis(1000)));
        assert_eq!(parse("@2 hours ago"), SnapshotSpec::At(Timestamp::from_millis(NOW.as_millis() - 7_200_000)));
        assert_eq!(parse("ABcd"), SnapshotSpec::Id("abcd".into()));
        for bad in ["", "latest~x", "@", "@2 hours", "xyz", "@tomorrow"] {
            assert!(SnapshotSpec::parse(bad, NOW).is_err(), "{bad}");
        }
    }
}
