//! Limits of sets: how many a namespace may have, and how much each may hold.

use super::{AerospikeTarget, Findings};
use crate::{
    connector::{
        CollectionSurvey, SetSurvey,
        aerospike::{error::Error, info::value_of},
    },
    report::Remedy,
};
use std::collections::{BTreeMap, BTreeSet};

/// The most sets of a namespace.
const MAX_SETS: usize = 4095;

/// What all nodes together take of a set: records and bytes, copies counted.
#[derive(Debug, Default)]
struct Quota {
    records: u64,
    bytes: u64,
}

pub(super) fn check(
    target: &AerospikeTarget,
    namespace: &str,
    survey: &CollectionSurvey,
    findings: &mut Findings,
) -> Result<(), Error> {
    let mut coming: BTreeMap<Vec<u8>, SetSurvey> = BTreeMap::new();
    for (set, of) in &survey.sets {
        let mapped = target.how.set_map.iter().find(|(old, _)| old.as_bytes() == set.as_slice());
        let name = mapped.map_or_else(|| set.clone(), |(_, new)| new.as_bytes().to_vec());
        let all = coming.entry(name).or_default();
        all.records += of.records;
        all.value_bytes += of.value_bytes;
    }
    let (there, quotas, copies) = ask(target, namespace)?;
    let named = |set: &&Vec<u8>| !set.is_empty();
    let all: BTreeSet<&[u8]> = coming.keys().filter(named).chain(&there).map(Vec::as_slice).collect();
    if all.len() > MAX_SETS {
        findings.refuse_or_note(
            target.how.ignore_record_error,
            &[Remedy::IgnoreRecordErrors],
            format!(
                "with those that are there namespace `{namespace}` would have {} sets, and no server takes more than \
                 {MAX_SETS}",
                all.len()
            ),
        );
    }
    for (set, of) in &coming {
        let Some(quota) = quotas.get(set) else { continue };
        let over = |limit: u64, needed: u64| limit > 0 && needed * copies > limit;
        let what = match (over(quota.records, of.records), over(quota.bytes, of.value_bytes)) {
            (true, _) => format!("{} records, copies counted (stop-writes-count)", quota.records),
            (_, true) => format!("{} bytes, copies counted (stop-writes-size)", quota.bytes),
            _ => continue,
        };
        findings.refuse_or_note(
            target.how.ignore_record_error,
            &[Remedy::IgnoreRecordErrors],
            format!(
                "{} records of {} bytes come to set `{}` of namespace `{namespace}`, which takes {what}",
                of.records,
                of.value_bytes,
                String::from_utf8_lossy(set)
            ),
        );
    }
    Ok(())
}

type Asked = (BTreeSet<Vec<u8>>, BTreeMap<Vec<u8>, Quota>, u64);

/// The sets that are there, what they may hold, and how many copies there are.
fn ask(target: &AerospikeTarget, namespace: &str) -> Result<Asked, Error> {
    let (sets, about) = (format!("sets/{namespace}"), format!("namespace/{namespace}"));
    let (mut there, mut quotas, mut copies) = (BTreeSet::new(), BTreeMap::<Vec<u8>, Quota>::new(), 1);
    for node in target.cluster.nodes() {
        let answers = target.cluster.info(&node, &[&sets, &about])?;
        let told = value_of(answers.text(&about).unwrap_or_default(), ';', "effective_replication_factor");
        copies = told.and_then(|text| text.parse().ok()).unwrap_or(1).max(copies);
        // Names may be no UTF-8.
        let lines = String::from_utf8_lossy(answers.bytes(&sets).unwrap_or_default()).into_owned();
        for line in lines.split(';') {
            let Some(set) = value_of(line, ':', "set") else { continue };
            let number = |key: &str| value_of(line, ':', key).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
            there.insert(set.as_bytes().to_vec());
            let quota = quotas.entry(set.as_bytes().to_vec()).or_default();
            quota.records = quota.records.saturating_add(number("stop-writes-count"));
            quota.bytes = quota.bytes.saturating_add(number("stop-writes-size"));
        }
    }
    Ok((there, quotas, copies))
}
