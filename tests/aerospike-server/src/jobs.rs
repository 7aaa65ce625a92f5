//! The queries of a node, running and done, as `query-show` tells them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// Done queries that are remembered.
const MAX_DONE: usize = 100;

/// One query.
#[derive(Debug)]
pub struct Job {
    /// Its id.
    pub trid: u64,
    /// Namespace.
    pub namespace: String,
    /// Set.
    pub set: Option<String>,
    /// Partitions asked for.
    pub n_pids: usize,
    /// Records per second asked for.
    pub rps: u32,
    /// Socket timeout in milliseconds.
    pub socket_timeout_ms: u32,
    /// Address of the client.
    pub from: String,
    /// Records sent, and metadata rows skipped for an unreadable key.
    pub succeeded: AtomicU64,
    /// Records that could not be read.
    pub failed: AtomicU64,
    /// Records filtered out by metadata.
    pub filtered_meta: AtomicU64,
    /// Records filtered out by bins.
    pub filtered_bins: AtomicU64,
    /// Bytes sent.
    pub net_io_bytes: AtomicU64,
    /// Partitions finished.
    pub pids_done: AtomicU64,
    started: Instant,
    done: OnceLock<(Instant, &'static str)>,
}

impl Job {
    /// A query that begins.
    pub fn new(trid: u64, namespace: String, set: Option<String>, n_pids: usize, from: String) -> Self {
        Self {
            trid,
            namespace,
            set,
            n_pids,
            rps: 0,
            socket_timeout_ms: 0,
            from,
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            filtered_meta: AtomicU64::new(0),
            filtered_bins: AtomicU64::new(0),
            net_io_bytes: AtomicU64::new(0),
            pids_done: AtomicU64::new(0),
            started: Instant::now(),
            done: OnceLock::new(),
        }
    }

    /// Ends it with this status; the first one stands.
    pub fn finish(&self, status: &'static str) {
        let _ = self.done.set((Instant::now(), status));
    }

    /// Whether it has ended.
    pub fn is_done(&self) -> bool {
        self.done.get().is_some()
    }

    /// One line of `query-show`.
    pub fn show(&self) -> String {
        let get = |n: &AtomicU64| n.load(Ordering::SeqCst);
        let (status, run, since) = match self.done.get() {
            None => ("active(ok)".to_owned(), self.started.elapsed(), std::time::Duration::ZERO),
            Some((at, status)) => (format!("done({status})"), at.duration_since(self.started), at.elapsed()),
        };
        let set = self.set.as_ref().map_or_else(String::new, |set| format!(":set={set}"));
        let progress = if self.n_pids == 0 { 100.0 } else { 100.0 * get(&self.pids_done) as f64 / self.n_pids as f64 };
        format!(
            "trid={}:job-type=basic:ns={}{set}:n-pids-requested={}:rps={}:active-threads={}:status={status}:\
             job-progress={progress:.2}:run-time={}:time-since-done={}:recs-throttled=0:recs-filtered-meta={}:\
             recs-filtered-bins={}:recs-succeeded={}:recs-failed={}:from={}:net-io-bytes={}:net-io-time=0:\
             socket-timeout={}",
            self.trid,
            self.namespace,
            self.n_pids,
            self.rps,
            u32::from(!self.is_done()),
            run.as_millis(),
            since.as_millis(),
            get(&self.filtered_meta),
            get(&self.filtered_bins),
            get(&self.succeeded),
            get(&self.failed),
            self.from.replace(':', "+"),
            get(&self.net_io_bytes),
            self.socket_timeout_ms,
        )
    }
}

/// A node's queries, oldest first.
#[derive(Debug, Default)]
pub struct Jobs(Mutex<VecDeque<Arc<Job>>>);

impl Jobs {
    /// Whether a query with this id has run, or runs.
    pub fn has(&self, trid: u64) -> bool {
        self.all().iter().any(|job| job.trid == trid)
    }

    /// Queries that run.
    pub fn running(&self) -> usize {
        self.all().iter().filter(|job| !job.is_done()).count()
    }

    /// Remembers a query that begins.
    pub fn push(&self, job: Arc<Job>) {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.push_back(job);
        while jobs.iter().filter(|job| job.is_done()).count() > MAX_DONE {
            if let Some(oldest) = jobs.iter().position(|job| job.is_done()) {
                jobs.remove(oldest);
            }
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
