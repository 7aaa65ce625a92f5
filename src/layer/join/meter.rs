//! Progress and cancellation while records, and long values, are read.

use std::io::{self, Read};

const STEP_BYTES: u64 = 1024 * 1024;

/// Adds up what was read and reports it about every MiB.
pub(super) struct Meter<'a> {
    progress: &'a (dyn Fn(u64, u64) -> bool + Sync),
    records: u64,
    bytes: u64,
    pub(super) stopped: bool,
}

impl<'a> Meter<'a> {
    pub(super) fn new(progress: &'a (dyn Fn(u64, u64) -> bool + Sync)) -> Self {
        Self { progress, records: 0, bytes: 0, stopped: false }
    }

    #[inline]
    pub(super) fn add(&mut self, records: u64, bytes: u64) {
        self.records += records;
        self.bytes += bytes;
        if self.bytes >= STEP_BYTES {
            self.report();
        }
    }

    /// Reports that nothing came, to hear whether that is still wanted.
    pub(super) fn ask(&mut self) {
        self.stopped |= !(self.progress)(self.records, self.bytes);
        (self.records, self.bytes) = (0, 0);
    }

    /// Reports what was not reported yet.
    pub(super) fn report(&mut self) {
        if self.records > 0 || self.bytes > 0 {
            self.stopped |= !(self.progress)(self.records, self.bytes);
            self.records = 0;
            self.bytes = 0;
        }
    }
}

/// A reader whose bytes are metered; fails once the join is stopped.
pub(super) struct Metered<'m, 'a, R> {
    pub(super) inner: R,
    pub(super) meter: &'m mut Meter<'a>,
    pub(super) bytes: u64,
}

impl<R: Read> Read for Metered<'_, '_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.meter.stopped {
            return Err(io::Error::other("interrupted"));
        }
        let read = self.inner.read(out)?;
        self.bytes += read as u64;
        self.meter.add(0, read as u64);
        Ok(read)
    }
}
