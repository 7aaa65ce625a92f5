//! `init`: makes a repository.

use crate::{
    cli::{
        context::{Context, host_name},
        exit::{Failure, Kept as _, Status, usage},
        interrupt,
        password::{LIKE_WAYS, PasswordSource},
        variable,
    },
    ops::Progress as _,
    repo::{InitOptions, RepoError, Repository, Storage, Suite, Traits, keys::KdfParams, parity::Percent},
};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// What is said where the recovery key was shown to nobody.
const UNSHOWN: &str = "the repository was made and its password opens it, and its recovery key was shown to nobody: remove the \
                       repository and make it again, or run `rekeep key rotate --epoch`, which makes another recovery key";

/// `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Cut and name chunks as this repository does, so that copies between both deduplicate
    #[arg(long, value_name = "REPO")]
    pub like: Option<String>,
    /// The password of the --like repository, in a file [default: asked for]
    #[arg(long, value_name = "FILE", requires = "like")]
    pub like_password_file: Option<PathBuf>,
    /// What seals: chacha20-poly1305, or aes-256-gcm where rules ask for it
    #[arg(long, value_name = "SUITE", default_value_t = Suite::ChaCha20Poly1305)]
    pub suite: Suite,
    /// Let data of the repository be written in this region alone, by whoever, in replicas and copies too; `local` stands for folders
    /// (repeatable; docs/storage.md)
    #[arg(long = "allowed-region", value_name = "REGION")]
    pub allowed_regions: Vec<String>,
    /// Give packs so much parity (5 to 100): a lost or damaged pack is made again from it, without the source and without a password
    #[arg(long, value_name = "PERCENT")]
    pub parity: Option<Percent>,
    /// A word that `key list` shows beside the password's slot (default: user@host)
    #[arg(long, value_name = "WORD")]
    pub label: Option<String>,
    /// Memory that deriving the key from the password takes, in MiB: what each guess costs an attacker
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub kdf_memory: u32,
    /// Passes over that memory
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub kdf_passes: u32,
}

pub(super) fn run(args: &InitArgs, context: &Context) -> Result<Status, Failure> {
    let storage = context.storage()?;
    let open = context.open_options()?;
    if matches!(context.password, PasswordSource::RecoveryFile(_) | PasswordSource::RecoveryPrompt) {
        return Err(usage("init makes the recovery key itself: give a password"));
    }
    let like = match &args.like {
        None => None,
        Some(location) => {
            let source =
                args.like_password_file.as_ref().map_or(PasswordSource::Prompt, |f| PasswordSource::File(f.clone()));
            let unlock = source.unlock_by(&format!("password of {location}: "), false, LIKE_WAYS)?;
            Some(Repository::open(&Storage::at(location)?, &unlock, &open)?)
        }
    };
    let password = context.password.unlock("password of the new repository: ", true)?;
    interrupt::listen();
    let kdf =
        KdfParams { memory_kib: args.kdf_memory * 1024, passes: args.kdf_passes, lanes: KdfParams::STANDARD.lanes };
    if kdf.memory_kib < KdfParams::STANDARD.memory_kib || kdf.passes < KdfParams::STANDARD.passes {
        context.reporter.problem(
            "the password's key is derived with less work than the default (64 MiB, 3 passes): guessing it is cheaper",
        );
    }
    let init = InitOptions { kdf, label: args.label.clone().unwrap_or_else(default_label) };
    let traits = Traits { suite: args.suite, regions: &args.allowed_regions, parity: args.parity };
    let (repo, recovery) = match Repository::init_as(&traits, &storage, &password, like.as_ref(), &init, &open) {
        // It had not begun.
        Err(error @ (RepoError::AlreadyExists { .. } | RepoError::Occupied { .. } | RepoError::Location { .. })) => {
            return Err(error.into());
        }
        made => {
            made.kept("if `rekeep.json` was made, the repository is usable with its password; else run it again")?
        }
    };
    // A help on a full disk, and no promise.
    let _ = storage.keep_reserve();
    for warning in repo.warnings().iter().chain(&repo.storage().weaker()) {
        context.reporter.warning(warning);
    }
    if context.json {
        let result = json!({
            "repository": repo.id(),
            "location": repo.storage().location(),
            "allowed_regions": repo.regions(),
            "parity": args.parity,
            "recovery_key": recovery.0,
        });
        context.out.json(&result);
        return context.shown_once(UNSHOWN).map(|()| Status::Done);
    }
    context.out.line(format_args!("made repository {} at {}", repo.id(), repo.storage().location()));
    // Even with --quiet: it is shown only now.
    context.out.line(format_args!(
        "\nrecovery key (shown only now; without it or a password nobody can read this repository):\n\n    {}\n",
        recovery.0
    ));
    context.shown_once(UNSHOWN).map(|()| Status::Done)
}

/// `user@host`.
pub(super) fn default_label() -> String {
    let user = variable::value("USER").or_else(|| variable::value("USERNAME")).unwrap_or_else(|| "somebody".to_owned());
    format!("{user}@{}", host_name())
}
