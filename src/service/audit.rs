//! Who did what: entries that name the one before them, in the state at once and in a repository soon after.

use super::{
    Service, ServiceError,
    job::{Ending, StoredJob},
    places::Where,
};
use crate::{
    ops::OpsError,
    record::Timestamp,
    repo::{
        Repository,
        audit::{AuditLink, AuditSeries},
    },
};
use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};
use utoipa::ToSchema;

/// Between two looks at a thread that is to end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Between two looks whether there is something to keep in the repository.
const PAUSE: Duration = Duration::from_secs(10);

/// Entries of one object of the repository.
const AT_ONCE: u32 = 500;

/// The most of what an entry says of one thing.
const MAX_BYTES: usize = 500;

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// When.
    pub at: String,
    /// Who: a key's name, a certificate's, `schedule`, `-` where nobody needs a key, `service` itself.
    pub who: String,
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What: a request's method and path, a job, `started`, `stopped`.
    pub did: String,
    /// What came of it: the status of an answer, how a job ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Refusals that were not written down one by one since the last that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<u64>,
}

fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_BYTES);
    if end == text.len() { text.to_owned() } else { format!("{}… ({} bytes)", &text[..end], text.len()) }
}

impl Entry {
    /// Of a request that was answered.
    pub(super) fn of_request(now: Timestamp, who: &str, from: Option<String>, did: &str, status: u16) -> Self {
        let (who, did) = (cut(who), cut(did));
        Self { at: now.to_string(), who, from, did, outcome: Some(status.to_string()), more: None }
    }

    /// Of a job that ended.
    pub(super) fn of_job(now: Timestamp, job: &StoredJob, ending: &Ending) -> Self {
        let words = [job.work.verb(), job.work.kind(), job.work.routine().unwrap_or_default()];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        Self {
            at: now.to_string(),
            who: cut(&job.by),
            from: None,
            did: cut(&format!("job {}: {}", job.id, words.join(" "))),
            outcome: Some(ending.state.as_str().to_owned()),
            more: None,
        }
    }

    /// Of the service itself.
    pub(super) fn of_service(now: Timestamp, did: &str) -> Self {
        let who = "service".to_owned();
        Self { at: now.to_string(), who, from: None, did: did.to_owned(), outcome: None, more: None }
    }
}

/// An entry as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct KeptEntry {
    /// Its number.
    pub id: i64,
    /// What was done.
    #[serde(flatten)]
    pub entry: Entry,
    /// The hash over it and the hash of the one before.
    pub hash: String,
    /// The object of the repository that holds it, once that is there.
    pub kept: Option<String>,
}

/// The newest entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AuditPage {
    /// The newest first.
    pub entries: Vec<KeptEntry>,
    /// Whether each of them has the hash that follows from the one before it.
    pub intact: bool,
    /// Entries that wait to be kept in the repository; `null` where none is configured.
    pub waiting: Option<u64>,
}

/// Who keeps entries in the repository.
#[derive(Default)]
pub(super) struct Auditor {
    thread: Mutex<Option<JoinHandle<()>>>,
    ended: Arc<(Mutex<bool>, Condvar)>,
    refused: Mutex<(Option<Timestamp>, u64)>,
}

impl Service {
    /// Writes down what was done.
    pub(super) fn note(&self, entry: &Entry) {
        if let Err(error) = self.state.append_audit(entry) {
            tracing::error!(did = entry.did, who = entry.who, "what was done could not be written down: {error}");
        }
    }

    /// Writes down that somebody was refused: one of a second, so that whoever knocks without end fills nothing.
    pub(super) fn note_refusal(&self, mut entry: Entry) {
        let now = self.now();
        {
            let mut refused = self.auditor.refused.lock().unwrap_or_else(PoisonError::into_inner);
            if refused.0.is_some_and(|last| (0..1000).contains(&(now.as_millis() - last.as_millis()))) {
                refused.1 += 1;
                return;
            }
            entry.more = (refused.1 > 0).then_some(refused.1);
            *refused = (Some(now), 0);
        }
        self.note(&entry);
    }

    /// The newest entries below a number.
    ///
    /// # Errors
    /// [`ServiceError::State`].
    pub(super) fn audit_page(&self, before: Option<i64>, limit: u32) -> Result<AuditPage, ServiceError> {
        let (entries, intact) = self.state.audit_page(before, limit)?;
        let is_kept = self.config().service.audit.is_some();
        let waiting = if is_kept { Some(self.state.audit_waiting()?) } else { None };
        Ok(AuditPage { entries, intact, waiting })
    }

    /// Begins to keep entries in the repository, if one is configured.
    pub(super) fn begin_auditing(self: &Arc<Self>) -> Result<(), ServiceError> {
        let service = Arc::downgrade(self);
        let ended = Arc::clone(&self.auditor.ended);
        let work = move || {
            let mut series = None;
            loop {
                let is_over = {
                    let (lock, wake) = &*ended;
                    let over = lock.lock().unwrap_or_else(PoisonError::into_inner);
                    let waited = wake.wait_timeout_while(over, PAUSE, |over| !*over);
                    *waited.unwrap_or_else(PoisonError::into_inner).0
                };
                let Some(service) = service.upgrade() else { return };
                if let Err(error) = service.keep_audit(&mut series) {
                    // The next object begins a series of its own: what became of the last one is not known.
                    series = None;
                    tracing::error!("the audit cannot be kept in the repository yet: {error}");
                }
                if is_over {
                    return;
                }
            }
        };
        let thread = Builder::new().name("audit".to_owned()).spawn(work);
        let thread = thread
            .map_err(|error| ServiceError::Listen { place: "the audit".to_owned(), reason: error.to_string() })?;
        *self.auditor.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// Keeps what is left, and ends; `false` if it did not by then.
    pub(super) fn end_auditing(&self, until: Instant) -> bool {
        *self.auditor.ended.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.auditor.ended.1.notify_all();
        let thread = self.auditor.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return true };
        if !ends_by(until, || thread.is_finished()) {
            return false;
        }
        if thread.join().is_err() {
            tracing::error!("the audit panicked: this is a defect");
        }
        true
    }

    fn audit_repository(&self) -> Result<Option<Repository>, OpsError> {
        let config = self.config();
        let Some(settings) = &config.service.audit else { return Ok(None) };
        let place = match (&settings.storage, &settings.repository) {
            (Some(name), _) => Where::of_storage(&config, name)?,
            (None, Some(name)) => Where::of_repository(&config, name)?,
            (None, None) => return Ok(None),
        };
        self.places.open(&config, &place, true).map(Some)
    }

    /// Keeps what waits.
    fn keep_audit(&self, series: &mut Option<AuditSeries>) -> Result<(), ServiceError> {
        let mut repo = None;
        loop {
            if self.config().service.audit.is_none() {
                return Ok(());
            }
            let waiting = self.state.audit_to_keep(AT_ONCE)?;
            let Some(last) = waiting.last().map(|(id, _)| *id) else { return Ok(()) };
            if repo.is_none() {
                repo = self.audit_repository()?;
            }
            let Some(repo) = &repo else { return Ok(()) };
            let current = if let Some(series) = series {
                series
            } else {
                let before: Option<AuditLink> = self.state.audit_link()?;
                series.insert(repo.begin_audit(before).map_err(OpsError::from)?)
            };
            let entries = waiting.into_iter().map(|(_, entry)| entry).collect();
            let link = repo.append_audit(current, entries).map_err(OpsError::from)?;
            self.state.audit_is_kept(last, &link)?;
        }
    }
}

/// Waits until something is so; `false` if it is not by then.
pub(super) fn ends_by(until: Instant, is_over: impl Fn() -> bool) -> bool {
    while !is_over() {
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    true
}
