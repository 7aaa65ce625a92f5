//! A run watches who belongs to its cluster: what was read while that changed, or after more nodes were lost than there are
//! copies, may lack records, and nothing that was read says so.

use super::{
    cluster::Cluster,
    error::Error,
    membership::Membership,
    patience::{Obstacle, Patience},
};
use crate::record::KeyRange;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Times that the nodes are asked before one that does not answer counts as a change.
const TRIES: u32 = 3;

/// The longest wait for nodes that may come back, once all else is read.
const LONGEST_GRACE: Duration = Duration::from_secs(30);

/// How often they are looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Times that ranges are read again because the cluster is whole again.
const MAX_AGAIN: u32 = 3;

/// Why what is read now may lack records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unrest {
    pub(super) reason: String,
    /// Whether a person may say that what is gone is gone.
    pub(super) acceptable: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Counts changes.
    epoch: u64,
    last: Membership,
    /// Ranges being read, by collection, with the epoch in which that began.
    readings: Vec<(usize, KeyRange, u64)>,
    again: u32,
}

/// Watches a cluster from a moment on.
#[derive(Debug)]
pub(super) struct Watch {
    /// Who was there when the run began.
    pub(super) before: Membership,
    state: Mutex<State>,
}

impl Watch {
    pub(super) fn new(before: Membership) -> Self {
        let state = State { last: before.clone(), ..State::default() };
        Self { before, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks who is there; gives that, and how often it changed so far.
    fn look(&self, cluster: &Cluster) -> (u64, Result<Membership, String>) {
        let mut now = cluster.membership();
        for _ in 1..TRIES {
            let is_whole = now.as_ref().is_ok_and(|now| now.split().is_none());
            // Where a wait has ended it was looked who is there already.
            let is_over = |error: &Error| {
                matches!(error, Error::GivenUp(_)) || error.is_timeout() && cluster.patience().has_given_up_any()
            };
            if is_whole || now.as_ref().is_err_and(is_over) {
                break;
            }
            // Who does not answer is no longer among those that are asked, and who came is.
            if cluster.refresh().is_err_and(|error| error.is_timeout()) {
                // Nobody says anything: asked once more nobody would.
                break;
            }
            now = cluster.membership();
        }
        let mut state = self.state();
        match now {
            Ok(now) => {
                if now.moved_since(&state.last) {
                    state.epoch += 1;
                    state.last = now.clone();
                }
                (state.epoch, Ok(now))
            }
            Err(error) => {
                state.epoch += 1;
                (state.epoch, Err(error.to_string()))
            }
        }
    }

    /// A range begins to be read.
    pub(super) fn begin(&self, cluster: &Cluster, collection: usize, range: &KeyRange) {
        let (epoch, _) = self.look(cluster);
        let mut state = self.state();
        state.readings.retain(|(of, known, _)| *of != collection || known.intersection(range).is_none());
        state.readings.push((collection, range.clone(), epoch));
    }

    /// A range was read: the epoch in which that began. `None` if nothing of it was.
    pub(super) fn end(&self, collection: usize, range: &KeyRange) -> Option<u64> {
        let mut state = self.state();
        let is_of = |(of, known, _): &(usize, KeyRange, u64)| *of == collection && known.intersection(range).is_some();
        let began = state.readings.iter().filter(|reading| is_of(reading)).map(|(.., epoch)| *epoch).min();
        state.readings.retain(|reading| !is_of(reading));
        began
    }

    /// Why what is read now may lack records, if so; `began` is the epoch in which the reading began, `copies` how many copies
    /// each record had when the run began.
    pub(super) fn unrest(&self, cluster: &Cluster, began: Option<u64>, copies: u32) -> Option<Unrest> {
        let (epoch, now) = self.look(cluster);
        let unrest = |reason: String, acceptable| Some(Unrest { reason, acceptable });
        let now = match now {
            Ok(now) => now,
            Err(error) => {
                return unrest(format!("the nodes could not be asked whether all are still there: {error}"), true);
            }
        };
        if let Some(split) = now.split() {
            return unrest(split, false);
        }
        if let Some(untold) = self.before.untold().or_else(|| now.untold()) {
            return unrest(untold, true);
        }
        let lost = now.lost_since(&self.before);
        if lost.count() >= copies.max(1) as usize {
            let copies = if copies > 1 { format!("{copies} copies") } else { "one copy".to_owned() };
            return unrest(format!("{} since the backup began, and each record has {copies}", lost.in_words()), true);
        }
        if began.is_some_and(|began| began != epoch) {
            return unrest("nodes came or went while it was read".to_owned(), true);
        }
        None
    }

    /// Whether the cluster is such that what lacked records may be whole if it is read now. Nodes that may still come back are
    /// waited for.
    pub(super) fn settles(
        &self,
        cluster: &Cluster,
        copies: u32,
        patience: &Patience,
        is_stopped: &dyn Fn() -> bool,
    ) -> bool {
        {
            let mut state = self.state();
            state.again += 1;
            if state.again > MAX_AGAIN {
                return false;
            }
        }
        if self.before.untold().is_some() {
            // However often it is read: whether that was while the cluster stood still is not known.
            return false;
        }
        let settled = self.wait_for_rest(cluster, copies, patience, is_stopped);
        if settled {
            patience.begin_anew();
        } else {
            patience.passed(&Obstacle::Whole);
        }
        settled
    }

    /// Waits no longer than is left of the time without progress: what was waited for already is looked for once.
    fn wait_for_rest(
        &self,
        cluster: &Cluster,
        copies: u32,
        patience: &Patience,
        is_stopped: &dyn Fn() -> bool,
    ) -> bool {
        let copies = copies.max(1) as usize;
        let until = Instant::now() + patience.left().min(LONGEST_GRACE);
        loop {
            let whole = cluster.refresh().is_ok();
            match self.look(cluster).1 {
                Ok(now) => {
                    let lost = now.lost_since(&self.before);
                    if whole && now.split().is_none() && lost.count() < copies && now.silent == self.before.silent {
                        return true;
                    }
                    // What started anew does not bring back what it had.
                    if lost.restarted.len() >= copies {
                        return false;
                    }
                    patience.wait_for_return(&lost.in_words(), now.split().as_deref());
                }
                Err(error) => patience.wait_for_return("", Some(&error)),
            }
            if is_stopped() || Instant::now() >= until {
                return false;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}
