//! Deciding which snapshots stay: a function of plain data.

use super::{
    calendar::{Bucket, Period, zoned},
    policy::{Grouping, Policy},
    reason::Reason,
};
use crate::{
    ops::{OpsError, select::is_ahead},
    record::Timestamp,
    repo::{Position, Snapshot, SnapshotId, manifest::Kind},
    report::{ErrorKind, Remedy, Warning, WarningKind},
};
use jiff::tz::TimeZone;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What of a snapshot decides about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub id: SnapshotId,
    /// Its end.
    pub end: Timestamp,
    /// The order among equal ends.
    pub order: u64,
    /// Connector and name.
    pub source: String,
    /// The same without the host that local sources have in front of their names.
    pub place: String,
    /// What of the source was asked for: a hash, and words for people.
    pub scope: (String, String),
    /// The host the backup ran on.
    pub host: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// What was read.
    pub kind: Kind,
    /// Whether every record is in it.
    pub complete: bool,
    /// Whether its deletions are confirmed.
    pub confirmed: bool,
    /// Whether it is held.
    pub hold: bool,
    /// Nothing may drop it before.
    pub lock_until: Option<Timestamp>,
    /// Whether the policy is to decide about it; the others only count as what a source still has.
    pub meant: bool,
}

impl Candidate {
    /// What decides about a snapshot.
    #[must_use]
    pub fn of(snapshot: &Snapshot, meant: bool) -> Self {
        let (content, source) = (&snapshot.content, snapshot.source());
        Self {
            id: snapshot.id,
            end: content.end,
            order: content.order,
            source: format!("{}:{}", source.connector, source.name),
            place: format!("{}:{}", source.connector, source.local_name()),
            scope: (content.scope.clone(), content.scope_note.clone()),
            host: source.host.clone(),
            tags: snapshot.tags.clone(),
            kind: content.kind,
            complete: content.complete,
            confirmed: snapshot.confirms_deletions(),
            hold: snapshot.hold,
            lock_until: snapshot.lock_until,
            meant,
        }
    }
}

/// What is decided about one snapshot, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Which.
    pub id: SnapshotId,
    /// Its end.
    pub end: Timestamp,
    /// What was read.
    pub kind: Kind,
    /// Whether every record is in it.
    pub complete: bool,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether it stays.
    pub keep: bool,
    /// Why: all rules that keep it, or what drops it.
    pub reasons: Vec<Reason>,
}

/// What the snapshots of a group have in common; absent is what the grouping does not look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct GroupName {
    /// Connector and name.
    pub source: Option<String>,
    /// What of the source, in words; empty for everything.
    pub scope: Option<String>,
    /// The host.
    pub host: Option<String>,
    /// The tags, sorted.
    pub tags: Option<Vec<String>>,
}

/// One group, decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// What it is.
    #[serde(flatten)]
    pub name: GroupName,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<Decision>,
}

/// Everything decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForgetPlan {
    /// The groups, by name.
    pub groups: Vec<Group>,
}

impl ForgetPlan {
    /// What is decided about every snapshot that was meant.
    pub fn decisions(&self) -> impl Iterator<Item = &Decision> {
        self.groups.iter().flat_map(|group| &group.snapshots)
    }

    /// What a person should know of it: snapshots that end in the future, groups of which no rule keeps anything.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let is = |it: &Decision, wanted: &Reason| it.reasons.contains(wanted);
        let mut warnings = Vec::new();
        for it in self.decisions().filter(|it| is(it, &Reason::Ahead)) {
            let words = format!("snapshot {} ends in the future, at {}: no rule counts it", it.id.short(), it.end);
            warnings.push(Warning::new(WarningKind::SnapshotAhead, it.id.short(), words));
        }
        for group in &self.groups {
            let left: Vec<&Decision> = group.snapshots.iter().filter(|it| is(it, &Reason::Untouched)).collect();
            if let Some(newest) = left.last() {
                let of = group.name.source.as_deref().map_or_else(String::new, |source| format!(" of {source}"));
                let words = format!(
                    "no rule of the policy keeps anything{of}, whose newest snapshot is {} of {}: all {} are left as they are",
                    newest.id.short(),
                    newest.end,
                    left.len()
                );
                warnings.push(Warning::new(WarningKind::GroupUntouched, newest.id.short(), words));
            }
        }
        warnings
    }

    /// The snapshots to forget, group by group, oldest first.
    pub fn dropped(&self) -> impl Iterator<Item = &Decision> {
        self.decisions().filter(|decision| !decision.keep)
    }
}

/// Decides. The order of `candidates` does not matter.
pub fn plan(
    candidates: &[Candidate],
    policy: &Policy,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<ForgetPlan, OpsError> {
    let mut all: Vec<&Candidate> = candidates.iter().collect();
    all.sort_by_key(|candidate| Position { end: candidate.end, order: candidate.order, id: candidate.id });
    let mut reasons: Vec<Vec<Reason>> = vec![Vec::new(); all.len()];
    let mut groups: BTreeMap<(GroupName, String), Vec<usize>> = BTreeMap::new();
    for (index, candidate) in all.iter().enumerate().filter(|(_, candidate)| candidate.meant) {
        groups.entry(group_of(candidate, policy.group_by)).or_default().push(index);
    }
    let ahead: Vec<bool> = all.iter().map(|candidate| is_ahead(candidate.end, now)).collect();
    let rules = Rules { all: &all, policy, zone, now };
    let mut untouched = Vec::new();
    for members in groups.values() {
        // What ends in the future stays, and is nobody's newest.
        let (later, present): (Vec<usize>, Vec<usize>) = members.iter().partition(|index| ahead[**index]);
        for index in later {
            reasons[index].push(Reason::Ahead);
        }
        rules.apply(&present, &mut reasons);
        if policy.has_rules() && present.iter().all(|index| reasons[*index].is_empty()) {
            untouched.push(present);
        }
    }
    if !policy.force {
        refuse_unmatched(policy, &all, &reasons)?;
        if !groups.is_empty() && untouched.len() == groups.len() {
            return Err(OpsError::refused_unless(Remedy::Force, ErrorKind::InvalidInput, KEEPS_NOTHING));
        }
        untouched.iter().flatten().for_each(|index| reasons[*index].push(Reason::Untouched));
    }
    protect(&all, policy, now, &ahead, &mut reasons);
    let too_old = drop_too_old(&all, policy, zone, now, &mut reasons);
    if !policy.force {
        keep_last_of_sources(&all, &ahead, &too_old, &mut reasons);
    }
    let planned = ForgetPlan { groups: decide(&all, groups, &ahead, &too_old, reasons) };
    let asked_to_go = |it: &Decision| matches!(it.reasons[..], [Reason::TooOld { .. }]);
    if !planned.decisions().any(|it| it.keep) && !planned.decisions().all(asked_to_go) {
        return Err(OpsError::Usage(KEEPS_NOTHING.to_owned()));
    }
    Ok(planned)
}

const KEEPS_NOTHING: &str = "this policy would keep nothing and is refused";

/// Refuses a rule that no snapshot meets: it was mistyped, or means something that is not there.
fn refuse_unmatched(policy: &Policy, all: &[&Candidate], reasons: &[Vec<Reason>]) -> Result<(), OpsError> {
    if !all.iter().any(|candidate| candidate.meant) {
        return Ok(());
    }
    let has_tag = |tag: &String| all.iter().any(|candidate| candidate.meant && candidate.tags.contains(tag));
    let is_met = |meets: &dyn Fn(&Reason) -> bool| reasons.iter().flatten().any(meets);
    let mut unmet: Vec<String> =
        policy.tags.iter().filter(|tag| !has_tag(tag)).map(|tag| format!("the tag `{tag}`")).collect();
    for rule in &policy.within {
        let text = rule.age.to_string();
        let meets = |reason: &Reason| match (reason, rule.period) {
            (Reason::Within { age }, None) => *age == text,
            (Reason::WithinPeriod { period, age, .. }, Some(wanted)) => *period == wanted && *age == text,
            _ => false,
        };
        if !is_met(&meets) {
            unmet.push(format!("the age {text}"));
        }
    }
    if policy.full.is_some_and(|count| count > 0) && !is_met(&|reason| matches!(reason, Reason::Full { .. })) {
        unmet.push("complete fulls".to_owned());
    }
    if unmet.is_empty() {
        return Ok(());
    }
    let words = format!("a rule of this policy meets no snapshot: {}; nothing was forgotten", unmet.join(", "));
    Err(OpsError::refused_unless(Remedy::Force, ErrorKind::RuleUnmatched, words))
}

fn group_of(candidate: &Candidate, by: Grouping) -> (GroupName, String) {
    let tags = || {
        let mut tags = candidate.tags.clone();
        tags.sort_unstable();
        tags.dedup();
        tags
    };
    let name = GroupName {
        // Without the host a local source is the same on each.
        source: by.source.then(|| if by.host { candidate.source.clone() } else { candidate.place.clone() }),
        scope: by.source.then(|| candidate.scope.1.clone()),
        host: by.host.then(|| candidate.host.clone()),
        tags: by.tags.then(tags),
    };
    (name, if by.source { candidate.scope.0.clone() } else { String::new() })
}

/// The rules of a policy over one group at a time.
struct Rules<'a> {
    all: &'a [&'a Candidate],
    policy: &'a Policy,
    zone: &'a TimeZone,
    now: Timestamp,
}

impl Rules<'_> {
    /// Notes why each member of a group is kept. `members` are in order.
    fn apply(&self, members: &[usize], reasons: &mut [Vec<Reason>]) {
        let is_complete = |index: &usize| self.all[*index].complete;
        let complete: Vec<usize> = members.iter().copied().filter(is_complete).collect();
        let behind = members.iter().rposition(is_complete).map_or(0, |at| at + 1);
        let series = [complete.as_slice(), &members[behind..]];
        for series in series {
            self.newest(series, reasons);
            for rule in &self.policy.periods {
                let wanted = rule.count as usize;
                self.buckets(series, rule.period, None, |index, number, bucket| {
                    if number > wanted {
                        return false;
                    }
                    reasons[index].push(Reason::Period { period: rule.period, number: number as u32, bucket });
                    true
                });
            }
        }
        for rule in &self.policy.within {
            let from = rule.age.before(self.now, self.zone);
            let Some(period) = rule.period else {
                for index in members.iter().filter(|index| self.all[**index].end >= from) {
                    reasons[*index].push(Reason::Within { age: rule.age.to_string() });
                }
                continue;
            };
            for series in series {
                self.buckets(series, period, Some(from), |index, _, bucket| {
                    reasons[index].push(Reason::WithinPeriod { period, age: rule.age.to_string(), bucket });
                    true
                });
            }
        }
        for index in members {
            if let Some(tag) = self.policy.tags.iter().find(|tag| self.all[*index].tags.contains(tag)) {
                reasons[*index].push(Reason::Tag { tag: tag.clone() });
            }
        }
        self.fulls(members, behind, reasons);
    }

    fn newest(&self, series: &[usize], reasons: &mut [Vec<Reason>]) {
        for (number, index) in series.iter().rev().take(self.policy.last.unwrap_or(0) as usize).enumerate() {
            reasons[*index].push(Reason::Last { number: number as u32 + 1 });
        }
    }

    /// Calls `keep` with the newest snapshot of each period, the newest first, with the number of the period, until it
    /// gives `false` or what is left is older than `from`.
    fn buckets(
        &self,
        series: &[usize],
        period: Period,
        from: Option<Timestamp>,
        mut keep: impl FnMut(usize, usize, Bucket) -> bool,
    ) {
        // A clock that is set back across midnight comes to one date twice, with another between.
        let mut seen: HashSet<Bucket> = HashSet::new();
        let mut last: Option<Bucket> = None;
        for index in series.iter().rev() {
            let end = self.all[*index].end;
            if from.is_some_and(|from| end < from) {
                break;
            }
            let bucket = period.bucket(&zoned(end, self.zone));
            let is_new = last.replace(bucket) != Some(bucket) && seen.insert(bucket);
            if is_new && !keep(*index, seen.len(), bucket) {
                break;
            }
        }
    }

    /// The newest fulls, and what follows them. `behind` is where partial snapshots stand for what came last.
    fn fulls(&self, members: &[usize], behind: usize, reasons: &mut [Vec<Reason>]) {
        let Some(wanted) = self.policy.full else { return };
        let is_full = |index: &usize| {
            let candidate = self.all[*index];
            candidate.complete
                && match &self.policy.full_tag {
                    Some(tag) => candidate.tags.contains(tag),
                    None => candidate.kind == Kind::Full,
                }
        };
        let fulls = members.iter().filter(|index| is_full(index)).count();
        let mut passed = 0;
        for (at, index) in members.iter().enumerate() {
            let candidate = self.all[*index];
            passed += usize::from(is_full(index));
            // The newest full is number 1. What comes before the oldest followed one that is gone.
            let number = fulls - passed + 1;
            let counts = candidate.complete || at >= behind;
            if is_full(index) {
                if number <= wanted as usize {
                    reasons[*index].push(Reason::Full { number: number as u32 });
                }
            } else if counts && number <= self.policy.incrementals_of() as usize {
                reasons[*index].push(Reason::Incremental { number: number as u32 });
            }
        }
    }
}

/// What no rule decides: holds, locks, and the newest snapshot of each source whose deletions are confirmed.
fn protect(all: &[&Candidate], policy: &Policy, now: Timestamp, ahead: &[bool], reasons: &mut [Vec<Reason>]) {
    let mut sources: HashSet<(&str, &str)> = HashSet::new();
    for (index, candidate) in all.iter().enumerate().rev() {
        let confirmed = candidate.confirmed && !ahead[index] && sources.insert(source_of(candidate));
        if !candidate.meant {
            continue;
        }
        if candidate.hold {
            reasons[index].push(Reason::Hold);
        }
        if let Some(until) = candidate.lock_until.filter(|until| *until > now) {
            reasons[index].push(Reason::Lock { until });
        }
        if confirmed {
            reasons[index].push(Reason::Confirmed);
        }
        if !policy.has_rules() {
            reasons[index].push(Reason::Young);
        }
    }
}

fn source_of(candidate: &Candidate) -> (&str, &str) {
    (&candidate.source, &candidate.scope.0)
}

/// Takes away the reasons of what is too old, unless it is held or locked; gives which that is.
fn drop_too_old(
    all: &[&Candidate],
    policy: &Policy,
    zone: &TimeZone,
    now: Timestamp,
    reasons: &mut [Vec<Reason>],
) -> Vec<bool> {
    let mut too_old = vec![false; all.len()];
    let Some(age) = &policy.max_age else { return too_old };
    let from = age.before(now, zone);
    for (index, candidate) in all.iter().enumerate().take_while(|(_, candidate)| candidate.end < from) {
        too_old[index] = candidate.meant;
        reasons[index].retain(Reason::protects);
    }
    too_old
}

/// A source that would have no snapshot left, although none of what goes has to, keeps one: the newest complete one if
/// there is one.
fn keep_last_of_sources(all: &[&Candidate], ahead: &[bool], too_old: &[bool], reasons: &mut [Vec<Reason>]) {
    let mut best: HashMap<(&str, &str), (bool, usize)> = HashMap::new();
    let mut has_one: HashSet<(&str, &str)> = HashSet::new();
    for (index, candidate) in all.iter().enumerate().filter(|(index, _)| !ahead[*index]) {
        let source = source_of(candidate);
        if !candidate.meant || !reasons[index].is_empty() {
            has_one.insert(source);
        } else if !too_old[index] {
            let better = (candidate.complete, index);
            best.entry(source).and_modify(|best| *best = better.max(*best)).or_insert(better);
        }
    }
    for (source, (_, index)) in best {
        if !has_one.contains(&source) {
            reasons[index].push(Reason::LastOfSource);
        }
    }
}

fn decide(
    all: &[&Candidate],
    groups: BTreeMap<(GroupName, String), Vec<usize>>,
    ahead: &[bool],
    too_old: &[bool],
    mut reasons: Vec<Vec<Reason>>,
) -> Vec<Group> {
    let mut decided = Vec::with_capacity(groups.len());
    for ((name, _), members) in groups {
        let newest_complete = members.iter().rposition(|index| all[*index].complete && !ahead[*index]);
        let decision = |(at, index): (usize, &usize)| {
            let candidate = all[*index];
            let mut reasons = std::mem::take(&mut reasons[*index]);
            let keep = !reasons.is_empty();
            if !keep {
                reasons.push(match newest_complete {
                    _ if too_old[*index] => Reason::TooOld { end: candidate.end },
                    Some(newest) if !candidate.complete && at < newest => Reason::Superseded,
                    _ => Reason::NoRule,
                });
            }
            let (id, end, kind, complete) = (candidate.id, candidate.end, candidate.kind, candidate.complete);
            Decision { id, end, kind, complete, tags: candidate.tags.clone(), keep, reasons }
        };
        decided.push(Group { name, snapshots: members.iter().enumerate().map(decision).collect() });
    }
    decided
}
