//! What is looked at before the first write, so that nothing is written that cannot be finished.

use super::{AerospikeTarget, ask_clocks, clocks::NodeClocks};
use crate::{
    connector::{
        ConnectorError, Survey, TargetPlan,
        aerospike::{
            cluster::Cluster,
            error::Error,
            info::{failure, value_of},
        },
    },
    record::Expiry,
};

/// The longest time to live that a server takes.
const MAX_TTL_MILLIS: u64 = 315_360_000_000;

/// Whether every node knows the namespace and takes writes.
pub(super) fn namespace(target: &AerospikeTarget, name: &str) -> Result<(), ConnectorError> {
    for (node, settings) in settings(&target.cluster, name).map_err(|error| target.unreadable(error))? {
        if let Some(answer) = failure(&settings) {
            let known = namespaces(target);
            return Err(ConnectorError::Missing {
                object: format!("namespace `{name}` of node {node} of {} ({answer}; it has {known})", target.object),
            });
        }
        if value_of(&settings, ';', "stop_writes") == Some("true") {
            return Err(target.mismatch(format!(
                "node {node} takes no writes to namespace `{name}`: it is out of memory or storage (stop_writes=true)"
            )));
        }
        if value_of(&settings, ';', "clock_skew_stop_writes") == Some("true") {
            return Err(target.mismatch(format!(
                "node {node} takes no writes to namespace `{name}`: the nodes' clocks are too far apart"
            )));
        }
    }
    Ok(())
}

fn namespaces(target: &AerospikeTarget) -> String {
    let Some(node) = target.cluster.nodes().into_iter().next() else { return String::new() };
    let answers = target.cluster.info(&node, &["namespaces"]).unwrap_or_default();
    answers.text("namespaces").unwrap_or_default().replace(';', ", ")
}

/// What each node says of a namespace.
fn settings(cluster: &Cluster, name: &str) -> Result<Vec<(String, String)>, Error> {
    let command = format!("namespace/{name}");
    let ask = |node: &std::sync::Arc<super::super::cluster::Node>| {
        let answers = cluster.info(node, &[&command])?;
        Ok((node.id.clone(), answers.text(&command).unwrap_or_default().to_owned()))
    };
    cluster.nodes().iter().map(ask).collect()
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

/// Whether the records that come are such as the namespaces take; gives what a person should know.
pub(super) fn records(
    target: &AerospikeTarget,
    plan: &TargetPlan,
    survey: &Survey,
) -> Result<Vec<String>, ConnectorError> {
    let mut notes = Vec::new();
    // The namespace of a URL narrows to a whole collection; modules and indexes are no records.
    let whole = ["namespace ", "no indexes", "no udfs"];
    let filtered =
        survey.scope_note.split("; ").any(|part| !part.is_empty() && !whole.iter().any(|one| part.starts_with(one)));
    if plan.make_equal && filtered && !survey.forced {
        return Err(target.mismatch(format!(
            "the snapshot holds only a part ({}): --make-equal would remove the rest; --force does it anyway",
            survey.scope_note
        )));
    }
    if !target.how.set_map.is_empty() && survey.without_user_key > 0 && !target.how.skip_unmappable {
        return Err(target.mismatch(format!(
            "{} records have no stored user key, so --set-map cannot give them a digest; --skip-unmappable leaves out \
             those it concerns",
            survey.without_user_key
        )));
    }
    for collection in &plan.collections {
        let fail = |error| target.unreadable(error);
        for (node, settings) in settings(&target.cluster, &collection.name).map_err(fail)? {
            let number = |key: &str| value_of(&settings, ';', key).and_then(|text| text.parse::<u64>().ok());
            let allows = value_of(&settings, ';', "allow-ttl-without-nsup") == Some("true");
            if survey.expiring > 0 && number("nsup-period") == Some(0) && !allows {
                return Err(target.mismatch(format!(
                    "{} records expire, and namespace `{}` of node {node} takes none that do (nsup-period 0): \
                     `set-config:context=namespace;id={};nsup-period=120` or allow-ttl-without-nsup=true there",
                    survey.expiring, collection.name, collection.name
                )));
            }
            let most = number("max-record-size").filter(|most| *most > 0);
            if most.is_some_and(|most| survey.largest_value_bytes > most) && !target.how.ignore_record_error {
                return Err(target.mismatch(format!(
                    "a record has {} bytes, and namespace `{}` of node {node} takes {} (max-record-size); \
                     --ignore-record-error restores the others",
                    survey.largest_value_bytes,
                    collection.name,
                    most.unwrap_or(0)
                )));
            }
            if value_of(&settings, ';', "strong-consistency") == Some("true") {
                notes.push(format!(
                    "namespace `{}` is strongly consistent: restoring into such a one is not tested",
                    collection.name
                ));
            }
        }
    }
    check_latest(target, plan, survey)?;
    notes.dedup();
    Ok(notes)
}

/// Whether a record would live longer than a server lets it.
fn check_latest(target: &AerospikeTarget, plan: &TargetPlan, survey: &Survey) -> Result<(), ConnectorError> {
    if survey.latest_expiry == Expiry::NEVER {
        return Ok(());
    }
    let names: Vec<String> = plan.collections.iter().map(|collection| collection.name.clone()).collect();
    let now = ask_clocks(&target.cluster, &names, &NodeClocks::new()).map_err(|error| target.unreadable(error))?;
    let last = survey.latest_expiry.as_millis().saturating_add(target.how.extra_ttl.as_millis() as u64);
    let left = last.saturating_sub(now.as_millis().max(0) as u64);
    if left > MAX_TTL_MILLIS && !target.how.ignore_record_error {
        return Err(target.mismatch(format!(
            "a record would expire {} days from now by the server's clock ({now}), which takes ten years at most; a smaller \
             --extra-ttl, or --ignore-record-error for all but those records",
            left / 86_400_000
        )));
    }
    Ok(())
}
