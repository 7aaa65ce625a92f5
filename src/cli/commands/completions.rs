//! `completions`: a completion script.

use crate::cli::{args::Cli, context::Context, exit::Status};
use clap::CommandFactory as _;

pub(super) fn run(shell: clap_complete::Shell, context: &Context) -> Status {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rekeep", &mut script);
    context.out.text(&String::from_utf8_lossy(&script));
    Status::Done
}
