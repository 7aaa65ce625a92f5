//! One connection, read by one thread and answered by another; under TLS or not.

use super::room::Holder;
use rustls::{ServerConfig, ServerConnection};
use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How long an answer may take to be sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Nothing came for so long: between messages that is nothing, inside of one or of a handshake it is the end.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes that are taken from a socket, and text that is sealed, at once.
const PIECE_BYTES: usize = 16 << 10;

/// A connection.
pub(super) struct Line {
    socket: TcpStream,
    sealed: Option<Sealed>,
    /// Whether it shipped a change.
    is_known: AtomicBool,
    /// Whether it was shut for others to come in.
    gave_way: AtomicBool,
}

/// What TLS keeps of a connection.
struct Sealed {
    session: Mutex<ServerConnection>,
    /// Held while what the session gave is sent, so that it is sent in its order; taken before the session's lock.
    sending: Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    pub(super) fn new(socket: TcpStream, tls: Option<&Arc<ServerConfig>>) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
        socket.set_read_timeout(Some(READ_TIMEOUT))?;
        let sealed = match tls {
            None => None,
            Some(config) => Some(Sealed {
                session: Mutex::new(ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?),
                sending: Mutex::default(),
            }),
        };
        Ok(Self { socket, sealed, is_known: AtomicBool::new(false), gave_way: AtomicBool::new(false) })
    }

    /// Whether hands are still to be shaken.
    pub(super) fn is_new(&self) -> bool {
        self.sealed.as_ref().is_some_and(|sealed| lock(&sealed.session).is_handshaking())
    }

    /// It shipped a change.
    pub(super) fn know(&self) {
        self.is_known.store(true, Ordering::SeqCst);
    }

    /// Ends it for another connection to come in.
    pub(super) fn give_way(&self) {
        self.gave_way.store(true, Ordering::SeqCst);
        self.shut();
    }

    /// Whether [`Self::give_way`] ended it.
    pub(super) fn gave_way(&self) -> bool {
        self.gave_way.load(Ordering::SeqCst)
    }

    /// Sends all of it.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let Some(sealed) = &self.sealed else { return (&self.socket).write_all(bytes) };
        bytes
            .chunks(PIECE_BYTES)
            .try_for_each(|piece| self.send_sealed(sealed, |session| session.writer().write_all(piece)))
    }

    /// Sends what the session has to send once `fill` is done with it. The session is free while that is under way: who reads
    /// does not wait for somebody that does not.
    fn send_sealed(
        &self,
        sealed: &Sealed,
        fill: impl FnOnce(&mut ServerConnection) -> io::Result<()>,
    ) -> io::Result<()> {
        let _sending = lock(&sealed.sending);
        let mut out = Vec::new();
        {
            let mut session = lock(&sealed.session);
            fill(&mut session)?;
            while session.wants_write() {
                session.write_tls(&mut out)?;
            }
        }
        (&self.socket).write_all(&out)
    }

    /// Ends it, for both threads.
    pub(super) fn shut(&self) {
        // It may be closed already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl Holder for Line {
    fn is_known(&self) -> bool {
        self.is_known.load(Ordering::SeqCst)
    }

    fn shut(&self) {
        Self::shut(self);
    }
}

/// What comes over a connection.
pub(super) struct LineReader {
    line: Arc<Line>,
    raw: Vec<u8>,
    plain: Vec<u8>,
    /// How much of `plain` was given.
    given: usize,
}

impl LineReader {
    pub(super) fn new(line: &Arc<Line>) -> Self {
        let raw = if line.sealed.is_some() { vec![0; PIECE_BYTES] } else { Vec::new() };
        Self { line: Arc::clone(line), raw, plain: Vec::new(), given: 0 }
    }

    /// Takes a piece from the socket and opens it; `false` at the end.
    fn open_more(&mut self) -> io::Result<bool> {
        let line = Arc::clone(&self.line);
        let Some(sealed) = &line.sealed else { return Ok(false) };
        let came = (&line.socket).read(&mut self.raw)?;
        let mut rest = &self.raw[..came];
        self.plain.clear();
        self.given = 0;
        let (mut is_over, mut wants_write, mut wrong) = (came == 0, false, None);
        {
            let mut session = lock(&sealed.session);
            while !rest.is_empty() {
                session.read_tls(&mut rest)?;
                match session.process_new_packets() {
                    Ok(state) => {
                        is_over |= state.peer_has_closed();
                        let mut text = session.reader().take(state.plaintext_bytes_to_read() as u64);
                        text.read_to_end(&mut self.plain)?;
                    }
                    Err(error) => {
                        wrong = Some(io::Error::new(io::ErrorKind::InvalidData, error));
                        break;
                    }
                }
            }
            wants_write |= session.wants_write();
        }
        if wants_write {
            let told = line.send_sealed(sealed, |_| Ok(()));
            // What is wrong is said rather than that nobody hears it.
            if wrong.is_none() {
                told?;
            }
        }
        wrong.map_or(Ok(!is_over), Err)
    }
}

impl Read for LineReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.line.sealed.is_none() {
            return (&self.line.socket).read(out);
        }
        while self.given == self.plain.len() {
            let goes_on = self.open_more()?;
            if !goes_on && self.plain.is_empty() {
                return Ok(0);
            }
        }
        let len = out.len().min(self.plain.len() - self.given);
        out[..len].copy_from_slice(&self.plain[self.given..self.given + len]);
        self.given += len;
        Ok(len)
    }
}
