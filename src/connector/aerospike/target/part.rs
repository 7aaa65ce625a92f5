//! What of a target is compared with a snapshot: what the snapshot's scope left out is neither looked at nor removed.

use super::super::{
    options::AerospikeOptions,
    select::{Selection, of_scope},
};
use crate::{
    connector::TargetPlan,
    record::{KeyRange, Meta},
    repo::manifest::Asked,
};

/// The sets and the keys that are compared.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// `None` for all.
    pub sets: Option<Vec<String>>,
    /// Sorted and disjoint.
    pub ranges: Vec<KeyRange>,
}

/// What narrows a scope so that each record by itself tells whether it is in it, or is about no records at all.
const TOLD_BY_RECORDS: [&str; 6] = ["namespace", "sets", "partitions", "no-indexes", "no-udfs", "no-records"];

/// The narrowings of a plan that is to make equal, by which nobody can tell what they left out: when a record was changed, how
/// long it was to live, or how many came. Empty if there are none.
pub(super) fn untold(plan: &TargetPlan) -> Vec<String> {
    let Some(asked) = plan.left_out.as_ref().filter(|_| plan.make_equal) else { return Vec::new() };
    if asked.is_everything() {
        return vec!["a scope that is not told as data".to_owned()];
    }
    let only = asked.only.keys().filter(|facet| !TOLD_BY_RECORDS.contains(&facet.as_str()));
    // Backup files leave out whole kinds of things, of which records are one.
    let without = asked.without.iter().filter(|(facet, _)| *facet != "parts").map(|(facet, _)| facet);
    only.chain(without).chain(asked.form.keys()).cloned().collect()
}

impl Part {
    /// What `options` choose, narrowed to the plan's scope where that is to be made equal.
    pub fn of(options: &AerospikeOptions, chosen: &[KeyRange], plan: &TargetPlan) -> Self {
        let sets = (!options.sets.is_empty()).then(|| options.sets.clone());
        let mut part = Self { sets, ranges: chosen.to_vec() };
        if let Some(asked) = plan.left_out.as_ref().filter(|_| plan.make_equal) {
            part.narrow(asked);
        }
        part
    }

    fn narrow(&mut self, asked: &Asked) {
        if let Some(sets) = asked.only.get("sets") {
            self.sets = Some(match self.sets.take() {
                None => sets.clone(),
                Some(chosen) => chosen.into_iter().filter(|set| sets.contains(set)).collect(),
            });
        }
        let no_records = asked.only.contains_key("no-records")
            || asked.without.get("parts").is_some_and(|parts| parts.iter().any(|part| part == "records"));
        let within: Vec<KeyRange> = match asked.only.get("partitions") {
            _ if no_records => Vec::new(),
            None => return,
            Some(texts) => {
                let options =
                    AerospikeOptions { partitions: Some(of_scope(&texts.join(","))), ..AerospikeOptions::default() };
                // What cannot be understood holds nothing: then nothing is removed.
                Selection::new(None, &options).map(|selection| selection.ranges).unwrap_or_default()
            }
        };
        self.ranges =
            self.ranges.iter().flat_map(|one| within.iter().filter_map(|other| one.intersection(other))).collect();
    }

    /// Whether a record is in it.
    pub fn holds(&self, key: &[u8], meta: &Meta<'_>) -> bool {
        self.sets.as_ref().is_none_or(|sets| sets.iter().any(|set| set.as_bytes() == meta.set))
            && self.ranges.iter().any(|range| range.contains(key))
    }

    /// The records in it, whole.
    pub fn selection(&self, options: &AerospikeOptions) -> Result<Selection, super::Error> {
        let sets = self.sets.clone().unwrap_or_default();
        let nothing = self.sets.as_ref().is_some_and(Vec::is_empty);
        let whole = AerospikeOptions { bins: Vec::new(), sets, ..options.clone() };
        let ranges = if nothing { Vec::new() } else { self.ranges.clone() };
        Ok(Selection::new(None, &whole)?.of_ranges(ranges))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        connector::Overwrite,
        record::{Expiry, Timestamp},
    };
    use serde_json::Value as Json;

    fn plan(only: &[(&str, &str)]) -> TargetPlan {
        let only = only.iter().map(|(facet, name)| ((*facet).to_owned(), vec![(*name).to_owned()])).collect();
        TargetPlan {
            connector: "aerospike".to_owned(),
            attributes: Json::Null,
            collections: Vec::new(),
            overwrite: Overwrite::IfChanged,
            make_equal: true,
            partial: false,
            left_out: Some(Asked { only, ..Asked::default() }),
            leave_alone: Vec::new(),
            repository: None,
            snapshot: None,
            as_of: Timestamp::from_millis(0),
            parallel: 1,
        }
    }

    fn holds(part: &Part, set: &[u8], key: &[u8]) -> bool {
        let meta = Meta { set, generation: 0, expiry: Expiry::NEVER, stamp: 0, user_key: None };
        part.holds(key, &meta)
    }

    #[test]
    fn what_the_scope_left_out_is_no_part() {
        let options = AerospikeOptions { sets: vec!["a".to_owned(), "b".to_owned()], ..AerospikeOptions::default() };
        let part = Part::of(&options, &[KeyRange::all()], &plan(&[("sets", "a"), ("partitions", "0-1")]));
        assert!(holds(&part, b"a", &[0, 1, 7]));
        assert!(!holds(&part, b"b", &[0, 1, 7]) && !holds(&part, b"a", &[0, 2, 7]) && !holds(&part, b"", &[0]));
        let part = Part::of(&options, &[KeyRange::all()], &plan(&[("sets", "c")]));
        assert!(!holds(&part, b"c", &[0]) && part.selection(&options).unwrap().ranges.is_empty());
        let part = Part::of(&AerospikeOptions::default(), &[KeyRange::all()], &plan(&[("no-records", "true")]));
        assert!(!holds(&part, b"a", &[0]));
    }

    #[test]
    fn what_no_record_tells_is_named() {
        assert_eq!(untold(&plan(&[("namespace", "n"), ("sets", "a"), ("no-udfs", "true")])), [] as [String; 0]);
        assert_eq!(untold(&plan(&[("modified-after", "1"), ("sets", "a")])), ["modified-after"]);
        assert_eq!(untold(&plan(&[])).len(), 1);
    }
}
