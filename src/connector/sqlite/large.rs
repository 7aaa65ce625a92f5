//! Values too large to hold: read and written piece by piece through SQLite's incremental blob interface.

use super::shared::{SharedConnection, lock};
use crate::record::StreamedValue;
use std::{
    io::{self, Read},
    sync::mpsc::{Receiver, sync_channel},
};

/// Bytes per piece.
const PIECE: usize = 1 << 20;

/// A large value of one row: the column that is the last cell.
pub(super) struct LargeCell {
    pub(super) connection: SharedConnection,
    pub(super) table: String,
    pub(super) column: String,
    pub(super) rowid: i64,
}

impl StreamedValue for LargeCell {
    fn open(&mut self) -> io::Result<Box<dyn Read + Send + '_>> {
        let (sender, pieces) = sync_channel(1);
        let connection = self.connection.clone();
        let (table, column, rowid) = (self.table.clone(), self.column.clone(), self.rowid);
        // An open blob borrows its connection, which a lock guard cannot lend beyond one function: a thread of its own
        // keeps both for as long as pieces are taken.
        std::thread::Builder::new().name("sqlite blob".to_owned()).spawn(move || {
            let connection = lock(&connection);
            let run = || -> io::Result<()> {
                let blob = connection
                    .blob_open("main", table.as_str(), column.as_str(), rowid, true)
                    .map_err(io::Error::other)?;
                let mut at = 0;
                while at < blob.len() {
                    let mut piece = vec![0; PIECE.min(blob.len() - at)];
                    blob.read_at_exact(&mut piece, at).map_err(io::Error::other)?;
                    at += piece.len();
                    if sender.send(Ok(piece)).is_err() {
                        return Ok(());
                    }
                }
                Ok(())
            };
            if let Err(error) = run() {
                let _ = sender.send(Err(error));
            } else {
                let _ = sender.send(Ok(Vec::new()));
            }
        })?;
        Ok(Box::new(Pieces { coming: pieces, piece: Vec::new(), at: 0, done: false }))
    }
}

/// Reads pieces from the blob's thread; an empty piece is the end.
struct Pieces {
    coming: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
    done: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() && !self.done && !buffer.is_empty() {
            self.piece = self.coming.recv().map_err(|_| io::Error::other("the reader of a large value stopped"))??;
            self.at = 0;
            self.done = self.piece.is_empty();
        }
        let len = buffer.len().min(self.piece.len() - self.at);
        buffer[..len].copy_from_slice(&self.piece[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}
