//! Connections that write side by side, each on a thread of its own.

use crate::connector::{
    ConnectorError,
    postgres::{
        client::{Client, Facts, Server},
        error::writing,
        marker,
    },
};
use crossbeam_channel::Sender;
use postgres::CancelToken;
use std::thread::JoinHandle;

/// What a connection is given to do.
pub(super) type Errand = Box<dyn FnOnce(&mut Client) + Send>;

/// Connections that wait for work.
pub(super) struct Crew {
    server: Server,
    workers: Vec<Worker>,
}

struct Worker {
    jobs: Sender<Errand>,
    token: CancelToken,
    thread: JoinHandle<()>,
}

impl Crew {
    /// So many connections, or as many fewer as the server has room for.
    pub(super) fn gather(server: &Server, facts: &Facts, count: usize) -> Result<Self, ConnectorError> {
        let mut crew = Self { server: server.clone(), workers: Vec::new() };
        for _ in 0..count.max(1) {
            match crew.connect(facts) {
                Ok(worker) => crew.workers.push(worker),
                Err(error) if crew.workers.is_empty() => return Err(error),
                // The server has no room for more.
                Err(_) => break,
            }
        }
        Ok(crew)
    }

    fn connect(&self, facts: &Facts) -> Result<Worker, ConnectorError> {
        let server = &self.server;
        let object = server.shown();
        let mut client = server.connect()?;
        // What is lost in a crash is the end of what was done, and notes of it are behind it.
        let sql = format!("SET synchronous_commit = off; {}", marker::joins());
        client.batch_execute(&sql).map_err(|error| writing(&object, &error))?;
        // Where this may not be set, what runs on rows runs.
        let _ = client.batch_execute("SET session_replication_role = replica");
        server.in_own_encoding(&mut client, facts)?;
        let token = client.cancel_token();
        let (jobs, given) = crossbeam_channel::unbounded::<Errand>();
        let work = move || {
            for job in given {
                job(&mut client);
            }
        };
        let thread = std::thread::Builder::new().name("postgresql".to_owned()).spawn(work);
        let thread = thread.map_err(|source| ConnectorError::Io { operation: "start a thread for", object, source })?;
        Ok(Worker { jobs, token, thread })
    }

    pub(super) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Gives a connection something to do, behind what it does.
    pub(super) fn give(&self, worker: usize, job: Errand) {
        // Whoever has ended does nothing, and whoever waits for it hears that its end of the channel is gone.
        if let Some(worker) = self.workers.get(worker) {
            let _ = worker.jobs.send(job);
        }
    }

    /// Ends what all of them are doing.
    pub(super) fn cancel(&self) {
        for worker in &self.workers {
            self.server.cancel(&worker.token);
        }
    }

    /// Lets them go when they have done everything.
    pub(super) fn dismiss(&mut self) {
        for worker in self.workers.drain(..) {
            drop(worker.jobs);
            let _ = worker.thread.join();
        }
    }
}

impl Drop for Crew {
    /// What is under way when a restore is given up is of no use.
    fn drop(&mut self) {
        if self.workers.is_empty() {
            return;
        }
        self.cancel();
        self.dismiss();
    }
}
