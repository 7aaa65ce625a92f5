//! Several repositories looked at for one question. What those that cannot be read would have said is named, and keeps nobody from
//! what the others say.

use super::{
    Service,
    briefs::Listed,
    config::{Config, Routine},
    places::Where,
};
use crate::{ops::OpsError, repo::Repository, report::ErrorKind};
use serde::Serialize;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::Builder,
    time::{Duration, Instant},
};
use utoipa::ToSchema;

/// How long a question waits for repositories of which it needs more than one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Repositories that are looked at at once.
const READERS: usize = 8;

/// A repository that could not be read for a list that is over several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Unread {
    /// How people name it: `storage far`.
    pub place: String,
    /// Why not.
    pub error: String,
    /// The kind of error, for programs.
    #[schema(value_type = String)]
    pub kind: ErrorKind,
}

impl Unread {
    pub(super) fn new(place: &str, error: &OpsError) -> Self {
        Self { place: place.to_owned(), error: error.to_string(), kind: error.kind() }
    }

    /// Whether a routine backs up there.
    pub(super) fn is_of(&self, routine: &Routine) -> bool {
        self.place == words_of(&place_name(routine))
    }

    /// As an error of its own, where nothing else can be told.
    pub(super) fn refusal(&self) -> OpsError {
        let words = if self.error.contains(&self.place) {
            self.error.clone()
        } else {
            format!("{}: {}", self.place, self.error)
        };
        OpsError::refused(self.kind, words)
    }
}

/// One that could be read.
pub(super) struct Looked {
    /// How people name it.
    pub(super) place: String,
    pub(super) repo: Repository,
    pub(super) listed: Arc<Listed>,
}

/// What came of looking at several.
#[derive(Default)]
pub(super) struct Survey {
    /// By place. Repositories that are not made yet are left out.
    pub(super) looked: Vec<Looked>,
    pub(super) unread: Vec<Unread>,
}

/// What a routine backs up to, as the configuration names it.
pub(super) type PlaceName = (Option<String>, Option<String>);

/// That of a routine.
pub(super) fn place_name(routine: &Routine) -> PlaceName {
    // The storage counts where both are said.
    match &routine.storage {
        Some(storage) => (Some(storage.clone()), None),
        None => (None, routine.repository.clone()),
    }
}

/// The same in words.
pub(super) fn words_of(name: &PlaceName) -> String {
    match name {
        (Some(storage), _) => format!("storage {storage}"),
        (None, repository) => format!("repository {}", repository.as_deref().unwrap_or_default()),
    }
}

type Answer = (String, Result<Option<(Repository, Arc<Listed>)>, OpsError>);

impl Service {
    /// Looks at all repositories of these routines; those that keep files are passed over.
    pub(super) fn survey<'c>(
        self: &Arc<Self>,
        config: &Arc<Config>,
        routines: impl Iterator<Item = &'c Routine>,
    ) -> Survey {
        let its = routines.filter(|routine| !config.keeps_files(routine));
        let places: BTreeMap<PlaceName, &Routine> = its.map(|routine| (place_name(routine), routine)).collect();
        let (mut survey, mut answers): (Survey, Vec<Answer>) = Default::default();
        let mut queue = Vec::new();
        for (name, routine) in places {
            let place = match Where::of_routine(config, routine) {
                Ok(place) => place,
                Err(error) => {
                    survey.unread.push(Unread::new(&words_of(&name), &error));
                    continue;
                }
            };
            // Most are open, and nothing is new.
            match self.places.at_hand(&place) {
                Some(repo) => {
                    let listed = self.briefs.of(&place.name, &repo);
                    answers.push((place.name, listed.map(|listed| Some((repo, listed)))));
                }
                None => queue.push((place.name.clone(), place)),
            }
        }
        if let ([(name, place)], true) = (queue.as_slice(), answers.is_empty()) {
            answers.push((name.clone(), self.ask_one(config, place)));
        } else {
            let (service, config) = (Arc::clone(self), Arc::clone(config));
            answers.extend(at_once(queue, move |place| service.ask_one(&config, place)));
        }
        for (place, answer) in answers {
            match answer {
                Ok(Some((repo, listed))) => survey.looked.push(Looked { place, repo, listed }),
                Ok(None) => {}
                Err(error) => survey.unread.push(Unread::new(&place, &error)),
            }
        }
        survey.looked.sort_by(|one, other| one.place.cmp(&other.place));
        survey.unread.sort_by(|one, other| one.place.cmp(&other.place));
        for unread in &survey.unread {
            tracing::warn!(repository = unread.place, "a list goes without it: {}", unread.error);
        }
        survey
    }

    fn ask_one(&self, config: &Config, place: &Where) -> Result<Option<(Repository, Arc<Listed>)>, OpsError> {
        match self.places.look(config, place) {
            Err(error) if error.kind() == ErrorKind::NoRepository => Ok(None),
            Err(error) => Err(error),
            Ok(repo) => {
                let listed = self.briefs.of(&place.name, &repo)?;
                Ok(Some((repo, listed)))
            }
        }
    }
}

/// Does something for each of these on a few threads, and waits no longer than somebody has patience: what has not come by then is
/// an error of its own. Who is at it goes on, so that it is at hand when somebody asks again.
pub(super) fn at_once<T: Send + 'static, R: Send + 'static>(
    items: Vec<(String, T)>,
    work: impl Fn(&T) -> Result<R, OpsError> + Send + Sync + 'static,
) -> Vec<(String, Result<R, OpsError>)> {
    let mut open: Vec<String> = items.iter().map(|(name, _)| name.clone()).collect();
    let readers = items.len().min(READERS);
    let (sender, receiver) = mpsc::channel();
    let queue = Arc::new(Mutex::new(VecDeque::from(items)));
    let work = Arc::new(work);
    for _ in 0..readers {
        let (work, sender, queue) = (Arc::clone(&work), sender.clone(), Arc::clone(&queue));
        let read = move || {
            let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            while let Some((name, item)) = next() {
                if sender.send((name, work(&item))).is_err() {
                    return;
                }
            }
        };
        if let Err(error) = Builder::new().name("survey".to_owned()).spawn(read) {
            tracing::error!("no thread to read storages: {error}");
        }
    }
    drop(sender);
    let (until, mut answers) = (Instant::now() + PATIENCE, Vec::new());
    while !open.is_empty() {
        let Ok((name, answer)) = receiver.recv_timeout(until.saturating_duration_since(Instant::now())) else { break };
        open.retain(|other| *other != name);
        answers.push((name, answer));
    }
    for name in open {
        let words = format!("{name}: it has not answered within {} s", PATIENCE.as_secs());
        answers.push((name, Err(OpsError::refused(ErrorKind::Storage, words))));
    }
    answers
}
