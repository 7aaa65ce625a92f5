//! `key`: the passwords that open a repository.

use super::init::default_label;
use crate::{
    cli::{
        context::Context,
        exit::{Failure, Kept as _, Status},
        password::new_password,
        show::{render, safe, table},
        units::show_time,
    },
    ops::password,
    repo::{Repository, keys::SlotInfo},
};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;

/// `key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List the key slots
    List,
    /// Add a password
    Add(NewArgs),
    /// Remove a slot (never the last one)
    Remove {
        /// The slot's name, or its first digits
        name: String,
    },
    /// Change the password that the repository was opened with
    Passwd(NewArgs),
}

/// A password to be made.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Read the new password from a file [default: asked for, twice]
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
    /// A word that `key list` shows beside the slot (default: user@host)
    #[arg(long, value_name = "WORD")]
    pub label: Option<String>,
}

pub(super) fn run(command: &KeyCommand, context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    match command {
        KeyCommand::List => list(&repo.key_slots()?, context),
        KeyCommand::Add(args) => {
            let name = add(&repo, args)?;
            tell(context, "added", &name);
        }
        KeyCommand::Remove { name } => {
            repo.key_remove(name)?;
            tell(context, "removed", name);
        }
        KeyCommand::Passwd(args) => passwd(&repo, args, context)?,
    }
    Ok(Status::Done)
}

fn add(repo: &Repository, args: &NewArgs) -> Result<String, Failure> {
    let password = new_password(args.new_password_file.as_deref())?;
    Ok(repo.key_add(&password, &args.label.clone().unwrap_or_else(default_label))?)
}

fn passwd(repo: &Repository, args: &NewArgs, context: &Context) -> Result<(), Failure> {
    let old = password::current_slot(repo)?;
    let new = new_password(args.new_password_file.as_deref())?;
    let label = args.label.clone().unwrap_or_else(default_label);
    let name = match password::change(repo, &old, &new, &label) {
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
                    "label": slot.label,
                    "created": slot.created,
                    "current": slot.current,
                })
            })
            .collect();
        return context.out.json(&rows);
    }
    let mut rows = table(&["", "name", "kind", "label", "made"], &[]);
    for slot in slots {
        rows.add_row(vec![
            if slot.current { "*" } else { "" }.to_owned(),
            slot.name.clone(),
            slot.kind.clone(),
            safe(&slot.label),
            show_time(slot.created),
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
