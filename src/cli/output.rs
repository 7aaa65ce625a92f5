//! Standard output and standard error, written so that a reader who went away is no panic.

use serde::Serialize;
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Where results go. The first error of writing is kept and told at the end, except a closed pipe, which only stops
/// what is still being produced.
pub struct Out {
    writer: Mutex<Box<dyn Write + Send>>,
    error: Mutex<Option<io::Error>>,
    closed: Arc<AtomicBool>,
}

impl Out {
    /// Standard output, buffered.
    #[must_use]
    pub fn stdout() -> Self {
        Self::to(Box::new(BufWriter::with_capacity(64 * 1024, io::stdout())))
    }

    /// Any writer.
    #[must_use]
    pub fn to(writer: Box<dyn Write + Send>) -> Self {
        Self { writer: Mutex::new(writer), error: Mutex::new(None), closed: Arc::default() }
    }

    /// Prints a line.
    pub fn line(&self, text: impl std::fmt::Display) {
        self.with(|writer| writeln!(writer, "{text}"));
    }

    /// Prints a value as an indented JSON document.
    pub fn json<T: Serialize + ?Sized>(&self, value: &T) {
        self.with(|writer| {
            serde_json::to_writer_pretty(&mut *writer, value).map_err(io::Error::from)?;
            writeln!(writer)
        });
    }

    /// Prints text as it is.
    pub fn text(&self, text: &str) {
        self.with(|writer| writer.write_all(text.as_bytes()));
    }

    /// Sends what is buffered.
    pub fn flush(&self) {
        self.with(|writer| writer.flush());
    }

    /// Whether nobody reads any more, or writing failed.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// A flag that is raised when nobody reads any more.
    #[must_use]
    pub fn closed_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.closed)
    }

    /// Flushes; gives the first error that was not a closed pipe.
    pub fn finish(&self) -> io::Result<()> {
        self.flush();
        match self.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }

    /// Sends what is buffered, which is never shown again: that nobody reads is a failure here.
    ///
    /// # Errors
    /// If any of it could not be written.
    pub fn shown_once(&self) -> io::Result<()> {
        self.finish()?;
        if self.closed() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    fn with(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        if self.closed() {
            return;
        }
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = write(&mut *writer) {
            self.closed.store(true, Ordering::Relaxed);
            if error.kind() != io::ErrorKind::BrokenPipe {
                *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        }
    }
}

/// For verbs that write bytes: errors go where those of lines go, so that a closed pipe is quiet here too.
impl Write for &Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|writer| writer.write_all(bytes));
        if self.closed() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with(|writer| writer.flush());
        if self.closed() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

/// An array printed element by element, so that its length costs no memory. Nothing is printed before the first element or the
/// end, so that what fails before leaves no half of a document.
pub struct JsonArray<'a> {
    out: &'a Out,
    empty: bool,
}

impl<'a> JsonArray<'a> {
    /// Opens it.
    #[must_use]
    pub const fn open(out: &'a Out) -> Self {
        Self { out, empty: true }
    }

    /// Prints one element.
    pub fn push<T: Serialize + ?Sized>(&mut self, value: &T) {
        let lead = if self.empty { "[\n" } else { ",\n" };
        self.empty = false;
        self.out.with(|writer| {
            writer.write_all(lead.as_bytes())?;
            serde_json::to_writer(&mut *writer, value).map_err(io::Error::from)
        });
    }

    /// Closes it; `end` follows.
    pub fn close(self, end: &str) {
        self.out.text(if self.empty { "[]" } else { "\n]" });
        self.out.text(end);
    }
}

/// Prints a line on standard error; if that fails nobody is there to be told.
pub fn complain(text: &str) {
    let _ = match LOG.get() {
        None => writeln!(io::stderr(), "{text}"),
        Some(log) => writeln!(log.lock().unwrap_or_else(PoisonError::into_inner), "{text}"),
    };
}

/// Where lines go in place of standard error.
static LOG: OnceLock<Mutex<File>> = OnceLock::new();

/// From now on prints into a file what would go to standard error; once for the whole program.
pub fn complain_into(file: File) {
    let _ = LOG.set(Mutex::new(file));
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_quiet_and_stops_the_rest() {
        let out = Out::to(Box::new(Broken(io::ErrorKind::BrokenPipe)));
        out.line("x");
        assert!(out.closed());
        out.finish().unwrap();
    }

    #[test]
    fn a_full_disk_is_told_at_the_end() {
        let out = Out::to(Box::new(Broken(io::ErrorKind::StorageFull)));
        out.line("x");
        assert_eq!(out.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
