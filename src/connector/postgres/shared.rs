//! One run over a server: the connections that see its snapshot, and what becomes known while they read.

use super::{
    client::{Client, Facts, Server},
    error,
    names::literal,
};
use crate::connector::ConnectorError;
use std::{
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Rows that are named one by one; others are counted.
const MOST_NAMED: usize = 1000;

/// What readers of one run share.
pub(super) struct Shared {
    pub(super) server: Server,
    pub(super) facts: Facts,
    /// The snapshot to import; `None` where the connections that there are see all there is to see.
    snapshot: Option<String>,
    readers: Mutex<Vec<Client>>,
    freed: Condvar,
    /// Connections beside the readers: for values that are fetched while others read rows.
    side: Mutex<Vec<Client>>,
    tokens: Mutex<Vec<postgres::CancelToken>>,
    stopped: AtomicBool,
    /// Whether a value was met that is not in its row.
    outside: AtomicBool,
    pub(super) temp_dir: PathBuf,
    /// Bytes that one reader sorts in memory.
    pub(super) run_bytes: usize,
    unusable: Mutex<(Vec<String>, u64)>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(
        server: Server,
        facts: Facts,
        snapshot: Option<String>,
        temp_dir: PathBuf,
        readers: usize,
    ) -> Result<Arc<Self>, ConnectorError> {
        let shared = Self {
            server,
            facts,
            snapshot,
            readers: Mutex::default(),
            freed: Condvar::new(),
            side: Mutex::default(),
            tokens: Mutex::default(),
            stopped: AtomicBool::new(false),
            outside: AtomicBool::new(false),
            temp_dir,
            run_bytes: ((64 << 20) / readers.max(1)).clamp(8 << 20, 32 << 20),
            unusable: Mutex::default(),
        };
        for _ in 0..readers {
            let reader = shared.connect()?;
            lock(&shared.readers).push(reader);
        }
        Ok(Arc::new(shared))
    }

    /// A new connection that sees the snapshot.
    fn connect(&self) -> Result<Client, ConnectorError> {
        let mut client = self.server.connect()?;
        let object = self.server.shown();
        let begin = match &self.snapshot {
            Some(snapshot) => format!(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
                literal(snapshot)
            ),
            None => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned(),
        };
        client.batch_execute(&begin).map_err(|error| error::reading(&object, &error))?;
        self.server.in_own_encoding(&mut client, &self.facts)?;
        lock(&self.tokens).push(client.cancel_token());
        Ok(client)
    }

    /// A reader, as soon as one is free.
    pub(super) fn reader(&self) -> Result<Lent<'_>, ConnectorError> {
        let mut readers = lock(&self.readers);
        loop {
            self.check()?;
            if let Some(client) = readers.pop() {
                return Ok(Lent { of: self, client: Some(client), side: false });
            }
            readers = self.freed.wait(readers).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A reader, if one is free now.
    pub(super) fn free_reader(&self) -> Option<Lent<'_>> {
        lock(&self.readers).pop().map(|client| Lent { of: self, client: Some(client), side: false })
    }

    /// A connection beside the readers.
    pub(super) fn beside(&self) -> Result<Lent<'_>, ConnectorError> {
        self.check()?;
        let client = lock(&self.side).pop();
        let client = client.map_or_else(|| self.connect(), Ok)?;
        Ok(Lent { of: self, client: Some(client), side: true })
    }

    fn check(&self) -> Result<(), ConnectorError> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(ConnectorError::Unreadable {
                object: self.server.shown(),
                reason: "it was stopped".to_owned(),
            });
        }
        Ok(())
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub(super) fn note_outside(&self) {
        self.outside.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_outside(&self) -> bool {
        self.outside.load(Ordering::Relaxed)
    }

    /// Ends what all connections do.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.freed.notify_all();
        for token in lock(&self.tokens).iter() {
            self.server.cancel(token);
        }
    }

    /// Names a row that cannot be kept.
    pub(super) fn name_unusable(&self, words: String) {
        let mut unusable = lock(&self.unusable);
        // Where two ranges meet, a few rows are read for each.
        if unusable.0.contains(&words) {
            return;
        }
        if unusable.0.len() < MOST_NAMED {
            unusable.0.push(words);
        } else {
            unusable.1 += 1;
        }
    }

    /// The rows that could not be kept, in words.
    pub(super) fn take_unusable(&self) -> Vec<String> {
        let (mut lines, more) = std::mem::take(&mut *lock(&self.unusable));
        if more > 0 {
            lines.push(format!("and {more} further rows that cannot be kept"));
        }
        lines
    }

    /// Ends all connections.
    pub(super) fn close(&self) {
        lock(&self.readers).clear();
        lock(&self.side).clear();
    }
}

/// A connection that goes back when it is dropped.
pub(super) struct Lent<'a> {
    of: &'a Shared,
    client: Option<Client>,
    side: bool,
}

impl std::ops::Deref for Lent<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client.as_ref().expect("it is there until it is dropped")
    }
}

impl std::ops::DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut Client {
        self.client.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            lock(if self.side { &self.of.side } else { &self.of.readers }).push(client);
            self.of.freed.notify_one();
        }
    }
}
