//! Trying a place before it is trusted: rights, promises, clock, latency, throughput. All in a folder of its own.

use super::{Class, PROBE, Storage, Traffic, Verdict, local::TEMPORARY, probe};
use crate::repo::RepoError;
use bytes::Bytes;
use serde::Serialize;
use std::{
    fs,
    io::ErrorKind,
    path::Path,
    time::{Duration, Instant},
};

/// Small requests whose time is measured.
const ASKED: usize = 20;

/// How a place is tried.
#[derive(Debug, Clone, Copy)]
pub struct TrialOptions {
    /// Objects that are written and read at once to measure throughput; 0 to leave that out.
    pub connections: u16,
    /// Their length.
    pub object_bytes: usize,
}

/// What one may do at a place; the words are why not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rights {
    /// Make objects.
    pub create: Option<String>,
    /// Read them.
    pub read: Option<String>,
    /// List them.
    pub list: Option<String>,
    /// Delete them.
    pub delete: Option<String>,
}

impl Rights {
    /// Whether backups can be made with them.
    #[must_use]
    pub const fn suffice(&self) -> bool {
        self.create.is_none() && self.read.is_none() && self.list.is_none()
    }

    /// Name and, if it lacks, why.
    #[must_use]
    pub fn each(&self) -> [(&'static str, Option<&str>); 4] {
        [
            ("create", self.create.as_deref()),
            ("read", self.read.as_deref()),
            ("list", self.list.as_deref()),
            ("delete", self.delete.as_deref()),
        ]
    }
}

/// How fast a place is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Speed {
    /// The middle one of the times that small requests took.
    pub median_millis: f64,
    /// The longest.
    pub slowest_millis: f64,
    /// Bytes a second that were written, all connections together; `None` if not measured.
    pub write_bytes_per_second: Option<f64>,
    /// Bytes a second that were read.
    pub read_bytes_per_second: Option<f64>,
}

/// What trying a place came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// What one may do there.
    pub rights: Rights,
    /// What it keeps of what rekeep relies on; `None` if the rights do not suffice to find out.
    pub verdict: Option<Verdict>,
    /// How far its clock is ahead of ours; `None` if it does not tell the time.
    pub clock_ahead_millis: Option<i64>,
    /// How fast it is; `None` if the rights do not suffice to find out.
    pub speed: Option<Speed>,
    /// What the trial took.
    pub traffic: Traffic,
}

impl Storage {
    /// Tries the place.
    ///
    /// # Errors
    /// If it does not answer. That it refuses is a finding.
    pub fn try_out(&self, options: &TrialOptions) -> Result<Trial, RepoError> {
        let had_root = self.folder().is_some_and(Path::exists);
        let tried = self.try_each(options);
        self.clear_away(had_root);
        tried
    }

    /// Empty folders are all that a trial leaves in a folder.
    fn clear_away(&self, had_root: bool) {
        let Some(root) = self.folder() else { return };
        let made = [root.join(PROBE), root.join(TEMPORARY), root.to_owned()];
        for folder in made.iter().take(if had_root { 2 } else { 3 }) {
            // One that holds something stays.
            let _ = fs::remove_dir(folder);
        }
    }

    fn try_each(&self, options: &TrialOptions) -> Result<Trial, RepoError> {
        let rights = self.rights()?;
        let (mut verdict, mut speed) = (None, None);
        if rights.suffice() {
            verdict = Some(self.probe()?);
            speed = Some(self.speed(options)?);
        }
        Ok(Trial { rights, verdict, clock_ahead_millis: self.clock_offset_millis(), speed, traffic: self.traffic() })
    }

    fn rights(&self) -> Result<Rights, RepoError> {
        let name = format!("{}right", probe::folder()?);
        let list = refusal(self.list(PROBE).map(drop))?;
        let create = refusal(self.create_unlooked(&name, &Bytes::from_static(b"right"), Class::Metadata).map(drop))?;
        let read = match self.read(&name) {
            Err(RepoError::Missing { .. }) => None,
            read => refusal(read.map(drop))?,
        };
        let delete = refusal(self.delete(&name))?;
        Ok(Rights { create, read, list, delete })
    }

    fn speed(&self, options: &TrialOptions) -> Result<Speed, RepoError> {
        let folder = probe::folder()?;
        let small = format!("{folder}small");
        self.create_unlooked(&small, &Bytes::from_static(b"small"), Class::Metadata)?;
        let mut times = Vec::with_capacity(ASKED);
        for _ in 0..ASKED {
            let began = Instant::now();
            self.read(&small)?;
            times.push(began.elapsed());
        }
        times.sort_unstable();
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        let mut speed = Speed {
            median_millis: millis(times[ASKED / 2]),
            slowest_millis: millis(times[ASKED - 1]),
            write_bytes_per_second: None,
            read_bytes_per_second: None,
        };
        let mut made = vec![small];
        let measured = if options.connections > 0 {
            self.throughput(&folder, options, &mut made).map(|(write, read)| {
                (speed.write_bytes_per_second, speed.read_bytes_per_second) = (Some(write), Some(read));
            })
        } else {
            Ok(())
        };
        // What may not be deleted is removed by a prune that may.
        drop(self.delete_each(&made));
        measured.map(|()| speed)
    }

    fn throughput(
        &self,
        folder: &str,
        options: &TrialOptions,
        made: &mut Vec<String>,
    ) -> Result<(f64, f64), RepoError> {
        let names: Vec<String> = (0..options.connections).map(|number| format!("{folder}{number}")).collect();
        made.extend(names.iter().cloned());
        let mut random = vec![0; options.object_bytes];
        getrandom::fill(&mut random).map_err(|error| RepoError::Internal(format!("no random numbers: {error}")))?;
        let random = Bytes::from(random);
        let all = |work: &(dyn Fn(&str) -> Result<(), RepoError> + Sync)| {
            let began = Instant::now();
            std::thread::scope(|scope| {
                let threads: Vec<_> = names.iter().map(|name| scope.spawn(move || work(name))).collect();
                threads.into_iter().filter_map(|thread| thread.join().ok()).collect::<Result<Vec<()>, _>>()
            })?;
            let bytes = options.object_bytes as f64 * f64::from(options.connections);
            Ok::<f64, RepoError>(bytes / began.elapsed().as_secs_f64().max(1e-6))
        };
        let write = all(&|name| self.create_unlooked(name, &random, Class::Metadata).map(drop))?;
        let read = all(&|name| self.read(name).map(drop))?;
        Ok((write, read))
    }
}

const fn is_refusal(kind: ErrorKind) -> bool {
    use ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(kind, PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull)
}

/// Why something was refused, for want of a right or of room; other failures are errors.
fn refusal(done: Result<(), RepoError>) -> Result<Option<String>, RepoError> {
    match done {
        Ok(()) => Ok(None),
        Err(RepoError::Storage { operation, object, source }) if is_refusal(source.kind()) => {
            Ok(Some(format!("{operation} {object}: {source}")))
        }
        Err(error) => Err(error),
    }
}
