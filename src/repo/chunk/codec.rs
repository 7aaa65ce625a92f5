//! Compression of runs: by trial, with contexts that each thread keeps.

use std::{cell::RefCell, io::Cursor};
use zstd::{
    bulk::{Compressor, Decompressor},
    zstd_safe::{CParameter, WriteBuf},
};

/// Runs shorter than this are not worth a try.
const MIN_RUN_BYTES: usize = 64;

/// How much of a long run is tried at the fastest level before the whole is compressed.
const TRIAL_BYTES: usize = 4 * 1024;

/// Shorter runs are compressed without a trial: level 1 passes over what does not shrink nearly as fast, and the tables of a
/// trial's frame cost as much as many times its bytes.
const TRIAL_FROM_BYTES: usize = 64 * TRIAL_BYTES;

/// Level 1 looks for longer matches than the library's own level 1 does. In columns of text most short matches cost as much
/// as they save: long runs are compressed and decompressed a quarter faster and become no larger, short ones by 3 %.
const LONG_RUN_BYTES: usize = 32 * 1024;
const LONG_RUN: [CParameter; 2] = [CParameter::MinMatch(7), CParameter::HashLog(15)];
const SHORT_RUN: [CParameter; 2] = [CParameter::MinMatch(6), CParameter::HashLog(13)];

/// Space that the compressor may ask for beyond its bound for the whole chunk.
const SLACK_BYTES: usize = 1024;

thread_local! {
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    static COMPRESSOR: RefCell<Option<RunCompressor>> = const { RefCell::new(None) };
}

/// Appends exactly `plain_len` bytes to `out`, decompressed from one Zstandard frame. The caller has bounded `plain_len`.
pub(in crate::repo) fn decompress_onto(stored: &[u8], plain_len: usize, out: &mut Vec<u8>) -> Result<(), String> {
    let start = out.len();
    out.reserve(plain_len);
    // Behind what is there, into room that nobody has filled with zeros first.
    let mut room = Cursor::new(&mut *out);
    room.set_position(start as u64);
    let result = decompress_into(stored, plain_len, &mut room);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn decompress_into(stored: &[u8], plain_len: usize, room: &mut (impl WriteBuf + ?Sized)) -> Result<(), String> {
    match zstd::zstd_safe::find_frame_compressed_size(stored) {
        Ok(len) if len == stored.len() => {}
        Ok(_) => return Err("bytes follow the compressed frame".to_owned()),
        Err(code) => return Err(zstd::zstd_safe::get_error_name(code).to_owned()),
    }
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(Decompressor::new().map_err(|error| error.to_string())?),
        };
        match decompressor.decompress_to_buffer(stored, room) {
            Ok(len) if len == plain_len => Ok(()),
            Ok(len) => Err(format!("{len} bytes came out, {plain_len} were declared")),
            Err(error) => Err(error.to_string()),
        }
    })
}

/// Calls `work` with this thread's compressor, set to `level`.
pub(in crate::repo) fn with_compressor<R>(
    level: i32,
    work: impl FnOnce(&mut RunCompressor) -> Result<R, String>,
) -> Result<R, String> {
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => slot.insert(RunCompressor::new(level)?),
        };
        compressor.set_level(level)?;
        work(compressor)
    })
}

/// Compresses runs into a buffer of its own.
pub(in crate::repo) struct RunCompressor {
    level: i32,
    /// Every level but 1.
    other: Compressor<'static>,
    long: Compressor<'static>,
    short: Compressor<'static>,
    buffer: Vec<u8>,
    used: usize,
    /// What comes back when a run is checked.
    back: Vec<u8>,
}

impl RunCompressor {
    fn new(level: i32) -> Result<Self, String> {
        let new = |level: i32, parameters: &[CParameter]| {
            let mut compressor = Compressor::new(level)?;
            parameters.iter().try_for_each(|parameter| compressor.set_parameter(*parameter))?;
            std::io::Result::Ok(compressor)
        };
        let made = || Ok::<_, std::io::Error>((new(level, &[])?, new(1, &LONG_RUN)?, new(1, &SHORT_RUN)?));
        let (other, long, short) = made().map_err(|error| error.to_string())?;
        Ok(Self { level, other, long, short, buffer: Vec::new(), used: 0, back: Vec::new() })
    }

    fn set_level(&mut self, level: i32) -> Result<(), String> {
        if self.level != level {
            self.other.set_compression_level(level).map_err(|error| error.to_string())?;
            self.level = level;
        }
        Ok(())
    }

    /// Forgets what was compressed and makes room for a chunk of `plain_len` bytes.
    pub(in crate::repo) fn begin(&mut self, plain_len: usize) {
        self.used = 0;
        let room = zstd::zstd_safe::compress_bound(plain_len.max(TRIAL_BYTES)) + SLACK_BYTES;
        if self.buffer.len() < room {
            self.buffer.resize(room, 0);
        }
    }

    /// Compresses `run` if that makes it smaller; gives where the result lies in [`Self::buffer`].
    pub(in crate::repo) fn compress(&mut self, run: &[u8]) -> Result<Option<std::ops::Range<usize>>, String> {
        if self.level == 0 || run.len() < MIN_RUN_BYTES || !self.is_worth_it(run)? {
            return Ok(None);
        }
        let start = self.used;
        let compressor = match self.level {
            1 if run.len() >= LONG_RUN_BYTES => &mut self.long,
            1 => &mut self.short,
            _ => &mut self.other,
        };
        let len = compressor.compress_to_buffer(run, &mut self.buffer[start..]).map_err(|error| error.to_string())?;
        if len >= run.len() {
            return Ok(None);
        }
        self.used = start + len;
        Ok(Some(start..start + len))
    }

    /// What was compressed since [`Self::begin`].
    pub(in crate::repo) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// Whether what was compressed to `range` comes back as `run`.
    pub(in crate::repo) fn comes_back(&mut self, range: std::ops::Range<usize>, run: &[u8]) -> Result<bool, String> {
        self.back.clear();
        decompress_onto(&self.buffer[range], run.len(), &mut self.back)?;
        Ok(self.back == run)
    }

    /// Whether the first bytes of a long run shrink by 4 % or more at the fastest level.
    fn is_worth_it(&mut self, run: &[u8]) -> Result<bool, String> {
        if run.len() < TRIAL_FROM_BYTES {
            return Ok(true);
        }
        let sample = &run[..TRIAL_BYTES];
        let room = &mut self.buffer[self.used..];
        let len = self.short.compress_to_buffer(sample, room).map_err(|error| error.to_string())?;
        Ok(len * 25 <= TRIAL_BYTES * 24)
    }
}
