//! A connection that gives up a client who takes nothing of what it is sent: an answer waits in memory until somebody takes it. And
//! one that ends without taking an answer away: what a client still sends when a socket is closed makes the system reset the
//! connection, and the client may never read why it was refused.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// How long a client may still send behind an answer, and how long it may pause.
const LINGERS: Duration = Duration::from_secs(30);
const PAUSES: Duration = Duration::from_secs(5);

/// The connection.
pub(super) struct Patient<S> {
    stream: S,
    /// How long it waits for a client to take something.
    most: Duration,
    waits: Option<Pin<Box<Sleep>>>,
    /// Whether something came that was not read to its end.
    unread: Arc<AtomicBool>,
    end: End,
}

/// How far the end is.
enum End {
    /// There is none yet.
    Open,
    /// The client has our last word, and what it still says is passed over.
    Lingers { whole: Pin<Box<Sleep>>, pause: Pin<Box<Sleep>> },
    /// Nothing more is read.
    Closed,
}

impl<S> Patient<S> {
    pub(super) const fn new(stream: S, most: Duration, unread: Arc<AtomicBool>) -> Self {
        Self { stream, most, waits: None, unread, end: End::Open }
    }

    fn judged<T>(&mut self, polled: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waits = None;
            return polled;
        }
        let most = self.most;
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(most)));
        ready!(waits.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.unread.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> Patient<S> {
    /// Passes over what still comes, until the client ends or has had its time.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let End::Lingers { whole, pause } = &mut self.end else { return Poll::Ready(()) };
        let mut bytes = [0; 16 * 1024];
        // What comes without a pause lets others have their turn, too.
        for _ in 0..64 {
            if whole.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    pause.as_mut().reset(Instant::now() + PAUSES);
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return pause.as_mut().poll(context),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judged(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.judged(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.judged(polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.end, End::Open) {
            let polled = Pin::new(&mut self.stream).poll_shutdown(context);
            ready!(self.judged(polled, context))?;
            let lingers = self.unread.load(Ordering::Relaxed);
            self.end = if lingers {
                End::Lingers { whole: Box::pin(sleep(LINGERS)), pause: Box::pin(sleep(PAUSES)) }
            } else {
                End::Closed
            };
        }
        ready!(self.poll_linger(context));
        self.end = End::Closed;
        Poll::Ready(Ok(()))
    }
}
