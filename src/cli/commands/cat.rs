//! `cat`: an object of the repository as JSON.

use crate::{
    cli::{
        common::NarrowArgs,
        context::Context,
        exit::{Failure, Status, usage},
    },
    ops::OpsError,
    repo::{
        ObjectName, RepoError, Storage, index, keys,
        object::{self, ObjectKind},
    },
};
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

/// `cat`.
#[derive(Debug, Args)]
pub struct CatArgs {
    #[command(subcommand)]
    what: CatCommand,
}

/// What to show.
#[derive(Debug, Subcommand)]
pub enum CatCommand {
    /// The repository's configuration (needs no password)
    Config,
    /// A snapshot's whole manifest
    Snapshot {
        /// Which snapshot
        snapshot: String,
        /// Which of the snapshots that match
        #[command(flatten)]
        narrow: NarrowArgs,
    },
    /// The packs that an index object names, or the names of all index objects (needs no password)
    Index {
        /// The index object's name, or its first digits
        name: Option<String>,
    },
    /// A lease object, or the names of all (needs no password)
    Lease {
        /// The lease object's name, or its first digits
        name: Option<String>,
    },
    /// A mark, or the names of all (needs no password)
    Mark {
        /// The mark's name, or its first digits
        name: Option<String>,
    },
}

pub(super) fn run(args: &CatArgs, context: &Context) -> Result<Status, Failure> {
    match &args.what {
        CatCommand::Config => context.out.json(&keys::read_config(&context.storage()?)?),
        CatCommand::Snapshot { snapshot, narrow } => {
            let repo = context.open()?;
            context.out.json(&context.resolve(&repo, snapshot, &narrow.narrow())?);
        }
        CatCommand::Index { name } => show("index/", name.as_deref(), context, index_object)?,
        CatCommand::Lease { name } => show("leases/", name.as_deref(), context, plain_object)?,
        CatCommand::Mark { name } => show("trash/", name.as_deref(), context, plain_object)?,
    }
    Ok(Status::Done)
}

/// Shows the object whose name begins so, or lists the names.
fn show(
    folder: &str,
    name: Option<&str>,
    context: &Context,
    read: fn(&str, &[u8]) -> Result<Json, RepoError>,
) -> Result<(), Failure> {
    let storage = context.storage()?;
    keys::read_config(&storage)?;
    let Some(name) = name else {
        context.out.json(&names(&storage, folder)?);
        return Ok(());
    };
    let wanted = if name.starts_with(folder) { name.to_owned() } else { format!("{folder}{name}") };
    let all = names(&storage, folder)?;
    let mut found: Vec<&String> = all.iter().filter(|found| found.starts_with(&wanted)).collect();
    if found.len() > 1 && found.contains(&&wanted) {
        found = vec![&wanted];
    }
    match found.as_slice() {
        [one] => {
            context.out.json(&read(one, &storage.read_at_most(one, ObjectKind::max_bytes_in(one))?)?);
            Ok(())
        }
        [] => {
            let what = folder_word(folder);
            Err(OpsError::Failed(format!("there is no object {wanted}; `rekeep cat {what}` lists what there is"))
                .into())
        }
        many => Err(usage(format!("{} objects begin with {wanted}", many.len()))),
    }
}

/// What a folder's objects are called on the command line.
fn folder_word(folder: &str) -> &'static str {
    match folder {
        "leases/" => "lease",
        "trash/" => "mark",
        _ => "index",
    }
}

fn names(storage: &Storage, folder: &str) -> Result<Vec<String>, RepoError> {
    let mut names: Vec<String> = storage.list(folder)?.into_iter().map(|listed| listed.name).collect();
    names.sort();
    Ok(names)
}

fn index_object(name: &str, bytes: &[u8]) -> Result<Json, RepoError> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let id: ObjectName = last.parse().map_err(|reason| RepoError::damaged(name, reason))?;
    let packs = index::packs_of(&id, bytes)?;
    let packs: Vec<Json> = packs.iter().map(|(pack, bytes)| json!({ "pack": pack, "bytes": bytes })).collect();
    Ok(json!({ "index": name, "packs": packs }))
}

fn plain_object(name: &str, bytes: &[u8]) -> Result<Json, RepoError> {
    let kind = object::kind_of(name, bytes)?;
    let body = object::unwrap(kind, name, bytes)?;
    let body: Json = serde_json::from_slice(&body).map_err(|error| RepoError::damaged(name, error))?;
    Ok(json!({ "name": name, "kind": format!("{kind:?}").to_lowercase(), "body": body }))
}
