//! Who is connected and what is waited for. Where there is room for no more, whoever has let the service wait for longest goes: with
//! connections that say nothing, say it slowly or take their answers slowly nobody keeps others out.

use super::room;
use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// All connections.
pub(super) struct Lobby {
    room: Arc<Semaphore>,
    /// So much of the room is kept free for those who come next: it takes its time until somebody has gone.
    spare: usize,
    waiting: Mutex<Waiting>,
}

/// Those that the service waits for, in the order in which that began.
#[derive(Default)]
struct Waiting {
    next: u64,
    guests: BTreeMap<u64, Arc<Notify>>,
}

impl Lobby {
    /// With room for so many at most.
    pub(super) fn new(most: usize) -> Arc<Self> {
        let most = room::connections(most);
        Arc::new(Self { room: Arc::new(Semaphore::new(most)), spare: most / 16, waiting: Mutex::default() })
    }

    /// Takes somebody in, once there is room: if need be that of whoever was waited for longest.
    pub(super) async fn take_in(self: &Arc<Self>) -> Guest {
        if self.room.available_permits() <= self.spare {
            self.let_one_go();
        }
        let permit = Arc::clone(&self.room).acquire_owned().await.ok();
        let guest = Guest {
            lobby: Arc::clone(self),
            leave: Arc::default(),
            since: Mutex::default(),
            unread: Arc::default(),
            _permit: permit,
        };
        guest.is_waited_for();
        guest
    }

    fn let_one_go(&self) {
        if let Some((_, leave)) = self.waiting().guests.pop_first() {
            leave.notify_one();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection.
pub(super) struct Guest {
    lobby: Arc<Lobby>,
    leave: Arc<Notify>,
    /// Its place among those that are waited for.
    since: Mutex<Option<u64>>,
    /// Whether it has said something since the last request that was read to its end.
    unread: Arc<AtomicBool>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Guest {
    /// The client has to do something: ask, say more, take its answer.
    pub(super) fn is_waited_for(&self) {
        let mut since = self.since();
        let mut waiting = self.lobby.waiting();
        since.take().map(|place| waiting.guests.remove(&place));
        let place = waiting.next;
        waiting.next += 1;
        waiting.guests.insert(place, Arc::clone(&self.leave));
        *since = Some(place);
    }

    /// Whether it has said something that nobody has read to its end.
    pub(super) fn unread(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.unread)
    }

    fn is_read(&self) {
        self.unread.store(false, Ordering::Relaxed);
    }

    /// The service has to do something.
    fn waits(&self) {
        let mut since = self.since();
        since.take().map(|place| self.lobby.waiting().guests.remove(&place));
    }

    /// Comes back when the room is needed for others. Who has asked meanwhile is answered.
    pub(super) async fn has_to_leave(&self) {
        loop {
            self.leave.notified().await;
            if self.since().is_some() {
                return;
            }
        }
    }

    fn since(&self) -> MutexGuard<'_, Option<u64>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.waits();
    }
}

/// The body of a request, for which the client is waited until all of it has come.
pub(super) struct Awaited {
    body: Incoming,
    guest: Arc<Guest>,
}

impl Awaited {
    pub(super) fn new(body: Incoming, guest: &Arc<Guest>) -> Self {
        if body.is_end_stream() {
            guest.waits();
            guest.is_read();
        }
        Self { body, guest: Arc::clone(guest) }
    }
}

impl Body for Awaited {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let is_read = matches!(polled, Poll::Ready(None)) || self.body.is_end_stream();
        if is_read || matches!(polled, Poll::Ready(Some(Err(_)))) {
            self.guest.waits();
        }
        if is_read {
            self.guest.is_read();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether somebody is told to leave.
    async fn leaves(guest: &Guest) -> bool {
        tokio::select! {
            biased;
            () = guest.has_to_leave() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[test]
    fn who_was_waited_for_longest_makes_room_and_who_is_served_stays() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(one_of_three_leaves());
    }

    async fn one_of_three_leaves() {
        let lobby = Lobby::new(3);
        let mut guests = Vec::new();
        for _ in 0..3 {
            guests.push(lobby.take_in().await);
        }
        // The first is being answered, the second has asked again since.
        guests[0].waits();
        guests[1].is_waited_for();
        let next = tokio::spawn({
            let lobby = Arc::clone(&lobby);
            async move { lobby.take_in().await }
        });
        guests[2].has_to_leave().await;
        assert!(!leaves(&guests[0]).await && !leaves(&guests[1]).await);
        drop(guests.pop());
        let _next = next.await.unwrap();
        // One that was told to leave, and had asked by then, is answered.
        lobby.let_one_go();
        guests[1].waits();
        assert!(!leaves(&guests[1]).await);
        assert_eq!(lobby.waiting().guests.len(), 1);
    }
}
