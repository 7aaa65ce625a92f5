//! Sessions of browsers: a random number in a cookie stands for a key that was shown once. What it may is looked up anew with
//! every request.

use crate::{
    record::Timestamp,
    repo::{RepoError, entropy},
};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How long a session lasts.
const LAST_MILLIS: i64 = 12 * 3_600_000;

/// How long it lasts without a request.
const IDLE_MILLIS: i64 = 3_600_000;

/// A session that began later than this from now was begun by a clock that has been set back since.
const BACK_MILLIS: i64 = 60_000;

/// Sessions at once; of more, the one that did nothing for longest ends.
const MOST: usize = 10_000;

/// The cookie's name.
pub(super) const COOKIE: &str = "rekeep_session";

struct Session {
    key_hash: String,
    began: Timestamp,
    seen: Timestamp,
}

/// All of them.
pub(super) struct Sessions {
    /// What tokens of forms are made with.
    secret: [u8; 32],
    /// By the hash of what the cookie says: who reads memory learns no cookie.
    open: Mutex<HashMap<[u8; 32], Session>>,
}

fn name_of(cookie: &str) -> [u8; 32] {
    *blake3::hash(cookie.as_bytes()).as_bytes()
}

impl Sessions {
    /// None.
    ///
    /// # Errors
    /// [`RepoError`] if the system gives no random numbers.
    pub(super) fn new() -> Result<Self, RepoError> {
        let mut secret = [0; 32];
        entropy::fill(&mut secret)?;
        Ok(Self { secret, open: Mutex::default() })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one for a key with this hash; gives what the cookie is to say.
    ///
    /// # Errors
    /// [`RepoError`] if the system gives no random numbers.
    pub(super) fn begin(&self, key_hash: String, now: Timestamp) -> Result<String, RepoError> {
        let mut bytes = [0; 32];
        entropy::fill(&mut bytes)?;
        let cookie = data_encoding::BASE64URL_NOPAD.encode(&bytes);
        let mut open = self.open();
        open.retain(|_, session| session.is_open(now));
        if open.len() >= MOST {
            let idlest = open.iter().min_by_key(|(_, session)| session.seen).map(|(name, _)| *name);
            idlest.map(|name| open.remove(&name));
        }
        open.insert(name_of(&cookie), Session { key_hash, began: now, seen: now });
        Ok(cookie)
    }

    /// The hash of the key that a cookie stands for.
    pub(super) fn find(&self, cookie: &str, now: Timestamp) -> Option<String> {
        let mut open = self.open();
        let session = open.get_mut(&name_of(cookie)).filter(|session| session.is_open(now))?;
        session.seen = now;
        Some(session.key_hash.clone())
    }

    /// Ends one.
    pub(super) fn end(&self, cookie: &str) {
        self.open().remove(&name_of(cookie));
    }

    /// The token of the forms of a session, or of somebody without one.
    pub(super) fn token(&self, of: &str) -> String {
        let hash = blake3::keyed_hash(&self.secret, of.as_bytes());
        data_encoding::BASE64URL_NOPAD.encode(&hash.as_bytes()[..16])
    }

    /// Whether a token is that of a session; compared in constant time.
    pub(super) fn is_token(&self, of: &str, token: &str) -> bool {
        blake3::hash(self.token(of).as_bytes()) == blake3::hash(token.as_bytes())
    }
}

impl Session {
    fn is_open(&self, now: Timestamp) -> bool {
        let age = |since: Timestamp| now.as_millis() - since.as_millis();
        // A clock that was set back would let it last for as much longer.
        age(self.began) > -BACK_MILLIS && age(self.began) < LAST_MILLIS && age(self.seen) < IDLE_MILLIS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + minutes * 60_000)
    }

    #[test]
    fn a_session_ends_by_itself_when_it_is_told_to_and_when_nobody_uses_it() {
        let sessions = Sessions::new().unwrap();
        let cookie = sessions.begin("h".to_owned(), at(0)).unwrap();
        assert_eq!(sessions.find(&cookie, at(59)).as_deref(), Some("h"));
        assert!(sessions.find(&cookie, at(58 + 59)).is_some() && sessions.find("other", at(0)).is_none());
        assert!(sessions.find(&cookie, at(59 + 59 + 61)).is_none());
        let busy = sessions.begin("h".to_owned(), at(0)).unwrap();
        assert!((0..23).all(|half| sessions.find(&busy, at(half * 30)).is_some()));
        assert!(sessions.find(&busy, at(12 * 60)).is_none());
        let ahead = sessions.begin("h".to_owned(), at(24 * 60)).unwrap();
        assert!(sessions.find(&ahead, at(24 * 60)).is_some() && sessions.find(&ahead, at(0)).is_none());
        let left = sessions.begin("h".to_owned(), at(0)).unwrap();
        sessions.end(&left);
        assert!(sessions.find(&left, at(0)).is_none());
    }

    #[test]
    fn tokens_are_those_of_one_session() {
        let sessions = Sessions::new().unwrap();
        let token = sessions.token("a");
        assert!(sessions.is_token("a", &token) && !sessions.is_token("b", &token) && !sessions.is_token("a", ""));
        assert!(!Sessions::new().unwrap().is_token("a", &token));
    }
}
