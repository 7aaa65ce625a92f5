//! What a writer may deduplicate against, and what it relies on. Both change under one lock, so that choosing a pack
//! and relying on it is one step to the heartbeat that judges a new mark.

use crate::repo::{
    ObjectName,
    catalog::PackNumber,
    faults::{self, Rule},
    lease::Mark,
};
use std::collections::{HashMap, HashSet};

/// A set of pack numbers.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn set(&mut self, pack: PackNumber) {
        let Ok(number) = usize::try_from(pack.0) else { return };
        if self.0.len() <= number / 64 {
            self.0.resize(number / 64 + 1, 0);
        }
        self.0[number / 64] |= 1 << (number % 64);
    }

    fn unset(&mut self, pack: PackNumber) {
        let word = usize::try_from(pack.0).ok().and_then(|number| self.0.get_mut(number / 64));
        if let Some(word) = word {
            *word &= !(1 << (pack.0 % 64));
        }
    }

    fn has(&self, pack: PackNumber) -> bool {
        let Ok(number) = usize::try_from(pack.0) else { return false };
        self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }
}

/// The packs of one session.
#[derive(Debug, Default)]
pub(super) struct SessionPacks {
    /// In a listed index object and listed in `packs/` when the session began; or our own, indexed since.
    present: Bits,
    relied: Bits,
    /// Of `relied`, those chosen for a chunk that a writer would have stored otherwise.
    reused: Bits,
    /// Names of the packs in `relied`, and of our own uploads before they have a number.
    relied_names: HashSet<ObjectName>,
    /// With their lengths.
    own: HashMap<ObjectName, u64>,
    /// In a mark that this session honours, or unreadable; for good.
    absent: HashSet<ObjectName>,
    honoured: Vec<String>,
    /// Marks that were judged, honoured or not.
    judged: HashSet<String>,
}

impl SessionPacks {
    /// What a session starts with: the marks listed first, and what is remembered as damaged. No pack is present yet.
    pub fn new(marks: Vec<Mark>, damaged: HashSet<ObjectName>) -> Self {
        let mut presence = Self { absent: damaged, ..Self::default() };
        for mark in marks {
            presence.absent.extend(mark.packs);
            presence.judged.insert(mark.id.clone());
            presence.honoured.push(mark.id);
        }
        presence
    }

    /// Honours a mark that cannot be read: no pack that was there before is present.
    pub fn keeps_away_from(&mut self, mark: String) {
        self.judged.insert(mark.clone());
        self.honoured.push(mark);
    }

    /// A pack that an index object describes is listed, with the length that it should have.
    pub fn is_listed(&mut self, number: PackNumber) {
        self.present.set(number);
    }

    /// Chooses a present pack out of those that hold a chunk, one already relied on if there is one, and relies on it.
    pub fn choose(&mut self, packs: &[(PackNumber, ObjectName)]) -> Option<PackNumber> {
        let relied = packs.iter().find(|(number, _)| self.relied.has(*number));
        let &chosen = relied.or_else(|| packs.iter().find(|pack| self.is_usable(pack)))?;
        self.take(chosen);
        Some(chosen.0)
    }

    /// [`Self::choose`], for who does not ask which.
    pub fn rely(&mut self, packs: &[(PackNumber, ObjectName)]) -> bool {
        self.choose(packs).is_some()
    }

    /// Relies on all of these packs, or on none if one of them is not present.
    pub fn rely_on_all(&mut self, packs: &[(PackNumber, ObjectName)]) -> bool {
        let are_usable = packs.iter().all(|pack| self.relied.has(pack.0) || self.is_usable(pack));
        if are_usable {
            for pack in packs {
                self.take(*pack);
            }
        }
        are_usable
    }

    fn is_usable(&self, (number, name): &(PackNumber, ObjectName)) -> bool {
        self.present.has(*number) && !self.is_absent(name)
    }

    fn take(&mut self, (number, name): (PackNumber, ObjectName)) {
        if !self.relied.has(number) {
            self.relied.set(number);
            self.relied_names.insert(name);
        }
    }

    /// [`Self::rely`] for a chunk that is not stored because the pack holds it.
    pub fn reuse(&mut self, packs: &[(PackNumber, ObjectName)]) -> bool {
        if !self.rely(packs) {
            return false;
        }
        if let Some((number, _)) = packs.iter().find(|(number, _)| self.relied.has(*number)) {
            self.reused.set(*number);
        }
        true
    }

    /// Whether the pack was chosen instead of storing something.
    pub fn is_reused(&self, pack: PackNumber) -> bool {
        self.reused.has(pack)
    }

    /// Relies on an own pack before it is uploaded.
    pub fn rely_on_own(&mut self, name: ObjectName, bytes: u64) {
        self.relied_names.insert(name);
        self.own.insert(name, bytes);
    }

    /// An own pack's index object is durable and imported.
    pub fn own_is_indexed(&mut self, number: PackNumber) {
        self.present.set(number);
        self.relied.set(number);
    }

    /// Judges new marks one after the other: honours one only if nothing relied on is in it, and then its packs are
    /// absent before the next is judged. Gives whether any was honoured.
    pub fn judge(&mut self, marks: Vec<Mark>) -> bool {
        let before = self.honoured.len();
        for mark in marks {
            let relied = mark.packs.iter().any(|pack| self.relied_names.contains(pack));
            if !self.judged.insert(mark.id.clone()) || relied && !faults::is_broken(Rule::HonourOnlyUnused) {
                continue;
            }
            self.absent.extend(mark.packs);
            self.honoured.push(mark.id);
        }
        self.honoured.len() > before
    }

    fn is_absent(&self, pack: &ObjectName) -> bool {
        self.absent.contains(pack) && !faults::is_broken(Rule::HonouredIsAbsent)
    }

    /// Chooses these packs no more, because what they hold cannot be read; gives those that were chosen until now. Own
    /// packs stay, since nothing else holds what is in them.
    pub fn distrust(&mut self, packs: &[(PackNumber, ObjectName)]) -> Vec<(PackNumber, ObjectName)> {
        let mut relied = Vec::new();
        for &(number, name) in packs {
            if self.own.contains_key(&name) || !self.absent.insert(name) {
                continue;
            }
            self.relied.unset(number);
            if self.relied_names.contains(&name) {
                relied.push((number, name));
            }
        }
        relied
    }

    /// Relies on these packs no longer: nothing that was found in them will be referenced.
    pub fn release(&mut self, packs: &[(PackNumber, ObjectName)]) {
        for (_, name) in packs {
            self.relied_names.remove(name);
        }
    }

    pub fn honoured(&self) -> Vec<String> {
        self.honoured.clone()
    }

    pub fn judged(&self) -> HashSet<String> {
        self.judged.clone()
    }

    /// Packs relied on that others uploaded.
    pub fn relied_on_others(&self) -> Vec<ObjectName> {
        self.relied_names.iter().filter(|name| !self.own.contains_key(*name)).copied().collect()
    }

    /// What this session stored itself, with lengths.
    pub fn own(&self) -> HashMap<ObjectName, u64> {
        self.own.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u8) -> ObjectName {
        ObjectName([n; 32])
    }

    fn mark(id: &str, packs: &[u8]) -> Mark {
        Mark { id: id.to_owned(), packs: packs.iter().map(|&n| name(n)).collect() }
    }

    fn presence(marks: Vec<Mark>, indexed: &[u8], listed: &[u8]) -> SessionPacks {
        let mut presence = SessionPacks::new(marks, HashSet::new());
        for n in indexed.iter().filter(|n| listed.contains(n)) {
            presence.is_listed(PackNumber(i64::from(*n)));
        }
        presence
    }

    const X: (PackNumber, ObjectName) = (PackNumber(1), ObjectName([1; 32]));
    const Y: (PackNumber, ObjectName) = (PackNumber(2), ObjectName([2; 32]));

    #[test]
    fn a_pack_that_packs_does_not_list_is_absent() {
        let mut presence = presence(vec![], &[1, 2], &[2]);
        assert!(!presence.rely(&[X]));
        assert!(presence.rely(&[X, Y]));
        assert_eq!(presence.relied_on_others(), [name(2)]);
    }

    #[test]
    fn a_layer_is_relied_on_by_all_of_its_packs_or_by_none() {
        let mut presence = presence(vec![mark("m", &[3])], &[1, 2, 3], &[1, 2, 3]);
        let marked = (PackNumber(3), name(3));
        assert!(!presence.rely_on_all(&[X, marked]));
        assert_eq!(presence.relied_on_others(), []);
        assert!(presence.rely_on_all(&[X, Y]));
        assert!(!presence.judge(vec![mark("m2", &[2])]));
        assert!(presence.rely_on_all(&[]), "nothing is asked for");
    }

    #[test]
    fn a_pack_that_is_remembered_as_damaged_is_absent() {
        let mut presence = SessionPacks::new(vec![], HashSet::from([Y.1]));
        presence.is_listed(X.0);
        presence.is_listed(Y.0);
        assert!(!presence.rely(&[Y]) && presence.rely(&[X, Y]));
    }

    #[test]
    fn d_packs_of_any_mark_are_absent() {
        let mut presence = presence(vec![mark("m1", &[1]), mark("m2", &[2])], &[1, 2], &[1, 2]);
        assert!(!presence.rely(&[X, Y]));
        assert_eq!(presence.honoured(), ["m1", "m2"]);
    }

    #[test]
    fn a_mark_relied_on_is_never_honoured_and_one_not_relied_on_is_for_good() {
        let mut presence = presence(vec![], &[1, 2], &[1, 2]);
        assert!(presence.rely(&[X]));
        assert!(presence.judge(vec![mark("m1", &[1]), mark("m2", &[2])]));
        assert_eq!(presence.honoured(), ["m2"]);
        assert!(!presence.rely(&[Y]), "honoured packs stay absent");
        assert!(!presence.judge(vec![mark("m1", &[1]), mark("m2", &[2])]), "judged once");
    }

    #[test]
    fn own_packs_are_relied_on_before_and_after_they_have_a_number() {
        let mut presence = presence(vec![], &[], &[]);
        presence.rely_on_own(name(1), 1);
        assert!(!presence.judge(vec![mark("m", &[1])]));
        presence.own_is_indexed(X.0);
        assert!(presence.rely(&[X]));
        assert_eq!(presence.relied_on_others(), []);
    }

    #[test]
    fn an_unreadable_pack_is_absent_even_if_it_was_relied_on() {
        let mut presence = presence(vec![], &[1, 2], &[1, 2]);
        assert!(presence.reuse(&[X]));
        assert_eq!(presence.distrust(&[X]), [X]);
        assert!(presence.is_reused(X.0) && !presence.is_reused(Y.0));
        assert!(!presence.rely(&[X]));
        assert_eq!(presence.relied_on_others(), [name(1)], "what was found in it before stands");
        presence.release(&[X]);
        assert!(presence.rely(&[X, Y]), "another pack that holds the chunk will do");
        assert_eq!(presence.relied_on_others(), [name(2)]);
        assert!(presence.judge(vec![mark("m1", &[1])]), "nothing is relied on in it any more");
        presence.rely_on_own(name(3), 1);
        assert_eq!(presence.distrust(&[X, (PackNumber(3), name(3))]), []);
    }

    #[test]
    fn a_pack_that_a_later_import_brings_is_absent() {
        let mut presence = presence(vec![], &[1], &[1]);
        assert!(!presence.rely(&[(PackNumber(1000), name(9))]));
    }
}
