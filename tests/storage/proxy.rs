//! A proxy on the way to an HTTP server that breaks what it is told to break: one connection a request, requests numbered.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The server never sees it; this status is the answer.
    Status(u16),
    /// The server never sees it; it is asked to come again in a second.
    ComeAgain,
    /// The server never sees it; a page comes with status 200.
    Page,
    /// The server never sees it; the answer is that all is well.
    Swallowed,
    /// The connection ends before the server has seen all of it.
    Cut,
    /// The server has done it, and nobody hears of that.
    LostAnswer,
    /// The answer ends in the middle of its body.
    HalfAnswer,
}

type Choose = dyn Fn(u64, &str) -> Option<Fault> + Send + Sync;

/// The proxy; ends with the test.
pub struct Proxy {
    pub port: u16,
    requests: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// `choose` is told each request's number, from 1, and its first line.
    pub fn before(server: u16, choose: impl Fn(u64, &str) -> Option<Fault> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (requests, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, ends, choose): (_, _, Arc<Choose>) = (Arc::clone(&requests), Arc::clone(&stop), Arc::new(choose));
        let thread = std::thread::spawn(move || {
            for client in listener.incoming() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let (count, choose) = (Arc::clone(&count), Arc::clone(&choose));
                let client = client.unwrap();
                // A connection that breaks is what this is for.
                std::thread::spawn(move || drop(pass(client, server, &count, &*choose)));
            }
        });
        Self { port, requests, stop, thread: Some(thread) }
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reads a request: its head without the line that would keep the connection, and its body.
fn request(client: &TcpStream) -> std::io::Result<Option<(Vec<String>, Vec<u8>)>> {
    let mut reader = BufReader::new(client);
    let mut head = Vec::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
        if !lower.starts_with("connection:") {
            head.push(line);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some((head, body)))
}

fn pass(mut client: TcpStream, server: u16, count: &AtomicU64, choose: &Choose) -> std::io::Result<()> {
    let Some((head, body)) = request(&client)? else { return Ok(()) };
    let number = count.fetch_add(1, Ordering::SeqCst) + 1;
    let fault = choose(number, &head[0]);
    let plain = |status: &str, more: &str, text: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{more}\r\n{text}", text.len())
    };
    let instead = match fault {
        Some(Fault::Status(status)) => Some(plain(&format!("{status} Broken"), "", "broken on command")),
        Some(Fault::ComeAgain) => Some(plain("503 Slow Down", "Retry-After: 1\r\n", "")),
        Some(Fault::Page) => {
            Some(plain("200 OK", "Content-Type: text/html; charset=utf-8\r\n", "<html>sign in</html>"))
        }
        Some(Fault::Swallowed) => Some(plain("201 Created", "", "")),
        _ => None,
    };
    if let Some(instead) = instead {
        client.write_all(instead.as_bytes())?;
        return client.shutdown(Shutdown::Both);
    }
    let mut upstream = TcpStream::connect(("127.0.0.1", server))?;
    upstream.write_all(format!("{}\r\nConnection: close\r\n\r\n", head.join("\r\n")).as_bytes())?;
    if fault == Some(Fault::Cut) {
        upstream.write_all(&body[..body.len() / 2])?;
        upstream.shutdown(Shutdown::Both)?;
        return client.shutdown(Shutdown::Both);
    }
    upstream.write_all(&body)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    match fault {
        Some(Fault::LostAnswer) => {}
        Some(Fault::HalfAnswer) => {
            let end = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
            let half = end + (answer.len() - end) / 2;
            client.write_all(&answer[..half.min(answer.len().saturating_sub(1))])?;
        }
        _ => client.write_all(&answer)?,
    }
    client.shutdown(Shutdown::Both)
}
