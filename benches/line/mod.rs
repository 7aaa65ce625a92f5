//! A long line to an HTTP server: it passes requests on, each after a delay, and notes them. Connections stay open, as those
//! of real services do.

use std::{
    io::{self, BufRead, BufReader, Error, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// One request, as the client saw it.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `PUT` …
    pub verb: String,
    pub began: Instant,
    pub ended: Instant,
}

/// The line; it ends with the process.
pub struct Line {
    pub port: u16,
    delay: Arc<AtomicU64>,
    passed: Arc<Mutex<Vec<Request>>>,
}

impl Line {
    pub fn to(server: u16) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (delay, passed) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::default()));
        let line = Self { port, delay: Arc::clone(&delay), passed: Arc::clone(&passed) };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (delay, passed) = (Arc::clone(&delay), Arc::clone(&passed));
                // A client that hangs up ends its connection and no more.
                std::thread::spawn(move || drop(serve(&client, server, &delay, &passed)));
            }
        });
        Ok(line)
    }

    /// What every request waits for from now on.
    pub fn delay(&self, wait: Duration) {
        self.delay.store(wait.as_millis() as u64, Ordering::Relaxed);
    }

    /// The requests since the last call.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.passed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How many of these can only have been made one after another: the most of which no two ran at once.
pub fn in_a_row(requests: &[Request]) -> usize {
    let mut by_end: Vec<&Request> = requests.iter().collect();
    by_end.sort_by_key(|request| request.ended);
    let mut last: Option<Instant> = None;
    let mut count = 0;
    for request in by_end {
        if last.is_none_or(|last| request.began >= last) {
            last = Some(request.ended);
            count += 1;
        }
    }
    count
}

/// The head of a message, and what it says of the body.
struct Head {
    lines: Vec<String>,
    length: Option<u64>,
    is_chunked: bool,
    expects: bool,
}

fn head(from: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut head = Head { lines: Vec::new(), length: None, is_chunked: false, expects: false };
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some(head));
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => head.length = Some(value.trim().parse().map_err(Error::other)?),
            "transfer-encoding" => head.is_chunked = value.to_ascii_lowercase().contains("chunked"),
            "expect" => {
                head.expects = true;
                continue;
            }
            _ => {}
        }
        head.lines.push(line.to_owned());
    }
}

fn send_head(to: &mut impl Write, head: &Head) -> io::Result<()> {
    to.write_all(format!("{}\r\n\r\n", head.lines.join("\r\n")).as_bytes())
}

/// Passes so many bytes on.
fn bytes(from: &mut impl Read, to: &mut impl Write, count: u64) -> io::Result<()> {
    if io::copy(&mut from.take(count), to)? == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn body(from: &mut impl BufRead, to: &mut impl Write, head: &Head) -> io::Result<()> {
    if !head.is_chunked {
        return bytes(from, to, head.length.unwrap_or(0));
    }
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        to.write_all(line.as_bytes())?;
        let length = line.trim().split(';').next().unwrap_or_default();
        let length = u64::from_str_radix(length, 16).map_err(Error::other)?;
        if length > 0 {
            // With the end of the line behind it.
            bytes(from, to, length + 2)?;
            continue;
        }
        // Trailers, up to an empty line.
        loop {
            let mut line = String::new();
            from.read_line(&mut line)?;
            to.write_all(line.as_bytes())?;
            if line.trim_end().is_empty() {
                return Ok(());
            }
        }
    }
}

fn serve(mut client: &TcpStream, server: u16, delay: &AtomicU64, passed: &Mutex<Vec<Request>>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut from_client = BufReader::with_capacity(1 << 16, client);
    let mut upstream = TcpStream::connect(("127.0.0.1", server))?;
    upstream.set_nodelay(true)?;
    let mut from_server = BufReader::with_capacity(1 << 16, upstream.try_clone()?);
    while let Some(request) = head(&mut from_client)? {
        let began = Instant::now();
        let first = request.lines.first().map_or("", String::as_str);
        let verb = first.split(' ').next().unwrap_or_default().to_owned();
        std::thread::sleep(Duration::from_millis(delay.load(Ordering::Relaxed)));
        if request.expects {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        send_head(&mut upstream, &request)?;
        body(&mut from_client, &mut upstream, &request)?;
        let Some(answer) = head(&mut from_server)? else { break };
        let status = answer.lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
        send_head(&mut client, &answer)?;
        if verb != "HEAD" && status != "204" && status != "304" {
            if answer.length.is_none() && !answer.is_chunked {
                io::copy(&mut from_server, &mut client)?;
                client.shutdown(Shutdown::Both)?;
            }
            body(&mut from_server, &mut client, &answer)?;
        }
        let passed_on = Request { verb, began, ended: Instant::now() };
        passed.lock().unwrap_or_else(PoisonError::into_inner).push(passed_on);
    }
    Ok(())
}
