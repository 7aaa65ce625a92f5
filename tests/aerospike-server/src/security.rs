//! Login with user and password, session tokens, and the refusal of everybody else.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::codes::rc;
use crate::connection::{Connection, security_message};
use crate::server::{Shared, lock};
use crate::wire::put_field;

const AUTHENTICATE: u8 = 0;
const LOGIN: u8 = 20;
const QUERY_USERS: u8 = 9;
const QUERY_ROLES: u8 = 16;
/// First privilege that may be of one namespace or set alone.
const SCOPED: u8 = 10;

const FIELD_USER: u8 = 0;
const FIELD_CREDENTIAL: u8 = 3;
const FIELD_CLEAR_PASSWORD: u8 = 4;
const FIELD_SESSION_TOKEN: u8 = 5;
const FIELD_SESSION_TTL: u8 = 6;
const FIELD_ROLES: u8 = 10;
const FIELD_ROLE: u8 = 11;
const FIELD_PRIVILEGES: u8 = 12;
const FIELD_ALLOWLIST: u8 = 13;
const FIELD_READ_QUOTA: u8 = 14;
const FIELD_WRITE_QUOTA: u8 = 15;

/// Whose session it is, and until when, in milliseconds since 2010.
type Session = (Vec<u8>, i64);

/// Tokens that were handed out.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<Vec<u8>, Session>>);

impl Sessions {
    /// Ends every session.
    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }
}

/// An answer that is only a result code: 16 bytes of header.
pub(crate) fn result(code: u8) -> Vec<u8> {
    let mut out = vec![0; 16];
    out[1] = code;
    out
}

/// Answers a security message; says whether the client is logged in now.
pub(crate) fn answer(shared: &Shared, body: &[u8], connection: &Connection, now_ms: i64) -> (Vec<u8>, bool) {
    let Some((command, fields)) = security_message(body) else { return (result(rc::PARAMETER), false) };
    if !shared.config.has_security() {
        return (result(rc::SECURITY_OFF), false);
    }
    let get = |kind: u8| fields.iter().find(|(k, _)| *k == kind).map(|(_, bytes)| *bytes);
    match command {
        LOGIN if fields.is_empty() => {
            let shown = connection.certificate();
            let named = shared.config.certificates.iter().find(|(_, der)| Some(der) == shown.as_ref());
            named.map_or_else(|| (result(rc::BAD_CREDENTIAL), false), |(user, _)| grant(shared, user, now_ms))
        }
        LOGIN if get(FIELD_CLEAR_PASSWORD).is_some() => {
            let known = shared.config.directory.iter().find(|(name, _)| Some(name.as_bytes()) == get(FIELD_USER));
            match known {
                None => (result(rc::NO_USER), false),
                Some((_, clear)) if get(FIELD_CLEAR_PASSWORD) != Some(clear) => (result(rc::BAD_CREDENTIAL), false),
                Some((user, _)) => grant(shared, user, now_ms),
            }
        }
        LOGIN => login(shared, get(FIELD_USER), get(FIELD_CREDENTIAL), now_ms),
        AUTHENTICATE => match authenticate(shared, get(FIELD_USER), get(FIELD_SESSION_TOKEN), now_ms) {
            Ok(()) => (result(rc::OK), true),
            Err(code) => (result(code), false),
        },
        QUERY_USERS if connection.is_authenticated => (users(shared), false),
        QUERY_ROLES if connection.is_authenticated => (roles(shared), false),
        _ if !connection.is_authenticated => (result(rc::NOT_AUTHENTICATED), false),
        _ => (result(rc::SECURITY_UNSUPPORTED), false),
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

fn block(fields: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut out = result(rc::OK);
    out[3] = fields.len() as u8;
    for (kind, bytes) in fields {
        put_field(&mut out, *kind, bytes);
    }
    out
}

/// Every user with its roles, then the end.
fn users(shared: &Shared) -> Vec<u8> {
    let config = &shared.config;
    let all = config.users.iter().map(|user| &user.name);
    let all = all.chain(config.directory.iter().map(|(name, _)| name));
    let names = all.chain(config.certificates.iter().map(|(name, _)| name));
    let mut out = Vec::new();
    for name in names {
        let roles = config.user_roles.iter().find(|(user, _)| user == name).map_or(&[][..], |(_, roles)| roles);
        let mut list = vec![roles.len() as u8];
        for role in roles {
            put_text(&mut list, role);
        }
        out.extend(block(&[(FIELD_USER, name.clone().into_bytes()), (FIELD_ROLES, list)]));
    }
    out.extend(result(rc::SECURITY_END));
    out
}

/// Every role, then the end.
fn roles(shared: &Shared) -> Vec<u8> {
    let mut out = Vec::new();
    for role in &shared.config.roles {
        let mut list = vec![role.privileges.len() as u8];
        for (code, namespace, set) in &role.privileges {
            list.push(*code);
            if *code >= SCOPED {
                put_text(&mut list, namespace);
                put_text(&mut list, set);
            }
        }
        out.extend(block(&[
            (FIELD_ROLE, role.name.clone().into_bytes()),
            (FIELD_PRIVILEGES, list),
            (FIELD_ALLOWLIST, role.allowlist.clone().into_bytes()),
            (FIELD_READ_QUOTA, role.quotas.0.to_be_bytes().to_vec()),
            (FIELD_WRITE_QUOTA, role.quotas.1.to_be_bytes().to_vec()),
        ]));
    }
    out.extend(result(rc::SECURITY_END));
    out
}

fn login(shared: &Shared, user: Option<&[u8]>, credential: Option<&[u8]>, now_ms: i64) -> (Vec<u8>, bool) {
    let Some(known) = shared.config.users.iter().find(|known| Some(known.name.as_bytes()) == user) else {
        return (result(rc::NO_USER), false);
    };
    if credential != Some(&known.credential[..]) {
        return (result(rc::BAD_CREDENTIAL), false);
    }
    grant(shared, &known.name, now_ms)
}

/// A session for a user.
fn grant(shared: &Shared, user: &str, now_ms: i64) -> (Vec<u8>, bool) {
    let mut sessions = lock(&shared.sessions.0);
    let ttl = shared.config.session_ttl.as_secs();
    let token = format!("{user}:{}:{now_ms}", sessions.len()).into_bytes();
    sessions.insert(token.clone(), (user.as_bytes().to_vec(), now_ms + ttl as i64 * 1000));
    let mut out = result(rc::OK);
    out[3] = 2;
    put_field(&mut out, FIELD_SESSION_TOKEN, &token);
    put_field(&mut out, FIELD_SESSION_TTL, &(ttl as u32).to_be_bytes());
    (out, true)
}

fn authenticate(shared: &Shared, user: Option<&[u8]>, token: Option<&[u8]>, now_ms: i64) -> Result<(), u8> {
    let token = token.ok_or(rc::BAD_CREDENTIAL)?;
    let sessions = lock(&shared.sessions.0);
    let (owner, until_ms) = sessions.get(token).ok_or(rc::BAD_CREDENTIAL)?;
    if user.is_some_and(|user| user != &owner[..]) {
        return Err(rc::BAD_CREDENTIAL);
    }
    if *until_ms <= now_ms { Err(rc::SESSION_EXPIRED) } else { Ok(()) }
}
