//! The storage's own clock: how long something has lain there, by nobody else's time (`format-spec/protocol.md`, *Fence*).

use super::{Class, RepoError, Storage, failed, probe};
use bytes::Bytes;
use std::{
    collections::HashMap,
    io::ErrorKind,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// How many dates are remembered: of running leases there are few.
const MAX_DATES: usize = 4096;

/// What is known of the clock.
#[derive(Default)]
pub(super) struct OwnClock {
    /// What it said, and when that was by our monotonic clock, which stands still while the machine sleeps: what has lain there
    /// never looks older than it is.
    told: Mutex<Option<(i64, Instant)>>,
    /// Objects never change, and neither do their dates.
    dates: Mutex<HashMap<String, i64>>,
}

impl Storage {
    /// For how many milliseconds an object has lain there by the storage's own clock; `None` where there is no such clock, or
    /// no such object.
    ///
    /// # Errors
    /// [`RepoError::Storage`] if the clock cannot be asked.
    pub fn age_millis(&self, name: &str) -> Result<Option<i64>, RepoError> {
        let known = self.clock.dates.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied();
        let made = match known {
            Some(made) => Some(made),
            None => self.made_at(name)?,
        };
        let Some(made) = made else { return Ok(None) };
        let mut dates = self.clock.dates.lock().unwrap_or_else(PoisonError::into_inner);
        if dates.len() >= MAX_DATES {
            dates.clear();
        }
        dates.insert(name.to_owned(), made);
        drop(dates);
        Ok(self.own_now()?.map(|now| now.saturating_sub(made)))
    }

    fn made_at(&self, name: &str) -> Result<Option<i64>, RepoError> {
        match self.retry(|| self.backend.made_at(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            made => made.map_err(|error| failed("reading", name, error)),
        }
    }

    /// What the storage's clock says: it is asked once, and then followed.
    fn own_now(&self) -> Result<Option<i64>, RepoError> {
        let mut told = self.clock.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((said, at)) = *told {
            let since = i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX);
            return Ok(Some(said.saturating_add(since)));
        }
        let now = self.retry(|| self.backend.now()).map_err(|error| failed("reading", probe::PROBE, error))?;
        let now = match now {
            Some(now) => Some(now),
            None => self.dated_probe()?,
        };
        *told = now.map(|now| (now, Instant::now()));
        Ok(now)
    }

    /// An object that is made now says what time it is there.
    fn dated_probe(&self) -> Result<Option<i64>, RepoError> {
        let name = format!("{}now", probe::folder()?);
        self.create_unlooked(&name, &Bytes::from_static(b"now"), Class::Metadata)?;
        let made = self.made_at(&name);
        // What may not be deleted is removed by a prune that may.
        let _ = self.delete(&name);
        made
    }
}
