//! A run: the files of every namespace, and when all are whole what says so.

use super::{CONFIGURATION, Folders, options};
use crate::{
    connector::{
        Options, SessionOptions,
        aerospike::conf,
        asb::{metadata::Metadata, shelf::Kept},
    },
    ops::{
        OpsError, Progress,
        copy::{CopyOptions, CopyOutcome, copy},
    },
    record::Timestamp,
    report::ErrorKind,
    service::{
        Service,
        config::{Config, Policy, Routine},
        job::{Done, Work},
        sources::{Reading, cluster_url, readings},
    },
};
use serde_json::json;

/// Threads that read, where nothing is said.
const PARALLEL: u16 = 8;
/// Problems of a namespace that are told.
const TOLD: usize = 100;

fn wrong(words: impl Into<String>) -> OpsError {
    OpsError::refused(ErrorKind::InvalidInput, words)
}

/// What the cluster says before anything is read.
struct Survey {
    /// What time it is there.
    created: Timestamp,
    /// What time it is here.
    seen: Timestamp,
    /// By how much its nodes may differ about that.
    margin_millis: i64,
    /// Its namespaces.
    namespaces: Vec<String>,
    /// What its nodes run with, a text for each, if that is to be kept.
    configuration: Vec<String>,
}

fn survey(service: &Service, routine: &Routine, reading: &Reading) -> Result<Survey, OpsError> {
    let source = service.registry.source(&reading.url, &reading.options)?;
    let session = source.begin(&SessionOptions::default())?;
    let kept = session.attributes().get("configuration").map(conf::files).unwrap_or_default();
    let given = routine.namespaces.clone().unwrap_or_default();
    let there = session.collections().iter().map(|collection| collection.name.clone());
    Ok(Survey {
        created: session.start(),
        seen: service.now(),
        margin_millis: session.changes().map_or(0, |changes| changes.margin_millis().max(0)),
        configuration: kept.into_iter().map(|(_, text)| text).collect(),
        namespaces: if given.is_empty() { there.collect() } else { given },
    })
}

/// Since when an increment of a namespace reads; `None` if there is no full that it could stand on.
fn since(kept: &[Kept], namespace: &str, cumulative: bool) -> Option<i64> {
    let its = || kept.iter().filter(|kept| kept.metadata.namespace == namespace);
    let full = its().filter(|kept| !kept.is_increment).map(|kept| kept.metadata.created).max()?;
    let last = its().map(|kept| kept.metadata.created).max()?;
    Some(if cumulative { full } else { last })
}

/// One namespace that is written.
struct Part {
    key: String,
    metadata: Metadata,
    outcome: CopyOutcome,
}

impl Part {
    /// What is not in it, in words.
    fn missing(&self) -> Vec<String> {
        let outcomes = &self.outcome.outcomes;
        let failures = outcomes.failures.iter().map(|(key, why)| format!("{key}: {why}"));
        let told = outcomes.failures.len() as u64;
        let more = outcomes.failed.saturating_sub(told);
        let more = (more > 0).then(|| format!("{more} more records could not be written"));
        self.outcome.missing.iter().cloned().chain(failures).take(TOLD).chain(more).collect()
    }
}

/// A run of a routine whose storage holds files.
pub(in crate::service) struct Run<'r> {
    pub(in crate::service) service: &'r Service,
    pub(in crate::service) config: &'r Config,
    pub(in crate::service) name: &'r str,
    pub(in crate::service) routine: &'r Routine,
    pub(in crate::service) policy: &'r Policy,
    pub(in crate::service) work: &'r Work,
}

/// Backs up to files.
///
/// # Errors
/// What the cluster or the storage says; then nothing of the run is left.
pub(in crate::service) fn back_up(folders: &Folders, run: &Run<'_>, progress: &dyn Progress) -> Result<Done, OpsError> {
    let full = matches!(run.work, Work::Backup { full: true, .. });
    let readings = readings(run.config, run.routine, run.policy).map_err(wrong)?;
    let first = readings.first().ok_or_else(|| wrong("it reads nothing"))?;
    let kept = folders.kept(run.name)?;
    let survey = survey(run.service, run.routine, first)?;
    let cumulative = run.policy.incr_mode.as_deref() == Some("cumulative");
    let wanted: Vec<(&String, i64)> = survey
        .namespaces
        .iter()
        .filter_map(|name| if full { Some((name, 0)) } else { Some((name, since(&kept, name, cumulative)?)) })
        .collect();
    if wanted.is_empty() {
        let words = "there is no full backup that an incremental could stand on";
        return Ok(Done { skipped: Some(words.to_owned()), ..Done::default() });
    }
    let kind = if full { "backup" } else { "incremental" };
    let folder = format!("{}/{kind}/{}", run.name, survey.created.as_millis());
    if kept.iter().any(|kept| kept.run == folder) {
        return Err(OpsError::Failed(format!("{folder} is there already: the cluster's clock stands still")));
    }
    note(run.service.state.begin_folder(&folders.name, &folder));
    let written = write(folders, run, &survey, &folder, &wanted, &first.options, progress);
    let cleared = match &written {
        Ok(done) if done.result["backups"].as_array().is_some_and(|all| !all.is_empty()) => Ok(()),
        // Nothing changed, or not all of it came.
        _ => folders.shelf.remove(&folder),
    };
    match cleared {
        Ok(()) => note(run.service.state.end_folder(&folders.name, &folder)),
        Err(error) => tracing::error!(routine = run.name, "what a run left is removed at the next start: {error}"),
    }
    written
}

/// The state tells only what is to be removed: without it a backup is worth as much.
fn note(kept: Result<(), crate::service::StateError>) {
    if let Err(error) = kept {
        tracing::error!("{error}");
    }
}

fn write(
    folders: &Folders,
    run: &Run<'_>,
    survey: &Survey,
    folder: &str,
    wanted: &[(&String, i64)],
    reading: &Options,
    progress: &dyn Progress,
) -> Result<Done, OpsError> {
    let mut parts = Vec::new();
    for (namespace, since) in wanted {
        let part = part(folders, run, survey, folder, (namespace, *since), reading, progress)?;
        // An increment without records is none, unless something of it is missing.
        if *since != 0 && part.outcome.records == 0 && part.outcome.complete {
            folders.shelf.remove(&part.key)?;
            continue;
        }
        parts.push(part);
    }
    if progress.cancelled() {
        return Err(OpsError::Interrupted);
    }
    // By the cluster's clock, as its beginning is.
    let took = run.service.now().as_millis() - survey.seen.as_millis();
    let finished = survey.created.as_millis() + took.max(0);
    if wanted.iter().all(|(_, since)| *since == 0) {
        for (place, text) in survey.configuration.iter().enumerate() {
            let name = format!("{folder}/{CONFIGURATION}/{}", conf::file_name(place));
            folders.shelf.write(&name, text.as_bytes())?;
        }
    }
    let mut problems = Vec::new();
    for part in &mut parts {
        (part.metadata.files, part.metadata.bytes) = folders.shelf.measure(&part.key)?;
        part.metadata.finished = Some(finished);
        let missing = part.missing();
        folders.shelf.finish(&part.key, &part.metadata, &missing)?;
        problems.extend(missing.into_iter().take(20));
    }
    Ok(Done {
        complete: parts.iter().all(|part| part.outcome.complete),
        problems,
        records: parts.iter().map(|part| part.outcome.records).sum(),
        bytes: parts.iter().map(|part| part.outcome.bytes).sum(),
        result: json!({ "backups": parts.iter().map(|part| &part.key).collect::<Vec<_>>() }),
        ..Done::default()
    })
}

fn part(
    folders: &Folders,
    run: &Run<'_>,
    survey: &Survey,
    folder: &str,
    (namespace, since): (&str, i64),
    reading: &Options,
    progress: &dyn Progress,
) -> Result<Part, OpsError> {
    let (config, routine, policy) = (run.config, run.routine, run.policy);
    if namespace.contains(['/', '\\']) || namespace.starts_with('.') {
        return Err(wrong(format!("`{namespace}` makes no name of a folder")));
    }
    let mut from_options = reading.clone();
    // It was read already.
    from_options.set("with_cluster_configuration", false);
    let from = if since == 0 { 0 } else { (since - survey.margin_millis).max(1) };
    if from > 0 {
        from_options.set("modified_after", from);
        from_options.set("no_indexes", true);
        from_options.set("no_udfs", true);
    }
    if policy.sealed == Some(true) {
        from_options.set("modified_before", survey.created.as_millis());
    }
    let cluster = routine.source_cluster.as_ref().and_then(|name| config.clusters.get(name));
    let cluster = cluster.ok_or_else(|| wrong("files are written of clusters alone"))?;
    let source = run.service.registry.source(&cluster_url(cluster, Some(namespace)), &from_options)?;
    let key = format!("{folder}/data/{namespace}");
    folders.shelf.make(&key)?;
    let mut to_options = Options::default();
    folders.shelf.add_to(&mut to_options);
    options::write(policy, folders.shelf.is_far(), &mut to_options);
    options::encrypt(config, policy.encryption.as_ref(), routine.agent(), &mut to_options)?;
    let target = run.service.registry.target(&folders.shelf.url(&[&key]), &to_options)?;
    let how = CopyOptions {
        parallel: usize::from(policy.parallel.unwrap_or(PARALLEL)),
        overwrite: crate::connector::Overwrite::Never,
        bandwidth: policy.bandwidth.filter(|mib| *mib > 0).map(|mib| mib.saturating_mul(1 << 20)),
        ..CopyOptions::default()
    };
    let outcome = copy(source.as_ref(), target.as_ref(), &how, progress)?;
    let made = |kind: &str| outcome.made.get(kind).copied().unwrap_or(0);
    let metadata = Metadata {
        created: survey.created.as_millis(),
        from,
        namespace: namespace.to_owned(),
        records: Some(outcome.outcomes.inserted),
        indexes: made("indexes"),
        modules: made("modules"),
        compression: options::compression(policy),
        encryption: options::encryption(policy),
        ..Metadata::default()
    };
    Ok(Part { key, metadata, outcome })
}

/// Removes what runs left that did not come to their end.
pub(in crate::service) fn clear(service: &Service, config: &Config, begun: &[(String, String)]) {
    for (name, folder) in begun {
        let Some(storage) = config.storage.get(name).filter(|storage| storage.is_of_files()) else { continue };
        match Folders::open(config, name, storage).and_then(|folders| Ok(unfinished(&folders, folder)?)) {
            Ok(()) => note(service.state.end_folder(name, folder)),
            Err(error) => tracing::error!(storage = name, "what a run left in {folder} was not removed: {error}"),
        }
    }
}

/// Removes the namespaces of a run that are not said to be whole: it may have ended while it said so.
fn unfinished(folders: &Folders, folder: &str) -> Result<(), crate::connector::ConnectorError> {
    let routine = folder.split('/').next().unwrap_or_default();
    let whole = folders.shelf.kept(routine)?.into_iter().filter(|kept| kept.run == folder).count();
    if whole == 0 {
        return folders.shelf.remove(folder);
    }
    folders.shelf.remove_unfinished(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_increment_stands_on_the_last_backup_or_the_last_full() {
        let kept = |is_increment, created, namespace: &str| Kept {
            key: String::new(),
            run: String::new(),
            is_increment,
            metadata: Metadata { created, namespace: namespace.to_owned(), ..Metadata::default() },
            complete: true,
        };
        let all = [kept(false, 10, "a"), kept(true, 20, "a"), kept(true, 30, "b")];
        assert_eq!([since(&all, "a", false), since(&all, "a", true)], [Some(20), Some(10)]);
        assert_eq!(since(&all, "b", false), None, "without a full there is nothing to stand on");
    }
}
