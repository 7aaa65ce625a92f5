//! The way of an answer to the client, with everything a fault may do to it on the way.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::Control;
use crate::fault::{Action, At};
use crate::server::{Connection, Shared};
use crate::wire::PROTO_BYTES;

/// How often a stalled answer looks whether it may go on.
const STALL_STEP: Duration = Duration::from_millis(5);

/// Sends one answer.
pub(crate) struct Responder<'c> {
    /// The cluster.
    pub shared: &'c std::sync::Arc<Shared>,
    /// The node that answers.
    pub node: usize,
    connection: &'c mut Connection,
    script: Vec<(At, Action)>,
    bytes_sent: u64,
    records_sent: u64,
    lie: i64,
    overwrite: Vec<u8>,
    /// Releases before this command: a later one lets its stalls go on, even one that has not begun.
    releases: u64,
}

impl<'c> Responder<'c> {
    pub(crate) fn new(
        shared: &'c std::sync::Arc<Shared>,
        node: usize,
        connection: &'c mut Connection,
        script: Vec<(At, Action)>,
    ) -> Self {
        Self {
            releases: shared.releases(),
            shared,
            node,
            connection,
            script,
            bytes_sent: 0,
            records_sent: 0,
            lie: 0,
            overwrite: Vec::new(),
        }
    }

    /// Where the client is.
    pub(crate) fn peer(&self) -> String {
        self.connection.peer()
    }

    /// The longest a write may wait for the client.
    pub(crate) fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.connection.set_write_timeout(timeout)
    }

    /// Lets the faults of this point happen. `Some`: the command is to end with this result code.
    pub(crate) fn reach(&mut self, point: At) -> io::Result<Option<u8>> {
        let mut refused = None;
        while let Some(at) = self.script.iter().position(|(at, _)| *at == point) {
            let (_, action) = self.script.remove(at);
            refused = self.act(action)?.or(refused);
        }
        Ok(refused)
    }

    /// Whether something is to happen at this point.
    pub(crate) fn expects(&self, point: At) -> bool {
        self.script.iter().any(|(at, _)| *at == point)
    }

    /// How many more records may be put into a message before a fault is due; `None`: any number.
    pub(crate) fn records_until_fault(&self) -> Option<u64> {
        let due = |at: &At| match at {
            At::Records(n) if *n > self.records_sent => Some(n - self.records_sent),
            _ => None,
        };
        self.script.iter().filter_map(|(at, _)| due(at)).min()
    }

    /// Sends whole frames that hold so many records, and lets what is due after them happen.
    pub(crate) fn send_records(&mut self, frames: &mut [u8], records: u64) -> io::Result<Option<u8>> {
        self.send(frames)?;
        self.records_sent += records;
        let now = self.records_sent;
        self.reach(At::Records(now))
    }

    /// Sends whole frames.
    pub(crate) fn send(&mut self, frames: &mut [u8]) -> io::Result<()> {
        if self.lie != 0 && frames.len() >= PROTO_BYTES {
            let mut word = [0; 8];
            word[2..].copy_from_slice(&frames[2..8]);
            let len = u64::from_be_bytes(word).saturating_add_signed(std::mem::take(&mut self.lie));
            frames[2..8].copy_from_slice(&len.to_be_bytes()[2..]);
        }
        let mut rest: &mut [u8] = frames;
        loop {
            let due = |at: &At| match at {
                At::Bytes(n) if *n >= self.bytes_sent && *n < self.bytes_sent + rest.len() as u64 => Some(*n),
                _ => None,
            };
            let Some(next) = self.script.iter().filter_map(|(at, _)| due(at)).min() else { break };
            let (head, tail) = rest.split_at_mut((next - self.bytes_sent) as usize);
            self.write(head)?;
            rest = tail;
            self.reach(At::Bytes(next))?;
        }
        self.write(rest)
    }

    fn write(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let n = self.overwrite.len().min(bytes.len());
        for (to, from) in bytes.iter_mut().zip(self.overwrite.drain(..n)) {
            *to = from;
        }
        self.bytes_sent += bytes.len() as u64;
        self.shared.node(self.node).wait_while_paused();
        self.connection.write_all(bytes)?;
        self.connection.flush()
    }

    fn act(&mut self, action: Action) -> io::Result<Option<u8>> {
        match action {
            Action::Cut => {
                self.connection.close();
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Action::Silence => {
                self.stall(None);
                self.connection.close();
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Action::Stall(time) => self.stall(Some(time)),
            Action::Refuse(code) => return Ok(Some(code)),
            Action::LieAboutLength(by) => self.lie = by,
            Action::Insert(bytes) => self.connection.write_all(&bytes)?,
            Action::Overwrite(bytes) => self.overwrite = bytes,
            Action::Run(function) => function(&Control::of(self.shared)),
            Action::Arm(fault) => self.shared.faults.arm(*fault),
        }
        Ok(None)
    }

    fn stall(&self, time: Option<Duration>) {
        let start = Instant::now();
        while time.is_none_or(|time| start.elapsed() < time)
            && self.shared.releases() == self.releases
            && self.shared.is_alive(self.node)
        {
            std::thread::sleep(STALL_STEP);
        }
    }
}
