//! The listener that XDR ships to: changes gather in a window, and each is answered when whoever took the window says what
//! became of it, so that nothing is acknowledged that is not durable.

mod line;
mod room;
pub mod tls;

use super::{
    super::wire::{self, KIND_MESSAGE},
    Shipped,
};
use crate::{
    connector::aerospike::decode::Decoder,
    record::{ChangeBatch, Clock as _, SystemClock, pause},
};
use line::{Line, LineReader};
use room::{Claim, Granted, Holder as _, Room};
use rustls::ServerConfig;
use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Read as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// The most connections at once, by default.
pub const MAX_CONNECTIONS: usize = 1024;

/// What a connection may hold for itself; messages that are longer share [`LONG_BYTES`].
const SHORT_BYTES: usize = 16 << 10;

/// What longer messages that wait for the window may hold, over all connections. No message is longer: records have 8 MiB at most.
const LONG_BYTES: usize = 32 << 20;

/// So much more of a long message is taken at once from somebody who has shipped nothing yet.
const STEP_BYTES: usize = 128 << 10;

/// The stack of a thread that reads a connection.
const STACK_BYTES: usize = 512 << 10;

/// Connections that wait to be taken, and ends, are looked for so often.
const LOOK_AROUND: Duration = Duration::from_millis(20);

/// Faults that are named.
const MAX_NAMED: usize = 20;

/// The change is durable.
pub const DONE: u8 = 0;
/// Ship it again later.
pub const AGAIN: u8 = 11;

/// How a listener listens.
#[derive(Clone)]
pub struct ListenerOptions {
    /// Bytes of changes that wait to be taken.
    pub most_bytes: usize,
    /// Connections at once; others are turned away.
    pub max_connections: usize,
    /// Under TLS, if so.
    pub tls: Option<Arc<ServerConfig>>,
}

/// Changes that wait to be made durable, and who waits for them.
#[derive(Default)]
struct Window {
    batch: ChangeBatch,
    /// Remembers names of bins, for all connections together.
    decoder: Decoder,
    /// By connection: where it is answered, and how many answers it is owed.
    owed: BTreeMap<u64, (Arc<Line>, u64)>,
    first: Option<Instant>,
    last: Option<Instant>,
    faults: Vec<String>,
}

struct Shared {
    namespace: Vec<u8>,
    options: ListenerOptions,
    long: Room,
    window: Mutex<Window>,
    changed: Condvar,
    stop: AtomicBool,
    connections: AtomicU64,
    arrived: AtomicU64,
    faults: AtomicU64,
    open: Mutex<BTreeMap<u64, Arc<Line>>>,
}

impl Shared {
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Line>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Remembers a fault for whoever takes the window.
    fn tell(&self, fault: String) {
        self.faults.fetch_add(1, Ordering::SeqCst);
        let mut window = self.window();
        if window.faults.len() < MAX_NAMED {
            window.faults.push(fault);
        }
    }
}

/// A listener.
pub struct Listener {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

/// A window that was taken: its changes, and who is to be answered.
pub struct Taken {
    /// The changes.
    pub batch: ChangeBatch,
    owed: BTreeMap<u64, (Arc<Line>, u64)>,
    /// What was wrong with what came since the window before.
    pub faults: Vec<String>,
}

impl Listener {
    /// Listens.
    ///
    /// # Errors
    /// What the system says, such as that the port is taken.
    pub fn open(address: SocketAddr, namespace: &str, most_bytes: usize) -> io::Result<Self> {
        let options = ListenerOptions { most_bytes, max_connections: MAX_CONNECTIONS, tls: None };
        Self::open_with(address, namespace, options)
    }

    /// [`Self::open`] with all that can be said.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(address: SocketAddr, namespace: &str, options: ListenerOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            namespace: namespace.as_bytes().to_vec(),
            options,
            long: Room::of(LONG_BYTES),
            window: Mutex::default(),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            open: Mutex::default(),
        });
        let accepted = Arc::clone(&shared);
        let accepting =
            std::thread::Builder::new().name("xdr".to_owned()).spawn(move || accept(&listener, &accepted))?;
        Ok(Self { shared, address, accepting: Some(accepting) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Messages that arrived, whatever became of them.
    #[must_use]
    pub fn arrived(&self) -> u64 {
        self.shared.arrived.load(Ordering::SeqCst)
    }

    /// Messages that were none.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.shared.faults.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.open().len()
    }

    /// Bytes of changes that wait.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.shared.window().batch.bytes()
    }

    /// Waits until a window is due: it holds as much as it may, its first change is `every` old, nothing came for `idle`, or
    /// `goes_on` says no more. Gives it if it owes an answer or holds a fault.
    pub fn take(&self, every: Duration, idle: Duration, goes_on: &dyn Fn() -> bool) -> Option<Taken> {
        let mut window = self.shared.window();
        let began = Instant::now();
        loop {
            let is_full = window.batch.bytes() >= self.shared.options.most_bytes;
            let is_old = window.first.is_some_and(|first| first.elapsed() >= every);
            let is_idle = window.last.is_some_and(|last| last.elapsed() >= idle);
            let nothing = window.first.is_none() && began.elapsed() >= idle;
            if is_full || is_old || is_idle || nothing || !goes_on() {
                break;
            }
            let waited = self.shared.changed.wait_timeout(window, LOOK_AROUND);
            window = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let taken = std::mem::take(&mut *window);
        window.decoder = taken.decoder;
        drop(window);
        self.shared.changed.notify_all();
        let is_anything = !taken.owed.is_empty() || !taken.faults.is_empty();
        is_anything.then_some(Taken { batch: taken.batch, owed: taken.owed, faults: taken.faults })
    }
}

impl Taken {
    /// Answers every change; gives how many answers nobody took any more. Those changes are shipped again.
    #[must_use]
    pub fn answer(self, result: u8) -> u64 {
        let one = answer_bytes(result);
        let mut lost = 0;
        for (line, count) in self.owed.into_values() {
            let many = one.repeat(usize::try_from(count).unwrap_or(0));
            if line.send(&many).is_err() {
                lost += count;
                // Half an answer would be taken for another one.
                line.shut();
            }
        }
        lost
    }
}

/// An answer: a frame and a head with its result.
fn answer_bytes(result: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(30);
    wire::put_frame_head(&mut out, KIND_MESSAGE, 22);
    out.extend_from_slice(&[0; 22]);
    out[wire::FRAME_HEAD_BYTES + 5] = result;
    out
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut readers: Vec<JoinHandle<()>> = Vec::new();
    while !shared.is_stopped() {
        let Ok((stream, from)) = listener.accept() else {
            pause(LOOK_AROUND, || shared.is_stopped());
            continue;
        };
        readers.retain(|reader| !reader.is_finished());
        if readers.len() >= shared.options.max_connections && !make_way(shared, &mut readers) {
            shared.tell(format!("more than {} connections: {from} was turned away", shared.options.max_connections));
            // It is tried again when others have gone.
            drop(stream);
            continue;
        }
        let for_reader = Arc::clone(shared);
        let id = shared.connections.fetch_add(1, Ordering::SeqCst);
        let named = std::thread::Builder::new().name(format!("xdr {from}")).stack_size(STACK_BYTES);
        let reader = named.spawn(move || {
            serve(&for_reader, id, stream, from);
            for_reader.open().remove(&id);
        });
        readers.extend(reader.ok());
    }
    for reader in readers {
        // A reader that failed has said so.
        let _ = reader.join();
    }
}

/// Has the oldest connection end that never shipped anything, so that whoever is silent keeps no node out; `false` if each has
/// shipped.
fn make_way(shared: &Shared, readers: &mut Vec<JoinHandle<()>>) -> bool {
    let Some(line) = shared.open().values().find(|line| !line.is_known()).cloned() else { return false };
    line.give_way();
    // Its thread waits for nobody: it holds nothing that others have to take first.
    while readers.len() >= shared.options.max_connections && !shared.is_stopped() {
        pause(Duration::from_millis(1), || shared.is_stopped());
        readers.retain(|reader| !reader.is_finished());
    }
    true
}

/// Takes what one connection ships, until it ends or says what is no change.
fn serve(shared: &Shared, id: u64, stream: TcpStream, from: SocketAddr) {
    let closed = |error: &io::Error| shared.tell(format!("a connection from {from} was closed: {error}"));
    let line = match Line::new(stream, shared.options.tls.as_ref()) {
        Ok(line) => Arc::new(line),
        Err(error) => return closed(&error),
    };
    shared.open().insert(id, Arc::clone(&line));
    let ended = read_messages(shared, id, &line);
    if line.gave_way() {
        let shipped_nothing = "others wait, and it shipped nothing";
        closed(&io::Error::other(shipped_nothing));
        return;
    }
    let Err(error) = ended else { return };
    // Who was told to end did not do wrong.
    if !shared.is_stopped() {
        closed(&error);
    }
    // It is told first. What it shipped before is kept, what it ships again is looked at again.
    line.shut();
}

fn read_messages(shared: &Shared, id: u64, line: &Arc<Line>) -> io::Result<()> {
    let mut input = BufReader::with_capacity(SHORT_BYTES, LineReader::new(line));
    let mut body = Vec::new();
    while !shared.is_stopped() {
        match input.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(_) => {}
            Err(error) if is_silence(&error) && !line.is_new() => continue,
            Err(error) if is_silence(&error) => return Err(invalid("it does not shake hands".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // Between two messages: what was not answered is shipped again.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut head = [0; wire::FRAME_HEAD_BYTES];
        match input.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if is_torn(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        let (kind, bytes) = wire::parse_frame_head(head).map_err(|error| invalid(error.to_string()))?;
        if kind != KIND_MESSAGE || bytes > LONG_BYTES {
            return Err(invalid(format!("it sends a frame of kind {kind} and {bytes} bytes")));
        }
        body.clear();
        let came = if bytes > SHORT_BYTES {
            let mut claim = shared.long.begin(line);
            let came = read_long(shared, line, &mut claim, &mut input, bytes, &mut body);
            if matches!(came, Ok(true)) {
                claim.is_whole();
                shared.arrived.fetch_add(1, Ordering::SeqCst);
                keep(shared, id, line, &body)?;
            }
            body = Vec::new();
            came
        } else {
            body.reserve_exact(bytes);
            let came = input.by_ref().take(bytes as u64).read_to_end(&mut body).map(|read| read == bytes);
            if matches!(came, Ok(true)) {
                shared.arrived.fetch_add(1, Ordering::SeqCst);
                keep(shared, id, line, &body)?;
            }
            came
        };
        match came {
            Ok(true) => {}
            // Torn inside of a message, which is shipped again.
            Ok(false) => return Ok(()),
            Err(error) if is_torn(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads a message that is longer than what each connection may hold; `false` if it ends before.
fn read_long(
    shared: &Shared,
    line: &Line,
    claim: &mut Claim<'_>,
    input: &mut BufReader<LineReader>,
    bytes: usize,
    body: &mut Vec<u8>,
) -> io::Result<bool> {
    let others = || io::Error::other("others needed the room that its long message held; it is shipped again");
    let step = if claim.is_known() { bytes } else { STEP_BYTES };
    let mut room = 0;
    while body.len() < bytes {
        if room == body.len() {
            let more = step.min(bytes - room);
            match claim.grow(more, &|| !shared.is_stopped() && !line.gave_way()) {
                Granted::Yes => {}
                Granted::Stopped => return Ok(false),
                Granted::GaveWay => return Err(others()),
            }
            room += more;
            body.reserve_exact(more);
        }
        let piece = (room - body.len()).min(SHORT_BYTES) as u64;
        let read = match input.by_ref().take(piece).read_to_end(body) {
            Ok(read) => read as u64,
            Err(_) if claim.gave_way() => return Err(others()),
            Err(error) => return Err(error),
        };
        if read < piece {
            return if claim.gave_way() { Err(others()) } else { Ok(false) };
        }
        claim.came();
    }
    Ok(true)
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn is_torn(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}

fn invalid(words: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

/// Puts a change into the window, once there is room in it.
fn keep(shared: &Shared, id: u64, line: &Arc<Line>, body: &[u8]) -> io::Result<()> {
    let shipped = Shipped::parse(body).map_err(|error| invalid(error.to_string()))?;
    if shipped.namespace() != shared.namespace {
        return Err(invalid(format!("it ships namespace `{}`", shipped.namespace().escape_ascii())));
    }
    line.know();
    let mut window = shared.window();
    while window.batch.bytes() >= shared.options.most_bytes && !shared.is_stopped() {
        let waited = shared.changed.wait_timeout(window, LOOK_AROUND);
        window = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    let Window { batch, decoder, .. } = &mut *window;
    shipped.add_to(SystemClock.now(), decoder, batch).map_err(|error| invalid(error.to_string()))?;
    let now = Instant::now();
    window.first.get_or_insert(now);
    window.last = Some(now);
    window.owed.entry(id).or_insert_with(|| (Arc::clone(line), 0)).1 += 1;
    let is_full = window.batch.bytes() >= shared.options.most_bytes;
    drop(window);
    if is_full {
        shared.changed.notify_all();
    }
    Ok(())
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
        self.shared.open().values().for_each(|line| line.shut());
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        connector::aerospike::xdr::{Change, body_of},
        record::Digest,
    };
    use rustls::{
        ClientConfig, ClientConnection, RootCertStore, StreamOwned,
        pki_types::{CertificateDer, pem::PemObject as _},
    };
    use std::{io::Write as _, path::PathBuf};

    fn listener() -> Listener {
        Listener::open("127.0.0.1:0".parse().unwrap(), "test", 1 << 20).unwrap()
    }

    fn frame(n: u8) -> Vec<u8> {
        let put = Change::Put { generation: u32::from(n), left: None, bins: &[(b"a", 3, b"value")] };
        let body = body_of(b"test", &Digest([n; 20]), b"", None, 1_700_000_000_000 + u64::from(n), &put);
        let mut out = Vec::new();
        wire::put_frame_head(&mut out, KIND_MESSAGE, body.len());
        out.extend_from_slice(&body);
        out
    }

    /// What waits in the window, if anything does.
    fn waiting(listener: &Listener) -> Option<Taken> {
        listener.take(Duration::ZERO, Duration::from_hours(1), &|| false)
    }

    /// The window once so many changes have come and any lies in it: faults alone are none.
    fn take(listener: &Listener, arrived: u64) -> Taken {
        let began = Instant::now();
        loop {
            // What has arrived may not lie in the window yet.
            if listener.arrived() >= arrived
                && let Some(taken) = waiting(listener).filter(|taken| !taken.batch.is_empty())
            {
                return taken;
            }
            give_up_after(began);
            std::thread::yield_now();
        }
    }

    /// Ends a test for which something never comes.
    fn give_up_after(began: Instant) {
        assert!(began.elapsed() < Duration::from_mins(2), "what is waited for does not come");
    }

    #[test]
    fn nothing_is_answered_before_it_is_durable_and_then_everything_in_order() {
        let listener = listener();
        let mut stream = TcpStream::connect(listener.address()).unwrap();
        stream.write_all(&frame(1)).unwrap();
        let first = take(&listener, 1);
        assert_eq!(first.batch.len(), 1);
        stream.set_nonblocking(true).unwrap();
        let mut answer = [0; 30];
        assert_eq!(stream.read(&mut answer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        stream.set_nonblocking(false).unwrap();
        assert_eq!(first.answer(DONE), 0);
        stream.read_exact(&mut answer).unwrap();
        assert_eq!((answer[..8].to_vec(), answer[13]), (vec![2, 3, 0, 0, 0, 0, 0, 22], DONE));
        stream.write_all(&frame(2)).unwrap();
        assert_eq!(take(&listener, 2).answer(AGAIN), 0);
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[13], AGAIN);
    }

    #[test]
    fn garbage_closes_its_connection_and_keeps_what_came_before() {
        let listener = listener();
        let mut good = TcpStream::connect(listener.address()).unwrap();
        good.write_all(&frame(1)).unwrap();
        let mut bad = TcpStream::connect(listener.address()).unwrap();
        bad.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut rest = Vec::new();
        // It is closed, with or without a word of the system about it.
        let _ = bad.read_to_end(&mut rest);
        assert!(rest.is_empty());
        let (mut faults, mut changes, began) = (Vec::new(), 0, Instant::now());
        while faults.is_empty() || changes == 0 {
            if let Some(taken) = waiting(&listener) {
                changes += taken.batch.len();
                faults.extend(taken.faults.iter().cloned());
                assert_eq!(taken.answer(DONE), 0);
            }
            give_up_after(began);
            std::thread::yield_now();
        }
        assert_eq!((changes, listener.faults()), (1, 1));
        assert!(faults[0].contains("was closed"), "{faults:?}");
    }

    /// Whatever strangers send to the port, each change of a node is kept and answered once, and no stranger's is.
    #[test]
    fn strangers_of_all_kinds_are_shown_out_and_nodes_are_served() {
        let listener = listener();
        let good = frame(7);
        let mut head = Vec::new();
        wire::put_frame_head(&mut head, KIND_MESSAGE, LONG_BYTES);
        let mut other_kind = good.clone();
        other_kind[1] = 1;
        let mut strangers: Vec<Vec<u8>> = vec![
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(40),
            b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
            vec![0; 64],
            vec![2, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            vec![2, 3, 0, 0, 0, 0, 0, 0],
            vec![2, 3, 0, 0, 0, 0, 0, 22, 22],
            head.clone(),
            other_kind,
            good[..good.len() - 1].to_vec(),
        ];
        // Of a message whose inside is damaged only what is whole may be kept.
        for at in wire::FRAME_HEAD_BYTES..wire::FRAME_HEAD_BYTES + 22 {
            let mut broken = good.clone();
            broken[at] ^= 0xff;
            strangers.push(broken);
        }
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..40 {
            let mut bytes = Vec::new();
            for _ in 0..24 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                bytes.extend_from_slice(&state.to_be_bytes()[..4]);
            }
            strangers.push(bytes);
        }
        let stop = AtomicBool::new(false);
        let faults = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    if let Some(taken) = waiting(&listener) {
                        faults.lock().unwrap().extend(taken.faults.iter().cloned());
                        let _ = taken.answer(DONE);
                    }
                    std::thread::yield_now();
                }
            });
            let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let mut node = TcpStream::connect(listener.address()).unwrap();
                node.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
                let mut answer = [0; 30];
                for (round, stranger) in strangers.iter().enumerate() {
                    let mut stream = TcpStream::connect(listener.address()).unwrap();
                    // It may be shown out before it is done.
                    let _ = stream.write_all(stranger);
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                    node.write_all(&frame(round as u8)).unwrap();
                    node.read_exact(&mut answer).unwrap();
                    assert_eq!((answer[7], answer[13]), (22, DONE), "beside {round}");
                }
                node.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
                assert!(node.read_exact(&mut answer[..1]).is_err(), "an answer to somebody else");
                // All have been taken, most of them were no node, and all but the node are gone. Who still waits to be taken
                // is no connection yet.
                let began = Instant::now();
                let taken = || listener.shared.connections.load(Ordering::SeqCst);
                while taken() <= strangers.len() as u64 || listener.faults() <= 20 || listener.connections() > 1 {
                    give_up_after(began);
                    std::thread::yield_now();
                }
            }));
            stop.store(true, Ordering::SeqCst);
            served.unwrap();
        });
        let faults = faults.into_inner().unwrap();
        assert!(faults.iter().all(|fault| fault.contains("127.0.0.1")), "{faults:?}");
    }

    #[test]
    fn a_port_that_is_taken_is_an_error() {
        let listener = listener();
        assert!(Listener::open(listener.address(), "test", 1).is_err());
    }

    fn fixture(name: &str) -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/tls", name].iter().collect()
    }

    #[test]
    fn connections_beyond_the_limit_are_turned_away_and_come_in_when_others_end() {
        let options = ListenerOptions { most_bytes: 1 << 20, max_connections: 1, tls: None };
        let listener = Listener::open_with("127.0.0.1:0".parse().unwrap(), "test", options).unwrap();
        let mut first = TcpStream::connect(listener.address()).unwrap();
        first.write_all(&frame(1)).unwrap();
        assert_eq!(take(&listener, 1).answer(DONE), 0);
        let mut second = TcpStream::connect(listener.address()).unwrap();
        let mut rest = Vec::new();
        // It is closed, with or without a word of the system about it.
        let _ = second.read_to_end(&mut rest);
        assert!(rest.is_empty() && listener.faults() == 1);
        drop(first);
        let is_answered = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_answered.load(Ordering::SeqCst) {
                    if let Some(taken) = waiting(&listener) {
                        let _ = taken.answer(DONE);
                    }
                    std::thread::yield_now();
                }
            });
            // It is tried until the first is seen to be gone.
            let (began, mut answer) = (Instant::now(), [0; 30]);
            let mut try_again = || {
                let mut third = TcpStream::connect(listener.address())?;
                third.set_read_timeout(Some(Duration::from_mins(1)))?;
                third.write_all(&frame(2))?;
                third.read_exact(&mut answer)
            };
            let mut done = try_again();
            while done.is_err() && began.elapsed() < Duration::from_mins(2) {
                done = try_again();
            }
            is_answered.store(true, Ordering::SeqCst);
            done.unwrap();
            assert_eq!(answer[13], DONE);
        });
    }

    #[test]
    fn long_messages_come_whole_and_longer_ones_than_any_record_are_refused() {
        let listener = listener();
        let mut stream = TcpStream::connect(listener.address()).unwrap();
        for arrived in 1..=2 {
            stream.write_all(&long_frame()).unwrap();
            let taken = take(&listener, arrived);
            assert!(taken.batch.bytes() > 300_000);
            assert_eq!(taken.answer(DONE), 0);
        }
        stream.write_all(&head(LONG_BYTES + 1)).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(listener.faults(), 1);
    }

    fn head(bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        wire::put_frame_head(&mut out, KIND_MESSAGE, bytes);
        out
    }

    fn long_frame() -> Vec<u8> {
        let text = vec![b'x'; 300_000];
        let put = Change::Put { generation: 1, left: None, bins: &[(b"a", 3, &text)] };
        let body = body_of(b"test", &Digest([1; 20]), b"", None, 1_700_000_000_000, &put);
        [head(body.len()), body].concat()
    }

    /// Somebody who says a long message and sends so much of it.
    fn stranger(listener: &Listener, announced: usize, sent: usize) -> TcpStream {
        let mut stream = TcpStream::connect(listener.address()).unwrap();
        stream.write_all(&head(announced)).unwrap();
        stream.write_all(&vec![0; sent]).unwrap();
        stream
    }

    #[test]
    fn who_only_announces_long_messages_holds_no_room() {
        let listener = listener();
        let strangers: Vec<TcpStream> = (0..8).map(|_| stranger(&listener, LONG_BYTES, 0)).collect();
        let began = Instant::now();
        while listener.connections() < strangers.len() {
            give_up_after(began);
            std::thread::yield_now();
        }
        // Also of a node whose first message is long.
        let mut node = TcpStream::connect(listener.address()).unwrap();
        let mut answer = [0; 30];
        for arrived in 1..=2 {
            node.write_all(&long_frame()).unwrap();
            assert_eq!(take(&listener, arrived).answer(DONE), 0);
            node.read_exact(&mut answer).unwrap();
            assert_eq!(answer[13], DONE);
        }
        assert_eq!((listener.connections(), listener.faults()), (strangers.len() + 1, 0));
    }

    #[test]
    fn who_fills_the_room_with_halves_of_messages_gives_way_to_nodes() {
        let listener = listener();
        let mut node = TcpStream::connect(listener.address()).unwrap();
        node.write_all(&frame(1)).unwrap();
        assert_eq!(take(&listener, 1).answer(DONE), 0);
        let quarter = LONG_BYTES / 4;
        let strangers: Vec<TcpStream> = (0..4).map(|_| stranger(&listener, quarter, quarter - 1)).collect();
        let began = Instant::now();
        while listener.shared.long.held() < LONG_BYTES {
            give_up_after(began);
            std::thread::yield_now();
        }
        node.write_all(&long_frame()).unwrap();
        let taken = take(&listener, 2);
        assert_eq!(taken.batch.len(), 1);
        assert_eq!(taken.answer(DONE), 0);
        assert_eq!((listener.connections(), listener.faults()), (strangers.len(), 1));
        let told = waiting(&listener).map(|taken| taken.faults.clone()).unwrap_or_default();
        assert!(told.iter().all(|fault| fault.contains("others needed the room")), "{told:?}");
    }

    #[test]
    fn who_never_ships_gives_its_place_to_whoever_comes() {
        let options = ListenerOptions { most_bytes: 1 << 20, max_connections: 3, tls: None };
        let listener = Listener::open_with("127.0.0.1:0".parse().unwrap(), "test", options).unwrap();
        let mut node = TcpStream::connect(listener.address()).unwrap();
        node.write_all(&frame(1)).unwrap();
        assert_eq!(take(&listener, 1).answer(DONE), 0);
        let connected = |count: usize| {
            let began = Instant::now();
            while listener.connections() < count {
                give_up_after(began);
                std::thread::yield_now();
            }
        };
        let mut oldest = TcpStream::connect(listener.address()).unwrap();
        connected(2);
        let _silent = TcpStream::connect(listener.address()).unwrap();
        connected(3);
        for arrived in 2..=3 {
            let mut other = TcpStream::connect(listener.address()).unwrap();
            other.write_all(&frame(2)).unwrap();
            assert_eq!(take(&listener, arrived).answer(DONE), 0);
            if arrived == 2 {
                let mut rest = Vec::new();
                let _ = oldest.read_to_end(&mut rest);
                assert!(rest.is_empty());
            }
        }
        node.write_all(&frame(3)).unwrap();
        assert_eq!(take(&listener, 4).answer(DONE), 0);
        assert!(listener.faults() <= 2);
    }

    /// A client that trusts the listener's authority.
    fn client(listener: &Listener, has_certificate: bool) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(fixture("loopback-ca.pem")).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = if has_certificate {
            let chain = vec![CertificateDer::from_pem_file(fixture("loopback.pem")).unwrap()];
            let key = rustls::pki_types::PrivateKeyDer::from_pem_file(fixture("loopback.key")).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        } else {
            builder.with_no_client_auth()
        };
        let name = "127.0.0.1".try_into().unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(session, TcpStream::connect(listener.address())?);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    fn sealed_listener(client_ca: Option<&str>) -> Listener {
        let ca = client_ca.map(fixture);
        let tls = tls::server_config(&fixture("loopback.pem"), &fixture("loopback.key"), ca.as_deref()).unwrap();
        let options = ListenerOptions { most_bytes: 1 << 20, max_connections: 9, tls: Some(tls) };
        Listener::open_with("127.0.0.1:0".parse().unwrap(), "test", options).unwrap()
    }

    #[test]
    fn what_comes_under_tls_is_taken_and_answered_as_anything() {
        let listener = sealed_listener(None);
        let mut stream = client(&listener, false).unwrap();
        let mut answer = [0; 30];
        for round in 0..3 {
            for n in 0..100 {
                stream.write_all(&frame(n)).unwrap();
            }
            stream.flush().unwrap();
            let (mut answered, arrived) = (0, 100 * (round + 1));
            while answered < 100 {
                let taken = take(&listener, arrived);
                let count = taken.batch.len();
                assert_eq!(taken.answer(DONE), 0);
                for _ in 0..count {
                    stream.read_exact(&mut answer).unwrap();
                    assert_eq!((answer[7], answer[13]), (22, DONE));
                }
                answered += count;
            }
        }
        // Who does not speak TLS is refused, and the other goes on.
        let mut plain = TcpStream::connect(listener.address()).unwrap();
        plain.write_all(&frame(1)).unwrap();
        let _ = plain.read_to_end(&mut Vec::new());
        stream.write_all(&frame(1)).unwrap();
        assert_eq!(take(&listener, 301).answer(AGAIN), 0);
        stream.read_exact(&mut answer).unwrap();
        assert_eq!((answer[13], listener.faults()), (AGAIN, 1));
    }

    #[test]
    fn who_shows_no_certificate_is_refused_where_one_is_asked_for() {
        let listener = sealed_listener(Some("loopback-ca.pem"));
        let mut stream = client(&listener, true).unwrap();
        stream.write_all(&frame(1)).unwrap();
        assert_eq!(take(&listener, 1).answer(DONE), 0);
        let refused = client(&listener, false).and_then(|mut stream| {
            stream.write_all(&frame(1))?;
            stream.read_exact(&mut [0; 30])
        });
        assert!(refused.is_err());
        assert_eq!(listener.arrived(), 1);
        let key = fixture("loopback.key");
        let error = tls::server_config(&key, &key, None).map(drop).unwrap_err();
        assert!(error.to_string().contains("loopback.key"), "{error}");
    }
}
