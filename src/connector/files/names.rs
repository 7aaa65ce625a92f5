//! User and group names, as the system's name service gives them: files, LDAP, sssd, whatever the host is set up with.

use nix::unistd::{Gid, Group, Uid, User};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Stands where a name is no UTF-8, which the library gives no bytes of: such a user just has a number.
const REPLACED: char = '\u{fffd}';

/// What was asked, and what was said.
type Known<K, V> = Mutex<HashMap<K, Option<V>>>;

/// Names by number and numbers by name. Each is asked for once: the answer may come over a network.
#[derive(Default)]
pub(super) struct Names {
    users: Known<u32, Vec<u8>>,
    groups: Known<u32, Vec<u8>>,
    uids: Known<Vec<u8>, u32>,
    gids: Known<Vec<u8>, u32>,
}

impl Names {
    /// The name of a user.
    pub(super) fn user(&self, uid: u32) -> Option<Vec<u8>> {
        once(&self.users, &uid, || {
            let user = User::from_uid(Uid::from_raw(uid)).ok()??;
            whole(user.name)
        })
    }

    /// The name of a group.
    pub(super) fn group(&self, gid: u32) -> Option<Vec<u8>> {
        once(&self.groups, &gid, || {
            let group = Group::from_gid(Gid::from_raw(gid)).ok()??;
            whole(group.name)
        })
    }

    /// The number of a user's name.
    pub(super) fn uid(&self, name: &[u8]) -> Option<u32> {
        once(&self.uids, &name.to_vec(), || {
            let name = std::str::from_utf8(name).ok()?;
            Some(User::from_name(name).ok()??.uid.as_raw())
        })
    }

    /// The number of a group's name.
    pub(super) fn gid(&self, name: &[u8]) -> Option<u32> {
        once(&self.gids, &name.to_vec(), || {
            let name = std::str::from_utf8(name).ok()?;
            Some(Group::from_name(name).ok()??.gid.as_raw())
        })
    }
}

fn whole(name: String) -> Option<Vec<u8>> {
    (!name.is_empty() && !name.contains(REPLACED)).then(|| name.into_bytes())
}

fn once<K: Clone + Eq + std::hash::Hash, V: Clone>(
    known: &Known<K, V>,
    key: &K,
    ask: impl FnOnce() -> Option<V>,
) -> Option<V> {
    let held = known.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
    // Asked without the lock: a slow answer holds up nobody who asks for another name.
    held.unwrap_or_else(|| {
        let answer = ask();
        known.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), answer.clone());
        answer
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_asked_of_the_system() {
        let names = Names::default();
        assert_eq!(names.user(0), Some(b"root".to_vec()));
        assert_eq!(names.uid(b"root"), Some(0));
        let group = names.group(0).unwrap();
        assert_eq!(names.gid(&group), Some(0));
        for _ in 0..2 {
            assert_eq!((names.user(3_999_999_999), names.uid(b"nobody by this name")), (None, None));
            assert_eq!((names.uid(b"\xff"), names.gid(b"a\0b")), (None, None));
        }
    }
}
