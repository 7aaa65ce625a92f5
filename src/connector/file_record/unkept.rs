//! What a place cannot keep of files, and what it adds to them by itself: neither tells two files apart when what was written
//! there is read back.

use super::cells::{Attributes, Kind, Shapes};
use crate::record::{BatchRow, CellWriter, Shape, Tag};
use std::{collections::BTreeSet, sync::Arc};

/// What a place could not keep of the files that were written to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is told and kept by itself")]
pub struct Unkept {
    /// Users and groups.
    pub owners: bool,
    /// Permissions.
    pub permissions: bool,
    /// Modification times.
    pub times: bool,
    /// Extended attributes.
    pub xattrs: bool,
    /// Further paths of a file: they are files of their own.
    pub links: bool,
    /// The root: it is no entry there.
    pub root: bool,
    /// Owners were to be set by name where the host knows it.
    pub by_name: bool,
}

/// What was not compared, in words.
pub type Uncompared = BTreeSet<&'static str>;

impl Unkept {
    /// The attributes of a file that stands there as they would be if the place had kept all of those that were saved and
    /// added none. `left` gets what they differ in for that reason.
    pub(in crate::connector) fn forgiven(
        self,
        saved: &Attributes,
        mut live: Attributes,
        left: &mut Uncompared,
    ) -> Attributes {
        // Who said nothing of owners said nothing of what else a local file has.
        if saved.uid.is_none() && saved.gid.is_none() {
            live.xattrs.clone_from(&saved.xattrs);
        }
        live.size = saved.size.and(live.size);
        self.forgive_owners(saved, &mut live, left);
        // Without its owner a set-id bit would lend the rights of somebody else, and is not set.
        let is_lent = left.contains(OWNERS) && live.mode == saved.mode.map(|mode| mode & 0o1777);
        let is_link = saved.kind == Kind::Symlink;
        if saved.mode.is_none() || is_link || self.permissions || is_lent {
            note(saved.mode.is_some() && saved.mode != live.mode && !is_link, "permissions", left);
            live.mode = saved.mode;
        }
        if saved.mtime.is_none() || self.times {
            note(saved.mtime.is_some() && saved.mtime != live.mtime, "times", left);
            live.mtime = saved.mtime;
        }
        if self.xattrs && saved.xattrs != live.xattrs && live.xattrs.iter().all(|one| saved.xattrs.contains(one)) {
            left.insert("extended attributes");
            live.xattrs.clone_from(&saved.xattrs);
        }
        live
    }

    /// A number and a name say the same owner; which of them was set is what counts.
    fn forgive_owners(self, saved: &Attributes, live: &mut Attributes, left: &mut Uncompared) {
        let named = |one: &Option<Vec<u8>>, other: &Option<Vec<u8>>| self.by_name && one.is_some() && one == other;
        if saved.uid.is_none() || saved.uid == live.uid || named(&saved.user, &live.user) {
            (live.uid, live.user) = (saved.uid, saved.user.clone());
        }
        if saved.gid.is_none() || saved.gid == live.gid || named(&saved.group, &live.group) {
            (live.gid, live.group) = (saved.gid, saved.group.clone());
        }
        if self.owners && (saved.uid, saved.gid) != (live.uid, live.gid) {
            left.insert(OWNERS);
            (live.uid, live.user) = (saved.uid, saved.user.clone());
            (live.gid, live.group) = (saved.gid, saved.group.clone());
        }
    }

    /// A file that stands there as it would be if the place had kept all of the saved one: its shape, and its value up to the
    /// stream. `None` where either is no file.
    #[must_use]
    pub fn as_saved(
        self,
        saved: &BatchRow<'_>,
        live: &BatchRow<'_>,
        left: &mut Uncompared,
    ) -> Option<(Arc<Shape>, Vec<u8>)> {
        let (saved, ..) = Attributes::decode(saved).ok()?;
        let (live, content, _) = Attributes::decode(live).ok()?;
        let cells = self.forgiven(&saved, live, left).cells();
        let shape = Shapes::default().of(&cells, content.is_some());
        let mut value = Vec::new();
        let mut writer = CellWriter::new(&mut value, shape.len());
        for (_, tag, bytes) in &cells {
            writer.cell(*tag, bytes);
        }
        if let Some(content) = content {
            writer.cell(Tag::BLOB, content);
        }
        Some((shape, value))
    }
}

const OWNERS: &str = "owners";

fn note(differs: bool, what: &'static str, left: &mut Uncompared) {
    if differs {
        left.insert(what);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::cells::FileTime, *};

    fn of_root() -> Attributes {
        Attributes {
            mode: Some(0o4755),
            mtime: Some(FileTime { seconds: 7, nanos: 1 }),
            size: Some(3),
            uid: Some(0),
            gid: Some(0),
            user: Some(b"root".to_vec()),
            group: Some(b"root".to_vec()),
            xattrs: vec![(b"user.a".to_vec(), b"1".to_vec())],
            ..Attributes::default()
        }
    }

    /// Whether both are the same, and what was not compared.
    fn alike(unkept: Unkept, saved: &Attributes, live: &Attributes) -> (bool, Vec<&'static str>) {
        let mut left = Uncompared::new();
        let same = unkept.forgiven(saved, live.clone(), &mut left) == *saved;
        (same, left.into_iter().collect())
    }

    #[test]
    fn what_was_kept_is_compared() {
        let saved = of_root();
        for changed in [
            Attributes { mode: Some(0o755), ..saved.clone() },
            Attributes { mtime: Some(FileTime { seconds: 7, nanos: 2 }), ..saved.clone() },
            Attributes { size: Some(4), ..saved.clone() },
            Attributes { uid: Some(1), ..saved.clone() },
            Attributes { gid: Some(1), ..saved.clone() },
            Attributes { xattrs: Vec::new(), ..saved.clone() },
            Attributes { kind: Kind::Fifo, ..saved.clone() },
        ] {
            assert!(!alike(Unkept::default(), &saved, &changed).0, "{changed:?}");
        }
    }

    #[test]
    fn owners_that_could_not_be_set_take_set_id_bits_with_them_and_nothing_else() {
        let saved = of_root();
        let unkept = Unkept { owners: true, ..Unkept::default() };
        let other = Attributes { uid: Some(9), gid: Some(9), user: None, group: None, ..saved.clone() };
        assert_eq!(alike(unkept, &saved, &other), (true, vec!["owners"]));
        let bare = Attributes { mode: Some(0o755), ..other.clone() };
        assert_eq!(alike(unkept, &saved, &bare), (true, vec!["owners", "permissions"]));
        assert!(!alike(unkept, &saved, &Attributes { mode: Some(0o700), ..other }).0);
        assert!(!alike(unkept, &saved, &Attributes { mode: Some(0o755), ..saved.clone() }).0);
    }

    #[test]
    fn an_owner_is_who_was_set_by_number_or_by_name() {
        let saved = of_root();
        let elsewhere = Attributes { user: Some(b"admin".to_vec()), group: None, ..saved.clone() };
        assert_eq!(alike(Unkept::default(), &saved, &elsewhere), (true, vec![]));
        let by_name = Unkept { by_name: true, ..Unkept::default() };
        let renumbered = Attributes { uid: Some(5), gid: Some(5), ..saved.clone() };
        assert_eq!(alike(by_name, &saved, &renumbered), (true, vec![]));
        assert!(!alike(Unkept::default(), &saved, &renumbered).0);
    }

    #[test]
    fn what_a_place_adds_by_itself_tells_nothing_apart() {
        let object = Attributes { size: Some(3), ..Attributes::default() };
        assert_eq!(alike(Unkept::default(), &object, &of_root()), (true, vec![]));
        let longer = Attributes { size: Some(4), ..of_root() };
        assert!(!alike(Unkept::default(), &object, &longer).0);
    }

    #[test]
    fn extended_attributes_may_be_lost_and_not_changed() {
        let saved = of_root();
        let unkept = Unkept { xattrs: true, ..Unkept::default() };
        let lost = Attributes { xattrs: Vec::new(), ..saved.clone() };
        assert_eq!(alike(unkept, &saved, &lost), (true, vec!["extended attributes"]));
        let changed = Attributes { xattrs: vec![(b"user.a".to_vec(), b"2".to_vec())], ..saved.clone() };
        assert!(!alike(unkept, &saved, &changed).0);
    }
}
