//! Batches under way: threads that deliver them, bounded in number and bytes, and what they add up to.

use super::{
    answers::Sender,
    deliver::Delivery,
    rows::Group,
    shared::{INTERRUPTED, PoolOptions, Shared},
    verdict::Work,
};
use crate::connector::Outcomes;
use crossbeam_channel::Receiver;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
};

/// Bytes of all batches handed over, counted twice: their rows and the frames built of them.
const FLIGHT_BYTES: usize = 64 * 1024 * 1024;

/// What each thread does.
fn work(shared: &Shared, groups: &Receiver<(Group, Work)>) {
    let mut sender = Sender::default();
    shared.note(sender.line());
    while let Ok((group, work)) = groups.recv() {
        let result = if shared.has_ended() {
            Ok(Err(INTERRUPTED.to_owned()))
        } else {
            catch_unwind(AssertUnwindSafe(|| Delivery::new(shared, &mut sender, &group, work).run()))
        };
        let mut flight = shared.flight();
        flight.groups -= 1;
        flight.bytes -= 2 * group.bytes();
        match result {
            Ok(Ok(tally)) => flight.tally.add(tally),
            Ok(Err(why)) => {
                flight.failed.get_or_insert(why);
            }
            // Whoever waits must hear of it whatever happened.
            Err(_) => {
                flight.failed.get_or_insert_with(|| "a writer panicked".to_owned());
            }
        }
        if flight.failed.is_some() {
            shared.send_no_more();
        }
        drop(flight);
        shared.has_landed();
    }
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
        let shared = Arc::new(Shared::new(options));
        let (sender, receiver) = crossbeam_channel::unbounded();
        let threads = (0..count)
            .map(|_| {
                let (shared, receiver) = (Arc::clone(&shared), receiver.clone());
                std::thread::spawn(move || work(&shared, &receiver))
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
        let interrupted = self.shared.is_asked_to_stop();
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
