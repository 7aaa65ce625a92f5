//! Telling somebody: webhooks when a run ends, and when a backup that should be there is not.

use super::{
    AHEAD_MILLIS, Service,
    config::{Routine, Webhook},
    folders::Folders,
    is_ahead,
    job::{Ending, JobState, StoredJob, Work},
    mail::send,
    places::Where,
    tags::routine_tag,
};
use crate::{ops::OpsError, record::Timestamp, repo::By};
use serde_json::{Value as Json, json};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

/// Times that an address is tried, and the pause between them.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);

/// What is told where nothing else is said.
const STANDARD: [&str; 3] = ["failure", "incomplete", "missing"];

/// The name of an end, for webhooks.
const fn event_of(state: JobState) -> &'static str {
    match state {
        JobState::Skipped => "skip",
        state => state.as_str(),
    }
}

/// Whether somebody who named these events and routines wants to hear of it.
fn wants(on: &[String], routines: &[String], event: &str, routine: Option<&str>) -> bool {
    let is_event = if on.is_empty() { STANDARD.contains(&event) } else { on.iter().any(|own| own == event) };
    let is_meant = routines.is_empty() || routine.is_some_and(|routine| routines.iter().any(|own| own == routine));
    is_event && is_meant
}

impl Service {
    /// Tells whoever wants to know how a job ended. Waits for them.
    pub(super) fn notify_end(&self, job: &StoredJob, ending: &Ending, began: Timestamp, ended: Timestamp) {
        let event = event_of(ending.state);
        let number = |name: &str| ending.result.get(name).and_then(Json::as_u64);
        let told = json!({
            "event": event,
            "job": job.id,
            "verb": job.work.verb(),
            "routine": job.work.routine(),
            "type": job.work.kind(),
            "state": ending.state.as_str(),
            "error": ending.error,
            "error-kind": ending.error_kind,
            "started": began.to_string(),
            "finished": ended.to_string(),
            "records": number("records"),
            "bytes": number("bytes"),
        });
        self.tell(event, job.work.routine(), &told);
    }

    /// When the next backup will be missing, if none comes.
    pub(super) fn next_missing(&self, told: &HashMap<String, Timestamp>) -> Option<Timestamp> {
        let config = self.config();
        let waits = |(name, routine): &(&String, &Routine)| routine.is_enabled() && !told.contains_key(*name);
        let ages = config.routines.iter().filter(waits).filter_map(|(_, routine)| routine.max_age);
        // A second later at the latest than the shortest age after now.
        ages.min().map(|age| Timestamp::from_millis(self.now().as_millis() + i64::from(age.min(30)) * 1000 + 1))
    }

    fn tell(&self, event: &str, routine: Option<&str>, told: &Json) {
        let config = self.config();
        let mail = config.service.mail.as_ref().filter(|mail| wants(&mail.on, &mail.routines, event, routine));
        if let Some(Err(words)) = mail.map(|mail| send(&config, mail, told)) {
            tracing::error!(event, routine, "no mail could be sent: {words}");
        }
        let wanted = |webhook: &&Webhook| wants(&webhook.on, &webhook.routines, event, routine);
        for webhook in config.service.webhooks.iter().filter(wanted) {
            if let Err(words) = post(&webhook.url, told) {
                tracing::error!(event, routine, "a webhook was not told: {words}");
            }
        }
    }

    /// Tells of routines whose newest full or incremental backup is older than `max-age` says, once for each backup that is
    /// missing. Called by the dispatcher, which must not wait.
    pub(super) fn look_for_missing(self: &Arc<Self>, told: &mut HashMap<String, Timestamp>) {
        let config = self.config();
        if config.routines.values().all(|routine| routine.max_age.is_none()) {
            return;
        }
        let now = self.now();
        let made = match self.state.newest_made(Timestamp::from_millis(now.as_millis().saturating_add(AHEAD_MILLIS))) {
            Ok(made) => made,
            Err(error) => return tracing::error!("{error}"),
        };
        for (name, routine) in &config.routines {
            let Some(max_age) = routine.max_age.filter(|_| routine.is_enabled()) else { continue };
            // What never was is missing since the service began.
            let newest = made.get(name).copied().unwrap_or(self.began);
            // Another service may run what this one left to it.
            let elsewhere = self.elsewhere(name).filter(|elsewhere| !is_ahead(*elsewhere, now));
            let newest = elsewhere.map_or(newest, |elsewhere| newest.max(elsewhere));
            let is_old = now.as_millis() - newest.as_millis() > i64::from(max_age) * 1000;
            if !is_old {
                told.remove(name);
                continue;
            }
            if told.get(name) == Some(&newest) {
                continue;
            }
            told.insert(name.clone(), newest);
            let (service, name) = (Arc::clone(self), name.clone());
            std::thread::spawn(move || service.tell_missing(&name, newest, max_age));
        }
    }

    /// The newest backup that another service made, as far as somebody looked.
    fn elsewhere(&self, routine: &str) -> Option<Timestamp> {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner).get(routine).copied()
    }

    /// Tells that no backup came, unless the repository holds a newer one than this service knows.
    fn tell_missing(&self, name: &str, newest: Timestamp, max_age: u32) {
        match self.newest_in_repository(name) {
            Ok(Some(end)) if end > newest => {
                self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), end);
                self.wake.notify_all();
                return;
            }
            Ok(_) => {}
            // A repository that cannot be read is no reason to be silent.
            Err(error) => tracing::error!(routine = name, "whether a backup is there cannot be told: {error}"),
        }
        let age = (self.now().as_millis() - newest.as_millis()) / 1000;
        tracing::error!(routine = name, "there is no backup of the last {max_age} s");
        let words = json!({ "event": "missing", "routine": name, "newest": newest.to_string(), "age-seconds": age });
        self.tell("missing", Some(name), &words);
    }

    fn newest_in_repository(&self, name: &str) -> Result<Option<Timestamp>, OpsError> {
        let (config, now) = (self.config(), self.now());
        let Some(routine) = config.routines.get(name) else { return Ok(None) };
        if let Some(folders) = Folders::of_routine(&config, routine)? {
            let ends = folders.kept(name)?.into_iter().map(|kept| {
                let end = kept.metadata.finished.unwrap_or(kept.metadata.created);
                Timestamp::from_millis(end)
            });
            return Ok(ends.filter(|end| !is_ahead(*end, now)).max());
        }
        let repo = self.places.open(&config, &Where::of_routine(&config, routine)?, false)?;
        repo.refresh()?;
        let heads = repo.heads(By::Tag(&routine_tag(name)), None)?;
        Ok(heads.iter().rfind(|head| !is_ahead(head.end, now)).map(|head| head.end))
    }
}

#[cfg(feature = "http")]
fn post(url: &str, told: &Json) -> Result<(), String> {
    let mut words = String::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            std::thread::sleep(PAUSE);
        }
        match super::web::request("POST", url, Some(told.to_string())) {
            Ok(_) => return Ok(()),
            Err(error) => words = error,
        }
    }
    Err(words)
}

#[cfg(not(feature = "http"))]
fn post(_: &str, _: &Json) -> Result<(), String> {
    let _ = (TRIES, PAUSE);
    Err("this program was built without HTTP (feature `http`)".to_owned())
}

/// Whether an end is told at all: retention and verification speak for themselves only when they fail.
pub(super) const fn is_told(work: &Work, state: JobState) -> bool {
    match work {
        Work::Backup { .. } | Work::Restore { .. } | Work::Drill { .. } => true,
        Work::Retention { .. } | Work::Verify { .. } => matches!(state, JobState::Failure | JobState::Incomplete),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_says_nothing_hears_of_what_went_wrong() {
        assert!(wants(&[], &[], "failure", Some("r")) && !wants(&[], &[], "success", Some("r")));
        let (on, of) = (["success".to_owned()], ["r".to_owned()]);
        assert!(wants(&on, &of, "success", Some("r")) && !wants(&on, &of, "success", Some("s")));
        assert!(!wants(&on, &of, "success", None) && !wants(&on, &of, "failure", Some("r")));
    }
}
