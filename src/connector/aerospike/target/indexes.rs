//! Secondary indexes: compared with what is there, made anew exactly, awaited.

use super::is_plain;
use crate::connector::{
    TargetCollection,
    aerospike::{
        builds,
        cluster::Cluster,
        error::Error,
        facts,
        info::failure,
        official::{IndexSpec, Official},
        sindexes,
    },
};
use serde_json::Value as Json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// The first build that takes `namespace=`, `bin=` and `type=`.
const NEW_SPELLING: builds::Build = [8, 1, 0];

/// The longest pause between two questions whether an index is built.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// What an index is, as far as servers tell.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Definition {
    name: String,
    set: Option<String>,
    bin: Option<String>,
    kind: Option<String>,
    index_type: String,
    context: Option<String>,
    expression: Option<String>,
}

impl Definition {
    fn parse(index: &Json) -> Option<Self> {
        if sindexes::unknown_kind(index).is_some_and(|_| index.get("raw").is_some()) {
            return None;
        }
        let values = || index.as_object().into_iter().flatten().filter(|(key, _)| *key != "raw");
        if !values().all(|(_, value)| value.as_str().is_some_and(is_plain)) {
            return None;
        }
        let text = |key: &str| index.get(key).and_then(Json::as_str).map(str::to_owned);
        let kind = text("type").map(|kind| match kind.to_ascii_lowercase().as_str() {
            "geojson" => "geo2dsphere".to_owned(),
            // The newer name, from 8.2 on, of what every server takes as the older one.
            "integer" => "numeric".to_owned(),
            other => other.to_owned(),
        });
        let index_type = text("index_type").map_or_else(|| "default".to_owned(), |kind| kind.to_ascii_lowercase());
        Some(Self {
            name: text("name")?,
            set: text("set"),
            bin: text("bin"),
            kind,
            index_type: if index_type == "none" { "default".to_owned() } else { index_type },
            context: text("context"),
            expression: text("expression"),
        })
    }

    /// The same for the official client.
    fn spec<'a>(&'a self, namespace: &'a str) -> IndexSpec<'a> {
        IndexSpec {
            namespace,
            set: self.set.as_deref().unwrap_or_default(),
            name: &self.name,
            bin: self.bin.as_deref(),
            kind: self.kind.as_deref(),
            index_type: &self.index_type,
            context: self.context.as_deref(),
            expression: self.expression.as_deref(),
        }
    }

    /// The command that makes it.
    fn command(&self, namespace: &str, new_spelling: bool) -> String {
        let mut command = format!("sindex-create:{}={namespace}", if new_spelling { "namespace" } else { "ns" });
        let mut add = |key: &str, value: &str| {
            command.push(';');
            command.push_str(key);
            command.push('=');
            command.push_str(value);
        };
        if let Some(set) = &self.set {
            add("set", set);
        }
        add("indexname", &self.name);
        if let Some(context) = &self.context {
            add("context", context);
        }
        if let Some(expression) = &self.expression {
            add("exp", expression);
        }
        if self.index_type != "default" {
            add("indextype", &self.index_type);
        }
        let kind = self.kind.as_ref().map(|kind| kind.to_ascii_uppercase());
        match (&self.bin, &kind) {
            (Some(bin), Some(kind)) if !new_spelling => add("indexdata", &format!("{bin},{kind}")),
            (bin, kind) => {
                if let Some(bin) = bin {
                    add("bin", bin);
                }
                if let Some(kind) = kind {
                    add("type", kind);
                }
            }
        }
        command
    }
}

fn wanted(collection: &TargetCollection) -> Vec<Definition> {
    let all = collection.attributes.get("sindexes").and_then(Json::as_array);
    all.into_iter().flatten().filter_map(Definition::parse).collect()
}

/// Indexes of the snapshot that nobody can make again, in words.
fn unparsed(collection: &TargetCollection) -> Vec<String> {
    let all = collection.attributes.get("sindexes").and_then(Json::as_array);
    let say = |index: &Json| {
        let text = |key: &str| index.get(key).and_then(Json::as_str);
        // That of a backup file names namespace, set, index.
        let line = text("raw").map(str::trim_end).filter(|raw| raw.starts_with("* "));
        let name = text("name").or_else(|| line?.split(' ').nth(4)).unwrap_or("without a readable name");
        let why = match line {
            Some(line) => format!("line `{line}` of a backup file"),
            None => sindexes::unknown_kind(index).unwrap_or_else(|| "no server takes such a definition".to_owned()),
        };
        format!(
            "index `{name}` of namespace `{}`: it is not made again, being of no known kind ({why})",
            collection.name
        )
    };
    all.into_iter().flatten().filter(|index| Definition::parse(index).is_none()).map(say).collect()
}

fn there(cluster: &Cluster, namespace: &str) -> Result<Vec<Definition>, Error> {
    let Some(node) = cluster.nodes().into_iter().next() else { return Err(Error::NoNode("the target".to_owned())) };
    Ok(sindexes::indexes(cluster, &node, namespace)?.iter().filter_map(Definition::parse).collect())
}

/// Whether all nodes take the new spelling.
fn new_spelling(cluster: &Cluster) -> bool {
    // A build that tells nothing of itself is taken for an old one: it is asked in words that all know.
    cluster.nodes().iter().all(|node| builds::parse(&node.build).is_some_and(|build| build >= NEW_SPELLING))
}

/// Indexes of the snapshot in whose place another one of the same name stands.
pub(super) fn conflicts(cluster: &Cluster, collection: &TargetCollection) -> Result<Vec<String>, Error> {
    let wanted = wanted(collection);
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let there = there(cluster, &collection.name)?;
    let differs = |one: &&Definition| there.iter().any(|other| other.name == one.name && other != *one);
    let say =
        |one: &Definition| format!("index `{}` of namespace `{}` is another one there", one.name, collection.name);
    Ok(wanted.iter().filter(differs).map(say).collect())
}

/// What was done.
#[derive(Debug, Default)]
pub(super) struct IndexesDone {
    pub(super) made: Vec<String>,
    /// How many stood there as they are wanted.
    pub(super) standing: u64,
    pub(super) notes: Vec<String>,
    pub(super) missing: Vec<String>,
}

/// Makes the indexes of a snapshot that are not there: by the official client, where there is one and it has the words.
pub(super) fn restore(
    cluster: &Cluster,
    collection: &TargetCollection,
    replace: bool,
    official: &mut dyn FnMut() -> Option<Arc<Official>>,
) -> Result<IndexesDone, Error> {
    let mut done = IndexesDone::default();
    let namespace = &collection.name;
    done.missing.extend(unparsed(collection));
    let wanted = wanted(collection);
    let Some(node) = cluster.nodes().into_iter().next() else { return Err(Error::NoNode("the target".to_owned())) };
    if wanted.is_empty() {
        return Ok(done);
    }
    let new_spelling = new_spelling(cluster);
    let there = there(cluster, namespace)?;
    for index in &wanted {
        match there.iter().find(|other| other.name == index.name) {
            Some(same) if same == index => {
                done.standing += 1;
                continue;
            }
            Some(_) if !replace => {
                done.missing
                    .push(format!("index `{}` of namespace `{namespace}`: another one of this name", index.name));
                continue;
            }
            Some(other) => {
                let set = other.set.as_deref().unwrap_or_default();
                let dropped = official().is_some_and(|client| client.drop_index(namespace, set, &index.name).is_ok());
                if !dropped {
                    let set = if set.is_empty() { String::new() } else { format!(";set={set}") };
                    let key = if new_spelling { "namespace" } else { "ns" };
                    let command = format!("sindex-delete:{key}={namespace}{set};indexname={}", index.name);
                    cluster.info(&node, &[&command])?;
                }
                await_gone(cluster, namespace, &index.name)?;
                done.notes.push(format!("index `{}` of namespace `{namespace}` was replaced", index.name));
            }
            None => {}
        }
        if let Some(same) =
            there.iter().find(|other| Definition { name: index.name.clone(), ..(*other).clone() } == *index)
        {
            done.notes.push(format!(
                "index `{}` of namespace `{namespace}`: `{}` is the same one by another name",
                index.name, same.name
            ));
            done.standing += 1;
            continue;
        }
        // Where it fails the server's own words say why.
        if official().and_then(|client| client.make_index(&index.spec(namespace))).is_some_and(|made| made.is_ok()) {
            done.made.push(index.name.clone());
            continue;
        }
        let command = index.command(namespace, new_spelling);
        let answers = cluster.info(&node, &[&command])?;
        match answers.text(&command).map(str::trim) {
            Some(answer) if failure(answer).is_none() => done.made.push(index.name.clone()),
            // The client takes the answers of some servers for failures: what it made stands.
            _ if self::there(cluster, namespace)?.contains(index) => done.made.push(index.name.clone()),
            answer => done.missing.push(format!(
                "index `{}` of namespace `{namespace}`: {:.200}",
                index.name,
                answer.unwrap_or("no answer")
            )),
        }
    }
    Ok(done)
}

fn await_gone(cluster: &Cluster, namespace: &str, name: &str) -> Result<(), Error> {
    let began = Instant::now();
    while there(cluster, namespace)?.iter().any(|index| index.name == name) {
        if began.elapsed() > Duration::from_secs(10) {
            return Err(Error::Usage(format!("index `{name}` of namespace `{namespace}` could not be removed")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Waits until all nodes have built the indexes; gives those that were not, for so long as nothing moved. `None` if it was
/// stopped.
pub(super) fn wait(
    cluster: &Cluster,
    made: &[(String, String)],
    official: Option<&Official>,
    patience: Duration,
    stop: &AtomicBool,
) -> Option<Vec<String>> {
    let mut missing = Vec::new();
    for (namespace, name) in made {
        let mut progress = Instant::now();
        let mut last = None;
        let mut pause = Duration::from_millis(20);
        loop {
            let is_live = official.and_then(|client| client.is_live(namespace, name));
            let loaded = least_loaded(cluster, namespace, name);
            if is_live.unwrap_or_else(|| loaded.is_some_and(|percent| percent >= 100)) {
                break;
            }
            if loaded != last {
                (last, progress) = (loaded, Instant::now());
            } else if progress.elapsed() >= patience {
                let percent = loaded.map_or_else(|| "no node tells how far".to_owned(), |p| format!("{p} %"));
                missing.push(format!("index `{name}` of namespace `{namespace}` is not built: {percent}"));
                break;
            }
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
    Some(missing)
}

/// Compares the entries of indexes with those that the snapshot's cluster had: what a person should know, and what is
/// missing. An index without any, though every record was written, is none.
pub(super) fn compare(cluster: &Cluster, collection: &TargetCollection, whole: bool) -> Result<IndexesDone, Error> {
    let mut done = IndexesDone::default();
    let Some(before) = collection.attributes.get("sindex_entries").and_then(Json::as_object) else { return Ok(done) };
    let namespace = &collection.name;
    let copies = facts::NamespaceFacts::read(cluster, namespace)?.replication_factor;
    let all = collection.attributes.get("sindexes").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let now = sindexes::index_entries(cluster, namespace, all, copies);
    for (name, before) in before {
        let (Some(before), Some(now)) = (before.as_u64(), now.get(name).and_then(Json::as_u64)) else { continue };
        let text = format!(
            "index `{name}` of namespace `{namespace}` has {now} entries, and had {before} when the snapshot was taken"
        );
        if now == 0 && before > 0 && whole {
            done.missing.push(text);
        } else if now != before {
            done.notes.push(text);
        }
    }
    Ok(done)
}

/// How far the node that is furthest behind has built an index, in percent.
fn least_loaded(cluster: &Cluster, namespace: &str, name: &str) -> Option<u64> {
    let mut least = None;
    for node in cluster.nodes() {
        let told = sindexes::index_stat(cluster, &node, namespace, name, "load_pct")?;
        least = Some(least.map_or(told, |least: u64| least.min(told)));
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn index(json: &Json) -> Definition {
        Definition::parse(json).unwrap()
    }

    #[test]
    fn commands_are_spelled_as_each_server_knows_them() {
        let plain = index(&json!({ "name": "i", "set": "s", "bin": "b", "type": "numeric", "index_type": "default" }));
        assert_eq!(plain.command("n", true), "sindex-create:namespace=n;set=s;indexname=i;bin=b;type=NUMERIC");
        assert_eq!(plain.command("n", false), "sindex-create:ns=n;set=s;indexname=i;indexdata=b,NUMERIC");
        let expression = index(
            &json!({ "name": "e", "type": "string", "index_type": "list", "context": "kg==", "expression": "kwE=" }),
        );
        assert_eq!(
            expression.command("n", true),
            "sindex-create:namespace=n;indexname=e;context=kg==;exp=kwE=;indextype=list;type=STRING"
        );
    }

    #[test]
    fn spellings_of_the_same_thing_are_equal() {
        let one = index(&json!({ "name": "g", "bin": "b", "type": "GEOJSON", "index_type": "NONE" }));
        let other = index(&json!({ "name": "g", "bin": "b", "type": "geo2dsphere", "index_type": "default" }));
        assert_eq!(one, other);
        assert_eq!(Definition::parse(&json!({ "raw": "?" })), None);
    }
}
