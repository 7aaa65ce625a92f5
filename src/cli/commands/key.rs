//! `key`: what opens a repository, and what it may do then.

use super::init::default_label;
use crate::{
    cli::{
        advice,
        context::Context,
        exit::{Failure, Kept as _, Status},
        password::{key_command, key_service, new_password},
        show::{render, safe, table},
        units::show_time,
    },
    ops::password,
    repo::{Capability, Repository, Role, Unlock, keys::SlotInfo},
};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;

/// What is said where the recovery key of an epoch was shown to nobody.
const UNSHOWN: &str = "the new keys are in use and the new password opens the repository, and its new recovery key was shown to \
                       nobody: run `rekeep key rotate --epoch` again, which makes another; the slots made before still stand";

/// `key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List the key slots
    List,
    /// Add a password, or a command that keeps a key, with some role
    Add(AddArgs),
    /// Remove a slot (never the last one)
    Remove {
        /// The slot's name, or its first digits
        name: String,
    },
    /// Change the password that the repository was opened with
    Passwd(NewArgs),
    /// Make a new slot in place of the one that the repository was opened with; with --epoch, new keys too
    Rotate(RotateArgs),
    /// Make the second one again of the key objects that are kept twice, where one was lost or damaged
    Mend,
}

/// A slot to be added.
#[derive(Debug, Args)]
pub struct AddArgs {
    #[command(flatten)]
    new: NewArgs,
    /// What it allows: put-only (backs up, opens no value, forgets nothing), read-only, operator (all but keys), admin
    #[arg(long, value_name = "ROLE", default_value_t = Role::Admin)]
    pub role: Role,
}

/// A slot to be made anew.
#[derive(Debug, Args)]
pub struct RotateArgs {
    #[command(flatten)]
    new: NewArgs,
    /// Begin a new key epoch: what is written from now on cannot be read with what opens the repository today
    #[arg(long)]
    pub epoch: bool,
}

/// A password to be made.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Read the new password from a file [default: asked for, twice]
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
    /// Let a shell command keep the key in place of a password: see --key-command
    #[arg(long, value_name = "COMMAND", conflicts_with = "new_password_file")]
    pub new_key_command: Option<String>,
    /// Let a service keep the key in place of a password: see --key-service
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["new_password_file", "new_key_command"])]
    pub new_key_service: Option<String>,
    /// A word that `key list` shows beside the slot (default: user@host)
    #[arg(long, value_name = "WORD")]
    pub label: Option<String>,
}

pub(super) fn run(command: &KeyCommand, context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    match command {
        KeyCommand::List => list(&repo.key_slots()?, context),
        KeyCommand::Add(args) => {
            repo.need(Capability::Administer)?;
            let name = repo.key_add_role(&args.new.unlock()?, args.role, &args.new.label())?;
            tell(context, "added", &name);
        }
        KeyCommand::Remove { name } => {
            repo.key_remove(name)?;
            tell(context, "removed", name);
            let slots = repo.key_slots()?;
            if slots.iter().all(|slot| slot.role.is_none() || slot.kind == "recovery") {
                context.reporter.problem(
                    "only a recovery key opens this repository now: `rekeep --recovery-key key add` adds a password",
                );
            }
        }
        KeyCommand::Passwd(args) => passwd(&repo, args, context)?,
        KeyCommand::Rotate(args) if args.epoch => begin_epoch(&repo, &args.new, context)?,
        KeyCommand::Rotate(args) => rotate(&repo, &args.new, context)?,
        KeyCommand::Mend => {
            let mended = repo.repair_config(false)?;
            mended.restored.iter().for_each(|name| tell(context, "made again", name));
            mended.lost.iter().for_each(|lost| context.reporter.problem(&advice::lost(lost)));
            return Ok(Status::complete(mended.lost.is_empty()));
        }
    }
    Ok(Status::Done)
}

impl NewArgs {
    fn unlock(&self) -> Result<Unlock, Failure> {
        match (&self.new_key_command, &self.new_key_service) {
            (Some(command), _) => Ok(key_command(command)),
            (None, Some(service)) => key_service(service),
            (None, None) => new_password(self.new_password_file.as_deref()),
        }
    }

    fn label(&self) -> String {
        self.label.clone().unwrap_or_else(default_label)
    }
}

fn add(repo: &Repository, args: &NewArgs) -> Result<String, Failure> {
    repo.need(Capability::Administer)?;
    Ok(repo.key_add(&args.unlock()?, &args.label())?)
}

/// The slot that it was opened with, whatever its kind, made anew; the new one is durable before the old one goes.
fn rotate(repo: &Repository, args: &NewArgs, context: &Context) -> Result<(), Failure> {
    let slots = repo.key_slots()?;
    let old = slots.iter().find(|slot| slot.current);
    let name = add(repo, args)?;
    if let Some(old) = old {
        repo.key_remove(&old.name).kept("the new slot works; the old one does too, until `key remove` succeeds")?;
    }
    tell(context, "changed to", &name);
    Ok(())
}

fn begin_epoch(repo: &Repository, args: &NewArgs, context: &Context) -> Result<(), Failure> {
    repo.need(Capability::Administer)?;
    let before = repo.key_slots()?;
    let (name, recovery) = repo.key_begin_epoch(&args.unlock()?, &args.label())?;
    if context.json {
        let left: Vec<_> = before.iter().map(|slot| &slot.name).collect();
        context.out.json(&json!({ "did": "rotated", "name": name, "recovery_key": recovery.0, "old_slots": left }));
        return context.shown_once(UNSHOWN);
    }
    tell(context, "began a new epoch with", &name);
    context.out.line(format_args!("\nrecovery key (shown only now):\n\n    {}\n", recovery.0));
    context.out.line(
        "Slots made before lack the new keys. Make those that are still wanted anew (`key add`), then remove the old ones \
         (`key remove`):",
    );
    for slot in before {
        context.out.line(format_args!("  {}  {}", slot.name, safe(&slot.label)));
    }
    context.shown_once(UNSHOWN)
}

fn passwd(repo: &Repository, args: &NewArgs, context: &Context) -> Result<(), Failure> {
    repo.need(Capability::Administer)?;
    let old = password::current_slot(repo)?;
    let name = match password::change(repo, &old, &args.unlock()?, &args.label()) {
        Err(error) if error.is_partly_done() => {
            return Err(error).kept("the new password works; the old one does too, until `key remove` succeeds");
        }
        changed => changed?,
    };
    tell(context, "changed to", &name);
    Ok(())
}

fn list(slots: &[SlotInfo], context: &Context) {
    if context.json {
        let rows: Vec<_> = slots
            .iter()
            .map(|slot| {
                json!({
                    "name": slot.name,
                    "kind": slot.kind,
                    "role": slot.role,
                    "provider": slot.provider,
                    "label": slot.label,
                    "created": slot.created,
                    "current": slot.current,
                })
            })
            .collect();
        return context.out.json(&rows);
    }
    let mut rows = table(&["", "name", "kind", "role", "label", "made"], &[]);
    for slot in slots {
        rows.add_row(vec![
            if slot.current { "*" } else { "" }.to_owned(),
            slot.name.clone(),
            slot.provider.as_ref().map_or_else(|| slot.kind.clone(), |provider| safe(provider)),
            slot.role.map_or("", Role::name).to_owned(),
            safe(&slot.label),
            // One that cannot be read does not say.
            if slot.role.is_none() { String::new() } else { show_time(slot.created) },
        ]);
    }
    context.out.line(render(&rows));
}

fn tell(context: &Context, did: &str, name: &str) {
    if context.json {
        context.out.json(&json!({ "did": did, "name": name }));
    } else if !context.quiet {
        context.out.line(format_args!("{did} key slot {name}"));
    }
}
