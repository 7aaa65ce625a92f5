//! How a verb tells what it is doing, and how it is told to stop.

/// One stretch of work with its expected size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Phase {
    /// What is being done: `reading`, `writing index`, `restoring`, `verifying` …
    pub name: String,
    /// Records expected; 0 if unknown.
    pub records: u64,
    /// Bytes expected; 0 if unknown.
    pub bytes: u64,
}

/// Receives a verb's progress. Called from several threads.
pub trait Progress: Send + Sync {
    /// A phase begins; the one before has ended.
    fn begin(&self, phase: &Phase);
    /// This many more records and bytes are done.
    fn advance(&self, records: u64, bytes: u64);
    /// Something a person should know.
    fn warn(&self, text: &str);
    /// Whether to stop as soon as it is safe.
    fn cancelled(&self) -> bool;
}

/// Says nothing and never cancels.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &Phase) {}
    fn advance(&self, _: u64, _: u64) {}
    fn warn(&self, _: &str) {}
    fn cancelled(&self) -> bool {
        false
    }
}
