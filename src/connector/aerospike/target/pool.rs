//! Batches under way: threads that deliver them, bounded in number and bytes, and what they add up to.

use super::{answers::Sender, clocks::NodeClocks, deliver::Delivery, rows::Group, verdict::Work};
use crate::{
    connector::{
        Outcomes,
        aerospike::cluster::{Cluster, PartitionMap},
    },
    record::{Digest, KeyCodec, pause},
};
use crossbeam_channel::Receiver;
use std::{
    net::{Shutdown, TcpStream},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Bytes of all batches handed over, counted twice: their rows and the frames built of them.
const FLIGHT_BYTES: usize = 64 * 1024 * 1024;

/// The partition map is not fetched more often.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);

/// How long what is under way may take once it is to stop.
const GRACE: Duration = Duration::from_secs(1);

/// How often whoever waits looks whether it is to stop.
const LOOK_AROUND: Duration = Duration::from_millis(50);

/// Why what was handed over is not done.
pub(super) const INTERRUPTED: &str = "interrupted";

/// What became of rows.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) outcomes: Outcomes,
    /// Rows left alone for what stands there, which may be what was sent before without an answer.
    pub(super) unsure: u64,
}

#[derive(Debug, Default)]
struct Flight {
    groups: usize,
    bytes: usize,
    tally: Tally,
    failed: Option<String>,
}

/// What the threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) cluster: Arc<Cluster>,
    pub(super) namespace: String,
    pub(super) clocks: Arc<NodeClocks>,
    pub(super) singly: bool,
    pub(super) timeout_millis: u32,
    /// How long rows may make no progress.
    pub(super) patience: Duration,
    pub(super) ignore_record_error: bool,
    flight: Mutex<Flight>,
    landed: Condvar,
    /// Nothing is done any more.
    stopped: AtomicBool,
    /// Somebody asked to stop: nothing is sent a second time.
    asked: Arc<AtomicBool>,
    /// Since when that is known.
    asked_at: Mutex<Option<Instant>>,
    refreshed: Mutex<Instant>,
    lines: Mutex<Vec<Arc<Line>>>,
}

/// The connection that a thread uses, so that another can end it.
#[derive(Debug, Default)]
pub(super) struct Line {
    ended: AtomicBool,
    socket: Mutex<Option<TcpStream>>,
}

impl Line {
    /// Notes what is used now; gives `false` if all is to end.
    pub(super) fn use_of(&self, socket: Option<TcpStream>) -> bool {
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = socket;
        !self.ended.load(Ordering::SeqCst)
    }

    fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(socket) = self.socket.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // One that is closed already has ended as well.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    pub(super) fn map(&self) -> Arc<PartitionMap> {
        self.cluster.map(&self.namespace)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.asked.load(Ordering::Relaxed)
    }

    /// Ends what is under way if it was asked to stop and took too long since.
    fn look_around(&self, flight: &mut Flight) {
        if !self.asked.load(Ordering::Relaxed) || flight.failed.is_some() {
            return;
        }
        let mut since = self.asked_at.lock().unwrap_or_else(PoisonError::into_inner);
        if since.get_or_insert_with(Instant::now).elapsed() >= GRACE {
            flight.failed = Some(INTERRUPTED.to_owned());
            self.end();
        }
    }

    /// Ends everything at once.
    fn end(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        for line in self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            line.end();
        }
    }

    /// Waits until something landed, or a moment.
    fn wait_for_landing<'f>(&self, flight: MutexGuard<'f, Flight>) -> MutexGuard<'f, Flight> {
        let waited = self.landed.wait_timeout(flight, LOOK_AROUND);
        let (mut flight, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.look_around(&mut flight);
        flight
    }

    /// Sleeps, shorter if it is stopped.
    pub(super) fn sleep(&self, time: Duration) {
        pause(time, || self.is_stopped());
    }

    /// Fetches the partition map anew, one thread for all.
    pub(super) fn refresh(&self) {
        let Ok(mut last) = self.refreshed.try_lock() else { return };
        if last.elapsed() >= REFRESH_PAUSE {
            // The old map serves until a node answers again.
            let _ = self.cluster.refresh();
            *last = Instant::now();
        }
    }

    /// Counts and names a record that cannot be written.
    pub(super) fn fail(&self, outcomes: &mut Outcomes, digest: &Digest, why: String) {
        let shown = || KeyCodec::Digest.show(&digest.sort_key());
        if self.ignore_record_error {
            outcomes.ignored += 1;
            outcomes.name(shown, why);
        } else {
            outcomes.fail(shown, why);
        }
    }

    fn flight(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, groups: &Receiver<(Group, Work)>) {
        let mut sender = Sender::default();
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(sender.line());
        while let Ok((group, work)) = groups.recv() {
            let result = if self.stopped.load(Ordering::Relaxed) {
                Ok(Err(INTERRUPTED.to_owned()))
            } else {
                catch_unwind(AssertUnwindSafe(|| Delivery::new(self, &mut sender, &group, work).run()))
            };
            let mut flight = self.flight();
            flight.groups -= 1;
            flight.bytes -= 2 * group.bytes();
            match result {
                Ok(Ok(tally)) => add(&mut flight.tally, tally),
                Ok(Err(why)) => {
                    flight.failed.get_or_insert(why);
                }
                // Whoever waits must hear of it whatever happened.
                Err(_) => {
                    flight.failed.get_or_insert_with(|| "a writer panicked".to_owned());
                }
            }
            if flight.failed.is_some() {
                self.stopped.store(true, Ordering::Relaxed);
            }
            drop(flight);
            self.landed.notify_all();
        }
    }
}

fn add(to: &mut Tally, from: Tally) {
    to.unsure += from.unsure;
    to.outcomes.add(from.outcomes);
}

/// What a pool is made of.
pub(super) struct PoolOptions {
    pub(super) cluster: Arc<Cluster>,
    pub(super) namespace: String,
    pub(super) clocks: Arc<NodeClocks>,
    pub(super) threads: usize,
    pub(super) singly: bool,
    pub(super) timeout: Duration,
    pub(super) patience: Duration,
    pub(super) ignore_record_error: bool,
    pub(super) stop: Arc<AtomicBool>,
}

/// The threads.
pub(super) struct Pool {
    pub(super) shared: Arc<Shared>,
    sender: Option<crossbeam_channel::Sender<(Group, Work)>>,
    threads: Vec<JoinHandle<()>>,
    most_groups: usize,
}

impl Pool {
    pub(super) fn start(options: PoolOptions) -> Self {
        let count = options.threads.clamp(1, 256);
        let shared = Arc::new(Shared {
            cluster: options.cluster,
            namespace: options.namespace,
            clocks: options.clocks,
            singly: options.singly,
            timeout_millis: u32::try_from(options.timeout.as_millis()).unwrap_or(0),
            patience: options.patience,
            ignore_record_error: options.ignore_record_error,
            flight: Mutex::default(),
            landed: Condvar::new(),
            stopped: AtomicBool::new(false),
            asked: options.stop,
            asked_at: Mutex::default(),
            refreshed: Mutex::new(Instant::now()),
            lines: Mutex::default(),
        });
        let (sender, receiver) = crossbeam_channel::unbounded();
        let threads = (0..count)
            .map(|_| {
                let (shared, receiver) = (Arc::clone(&shared), receiver.clone());
                std::thread::spawn(move || shared.work(&receiver))
            })
            .collect();
        Self { shared, sender: Some(sender), threads, most_groups: 2 * count }
    }

    /// Hands a group over; waits while too much is under way.
    pub(super) fn submit(&self, group: Group, work: Work) -> Result<(), String> {
        let bytes = 2 * group.bytes();
        let mut flight = self.shared.flight();
        while flight.failed.is_none()
            && flight.groups > 0
            && (flight.groups >= self.most_groups || flight.bytes + bytes > FLIGHT_BYTES)
        {
            flight = self.shared.wait_for_landing(flight);
        }
        if let Some(why) = &flight.failed {
            return Err(why.clone());
        }
        flight.groups += 1;
        flight.bytes += bytes;
        drop(flight);
        let ended = || "the writers are gone".to_owned();
        let sender = self.sender.as_ref().ok_or_else(ended)?;
        sender.send((group, work)).map_err(|_| ended())
    }

    /// Waits until nothing is under way.
    pub(super) fn wait(&self) -> Result<(), String> {
        let mut flight = self.shared.flight();
        while flight.groups > 0 && flight.failed.is_none() {
            flight = self.shared.wait_for_landing(flight);
        }
        flight.failed.clone().map_or(Ok(()), Err)
    }

    /// Moves what came of rows so far to `outcomes`; gives how many may have been done before they were found.
    pub(super) fn report(&self, outcomes: &mut Outcomes) -> u64 {
        let tally = std::mem::take(&mut self.shared.flight().tally);
        outcomes.add(tally.outcomes);
        tally.unsure
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let interrupted = self.shared.asked.load(Ordering::Relaxed);
        self.shared.end();
        self.sender = None;
        if interrupted {
            // One that just waits for a connection ends by itself, and nobody waits for it.
            return;
        }
        for thread in self.threads.drain(..) {
            // Panics are caught where the work is done.
            let _ = thread.join();
        }
    }
}
