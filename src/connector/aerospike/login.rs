//! Logging in with user and password, where the cluster wants it; and the sessions that nodes grant, by whose tokens later
//! connections are opened until they are over.

use super::wire::{FRAME_HEAD_BYTES, KIND_SECURITY, put_frame_head};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use zeroize::Zeroizing;

const HEAD_BYTES: usize = 16;
const AUTHENTICATE: u8 = 0;
const LOGIN: u8 = 20;
const USER: u8 = 0;
const CREDENTIAL: u8 = 3;
const CLEAR_PASSWORD: u8 = 4;
const SESSION_TOKEN: u8 = 5;
const SESSION_TTL: u8 = 6;

/// A session is not used in its last minute, or its last tenth if that is shorter.
const MARGIN: Duration = Duration::from_mins(1);

/// The server has no security: nobody needs to log in.
pub(super) const NOT_CONFIGURED: u8 = 52;
/// The same of servers that cannot have it.
pub(super) const NOT_SUPPORTED: u8 = 51;

/// The salt that every client of Aerospike uses.
const SALT: [u8; 16] = [0xf4, 0x6b, 0x0b, 0xbe, 0xcf, 0xfe, 0x8d, 0x1b, 0x06, 0x67, 0xd8, 0x4f, 0x6d, 0xc1, 0xd8, 0xa9];

/// The longest password that is hashed; what comes behind is not looked at.
const MAX_HASHED: usize = 72;

/// Who logs in, ready to be sent.
#[derive(Clone)]
pub(super) struct Credential {
    /// Nobody where the connection's certificate says who it is.
    user: Option<String>,
    hash: Zeroizing<String>,
    /// The password itself, where a directory is to judge it.
    clear: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Credential {
    /// Hashes the password as servers keep it.
    pub(super) fn new(user: &str, password: &str) -> Result<Self, String> {
        if password.is_empty() || password.len() > MAX_HASHED {
            return Err("a password has 1 to 72 bytes".to_owned());
        }
        Ok(Self { user: Some(user.to_owned()), hash: hash(password.as_bytes())?, clear: None })
    }

    /// The same, and the password as it is beside it: somebody else than the cluster keeps it.
    pub(super) fn external(user: &str, password: &str) -> Result<Self, String> {
        if password.is_empty() {
            return Err("the password is empty".to_owned());
        }
        let hash = hash(&password.as_bytes()[..password.len().min(MAX_HASHED)])?;
        let clear = Some(Zeroizing::new(password.to_owned()));
        Ok(Self { user: Some(user.to_owned()), hash, clear })
    }

    /// Whoever the connection's certificate names.
    pub(super) fn by_certificate() -> Self {
        Self { user: None, hash: Zeroizing::default(), clear: None }
    }

    /// The frame of a login.
    pub(super) fn request(&self) -> Zeroizing<Vec<u8>> {
        let Some(user) = &self.user else { return frame(LOGIN, &[]) };
        let mut fields = vec![(USER, user.as_bytes()), (CREDENTIAL, self.hash.as_bytes())];
        fields.extend(self.clear.as_ref().map(|clear| (CLEAR_PASSWORD, clear.as_bytes())));
        frame(LOGIN, &fields)
    }

    /// The frame that opens a connection by a session's token.
    pub(super) fn session_request(&self, token: &[u8]) -> Zeroizing<Vec<u8>> {
        match &self.user {
            Some(user) => frame(AUTHENTICATE, &[(USER, user.as_bytes()), (SESSION_TOKEN, token)]),
            None => frame(AUTHENTICATE, &[(SESSION_TOKEN, token)]),
        }
    }
}

fn hash(password: &[u8]) -> Result<Zeroizing<String>, String> {
    let hashed = bcrypt::hash_with_salt(password, 10, SALT).map_err(|error| error.to_string())?;
    Ok(Zeroizing::new(hashed.format_for_version(bcrypt::Version::TwoA)))
}

fn frame(command: u8, fields: &[(u8, &[u8])]) -> Zeroizing<Vec<u8>> {
    // Room at once: a vector that grows leaves what it held behind.
    let len = HEAD_BYTES + fields.iter().map(|(_, value)| value.len() + 5).sum::<usize>();
    let mut out = Zeroizing::new(Vec::with_capacity(FRAME_HEAD_BYTES + len));
    put_frame_head(&mut out, KIND_SECURITY, len);
    out.extend_from_slice(&[0, 0, command, fields.len() as u8]);
    out.resize(FRAME_HEAD_BYTES + HEAD_BYTES, 0);
    for (kind, value) in fields {
        out.extend_from_slice(&(value.len() as u32 + 1).to_be_bytes());
        out.push(*kind);
        out.extend_from_slice(value);
    }
    out
}

/// The result code of an answer's body; `None` if it is no answer.
pub(super) fn result(body: &[u8]) -> Option<u8> {
    (body.len() >= HEAD_BYTES).then(|| body[1])
}

/// Reads the token and the seconds that a login's answer grants; `None` where it grants no session.
#[must_use]
pub fn parse_session(body: &[u8]) -> Option<(&[u8], u32)> {
    let mut rest = body.get(HEAD_BYTES..)?;
    let (mut token, mut ttl) = (None, None);
    for _ in 0..body[3] {
        let (len, tail) = rest.split_first_chunk()?;
        let (field, tail) = tail.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        let (kind, value) = field.split_first()?;
        match *kind {
            SESSION_TOKEN => token = Some(value),
            SESSION_TTL => ttl = value.try_into().ok().map(u32::from_be_bytes),
            _ => {}
        }
        rest = tail;
    }
    token.filter(|token| !token.is_empty()).zip(ttl)
}

/// A token, and until when it is good.
type Session = (Zeroizing<Vec<u8>>, Instant);

/// The sessions that nodes granted, by address.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<String, Session>>);

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    /// The token for a node, if it granted one that still is good.
    pub(super) fn token(&self, address: &str) -> Option<Zeroizing<Vec<u8>>> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(address).filter(|(_, until)| Instant::now() < *until).map(|(token, _)| token.clone())
    }

    /// Keeps what a login's answer grants.
    pub(super) fn keep(&self, address: &str, answer: &[u8]) {
        let Some((token, seconds)) = parse_session(answer) else { return };
        let ttl = Duration::from_secs(u64::from(seconds));
        let Some(until) = Instant::now().checked_add(ttl.saturating_sub(MARGIN.min(ttl / 10))) else { return };
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(address.to_owned(), (Zeroizing::new(token.to_vec()), until));
    }

    /// A node no longer takes its token.
    pub(super) fn forget(&self, address: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_kept_until_shortly_before_its_end() {
        let answer = |seconds: u32| {
            let mut body = vec![0, 0, LOGIN, 2];
            body.resize(HEAD_BYTES, 0);
            body.extend_from_slice(&[0, 0, 0, 4, SESSION_TOKEN, b'a', b'b', b'c', 0, 0, 0, 5, SESSION_TTL]);
            body.extend_from_slice(&seconds.to_be_bytes());
            body
        };
        assert_eq!(parse_session(&answer(7)), Some((b"abc".as_slice(), 7)));
        for cut in 0..answer(7).len() {
            assert_eq!(parse_session(&answer(7)[..cut]), None, "{cut}");
        }
        let sessions = Sessions::default();
        sessions.keep("a:1", &answer(86_400));
        sessions.keep("b:1", &answer(0));
        assert_eq!(sessions.token("a:1").unwrap().as_slice(), b"abc");
        assert_eq!(sessions.token("b:1"), None);
        sessions.forget("a:1");
        assert_eq!(sessions.token("a:1"), None);
    }

    #[test]
    fn a_login_carries_the_hash_that_servers_keep() {
        let credential = Credential::new("admin", "admin").unwrap();
        assert!(credential.hash.starts_with("$2a$10$7EqJtq98hPqEX7fNZaFWoO"), "{}", credential.hash.as_str());
        assert_eq!(credential.hash.len(), 60);
        let request = credential.request();
        assert_eq!(&request[..12], [2, 2, 0, 0, 0, 0, 0, (request.len() - 8) as u8, 0, 0, 20, 2]);
        assert_eq!(&request[24..34], [0, 0, 0, 6, 0, b'a', b'd', b'm', b'i', b'n']);
    }

    #[test]
    fn an_external_login_sends_the_password_too_and_one_by_certificate_sends_nothing() {
        let long = "x".repeat(100);
        for password in ["secret", long.as_str()] {
            let request = Credential::external("joe", password).unwrap().request();
            assert_eq!(request[11], 3);
            let clear =
                [&(password.len() as u32 + 1).to_be_bytes()[..], &[CLEAR_PASSWORD], password.as_bytes()].concat();
            assert!(request.ends_with(&clear));
        }
        assert!(Credential::external("joe", "").is_err() && Credential::new("joe", &long).is_err());
        let nobody = Credential::by_certificate();
        assert_eq!(nobody.request().as_slice(), frame(LOGIN, &[]).as_slice());
        assert_eq!(nobody.request().len(), FRAME_HEAD_BYTES + HEAD_BYTES);
        assert_eq!(nobody.session_request(b"t")[11], 1);
    }

    #[test]
    fn a_short_answer_is_none() {
        assert_eq!(result(&[0; 15]), None);
        assert_eq!(result(&[0, 52, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Some(52));
    }
}
