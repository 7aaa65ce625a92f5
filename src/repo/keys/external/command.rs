//! A shell command that wraps and unwraps keys.

use crate::repo::keys::KeyWrapper;
use data_encoding::BASE64;
use std::{
    io::{Read, Write},
    process::{Command, Stdio},
};
use zeroize::Zeroizing;

/// More than any wrapped key takes in base64.
const MAX_OUTPUT_BYTES: u64 = 64 * 1024;

/// Tells the command what is asked of it: `wrap` or `unwrap`.
const ACTION: &str = "REKEEP_KEY_ACTION";

/// A command that reads one line of base64 and prints one: the wrapped form of what it reads if `REKEEP_KEY_ACTION` is `wrap`, what
/// was wrapped if it is `unwrap`.
#[derive(Debug, Clone)]
pub struct CommandKeys {
    command: String,
}

impl CommandKeys {
    /// Keys kept by this command.
    #[must_use]
    pub const fn new(command: String) -> Self {
        Self { command }
    }

    fn run(&self, action: &str, input: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        let failed = |error: std::io::Error| format!("`{}`: {error}", self.command);
        let shell = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
        let mut child = Command::new(shell.0)
            .args([shell.1, &self.command])
            .env(ACTION, action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            let line = Zeroizing::new(BASE64.encode(input) + "\n");
            // One that does not read says what is wrong by its status.
            let _ = stdin.write_all(line.as_bytes());
        }
        let mut printed = Zeroizing::new(Vec::new());
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_OUTPUT_BYTES + 1).read_to_end(&mut printed).map_err(failed)?;
        }
        let status = child.wait().map_err(failed)?;
        if printed.len() as u64 > MAX_OUTPUT_BYTES {
            return Err(format!("`{}` printed more than {MAX_OUTPUT_BYTES} bytes", self.command));
        }
        if !status.success() {
            return Err(format!("`{}` to {action} a key: {status}", self.command));
        }
        let line = printed.trim_ascii();
        BASE64.decode(line).map(Zeroizing::new).map_err(|_| format!("what `{}` printed is no base64", self.command))
    }
}

impl KeyWrapper for CommandKeys {
    fn provider(&self) -> &'static str {
        "command"
    }

    fn wrap(&self, key: &[u8; 32]) -> Result<Vec<u8>, String> {
        self.run("wrap", key).map(|wrapped| wrapped.to_vec())
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        self.run("unwrap", wrapped)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn keys(command: &str) -> CommandKeys {
        CommandKeys::new(command.to_owned())
    }

    #[test]
    fn what_a_command_wraps_it_unwraps() {
        let turning = keys(r"base64 -d | tr '\000-\177\200-\377' '\200-\377\000-\177' | base64 -w0");
        let wrapped = turning.wrap(&[7; 32]).unwrap();
        assert_ne!(wrapped, [7; 32]);
        assert_eq!(**turning.unwrap(&wrapped).unwrap(), [7; 32]);
        let told = keys(r#"read line; if [ "$REKEEP_KEY_ACTION" = wrap ]; then echo AAAA; else echo BBBB; fi"#);
        assert_eq!(told.wrap(&[1; 32]).unwrap(), [0, 0, 0]);
        assert_eq!(**told.unwrap(&[1]).unwrap(), [4, 16, 65]);
    }

    #[test]
    fn a_command_that_fails_or_prints_something_else_is_named() {
        for (command, says) in [("exit 3", "exit status: 3"), ("echo '!'", "no base64"), ("yes", "more than")] {
            let error = keys(command).unwrap(&[1]).unwrap_err();
            assert!(error.contains(says) && error.contains(command), "{error}");
        }
    }
}
