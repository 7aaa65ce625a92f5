//! Faults on demand: on which command, at which point of its answer, and what then happens.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::Control;

/// Which commands a fault waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Every command.
    Any,
    /// Info commands.
    Info,
    /// Login and authentication.
    Login,
    /// Reads of one record.
    Read,
    /// Writes and deletions of one record.
    Write,
    /// Batches.
    Batch,
    /// Queries.
    Query,
}

/// The point of an answer at which a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Before the command is done: nothing is read or written yet.
    Start,
    /// After so many records of a query, or rows of a batch, were sent.
    Records(u64),
    /// After so many bytes of the answer were sent, counted from its first header.
    Bytes(u64),
    /// Before the end message of a query or batch; before the whole answer of anything else.
    End,
}

/// What happens.
#[derive(Clone)]
pub enum Action {
    /// The connection is closed.
    Cut,
    /// Nothing more is sent; the connection stays open until [`Control::release`].
    Silence,
    /// Nothing is sent for this long, or until [`Control::release`]; then all goes on.
    Stall(Duration),
    /// The command ends with this result code: overload 18, too many threads 22, aborted 15 …
    Refuse(u8),
    /// The next frame's header says so many bytes more, or fewer, than follow.
    LieAboutLength(i64),
    /// These bytes are sent in between.
    Insert(Vec<u8>),
    /// The next bytes of the answer are overwritten by these: a way to lie about any inner length.
    Overwrite(Vec<u8>),
    /// A function is called: kill a node, write a record, move the clock.
    Run(Arc<dyn Fn(&Control) + Send + Sync>),
    /// Another fault is armed from here on.
    Arm(Box<Fault>),
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => write!(f, "Cut"),
            Self::Silence => write!(f, "Silence"),
            Self::Stall(time) => write!(f, "Stall({time:?})"),
            Self::Refuse(code) => write!(f, "Refuse({code})"),
            Self::LieAboutLength(by) => write!(f, "LieAboutLength({by})"),
            Self::Insert(bytes) => write!(f, "Insert({} bytes)", bytes.len()),
            Self::Overwrite(bytes) => write!(f, "Overwrite({} bytes)", bytes.len()),
            Self::Run(_) => write!(f, "Run"),
            Self::Arm(fault) => write!(f, "Arm({fault:?})"),
        }
    }
}

/// A fault: once, on the next command of any kind on any node, unless told otherwise.
#[derive(Clone, Debug)]
pub struct Fault {
    command: Command,
    node: Option<usize>,
    skip_requests: u64,
    times: u64,
    at: At,
    action: Action,
}

impl Fault {
    /// A fault at this point.
    pub fn new(at: At, action: Action) -> Self {
        Self { command: Command::Any, node: None, skip_requests: 0, times: 1, at, action }
    }

    /// Calls a function at this point.
    pub fn run(at: At, function: impl Fn(&Control) + Send + Sync + 'static) -> Self {
        Self::new(at, Action::Run(Arc::new(function)))
    }

    /// Waits for this kind of command.
    #[must_use]
    pub fn on(mut self, command: Command) -> Self {
        self.command = command;
        self
    }

    /// Waits for this node.
    #[must_use]
    pub fn node(mut self, node: usize) -> Self {
        self.node = Some(node);
        self
    }

    /// Lets so many matching commands pass first.
    #[must_use]
    pub fn after_requests(mut self, n: u64) -> Self {
        self.skip_requests = n;
        self
    }

    /// Happens to so many matching commands.
    #[must_use]
    pub fn times(mut self, n: u64) -> Self {
        self.times = n;
        self
    }

    /// Happens to every matching command until [`Control::clear_faults`].
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }
}

/// The faults that wait.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(crate) fn arm(&self, fault: Fault) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn waiting(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What is to happen to a command that begins now.
    pub(crate) fn begin(&self, command: Command, node: usize) -> Vec<(At, Action)> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut script = Vec::new();
        for fault in waiting.iter_mut() {
            let matches = (fault.command == Command::Any || fault.command == command)
                && fault.node.is_none_or(|wanted| wanted == node);
            if !matches {
                continue;
            }
            if fault.skip_requests > 0 {
                fault.skip_requests -= 1;
                continue;
            }
            fault.times -= 1;
            script.push((fault.at, fault.action.clone()));
        }
        waiting.retain(|fault| fault.times > 0);
        script
    }
}
