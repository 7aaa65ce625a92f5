//! Commands of a person's that a verb waits for: bounded in time and in what they print, and stopped with all that they started.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// Between two looks whether a command has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is kept of what a command printed: its end.
const MAX_KEPT: u64 = 2048;

/// What a command may print.
const MAX_PRINTED: u64 = 64 << 20;

/// A command, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounded {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Why it did not end well, in words; `None` if it did.
    pub wrong: Option<String>,
    /// Whether it was stopped because whoever waited was asked to stop.
    pub stopped: bool,
    /// The end of what it printed.
    pub printed: String,
}

impl Ended {
    fn wrong(words: impl Into<String>, stopped: bool, printed: String) -> Self {
        Self { wrong: Some(words.into()), stopped, printed }
    }
}

impl Bounded {
    /// Runs it to its end, with these variables beside those of this process. It has no standard input.
    #[must_use]
    pub fn run(&self, environment: &[(&str, String)], stop: &dyn Fn() -> bool) -> Ended {
        let Some((program, arguments)) = self.command.split_first() else {
            return Ended::wrong("there is no command", false, String::new());
        };
        let begun = (|| {
            let out = tempfile::tempfile()?;
            let mut child = Command::new(program);
            child.args(arguments).envs(environment.iter().map(|(name, value)| (*name, value)));
            child.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out.try_clone()?);
            // What it starts is stopped with it.
            #[cfg(unix)]
            std::os::unix::process::CommandExt::process_group(&mut child, 0);
            Ok((child.spawn()?, out))
        })();
        let (mut child, mut out): (Child, File) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                let error: std::io::Error = error;
                return Ended::wrong(format!("it cannot be run: {error}"), false, String::new());
            }
        };
        let ended = self.wait(&mut child, &out, stop);
        let printed = tail(&mut out);
        match ended {
            Ok(status) if status.success() => Ended { wrong: None, stopped: false, printed },
            Ok(status) => Ended::wrong(format!("it ended with {status}"), false, printed),
            Err((words, stopped)) => Ended::wrong(words, stopped, printed),
        }
    }

    fn wait(&self, child: &mut Child, out: &File, stop: &dyn Fn() -> bool) -> Result<ExitStatus, (String, bool)> {
        let began = Instant::now();
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {}
                Err(error) => return Err((error.to_string(), false)),
            }
            let is_long = out.metadata().is_ok_and(|out| out.len() > MAX_PRINTED);
            let (why, stopped) = if stop() {
                ("it was stopped".to_owned(), true)
            } else if began.elapsed() >= self.timeout {
                (format!("it took more than {} s and was stopped", self.timeout.as_secs()), false)
            } else if is_long {
                ("it printed without end and was stopped".to_owned(), false)
            } else {
                std::thread::sleep(LOOK_EVERY);
                continue;
            };
            end(child);
            return Err((why, stopped));
        }
    }
}

/// Ends a command with all that it started.
fn end(child: &mut Child) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// The end of what was printed.
fn tail(out: &mut File) -> String {
    let mut kept = Vec::new();
    let read = (|| {
        let len = out.metadata()?.len();
        out.seek(SeekFrom::Start(len.saturating_sub(MAX_KEPT)))?;
        out.take(MAX_KEPT).read_to_end(&mut kept)
    })();
    match read {
        Ok(_) => String::from_utf8_lossy(&kept).trim().to_owned(),
        Err(error) => format!("what it printed cannot be read: {error}"),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(line: &str, timeout: Duration) -> Bounded {
        Bounded { command: ["sh", "-c", line].map(str::to_owned).to_vec(), timeout }
    }

    const LONG: Duration = Duration::from_mins(10);

    #[test]
    fn what_a_command_is_told_and_prints_comes_through() {
        let ended = shell("echo $TOLD; echo wrong >&2; exit 3", LONG).run(&[("TOLD", "it".to_owned())], &|| false);
        assert_eq!(ended.printed, "it\nwrong");
        assert!(ended.wrong.unwrap().contains('3'));
        assert_eq!(shell("true", LONG).run(&[], &|| false).wrong, None);
    }

    #[test]
    fn a_command_that_hangs_is_stopped_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let line = format!("sleep 600 & echo $! > {}; wait", pid.display());
        let begun = || std::fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n'));
        let ended = shell(&line, LONG).run(&[], &begun);
        assert!(ended.stopped, "{ended:?}");
        let child: i32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        let child = rustix::process::Pid::from_raw(child).unwrap();
        // Its parent is gone; whoever takes it in takes note of its end sooner or later.
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero()));
        while state().is_ok_and(|stat| !stat.contains(") Z ")) {
            std::thread::yield_now();
        }
        let ended = shell("sleep 600", Duration::ZERO).run(&[], &|| false);
        assert!(!ended.stopped && ended.wrong.unwrap().contains("took more than"));
    }

    #[test]
    fn a_command_that_is_not_there_says_so() {
        let none = Bounded { command: vec!["/no/such/program".to_owned()], timeout: LONG };
        assert!(none.run(&[], &|| false).wrong.unwrap().contains("cannot be run"));
    }
}
