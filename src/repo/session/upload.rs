//! The uploader: one thread a session that stores finished packs and, every so often, the index object that names them.

use super::Shared;
use crate::repo::{
    RepoError,
    catalog::PackNumber,
    ids::PackKind,
    index::{self, IndexedPack},
    pack::{self, SealedPack},
    repository::{lock, names},
    storage::Class,
};
use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// What the uploader is asked to do.
pub(super) enum Job {
    /// Store a pack.
    Pack(Box<SealedPack>),
    /// Store the index of all packs stored so far, then answer.
    Index(Sender<()>),
    /// End.
    Stop,
}

/// The session's handle on its uploader.
pub(super) struct Uploader {
    pub jobs: Jobs,
    pub thread: Option<JoinHandle<()>>,
}

/// Where jobs go.
#[derive(Clone)]
pub(super) enum Jobs {
    /// To the uploader's thread.
    Queue(Sender<Job>),
    /// Done at once by whoever brings them.
    Inline(Arc<Mutex<Work>>),
}

impl Jobs {
    /// Hands a job over; `false` if nobody is there to take it.
    pub fn send(&self, job: Job) -> bool {
        match self {
            Self::Queue(queue) => queue.send(job).is_ok(),
            Self::Inline(work) => {
                lock(work).work_on(job);
                true
            }
        }
    }
}

impl Uploader {
    /// One pack may wait while one is stored: compression goes on beside fsync, and memory stays bounded.
    pub fn start(shared: &Arc<Shared>) -> Result<Self, RepoError> {
        let work = Work { shared: Arc::clone(shared), unindexed: Vec::new(), oldest: None, free_at: Instant::now() };
        if shared.timing.alone {
            return Ok(Self { jobs: Jobs::Inline(Arc::new(Mutex::new(work))), thread: None });
        }
        let (jobs, queue) = bounded(1);
        let run = move || work.run(&queue);
        let thread = std::thread::Builder::new().name("uploader".to_owned()).spawn(run);
        let thread = thread.map_err(|error| RepoError::Internal(format!("no thread for uploads: {error}")))?;
        Ok(Self { jobs: Jobs::Queue(jobs), thread: Some(thread) })
    }

    /// Waits until everything handed over is stored and indexed. What went wrong is in the shared state.
    pub fn drain(&self) {
        let (done, wait) = bounded(1);
        if self.jobs.send(Job::Index(done)) {
            // An uploader that is gone has left its error behind.
            let _ = wait.recv();
        }
    }

    pub fn stop(&mut self) {
        let _ = self.jobs.send(Job::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            // The panic has been reported by its own hook; the session's caller is on its way out.
        }
    }
}

/// What the uploader has done and has yet to do.
pub(super) struct Work {
    shared: Arc<Shared>,
    unindexed: Vec<IndexedPack>,
    /// When the first of `unindexed` was stored.
    oldest: Option<Instant>,
    /// When the write limit lets the next byte go.
    free_at: Instant,
}

impl Work {
    fn run(mut self, queue: &Receiver<Job>) {
        loop {
            let index_after = self.shared.timing.index_after;
            let wait =
                self.oldest.map_or(Duration::from_hours(1), |oldest| index_after.saturating_sub(oldest.elapsed()));
            match queue.recv_timeout(wait) {
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(job) => self.work_on(job),
                Err(RecvTimeoutError::Timeout) => {
                    let outcome = self.index_if_due();
                    self.shared.note_failure(outcome);
                }
            }
        }
    }

    fn work_on(&mut self, job: Job) {
        match job {
            Job::Pack(pack) => {
                let outcome = self.store(*pack);
                self.shared.note_failure(outcome);
            }
            Job::Index(done) => {
                let outcome = self.store_index();
                self.shared.note_failure(outcome);
                let _ = done.send(());
            }
            Job::Stop => {}
        }
    }

    fn store(&mut self, sealed: SealedPack) -> Result<(), RepoError> {
        if self.shared.has_failed() {
            return Ok(());
        }
        lock(&self.shared.presence).rely_on_own(sealed.name);
        let class = match sealed.kind {
            PackKind::Metadata => Class::Metadata,
            PackKind::Data => Class::Data,
        };
        let bytes = Bytes::from(sealed.bytes);
        self.create(&pack::path(&sealed.name), &bytes, class)?;
        self.oldest.get_or_insert_with(Instant::now);
        self.unindexed.push(IndexedPack {
            name: sealed.name,
            bytes: bytes.len() as u64,
            kind: sealed.kind,
            lease: sealed.lease,
            header: sealed.header,
            entries: sealed.entries,
        });
        self.index_if_due()
    }

    fn index_if_due(&mut self) -> Result<(), RepoError> {
        let timing = &self.shared.timing;
        let due = self.oldest.is_some_and(|oldest| oldest.elapsed() >= timing.index_after);
        if due || self.unindexed.len() >= timing.index_packs { self.store_index() } else { Ok(()) }
    }

    /// Stores the index of what is stored and not yet indexed, even after a failure: the next run finds it then.
    fn store_index(&mut self) -> Result<(), RepoError> {
        if self.unindexed.is_empty() {
            return Ok(());
        }
        let (name, bytes) = index::seal(&self.shared.inner.keyring, &self.unindexed)?;
        let bytes = Bytes::from(bytes);
        self.create(&names::index_path(&name), &bytes, Class::Metadata)?;
        let packs = std::mem::take(&mut self.unindexed);
        self.oldest = None;
        let ids: Vec<_> = packs.iter().flat_map(|pack| pack.entries.iter().map(|entry| entry.id)).collect();
        let numbers = self.import(name, bytes.len() as u64, packs)?;
        let mut presence = lock(&self.shared.presence);
        for number in numbers {
            presence.own_is_indexed(number);
        }
        drop(presence);
        self.shared.pending.remove(&ids);
        Ok(())
    }

    fn import(
        &self,
        name: crate::repo::ObjectName,
        bytes: u64,
        packs: Vec<IndexedPack>,
    ) -> Result<Vec<PackNumber>, RepoError> {
        let catalog = &self.shared.inner.catalog;
        let pack_names: Vec<_> = packs.iter().map(|pack| pack.name).collect();
        let mut once = Some((name, bytes, packs));
        catalog.apply_index(&mut || Ok(once.take()), &[])?;
        // One is absent only if someone made the catalog equal to a listing older than our object: then its chunks count
        // as absent until the next import, and are stored twice at worst.
        let numbers = pack_names.iter().map(|pack| catalog.pack_number(pack));
        Ok(numbers.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    fn create(&mut self, path: &str, bytes: &Bytes, class: Class) -> Result<(), RepoError> {
        self.keep_to_limit(bytes.len() as u64);
        // Who works alone has no others to share with, and may be stopped in the middle of an upload.
        let _room = (!self.shared.timing.alone).then(|| self.shared.inner.budget.upload());
        if let Err(error) = self.shared.inner.storage.create_shared(path, bytes, class) {
            // The put may still arrive: the lease must not end before it is known.
            self.shared.unsettled.store(true, Ordering::SeqCst);
            return Err(error);
        }
        // An object of that name holds these bytes: the name is their hash.
        self.shared.bytes_added.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn keep_to_limit(&mut self, bytes: u64) {
        let Some(limit) = self.shared.options.write_limit.filter(|limit| *limit > 0) else { return };
        crate::record::pause(self.free_at.saturating_duration_since(Instant::now()), || self.shared.is_closed());
        self.free_at = self.free_at.max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / limit as f64);
    }
}
