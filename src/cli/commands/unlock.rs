//! `unlock`: shuts out leases whose holder is gone. It never asks.

use super::leases::rows;
use crate::{
    cli::{
        context::Context,
        exit::{Failure, Status},
        show::counted,
    },
    ops::leases::{Unlock, UnlockOutcome, unlock},
    repo::SnapshotId,
};
use clap::Args;

/// `unlock`.
#[derive(Debug, Args)]
pub struct UnlockArgs {
    /// Which leases, by their first digits [default: those of this machine whose process is gone]
    #[arg(value_name = "LEASE", conflicts_with = "all")]
    pub leases: Vec<String>,
    /// Every running lease, of whichever host
    #[arg(long)]
    pub all: bool,
}

pub(super) fn run(args: &UnlockArgs, context: &Context) -> Result<Status, Failure> {
    let which = match (args.all, args.leases.as_slice()) {
        (true, _) => Unlock::All,
        (false, []) => Unlock::Gone,
        (false, names) => Unlock::Named(names.to_vec()),
    };
    let repo = context.open()?;
    let outcome = unlock(&repo, &which)?;
    if context.json {
        context.out.json(&outcome);
    } else if !context.quiet {
        context.out.text(&summary(&outcome));
    }
    Ok(Status::Done)
}

fn summary(outcome: &UnlockOutcome) -> String {
    let ids = |ids: &[SnapshotId]| ids.iter().map(SnapshotId::short).collect::<Vec<_>>().join(", ");
    let mut text = match outcome.fenced.len() as u64 {
        0 => "no lease was fenced\n".to_owned(),
        fenced => format!("fenced {}: {}\n", counted(fenced, "lease"), ids(&outcome.fenced)),
    };
    if !outcome.committed.is_empty() {
        text.push_str(&format!("committed, so nothing to fence: {}\n", ids(&outcome.committed)));
    }
    if !outcome.left.is_empty() {
        text.push_str(&format!(
            "still running, as far as this host can tell; `rekeep unlock LEASE` fences one by hand, which costs its run if \
             it lives:\n{}\n",
            rows(&outcome.left)
        ));
    }
    text
}
