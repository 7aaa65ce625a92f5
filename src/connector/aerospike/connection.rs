//! One connection to a node: framing, timeouts, login, info, commands.

use super::{
    error::Error,
    info::Answers,
    login::{self, Credential, Sessions},
    options::Address,
    tls::{Tls, TlsName, TlsStream},
    wire::{self, Buffer, KIND_INFO, KIND_MESSAGE, KIND_SECURITY, LAST, Message, WireError},
};
use std::{
    io::{self, BufReader, Read, Write},
    net::{TcpStream, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};

/// What is read from a socket at once where frames are shorter.
const READ_BYTES: usize = 64 * 1024;

/// How connections are opened.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    pub(super) tls: Option<Tls>,
    pub(super) credential: Option<Credential>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) timeout: Duration,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(out),
            Self::Tls(stream) => stream.read(out),
        }
    }
}

impl Stream {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }
}

/// A connection, logged in.
pub(super) struct Connection {
    address: String,
    stream: BufReader<Stream>,
    raw: TcpStream,
    /// Something failed on it: what comes next may be the answer to what was given up.
    broken: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Dialer {
    /// Connects, shakes hands, logs in, with no wait longer than this (zero for ever). `tls_name` is what the node's certificate
    /// is said to bear.
    pub(super) fn connect_within(
        &self,
        timeout: Duration,
        address: &Address,
        tls_name: Option<&TlsName>,
    ) -> Result<Connection, Error> {
        let shown = address.to_string();
        let failed = |source| Error::Io { operation: "connect to", node: address.to_string(), source };
        let raw = dial(address, timeout).map_err(failed)?;
        let timeout = Some(timeout).filter(|timeout| !timeout.is_zero());
        raw.set_read_timeout(timeout).and_then(|()| raw.set_write_timeout(timeout)).map_err(failed)?;
        raw.set_nodelay(true).map_err(failed)?;
        let plain = raw.try_clone().map_err(failed)?;
        let stream = match &self.tls {
            None => Stream::Plain(plain),
            Some(tls) => Stream::Tls(Box::new(tls.connect(&address.host, tls_name, plain).map_err(|source| {
                Error::Io { operation: "open TLS to", node: address.to_string(), source: in_time(source) }
            })?)),
        };
        let mut connection =
            Connection { address: shown, stream: BufReader::with_capacity(READ_BYTES, stream), raw, broken: false };
        if let Some(credential) = &self.credential {
            connection.log_in(credential, &self.sessions)?;
        }
        Ok(connection)
    }
}

/// What the system calls unavailable for a while is that nobody answered in time.
fn in_time(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
        }
        _ => error,
    }
}

fn dial(address: &Address, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for socket in (address.host.as_str(), address.port).to_socket_addrs()? {
        let timeout = if timeout.is_zero() { Duration::from_secs(30) } else { timeout };
        match TcpStream::connect_timeout(&socket, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Connection {
    fn log_in(&mut self, credential: &Credential, sessions: &Sessions) -> Result<(), Error> {
        if let Some(token) = sessions.token(&self.address) {
            match self.ask_security(&credential.session_request(&token)) {
                Ok((0 | login::NOT_CONFIGURED | login::NOT_SUPPORTED, _)) => return Ok(()),
                // The session is over, or the node knows it no longer.
                Ok(_) => sessions.forget(&self.address),
                Err(error) => {
                    sessions.forget(&self.address);
                    return Err(error);
                }
            }
        }
        match self.ask_security(&credential.request())? {
            (0, answer) => {
                sessions.keep(&self.address, &answer);
                Ok(())
            }
            (login::NOT_CONFIGURED | login::NOT_SUPPORTED, _) => Ok(()),
            (code, _) => Err(self.refused("the login", code)),
        }
    }

    /// Sends a security message; gives the result and the whole answer.
    fn ask_security(&mut self, frame: &[u8]) -> Result<(u8, Vec<u8>), Error> {
        self.send(frame)?;
        let mut body = Vec::new();
        self.receive(KIND_SECURITY, &mut body)?;
        match login::result(&body) {
            Some(code) => Ok((code, body)),
            None => Err(self.invalid(WireError::Truncated("a login's answer"))),
        }
    }

    /// The address it goes to.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// How long a read or write may stall from here on; zero for ever.
    pub(super) fn set_timeout(&self, timeout: Duration) -> Result<(), Error> {
        let timeout = Some(timeout).filter(|timeout| !timeout.is_zero());
        let set = self.raw.set_read_timeout(timeout).and_then(|()| self.raw.set_write_timeout(timeout));
        set.map_err(|source| Error::Io { operation: "set up", node: self.address.clone(), source })
    }

    /// A handle that ends every read and write from elsewhere.
    pub(super) fn closer(&self) -> Option<TcpStream> {
        self.raw.try_clone().ok()
    }

    /// A refusal by this node.
    pub(super) fn refused(&self, what: &str, code: u8) -> Error {
        Error::Refused { node: self.address.clone(), what: what.to_owned(), code }
    }

    /// What this node sent is no answer.
    pub(super) fn invalid(&self, source: WireError) -> Error {
        Error::Wire { node: self.address.clone(), source }
    }

    /// Whether it may be asked again.
    pub(super) fn is_sound(&self) -> bool {
        !self.broken
    }

    /// Sends a whole frame.
    pub(super) fn send(&mut self, frame: &[u8]) -> Result<(), Error> {
        if self.broken {
            let source = io::Error::from(io::ErrorKind::NotConnected);
            return Err(Error::Io { operation: "send to", node: self.address.clone(), source });
        }
        let sent = self.stream.get_mut().write_all(frame);
        self.broken = sent.is_err();
        sent.map_err(|source| Error::Io { operation: "send to", node: self.address.clone(), source: in_time(source) })
    }

    /// Receives a frame's body.
    fn receive(&mut self, kind: u8, body: &mut Vec<u8>) -> Result<(), Error> {
        body.clear();
        self.append(kind, body)
    }

    fn append(&mut self, kind: u8, body: &mut Vec<u8>) -> Result<(), Error> {
        let read = wire::append_frame(&mut self.stream, kind, body);
        self.heard(read)
    }

    fn heard(&mut self, read: io::Result<()>) -> Result<(), Error> {
        self.broken |= read.is_err();
        read.map_err(|error| {
            let wire = error.get_ref().and_then(|inner| inner.downcast_ref::<WireError>()).copied();
            match wire {
                Some(source) => self.invalid(source),
                None => Error::Io { operation: "read from", node: self.address.clone(), source: in_time(error) },
            }
        })
    }

    /// Receives messages, and appends them.
    pub(super) fn append_messages(&mut self, body: &mut Vec<u8>) -> Result<(), Error> {
        self.append(KIND_MESSAGE, body)
    }

    /// Receives messages into a buffer, behind what is there.
    pub(super) fn receive_messages(&mut self, buffer: &mut Buffer) -> Result<(), Error> {
        let read = buffer.receive(&mut self.stream, KIND_MESSAGE);
        self.heard(read)
    }

    /// Gives each row of a batch's answer to `take`, up to the last message, whose result it returns.
    pub(super) fn receive_rows(
        &mut self,
        body: &mut Vec<u8>,
        mut take: impl FnMut(&Self, &Message<'_>) -> Result<(), WireError>,
    ) -> Result<u8, Error> {
        loop {
            body.clear();
            self.append_messages(body)?;
            let mut rest = body.as_slice();
            while !rest.is_empty() {
                let (message, len) = Message::parse(rest).map_err(|error| self.invalid(error))?;
                rest = rest.get(len..).unwrap_or_default();
                if message.info3 & LAST != 0 {
                    return Ok(message.result);
                }
                take(self, &message).map_err(|error| self.invalid(error))?;
            }
        }
    }

    /// Asks info commands.
    pub(super) fn info(&mut self, commands: &[&str]) -> Result<Answers, Error> {
        let mut text = commands.join("\n").into_bytes();
        text.push(b'\n');
        let mut frame = Vec::with_capacity(text.len() + wire::FRAME_HEAD_BYTES);
        wire::put_frame_head(&mut frame, KIND_INFO, text.len());
        frame.extend_from_slice(&text);
        self.send(&frame)?;
        let mut body = Vec::new();
        self.receive(KIND_INFO, &mut body)?;
        Ok(Answers::parse(&body))
    }
}
