//! `dr create`: backs up datasets.

use super::{
    backup_id,
    place::{Setup, noted, refused},
};
use crate::{
    cli::{
        commands::backup::summary,
        context::Context,
        exit::{Failure, Kept as _, Status, usage},
        interrupt,
        password::PasswordSource,
    },
    connector::{Options, Source},
    ops::{
        backup::{Ask, BackupOptions, ParentChoice, backup},
        tag::{TagChange, tag},
    },
    repo::{InitOptions, Repository, Snapshot, Suite, Traits, keys::KdfParams},
    report::ErrorKind,
};
use clap::{Args, ValueEnum};
use serde_json::json;

/// What is read, and what a backup is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackupType {
    /// Every file is read and compared.
    Full,
    /// What moved since the last backup is read.
    Incremental,
    /// What moved since the last full backup is read.
    Differential,
    /// As incremental, and kept until it is released (`rekeep tag --release`).
    Snapshot,
}

impl BackupType {
    const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
            Self::Differential => "differential",
            Self::Snapshot => "snapshot",
        }
    }
}

/// `dr create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Which kind
    #[arg(long = "type", value_enum, default_value = "full")]
    kind: BackupType,
    /// Only the datasets of this tenant
    #[arg(long, value_name = "NAME")]
    tenant_id: Option<String>,
    /// Only these datasets
    #[arg(long, value_name = "NAME", num_args = 1..)]
    dataset_ids: Vec<String>,
    /// Why it is made
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// Opens the repository, or makes it where nothing lies yet. Gives the recovery key of one that was made.
pub(super) fn open_or_make(setup: &Setup, context: &Context) -> Result<(Repository, Option<String>), Failure> {
    let storage = setup.storage(context)?;
    match crate::repo::keys::read_config(&storage) {
        Err(error) if error.kind() == ErrorKind::NoRepository => {}
        _ => return Ok((context.open_storage(&storage)?, None)),
    }
    let place = setup.repository(context)?;
    if context.password == PasswordSource::Prompt {
        return Err(refused(
            ErrorKind::NoRepository,
            format!(
                "there is no repository at {place} yet, and no password to make it with: set REKEEP_PASSWORD_FILE=FILE (or \
                 REKEEP_PASSWORD_COMMAND, or REKEEP_PASSWORD) and run this again"
            ),
        ));
    }
    let password = context.password.unlock("", false)?;
    interrupt::listen();
    let init = InitOptions { kdf: KdfParams::STANDARD, label: "disaster recovery".to_owned() };
    let open = context.open_options()?;
    // The document asks for AES-256.
    let traits = Traits { suite: Suite::Aes256Gcm, ..Traits::default() };
    let (repo, recovery) = Repository::init_as(&traits, &storage, &password, None, &init, &open)
        .kept("if `rekeep.json` was made, the repository is usable with its password; else run it again")?;
    context.reporter.problem(&format!(
        "made repository {} at {place}; its recovery key, shown only now: {}",
        repo.id(),
        recovery.0
    ));
    let key = recovery.0.clone();
    Ok((repo, Some(key)))
}

/// Backups of the same datasets, oldest first.
fn earlier(repo: &Repository, source: &dyn Source) -> Result<Vec<Snapshot>, Failure> {
    let (identity, scope) = (source.identity(), source.scope());
    let mut all = backup_id::all(repo)?;
    all.retain(|one| {
        let name = &one.source().name;
        (*name == identity.name || name.ends_with(&format!(":{}", identity.name)))
            && one.content.scope_note == scope.note
            && one.content.complete
    });
    Ok(all)
}

pub(super) fn run(args: &CreateArgs, setup: &Setup, context: &Context) -> Result<Status, Failure> {
    if !setup.settings.flag("enabled")? {
        return Err(usage("backups are switched off: BACKUP_ENABLED, or backup.enabled in the file"));
    }
    let mut options = Options::default();
    options.add(&json!({ "tenant": args.tenant_id, "datasets": args.dataset_ids }))?;
    let source = setup.source(&options, context)?;
    // Nothing is made for datasets that are not there.
    drop(source.begin(&crate::connector::SessionOptions::default())?);
    let (repo, recovery) = open_or_make(setup, context)?;
    let earlier = earlier(&repo, source.as_ref())?;
    let full = earlier.iter().rev().find(|one| noted(one, "done") == Some("full"));
    let (done, parent) = match args.kind {
        BackupType::Full => ("full", ParentChoice::Auto),
        BackupType::Differential => match full {
            Some(full) => ("differential", ParentChoice::Id(full.id.to_string())),
            None => ("full", ParentChoice::Auto),
        },
        BackupType::Incremental | BackupType::Snapshot if earlier.is_empty() => ("full", ParentChoice::Auto),
        BackupType::Incremental | BackupType::Snapshot => (args.kind.name(), ParentChoice::Auto),
    };
    if done != args.kind.name() {
        context
            .reporter
            .note(&format!("there is no backup to compare with: a full one is made, not {}", args.kind.name()));
    }
    let mut note =
        serde_json::Map::from_iter([("type".to_owned(), json!(args.kind.name())), ("done".to_owned(), json!(done))]);
    if let Some(description) = &args.description {
        note.insert("description".to_owned(), json!(description));
    }
    options.add(&json!({ "note": note }))?;
    let source = setup.source(&options, context)?;
    let compression = if setup.settings.flag("compression")? {
        setup.settings.number("compression_level", 22)?.unwrap_or(1)
    } else {
        0
    };
    let backup_options = BackupOptions {
        ask: if done == "full" { Ask::Full } else { Ask::Default },
        parent,
        url: setup.url(),
        parallel: setup.parallel()?,
        compression: i32::try_from(compression).unwrap_or(1),
        read_limit: context.read_limit,
        write_limit: context.write_limit,
        ..BackupOptions::default()
    };
    let outcome = backup(&repo, source.as_ref(), &backup_options, &context.reporter)?;
    context.reporter.finish();
    let id = outcome.id.ok_or_else(|| refused(ErrorKind::NoSnapshot, "no snapshot was made"))?;
    let mut snapshot = repo
        .snapshots()?
        .into_iter()
        .find(|one| one.id == id)
        .ok_or_else(|| refused(ErrorKind::NoSnapshot, "the snapshot is gone already"))?;
    if args.kind == BackupType::Snapshot {
        snapshot = tag(&repo, &snapshot, &TagChange { hold: Some(true), ..TagChange::default() })?;
    }
    let name = backup_id::of(&snapshot);
    if context.json {
        let mut result = super::list::row(&snapshot);
        result["message"] = json!(format!("backup {name} is made"));
        result["problems"] = json!(outcome.problems);
        result["recovery_key"] = json!(recovery);
        context.out.json(&result);
    } else {
        outcome.problems.iter().for_each(|problem| context.reporter.problem(problem));
        if !context.quiet {
            context.out.text(&summary(&outcome));
        }
        context.out.line(format_args!("backup   {name}"));
    }
    Ok(match (outcome.complete, outcome.only_changed) {
        (true, _) => Status::Done,
        (false, true) => Status::Changed,
        (false, false) => Status::Incomplete,
    })
}
