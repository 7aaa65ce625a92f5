//! `forget`: drops snapshots, by name or by policy, and says why each stays or goes.

use super::snapshots::GroupBy;
use crate::{
    cli::{
        advice,
        common::NarrowArgs,
        context::Context,
        exit::{Failure, Kept as _, Status, usage},
        show::{brief_tags, counted, render, safe, table},
        units::show_time,
    },
    ops::{
        Progress as _,
        forget::{
            Age, ForgetOutcome, ForgetPlan, GroupName, Grouping, KeepPeriod, KeepWithin, Period, Policy, execute,
            execute_and_prune, held_after, plan_named, plan_policy,
        },
        prune::{HeldPacks, PruneOptions, PruneOutcome},
    },
    repo::{Capability, Repository, repository::Lost},
};
use clap::Args;
use serde_json::json;

/// `forget`.
#[derive(Debug, Args)]
#[command(
    after_help = "A snapshot stays if any --keep rule keeps it. Held and locked snapshots always stay, and so does the newest of \
                        each source whose deletions are confirmed; only --max-age is stronger than that. A rule that meets no \
                        snapshot is refused, and a group of which no rule keeps anything is left as it is, unless --force is \
                        given. Forgotten data stays in the repository until a prune."
)]
pub struct ForgetArgs {
    /// Which snapshots; or a policy
    #[arg(conflicts_with_all = ["last", "hourly", "daily", "weekly", "monthly", "yearly", "within", "within_hourly", "within_daily",
        "within_weekly", "within_monthly", "within_yearly", "tag_kept", "full", "incremental", "max_age"])]
    pub snapshot: Vec<String>,
    #[command(flatten)]
    rules: RuleArgs,
    /// What a policy is applied to one by one [default: source,host]; an empty word puts all into one group. With `source` alone
    /// a place is the same on each host
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = parse_group)]
    pub group_by: Option<Vec<Option<GroupBy>>>,
    /// The time zone of hours, days, weeks, months and years [default: the system's]
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// Let the last snapshot of a source go, and what no rule keeps of a group; take a rule that matches nothing
    #[arg(long)]
    pub force: bool,
    /// Let snapshots go that vanished from the storage although nobody forgot them; what they alone need is kept until then
    #[arg(long, requires = "snapshot", conflicts_with_all = ["damaged", "group_by", "time_zone"])]
    pub vanished: bool,
    /// Let snapshots go of which a revision cannot be read, and that stand by no other
    #[arg(long, requires = "snapshot", conflicts_with_all = ["group_by", "time_zone"])]
    pub damaged: bool,
    /// Say what would be forgotten, and why; forget nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Prune afterwards, as `rekeep prune` does by default
    #[arg(long, conflicts_with = "dry_run")]
    pub prune: bool,
    #[command(flatten)]
    narrow: NarrowArgs,
}

/// The rules of a policy.
#[derive(Debug, Default, Args)]
pub(super) struct RuleArgs {
    /// Keep the newest N
    #[arg(long = "keep-last", value_name = "N", help_heading = "Policy")]
    last: Option<u32>,
    /// Keep the newest of each of the last N hours that have one
    #[arg(long = "keep-hourly", value_name = "N", help_heading = "Policy")]
    hourly: Option<u32>,
    /// The same of days
    #[arg(long = "keep-daily", value_name = "N", help_heading = "Policy")]
    daily: Option<u32>,
    /// The same of weeks, from Monday
    #[arg(long = "keep-weekly", value_name = "N", help_heading = "Policy")]
    weekly: Option<u32>,
    /// The same of months
    #[arg(long = "keep-monthly", value_name = "N", help_heading = "Policy")]
    monthly: Option<u32>,
    /// The same of years
    #[arg(long = "keep-yearly", value_name = "N", help_heading = "Policy")]
    yearly: Option<u32>,
    /// Keep all that are at most this old (36h, 30d, 1y 6mo)
    #[arg(long = "keep-within", value_name = "AGE", help_heading = "Policy")]
    within: Option<Age>,
    /// Keep the newest of each hour in this time
    #[arg(long = "keep-within-hourly", value_name = "AGE", help_heading = "Policy")]
    within_hourly: Option<Age>,
    /// Keep the newest of each day in this time
    #[arg(long = "keep-within-daily", value_name = "AGE", help_heading = "Policy")]
    within_daily: Option<Age>,
    /// Keep the newest of each week in this time
    #[arg(long = "keep-within-weekly", value_name = "AGE", help_heading = "Policy")]
    within_weekly: Option<Age>,
    /// Keep the newest of each month in this time
    #[arg(long = "keep-within-monthly", value_name = "AGE", help_heading = "Policy")]
    within_monthly: Option<Age>,
    /// Keep the newest of each year in this time
    #[arg(long = "keep-within-yearly", value_name = "AGE", help_heading = "Policy")]
    within_yearly: Option<Age>,
    /// Keep all with this tag (repeatable: with any of them)
    #[arg(long = "keep-tag", value_name = "TAG", id = "tag_kept", help_heading = "Policy")]
    tags: Vec<String>,
    /// Keep the newest N fulls
    #[arg(long = "keep-full", value_name = "N", help_heading = "Policy")]
    full: Option<u32>,
    /// Keep the incrementals of the newest N fulls [default: of all that --keep-full keeps]
    #[arg(long = "keep-incremental", value_name = "N", help_heading = "Policy")]
    incremental: Option<u32>,
    /// Drop whatever is older, also against the rules; only holds and locks are stronger
    #[arg(long, value_name = "AGE", help_heading = "Policy")]
    max_age: Option<Age>,
}

/// A word of `--group-by`; the empty one stands for no grouping.
fn parse_group(text: &str) -> Result<Option<GroupBy>, String> {
    use clap::ValueEnum as _;
    let allowed = || {
        let names = GroupBy::value_variants().iter().filter_map(clap::ValueEnum::to_possible_value);
        let names: Vec<String> = names.map(|value| value.get_name().to_owned()).collect();
        format!("it is none of {}", names.join(", "))
    };
    if text.is_empty() { Ok(None) } else { GroupBy::from_str(text, false).map(Some).map_err(|_| allowed()) }
}

impl RuleArgs {
    /// The same as the verb takes it.
    pub(super) fn policy(&self, grouping: Grouping, force: bool) -> Policy {
        let counts = [self.hourly, self.daily, self.weekly, self.monthly, self.yearly];
        let ages =
            [&self.within_hourly, &self.within_daily, &self.within_weekly, &self.within_monthly, &self.within_yearly];
        let within = |(period, age): (Option<Period>, &Option<Age>)| {
            age.as_ref().map(|age| KeepWithin { period, age: age.clone() })
        };
        let periods = Period::ALL.iter().zip(counts);
        Policy {
            last: self.last,
            periods: periods.filter_map(|(&period, count)| Some(KeepPeriod { period, count: count? })).collect(),
            within: std::iter::once((None, &self.within))
                .chain(Period::ALL.iter().map(|period| Some(*period)).zip(ages))
                .filter_map(within)
                .collect(),
            tags: self.tags.clone(),
            full: self.full,
            incremental: self.incremental,
            full_tag: None,
            max_age: self.max_age.clone(),
            group_by: grouping,
            force,
        }
    }
}

/// Digits of an id that name what is to be forgotten, at least.
const FEWEST_DIGITS: usize = 4;

impl ForgetArgs {
    fn policy(&self) -> Policy {
        let grouping = self.group_by.as_ref().map(|by| Grouping {
            source: by.contains(&Some(GroupBy::Source)),
            host: by.contains(&Some(GroupBy::Host)),
            tags: by.contains(&Some(GroupBy::Tags)),
        });
        self.rules.policy(grouping.unwrap_or_default(), self.force)
    }

    fn plan(&self, repo: &Repository, policy: &Policy, context: &Context) -> Result<ForgetPlan, Failure> {
        let narrow = self.narrow.narrow();
        if self.snapshot.is_empty() {
            let zone = policy.zone(self.time_zone.as_deref())?;
            let plan = plan_policy(repo, &narrow, policy, &zone)?;
            if plan.groups.iter().all(|group| group.snapshots.is_empty()) && !repo.snapshots()?.is_empty() {
                context.reporter.note("no snapshot is of the source, scope, host or tag that is asked for: the policy has nothing to decide");
            }
            return Ok(plan);
        }
        // What was meant for a count would else be the name of whatever snapshot happens to begin with it.
        let is_count_like =
            |name: &&String| name.len() < FEWEST_DIGITS && name.bytes().all(|it| it.is_ascii_hexdigit());
        if let Some(name) = self.snapshot.iter().filter(|name| !name.is_empty()).find(is_count_like) {
            let words = format!(
                "`{name}` is too short to say which snapshot is to be forgotten: give at least {FEWEST_DIGITS} digits of its id; \
                 how many are to stay is said by --keep-last"
            );
            return Err(usage(words));
        }
        let named: Result<Vec<_>, Failure> =
            self.snapshot.iter().map(|name| context.resolve(repo, name, &narrow)).collect();
        let named = named?;
        // What was warned of is too late where it is gone.
        if context.lacks() {
            let words = "it may be another snapshot that is meant, since one cannot be read: name what is to be forgotten by its id";
            return Err(usage(words));
        }
        Ok(plan_named(repo, &named, self.force)?)
    }
}

/// Refuses to let a snapshot go that is damaged and not lost, and says what to do instead.
fn is_kept(repo: &Repository, name: &str) -> Result<(), Failure> {
    for (id, lost, why) in repo.unreadable()?.into_iter().filter(|(id, _, _)| id.to_string().starts_with(name)) {
        if let Some(instead) = advice::for_kept(lost) {
            return Err(usage(format!("snapshot {id} is not forgotten: {why}; {instead}")));
        }
    }
    Ok(())
}

/// Lets go what cannot be opened or is not there any more.
fn bury(args: &ForgetArgs, lost: Lost, context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    let all = repo.lost(lost)?;
    let mut chosen = Vec::new();
    for name in &args.snapshot {
        let name = name.to_ascii_lowercase();
        let found: Vec<_> = all.iter().filter(|(id, _)| id.to_string().starts_with(&name)).map(|(id, _)| *id).collect();
        match found.as_slice() {
            [one] => chosen.push(*one),
            [] => {
                if lost == Lost::Damaged {
                    is_kept(&repo, &name)?;
                }
                let ids: Vec<String> = all.iter().map(|(id, why)| format!("\n  {id}: {why}")).collect();
                let known = if ids.is_empty() { " (there is none)".to_owned() } else { ids.concat() };
                return Err(usage(format!("`{name}` is no snapshot that is lost so; these are:{known}")));
            }
            _ => return Err(usage(format!("more than one lost snapshot's id begins with {name}"))),
        }
    }
    if !args.dry_run {
        for id in &chosen {
            repo.bury(id, lost).kept("snapshots that were forgotten before this stay forgotten")?;
        }
    }
    let forgotten = if args.dry_run { Vec::new() } else { chosen.clone() };
    if context.json {
        context.out.json(&json!({
            "dry_run": args.dry_run, "groups": [], "forgotten": forgotten, "failed": [], "held": HeldPacks::default(), "prune": null,
        }));
    } else if !context.quiet {
        let count = counted(chosen.len() as u64, "lost snapshot");
        context.out.line(if args.dry_run {
            format!("would forget {count}; nothing was changed")
        } else {
            format!("forgot {count}; the next prune gives back what nothing else needs")
        });
    }
    Ok(Status::Done)
}

pub(super) fn run(args: &ForgetArgs, context: &Context) -> Result<Status, Failure> {
    match (args.vanished, args.damaged) {
        (true, _) => return bury(args, Lost::Vanished, context),
        (_, true) => return bury(args, Lost::Damaged, context),
        _ => {}
    }
    let policy = args.policy();
    if args.snapshot.is_empty() {
        policy.check()?;
    } else if args.group_by.is_some() || args.time_zone.is_some() {
        return Err(usage("--group-by and --time-zone belong to a policy; named snapshots need none"));
    }
    policy.zone(args.time_zone.as_deref())?;
    let repo = context.open()?;
    if !args.dry_run {
        repo.need(Capability::Prune)?;
    }
    let plan = args.plan(&repo, &policy, context)?;
    plan.warnings().iter().for_each(|warning| context.reporter.warning(warning));
    if args.prune {
        return run_with_prune(args, &repo, plan, context);
    }
    let held = if args.dry_run { held_after(&repo, &plan, &context.reporter)? } else { HeldPacks::default() };
    context.reporter.finish();
    let outcome = if args.dry_run {
        ForgetOutcome { plan, forgotten: Vec::new(), failed: Vec::new() }
    } else {
        execute(&repo, plan, &context.reporter).kept(KEPT)?
    };
    report(args, &outcome, None, context, &held);
    Ok(Status::complete(outcome.failed.is_empty()))
}

const KEPT: &str = "snapshots that were forgotten before this stay forgotten";

fn run_with_prune(
    args: &ForgetArgs,
    repo: &Repository,
    plan: ForgetPlan,
    context: &Context,
) -> Result<Status, Failure> {
    let options = PruneOptions { write_limit: context.write_limit, ..PruneOptions::default() };
    let (outcome, pruned) = match execute_and_prune(repo, plan, &options, &context.reporter) {
        Err(error) if error.is_partly_done() => {
            return Err(error).kept("what was forgotten stays forgotten; `rekeep prune` carries on with the rest");
        }
        done => done.kept(KEPT)?,
    };
    context.reporter.finish();
    report(args, &outcome, Some(&pruned), context, &pruned.held);
    if !context.json {
        super::prune::show(&pruned, context);
    }
    Ok(Status::complete(outcome.failed.is_empty() && pruned.failures.is_empty()))
}

fn report(
    args: &ForgetArgs,
    outcome: &ForgetOutcome,
    pruned: Option<&PruneOutcome>,
    context: &Context,
    held: &HeldPacks,
) {
    if context.json {
        let failed: Vec<_> = outcome.failed.iter().map(|(id, reason)| json!({ "id": id, "reason": reason })).collect();
        context.out.json(&json!({
            "dry_run": args.dry_run,
            "groups": outcome.plan.groups,
            "forgotten": outcome.forgotten,
            "failed": failed,
            "held": held,
            "prune": pruned,
        }));
        return;
    }
    if context.quiet {
        return;
    }
    for group in &outcome.plan.groups {
        let name = group_name(&group.name);
        if !name.is_empty() {
            context.out.line(name);
        }
        let mut out = table(&["id", "as of", "kind", "tags", "", "why"], &[]);
        for decision in &group.snapshots {
            let kind = format!("{:?}", decision.kind).to_lowercase();
            let why: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
            out.add_row(vec![
                decision.id.short(),
                show_time(decision.end),
                if decision.complete { kind } else { format!("{kind}, PARTIAL") },
                brief_tags(&decision.tags),
                if decision.keep { "keep" } else { "drop" }.to_owned(),
                safe(&why.join("; ")),
            ]);
        }
        context.out.line(render(&out));
        context.out.line("");
    }
    let kept = outcome.plan.decisions().filter(|decision| decision.keep).count();
    // Of what was named nothing is kept, and of what else there is nothing was decided.
    let kept = if args.snapshot.is_empty() {
        format!(" and {} {kept}", if args.dry_run { "keep" } else { "kept" })
    } else {
        String::new()
    };
    let dropped = counted(outcome.plan.dropped().count() as u64, "snapshot");
    context.out.line(if args.dry_run {
        format!("would forget {dropped}{kept}; nothing was changed")
    } else {
        let forgotten = counted(outcome.forgotten.len() as u64, "snapshot");
        let data = if pruned.is_some() { "" } else { "; their data stays until a prune" };
        format!("forgot {forgotten}{kept}{data}")
    });
    if pruned.is_none() {
        context.out.text(&super::prune::held(held));
    }
}

fn group_name(name: &GroupName) -> String {
    let mut parts = Vec::new();
    if let Some(source) = &name.source {
        parts.push(format!("source {}", safe(source)));
    }
    if let Some(scope) = name.scope.as_deref().filter(|scope| !scope.is_empty()) {
        parts.push(safe(scope));
    }
    if let Some(host) = &name.host {
        parts.push(format!("host {}", safe(host)));
    }
    match name.tags.as_deref() {
        None => {}
        Some([]) => parts.push("no tags".to_owned()),
        Some(tags) => parts.push(format!("tags {}", safe(&tags.join(" ")))),
    }
    parts.join(", ")
}
