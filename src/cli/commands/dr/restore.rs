//! `dr restore`: brings datasets back, each told what became of it.

use super::{
    backup_id, library,
    place::{Setup, refused, url_of},
};
use crate::{
    cli::{
        context::Context,
        deeplake::DeepLakeWriteArgs,
        exit::{Failure, Status, usage},
        show::{render, safe, table},
    },
    connector::{Options, Overwrite},
    ops::{
        restore::{RestoreOptions, restore},
        verify::{ReadData, VerifyOptions, verify},
    },
    repo::Snapshot,
    report::ErrorKind,
};
use clap::Args;
use serde_json::{Value as Json, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Lines that a restore tells of damage at most.
const MOST_DAMAGE: usize = 100;

/// `dr restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Which backup
    backup: String,
    /// Restore under this tenant [default: each under its own]
    #[arg(long, value_name = "NAME")]
    target_tenant: Option<String>,
    /// Replace datasets that are there [default: they stay, and are told]
    #[arg(long)]
    overwrite: bool,
    /// Only these, under other names: {"old": "new"}
    #[arg(long, value_name = "JSON")]
    dataset_mapping: Option<String>,
    /// With --dataset-mapping: the others too, under their own names
    #[arg(long, requires = "dataset_mapping")]
    all: bool,
    /// Where to [default: where datasets lie]
    #[arg(long, value_name = "PATH")]
    target: Option<String>,
    /// Begin without proving first that every record can be read
    #[arg(long)]
    no_verify: bool,
    /// Have the library build the indexes of what was restored, which it commits
    #[arg(long)]
    rebuild_indexes: bool,
    /// The Python that has the library
    #[arg(long, value_name = "PROGRAM", default_value = "python3", requires = "rebuild_indexes")]
    python: PathBuf,
    #[command(flatten)]
    lake: DeepLakeWriteArgs,
}

/// What is restored under which name.
type Names = Vec<(String, String)>;

/// A collection's tenant and dataset.
fn parts(snapshot: &Snapshot, name: &str) -> (Option<String>, String) {
    let attribute = |field: &str| {
        let found = snapshot.collections.iter().find(|one| one.name == name)?;
        found.attributes.get(field).and_then(Json::as_str).map(str::to_owned)
    };
    match name.split_once('/') {
        Some((tenant, dataset)) => (Some(tenant.to_owned()), dataset.to_owned()),
        None => (attribute("tenant"), name.to_owned()),
    }
}

fn mapping(text: &str) -> Result<BTreeMap<String, String>, Failure> {
    /// A mapping that refuses a name that is given twice.
    struct Once(BTreeMap<String, String>);
    impl<'de> serde::Deserialize<'de> for Once {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Once;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object of old and new names")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Once, A::Error> {
                    let mut all = BTreeMap::new();
                    while let Some((old, new)) = map.next_entry::<String, String>()? {
                        if all.insert(old.clone(), new).is_some() {
                            return Err(serde::de::Error::custom(format!("`{old}` is named twice")));
                        }
                    }
                    Ok(Once(all))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    let Once(all) = serde_json::from_str(text).map_err(|error| usage(format!("--dataset-mapping: {error}")))?;
    if all.is_empty() { Err(usage("--dataset-mapping names nothing")) } else { Ok(all) }
}

/// Names in the snapshot and in the target; nothing leads to one place twice.
fn names(snapshot: &Snapshot, args: &RestoreArgs) -> Result<Names, Failure> {
    let all: Vec<&str> = snapshot.collections.iter().map(|one| one.name.as_str()).collect();
    let mut new_names: BTreeMap<&str, String> = BTreeMap::new();
    if let Some(text) = &args.dataset_mapping {
        for (old, new) in mapping(text)? {
            let meant: Vec<&&str> = all.iter().filter(|name| **name == old || parts(snapshot, name).1 == old).collect();
            match meant[..] {
                [one] => {
                    if new_names.insert(one, new).is_some() {
                        return Err(usage(format!("--dataset-mapping names the dataset {one} twice")));
                    }
                }
                [] => {
                    let words =
                        format!("the backup has no dataset `{}`; it has {}", old.escape_debug(), all.join(", "));
                    return Err(refused(ErrorKind::NoCollection, words));
                }
                _ => {
                    return Err(refused(
                        ErrorKind::Ambiguous,
                        format!("`{old}` is a dataset of several tenants: write TENANT/{old}"),
                    ));
                }
            }
        }
    }
    let mut chosen = Names::new();
    for name in &all {
        let mapped = new_names.get(name);
        if mapped.is_none() && args.dataset_mapping.is_some() && !args.all {
            continue;
        }
        let (tenant, dataset) = parts(snapshot, name);
        let new = mapped.cloned().unwrap_or(dataset);
        let tenant = args.target_tenant.clone().or_else(|| if name.contains('/') { tenant } else { None });
        let target = match tenant {
            Some(tenant) if !new.contains('/') => format!("{tenant}/{new}"),
            _ => new,
        };
        chosen.push(((*name).to_owned(), target));
    }
    let mut seen = BTreeSet::new();
    match chosen.iter().find(|(_, target)| !seen.insert(target.clone())) {
        Some((_, target)) => Err(usage(format!("two datasets would be restored as {}", target.escape_debug()))),
        None => Ok(chosen),
    }
}

/// What became of a dataset's indexes.
struct Indexed {
    target: String,
    /// Whether there were any to build.
    outcome: Result<bool, String>,
}

impl Indexed {
    fn build(python: &Path, place: &Path, target: &str) -> Self {
        let done = library::run(python, library::INDEXER, [place.join(target)]);
        Self { target: target.to_owned(), outcome: done.map(|said| said["built"] == json!(true)) }
    }

    fn json(&self) -> Json {
        let Self { target, outcome } = self;
        json!({ "target": target, "built": outcome.as_ref().ok(), "error": outcome.as_ref().err() })
    }
}

pub(super) fn run(args: &RestoreArgs, setup: &Setup, context: &Context) -> Result<Status, Failure> {
    let repo = setup.open(context)?;
    let snapshot = backup_id::find(&repo, &args.backup)?;
    let chosen = names(&snapshot, args)?;
    let mut options = Options::default();
    options.add(&args.lake)?;
    let place = args.target.as_deref().unwrap_or(&setup.data);
    if args.rebuild_indexes && place.contains("://") {
        return Err(usage("--rebuild-indexes works in a local folder: elsewhere, call build_indexes() of the library"));
    }
    let url = url_of(place);
    let target = context.registry.target(&url, &options)?;
    let targets: Vec<String> = chosen.iter().map(|(_, target)| target.clone()).collect();
    let occupied: BTreeSet<String> = target.occupied(&targets)?.into_iter().map(|(name, _)| name).collect();
    let stays = |target: &String| !args.overwrite && occupied.contains(target);
    let brought: Names = chosen.iter().filter(|(_, target)| !stays(target)).cloned().collect();
    if !args.no_verify && !brought.is_empty() {
        let verify_options = VerifyOptions {
            read_data: ReadData::default(),
            restore: true,
            parallel: setup.parallel()?,
            read_limit: context.read_limit,
        };
        let proof = verify(&repo, std::slice::from_ref(&snapshot), &verify_options, &context.reporter)?;
        if !proof.findings.is_empty() {
            let words: Vec<String> =
                proof.findings.iter().take(5).map(|one| format!("{}: {}", one.object, one.problem)).collect();
            return Err(refused(
                ErrorKind::Damaged,
                format!(
                    "the backup is damaged, and nothing was written (--no-verify restores what there is): {}",
                    words.join("; ")
                ),
            ));
        }
    }
    let outcome = if brought.is_empty() {
        None
    } else {
        let options = RestoreOptions {
            collections: brought.into_iter().map(|(name, target)| (name, Some(target))).collect(),
            overwrite: args.overwrite.then_some(Overwrite::Always),
            keep_going: args.no_verify,
            parallel: setup.parallel()?,
            read_limit: context.read_limit,
            write_limit: context.write_limit,
            ..RestoreOptions::default()
        };
        Some(restore(&repo, &snapshot, target.as_ref(), &options, &context.reporter)?)
    };
    context.reporter.finish();
    let damage = outcome.as_ref().map(|one| one.damage.clone()).unwrap_or_default();
    // No more than these are named: nobody knows of which datasets the rest is.
    let is_unnamed = damage.len() >= MOST_DAMAGE;
    let mut missing = outcome.as_ref().map(|one| one.missing.clone()).unwrap_or_default();
    missing.extend(damage.iter().cloned());
    let notes = outcome.as_ref().map(|one| one.notes.clone()).unwrap_or_default();
    let failures = outcome.as_ref().map(|one| one.outcomes.failures.clone()).unwrap_or_default();
    let rows: Vec<(&String, &String, &str)> = chosen
        .iter()
        .map(|(name, target)| {
            let of =
                |text: &String| text.starts_with(&format!("{target}: ")) || text.starts_with(&format!("{target}/"));
            let what = if stays(target) {
                "skipped: it is there (say --overwrite)"
            } else if is_unnamed
                || missing.iter().any(of)
                || damage.iter().any(|text| text.starts_with(&format!("{name}: ")))
                || failures.iter().any(|(key, _)| of(key))
            {
                "INCOMPLETE"
            } else if occupied.contains(target) {
                "replaced"
            } else {
                "restored"
            };
            (name, target, what)
        })
        .collect();
    let came = |what: &str| matches!(what, "restored" | "replaced");
    let of_library: Vec<Indexed> = if args.rebuild_indexes {
        let brought = rows.iter().filter(|(.., what)| came(what));
        brought.map(|(_, target, _)| Indexed::build(&args.python, Path::new(place), target)).collect()
    } else {
        Vec::new()
    };
    let is_whole = rows.iter().all(|(.., what)| came(what))
        && outcome.as_ref().is_none_or(|outcome| outcome.complete)
        && of_library.iter().all(|one| one.outcome.is_ok());
    if context.json {
        let datasets: Vec<Json> = rows
            .iter()
            .map(|(name, target, what)| json!({ "dataset": name, "target": target, "status": what }))
            .collect();
        let indexes: Vec<Json> = of_library.iter().map(Indexed::json).collect();
        context.out.json(&json!({
            "backup_id": backup_id::of(&snapshot), "status": if is_whole { "completed" } else { "incomplete" },
            "datasets": datasets, "missing": missing, "notes": notes, "failures": failures,
            "indexes": indexes,
            "records": outcome.as_ref().map_or(0, |one| one.records),
            "duration_seconds": outcome.as_ref().map_or(0.0, |one| one.duration_seconds),
        }));
    } else {
        for text in &missing {
            context.reporter.problem(text);
        }
        for (key, reason) in &failures {
            context.reporter.problem(&format!("{key}: {reason}"));
        }
        for text in &notes {
            context.reporter.note(text);
        }
        for one in &of_library {
            match &one.outcome {
                Ok(true) => context.reporter.note(&format!("{}: the library built its indexes", one.target)),
                Ok(false) => context.reporter.note(&format!("{}: the library had no index to build", one.target)),
                Err(reason) => context.reporter.problem(&format!("{}: its indexes: {reason}", one.target)),
            }
        }
        let mut shown = table(&["dataset", "as", ""], &[]);
        for (name, target, what) in &rows {
            shown.add_row(vec![safe(name), safe(target), (*what).to_owned()]);
        }
        context.out.line(render(&shown));
    }
    Ok(Status::complete(is_whole))
}
