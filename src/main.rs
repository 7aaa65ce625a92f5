//! The `rekeep` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    rekeep::cli::main()
}
