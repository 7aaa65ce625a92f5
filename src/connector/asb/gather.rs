//! One pass over all files, by several threads: records are sorted, the rest is kept beside them.

use super::{
    cipher::Cipher,
    codec::Record,
    file::AsbFile,
    globals::{Globals, Namespace},
    names::{Listed, gaps, resumption},
    options::PartOptions,
    place::Input,
    rows::{Made, Met, RowMaker},
};
use crate::{
    connector::{
        ConnectorError,
        shared::{
            sort::{Sorted, Sorter, must_spill_of, put_named},
            spool::Spool,
        },
    },
    record::KeyCodec,
};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// The most threads that sort at once.
const MAX_THREADS: usize = 4;
/// Namespaces that one run may meet: servers have 32.
const MAX_NAMESPACES: usize = 64;
/// Why a file of no namespace is not taken.
pub(super) const NO_NAMESPACE: &str =
    "it does not say which namespace it is of (`# namespace NAME` in its first lines)";
/// The memory that is kept for the next record.
const KEPT_BYTES: usize = 1 << 20;
/// Bits of a record's number that say its line; the rest says its file.
const LINE_BITS: u32 = 36;

/// What the files hold.
#[derive(Default)]
pub struct Gathered {
    /// Everything beside records.
    pub globals: Globals,
    /// By namespace, records and how many bytes.
    pub sorted: BTreeMap<Vec<u8>, (Sorted, u64, u64)>,
    /// What is not in what is delivered.
    pub missing: Vec<String>,
    /// The earliest expiry, in milliseconds; 0 if nothing expires.
    pub earliest_expiry: u64,
    /// Files that say that they are the first of a backup.
    firsts: Vec<First>,
    /// Files that were found in folders.
    listed: Vec<Listed>,
    met: Met,
    no_bins: u64,
    monitors: u64,
}

/// How files are gone through.
pub struct How<'a> {
    /// Which.
    pub inputs: &'a [Input],
    /// How they are encrypted.
    pub cipher: Option<&'a Cipher>,
    /// What of them is wanted.
    pub part: &'a PartOptions,
    /// Damage is passed.
    pub salvage: bool,
    /// Threads.
    pub threads: usize,
    /// Where temporary files go.
    pub temp_dir: &'a Path,
}

/// Where a record stands, as it was told to the sorter.
pub fn place_of(number: u64, inputs: &[Input]) -> String {
    let file = inputs.get((number >> LINE_BITS) as usize).map_or_else(|| "?".to_owned(), Input::show);
    format!("{file}:{}", number & ((1 << LINE_BITS) - 1))
}

/// Goes through all files.
pub fn gather(how: &How<'_>) -> Result<Gathered, ConnectorError> {
    let threads = how.threads.clamp(1, MAX_THREADS).min(how.inputs.len().max(1));
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let failed: Mutex<Option<(usize, ConnectorError)>> = Mutex::default();
    // What the files hold beside records is joined in their order.
    let beside: Mutex<BTreeMap<usize, (Globals, String)>> = Mutex::default();
    let work = || -> Result<Gathered, ConnectorError> {
        let mut worker = Worker::new(how, threads)?;
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= how.inputs.len() || stop.load(Ordering::Relaxed) {
                return worker.finish();
            }
            match worker.file(at) {
                Ok(globals) => {
                    beside.lock().unwrap_or_else(PoisonError::into_inner).insert(at, (globals, how.inputs[at].show()));
                }
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    if failed.as_ref().is_none_or(|(before, _)| at < *before) {
                        *failed = Some((at, error));
                    }
                    return Ok(Gathered::default());
                }
            }
        }
    };
    let parts: Vec<Result<Gathered, ConnectorError>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let panicked = || ConnectorError::Unreadable {
            object: "the files".to_owned(),
            reason: "a thread that read them ended without a word".to_owned(),
        };
        handles.into_iter().map(|handle| handle.join().unwrap_or_else(|_| Err(panicked()))).collect()
    });
    if let Some((_, error)) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut all = Gathered::default();
    for (globals, origin) in beside.into_inner().unwrap_or_else(PoisonError::into_inner).into_values() {
        all.globals.join(globals, &origin);
    }
    for part in parts {
        all.join(part?);
    }
    all.finish(how)?;
    Ok(all)
}

/// A file that says that it is the first of a backup: namespace, place, name.
pub(super) type First = (Vec<u8>, usize, String);

/// Refuses the files of two runs in one place.
pub(super) fn of_one_run(firsts: &mut [First]) -> Result<(), ConnectorError> {
    // A run that was gone on with says so once more, in a file that bears its number in brackets.
    let of_run = |first: &First| (first.0.clone(), first.1, resumption(&first.2));
    firsts.sort_by_key(|first| (of_run(first), first.2.clone()));
    let twice = firsts.windows(2).find(|pair| of_run(&pair[0]) == of_run(&pair[1]));
    let Some([one, other]) = twice else { return Ok(()) };
    Err(ConnectorError::Unreadable {
        object: format!("{} and {}", one.2, other.2),
        reason: "both say that they are the first file of a backup: the folder holds files of two runs, and nothing says which \
                 of them a record is newest in. Put each run into a folder of its own and name them in order \
                 (asb:FIRST?then=SECOND)"
            .to_owned(),
    })
}

/// What of the runs that the files are of is in none of them, as far as it is asked for. Where a person named a file, those
/// that are named are what there is to be.
pub(super) fn what_is_not_there(inputs: &[Input], listed: &[Listed], part: &PartOptions) -> Vec<String> {
    if part.no_records || inputs.iter().any(|input| !input.is_listed) {
        return Vec::new();
    }
    gaps(listed, !(part.no_indexes && part.no_udfs))
}

impl Gathered {
    fn join(&mut self, other: Self) {
        for (name, (sorted, records, bytes)) in other.sorted {
            let own = self.sorted.entry(name).or_default();
            own.0.add(sorted);
            own.1 += records;
            own.2 += bytes;
        }
        self.missing.extend(other.missing);
        self.firsts.extend(other.firsts);
        self.listed.extend(other.listed);
        self.met.join(&other.met);
        self.no_bins += other.no_bins;
        self.monitors += other.monitors;
        self.expiry(other.earliest_expiry);
    }

    fn expiry(&mut self, millis: u64) {
        if millis != 0 && (self.earliest_expiry == 0 || millis < self.earliest_expiry) {
            self.earliest_expiry = millis;
        }
    }

    fn finish(&mut self, how: &How<'_>) -> Result<(), ConnectorError> {
        of_one_run(&mut self.firsts)?;
        self.missing.extend(what_is_not_there(how.inputs, &self.listed, how.part));
        self.globals.notes.extend(self.met.unmet(how.part));
        if self.no_bins > 0 {
            self.missing.push(format!(
                "{} records have no bins: they were written without them, and are not taken over",
                self.no_bins
            ));
        }
        if self.monitors > 0 {
            let words = format!("{} records are of transactions that were under way, and are left out", self.monitors);
            self.globals.notes.push(words);
        }
        if how.part.no_indexes {
            self.globals.namespaces.values_mut().for_each(|own| {
                own.indexes.clear();
                own.raw_indexes.clear();
            });
        }
        if how.part.no_udfs {
            self.globals.modules.clear();
        }
        Ok(())
    }
}

struct Worker<'a> {
    how: &'a How<'a>,
    threads: usize,
    spool: Arc<Spool>,
    sorters: HashMap<Vec<u8>, Sorter>,
    pending_bytes: usize,
    rows: RowMaker,
    record: Record,
    /// One record as it is sorted.
    body: Vec<u8>,
    gathered: Gathered,
}

impl<'a> Worker<'a> {
    fn new(how: &'a How<'a>, threads: usize) -> Result<Self, ConnectorError> {
        let spool = Spool::new(how.temp_dir).map_err(|source| ConnectorError::Io {
            operation: "make a temporary file in",
            object: how.temp_dir.display().to_string(),
            source,
        })?;
        Ok(Self {
            how,
            threads,
            spool,
            sorters: HashMap::new(),
            pending_bytes: 0,
            rows: RowMaker::new(how.part),
            record: Record::default(),
            body: Vec::new(),
            gathered: Gathered::default(),
        })
    }

    fn failed(&self, source: std::io::Error) -> ConnectorError {
        ConnectorError::Io { operation: "sort in", object: self.how.temp_dir.display().to_string(), source }
    }

    /// Takes one file's records; gives what is beside them.
    fn file(&mut self, at: usize) -> Result<Globals, ConnectorError> {
        let input = &self.how.inputs[at];
        let mut file = AsbFile::open(input, self.how.cipher, self.how.salvage)?;
        if file.is_first {
            self.gathered.firsts.push((file.namespace.clone(), input.place, file.origin.clone()));
        }
        let namespace = file.namespace.clone();
        self.gathered.listed.extend(input.listed(&namespace, file.is_first));
        self.namespace(&namespace, &file)?;
        loop {
            let line = file.line();
            if !file.next(&mut self.record)? {
                break;
            }
            let number = (at as u64) << LINE_BITS | line.min((1 << LINE_BITS) - 1);
            self.take(number, &mut file)?;
        }
        self.gathered.missing.append(&mut file.missing);
        Ok(file.globals)
    }

    fn namespace(&mut self, name: &[u8], file: &AsbFile) -> Result<(), ConnectorError> {
        if self.sorters.contains_key(name) {
            return Ok(());
        }
        let wrong =
            |reason: &str| Err(ConnectorError::Unreadable { object: file.origin.clone(), reason: reason.to_owned() });
        if name.is_empty() {
            return wrong(NO_NAMESPACE);
        }
        if std::str::from_utf8(name).is_err() {
            return wrong("the name of its namespace is no text");
        }
        if self.sorters.len() == MAX_NAMESPACES {
            return wrong("there are more than 64 namespaces");
        }
        self.sorters.insert(name.to_vec(), Sorter::new(Arc::clone(&self.spool)));
        Ok(())
    }

    fn take(&mut self, number: u64, file: &mut AsbFile) -> Result<(), ConnectorError> {
        if !self.sorters.contains_key(self.record.namespace()) {
            let name = self.record.namespace().to_vec();
            self.namespace(&name, file)?;
        }
        let row = match self.rows.make(&mut self.record) {
            Made::Row(row) => row,
            Made::Unwanted => return Ok(()),
            Made::Monitor => {
                self.gathered.monitors += 1;
                return Ok(());
            }
            Made::NoBins => {
                self.gathered.no_bins += 1;
                return Ok(());
            }
            Made::Twice(bin) => {
                let words = format!(
                    "{}: the record before line {} has two bins `{}`",
                    file.origin,
                    file.line(),
                    bin.escape_ascii()
                );
                file.lose(words);
                return Ok(());
            }
        };
        if !file.globals.namespaces.contains_key(row.namespace) {
            file.globals.namespaces.insert(row.namespace.to_vec(), Namespace::default());
        }
        if let Some(own) = file.globals.namespaces.get_mut(row.namespace) {
            Globals::set(&mut own.sets, row.meta.set);
        }
        self.gathered.expiry(row.meta.expiry.as_millis());
        let Some(sorter) = self.sorters.get_mut(row.namespace) else { return Ok(()) };
        self.body.clear();
        // One long record must not keep its memory.
        self.body.shrink_to(KEPT_BYTES);
        put_named(&mut self.body, &row.meta, row.names, row.value);
        self.pending_bytes += sorter.push(&row.key, number, &self.body);
        if must_spill_of(self.pending_bytes, self.threads) {
            self.pending_bytes = 0;
            let spilled = self.sorters.values_mut().try_for_each(Sorter::spill);
            spilled.map_err(|source| self.failed(source))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Gathered, ConnectorError> {
        for (name, sorter) in std::mem::take(&mut self.sorters) {
            let (records, bytes) = (sorter.records, sorter.bytes);
            let sorted = sorter.finish().map_err(|source| self.failed(source))?;
            self.gathered.sorted.insert(name, (sorted, records, bytes));
        }
        self.gathered.met = self.rows.met().clone();
        Ok(self.gathered)
    }
}

/// A record's key as a person types it.
pub fn show_key(key: &[u8]) -> String {
    KeyCodec::Digest.show(key)
}
