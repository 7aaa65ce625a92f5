//! The uploads of a session: threads that store finished packs, several at once, and every so often the index object that
//! names those that are stored.

use super::Shared;
use crate::repo::{
    ObjectName, RepoError,
    budget::Room,
    cache::Cache,
    catalog::PackNumber,
    ids::PackKind,
    index::{self, IndexedPack},
    inner::lock,
    names,
    pack::{self, SealedPack},
    parity::{self, Filling, Full},
    storage::Class,
};
use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use std::{
    sync::{Arc, Condvar, Mutex, PoisonError, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// What a thread that uploads is asked to do.
enum UploadTask {
    /// Store a pack.
    Pack(Box<Parcel>),
    /// End.
    Stop,
}

/// A pack on its way, with its share of memory and of what is under way.
struct Parcel {
    pack: SealedPack,
    _room: Room,
    _under_way: UnderWay,
}

/// One pack that is handed over and not dealt with yet; dropping it says that it is.
struct UnderWay(Arc<Work>);

impl UnderWay {
    fn begin(work: &Arc<Work>) -> Self {
        *lock(&work.under_way) += 1;
        Self(Arc::clone(work))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        *lock(&self.0.under_way) -= 1;
        self.0.settled.notify_all();
    }
}

/// Where finished packs go.
#[derive(Clone)]
pub(super) struct Jobs {
    work: Arc<Work>,
    /// `None` for who works alone: whoever brings a pack stores it.
    queue: Option<Sender<UploadTask>>,
}

impl Jobs {
    /// Hands a pack over, waiting until there is room for it; `false` if nobody is there to take it.
    pub fn store(&self, pack: SealedPack) -> bool {
        let Some(queue) = &self.queue else {
            self.work.take(pack);
            return true;
        };
        let room = self.work.shared.inner.budget.upload(pack.bytes.len());
        let parcel = Parcel { pack, _room: room, _under_way: UnderWay::begin(&self.work) };
        queue.send(UploadTask::Pack(Box::new(parcel))).is_ok()
    }
}

/// The session's handle on its uploads.
pub(super) struct Uploader {
    pub jobs: Jobs,
    threads: Vec<JoinHandle<()>>,
}

impl Uploader {
    /// As many threads as the place takes uploads at once. What is on its way is bounded by the repository's budget, which all
    /// its sessions share, so compression goes on beside storage and memory stays bounded.
    pub fn start(shared: &Arc<Shared>) -> Result<Self, RepoError> {
        let work = Arc::new(Work {
            shared: Arc::clone(shared),
            stored: Mutex::default(),
            filling: shared.parity.map(|percent| Mutex::new(Filling::new(percent))),
            indexing: Mutex::new(()),
            under_way: Mutex::new(0),
            settled: Condvar::new(),
            free_at: Mutex::new(Instant::now()),
        });
        if shared.timing.alone {
            return Ok(Self { jobs: Jobs { work, queue: None }, threads: Vec::new() });
        }
        let (queue, taken) = unbounded();
        let mut uploader = Self { jobs: Jobs { work, queue: Some(queue) }, threads: Vec::new() };
        for _ in 0..shared.inner.storage.uploads() {
            let (work, taken) = (Arc::clone(&uploader.jobs.work), taken.clone());
            let thread = std::thread::Builder::new().name("uploader".to_owned()).spawn(move || work.run(&taken));
            match thread {
                Ok(thread) => uploader.threads.push(thread),
                Err(error) => {
                    uploader.stop();
                    return Err(RepoError::Internal(format!("no thread for uploads: {error}")));
                }
            }
        }
        Ok(uploader)
    }

    /// Waits until everything handed over is stored and indexed. What went wrong is in the shared state.
    pub fn drain(&self) {
        let work = &self.jobs.work;
        work.wait_until_settled();
        let outcome = work.store_index();
        work.shared.note_failure(outcome);
    }

    /// [`Self::drain`] for the last time: the group that is being filled is closed as it is.
    pub fn finish(&self) {
        self.drain();
        let work = &self.jobs.work;
        let last = work.filling.as_ref().and_then(|filling| lock(filling).close());
        let outcome = last.map_or(Ok(()), |last| work.store_group(&last));
        work.shared.note_failure(outcome);
    }

    pub fn stop(&mut self) {
        if let Some(queue) = &self.jobs.queue {
            for _ in &self.threads {
                // A thread that is gone has left its error behind.
                let _ = queue.send(UploadTask::Stop);
            }
        }
        for thread in self.threads.drain(..) {
            // A panic has been reported by its own hook; the session's caller is on its way out.
            let _ = thread.join();
        }
    }
}

/// Packs that are stored and that no index object names yet.
#[derive(Default)]
struct Stored {
    packs: Vec<IndexedPack>,
    /// When the first of them was stored.
    oldest: Option<Instant>,
}

/// What the uploads of a session share.
struct Work {
    shared: Arc<Shared>,
    stored: Mutex<Stored>,
    /// The group that is being filled, where packs have parity.
    filling: Option<Mutex<Filling>>,
    /// One index object at a time; locked until it is stored.
    indexing: Mutex<()>,
    /// Packs that are handed over and not dealt with.
    under_way: Mutex<usize>,
    settled: Condvar,
    /// When the write limit lets the next byte go.
    free_at: Mutex<Instant>,
}

impl Work {
    fn run(&self, queue: &Receiver<UploadTask>) {
        loop {
            match queue.recv_timeout(self.until_due()) {
                Ok(UploadTask::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(UploadTask::Pack(parcel)) => {
                    let Parcel { pack, _room, _under_way } = *parcel;
                    self.take(pack);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let outcome = self.index_if_due();
                    self.shared.note_failure(outcome);
                }
            }
        }
    }

    fn wait_until_settled(&self) {
        let under_way = lock(&self.under_way);
        let done = self.settled.wait_while(under_way, |under_way| *under_way > 0);
        drop(done.unwrap_or_else(PoisonError::into_inner));
    }

    fn take(&self, pack: SealedPack) {
        let outcome = self.store(pack);
        self.shared.note_failure(outcome);
    }

    fn store(&self, sealed: SealedPack) -> Result<(), RepoError> {
        if self.shared.has_failed() {
            return Ok(());
        }
        lock(&self.shared.presence).rely_on_own(sealed.name, sealed.bytes.len() as u64);
        let class = match sealed.kind {
            PackKind::Metadata => Class::Metadata,
            PackKind::Data => Class::Data,
        };
        let bytes = Bytes::from(sealed.bytes);
        self.create(&pack::path(&sealed.name), &bytes, class)?;
        if let Some(cache) = self.shared.inner.cache.as_ref().filter(|_| Cache::keeps(sealed.kind)) {
            cache.keep_pack(&sealed.name, &bytes);
        }
        let len = bytes.len() as u64;
        self.protect(&sealed.name, bytes, sealed.kind)?;
        let mut stored = lock(&self.stored);
        stored.oldest.get_or_insert_with(Instant::now);
        stored.packs.push(IndexedPack {
            name: sealed.name,
            bytes: len,
            kind: sealed.kind,
            lease: sealed.lease,
            header: sealed.header,
            entries: sealed.entries,
        });
        drop(stored);
        self.index_if_due()
    }

    /// Puts a stored pack into the group that is being filled, and stores the group once it is complete.
    fn protect(&self, name: &ObjectName, bytes: Bytes, kind: PackKind) -> Result<(), RepoError> {
        let Some(filling) = &self.filling else {
            self.shared.spare.give(kind, bytes);
            return Ok(());
        };
        let full = lock(filling).add(*name, bytes);
        full.iter().try_for_each(|full| self.store_group(full))
    }

    /// Stores a group. A run that failed leaves its packs without one: whoever looks after groups makes it.
    fn store_group(&self, full: &Full) -> Result<(), RepoError> {
        if self.shared.has_failed() {
            return Ok(());
        }
        let (name, bytes) = full.make(self.shared.inner.keyring.repo_id)?;
        self.create(&parity::path(&name), &Bytes::from(bytes), Class::Metadata)
    }

    /// How long until something has to be indexed, as far as is known now.
    fn until_due(&self) -> Duration {
        let index_after = self.shared.timing.index_after;
        lock(&self.stored).oldest.map_or(index_after, |oldest| index_after.saturating_sub(oldest.elapsed()))
    }

    fn is_due(&self) -> bool {
        let timing = &self.shared.timing;
        let stored = lock(&self.stored);
        let is_late = stored.oldest.is_some_and(|oldest| oldest.elapsed() >= timing.index_after);
        is_late || stored.packs.len() >= timing.index_packs
    }

    fn index_if_due(&self) -> Result<(), RepoError> {
        if !self.is_due() {
            return Ok(());
        }
        let one = lock(&self.indexing);
        // Another thread may have done it while this one waited.
        if self.is_due() { self.store_index_alone(&one) } else { Ok(()) }
    }

    /// Stores the index of what is stored and not yet indexed, even after a failure: the next run finds it then.
    fn store_index(&self) -> Result<(), RepoError> {
        let one = lock(&self.indexing);
        self.store_index_alone(&one)
    }

    fn store_index_alone(&self, _one: &std::sync::MutexGuard<'_, ()>) -> Result<(), RepoError> {
        let Stored { mut packs, oldest } = std::mem::take(&mut *lock(&self.stored));
        if packs.is_empty() {
            return Ok(());
        }
        let (name, bytes) = match self.create_index(&packs) {
            Ok(made) => made,
            Err(error) => {
                // They are stored all the same: whoever drains tries once more.
                let mut stored = lock(&self.stored);
                packs.append(&mut stored.packs);
                *stored = Stored { packs, oldest };
                return Err(error);
            }
        };
        let ids: Vec<_> = packs.iter().flat_map(|pack| pack.entries.iter().map(|entry| entry.id)).collect();
        let numbers = match self.import(name, bytes, packs) {
            Ok(numbers) => numbers,
            // The catalog can take nothing more. The packs are stored and described all the same; what they hold stays among
            // what this session has taken on.
            Err(RepoError::Catalog { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut presence = lock(&self.shared.presence);
        for number in numbers {
            presence.own_is_indexed(number);
        }
        drop(presence);
        self.shared.pending.remove(&ids);
        Ok(())
    }

    fn create_index(&self, packs: &[IndexedPack]) -> Result<(ObjectName, u64), RepoError> {
        let (name, bytes) = index::seal(&self.shared.inner.keyring, packs)?;
        let bytes = Bytes::from(bytes);
        self.create(&names::index_path(&name), &bytes, Class::Metadata)?;
        Ok((name, bytes.len() as u64))
    }

    fn import(&self, name: ObjectName, bytes: u64, packs: Vec<IndexedPack>) -> Result<Vec<PackNumber>, RepoError> {
        let catalog = &self.shared.inner.catalog;
        let pack_names: Vec<_> = packs.iter().map(|pack| pack.name).collect();
        let mut once = Some((name, bytes, packs));
        catalog.apply_index(&mut || Ok(once.take()), &[])?;
        // One is absent only if someone made the catalog equal to a listing older than our object: then its chunks count
        // as absent until the next import, and are stored twice at worst.
        let numbers = pack_names.iter().map(|pack| catalog.pack_number(pack));
        Ok(numbers.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    fn create(&self, path: &str, bytes: &Bytes, class: Class) -> Result<(), RepoError> {
        self.keep_to_limit(bytes.len() as u64);
        if let Err(error) = self.shared.inner.storage.create_shared(path, bytes, class) {
            // The put may still arrive: the lease must not end before it is known.
            self.shared.unsettled.store(true, Ordering::SeqCst);
            return Err(error);
        }
        // An object of that name holds these bytes: the name is their hash.
        self.shared.bytes_added.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// All uploads of the session together keep to the limit: each takes its place in time before it waits for it.
    fn keep_to_limit(&self, bytes: u64) {
        let Some(limit) = self.shared.options.write_limit.filter(|limit| *limit > 0) else { return };
        let mut free_at = lock(&self.free_at);
        let turn = free_at.max(Instant::now());
        *free_at = turn + Duration::from_secs_f64(bytes as f64 / limit as f64);
        drop(free_at);
        crate::record::pause(turn.saturating_duration_since(Instant::now()), || self.shared.is_closed());
    }
}
