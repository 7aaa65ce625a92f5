//! Records as they stand in their files, in no order: for whoever passes them on at once.

use super::{
    cipher::Cipher,
    codec::Record,
    file::AsbFile,
    gather::{of_one_run, what_is_not_there},
    globals::Globals,
    options::PartOptions,
    place::Input,
    rows::{Made, Met, RowMaker},
};
use crate::{
    connector::{ConnectorError, SourceCollection, Unordered, shared::shapes::Shapes},
    record::{KeyCodec, RecordBatch, RecordStream, RowHead, StreamError},
};
use std::sync::{Arc, Mutex, PoisonError};

const BATCH_BYTES: usize = 1 << 20;

/// The files, each a part.
pub struct FileParts {
    inputs: Vec<Input>,
    cipher: Option<Cipher>,
    part: PartOptions,
    salvage: bool,
    /// What stands before the records of the files.
    pub globals: Globals,
    namespaces: Vec<Vec<u8>>,
    told: Arc<Mutex<Told>>,
}

#[derive(Default)]
struct Told {
    notes: Vec<String>,
    missing: Vec<String>,
    no_bins: u64,
    met: Met,
}

impl FileParts {
    /// Reads every file up to its first record.
    pub fn new(
        inputs: &[Input],
        cipher: Option<&Cipher>,
        part: &PartOptions,
        salvage: bool,
    ) -> Result<Self, ConnectorError> {
        let mut globals = Globals::default();
        let mut namespaces: Vec<Vec<u8>> = Vec::new();
        let mut record = Record::default();
        let (mut firsts, mut listed) = (Vec::new(), Vec::new());
        for input in inputs {
            if input.file.is_none() {
                return Err(ConnectorError::Usage {
                    object: "standard input".to_owned(),
                    reason: "its indexes and modules must be known before its records: give a file, or sort it"
                        .to_owned(),
                });
            }
            let mut file = AsbFile::open(input, cipher, salvage)?;
            // Damage is met again, and named, when the records are read.
            let _ = file.next(&mut record);
            if !namespaces.contains(&file.namespace) {
                namespaces.push(file.namespace.clone());
            }
            listed.extend(input.listed(&file.namespace, file.is_first));
            if file.is_first {
                firsts.push((file.namespace.clone(), input.place, file.origin.clone()));
            }
            globals.join(file.globals, &file.origin);
        }
        of_one_run(&mut firsts)?;
        if part.no_indexes {
            globals.namespaces.values_mut().for_each(|own| {
                own.indexes.clear();
                own.raw_indexes.clear();
            });
        }
        if part.no_udfs {
            globals.modules.clear();
        }
        Ok(Self {
            inputs: inputs.to_vec(),
            cipher: cipher.cloned(),
            part: part.clone(),
            salvage,
            globals,
            namespaces,
            told: Arc::new(Mutex::new(Told { missing: what_is_not_there(inputs, &listed, part), ..Told::default() })),
        })
    }

    /// A collection for each namespace.
    pub fn collections(&self) -> Vec<SourceCollection> {
        let bytes: u64 = self.inputs.iter().map(|input| input.len).sum();
        let of = |name: &Vec<u8>| SourceCollection {
            name: String::from_utf8_lossy(name).into_owned(),
            codec: KeyCodec::Digest,
            attributes: self.globals.namespaces.get(name).cloned().unwrap_or_default().attributes(),
            estimated_bytes: bytes / self.namespaces.len().max(1) as u64,
            estimated_records: 0,
        };
        self.namespaces.iter().map(of).collect()
    }

    /// What came up while the parts were read.
    pub fn told(&self) -> (Vec<String>, Vec<String>) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut missing = told.missing.clone();
        if told.no_bins > 0 {
            missing.push(format!("{} records have no bins: they were written without them", told.no_bins));
        }
        let mut notes = told.notes.clone();
        notes.extend(told.met.unmet(&self.part));
        (notes, missing)
    }
}

impl Unordered for FileParts {
    fn parts(&self) -> usize {
        self.inputs.len()
    }

    fn name(&self, part: usize) -> String {
        self.inputs.get(part).map(Input::show).unwrap_or_default()
    }

    fn read_part(&self, collection: usize, part: usize) -> Result<Box<dyn RecordStream + Send>, ConnectorError> {
        let (Some(namespace), Some(input)) = (self.namespaces.get(collection), self.inputs.get(part)) else {
            return Err(ConnectorError::Missing { object: format!("part {part} of collection {collection}") });
        };
        Ok(Box::new(FileStream {
            file: AsbFile::open(input, self.cipher.as_ref(), self.salvage)?,
            namespace: namespace.clone(),
            is_first_namespace: collection == 0,
            others: self.namespaces.clone(),
            rows: RowMaker::new(&self.part),
            record: Record::default(),
            shapes: Shapes::default(),
            told: Arc::clone(&self.told),
            ended: false,
        }))
    }
}

struct FileStream {
    file: AsbFile,
    namespace: Vec<u8>,
    is_first_namespace: bool,
    others: Vec<Vec<u8>>,
    rows: RowMaker,
    record: Record,
    shapes: Shapes,
    told: Arc<Mutex<Told>>,
    ended: bool,
}

impl RecordStream for FileStream {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        while !self.ended && batch.bytes() < BATCH_BYTES {
            if !self.file.next(&mut self.record)? {
                self.end();
                break;
            }
            if self.record.namespace() != self.namespace {
                if self.is_first_namespace && !self.others.iter().any(|other| other == self.record.namespace()) {
                    let words = format!(
                        "{}: a record before line {} is of namespace `{}`, of which no file is",
                        self.file.origin,
                        self.file.line(),
                        self.record.namespace().escape_ascii()
                    );
                    self.file.lose(words);
                }
                continue;
            }
            match self.rows.make(&mut self.record) {
                Made::Row(row) => {
                    let shape = self.shapes.of(row.names)?;
                    batch.push_encoded(RowHead { key: &row.key, meta: row.meta }, &shape, row.value);
                }
                Made::Unwanted | Made::Monitor => {}
                Made::NoBins => self.told.lock().unwrap_or_else(PoisonError::into_inner).no_bins += 1,
                Made::Twice(name) => {
                    let words = format!("{}: a record has two bins `{}`", self.file.origin, name.escape_ascii());
                    self.file.lose(words);
                }
            }
        }
        Ok(!batch.is_empty())
    }
}

impl FileStream {
    fn end(&mut self) {
        self.ended = true;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.missing.append(&mut self.file.missing);
        told.met.join(self.rows.met());
        // What was said of the head is known already.
        let known: Vec<String> = told.notes.clone();
        told.notes.extend(self.file.globals.notes.drain(..).filter(|note| !known.contains(note)));
    }
}
