//! `completions`: a completion script.

use crate::cli::{context::Context, exit::Status};

pub(super) fn run(shell: clap_complete::Shell, whole: &mut clap::Command, context: &Context) -> Status {
    let mut script = Vec::new();
    clap_complete::generate(shell, whole, "rekeep", &mut script);
    context.out.text(&String::from_utf8_lossy(&script));
    Status::Done
}
