//! `parity`: how much of it packs have.

use crate::{
    cli::{
        context::Context,
        exit::{Failure, Kept as _, Status},
        show::{counted, safe},
        units::{show_count, show_size},
    },
    repo::{pack, parity::Percent},
};
use clap::Args;
use serde_json::json;
use std::{fmt::Write as _, str::FromStr};

/// `parity`.
#[derive(Debug, Args)]
pub struct ParityArgs {
    /// From now on give packs so much, in percent (5 to 100), or `off`; those that are there get it from `rekeep repair parity`
    #[arg(value_name = "PERCENT", value_parser = parse)]
    pub percent: Option<Wanted>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted(Option<Percent>);

fn parse(text: &str) -> Result<Wanted, String> {
    if text == "off" {
        return Ok(Wanted(None));
    }
    Percent::from_str(text).map(|percent| Wanted(Some(percent))).map_err(|error| format!("{error}, or off"))
}

pub(super) fn run(args: &ParityArgs, context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    if let Some(Wanted(percent)) = args.percent {
        repo.set_parity(percent).kept("packs and their parity are as they were")?;
    }
    let standing = repo.parity_standing()?;
    if context.json {
        let unprotected: Vec<String> = standing.unprotected.iter().map(pack::path).collect();
        context.out.json(&json!({
            "percent": standing.percent,
            "groups": standing.groups,
            "bytes": standing.bytes,
            "packs": standing.packs,
            "unprotected": unprotected,
        }));
        return Ok(Status::Done);
    }
    for (object, problem) in &standing.damaged {
        context.reporter.problem(&format!("{} is damaged: {}", safe(object), safe(problem)));
    }
    if context.quiet {
        return Ok(Status::Done);
    }
    let mut text = match standing.percent {
        Some(percent) => format!("new packs get {percent} of parity\n"),
        None => "new packs get no parity\n".to_owned(),
    };
    let _ = writeln!(text, "{} ({})", counted(standing.groups, "group"), show_size(standing.bytes));
    let bare = standing.unprotected.len() as u64;
    let _ = writeln!(
        text,
        "{} of {} can be made again if lost",
        show_count(standing.packs - bare),
        counted(standing.packs, "pack")
    );
    if bare > 0 && standing.percent.is_some() {
        let _ = writeln!(text, "`rekeep repair parity` makes groups for {}", counted(bare, "pack"));
    }
    context.out.text(&text);
    Ok(Status::Done)
}
