//! Restores from files: of one backup as they are, or of a chain sorted, so that each record is written once.

use super::{Folders, options};
use crate::{
    connector::{Options, Overwrite, Registry, asb::shelf::Kept},
    ops::{
        OpsError, Progress,
        copy::{CopyOptions, CopyOutcome, copy},
    },
    record::Timestamp,
    service::{
        config::{Config, Encryption, SecretAgent},
        job::Done,
    },
};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// The files of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct Chain {
    pub(in crate::service) namespace: String,
    /// The folders, oldest first.
    folders: Vec<String>,
}

/// The namespaces of one backup: of the folder of a namespace, or of that of a run.
pub(in crate::service) fn one(kept: &[Kept], path: &str, full: bool) -> Vec<Chain> {
    let path = path.trim_matches('/');
    let is_meant = |kept: &&Kept| kept.is_increment != full && (kept.key == path || kept.run == path);
    let chain = |kept: &Kept| Chain { namespace: kept.metadata.namespace.clone(), folders: vec![kept.key.clone()] };
    kept.iter().filter(is_meant).map(chain).collect()
}

/// Of each namespace the newest full that began at or before a time, and the increments from there to the time.
pub(in crate::service) fn chain(kept: &[Kept], time: Timestamp, namespace: Option<&str>) -> Vec<Chain> {
    let mut chains: BTreeMap<&str, Vec<&Kept>> = BTreeMap::new();
    let is_meant = |kept: &&Kept| {
        let name = kept.metadata.namespace.as_str();
        kept.metadata.created <= time.as_millis() && namespace.is_none_or(|wanted| wanted == name)
    };
    for one in kept.iter().filter(is_meant) {
        let own = chains.entry(&one.metadata.namespace).or_default();
        if !one.is_increment {
            *own = vec![one];
        } else if !own.is_empty() {
            own.push(one);
        }
    }
    let chains = chains.into_iter().filter(|(_, own)| !own.is_empty());
    let keys = |own: Vec<&Kept>| own.into_iter().map(|kept| kept.key.clone()).collect();
    chains.map(|(name, own)| Chain { namespace: name.to_owned(), folders: keys(own) }).collect()
}

/// What a restore from files is to do.
pub(in crate::service) struct FilesPlan {
    pub(in crate::service) folders: Folders,
    pub(in crate::service) chains: Vec<Chain>,
    /// From which namespace to which.
    pub(in crate::service) renames: Vec<(String, String)>,
    pub(in crate::service) overwrite: Overwrite,
    pub(in crate::service) parallel: usize,
    pub(in crate::service) bandwidth: Option<u64>,
    /// What of the files is wanted, and their key.
    source: Options,
}

impl FilesPlan {
    /// Of these files.
    pub(in crate::service) fn new(folders: Folders, chains: Vec<Chain>) -> Self {
        Self {
            folders,
            chains,
            renames: Vec::new(),
            overwrite: Overwrite::Never,
            parallel: 1,
            bandwidth: None,
            source: Options::default(),
        }
    }

    /// Says how the files are encrypted, and which parts of them are wanted.
    ///
    /// # Errors
    /// [`OpsError`] if the key cannot be got.
    pub(in crate::service) fn read_with(
        &mut self,
        config: &Config,
        encryption: Option<&Encryption>,
        agent: (Option<&SecretAgent>, Option<&str>),
        part: &Json,
    ) -> Result<(), OpsError> {
        options::encrypt(config, encryption, agent, &mut self.source)?;
        self.folders.shelf.add_to(&mut self.source);
        self.source.add(part)?;
        Ok(())
    }
}

/// Restores.
pub(in crate::service) fn carry_out(
    registry: &Registry,
    plan: &FilesPlan,
    (target, target_options): (&str, &Options),
    progress: &dyn Progress,
) -> Result<Done, OpsError> {
    let mut outcomes = Vec::new();
    for chain in &plan.chains {
        if progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        let folders: Vec<&str> = chain.folders.iter().map(String::as_str).collect();
        let source = registry.source(&plan.folders.shelf.url(&folders), &plan.source)?;
        let target = registry.target(target, target_options)?;
        let how = CopyOptions {
            parallel: plan.parallel,
            overwrite: plan.overwrite,
            renames: plan.renames.clone(),
            only: Some(chain.namespace.clone()).filter(|name| !name.is_empty()),
            bandwidth: plan.bandwidth,
            in_order: folders.len() > 1,
            ..CopyOptions::default()
        };
        outcomes.push(copy(source.as_ref(), target.as_ref(), &how, progress)?);
    }
    Ok(Done {
        complete: outcomes.iter().all(|outcome| outcome.complete),
        problems: outcomes.iter().flat_map(problems).collect(),
        records: outcomes.iter().map(|outcome| outcome.records).sum(),
        bytes: outcomes.iter().map(|outcome| outcome.bytes).sum(),
        result: json!({ "restores": outcomes.iter().map(shown).collect::<Vec<_>>() }),
        ..Done::default()
    })
}

fn problems(outcome: &CopyOutcome) -> Vec<String> {
    let failures = outcome.outcomes.failures.iter().map(|(key, why)| format!("{key}: {why}"));
    failures.chain(outcome.missing.iter().cloned()).take(20).collect()
}

/// As restores from repositories are shown.
fn shown(outcome: &CopyOutcome) -> Json {
    let mut json = json!(outcome.outcomes);
    json["records"] = json!(outcome.records);
    json["bytes"] = json!(outcome.bytes);
    json["made"] = json!(outcome.made);
    json["notes"] = json!(outcome.notes);
    json["missing"] = json!(outcome.missing);
    json["complete"] = json!(outcome.complete);
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::asb::metadata::Metadata;

    fn kept() -> Vec<Kept> {
        let one = |(is_increment, created, name): (bool, i64, &str)| {
            let run = format!("r/{}/{created}", if is_increment { "incremental" } else { "backup" });
            let metadata = Metadata { created, namespace: name.to_owned(), ..Metadata::default() };
            Kept { key: format!("{run}/data/{name}"), run, is_increment, metadata, complete: true }
        };
        let all = [
            (true, 5, "a"),
            (false, 10, "a"),
            (false, 10, "b"),
            (true, 20, "a"),
            (false, 30, "a"),
            (true, 40, "a"),
            (true, 40, "b"),
        ];
        all.into_iter().map(one).collect()
    }

    fn shown(chains: &[Chain]) -> Vec<String> {
        chains.iter().map(|chain| format!("{}: {}", chain.namespace, chain.folders.join(" "))).collect()
    }

    #[test]
    fn a_chain_begins_with_the_newest_full_and_ends_at_the_time() {
        let at = |millis, name| shown(&chain(&kept(), Timestamp::from_millis(millis), name));
        assert_eq!(at(9, None), Vec::<String>::new(), "an increment alone is no state");
        assert_eq!(at(10, None), ["a: r/backup/10/data/a", "b: r/backup/10/data/b"]);
        assert_eq!(at(29, Some("a")), ["a: r/backup/10/data/a r/incremental/20/data/a"]);
        assert_eq!(at(30, Some("a")), ["a: r/backup/30/data/a"]);
        assert_eq!(at(99, Some("b")), ["b: r/backup/10/data/b r/incremental/40/data/b"]);
    }

    #[test]
    fn a_path_is_a_namespace_or_a_run_of_its_kind() {
        let of = |path, full| shown(&one(&kept(), path, full));
        assert_eq!(of("/r/backup/10/data/b/", true), ["b: r/backup/10/data/b"]);
        assert_eq!(of("r/backup/10", true).len(), 2);
        assert!(of("r/backup/10", false).is_empty() && of("r/backup/1", true).is_empty() && of("r", true).is_empty());
    }
}
