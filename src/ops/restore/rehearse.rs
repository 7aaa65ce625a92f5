//! What a restore would do: whether the target takes the snapshot, and how many records it would insert, replace, leave
//! and remove. Reads both sides, writes nothing.

use super::{
    Likeness, Pair, Run, Selected,
    compare::{chooses, shown_in, with_live},
    feed::Fed,
};
use crate::{
    connector::{
        CollectionSurvey, Meets, Overwrite, SessionOptions, SetSurvey, Source, SourceSession, Survey, Surveyed, Target,
        TargetAbilities, TargetPlan,
    },
    layer::LayerContext,
    ops::OpsError,
    record::{Expiry, Meta},
    repo::manifest::Collection,
};
use data_encoding::HEXLOWER;

/// Asks the target whether it takes such records as come.
pub(super) fn preflight(
    run: &Run<'_>,
    target: &dyn Target,
    plan: &TargetPlan,
    selected: &[Selected<'_>],
) -> Result<Vec<String>, OpsError> {
    let Some(surveyed) = target.surveyed() else { return Ok(Vec::new()) };
    let survey = survey(run, surveyed, selected)?;
    surveyed.preflight(plan, &survey).map_err(|error| OpsError::Connector(error.adding(UNTOUCHED)))
}

/// Asks the target whether it takes what the plan brings, before anything is touched.
pub(super) fn ask(target: &dyn Target, plan: &TargetPlan) -> Result<Vec<Meets>, OpsError> {
    target.rehearse(plan).map_err(|error| OpsError::Connector(error.adding(UNTOUCHED)))
}

/// What a person who reads a refusal wants to know.
const UNTOUCHED: &str = "nothing was written";

/// What a manifest says of a collection's records; `None` if it is not exact, or does not tell all sets apart.
fn told(collection: &Collection) -> Option<CollectionSurvey> {
    let mut of = CollectionSurvey::default();
    for set in &collection.sets {
        let name = HEXLOWER.decode(set.set.as_ref()?.as_bytes()).ok()?;
        of.records += set.records;
        of.value_bytes += set.value_bytes;
        of.expiring += set.expiring;
        of.latest_expiry = Expiry::from_millis(of.latest_expiry.as_millis().max(set.latest_expiry));
        of.largest_value_bytes = of.largest_value_bytes.max(set.largest_value);
        let survey = SetSurvey {
            records: set.records,
            value_bytes: set.value_bytes,
            records_without_user_key: set.without_user_key,
        };
        of.sets.insert(name, survey);
    }
    // What expired while a run read is counted too: then it is not exact.
    (of.records == collection.records).then_some(of)
}

/// What the records that come are like: by the manifest where it says so and all of them come; else their keys are read once,
/// values are not.
pub(super) fn survey(run: &Run<'_>, target: &dyn Surveyed, selected: &[Selected<'_>]) -> Result<Survey, OpsError> {
    let mut survey =
        Survey { scope_note: run.snapshot.content.scope_note.clone(), forced: run.options.force, ..Survey::default() };
    for one in selected.iter().filter(|_| !run.options.no_records) {
        if one.filter.means_all()
            && target.chooses_all()
            && let Some(told) = told(one.collection)
        {
            survey.collections.push(told);
            continue;
        }
        let feed = run.feed(one, None);
        let stack = feed.open()?;
        let mut of = CollectionSurvey::default();
        for range in feed.ranges(&stack) {
            let mut cursor = stack.cursor(&range, feed.at, true)?;
            loop {
                match cursor.advance() {
                    Ok(true) => {}
                    Ok(false) => break,
                    // The restore itself names what is lost.
                    Err(_) if run.options.keep_going => break,
                    Err(error) => return Err(error.into()),
                }
                if run.progress.cancelled() {
                    return Err(OpsError::Interrupted);
                }
                if feed.filter.admits(cursor.key()) && target.chooses(cursor.key(), &cursor.meta()) {
                    of.add(&cursor.meta(), cursor.value_bytes());
                }
            }
        }
        survey.collections.push(of);
    }
    Ok(survey)
}

/// Asks what the restore would do beside writing records; gives that in words.
pub(super) fn foresee(
    run: &Run<'_>,
    target: &dyn Target,
    plan: &TargetPlan,
    selected: &[Selected<'_>],
) -> Result<Vec<String>, OpsError> {
    let Some(mut foresight) = target.foresight(plan)? else { return Ok(Vec::new()) };
    for index in foresight.wanted(plan) {
        let Some(one) = selected.get(index) else { continue };
        run.feed(one, None).run(&mut |next| {
            if let Fed::Batch(batch, _) = next {
                foresight.see(&one.collection.name, batch)?;
            }
            Ok(())
        })?;
    }
    Ok(foresight.say())
}

/// Counts what would become of every record.
pub(super) fn count(
    run: &mut Run<'_>,
    target: &dyn Target,
    plan: &TargetPlan,
    selected: &[Selected<'_>],
    meets: &[Meets],
) -> Result<(), OpsError> {
    let live: Option<Box<dyn Source>> = if meets.contains(&Meets::Records) { target.read_back_of(plan)? } else { None };
    let options = SessionOptions {
        parallel: 1,
        read_limit: run.options.read_limit,
        leave_out: crate::ops::own_place(run.repo),
        ..SessionOptions::default()
    };
    let session = live.as_ref().map(|source| source.begin(&options)).transpose()?;
    for (one, meets) in selected.iter().zip(meets) {
        let before = run.totals.records;
        run.count(one)?;
        let records = run.totals.records - before;
        match (meets, session.as_deref().and_then(|session| Some((session, shown_in(session, target, one)?)))) {
            (Meets::Nothing, _) => run.outcomes.inserted += records,
            (Meets::Records, Some((session, index))) => {
                let met = compare(run, one, session, index, plan, target)?;
                // What the target was not told to take.
                run.outcomes.skipped += records.saturating_sub(met);
            }
            _ => run.outcomes.notes.push(format!(
                "what the target holds of {} cannot be told beforehand, so its records are not counted as inserted or replaced",
                one.name()
            )),
        }
    }
    if let Some(session) = session {
        session.finish()?;
    }
    Ok(())
}

fn compare(
    run: &mut Run<'_>,
    one: &Selected<'_>,
    session: &dyn SourceSession,
    index: usize,
    plan: &TargetPlan,
    target: &dyn Target,
) -> Result<u64, OpsError> {
    let context = LayerContext::new(run.repo.secrets());
    // Only where equal records are left alone do values matter.
    let fingerprinter = (plan.overwrite == Overwrite::IfChanged).then_some(&context.fingerprinter);
    let chooses = |key: &[u8], meta: &Meta<'_>| chooses(target, key, meta);
    let TargetAbilities { expiry_slack_millis, keeps_user_keys, .. } = target.abilities();
    let likeness =
        Likeness { fingerprinter, expiry_slack_millis, keeps_user_keys, chooses: Some(&chooses), forgiving: None };
    let mut met = 0;
    let mut outcomes = std::mem::take(&mut run.outcomes);
    let walked = with_live(run, one, session, index, likeness, &mut |_, pair| {
        met += u64::from(!matches!(pair, Pair::LiveOnly { .. }));
        match (pair, plan.overwrite) {
            (Pair::SnapshotOnly { .. }, _) => outcomes.inserted += 1,
            (Pair::LiveOnly { .. }, _) => outcomes.removed += u64::from(plan.make_equal),
            (Pair::Both { same: true, .. }, Overwrite::IfChanged) => outcomes.unchanged += 1,
            (Pair::Both { .. }, Overwrite::Never) => outcomes.existed += 1,
            (Pair::Both { fresher: true, .. }, Overwrite::IfNewer) => outcomes.fresher += 1,
            (Pair::Both { .. }, _) => outcomes.replaced += 1,
        }
    });
    run.outcomes = outcomes;
    walked.map(|()| met)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::{carried::Carried, manifest::SetNumbers};
    use serde_json::Value as Json;

    fn numbers(set: Option<&str>, records: u64, latest_expiry: u64) -> SetNumbers {
        SetNumbers {
            set: set.map(|name| HEXLOWER.encode(name.as_bytes())),
            records,
            value_bytes: 100 * records,
            expiring: u64::from(latest_expiry > 0),
            latest_expiry,
            largest_value: 100,
            without_user_key: 1,
            other: Carried::default(),
        }
    }

    fn collection(records: u64, sets: Vec<SetNumbers>) -> Collection {
        Collection {
            name: "c".to_owned(),
            codec: crate::record::KeyCodec::Digest,
            records,
            bytes: 0,
            coverage: Vec::new(),
            attributes: Json::Null,
            sets,
            stack: Vec::new(),
            journal: None,
            counted: true,
            other: Carried::default(),
        }
    }

    #[test]
    fn a_manifest_is_believed_where_it_is_exact_and_names_every_set() {
        let sets = || vec![numbers(Some(""), 2, 0), numbers(Some("a"), 3, 77)];
        let told = told(&collection(5, sets())).unwrap();
        let expected = (5, 500, 1, Expiry::from_millis(77), 100);
        let found = (told.records, told.value_bytes, told.expiring, told.latest_expiry, told.largest_value_bytes);
        assert_eq!((found, told.sets.len()), (expected, 2));
        assert_eq!(told.sets[b"a".as_slice()].records_without_user_key, 1);
        assert!(super::told(&collection(4, sets())).is_none(), "one expired meanwhile");
        assert!(super::told(&collection(2, vec![numbers(None, 2, 0)])).is_none(), "sets that are not told apart");
        assert!(super::told(&collection(1, Vec::new())).is_none(), "one of an older program");
        assert_eq!(super::told(&collection(0, Vec::new())).unwrap(), CollectionSurvey::default());
    }
}
