//! User and group names: `/etc/passwd` and `/etc/group`, read once.

use std::{collections::HashMap, fs};

/// Names by number and numbers by name.
#[derive(Default)]
pub(super) struct Names {
    users: HashMap<u32, Vec<u8>>,
    groups: HashMap<u32, Vec<u8>>,
}

impl Names {
    /// Reads this host's names; where there are none, files just have numbers.
    pub(super) fn read() -> Self {
        let table = |path| fs::read(path).map(|bytes| parse(&bytes)).unwrap_or_default();
        Self { users: table("/etc/passwd"), groups: table("/etc/group") }
    }

    /// The name of a user.
    pub(super) fn user(&self, uid: u32) -> Option<&Vec<u8>> {
        self.users.get(&uid)
    }

    /// The name of a group.
    pub(super) fn group(&self, gid: u32) -> Option<&Vec<u8>> {
        self.groups.get(&gid)
    }

    /// The number of a user's name.
    pub(super) fn uid(&self, name: &[u8]) -> Option<u32> {
        self.users.iter().find(|(_, known)| *known == name).map(|(uid, _)| *uid)
    }

    /// The number of a group's name.
    pub(super) fn gid(&self, name: &[u8]) -> Option<u32> {
        self.groups.iter().find(|(_, known)| *known == name).map(|(gid, _)| *gid)
    }
}

/// `name:password:number:…`; the first line of a number counts.
fn parse(bytes: &[u8]) -> HashMap<u32, Vec<u8>> {
    let mut table = HashMap::new();
    for line in bytes.split(|&byte| byte == b'\n') {
        let mut fields = line.split(|&byte| byte == b':');
        let (name, number) = (fields.next(), fields.nth(1));
        let number = number.and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
        if let (Some(name), Some(number)) = (name.filter(|name| !name.is_empty()), number) {
            table.entry(number).or_insert_with(|| name.to_vec());
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_number_counts() {
        let table = parse(b"root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0\n+::::\nbad\nx:y:z\n");
        assert_eq!(table, HashMap::from([(0, b"root".to_vec())]));
    }
}
