//! Policies over plain data: examples, and properties that hold for every list of snapshots.

use super::{Age, Candidate, ForgetPlan, Grouping, KeepPeriod, KeepWithin, Period, Policy, Reason, plan::plan};
use crate::{
    ops::OpsError,
    record::Timestamp,
    repo::{SnapshotId, manifest::Kind},
    report::ErrorKind,
};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const HOUR: i64 = 3_600_000;

/// 2027-01-15T08:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn candidate(number: u32, end: i64) -> Candidate {
    let mut id = [0; 16];
    id[12..].copy_from_slice(&number.to_be_bytes());
    Candidate {
        id: SnapshotId(id),
        end: Timestamp::from_millis(end),
        order: 0,
        source: "sqlite:h:a".to_owned(),
        place: "sqlite:a".to_owned(),
        scope: (String::new(), String::new()),
        host: "h".to_owned(),
        tags: Vec::new(),
        kind: Kind::Full,
        complete: true,
        confirmed: true,
        hold: false,
        lock_until: None,
        meant: true,
    }
}

/// One an hour, the last of them an hour ago.
fn hourly(count: u32) -> Vec<Candidate> {
    (0..count).map(|n| candidate(n, NOW.as_millis() - i64::from(count - n) * HOUR)).collect()
}

fn age(text: &str) -> Age {
    text.parse().unwrap()
}

fn keep(period: Period, count: u32) -> Policy {
    Policy { periods: vec![KeepPeriod { period, count }], ..Policy::default() }
}

fn keep_last(count: u32) -> Policy {
    Policy { last: Some(count), ..Policy::default() }
}

fn decided_in(candidates: &[Candidate], policy: &Policy, zone: &TimeZone) -> ForgetPlan {
    plan(candidates, policy, zone, NOW).unwrap()
}

fn plan_of(candidates: &[Candidate], policy: &Policy) -> Result<ForgetPlan, OpsError> {
    plan(candidates, policy, &TimeZone::UTC, NOW)
}

fn number(id: &SnapshotId) -> u32 {
    u32::from_be_bytes([id.0[12], id.0[13], id.0[14], id.0[15]])
}

fn kept_by(plan: &ForgetPlan) -> BTreeSet<u32> {
    plan.decisions().filter(|it| it.keep).map(|it| number(&it.id)).collect()
}

fn kept(candidates: &[Candidate], policy: &Policy) -> Vec<u32> {
    kept_by(&decided_in(candidates, policy, &TimeZone::UTC)).into_iter().collect()
}

fn reasons(candidates: &[Candidate], policy: &Policy, of: u32) -> Vec<String> {
    let plan = decided_in(candidates, policy, &TimeZone::UTC);
    let found = plan.decisions().find(|it| number(&it.id) == of).unwrap();
    found.reasons.iter().map(ToString::to_string).collect()
}

#[test]
fn the_newest_of_each_of_the_last_periods_stay_and_gaps_do_not_count() {
    let all = hourly(72);
    assert_eq!(kept(&all, &keep_last(2)), [70, 71]);
    // The newest is of 07:00, so number 63 is of 23:00 the day before.
    assert_eq!(kept(&all, &keep(Period::Day, 3)), [39, 63, 71]);
    assert_eq!(kept(&all, &keep(Period::Hour, 3)), [69, 70, 71]);
    assert_eq!(kept(&all, &keep(Period::Year, 1)), [71]);
    let with_gap: Vec<Candidate> = [0, 1, 500, 501].map(|hour| candidate(hour, i64::from(hour) * HOUR)).to_vec();
    assert_eq!(kept(&with_gap, &keep(Period::Day, 2)), [1, 501]);
}

#[test]
fn every_rule_that_keeps_a_snapshot_is_named() {
    let mut all = hourly(30);
    all[7].tags = vec!["x".to_owned()];
    let policy =
        Policy { periods: vec![KeepPeriod { period: Period::Day, count: 2 }], tags: vec!["x".into()], ..keep_last(1) };
    let newest = reasons(&all, &policy, 29);
    assert_eq!(newest, ["last 1", "daily 1 (2027-01-15)", "newest of its source with confirmed deletions"]);
    assert_eq!(reasons(&all, &policy, 0), ["no rule keeps it"]);
}

#[test]
fn ages_count_from_now() {
    let within = |period, text| Policy { within: vec![KeepWithin { period, age: age(text) }], ..Policy::default() };
    assert_eq!(kept(&hourly(10), &within(None, "3h")), [7, 8, 9]);
    assert_eq!(kept(&hourly(50), &within(Some(Period::Day), "30h")), [41, 49]);
}

#[test]
fn a_source_whose_backups_stopped_loses_nothing_to_ages_unless_forced() {
    let mut all = hourly(10);
    for old in &mut all[..5] {
        old.end = Timestamp::from_millis(old.end.as_millis() - 1000 * HOUR);
        old.source = "sqlite:h:stopped".to_owned();
    }
    let within =
        |text, force| Policy { within: vec![KeepWithin { period: None, age: age(text) }], force, ..Policy::default() };
    assert_eq!(kept(&all, &within("2h", false)), [0, 1, 2, 3, 4, 8, 9]);
    assert_eq!(reasons(&all, &within("2h", false), 0), ["no rule keeps anything of this group"]);
    let plan = decided_in(&all, &within("2h", false), &TimeZone::UTC);
    let warned = plan.warnings();
    assert!(warned.len() == 1 && warned[0].words.contains("stopped"), "{warned:?}");
    assert_eq!(kept(&all, &within("2h", true)), [4, 8, 9], "the newest confirmed one stays even so");
    let refused = plan_of(&all[..5], &within("2h", false)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::RuleUnmatched, "{refused}");
}

#[test]
fn a_rule_that_meets_nothing_is_refused_unless_forced() {
    let mut all = hourly(6);
    all[1].tags = vec!["kept".to_owned()];
    let tags = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let policy = |names: &[&str]| Policy { tags: tags(names), ..keep_last(1) };
    assert_eq!(kept(&all, &policy(&["kept"])), [1, 5]);
    let refused = plan_of(&all, &policy(&["kept", "kpet"])).unwrap_err();
    assert!(refused.kind() == ErrorKind::RuleUnmatched && refused.to_string().contains("`kpet`"), "{refused}");
    assert_eq!(kept(&all, &Policy { force: true, ..policy(&["kept", "kpet"]) }), [1, 5]);
    all[1].meant = false;
    assert!(plan_of(&all, &policy(&["kept"])).is_err(), "what is narrowed away meets no rule");
    for one in &mut all {
        one.kind = Kind::Incremental;
    }
    let full = Policy { full: Some(1), ..keep_last(1) };
    assert_eq!(plan_of(&all, &full).unwrap_err().kind(), ErrorKind::RuleUnmatched);
    assert!(plan_of(&[], &policy(&["kept"])).is_ok(), "where nothing is, nothing is lost");
}

#[test]
fn what_ends_in_the_future_stays_and_displaces_nobody() {
    let mut all = hourly(6);
    all.push(candidate(6, NOW.as_millis() + 365 * 24 * HOUR));
    let within = Policy { within: vec![KeepWithin { period: None, age: age("3h") }], ..Policy::default() };
    assert_eq!(kept(&all, &within), [3, 4, 5, 6]);
    assert_eq!(kept(&all, &keep_last(2)), [4, 5, 6]);
    assert_eq!(kept(&all, &keep(Period::Year, 1)), [5, 6]);
    assert_eq!(kept(&all, &Policy { max_age: Some(age("2h")), ..Policy::default() }), [4, 5, 6]);
    assert_eq!(reasons(&all, &within, 6), ["ends in the future, so that no rule counts it"]);
    let warned = decided_in(&all, &within, &TimeZone::UTC).warnings();
    assert!(warned.len() == 1 && warned[0].words.contains("future"), "{warned:?}");
    // Clocks of hosts differ by seconds.
    all[6].end = Timestamp::from_millis(NOW.as_millis() + 30_000);
    assert_eq!(kept(&all, &keep_last(2)), [5, 6]);
}

#[test]
fn both_of_two_hours_that_a_clock_shows_alike_stay() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    // 02:30 in summer time, 02:30 an hour later, 03:30.
    let times = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"];
    let all: Vec<_> = (0..).zip(times).map(|(n, time)| candidate(n, at(time))).collect();
    assert_eq!(kept_by(&decided_in(&all, &keep(Period::Hour, 3), &zone)).len(), 3);
    assert_eq!(kept_by(&decided_in(&all, &keep(Period::Day, 3), &zone)).len(), 1);
    // Midnight in Berlin lies between the two; in UTC it does not.
    let times = ["2026-10-25T22:30:00Z", "2026-10-25T23:30:00Z"];
    let all: Vec<_> = (0..).zip(times).map(|(n, time)| candidate(n, at(time))).collect();
    assert_eq!(kept_by(&decided_in(&all, &keep(Period::Day, 9), &zone)).len(), 2);
    assert_eq!(kept_by(&decided_in(&all, &keep(Period::Day, 9), &TimeZone::UTC)).len(), 1);
}

#[test]
fn a_date_that_the_clock_comes_back_to_is_one_day() {
    // In 2006 St. John's set its clock back at 00:01, to 23:01 of the day before.
    let zone = TimeZone::get("America/St_Johns").unwrap();
    let change = "2006-10-29T02:31:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let all: Vec<_> =
        (0..).zip([-60_000, -30_000, 30_000, 60 * 60_000]).map(|(n, by)| candidate(n, change + by)).collect();
    let plan = decided_in(&all, &keep(Period::Day, 9), &zone);
    assert_eq!(kept_by(&plan), BTreeSet::from([2, 3]), "{plan:#?}");
}

#[test]
fn fulls_and_what_follows_them_stay() {
    let mut all = hourly(9);
    for n in [1, 2, 4, 5, 7, 8] {
        all[n].kind = Kind::Incremental;
    }
    let policy = |full, incremental| Policy { full: Some(full), incremental, ..Policy::default() };
    assert_eq!(kept(&all, &policy(2, None)), [3, 4, 5, 6, 7, 8]);
    assert_eq!(kept(&all, &policy(2, Some(1))), [3, 6, 7, 8]);
    assert_eq!(kept(&all, &policy(3, Some(0))), [0, 3, 6, 8], "the newest of a source always stays");
    assert!(policy(1, Some(2)).check().is_err());
    assert!(Policy { incremental: Some(1), ..Policy::default() }.check().is_err());
}

#[test]
fn fulls_may_be_told_by_a_tag_whatever_was_read() {
    let mut all = hourly(9);
    for n in [0, 3, 6] {
        all[n].tags = vec!["type=full".to_owned()];
    }
    let policy = |full, incremental| Policy {
        full: Some(full),
        incremental,
        full_tag: Some("type=full".to_owned()),
        ..Policy::default()
    };
    assert_eq!(kept(&all, &policy(2, None)), [3, 4, 5, 6, 7, 8]);
    assert_eq!(kept(&all, &policy(2, Some(1))), [3, 6, 7, 8]);
    assert_eq!(kept(&all[..2], &policy(1, None)), [0, 1]);
}

#[test]
fn partial_snapshots_never_displace_complete_ones() {
    let mut all = hourly(8);
    for n in [2, 3, 6, 7] {
        (all[n].complete, all[n].confirmed) = (false, false);
    }
    // Complete: 0 1 4 5. 6 and 7 are all that is known of the last two hours.
    assert_eq!(kept(&all, &keep_last(1)), [5, 7]);
    assert_eq!(kept(&all, &keep_last(3)), [1, 4, 5, 6, 7]);
    assert_eq!(reasons(&all, &keep_last(1), 3), ["partial, and a complete one followed"]);
    let within = Policy { within: vec![KeepWithin { period: None, age: age("4h") }], ..Policy::default() };
    assert_eq!(kept(&all, &within), [4, 5, 6, 7]);
    for one in &mut all {
        (one.complete, one.confirmed) = (false, false);
    }
    assert_eq!(kept(&all, &keep_last(2)), [6, 7], "where all are partial they count");
}

#[test]
fn the_newest_with_confirmed_deletions_stays() {
    let mut all = hourly(6);
    for one in &mut all[3..] {
        one.confirmed = false;
    }
    assert_eq!(kept(&all, &keep_last(1)), [2, 5]);
    assert_eq!(reasons(&all, &keep_last(1), 2), ["newest of its source with confirmed deletions"]);
    // A confirmed one that the policy does not look at is enough.
    all[5].confirmed = true;
    all[5].meant = false;
    assert_eq!(kept(&all, &keep_last(1)), [4]);
}

#[test]
fn holds_and_locks_are_stronger_than_everything() {
    let mut all = hourly(6);
    all[0].hold = true;
    all[1].lock_until = Some(Timestamp::from_millis(NOW.as_millis() + 1));
    all[2].lock_until = Some(NOW);
    assert_eq!(kept(&all, &keep_last(1)), [0, 1, 5], "a lock that has ended locks nothing");
    let all_too_old = Policy { max_age: Some(age("1s")), ..Policy::default() };
    assert_eq!(kept(&all, &all_too_old), [0, 1]);
}

#[test]
fn the_maximum_age_is_stronger_than_rules_and_the_last_snapshot_of_a_source() {
    let all = hourly(6);
    let policy = |text| Policy { max_age: Some(age(text)), ..Policy::default() };
    assert_eq!(kept(&all, &policy("3h")), [3, 4, 5], "three hours old is not older than three hours");
    assert_eq!(kept(&all, &Policy { last: Some(5), ..policy("3h") }), [3, 4, 5]);
    assert_eq!(kept(&all, &policy("30min")), [0; 0]);
    assert_eq!(
        reasons(&all, &policy("3h"), 5),
        ["newest of its source with confirmed deletions", "not older than the maximum age"]
    );
}

#[test]
fn the_last_snapshot_of_a_source_goes_only_by_force() {
    let mut all = hourly(4);
    for one in &mut all {
        one.confirmed = false;
    }
    all[2].complete = false;
    all[3].source = "sqlite:h:other".to_owned();
    let together = Grouping { source: false, host: false, tags: false };
    let policy = Policy { group_by: together, ..keep_last(1) };
    assert_eq!(kept(&all, &policy), [1, 3], "the newest complete one");
    assert_eq!(kept(&all, &Policy { force: true, ..policy }), [3]);
    let none = Policy { tags: vec!["none has it".into()], force: true, ..Policy::default() };
    let refused = plan_of(&all, &none).unwrap_err();
    assert!(matches!(&refused, OpsError::Usage(text) if text.contains("keep nothing")), "{refused}");
    all[0].hold = true;
    assert_eq!(kept(&all, &none), [0]);
}

#[test]
fn a_policy_that_keeps_nothing_is_refused() {
    for empty in
        [Policy::default(), keep_last(0), keep(Period::Day, 0), Policy { max_age: Some(age("1d")), ..keep_last(0) }]
    {
        assert!(empty.check().is_err(), "{empty:?}");
    }
    keep_last(1).check().unwrap();
    Policy { max_age: Some(age("1d")), ..Policy::default() }.check().unwrap();
}

#[test]
fn groups_are_decided_one_by_one() {
    let mut all = hourly(8);
    for n in [1, 3, 5, 7] {
        all[n].host = "other".into();
    }
    for n in [0, 1] {
        all[n].tags = vec!["b".into(), "a".into()];
    }
    for n in [4, 5] {
        all[n].scope = ("t".into(), "only table t".into());
    }
    let by = |source, host, tags| Policy { group_by: Grouping { source, host, tags }, ..keep_last(1) };
    assert_eq!(kept(&all, &by(true, true, false)), [4, 5, 6, 7], "a part of a source does not stand for the whole");
    assert_eq!(kept(&all, &by(false, true, false)), [5, 6, 7], "5 is the last of its part");
    assert_eq!(kept(&all, &by(false, false, true)), [1, 5, 7]);
    assert_eq!(kept(&all, &by(false, false, false)), [5, 7]);
    // The same place on two hosts is one group without the host.
    let mut moved = hourly(4);
    for n in [2, 3] {
        (moved[n].host, moved[n].source) = ("new".into(), "sqlite:new:a".into());
    }
    assert_eq!(kept(&moved, &by(true, true, false)), [1, 3]);
    let both = decided_in(&moved, &by(true, false, false), &TimeZone::UTC);
    assert_eq!((both.groups.len(), both.groups[0].name.source.as_deref()), (1, Some("sqlite:a")));
    assert_eq!(kept_by(&both), BTreeSet::from([1, 3]), "the newest of each name stays");
}

#[test]
fn a_hundred_thousand_snapshots_are_decided_as_few_are() {
    // One every ten minutes for nearly two years, out of order.
    let mut all: Vec<Candidate> =
        (0..100_000).map(|n| candidate(n, NOW.as_millis() - i64::from(100_000 - n) * 600_000)).collect();
    all.reverse();
    let policy = Policy {
        periods: Period::ALL.map(|period| KeepPeriod { period, count: 12 }).to_vec(),
        within: vec![KeepWithin { period: Some(Period::Day), age: age("1y") }],
        ..keep_last(10)
    };
    let plan = decided_in(&all, &policy, &TimeZone::get("Europe/Berlin").unwrap());
    let kept = kept_by(&plan);
    assert_eq!(plan.decisions().count(), 100_000);
    // 366 days in a year and a part of one; the hours and the last ten of the last day; months and years before it.
    assert!((366..=420).contains(&kept.len()), "{}", kept.len());
    assert!(kept.contains(&99_999));
}

prop_compose! {
    fn some_candidates()(parts in prop::collection::vec(
        (0..2000_i64, 0..3_u8, 0..2_u8, 0..4_u8, any::<(bool, bool)>(), 0..20_u8, 0..4_u8), 0..60,
    )) -> Vec<Candidate> {
        parts.into_iter().zip(0..).map(|((hour, source, host, kind, (complete, confirmed), hold, tag), n)| {
            let mut one = candidate(n, NOW.as_millis() - hour * HOUR);
            one.source = format!("sqlite:{source}");
            one.place.clone_from(&one.source);
            one.host = format!("host{host}");
            one.kind = if kind == 0 { Kind::Full } else { Kind::Incremental };
            (one.complete, one.confirmed) = (complete, confirmed && complete);
            one.hold = hold == 0;
            one.lock_until = (hold == 1).then(|| Timestamp::from_millis(NOW.as_millis() + 1));
            one.tags = if tag == 0 { vec!["kept".to_owned()] } else { Vec::new() };
            one
        }).collect()
    }
}

prop_compose! {
    fn some_policy()(
        last in 0..4_u32,
        counts in prop::array::uniform5(0..4_u32),
        within in prop::option::of(1..500_u32),
        tagged in any::<bool>(),
        full in prop::option::of(0..3_u32),
        max_age in prop::option::of(1..2500_u32),
        by in any::<(bool, bool, bool)>(),
    ) -> Policy {
        Policy {
            last: Some(last),
            periods: Period::ALL.into_iter().zip(counts).map(|(period, count)| KeepPeriod { period, count }).collect(),
            within: within.map(|hours| KeepWithin { period: None, age: age(&format!("{hours}h")) }).into_iter().collect(),
            tags: if tagged { vec!["kept".to_owned()] } else { Vec::new() },
            full,
            incremental: None,
            full_tag: None,
            max_age: max_age.map(|hours| age(&format!("{hours}h"))),
            group_by: Grouping { source: by.0, host: by.1, tags: by.2 },
            force: false,
        }
    }
}

fn too_old(one: &Candidate, policy: &Policy) -> bool {
    policy.max_age.as_ref().is_some_and(|age| one.end < age.before(NOW, &TimeZone::UTC))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn every_snapshot_is_decided_once_with_a_reason_whatever_the_order(
        all in some_candidates(), policy in some_policy(),
    ) {
        let Ok(plan) = plan(&all, &policy, &TimeZone::UTC, NOW) else { return Ok(()) };
        let decided: BTreeSet<SnapshotId> = plan.decisions().map(|it| it.id).collect();
        prop_assert_eq!(decided.len(), all.len());
        prop_assert_eq!(plan.decisions().count(), all.len());
        prop_assert!(plan.decisions().all(|it| !it.reasons.is_empty()));
        let mut turned = all;
        turned.reverse();
        prop_assert_eq!(super::plan::plan(&turned, &policy, &TimeZone::UTC, NOW).unwrap(), plan);
    }

    #[test]
    fn what_must_stay_stays_and_what_is_too_old_goes(all in some_candidates(), policy in some_policy()) {
        let Ok(plan) = plan(&all, &policy, &TimeZone::UTC, NOW) else { return Ok(()) };
        let kept = kept_by(&plan);
        let mut newest: BTreeMap<&str, (Timestamp, SnapshotId)> = BTreeMap::new();
        let mut young: BTreeSet<&str> = BTreeSet::new();
        let mut left: BTreeSet<&str> = BTreeSet::new();
        for one in &all {
            let is_kept = kept.contains(&number(&one.id));
            if one.hold || one.lock_until.is_some() {
                prop_assert!(is_kept);
            } else if too_old(one, &policy) {
                prop_assert!(!is_kept);
            }
            if one.confirmed {
                let newest = newest.entry(&one.source).or_insert((one.end, one.id));
                *newest = (*newest).max((one.end, one.id));
            }
            if is_kept {
                left.insert(&one.source);
            }
            if !too_old(one, &policy) {
                young.insert(&one.source);
            }
        }
        for (end, id) in newest.values() {
            let one = all.iter().find(|one| one.id == *id && one.end == *end).unwrap();
            prop_assert!(kept.contains(&number(id)) || too_old(one, &policy));
        }
        prop_assert!(young.is_subset(&left), "a source lost all it had, although some of it was young enough");
    }

    #[test]
    fn forgetting_again_forgets_nothing(all in some_candidates(), policy in some_policy()) {
        let Ok(first) = plan(&all, &policy, &TimeZone::UTC, NOW) else { return Ok(()) };
        let kept = kept_by(&first);
        let rest: Vec<Candidate> = all.into_iter().filter(|one| kept.contains(&number(&one.id))).collect();
        // A rule may meet nothing any more, since what it met was too old.
        let Ok(again) = plan(&rest, &policy, &TimeZone::UTC, NOW) else { return Ok(()) };
        prop_assert_eq!(kept_by(&again), kept);
    }

    #[test]
    fn days_are_kept_as_a_plain_count_of_days_says(all in some_candidates(), count in 1..9_u32) {
        let mut days: BTreeMap<(String, String), BTreeMap<i64, (Timestamp, SnapshotId)>> = BTreeMap::new();
        for one in all.iter().filter(|one| one.complete) {
            let group = days.entry((one.source.clone(), one.host.clone())).or_default();
            let newest = group.entry(one.end.as_millis().div_euclid(24 * HOUR)).or_insert((one.end, one.id));
            *newest = (*newest).max((one.end, one.id));
        }
        let expected: BTreeSet<SnapshotId> =
            days.values().flat_map(|days| days.values().rev().take(count as usize)).map(|(_, id)| *id).collect();
        let plan = decided_in(&all, &keep(Period::Day, count), &TimeZone::UTC);
        let complete: BTreeSet<SnapshotId> = all.iter().filter(|one| one.complete).map(|one| one.id).collect();
        let by_day: BTreeSet<SnapshotId> = plan
            .decisions()
            .filter(|it| it.reasons.iter().any(|reason| matches!(reason, Reason::Period { .. })) && complete.contains(&it.id))
            .map(|it| it.id)
            .collect();
        prop_assert_eq!(by_day, expected);
    }
}
