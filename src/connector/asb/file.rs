//! Going through one file: every record to whoever wants it, everything else to its globals, what is wrong by its name.

use super::{
    cipher::Cipher,
    codec::{AsbError, AsbReader, Fault, Item, Record},
    globals::Globals,
    layers::{self, Plain},
    place::Input,
};
use crate::{connector::ConnectorError, report::Remedy};

/// The most losses that are named.
const MAX_NAMED: usize = 1000;

/// A file being read.
pub struct AsbFile {
    reader: AsbReader<Plain>,
    /// Its name.
    pub origin: String,
    /// Its namespace, by its header.
    pub namespace: Vec<u8>,
    /// Whether it says that it is the first of its backup.
    pub is_first: bool,
    /// What it holds beside records.
    pub globals: Globals,
    /// What is not in what was delivered, in words.
    pub missing: Vec<String>,
    salvage: bool,
    /// Heads of records with lines that are not known: the first of them.
    unknown_heads: u64,
    strangers: u64,
    ended: bool,
}

/// An error of a file.
pub fn unreadable(origin: &str, error: AsbError) -> ConnectorError {
    match error {
        AsbError::Io { source, .. } if source.kind() != std::io::ErrorKind::Other => {
            ConnectorError::Io { operation: "read", object: origin.to_owned(), source }
        }
        error => ConnectorError::Unreadable { object: origin.to_owned(), reason: error.to_string() },
    }
}

impl AsbFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be opened, or is no such file.
    pub fn open(input: &Input, cipher: Option<&Cipher>, salvage: bool) -> Result<Self, ConnectorError> {
        let origin = input.show();
        let opened = match &input.file {
            None => layers::open(std::io::stdin(), cipher),
            Some(spot) => {
                let file = spot.open();
                let failed = |source| ConnectorError::Io { operation: "open", object: origin.clone(), source };
                layers::open(file.map_err(failed)?, cipher)
            }
        };
        let (reader, _) = opened.map_err(|error| unreadable(&origin, error))?;
        let header = reader.header().clone();
        let mut globals = Globals::default();
        let namespace = header.namespace.unwrap_or_default();
        for line in header.unknown {
            globals.unknown(&namespace, line, &origin, 2);
        }
        Ok(Self {
            reader,
            origin,
            namespace,
            is_first: header.first_file,
            globals,
            missing: Vec::new(),
            salvage,
            unknown_heads: 0,
            strangers: 0,
            ended: false,
        })
    }

    /// The number of the line at which the next item begins.
    pub const fn line(&self) -> u64 {
        self.reader.line()
    }

    /// Reads on to the next record; `false` at the end.
    ///
    /// # Errors
    /// [`ConnectorError`] that names the place, unless what is damaged is to be passed.
    pub fn next(&mut self, record: &mut Record) -> Result<bool, ConnectorError> {
        while !self.ended {
            let line = self.reader.line();
            match self.reader.next(record) {
                Ok(None) => self.end(),
                Ok(Some(Item::Record)) => {
                    self.look_at(record);
                    return Ok(true);
                }
                Ok(Some(Item::Index(index))) => self.globals.index(index, &self.origin),
                Ok(Some(Item::Module(module))) => self.globals.module(module, &self.origin),
                Ok(Some(Item::Unknown(text))) => {
                    let namespace = self.namespace.clone();
                    self.globals.unknown(&namespace, text, &self.origin, line);
                }
                Err(error) => self.pass(error)?,
            }
        }
        Ok(false)
    }

    fn look_at(&mut self, record: &mut Record) {
        if !record.unknown.is_empty() {
            if self.unknown_heads == 0 {
                let shown = record.unknown[0].trim_ascii_end().escape_ascii().to_string();
                self.globals.notes.push(format!(
                    "a record of {} before line {} has a line of no known kind: {shown}",
                    self.origin,
                    self.reader.line()
                ));
            }
            self.unknown_heads += 1;
        }
        if record.namespace() != self.namespace {
            if self.strangers == 0 {
                self.globals.notes.push(format!(
                    "{} is a file of namespace `{}`, and a record before line {} is of `{}`: each goes to its own",
                    self.origin,
                    self.namespace.escape_ascii(),
                    self.reader.line(),
                    record.namespace().escape_ascii()
                ));
            }
            self.strangers += 1;
        }
    }

    /// Goes on behind something wrong, if that may be.
    fn pass(&mut self, error: AsbError) -> Result<(), ConnectorError> {
        let fault = error.fault();
        // What is new to us is left out and named, damage stops all unless a person said otherwise.
        if fault != Some(Fault::Unknown) && !(self.salvage && fault.is_some()) {
            let remedy = fault.map(|_| Remedy::Salvage);
            return Err(unreadable(&self.origin, error).with(remedy));
        }
        self.lose(format!("{}: {error}", self.origin));
        match self.reader.skip() {
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                self.end();
                Ok(())
            }
            Err(error) => Err(unreadable(&self.origin, error)),
        }
    }

    /// Names what is lost.
    pub fn lose(&mut self, words: String) {
        match self.missing.len() {
            MAX_NAMED => self.missing.push(format!("further records of {}", self.origin)),
            fewer if fewer < MAX_NAMED => self.missing.push(words),
            _ => {}
        }
    }

    fn end(&mut self) {
        self.ended = true;
        if self.unknown_heads > 1 {
            self.globals.notes.push(format!(
                "{} records of {} have lines of no known kind, which are left out",
                self.unknown_heads, self.origin
            ));
        }
        if self.strangers > 1 {
            self.globals.notes.push(format!(
                "{} records of {} are of other namespaces than the file says",
                self.strangers, self.origin
            ));
        }
    }
}
