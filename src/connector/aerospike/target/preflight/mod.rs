//! What is looked at before the first write, so that nothing is written that cannot be finished. All that is found is said
//! at once: what stands in the way, and what a person should know.

mod limits;
mod settings;
mod space;

use super::{AerospikeTarget, IndexOrder, ask_clocks, clocks::NodeClocks, indexes, modules, part::untold};
use crate::{
    connector::{
        CollectionSurvey, ConnectorError, Overwrite, Survey, TargetCollection, TargetPlan,
        aerospike::{
            cluster::Cluster,
            error::Error,
            info::{failure, value_of},
        },
    },
    record::Expiry,
    report::Remedy,
};
use settings::NodeSettings;

/// The longest time to live that a server takes.
const MAX_TTL_MILLIS: u64 = 315_360_000_000;

/// What was found.
#[derive(Debug, Default)]
struct Findings {
    /// What stands in the way.
    refused: Vec<String>,
    /// What a person should know.
    notes: Vec<String>,
    /// What would let it pass.
    remedies: Vec<Remedy>,
}

impl Findings {
    fn refuse(&mut self, text: String) {
        if !self.refused.contains(&text) {
            self.refused.push(text);
        }
    }

    fn note(&mut self, text: String) {
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// What concerns single records: refused, unless those may be left out.
    fn refuse_or_note(&mut self, may_be_left_out: bool, remedies: &[Remedy], text: String) {
        if may_be_left_out {
            self.note(text);
        } else {
            self.remedies.extend(remedies);
            self.refuse(text);
        }
    }

    fn refuse_unless(&mut self, remedy: Remedy, text: String) {
        self.refuse_or_note(false, &[remedy], text);
    }

    /// All of it in one text.
    fn in_words(&self) -> String {
        match (self.refused.as_slice(), self.notes.as_slice()) {
            ([one], []) => one.clone(),
            (refused, notes) => {
                let lines = refused.iter().map(|text| format!("\n  - {text}"));
                let also = notes.iter().map(|text| format!("\n  - also: {text}"));
                format!("{} things stand in the way:{}", refused.len(), lines.chain(also).collect::<String>())
            }
        }
    }
}

/// Whether every node knows the namespace.
pub(super) fn namespace(target: &AerospikeTarget, name: &str) -> Result<(), ConnectorError> {
    for node in NodeSettings::read(&target.cluster, name).map_err(|error| target.unreadable(error))? {
        if let Some(answer) = failure(&node.text) {
            let known = namespaces(target);
            return Err(ConnectorError::Missing {
                object: format!(
                    "namespace `{name}` of node {} of {} ({answer}; it has {known})",
                    node.id, target.object
                ),
            });
        }
    }
    Ok(())
}

fn namespaces(target: &AerospikeTarget) -> String {
    let Some(node) = target.cluster.nodes().into_iter().next() else { return String::new() };
    let answers = target.cluster.info(&node, &["namespaces"]).unwrap_or_default();
    answers.text("namespaces").unwrap_or_default().replace(';', ", ")
}

/// Records of these sets.
pub(super) fn set_objects(cluster: &Cluster, namespace: &str, sets: &[String], copies: u32) -> Result<u64, Error> {
    let command = format!("sets/{namespace}");
    let mut objects = 0;
    for node in cluster.nodes() {
        let answers = cluster.info(&node, &[&command])?;
        for line in answers.text(&command).unwrap_or_default().split(';') {
            if value_of(line, ':', "set").is_some_and(|set| sets.iter().any(|wanted| wanted == set)) {
                objects += value_of(line, ':', "objects").and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
            }
        }
    }
    Ok(objects.div_ceil(u64::from(copies.max(1))))
}

/// Whether the namespaces take what comes; gives what a person should know.
pub(super) fn look(
    target: &AerospikeTarget,
    plan: &TargetPlan,
    survey: &Survey,
) -> Result<Vec<String>, ConnectorError> {
    let mut findings = Findings::default();
    check_part(plan, survey, &mut findings);
    check_modules(target, plan, &mut findings).map_err(|error| target.unreadable(error))?;
    settings::check_removals(target, plan, &mut findings).map_err(|error| target.unreadable(error))?;
    for (number, collection) in plan.collections.iter().enumerate() {
        let of = survey.collections.get(number).cloned().unwrap_or_default();
        check_keys(target, &of, &mut findings);
        look_at(target, collection, &of, survey.forced, &mut findings).map_err(|error| target.unreadable(error))?;
        check_latest(target, plan, &of, &mut findings).map_err(|error| target.unreadable(error))?;
        if target.how.indexes != IndexOrder::Never && !target.how.replace_indexes {
            let conflicts =
                indexes::conflicts(&target.cluster, collection).map_err(|error| target.unreadable(error))?;
            for conflict in conflicts {
                findings.refuse_unless(Remedy::ReplaceIndexes, conflict);
            }
        }
    }
    if findings.refused.is_empty() {
        Ok(findings.notes)
    } else {
        Err(target.mismatch(findings.in_words()).with(findings.remedies))
    }
}

/// What one namespace is like.
fn look_at(
    target: &AerospikeTarget,
    collection: &TargetCollection,
    survey: &CollectionSurvey,
    forced: bool,
    findings: &mut Findings,
) -> Result<(), Error> {
    let nodes = NodeSettings::read(&target.cluster, &collection.name)?;
    for node in &nodes {
        settings::check(node, collection, survey, target.how.ignore_record_error, findings);
    }
    space::check(&target.cluster, &nodes, &collection.name, survey, forced, findings)?;
    limits::check(target, &collection.name, survey, findings)?;
    check_masks(&target.cluster, &collection.name, findings)?;
    check_shipping(&target.cluster, &collection.name, findings)
}

/// Making equal never touches what the snapshot's scope left out; where nobody can tell what that is, nothing can be made equal.
fn check_part(plan: &TargetPlan, survey: &Survey, findings: &mut Findings) {
    let untold = untold(plan);
    if !untold.is_empty() {
        findings.refuse(format!(
            "the snapshot holds only a part ({}), and no record tells whether it was left out ({}): making equal could remove what was",
            survey.scope_note,
            untold.join(", ")
        ));
    }
}

/// Modules belong to the whole cluster: what a part of it brings must not replace what the others run.
fn check_modules(target: &AerospikeTarget, plan: &TargetPlan, findings: &mut Findings) -> Result<(), Error> {
    let modules = plan.attributes.get("udfs").and_then(serde_json::Value::as_array);
    let Some(modules) = modules.filter(|_| !target.options.no_udfs) else { return Ok(()) };
    if target.how.replace_modules || plan.overwrite == Overwrite::Never {
        return Ok(());
    }
    for conflict in modules::conflicts(&target.cluster, modules)? {
        findings.refuse_unless(Remedy::ReplaceModules, conflict);
    }
    Ok(())
}

/// Records that get another digest need a stored key.
fn check_keys(target: &AerospikeTarget, survey: &CollectionSurvey, findings: &mut Findings) {
    let mapped = |set: &[u8]| target.how.set_map.iter().any(|(old, _)| old.as_bytes() == set);
    let without: u64 =
        survey.sets.iter().filter(|(set, _)| mapped(set)).map(|(_, of)| of.records_without_user_key).sum();
    if without > 0 && !target.how.skip_unmappable {
        let reason =
            format!("{without} records have no stored user key, so renaming their set cannot give them a digest");
        findings.refuse_unless(Remedy::SkipUnmappable, reason);
    }
}

/// Whether a record would live longer than a server lets it.
fn check_latest(
    target: &AerospikeTarget,
    plan: &TargetPlan,
    survey: &CollectionSurvey,
    findings: &mut Findings,
) -> Result<(), Error> {
    if survey.latest_expiry == Expiry::NEVER {
        return Ok(());
    }
    let names: Vec<String> = plan.collections.iter().map(|collection| collection.name.clone()).collect();
    let now = ask_clocks(&target.cluster, &names, &NodeClocks::new())?;
    let last = survey.latest_expiry.as_millis().saturating_add(target.how.extra_ttl.as_millis() as u64);
    let left = last.saturating_sub(now.as_millis().max(0) as u64);
    if left > MAX_TTL_MILLIS {
        findings.refuse_or_note(
            target.how.ignore_record_error,
            &[Remedy::SmallerExtraTtl, Remedy::IgnoreRecordErrors],
            format!(
                "a record would expire {} days from now by the server's clock ({now}), which takes ten years at most",
                left / 86_400_000
            ),
        );
    }
    Ok(())
}

/// Bins that are masked are not everybody's to write. Nodes do not tell whether they are ours.
fn check_masks(cluster: &Cluster, namespace: &str, findings: &mut Findings) -> Result<(), Error> {
    let command = format!("masking-show:namespace={namespace}");
    for node in cluster.nodes() {
        let answers = cluster.info(&node, &[&command])?;
        // Servers before 8.1.1 and without security do not know it.
        let text = answers.text(&command).filter(|text| failure(text).is_none()).unwrap_or_default();
        let rules = text.split(';').filter(|rule| rule.contains("bin=")).count();
        if rules > 0 {
            findings.note(format!(
                "namespace `{namespace}` masks bins ({rules} rules): a user who lacks write-masked ends the restore with \
                 result 81 at the first of them, one who lacks read-masked compares masks instead of values"
            ));
        }
    }
    Ok(())
}

/// What is restored goes wherever the namespace is shipped to.
fn check_shipping(cluster: &Cluster, namespace: &str, findings: &mut Findings) -> Result<(), Error> {
    const ALL: &str = "get-config:context=xdr";
    for node in cluster.nodes() {
        let answers = cluster.info(&node, &[ALL])?;
        let Some(text) = answers.text(ALL).filter(|text| failure(text).is_none()) else { continue };
        let centers = value_of(text, ';', "dcs").unwrap_or_default();
        for center in centers.split(',').filter(|name| !name.is_empty()) {
            let one = format!("{ALL};dc={center}");
            let answers = cluster.info(&node, &[&one])?;
            let of = answers.text(&one).unwrap_or_default();
            let ships = value_of(of, ';', "namespaces").is_none_or(|all| all.split(',').any(|name| name == namespace));
            if ships {
                findings.note(format!(
                    "namespace `{namespace}` is shipped to `{center}` (XDR): what is restored, and what making \
                     equal removes, goes there too"
                ));
            }
        }
    }
    Ok(())
}
