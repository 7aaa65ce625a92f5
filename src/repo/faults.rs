//! Rules of the protocol that a simulation may break, one at a time, to show that it would notice, and moments between two
//! operations on storage at which it may let others go first. In builds for use no rule can be broken and nobody waits:
//! [`is_broken`] and [`point`] are constant there.

/// A rule of `format-spec/protocol.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Rule {
    /// Packs in a mark that a writer honours are absent for it.
    HonouredIsAbsent,
    /// A new mark is honoured only if nothing relied on is in it.
    HonourOnlyUnused,
    /// A pack is present only if `packs/` lists it.
    PackMustBeListed,
    /// Packs, then index, then snapshot.
    IndexBeforeCommit,
    /// A mark names no pack of a lease that is not over.
    NoPackOfALiveLease,
    /// Packs are listed before leases.
    PacksBeforeLeases,
    /// Packs that a mark names are no homes.
    MarkedIsNoHome,
    /// A drain waits for every lease that does not honour the mark.
    DrainWaits,
    /// A drain waits for readers too.
    DrainWaitsForReaders,
    /// Snapshots are listed again before anything is deleted.
    SnapshotsAgain,
    /// Everything is listed again, and what is needed kept, before anything is deleted.
    LookAgain,
    /// Packs of others that a writer relies on are looked for once more before it commits: no rule of the protocol, but a
    /// net below it.
    LastLook,
    /// What is needed is copied out; the mark stays.
    CopyOut,
    /// A needed chunk in no listed index stops a pruner.
    MissingStops,
    /// New index objects are durable before old ones are deleted.
    NewIndexFirst,
    /// Voids are never deleted.
    VoidsStay,
    /// Tombstones are never deleted.
    TombstonesStay,
    /// A reader without a lease reloads until nothing changes.
    ReloadUntilStill,
    /// A squash's revisions count only with its commit.
    SquashNeedsCommit,
    /// Nobody writes above a pending revision.
    NothingAbovePending,
    /// What nobody who may made takes nothing away.
    AuthorsAreChecked,
    /// Nobody but its holder speaks for a lease.
    LeasesSpeakForThemselves,
    /// A tombstone on what is held or locked does not count.
    HoldsOutliveTombstones,
    /// Collective tombstones are listed after snapshots.
    ForgottenAfterSnapshots,
    /// The collective tombstone is durable before the folders go.
    GatherFirst,
    /// Packs that are remembered as damaged are no homes.
    DamagedIsNoHome,
    /// A lease that shows no sign is over only once the void in its place makes sure that it cannot commit.
    DeadIsFenced,
    /// A mark that cannot be read may name every pack that is there.
    UnreadableMarkHidesAll,
    /// What a listing lacks is dropped from a catalog only after storage has said that it is gone.
    AskBeforeDropping,
    /// Whoever replicates begins again if something of what he saw went meanwhile.
    ReplicaLooksAgain,
    /// Whoever replicates shows snapshots once several listings of the index in a row were what he copied.
    ReplicaWaitsUntilStill,
    /// The commits of squashes are copied first, and of a snapshot the higher revisions before the lower ones.
    ReplicaHigherFirst,
    /// No pack is made again while a pruner runs that may be about to delete its name.
    NothingIsMadeAgainBesidePruners,
}

/// Whether a simulation has broken the rule for this thread.
#[cfg(debug_assertions)]
#[must_use]
pub fn is_broken(rule: Rule) -> bool {
    broken::get() & (1 << rule as u32) != 0
}

/// No rule can be broken in a build for use.
#[cfg(not(debug_assertions))]
#[must_use]
pub const fn is_broken(_: Rule) -> bool {
    false
}

/// A moment at which a simulation may let others go first: what is seen from here on may be newer than what was seen before.
#[cfg(debug_assertions)]
pub fn point(what: &str) {
    points::reach(what);
}

/// Nobody waits in a build for use.
#[cfg(not(debug_assertions))]
pub const fn point(_: &str) {}

/// Who hears of such moments, for each thread.
#[cfg(debug_assertions)]
pub mod points {
    use std::{cell::RefCell, rc::Rc};

    /// Told what is about to happen; it happens when this returns.
    pub type Hearer = Rc<dyn Fn(&str)>;

    thread_local! {
        static HEARER: RefCell<Option<Hearer>> = const { RefCell::new(None) };
    }

    /// From now on this one hears of this thread's moments, or nobody; gives who heard of them before.
    pub fn set(hearer: Option<Hearer>) -> Option<Hearer> {
        HEARER.with_borrow_mut(|kept| std::mem::replace(kept, hearer))
    }

    pub(super) fn reach(what: &str) {
        if let Some(hearer) = HEARER.with_borrow(Clone::clone) {
            hearer(what);
        }
    }
}

/// Which rules are broken, for each thread.
#[cfg(debug_assertions)]
pub mod broken {
    use super::Rule;
    use std::cell::Cell;

    thread_local! {
        static BROKEN: Cell<u64> = const { Cell::new(0) };
    }

    /// From now on these rules, and no others, are broken for this thread.
    pub fn set(rules: &[Rule]) {
        BROKEN.set(rules.iter().fold(0, |all, rule| all | 1 << *rule as u32));
    }

    pub(super) fn get() -> u64 {
        BROKEN.get()
    }
}
