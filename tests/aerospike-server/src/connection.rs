//! One client connection: frames in, answers out.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::codes::{info1, rc};
use crate::command::{self, Answer, batch, query};
use crate::fault::{At, Command};
use crate::respond::Responder;
use crate::server::Shared;
use crate::wire::{self, Cursor, Head, Message, begin_frame, end_frame, put_frame, read_frame};
use crate::{info, security};

/// The bytes of a connection, in clear or through TLS.
enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<rustls::StreamOwned<rustls::ServerConnection, TcpStream>>),
}

/// A client's connection.
pub(crate) struct Connection {
    stream: Stream,
    /// Whether the client has logged in, or need not.
    pub(crate) is_authenticated: bool,
}

impl Connection {
    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => &stream.sock,
        }
    }

    /// The certificate that the client showed, as DER.
    pub(crate) fn certificate(&self) -> Option<Vec<u8>> {
        match &self.stream {
            Stream::Plain(_) => None,
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.conn.peer_certificates()?.first().map(|shown| shown.as_ref().to_vec()),
        }
    }

    /// The client's address.
    pub(crate) fn peer(&self) -> String {
        self.tcp().peer_addr().map_or_else(|_| String::from("unknown"), |address| address.to_string())
    }

    pub(crate) fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.tcp().set_write_timeout(timeout)
    }

    /// Closes it at once.
    pub(crate) fn close(&mut self) {
        let _ = self.tcp().shutdown(std::net::Shutdown::Both);
    }
}

impl Read for Connection {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.read(buf),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write(buf),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.flush(),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

fn open(shared: &Shared, tcp: TcpStream) -> io::Result<Stream> {
    tcp.set_nodelay(true)?;
    #[cfg(feature = "tls")]
    if let Some(tls) = &shared.config.tls {
        return Ok(Stream::Tls(Box::new(tls.accept(tcp)?)));
    }
    let _ = shared;
    Ok(Stream::Plain(tcp))
}

/// Answers a client until it leaves, breaks the protocol, or a fault ends the connection.
pub(crate) fn serve(shared: &Arc<Shared>, node: usize, tcp: TcpStream) -> io::Result<()> {
    shared.node(node).wait_while_paused();
    let stream = open(shared, tcp)?;
    let mut connection = Connection { stream, is_authenticated: !shared.config.has_security() };
    while let Some((kind, body)) = read_frame(&mut connection)? {
        shared.node(node).wait_while_paused();
        shared.requests.fetch_add(1, Ordering::SeqCst);
        match kind {
            wire::INFO => answer_info(shared, node, &mut connection, &body)?,
            wire::SECURITY => answer_security(shared, node, &mut connection, &body)?,
            wire::MESSAGE => answer_message(shared, node, &mut connection, &body)?,
            // Community Edition knows no compressed messages, and the cluster's own types are not for clients.
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Ok(())
}

fn answer_info(shared: &Arc<Shared>, node: usize, connection: &mut Connection, body: &[u8]) -> io::Result<()> {
    let script = shared.faults.begin(Command::Info, node);
    let is_authenticated = connection.is_authenticated;
    let mut responder = Responder::new(shared, node, connection, script);
    responder.reach(At::Start)?;
    let answer = info::answer(shared, node, body, is_authenticated);
    responder.reach(At::End)?;
    let mut out = Vec::new();
    put_frame(&mut out, wire::INFO, &answer);
    responder.send(&mut out)
}

fn answer_security(shared: &Arc<Shared>, node: usize, connection: &mut Connection, body: &[u8]) -> io::Result<()> {
    let script = shared.faults.begin(Command::Login, node);
    let now_ms = shared.now_ms(node);
    let (mut answer, logged_in) = security::answer(shared, body, connection, now_ms);
    connection.is_authenticated |= logged_in;
    let mut responder = Responder::new(shared, node, connection, script);
    if let Some(code) = responder.reach(At::Start)?.or(responder.reach(At::End)?) {
        answer = security::result(code);
    }
    let mut out = Vec::new();
    put_frame(&mut out, wire::SECURITY, &answer);
    responder.send(&mut out)
}

fn answer_message(shared: &Arc<Shared>, node: usize, connection: &mut Connection, body: &[u8]) -> io::Result<()> {
    if !connection.is_authenticated {
        return send(connection, |out| Head::result(rc::NOT_AUTHENTICATED).put(out));
    }
    let Ok(message) = Message::parse(body) else {
        return send(connection, |out| Head::result(rc::PARAMETER).put(out));
    };
    let fields = &message.fields;
    let is_query = [crate::codes::field::PID_ARRAY, crate::codes::field::DIGEST_ARRAY, crate::codes::field::TRID]
        .iter()
        .any(|kind| fields.get(*kind).is_some());
    let kind = if message.info[0] & info1::BATCH != 0 {
        Command::Batch
    } else if is_query {
        Command::Query
    } else if command::is_write(&message) {
        Command::Write
    } else {
        Command::Read
    };
    let script = shared.faults.begin(kind, node);
    let mut responder = Responder::new(shared, node, connection, script);
    match kind {
        Command::Batch => batch::batch(&mut responder, &message),
        Command::Query => query::query(&mut responder, &message),
        _ => {
            let mut answer = match responder.reach(At::Start)? {
                Some(code) => Answer::result(code),
                None => command::single(shared, node, &message, None, None),
            };
            if let Some(code) = responder.reach(At::End)? {
                answer = Answer::result(code);
            }
            let mut out = Vec::new();
            let at = begin_frame(&mut out, wire::MESSAGE);
            answer.put(&mut out, 0);
            end_frame(&mut out, at);
            responder.send(&mut out)
        }
    }
}

fn send(connection: &mut Connection, body: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
    let mut out = Vec::new();
    let at = begin_frame(&mut out, wire::MESSAGE);
    body(&mut out);
    end_frame(&mut out, at);
    connection.write_all(&out)?;
    connection.flush()
}

/// A security message taken apart: its command, and its fields by number.
pub(crate) type SecurityMessage<'a> = (u8, Vec<(u8, &'a [u8])>);

/// Takes a security message apart.
pub(crate) fn security_message(body: &[u8]) -> Option<SecurityMessage<'_>> {
    let mut cursor = Cursor::new(body);
    let head = cursor.take(16).ok()?;
    let mut fields = Vec::new();
    for _ in 0..head[3] {
        let size = cursor.u32().ok()? as usize;
        let kind = cursor.u8().ok()?;
        fields.push((kind, cursor.take(size.checked_sub(1)?).ok()?));
    }
    Some((head[2], fields))
}
