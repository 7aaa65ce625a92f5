//! Where passwords and recovery keys come from: a file, a command, the environment, or a prompt without echo.

use super::{
    common::{GlobalArgs, OtherPassword},
    exit::{CliError, Failure, usage},
};
use crate::repo::{RepoError, Unlock, keys::external::CommandKeys};
use std::{
    io::{IsTerminal, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

/// The longest password that is read.
const MAX_PASSWORD_BYTES: u64 = 64 * 1024;

/// Where to get what unlocks a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordSource {
    /// The recovery key in this file.
    RecoveryFile(PathBuf),
    /// The recovery key, asked for.
    RecoveryPrompt,
    /// The content of this file.
    File(PathBuf),
    /// What this shell command prints.
    Command(String),
    /// A key that this shell command keeps.
    KeyCommand(String),
    /// A key that this service keeps.
    KeyService(String),
    /// The value of this variable, such as `REKEEP_PASSWORD`.
    Variable(&'static str),
    /// A person.
    Prompt,
}

/// The variables that say what unlocks a repository.
struct Variables {
    file: &'static str,
    command: &'static str,
    key_command: &'static str,
    key_service: &'static str,
    password: &'static str,
}

const OWN: Variables = Variables {
    file: "REKEEP_PASSWORD_FILE",
    command: "REKEEP_PASSWORD_COMMAND",
    key_command: "REKEEP_KEY_COMMAND",
    key_service: "REKEEP_KEY_SERVICE",
    password: "REKEEP_PASSWORD",
};

const OTHER: Variables = Variables {
    file: "REKEEP_TO_PASSWORD_FILE",
    command: "REKEEP_TO_PASSWORD_COMMAND",
    key_command: "REKEEP_TO_KEY_COMMAND",
    key_service: "REKEEP_TO_KEY_SERVICE",
    password: "REKEEP_TO_PASSWORD",
};

impl PasswordSource {
    /// What was typed goes before the environment; there a file goes before a command, and that before the password itself.
    #[must_use]
    pub fn choose(global: &GlobalArgs, environment: &dyn Fn(&str) -> Option<String>) -> Self {
        if let Some(command) = &global.key_command {
            return Self::KeyCommand(command.clone());
        }
        if let Some(service) = &global.key_service {
            return Self::KeyService(service.clone());
        }
        match (&global.recovery_key, &global.password_file, &global.password_command) {
            (Some(Some(file)), ..) => return Self::RecoveryFile(file.clone()),
            (Some(None), ..) => return Self::RecoveryPrompt,
            (None, Some(file), _) => return Self::File(file.clone()),
            (None, None, Some(command)) => return Self::Command(command.clone()),
            (None, None, None) => {}
        }
        Self::of_environment(&OWN, environment)
    }

    fn of_environment(names: &Variables, environment: &dyn Fn(&str) -> Option<String>) -> Self {
        if let Some(file) = environment(names.file) {
            return Self::File(file.into());
        }
        if let Some(command) = environment(names.command) {
            return Self::Command(command);
        }
        if let Some(command) = environment(names.key_command) {
            return Self::KeyCommand(command);
        }
        if let Some(service) = environment(names.key_service) {
            return Self::KeyService(service);
        }
        if environment(names.password).is_some() { Self::Variable(names.password) } else { Self::Prompt }
    }

    /// What unlocks the repository that is copied to: flags and variables of its own, never those of the other one.
    #[must_use]
    pub fn choose_other(typed: &OtherPassword, environment: &dyn Fn(&str) -> Option<String>) -> Self {
        match (&typed.to_key_command, &typed.to_key_service, &typed.to_recovery_key) {
            (Some(command), ..) => return Self::KeyCommand(command.clone()),
            (_, Some(service), _) => return Self::KeyService(service.clone()),
            (_, _, Some(file)) => return Self::RecoveryFile(file.clone()),
            (None, None, None) => {}
        }
        match (&typed.to_password_file, &typed.to_password_command) {
            (Some(file), _) => Self::File(file.clone()),
            (None, Some(command)) => Self::Command(command.clone()),
            (None, None) => Self::of_environment(&OTHER, environment),
        }
    }

    /// Whether somebody is asked for it.
    #[must_use]
    pub const fn asks_somebody(&self) -> bool {
        matches!(self, Self::Prompt | Self::RecoveryPrompt)
    }

    /// Gets it. `new` asks twice.
    pub fn unlock(&self, prompt: &str, new: bool) -> Result<Unlock, Failure> {
        self.unlock_by(prompt, new, OWN_WAYS)
    }

    /// The same of another repository than the command's own; `ways` says how it is given where nobody can be asked.
    pub fn unlock_by(&self, prompt: &str, new: bool, ways: &str) -> Result<Unlock, Failure> {
        let unlock = self.given(prompt, new, ways)?;
        if new { unmarked(unlock) } else { Ok(unlock) }
    }

    fn given(&self, prompt: &str, new: bool, ways: &str) -> Result<Unlock, Failure> {
        match self {
            Self::RecoveryFile(file) => {
                let key = secret_in(file, "recovery key")?;
                Ok(Unlock::Recovery(key.trim_start_matches(MARK).trim().to_owned()))
            }
            Self::RecoveryPrompt => Ok(Unlock::Recovery(ask("recovery key: ", RECOVERY_WAYS)?)),
            Self::File(file) => from_file(file).map(Unlock::Password),
            Self::Command(command) => from_command(command).map(Unlock::Password),
            Self::KeyCommand(command) => Ok(key_command(command)),
            Self::KeyService(service) => key_service(service),
            Self::Variable(name) => {
                let password = std::env::var(name)
                    .map_err(|_| usage(format!("{name} is not valid UTF-8: use a password file")))?;
                not_empty(password, name).map(Unlock::Password)
            }
            Self::Prompt if new => ask_twice(prompt, ways).map(Unlock::Password),
            Self::Prompt => ask(prompt, ways).map(Unlock::Password),
        }
    }
}

/// The byte order mark that some editors put at the beginning of a text.
const MARK: char = '\u{feff}';

/// Whether a password begins with a byte order mark, which nobody sees and nobody types.
fn is_marked(unlock: &Unlock) -> bool {
    matches!(unlock, Unlock::Password(password) if password.starts_with(MARK))
}

/// Refuses a new password that begins so.
fn unmarked(unlock: Unlock) -> Result<Unlock, Failure> {
    if is_marked(&unlock) {
        let words =
            "the password begins with a byte order mark (U+FEFF), which nobody can type: save its file without one";
        return Err(usage(words));
    }
    Ok(unlock)
}

/// What a repository said to a password, and what may be the reason.
pub fn explained(error: RepoError, unlock: &Unlock) -> RepoError {
    match error {
        RepoError::WrongPassword { location, slots, beside } if is_marked(unlock) => {
            let words = "; the password begins with a byte order mark (U+FEFF): save its file without one";
            RepoError::WrongPassword { location, slots, beside: format!("{beside}{words}") }
        }
        error => error,
    }
}

/// What opens a slot whose key a command keeps.
pub fn key_command(command: &str) -> Unlock {
    Unlock::External(Arc::new(CommandKeys::new(command.to_owned())))
}

/// What opens a slot whose key a service keeps.
#[cfg(feature = "kms")]
pub fn key_service(name: &str) -> Result<Unlock, Failure> {
    let service = crate::repo::keys::external::KeyService::parse(name).map_err(usage)?;
    Ok(Unlock::External(Arc::new(service)))
}

/// What opens a slot whose key a service keeps: this program was built without.
#[cfg(not(feature = "kms"))]
pub fn key_service(name: &str) -> Result<Unlock, Failure> {
    Err(usage(format!("{name}: this program was built without key services (feature `kms`)")))
}

/// A password for a slot to be made: from a file, or asked for twice.
pub fn new_password(file: Option<&Path>) -> Result<Unlock, Failure> {
    match file {
        Some(file) => unmarked(Unlock::Password(from_file(file)?)),
        None => ask_twice("new password: ", NEW_WAYS).map(Unlock::Password),
    }
}

/// How the password of the repository is given where nobody can be asked.
pub const OWN_WAYS: &str = "no password: give --password-file, --password-command, REKEEP_PASSWORD";

/// The same of one that is made.
const NEW_WAYS: &str = "no new password: give --new-password-file, --new-key-command, --new-key-service";

/// The same of a repository that is copied to.
pub const OTHER_WAYS: &str = "no password of the repository that is copied to: give --to-password-file, --to-password-command, REKEEP_TO_PASSWORD";

/// The same of a repository that another one is made like.
pub const LIKE_WAYS: &str = "no password of the --like repository: give --like-password-file";

/// How a recovery key is given where nobody can be asked.
const RECOVERY_WAYS: &str = "no recovery key: give --recovery-key=FILE";

pub(super) fn from_file(path: &Path) -> Result<String, Failure> {
    secret_in(path, "password")
}

/// A secret in a file; `what` names it.
fn secret_in(path: &Path, what: &str) -> Result<String, Failure> {
    if let Some(secret) = super::agent::secret_of_path(path)? {
        return Ok(secret.to_string());
    }
    let object = path.display().to_string();
    let operation = if what == "password" { "reading the password file" } else { "reading the recovery key's file" };
    let failed = |error| CliError::io(operation, object.clone(), error);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_PASSWORD_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    let file = if what == "password" { "password file" } else { "recovery key's file" };
    one_line(bytes, &format!("the {file} {object}"))
}

pub(super) fn from_command(command: &str) -> Result<String, Failure> {
    one_line(printed_by(command, "the password command", MAX_PASSWORD_BYTES)?, "what the password command printed")
}

/// What a shell command prints, up to one byte more than `most`.
pub(super) fn printed_by(command: &str, what: &str, most: u64) -> Result<Vec<u8>, Failure> {
    let failed = |error| CliError::io("running", format!("{what} {command}"), error);
    let shell = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let mut child = Command::new(shell.0).args([shell.1, command]).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut bytes = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    let status = child.wait().map_err(failed)?;
    if !status.success() {
        return Err(failed(std::io::Error::other(status.to_string())).into());
    }
    Ok(bytes)
}

/// One line end is cut off; anything else belongs to the password, except that it must be text and one line.
fn one_line(mut bytes: Vec<u8>, object: &str) -> Result<String, Failure> {
    if bytes.len() as u64 > MAX_PASSWORD_BYTES {
        return Err(usage(format!("{object} is longer than {MAX_PASSWORD_BYTES} bytes")));
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| usage(format!("{object} is not UTF-8 text")))?;
    if text.contains('\n') {
        return Err(usage(format!("{object} has more than one line")));
    }
    not_empty(text, object)
}

fn not_empty(password: String, object: &str) -> Result<String, Failure> {
    if password.is_empty() {
        Err(usage(format!("{object} is empty: an empty password is refused")))
    } else {
        Ok(password)
    }
}

fn ask(prompt: &str, ways: &str) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(usage(format!("{ways}, or run it on a terminal")));
    }
    let typed = rpassword::prompt_password(prompt).map_err(|error| CliError::io("reading", "the password", error))?;
    not_empty(typed, "what was typed")
}

fn ask_twice(prompt: &str, ways: &str) -> Result<String, Failure> {
    let first = ask(prompt, ways)?;
    let second = ask("the same again: ", ways)?;
    if first == second { Ok(first) } else { Err(usage("the two passwords differ; nothing was done")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Cli;
    use clap::Parser as _;

    fn chosen(typed: &[&str], environment: &[(&str, &str)]) -> PasswordSource {
        let line = ["rekeep", "stats"].iter().chain(typed);
        let global = Cli::try_parse_from(line).unwrap().global;
        PasswordSource::choose(&global, &|name| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_was_typed_goes_before_the_environment() {
        let all = [("REKEEP_PASSWORD", "p"), ("REKEEP_PASSWORD_COMMAND", "c"), ("REKEEP_PASSWORD_FILE", "f")];
        assert_eq!(chosen(&["--password-command", "x"], &all), PasswordSource::Command("x".into()));
        assert_eq!(chosen(&["--key-command", "k"], &all), PasswordSource::KeyCommand("k".into()));
        assert_eq!(chosen(&[], &[("REKEEP_KEY_COMMAND", "k"), all[0]]), PasswordSource::KeyCommand("k".into()));
        assert_eq!(chosen(&["--recovery-key"], &all), PasswordSource::RecoveryPrompt);
        assert_eq!(chosen(&["--recovery-key=k"], &all), PasswordSource::RecoveryFile("k".into()));
        assert_eq!(chosen(&[], &all), PasswordSource::File("f".into()));
        assert_eq!(chosen(&[], &all[..2]), PasswordSource::Command("c".into()));
        assert_eq!(chosen(&[], &all[..1]), PasswordSource::Variable("REKEEP_PASSWORD"));
        assert_eq!(chosen(&[], &[]), PasswordSource::Prompt);
    }

    #[test]
    fn a_password_file_is_one_line_that_is_not_empty() {
        let read = |text: &str| one_line(text.as_bytes().to_vec(), "it");
        assert_eq!(read("secret\n").unwrap(), "secret");
        assert_eq!(read("secret\r\n").unwrap(), "secret");
        assert_eq!(read(" a b ").unwrap(), " a b ");
        for bad in ["", "\n", "a\nb\n", "a\n\n"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        assert!(one_line(vec![0xff], "it").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_password_command_must_succeed() {
        assert_eq!(from_command("echo hidden").unwrap(), "hidden");
        assert!(from_command("echo hidden; exit 3").is_err());
    }
}
