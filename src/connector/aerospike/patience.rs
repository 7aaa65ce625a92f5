//! What a run waits for, and since when. All that read or write share it, so that what stands in the way is waited for once
//! and not by each of them one after the other. A node that takes connections and answers nothing stands in the way from the
//! moment that it is asked, and not only once a try has failed: nobody waits longer for an answer than is left.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A wait is told of once it is this long.
const WORTH_TELLING: Duration = Duration::from_secs(3);

/// What a try gets at least, however little is left: one that is not given the time to be answered proves nothing.
const LEAST_TRY: Duration = Duration::from_secs(2);

/// The same for a question that is answered at once or not at all.
const LEAST_INQUIRY: Duration = Duration::from_secs(1);

/// What stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Obstacle {
    /// A node gives no records, or takes none.
    Node(String),
    /// A node does not say who is who and how things stand.
    Telling(String),
    /// Nobody answers at an address of which it is not known what node is there.
    Address(String),
    /// A node says that it has not the partitions that it masters.
    Unavailable(String),
    /// Nobody masters partitions.
    NoMaster,
    /// The cluster is not whole.
    Whole,
    /// Records cannot be written.
    Writing,
}

impl Obstacle {
    fn in_words(&self) -> String {
        match self {
            Self::Node(id) | Self::Telling(id) => format!("node {id}"),
            Self::Address(address) => format!("an answer at {address}"),
            Self::Unavailable(id) => format!("unavailable partitions of node {id}"),
            Self::NoMaster => "partitions that no node masters".to_owned(),
            Self::Writing => "the target to take records".to_owned(),
            Self::Whole => "the cluster to be whole again".to_owned(),
        }
    }
}

#[derive(Debug)]
struct Wait {
    since: Instant,
    reason: String,
}

/// A question that is under way.
#[derive(Debug)]
struct Pending {
    obstacle: Obstacle,
    /// Milliseconds of [`Patience::began`] since which nothing was heard; [`OURS`] while it is we who let the other side wait.
    silent_since: AtomicU64,
    /// When something was heard last.
    heard: AtomicU64,
}

/// In place of a time: nobody is waited for.
const OURS: u64 = u64::MAX;

#[derive(Debug, Default)]
struct Waits {
    met: BTreeMap<Obstacle, Wait>,
    /// When each stood in the way no longer, last.
    passed: BTreeMap<Obstacle, Instant>,
    /// The nodes that are asked now, once that is known.
    members: Option<BTreeSet<String>>,
}

impl Waits {
    fn is_member(&self, id: &str) -> bool {
        self.members.as_ref().is_none_or(|members| members.contains(id))
    }
}

/// The waits of a run.
#[derive(Debug)]
pub(super) struct Patience {
    timeout: Duration,
    began: Instant,
    waits: Mutex<Waits>,
    pending: Mutex<Vec<Arc<Pending>>>,
}

/// Somebody was asked, and has not answered yet.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    patience: &'a Patience,
    pending: Arc<Pending>,
}

impl Asking<'_> {
    /// Something came, and we are about it now.
    pub(super) fn heard(&self) {
        self.pending.heard.store(self.patience.now(), Ordering::Relaxed);
        self.pending.silent_since.store(OURS, Ordering::Relaxed);
    }

    /// More is awaited from here on.
    pub(super) fn goes_on(&self) {
        self.pending.silent_since.store(self.patience.now(), Ordering::Relaxed);
    }

    /// It came to nothing: what is waited for stands in the way since the last that was heard of it.
    pub(super) fn failed(&self, reason: &str) {
        let obstacle = self.pending.obstacle.clone();
        let of_it = |pending: &&Arc<Pending>| pending.obstacle == obstacle;
        let last = self.patience.pending().iter().filter(of_it).map(|p| p.heard.load(Ordering::Relaxed)).max();
        let since = self.patience.began + Duration::from_millis(last.unwrap_or_default());
        self.patience.met_since(obstacle, reason, since);
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.patience.pending().retain(|pending| !Arc::ptr_eq(pending, &self.pending));
    }
}

impl Patience {
    /// For one that waits so long for each obstacle.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, began: Instant::now(), waits: Mutex::default(), pending: Mutex::default() }
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, Vec<Arc<Pending>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(OURS - 1)
    }

    /// Somebody is asked from here on.
    pub(super) fn asking(&self, obstacle: Obstacle) -> Asking<'_> {
        let now = self.now();
        let pending = Arc::new(Pending { obstacle, silent_since: AtomicU64::new(now), heard: AtomicU64::new(now) });
        self.pending().push(Arc::clone(&pending));
        Asking { patience: self, pending }
    }

    /// A try came to nothing.
    pub(super) fn met(&self, obstacle: Obstacle, reason: &str) {
        self.met_since(obstacle, reason, Instant::now());
    }

    /// A try came to nothing that began then.
    pub(super) fn met_since(&self, obstacle: Obstacle, reason: &str, since: Instant) {
        let mut waits = self.waits();
        let since = waits.passed.get(&obstacle).map_or(since, |passed| since.max(*passed));
        // A node that tells nothing has been silent since it gave nothing, and what nobody masters any longer was waited for
        // while it was awaited of a node that is asked no more.
        let of_before = |met: &Obstacle| match (&obstacle, met) {
            (Obstacle::Telling(id), Obstacle::Node(of)) => id == of,
            (Obstacle::NoMaster, Obstacle::Node(of)) => !waits.is_member(of),
            _ => false,
        };
        let before = waits.met.iter().filter(|(met, _)| of_before(met)).map(|(_, wait)| wait.since).min();
        let since = before.map_or(since, |before| before.min(since));
        let wait = waits.met.entry(obstacle).or_insert_with(|| Wait { since, reason: String::new() });
        reason.clone_into(&mut wait.reason);
    }

    /// It stands in the way no longer.
    pub(super) fn passed(&self, obstacle: &Obstacle) {
        let mut waits = self.waits();
        waits.met.remove(obstacle);
        waits.passed.insert(obstacle.clone(), Instant::now());
    }

    /// Whether it was waited for long enough.
    pub(super) fn is_over(&self, obstacle: &Obstacle) -> bool {
        self.over(obstacle).is_some()
    }

    /// Whether a node was waited for long enough.
    pub(super) fn has_given_up(&self, node: &str) -> bool {
        self.given_up(node).is_some()
    }

    /// Why a node is not waited for any longer, if so.
    pub(super) fn given_up(&self, node: &str) -> Option<String> {
        self.over(&Obstacle::Node(node.to_owned()))
    }

    /// Why a node is not asked any longer how things stand, if so.
    pub(super) fn tells_no_more(&self, node: &str) -> Option<String> {
        self.over(&Obstacle::Telling(node.to_owned()))
    }

    fn over(&self, obstacle: &Obstacle) -> Option<String> {
        let waits = self.waits();
        let wait = waits.met.get(obstacle);
        wait.filter(|wait| wait.since.elapsed() >= self.timeout).map(|wait| wait.reason.clone())
    }

    /// Whether some node was waited for long enough.
    pub(super) fn has_given_up_any(&self) -> bool {
        let is_over = |(obstacle, wait): (&Obstacle, &Wait)| {
            matches!(obstacle, Obstacle::Node(_)) && wait.since.elapsed() >= self.timeout
        };
        self.waits().met.iter().any(is_over)
    }

    /// The cluster is waited for: these nodes are missing, or this is wrong with it.
    pub(super) fn wait_for_return(&self, lost: &str, wrong: Option<&str>) {
        self.met(Obstacle::Whole, wrong.unwrap_or(lost));
    }

    /// All is tried again.
    pub(super) fn begin_anew(&self) {
        self.waits().met.clear();
    }

    /// These nodes are asked from here on, and no others.
    pub(super) fn asks(&self, nodes: BTreeSet<String>) {
        let mut waits = self.waits();
        // Who comes back is waited for anew.
        let is_back = |id: &String| nodes.contains(id) && !waits.is_member(id);
        let back: Vec<Obstacle> = nodes.iter().filter(|id| is_back(id)).cloned().map(Obstacle::Node).collect();
        waits.met.retain(|obstacle, _| !back.contains(obstacle));
        waits.members = Some(nodes);
    }

    /// How long something may make no progress.
    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What is left of that, by what was waited for longest.
    pub(super) fn left(&self) -> Duration {
        self.left_for(|_| true)
    }

    fn left_for(&self, is_in_the_way: impl Fn(&Obstacle) -> bool) -> Duration {
        let waits = self.waits();
        let longest =
            waits.met.iter().filter(|(met, _)| is_in_the_way(met)).map(|(_, wait)| wait.since.elapsed()).max();
        self.timeout.saturating_sub(longest.unwrap_or_default())
    }

    /// How long a node may let one wait that gives or takes records: this long (zero for ever), or what is left.
    pub(super) fn for_records(&self, node: &str, wanted: Duration) -> Duration {
        let left = self.left_for(|met| match met {
            Obstacle::Node(id) => id == node,
            Obstacle::Writing => true,
            _ => false,
        });
        shorter(wanted, left.max(LEAST_TRY))
    }

    /// How long a node may let one wait that is asked how things stand.
    pub(super) fn for_telling(&self, node: &str, wanted: Duration) -> Duration {
        let left = self.left_for(|met| matches!(met, Obstacle::Node(id) | Obstacle::Telling(id) if id == node));
        // One of which nothing is known yet is given as long as for anything else.
        let least = if left == self.timeout { LEAST_TRY } else { LEAST_INQUIRY };
        shorter(wanted, left.max(least))
    }

    /// What is waited for, if that takes a while.
    pub(super) fn in_words(&self) -> Option<String> {
        self.in_words_at(Instant::now())
    }

    fn in_words_at(&self, now: Instant) -> Option<String> {
        let lasts = |since: Instant| now.saturating_duration_since(since);
        let mut told: BTreeMap<String, String> = BTreeMap::new();
        let pending: Vec<Arc<Pending>> = self.pending().clone();
        let waits = self.waits();
        for pending in pending {
            let silent = pending.silent_since.load(Ordering::Relaxed);
            if silent == OURS {
                continue;
            }
            let since = self.began + Duration::from_millis(silent);
            let met = waits.met.get(&pending.obstacle).map(|wait| wait.since);
            let since = met.map_or(since, |met| met.min(since));
            let is_over = met.is_some() && lasts(since) >= self.timeout;
            if lasts(since) >= WORTH_TELLING && !is_over {
                told.insert(pending.obstacle.in_words(), "no answer yet".to_owned());
            }
        }
        for (obstacle, wait) in &waits.met {
            // Who is asked no more, or only how things stand and not right now, is not waited for.
            let is_awaited = match obstacle {
                Obstacle::Telling(_) | Obstacle::Address(_) => false,
                Obstacle::Node(id) => waits.is_member(id),
                _ => true,
            };
            if is_awaited && lasts(wait.since) >= WORTH_TELLING && lasts(wait.since) < self.timeout {
                told.insert(obstacle.in_words(), wait.reason.clone());
            }
        }
        let told: Vec<String> = told.iter().map(|(what, why)| format!("{what} ({why})")).collect();
        (!told.is_empty()).then(|| format!("waiting for {}, {} s at most", told.join("; "), self.timeout.as_secs()))
    }
}

/// The shorter of two times, of which the first one may be zero for ever.
fn shorter(wanted: Duration, most: Duration) -> Duration {
    if wanted.is_zero() { most } else { wanted.min(most) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_waited_for_long_enough_is_not_waited_for_again_until_it_passes() {
        let patience = Patience::new(Duration::ZERO);
        let node = Obstacle::Node("a".to_owned());
        assert!(!patience.is_over(&node));
        patience.met(node.clone(), "silent");
        assert!(patience.has_given_up("a") && patience.has_given_up_any() && !patience.has_given_up("b"));
        patience.passed(&node);
        assert!(!patience.has_given_up("a"));
        let long = Patience::new(Duration::from_hours(1));
        long.met(node, "silent");
        assert!(!long.has_given_up("a"));
        assert_eq!(long.in_words(), None, "nothing to speak of yet");
    }

    #[test]
    fn who_is_asked_is_spoken_of_before_the_first_try_is_over() {
        let patience = Patience::new(Duration::from_hours(1));
        let later = || Instant::now() + WORTH_TELLING + Duration::from_secs(1);
        let asking = patience.asking(Obstacle::Node("a".to_owned()));
        assert_eq!(patience.in_words_at(Instant::now()), None);
        assert_eq!(patience.in_words_at(later()).unwrap(), "waiting for node a (no answer yet), 3600 s at most");
        asking.heard();
        assert_eq!(patience.in_words_at(later()), None, "it is we who let it wait");
        asking.goes_on();
        assert!(patience.in_words_at(later()).is_some());
        drop(asking);
        assert_eq!(patience.in_words_at(later()), None);
    }

    #[test]
    fn a_silent_node_is_waited_for_from_the_moment_that_it_was_asked() {
        let patience = Patience::new(Duration::from_secs(10));
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        patience.met_since(Obstacle::Node("a".to_owned()), "silent", ago(6));
        let left = patience.for_records("a", Duration::from_secs(10));
        assert!(left <= Duration::from_secs(4), "{left:?} of ten seconds, six of which are past");
        assert_eq!(patience.for_records("b", Duration::from_secs(10)), Duration::from_secs(10));
        patience.met(Obstacle::Node("a".to_owned()), "still silent");
        assert!(patience.for_records("a", Duration::ZERO) <= Duration::from_secs(4), "zero is for ever");
        patience.met_since(Obstacle::Node("b".to_owned()), "silent", ago(11));
        assert!(patience.has_given_up("b") && patience.tells_no_more("b").is_none());
        assert_eq!(patience.for_records("b", Duration::from_secs(10)), LEAST_TRY);
        assert_eq!(patience.for_telling("b", Duration::from_secs(3)), LEAST_INQUIRY);
        // One try more whether it says anything at all, and no further one.
        patience.met(Obstacle::Telling("b".to_owned()), "silent");
        assert!(patience.tells_no_more("b").is_some());
        assert_eq!(patience.left(), Duration::ZERO);
        // Nor does it begin anew when nobody masters any longer what that node had.
        patience.asks(["a".to_owned()].into());
        patience.met(Obstacle::NoMaster, "nobody");
        assert!(patience.is_over(&Obstacle::NoMaster));
        // What gave something meanwhile was silent since then at most.
        patience.passed(&Obstacle::Node("a".to_owned()));
        patience.met_since(Obstacle::Node("a".to_owned()), "silent", ago(11));
        assert!(!patience.has_given_up("a"));
    }
}
