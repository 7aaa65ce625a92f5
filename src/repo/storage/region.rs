//! Where data may lie: a repository may name regions, and nothing is created in another, or where nobody says where that is.

use super::{RepoError, Storage, failed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What folders of this host are called among regions.
pub const LOCAL: &str = "local";

/// What is allowed, and where the place is, for all who share it.
#[derive(Default)]
pub(super) struct Bounds {
    /// Each of them must hold the place's region.
    allowed: Mutex<Vec<Vec<String>>>,
    found: OnceLock<Option<String>>,
}

impl Bounds {
    fn allowed(&self) -> MutexGuard<'_, Vec<Vec<String>>> {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage {
    /// From now on nothing is created here unless the place lies in one of these regions, nor by any clone. What was asked before
    /// stands beside it.
    pub fn only_in(&self, regions: &[String]) {
        let mut allowed = self.bounds.allowed();
        if !regions.is_empty() && !allowed.iter().any(|other| other == regions) {
            allowed.push(regions.to_vec());
        }
    }

    /// The region that the place lies in, by what the service says of it and not by what it is told; `None` where it says nothing.
    pub fn region(&self) -> Result<Option<String>, RepoError> {
        if let Some(found) = self.bounds.found.get() {
            return Ok(found.clone());
        }
        let found = self
            .retry(|| self.backend.region())
            .map_err(|error| failed("asking for the region of", &self.location, error))?;
        Ok(self.bounds.found.get_or_init(|| found).clone())
    }

    /// Fails unless the place lies where data may lie.
    ///
    /// # Errors
    /// [`RepoError::Region`].
    pub fn stays_within(&self) -> Result<(), RepoError> {
        let allowed = self.bounds.allowed().clone();
        if allowed.is_empty() {
            return Ok(());
        }
        let region = self.region()?;
        for allowed in allowed {
            if !region.as_ref().is_some_and(|region| allowed.contains(region)) {
                let (location, allowed) = (self.location.clone(), allowed.join(", "));
                let region = region.unwrap_or_else(|| "a region that nobody tells".to_owned());
                return Err(RepoError::Region { location, region, allowed });
            }
        }
        Ok(())
    }
}
