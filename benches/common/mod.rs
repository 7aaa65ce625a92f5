//! What the drivers share: flags, measured child processes, medians.
#![allow(dead_code, reason = "each driver uses a part")]

#[allow(unused_imports, reason = "each driver uses a part")]
#[path = "../workload/mod.rs"]
pub mod workload;

use rekeep::{
    record::SystemClock,
    repo::{InitOptions, OpenOptions, Repository, Storage, Unlock, keys::KdfParams},
};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::{
    collections::HashMap,
    error::Error,
    ffi::OsStr,
    fs,
    io::{Read as _, Seek as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};
use workload::{Fractions, RecordSize, W3_RUNS, Workload, create_database, mutate_contiguous, mutate_scattered};

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// `--name value` pairs behind `--`; what cargo itself adds (`--bench`) is dropped, anything unknown is refused.
pub struct Flags(Vec<(String, String)>);

impl Flags {
    pub fn parse(known: &[&str]) -> Outcome<Self> {
        let mut pairs = Vec::new();
        let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
        while let Some(arg) = args.next() {
            let name = arg.strip_prefix("--").filter(|name| known.contains(name));
            let name = name.ok_or_else(|| format!("unknown argument {arg}; known: --{}", known.join(", --")))?;
            pairs.push((name.to_owned(), args.next().ok_or_else(|| format!("--{name} needs a value"))?));
        }
        Ok(Self(pairs))
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn number<T: std::str::FromStr>(&self, name: &str, default: T) -> Outcome<T> {
        match self.text(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| format!("--{name} {text}: not a number").into()),
        }
    }
}

/// What one process cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    pub wall_seconds: f64,
    pub cpu_seconds: f64,
    pub peak_mib: f64,
}

/// Runs a command to its end under GNU time, which waits for it and hands its exit status on. A status other than 0 is
/// an error: a peer that failed is not fast.
pub fn measure(program: &OsStr, args: &[&OsStr], env: &[(String, String)], dir: Option<&Path>) -> Outcome<Cost> {
    let report = tempfile::NamedTempFile::new()?;
    let errors = tempfile::NamedTempFile::new()?;
    let mut command = Command::new("/usr/bin/time");
    command.args(["-q", "-f", "%U %S %M", "-o"]).arg(report.path()).arg("--").arg(program).args(args);
    command.envs(env.iter().cloned()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors.reopen()?);
    if let Some(dir) = dir {
        command.current_dir(dir);
    }
    let start = Instant::now();
    let status = command.status().map_err(|cause| format!("/usr/bin/time (GNU time is needed): {cause}"))?;
    let wall_seconds = start.elapsed().as_secs_f64();
    if !status.success() {
        let errors = fs::read_to_string(errors.path()).unwrap_or_default();
        return Err(format!("{} {args:?}: {status}\n{errors}", program.display()).into());
    }
    let text = fs::read_to_string(report.path())?;
    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [user, system, peak_kib] = numbers[..] else { return Err(format!("GNU time said {text:?}").into()) };
    Ok(Cost { wall_seconds, cpu_seconds: user + system, peak_mib: peak_kib / 1024.0 })
}

/// What one process moved.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moved {
    pub wall_seconds: f64,
    pub cpu_seconds: f64,
    /// What its system calls read, page cache and its own cache files included.
    pub bytes_read: u64,
    /// What they wrote.
    pub bytes_written: u64,
}

/// Runs a command to its end and looks at its counters before they go. Gives its output too. Linux only.
pub fn run_counted(program: &OsStr, args: &[&OsStr], env: &[(String, String)]) -> Outcome<(Moved, Vec<u8>)> {
    let (mut out, mut errors) = (tempfile::tempfile()?, tempfile::NamedTempFile::new()?);
    let start = Instant::now();
    let mut command = Command::new(program);
    command.args(args).envs(env.iter().cloned()).stdin(Stdio::null());
    let mut child = command.stdout(out.try_clone()?).stderr(errors.reopen()?).spawn()?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(Pid::from_child(&child)), options)?.is_none() {}
    let wall_seconds = start.elapsed().as_secs_f64();
    let counters = fs::read_to_string(format!("/proc/{}/io", child.id()))?;
    let times = fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    let status = child.wait()?;
    if !status.success() {
        let mut text = String::new();
        errors.read_to_string(&mut text)?;
        return Err(format!("{} {args:?}: {status}\n{text}", program.display()).into());
    }
    let counter = |name: &str| {
        let line = counters.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok()).ok_or_else(|| format!("/proc says {counters:?}"))
    };
    // User and system time are fields 14 and 15, in hundredths; the name in field 2 may hold blanks.
    let fields: Vec<&str> = times.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: f64 = fields.get(11..13).unwrap_or_default().iter().filter_map(|it| it.parse::<f64>().ok()).sum();
    let mut output = Vec::new();
    out.rewind()?;
    out.read_to_end(&mut output)?;
    let moved = Moved {
        wall_seconds,
        cpu_seconds: ticks / 100.0,
        bytes_read: counter("rchar:")?,
        bytes_written: counter("wchar:")?,
    };
    Ok((moved, output))
}

/// The lengths of all files below `folder`.
pub fn lengths(folder: &Path) -> Outcome<HashMap<PathBuf, u64>> {
    let mut lengths = HashMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            } else {
                lengths.insert(entry.path(), entry.metadata()?.len());
            }
        }
    }
    Ok(lengths)
}

/// The bytes of all files below `path`.
pub fn bytes_below(path: &Path) -> Outcome<u64> {
    Ok(lengths(path)?.values().sum())
}

/// A new repository whose password is cheap to derive, so that nothing has to be taken off what is measured.
pub fn cheap_repository(place: &Path, cache: &Path, password: &str) -> Outcome<Repository> {
    let kdf = KdfParams { memory_kib: 8, passes: 1, lanes: 1 };
    let open = OpenOptions { cache_dir: cache.to_owned(), clock: Arc::new(SystemClock), host: "bench".to_owned() };
    let init = InitOptions { kdf, label: "bench".to_owned() };
    let storage = Storage::at(&place.to_string_lossy())?;
    Ok(Repository::init(&storage, &Unlock::Password(password.to_owned()), None, &init, &open)?.0)
}

/// Removes a file or a folder that may not be there.
pub fn remove(path: &Path) -> Outcome<()> {
    let gone = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match gone {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {cause}", path.display()).into())
        }
        _ => Ok(()),
    }
}

/// The database of W1, W2 or W3 in `dir`: made if it is not there, with those before it, each under another name first, so
/// that what bears the final name is complete.
pub fn make_state(dir: &Path, number: usize, records: u64) -> Outcome<PathBuf> {
    let path = dir.join(format!("w{number}-{records}.db"));
    if path.exists() {
        return Ok(path);
    }
    let unfinished = dir.join("unfinished");
    remove(&unfinished)?;
    if number <= 1 {
        create_database(&unfinished, &Workload { records, seed: 1, size: RecordSize::Wide }, &mut |_| true)?;
    } else {
        let before = make_state(dir, number - 1, records)?;
        fs::copy(before, &unfinished)?;
        if number == 2 {
            mutate_scattered(&unfinished, Fractions::W2, 2)?;
        } else {
            mutate_contiguous(&unfinished, 50_000, W3_RUNS, 3)?;
        }
    }
    fs::rename(&unfinished, &path)?;
    Ok(path)
}

/// CPU seconds that the calling thread has used; what runs beside it does not count. Linux only.
pub fn thread_cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e9
}

/// The folder to work in: `--workdir`, or a temporary one that goes away with the returned guard.
pub fn workdir(flags: &Flags) -> Outcome<(PathBuf, Option<tempfile::TempDir>)> {
    if let Some(dir) = flags.text("workdir") {
        fs::create_dir_all(dir)?;
        return Ok((fs::canonicalize(dir)?, None));
    }
    let guard = tempfile::tempdir()?;
    Ok((guard.path().to_owned(), Some(guard)))
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}
