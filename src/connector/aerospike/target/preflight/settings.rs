//! How a node is set for a namespace, against what comes.

use super::Findings;
use crate::{
    connector::{
        CollectionSurvey, TargetCollection,
        aerospike::{
            cluster::{Cluster, Node},
            error::Error,
            info::value_of,
        },
    },
    report::Remedy,
};
use std::sync::Arc;

/// What a node says of a namespace.
#[derive(Debug)]
pub(super) struct NodeSettings {
    pub(super) id: String,
    pub(super) text: String,
}

impl NodeSettings {
    /// Asks every node.
    pub(super) fn read(cluster: &Cluster, namespace: &str) -> Result<Vec<Self>, Error> {
        let command = format!("namespace/{namespace}");
        let ask = |node: &Arc<Node>| {
            let answers = cluster.info(node, &[&command])?;
            Ok(Self { id: node.id.clone(), text: answers.text(&command).unwrap_or_default().to_owned() })
        };
        cluster.nodes().iter().map(ask).collect()
    }

    /// The number that the first of these keys has.
    pub(super) fn number(&self, keys: &[&str]) -> Option<u64> {
        keys.iter().find_map(|key| value_of(&self.text, ';', key)?.parse().ok())
    }

    /// The text that the first of these keys has.
    pub(super) fn word(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().find_map(|key| value_of(&self.text, ';', key))
    }

    fn is(&self, key: &str) -> bool {
        self.word(&[key]) == Some("true")
    }
}

/// Whether a node takes such records.
pub(super) fn check(
    node: &NodeSettings,
    collection: &TargetCollection,
    survey: &CollectionSurvey,
    may_be_left_out: bool,
    findings: &mut Findings,
) {
    let (name, id) = (&collection.name, &node.id);
    if node.is("stop_writes") {
        findings.refuse(format!(
            "node {id} takes no writes to namespace `{name}`: it is out of memory or storage (stop_writes=true)"
        ));
    }
    if node.is("clock_skew_stop_writes") {
        findings.refuse(format!(
            "node {id} takes no writes to namespace `{name}`: the nodes' clocks are too far apart \
             (clock_skew_stop_writes=true)"
        ));
    }
    let most = ["max-record-size", "storage-engine.write-block-size", "write-block-size"];
    let most = most.iter().filter_map(|key| node.number(&[key])).filter(|most| *most > 0).min();
    if let Some(most) = most.filter(|most| survey.largest_value_bytes > *most) {
        findings.refuse_or_note(
            may_be_left_out,
            &[Remedy::IgnoreRecordErrors],
            format!(
                "a record has {} bytes, and namespace `{name}` of node {id} takes {most} (max-record-size)",
                survey.largest_value_bytes
            ),
        );
    }
    if node.is("strong-consistency") {
        findings.note(format!("namespace `{name}` is strongly consistent: restoring into such a one is not tested"));
    }
    check_expiry(node, collection, survey, findings);
}

fn check_expiry(
    node: &NodeSettings,
    collection: &TargetCollection,
    survey: &CollectionSurvey,
    findings: &mut Findings,
) {
    let (name, id) = (&collection.name, &node.id);
    if survey.expiring > 0 && node.number(&["nsup-period"]) == Some(0) {
        if node.is("allow-ttl-without-nsup") {
            findings.note(format!(
                "{} records expire, and nothing removes them from namespace `{name}` of node {id} then (nsup-period 0)",
                survey.expiring
            ));
        } else {
            findings.refuse(format!(
                "{} records expire, and namespace `{name}` of node {id} takes none that do (nsup-period 0): \
                 `set-config:context=namespace;id={name};nsup-period=120` or allow-ttl-without-nsup=true there",
                survey.expiring
            ));
        }
    }
    let facts = collection.attributes.get("facts");
    let before = facts.and_then(|facts| facts.get("default_ttl")).and_then(serde_json::Value::as_str);
    if let (Some(before), Some(now)) = (before, node.word(&["default-ttl"]))
        && before != now
    {
        findings.note(format!(
            "namespace `{name}` has default-ttl {now}, where the snapshot's had {before}: what is restored keeps its own \
             expiry, what is written there later will not live as long as it did"
        ));
    }
}
