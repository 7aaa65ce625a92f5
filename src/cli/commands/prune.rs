//! `prune`: gives back the space of what no snapshot needs.

use crate::{
    cli::{
        advice,
        context::Context,
        exit::{Failure, Kept as _, Status},
        show::{counted, safe},
        units::{parse_age, parse_duration, parse_size, show_count, show_duration, show_size, show_time},
    },
    ops::{
        prune::{
            ExtendLocks, HeldPacks, LocksExtended, PruneOptions, PruneOutcome, PrunePlan, Sum, TierOptions, Tiered,
            prune,
        },
        squash::ThinVersions,
    },
    repo::{pruner::MarkState, storage::LockMode},
};
use clap::Args;
use std::time::Duration;

/// `prune`.
#[derive(Debug, Clone, Args)]
pub struct PruneArgs {
    /// Copy what is needed out of packs of which more than this is dead
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = parse_percent)]
    pub max_unused: f64,
    /// Make one layer of those of which more than this is superseded
    #[arg(long, value_name = "PERCENT", default_value = "30", value_parser = parse_percent)]
    pub max_superseded: f64,
    /// Keep every version that a stream brought in this time, and of what is older the state at each full hour (UTC)
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub keep_versions_within: Option<Duration>,
    /// Of versions of streams older than AGE keep the state at each full SPAN (1d: at midnight UTC) (repeatable)
    #[arg(long, value_name = "AGE:SPAN", value_parser = parse_thinning)]
    pub thin_versions: Vec<(Duration, Duration)>,
    /// Keep no version of a stream that is older than AGE: it begins then, on a base that shows that moment
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub drop_versions: Option<Duration>,
    /// Copy small packs together
    #[arg(long)]
    pub repack_small: bool,
    /// Copy at most so much; the deadest packs come first
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_repack_size: Option<u64>,
    /// Let marks wait at least so long [default: 24 h where the storage lists late or lacks conditional create, else 0]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub grace: Option<Duration>,
    /// Wait until everything that is marked is gone
    #[arg(long)]
    pub wait: bool,
    /// Afterwards lock everything that is still needed for so long from now (S3 with object lock)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub extend_locks: Option<Duration>,
    /// The mode of locks of objects that have none; others keep theirs
    #[arg(long, value_name = "MODE", value_parser = parse_mode, default_value = "governance", requires = "extend_locks")]
    pub lock_mode: LockMode,
    /// Afterwards move data packs that no snapshot younger than this needs to another class of storage (S3)
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub tier_after: Option<Duration>,
    /// The class that they move to, as the service spells it
    #[arg(long, value_name = "CLASS", default_value = "GLACIER", requires = "tier_after")]
    pub tier_class: String,
    /// Show the plan and change nothing
    #[arg(short = 'n', long, conflicts_with = "wait")]
    pub dry_run: bool,
}

fn parse_thinning(text: &str) -> Result<(Duration, Duration), String> {
    let (age, span) = text.split_once(':').ok_or("an age and a span, as 30d:1d")?;
    let (age, span) = (parse_age(age)?, parse_duration(span)?);
    if span.as_millis() == 0 { Err("a span of at least a millisecond".to_owned()) } else { Ok((age, span)) }
}

fn parse_mode(text: &str) -> Result<LockMode, String> {
    match text {
        "governance" => Ok(LockMode::Governance),
        "compliance" => Ok(LockMode::Compliance),
        _ => Err("governance or compliance".to_owned()),
    }
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("a percentage from 0 to 100".to_owned()),
    }
}

impl PruneArgs {
    fn thinning(&self) -> Vec<ThinVersions> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let hourly = self.keep_versions_within.map(|age| (age, Duration::from_hours(1)));
        let stages = hourly.into_iter().chain(self.thin_versions.iter().copied());
        stages.map(|(age, every)| ThinVersions { age: millis(age), every: millis(every) }).collect()
    }

    /// The same as the verb takes it.
    #[must_use]
    pub fn options(&self, context: &Context) -> PruneOptions {
        PruneOptions {
            max_unused: self.max_unused,
            max_superseded: self.max_superseded,
            thin_versions: self.thinning(),
            drop_versions: self.drop_versions.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            repack_small: self.repack_small,
            max_repack_bytes: self.max_repack_size,
            grace: self.grace,
            wait: self.wait,
            extend_locks: self.extend_locks.map(|span| ExtendLocks { span, mode: self.lock_mode }),
            tier: self.tier_after.map(|after| TierOptions { after, class: self.tier_class.clone() }),
            dry_run: self.dry_run,
            write_limit: context.write_limit,
            ..PruneOptions::default()
        }
    }
}

pub(super) fn run(args: &PruneArgs, context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    let outcome = prune(&repo, &args.options(context), &context.reporter)
        .kept("every snapshot is as it was; what was begun is carried on by the next prune")?;
    context.reporter.finish();
    Ok(show(&outcome, context))
}

/// Tells what a prune came to.
pub(super) fn show(outcome: &PruneOutcome, context: &Context) -> Status {
    if context.json {
        context.out.json(outcome);
    } else {
        outcome.failures.iter().for_each(|failure| context.reporter.problem(&advice::trouble(failure)));
        if !context.quiet {
            let mut text = if outcome.dry_run { planned(&outcome.plan) } else { done(outcome) };
            text.push_str(&kept(outcome));
            context.out.text(&text);
        }
    }
    Status::complete(outcome.failures.is_empty())
}

fn packs(sum: Sum) -> String {
    format!("{} ({})", counted(sum.packs, "pack"), show_size(sum.bytes))
}

fn planned(plan: &PrunePlan) -> String {
    let mut text = String::new();
    for merge in &plan.squash.merges {
        text.push_str(&format!(
            "to squash    {} of {} ({}) into one of at most {}\n",
            counted(merge.layers.len() as u64, "layer"),
            safe(&merge.collection),
            show_size(merge.bytes_before),
            show_size(merge.bytes_after),
        ));
    }
    text.push_str(&format!(
        "needed       {} of {}\nto delete    {}, {} of them in no index object\nto repack    {}\n",
        counted(plan.needed_chunks, "chunk"),
        counted(plan.snapshots, "snapshot"),
        packs(plan.whole),
        show_count(plan.unindexed.packs),
        packs(plan.repack),
    ));
    for (label, sum) in
        [("marked       ", plan.marked), ("in use       ", plan.busy), ("partly dead  ", plan.partly_dead)]
    {
        if sum.packs > 0 {
            text.push_str(&format!("{label}{}\n", packs(sum)));
        }
    }
    text.push_str(&waiting(&plan.marks));
    text.push_str(&format!(
        "to move      download {}, upload {}\nsize         {} now, {} when all of it is done\n",
        show_size(plan.bytes_to_download),
        show_size(plan.bytes_to_upload),
        show_size(plan.bytes_before),
        show_size(plan.bytes_after),
    ));
    text
}

fn done(outcome: &PruneOutcome) -> String {
    let mut text = String::new();
    let squashed = &outcome.squashed;
    if squashed.snapshots > 0 {
        text.push_str(&format!(
            "squashed {} into {} ({} into {}), {} revised\n",
            counted(squashed.replaced, "layer"),
            show_count(squashed.merged),
            show_size(squashed.bytes_before),
            show_size(squashed.bytes_after),
            counted(squashed.snapshots, "snapshot"),
        ));
    }
    text.push_str(&format!(
        "deleted  {}\ncopied   {} ({})\nmarked   {}\n",
        packs(outcome.deleted),
        counted(outcome.chunks_copied, "chunk"),
        show_size(outcome.bytes_copied),
        counted(outcome.packs_marked, "pack"),
    ));
    let tidied = [
        (outcome.leases_removed, "ended lease"),
        (outcome.revisions_removed, "revision of forgotten snapshots"),
        (outcome.checkpoints_removed, "old checkpoint"),
        (outcome.half_written_removed, "half-written file"),
    ];
    let tidied: Vec<String> =
        tidied.iter().filter(|(count, _)| *count > 0).map(|(count, word)| tidy_word(*count, word)).collect();
    if !tidied.is_empty() {
        text.push_str(&format!("tidied   {}\n", tidied.join(", ")));
    }
    if outcome.groups_removed > 0 {
        text.push_str(&format!("parity   {} removed\n", counted(outcome.groups_removed, "group")));
    }
    if outcome.unprotected > 0 {
        text.push_str(&format!(
            "parity   {} without: `rekeep repair parity` makes groups for them\n",
            counted(outcome.unprotected, "pack")
        ));
    }
    text.push_str(&waiting(&outcome.waiting));
    text.push_str(&format!("took     {}\n", show_duration(outcome.duration_seconds)));
    text
}

fn tidy_word(count: u64, word: &str) -> String {
    match word.split_once(" of ") {
        Some((word, of)) => format!("{} of {of}", counted(count, word)),
        None => counted(count, word),
    }
}

/// What storage keeps all the same, and for how long.
fn kept(outcome: &PruneOutcome) -> String {
    let mut text = held(&outcome.held);
    if outcome.kept_as_versions > 0 {
        text.push_str(&format!(
            "versions the storage keeps {} that {} deleted as older versions, to be paid for until its own rules remove them\n",
            counted(outcome.kept_as_versions, "object"),
            if outcome.kept_as_versions == 1 { "was" } else { "were" },
        ));
    }
    if let Some(Tiered { class, old_snapshots, packs: moved, bytes, there }) = &outcome.tiered {
        let verb = if outcome.dry_run { "to move" } else { "moved" };
        text.push_str(&format!(
            "tiered   {verb} {} to {}, needed by {} alone; {} there already\n",
            packs(Sum { packs: *moved, bytes: *bytes }),
            safe(class),
            counted(*old_snapshots, "old snapshot"),
            show_count(*there)
        ));
    }
    if let Some(LocksExtended { objects, extended, until }) = &outcome.locks {
        let verb = if outcome.dry_run { "to renew" } else { "renewed" };
        text.push_str(&format!(
            "locks    {verb} for {} of {} until {}\n",
            show_count(*extended),
            counted(*objects, "object"),
            show_time(*until)
        ));
    }
    text
}

/// What of that which goes is locked, in words; nothing if nothing is.
pub(super) fn held(held: &HeldPacks) -> String {
    if held.packs == 0 {
        return String::new();
    }
    let mut how = Vec::new();
    for (count, mode) in [
        (held.compliance, "in compliance mode"),
        (held.governance, "in governance mode"),
        (held.legal_holds, "under a legal hold, which has no end"),
    ] {
        if count > 0 {
            how.push(format!("{} {mode}", show_count(count)));
        }
    }
    let until = held.until.map_or_else(String::new, |until| format!(" until {} at the latest", show_time(until)));
    format!(
        "held     {} of what goes {} locked{until}: {}\n",
        packs(Sum { packs: held.packs, bytes: held.bytes }),
        if held.packs == 1 { "is" } else { "are" },
        how.join(", ")
    )
}

/// One line for each mark that waits, and for whom.
fn waiting(marks: &[MarkState]) -> String {
    let mut text = String::new();
    for mark in marks {
        let sum = Sum { packs: mark.packs, bytes: mark.bytes };
        let mut reasons: Vec<String> = mark
            .waits_for
            .iter()
            .map(|lease| {
                let what = if lease.purpose.is_empty() { "lease" } else { &lease.purpose };
                let until = lease.until.map_or_else(
                    || "until it ends or `rekeep unlock` shuts it out".to_owned(),
                    |until| format!("until it ends, or has shown no sign by {}", show_time(until)),
                );
                format!("{} {} on {} ({until})", safe(what), lease.lease.short(), safe(&lease.host))
            })
            .collect();
        reasons.extend(mark.waits_until.map(|until| format!("the grace period until {}", show_time(until))));
        let reason = if reasons.is_empty() { "the next prune".to_owned() } else { reasons.join(", ") };
        text.push_str(&format!("waiting  {} for {reason}\n", packs(sum)));
    }
    if marks.iter().any(|mark| !mark.waits_for.is_empty()) {
        text.push_str("         a later prune deletes them; `rekeep leases` shows who is at work\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_their_bounds() {
        assert_eq!(parse_percent("5"), Ok(5.0));
        assert_eq!(parse_percent("2.5 %"), Ok(2.5));
        for wrong in ["-1", "101", "x", "", "NaN"] {
            assert!(parse_percent(wrong).is_err(), "{wrong}");
        }
    }
}
