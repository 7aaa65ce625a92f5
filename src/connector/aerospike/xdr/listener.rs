//! The listener that XDR ships to: changes gather in a window, and each is answered when whoever took the window says what
//! became of it, so that nothing is acknowledged that is not durable.

use super::{
    super::wire::{self, KIND_MESSAGE},
    Shipped,
};
use crate::{
    connector::aerospike::decode::Decoder,
    record::{ChangeBatch, Clock as _, SystemClock, pause},
};
use std::{
    collections::BTreeMap,
    io::{self, BufReader, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// The most connections at once: what the vendor's tool takes.
const MAX_CONNECTIONS: usize = 4096;

/// Connections that wait to be taken, and ends, are looked for so often.
const LOOK_AROUND: Duration = Duration::from_millis(20);

/// How long an answer may take to be sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Faults that are named.
const MAX_NAMED: usize = 20;

/// The change is durable.
pub const DONE: u8 = 0;
/// Ship it again later.
pub const AGAIN: u8 = 11;

/// Changes that wait to be made durable, and who waits for them.
#[derive(Default)]
struct Window {
    batch: ChangeBatch,
    /// By connection: where it is answered, and how many answers it is owed.
    owed: BTreeMap<u64, (Arc<TcpStream>, u64)>,
    first: Option<Instant>,
    last: Option<Instant>,
    faults: Vec<String>,
}

struct Shared {
    namespace: Vec<u8>,
    most_bytes: usize,
    window: Mutex<Window>,
    changed: Condvar,
    stop: AtomicBool,
    connections: AtomicU64,
    arrived: AtomicU64,
    faults: AtomicU64,
    open: Mutex<BTreeMap<u64, Arc<TcpStream>>>,
}

impl Shared {
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<TcpStream>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
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
    owed: BTreeMap<u64, (Arc<TcpStream>, u64)>,
    /// What was wrong with what came since the window before.
    pub faults: Vec<String>,
}

impl Listener {
    /// Listens.
    ///
    /// # Errors
    /// What the system says, such as that the port is taken.
    pub fn open(address: SocketAddr, namespace: &str, most_bytes: usize) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            namespace: namespace.as_bytes().to_vec(),
            most_bytes,
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

    /// Waits until a window is due: it holds as much as it may, its first change is `every` old, nothing came for `idle`, or
    /// `goes_on` says no more. Gives it if it owes an answer or holds a fault.
    pub fn take(&self, every: Duration, idle: Duration, goes_on: &dyn Fn() -> bool) -> Option<Taken> {
        let mut window = self.shared.window();
        let began = Instant::now();
        loop {
            let is_full = window.batch.bytes() >= self.shared.most_bytes;
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
        for (stream, count) in self.owed.into_values() {
            let many = one.repeat(usize::try_from(count).unwrap_or(0));
            if (&*stream).write_all(&many).is_err() {
                lost += count;
                // Half an answer would be taken for another one.
                let _ = stream.shutdown(Shutdown::Both);
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
        if readers.len() >= MAX_CONNECTIONS {
            // It is tried again when others have gone.
            drop(stream);
            continue;
        }
        let for_reader = Arc::clone(shared);
        let id = shared.connections.fetch_add(1, Ordering::SeqCst);
        let named = std::thread::Builder::new().name(format!("xdr {from}"));
        let reader = named.spawn(move || {
            if let Err(error) = serve(&for_reader, id, stream) {
                for_reader.faults.fetch_add(1, Ordering::SeqCst);
                let mut window = for_reader.window();
                if window.faults.len() < MAX_NAMED {
                    window.faults.push(format!("a connection from {from} was closed: {error}"));
                }
            }
            for_reader.open().remove(&id);
        });
        readers.extend(reader.ok());
    }
    for reader in readers {
        // A reader that failed has said so.
        let _ = reader.join();
    }
}

/// Takes what one connection ships, until it ends or says what is no change.
fn serve(shared: &Shared, id: u64, stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let answers = Arc::new(stream.try_clone()?);
    shared.open().insert(id, Arc::clone(&answers));
    let mut input = BufReader::with_capacity(256 << 10, stream);
    let (mut body, mut decoder) = (Vec::new(), Decoder::default());
    while !shared.is_stopped() {
        match wire::read_frame(&mut input, KIND_MESSAGE, &mut body) {
            Ok(()) => {}
            // Between two messages, or inside of one: what was not answered is shipped again.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(_) if shared.is_stopped() => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return refuse(&answers, error),
        }
        shared.arrived.fetch_add(1, Ordering::SeqCst);
        let shipped = match Shipped::parse(&body) {
            Ok(shipped) => shipped,
            Err(error) => return refuse(&answers, io::Error::new(io::ErrorKind::InvalidData, error)),
        };
        if shipped.namespace() != shared.namespace {
            let words = format!("it ships namespace `{}`", shipped.namespace().escape_ascii());
            return refuse(&answers, io::Error::new(io::ErrorKind::InvalidData, words));
        }
        let mut window = shared.window();
        while window.batch.bytes() >= shared.most_bytes && !shared.is_stopped() {
            let waited = shared.changed.wait_timeout(window, LOOK_AROUND);
            window = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if let Err(error) = shipped.add_to(SystemClock.now(), &mut decoder, &mut window.batch) {
            drop(window);
            return refuse(&answers, io::Error::new(io::ErrorKind::InvalidData, error));
        }
        let now = Instant::now();
        window.first.get_or_insert(now);
        window.last = Some(now);
        window.owed.entry(id).or_insert_with(|| (Arc::clone(&answers), 0)).1 += 1;
        let is_full = window.batch.bytes() >= shared.most_bytes;
        drop(window);
        if is_full {
            shared.changed.notify_all();
        }
    }
    Ok(())
}

/// Closes a connection over what is no change: what it shipped before is kept, what it ships again is looked at again.
fn refuse(stream: &TcpStream, error: io::Error) -> io::Result<()> {
    // It may be closed already.
    let _ = stream.shutdown(Shutdown::Both);
    Err(error)
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
        for stream in self.shared.open().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
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
    use std::io::Read as _;

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

    /// The window once so many changes lie in it.
    fn take(listener: &Listener, arrived: u64) -> Taken {
        let hour = Duration::from_hours(1);
        loop {
            if listener.arrived() >= arrived {
                // What has arrived may not lie in the window yet.
                if let Some(taken) = listener.take(Duration::ZERO, hour, &|| listener.shared.window().first.is_none()) {
                    return taken;
                }
            }
            std::thread::yield_now();
        }
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
        let hour = Duration::from_hours(1);
        let mut faults = Vec::new();
        let mut changes = 0;
        while faults.is_empty() || changes == 0 {
            if let Some(taken) = listener.take(Duration::ZERO, hour, &|| false) {
                changes += taken.batch.len();
                faults.extend(taken.faults.iter().cloned());
                assert_eq!(taken.answer(DONE), 0);
            }
            std::thread::yield_now();
        }
        assert_eq!((changes, listener.faults()), (1, 1));
        assert!(faults[0].contains("was closed"), "{faults:?}");
    }

    #[test]
    fn a_port_that_is_taken_is_an_error() {
        let listener = listener();
        assert!(Listener::open(listener.address(), "test", 1).is_err());
    }
}
