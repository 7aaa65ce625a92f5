//! What a database file is set to: partly by pragmas, partly only by the bytes of its header.

use super::encoding::Encoding;
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
};

/// The bytes of the header.
const HEADER_BYTES: usize = 100;
const RESERVED_AT: usize = 20;
const SCHEMA_FORMAT_AT: usize = 44;
const CACHE_SIZE_AT: usize = 48;
const ENCODING_AT: u64 = 56;
/// Where the first page says where its cells begin.
const CONTENT_AT: u64 = 105;

/// The settings of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) page_size: i64,
    pub(super) auto_vacuum: i64,
    pub(super) user_version: i64,
    pub(super) application_id: i64,
    /// Bytes at the end of each page that SQLite leaves to others (encryption, checksums).
    #[serde(default)]
    pub(super) reserved_bytes: u8,
    /// Pages; 0 for none (`PRAGMA default_cache_size`).
    #[serde(default)]
    pub(super) default_cache_size: i32,
    /// Which records and indexes the schema may use: 1 to 4; 0 for SQLite's own choice.
    #[serde(default)]
    pub(super) schema_format: u32,
}

impl Settings {
    /// Those of an open database.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let number =
            |pragma: &str| connection.query_row(&format!("PRAGMA main.{pragma}"), [], |row| row.get::<_, i64>(0));
        let header = Header::read(connection);
        Ok(Self {
            page_size: number("page_size")?,
            auto_vacuum: number("auto_vacuum")?,
            user_version: number("user_version")?,
            application_id: number("application_id")?,
            reserved_bytes: header.0[RESERVED_AT],
            default_cache_size: header.number(CACHE_SIZE_AT).cast_signed(),
            schema_format: header.number(SCHEMA_FORMAT_AT),
        })
    }

    /// Sets what can be chosen only before the first table.
    pub(super) fn set(&self, connection: &Connection, encoding: Encoding) -> rusqlite::Result<()> {
        connection.pragma_update(None, "page_size", self.page_size)?;
        connection.pragma_update(None, "encoding", encoding.name())?;
        connection.pragma_update(None, "auto_vacuum", self.auto_vacuum)?;
        connection.pragma_update(None, "user_version", self.user_version)?;
        connection.pragma_update(None, "application_id", self.application_id)
    }

    /// Sets in a closed file that [`Self::set`] began, and that holds no table yet, what no pragma sets.
    pub(super) fn imprint(&self, path: &Path, encoding: Encoding) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0)?;
        if header[RESERVED_AT] != self.reserved_bytes {
            let usable = self.page_size - i64::from(self.reserved_bytes);
            // 65536 is written as 0.
            file.write_all_at(&(usable as u16).to_be_bytes(), CONTENT_AT)?;
            file.write_all_at(&[self.reserved_bytes], RESERVED_AT as u64)?;
        }
        if (1..=4).contains(&self.schema_format) {
            file.write_all_at(&self.schema_format.to_be_bytes(), SCHEMA_FORMAT_AT as u64)?;
            // SQLite writes both with the first table or none.
            file.write_all_at(&(encoding as u32 + 1).to_be_bytes(), ENCODING_AT)?;
        }
        file.write_all_at(&self.default_cache_size.to_be_bytes(), CACHE_SIZE_AT as u64)
    }
}

/// The first bytes of a file; zeros where it has none yet.
pub(super) struct Header(pub(super) [u8; HEADER_BYTES]);

impl Header {
    /// As this connection's transaction sees them, where SQLite was built to show pages; else as they are in the file.
    pub(super) fn read(connection: &Connection) -> Self {
        let sql = "SELECT substr(data, 1, 100) FROM sqlite_dbpage('main') WHERE pgno = 1";
        let page = connection.query_row(sql, [], |row| row.get::<_, Vec<u8>>(0)).optional();
        let bytes = match page {
            Ok(page) => page.unwrap_or_default(),
            Err(_) => connection.path().and_then(|path| Self::of_file(Path::new(path)).ok()).unwrap_or_default(),
        };
        Self(bytes.try_into().unwrap_or([0; HEADER_BYTES]))
    }

    /// The first bytes of a file.
    pub(super) fn of_file(path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(HEADER_BYTES as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn number(&self, at: usize) -> u32 {
        let bytes = self.0.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_be_bytes)
    }
}
