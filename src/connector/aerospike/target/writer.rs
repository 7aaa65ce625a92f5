//! One namespace being written: records become rows, rows are gathered by node, full groups are handed over.

use super::{
    SharedRestore,
    clocks::ttl,
    pool::Pool,
    rows::{self, Group, WriteHead},
    shared::{PoolOptions, Retries},
    verdict::Work,
};
use crate::{
    connector::{
        CollectionTarget, ConnectorError, MetaStream, Outcomes, Overwrite, Removal, Standing,
        aerospike::{
            account::{Account, in_words},
            cluster::{Node, PartitionMap},
            decode::void_time_of,
            patience::Patience,
            query::Mode,
            scan::ScanContext,
            select::{Selection, updated_before},
            stream::{NamespaceStream, SweepStream},
            wire::field,
        },
    },
    record::{
        BatchRow, Digest, Expiry, KeyCodec, KeyRange, RecordBatch, RecordStream, StreamedValue, Tag, digest::PARTITIONS,
    },
    report::Remedy,
};
use std::{
    borrow::Cow,
    io::{self, Read as _},
    sync::{Arc, PoisonError},
    time::Duration,
};

/// A group is handed over once it holds this much.
const GROUP_BYTES: usize = 1024 * 1024;

/// What all groups being gathered hold together at most.
const GATHERED_BYTES: usize = 16 * 1024 * 1024;

/// The longest record that is tried: more than any server takes.
const MAX_RECORD_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes of a window that is read to compare.
const WINDOW_BYTES: usize = 12 * 1024 * 1024;

/// GeoJSON without flags and cells.
const NO_CELLS: [u8; 3] = [0; 3];

/// Where the rows of one node gather.
struct Gathering {
    node: Option<Arc<Node>>,
    group: Group,
}

/// Writes one namespace.
pub(super) struct NamespaceWriter {
    restore: Arc<SharedRestore>,
    namespace: String,
    source_name: String,
    selection: Selection,
    bins: Vec<Vec<u8>>,
    pool: Pool,
    account: Arc<Account>,
    map: Arc<PartitionMap>,
    gatherings: Vec<Gathering>,
    /// By partition, which gathering takes its rows.
    slots: Vec<usize>,
    gathered_bytes: usize,
    work: Work,
    info3: u8,
    /// Rows left alone for what stands there, which may be what was sent before without an answer.
    unsure: u64,
    /// The filter of deletions.
    unchanged: Vec<u8>,
    /// Records written, and records left out.
    written: u64,
    left_out: u64,
}

/// Why a record is no row.
enum No {
    Skipped,
    Unmappable,
    Failed(String),
}

impl NamespaceWriter {
    pub(super) fn new(
        restore: &Arc<SharedRestore>,
        namespace: &str,
        source_name: &str,
    ) -> Result<Self, ConnectorError> {
        let options = &restore.options;
        // What is compared is compared whole.
        let selection = restore.part.selection(options).map_err(|error| restore.unwritable(&error.to_string()))?;
        let (info2, info3) = match restore.overwrite {
            Overwrite::Always | Overwrite::IfChanged => (rows::WRITE, rows::REPLACE),
            Overwrite::Never => (rows::WRITE | rows::CREATE_ONLY, 0),
            Overwrite::IfNewer => (rows::WRITE | rows::OVER_GENERATION, rows::REPLACE),
            Overwrite::Merge => (rows::WRITE, 0),
            Overwrite::MergeIfNewer => (rows::WRITE | rows::OVER_GENERATION, 0),
        };
        let pool = Pool::start(PoolOptions {
            cluster: Arc::clone(&restore.cluster),
            namespace: namespace.to_owned(),
            clocks: Arc::clone(&restore.clocks),
            threads: restore.how.max_async_batches,
            singly: restore.how.disable_batch_writes,
            timeout: options.socket_timeout,
            patience: options.partition_timeout.max(Duration::from_millis(1)),
            ignore_record_error: restore.how.ignore_record_error,
            retries: Retries::of(&restore.how),
            waits: Arc::clone(&restore.waits),
            stop: Arc::clone(&restore.stop),
        });
        Ok(Self {
            namespace: namespace.to_owned(),
            source_name: source_name.to_owned(),
            selection,
            bins: options.bins.iter().map(|bin| bin.as_bytes().to_vec()).collect(),
            pool,
            account: Arc::default(),
            map: Arc::default(),
            gatherings: Vec::new(),
            slots: Vec::new(),
            gathered_bytes: 0,
            work: Work::Write(info2),
            info3,
            unsure: 0,
            unchanged: restore.since.map(updated_before).unwrap_or_default(),
            restore: Arc::clone(restore),
            written: 0,
            left_out: 0,
        })
    }

    fn failed(&self, why: &str) -> ConnectorError {
        let stays = format!("namespace {}: {why}; what is written stays", self.namespace);
        if self.restore.how.set_map.is_empty() {
            self.restore.unwritable(&format!("{stays}, and the same command goes on"))
        } else {
            self.restore.unwritable(&stays).with([Remedy::OverwriteAll])
        }
    }

    /// Looks where the partitions are now.
    fn route(&mut self) {
        let map = self.pool.shared.map();
        if Arc::ptr_eq(&map, &self.map) && !self.slots.is_empty() {
            return;
        }
        let Self { gatherings, slots, .. } = self;
        *slots = (0..PARTITIONS)
            .map(|pid| {
                let owner = map.owner(pid);
                let same = |gathering: &Gathering| match (&gathering.node, owner) {
                    (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                    (None, None) => true,
                    _ => false,
                };
                gatherings.iter().position(same).unwrap_or_else(|| {
                    gatherings.push(Gathering { node: owner.cloned(), group: Group::default() });
                    gatherings.len() - 1
                })
            })
            .collect();
        self.map = map;
    }

    /// Adds the record of a row to its node's group, and hands that over when it is full.
    fn add(
        &mut self,
        row: &BatchRow<'_>,
        stream: Option<Box<dyn StreamedValue>>,
    ) -> Result<Result<(), No>, ConnectorError> {
        let (digest, set, void_time) = match self.place(row) {
            Ok(found) => found,
            Err(no) => {
                drain(stream);
                return Ok(Err(no));
            }
        };
        let value = match whole_value(row, stream) {
            Ok(value) => value,
            Err(why) => return Ok(Err(No::Failed(why))),
        };
        let Work::Write(info2) = self.work else { return Ok(Err(No::Skipped)) };
        let generation = if info2 & rows::OVER_GENERATION == 0 { 0 } else { row.meta.generation as u16 };
        let head = WriteHead { digest, info2, info3: self.info3, generation, void_time };
        let slot = self.slots[usize::from(digest.partition())];
        let group = &mut self.gatherings[slot].group;
        let before = group.bytes();
        group.begin(&head, self.namespace.as_bytes(), &set);
        if let Some(key) = row.meta.user_key {
            group.field(field::KEY, key);
        }
        if let Err(no) = put_bins(group, row, &value, &self.bins) {
            group.discard();
            return Ok(Err(no));
        }
        group.end();
        self.gathered_bytes += group.bytes() - before;
        self.hand_over_if_full(slot)?;
        Ok(Ok(()))
    }

    /// Digest, set and void-time of a record in this namespace.
    fn place<'r>(&self, row: &BatchRow<'r>) -> Result<(Digest, Cow<'r, [u8]>, u32), No> {
        let wrong = || No::Failed("its key is no digest".to_owned());
        let digest = Digest::from_sort_key(row.key).ok_or_else(wrong)?;
        let sets = &self.restore.options.sets;
        let set = row.meta.set;
        if !sets.is_empty() && !sets.iter().any(|wanted| wanted.as_bytes() == set)
            || !self.selection.ranges.iter().any(|range| range.contains(row.key))
        {
            return Err(No::Skipped);
        }
        let void_time = self.void_time(row.meta.expiry).map_err(No::Failed)?;
        let Some((_, new)) = self.restore.how.set_map.iter().find(|(old, _)| old.as_bytes() == set) else {
            return Ok((digest, Cow::Borrowed(set), void_time));
        };
        let Some((kind, key)) = row.meta.user_key.and_then(<[u8]>::split_first) else { return Err(No::Unmappable) };
        Ok((Digest::of(new.as_bytes(), *kind, key), Cow::Owned(new.as_bytes().to_vec()), void_time))
    }

    fn void_time(&self, expiry: Expiry) -> Result<u32, String> {
        if expiry == Expiry::NEVER {
            return Ok(0);
        }
        let later = expiry.as_millis().saturating_add(self.restore.how.extra_ttl.as_secs().saturating_mul(1000));
        void_time_of(Expiry::from_millis(later)).ok_or_else(|| "its expiry is later than a server can say".to_owned())
    }

    fn hand_over_if_full(&mut self, slot: usize) -> Result<(), ConnectorError> {
        let group = &self.gatherings[slot].group;
        // Where there is a limit, what is sent at once is a tenth of a second's.
        let most = match self.restore.how.records_per_second as usize {
            0 => usize::MAX,
            limit => (limit / 10).max(1),
        };
        if group.len() >= self.restore.how.batch_size.max(1).min(most) || group.bytes() >= GROUP_BYTES {
            self.hand_over(slot)?;
        }
        if self.gathered_bytes > GATHERED_BYTES {
            self.hand_over_all()?;
        }
        Ok(())
    }

    fn hand_over(&mut self, slot: usize) -> Result<(), ConnectorError> {
        let group = std::mem::take(&mut self.gatherings[slot].group);
        if group.is_empty() {
            return Ok(());
        }
        self.gathered_bytes -= group.bytes();
        self.pool.shared.sleep(self.restore.pace.due(group.len()));
        self.pool.submit(group, self.work).map_err(|why| self.failed(&why))
    }

    fn hand_over_all(&mut self) -> Result<(), ConnectorError> {
        (0..self.gatherings.len()).try_for_each(|slot| self.hand_over(slot))
    }

    fn context(&self) -> ScanContext {
        ScanContext {
            cluster: Arc::clone(&self.restore.cluster),
            namespace: self.namespace.clone(),
            collection: 0,
            selection: Arc::new(self.selection.clone()),
            options: Arc::clone(&self.restore.options),
            account: Arc::clone(&self.account),
            window_bytes: WINDOW_BYTES,
            pace: Arc::default(),
            patience: Arc::new(Patience::new(self.restore.options.partition_timeout)),
            remaining: None,
            partition_records: 0,
            stop: Arc::default(),
        }
    }

    /// Takes over what became of records so far.
    fn report(&mut self, outcomes: &mut Outcomes) {
        let mut new = Outcomes::default();
        self.unsure += self.pool.report(&mut new);
        self.written += new.inserted + new.replaced;
        self.left_out += new.existed + new.fresher + new.expired + new.failed + new.ignored;
        outcomes.add(new);
    }

    fn count(&mut self, row: &BatchRow<'_>, no: No, outcomes: &mut Outcomes) {
        self.left_out += 1;
        match no {
            No::Skipped => outcomes.skipped += 1,
            No::Unmappable => {
                outcomes.unmappable += 1;
                let why = format!("its set gets another name, and no user key of {} is stored", self.source_name);
                outcomes.name(|| KeyCodec::Digest.show(row.key), why);
            }
            No::Failed(why) => {
                let digest = Digest::from_sort_key(row.key).unwrap_or(Digest([0; 20]));
                self.pool.shared.fail(outcomes, &digest, why);
            }
        }
    }
}

/// Reads a stream that is not wanted to its end.
fn drain(stream: Option<Box<dyn StreamedValue>>) {
    if let Some(mut stream) = stream
        && let Ok(mut reader) = stream.open()
    {
        // The record is not written: an error says no more than that.
        let _ = io::copy(&mut reader, &mut io::sink());
    }
}

/// A record's value in one piece.
fn whole_value<'r>(row: &BatchRow<'r>, stream: Option<Box<dyn StreamedValue>>) -> Result<Cow<'r, [u8]>, String> {
    let Some(mut stream) = stream else { return Ok(Cow::Borrowed(row.value)) };
    let mut value = row.value.to_vec();
    let mut reader = stream.open().map_err(|error| error.to_string())?;
    let room = MAX_RECORD_BYTES.saturating_sub(value.len() as u64);
    reader.by_ref().take(room).read_to_end(&mut value).map_err(|error| error.to_string())?;
    let beyond = io::copy(&mut reader, &mut io::sink()).map_err(|error| error.to_string())?;
    if beyond > 0 {
        return Err(format!("it has {} bytes, more than any server takes", value.len() as u64 + beyond));
    }
    Ok(Cow::Owned(value))
}

/// Adds the operations that write a value's bins.
fn put_bins(group: &mut Group, row: &BatchRow<'_>, value: &[u8], wanted: &[Vec<u8>]) -> Result<(), No> {
    let mut written = 0;
    for (name, cell) in row.shape.names().iter().zip(row.shape.cells(value)) {
        let cell = cell.map_err(|error| No::Failed(error.to_string()))?;
        if !wanted.is_empty() && !wanted.contains(name) {
            continue;
        }
        if name.len() > 255 {
            return Err(No::Failed("a bin's name has more than 255 bytes".to_owned()));
        }
        match cell.tag {
            // It would remove the bin.
            Tag::NULL => continue,
            Tag::JSON => group.bin(name, Tag::JSON.0, &NO_CELLS, cell.bytes),
            Tag(particle) => group.bin(name, particle, &[], cell.bytes),
        }
        written += 1;
    }
    if written == 0 { Err(No::Skipped) } else { Ok(()) }
}

impl CollectionTarget for NamespaceWriter {
    fn existing(&mut self, range: &KeyRange) -> Result<Option<Box<dyn RecordStream + Send + '_>>, ConnectorError> {
        Ok(Some(Box::new(NamespaceStream::open(&self.context(), range, Mode::Full))))
    }

    fn write(&mut self, batch: &mut RecordBatch, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        self.route();
        for index in 0..batch.len() {
            let stream = batch.row(index).stream.and_then(|number| batch.take_stream(number));
            let row = batch.row(index);
            if let Err(no) = self.add(&row, stream)? {
                self.count(&row, no, outcomes);
            }
        }
        self.report(outcomes);
        Ok(())
    }

    fn drain(&mut self, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        self.hand_over_all()?;
        let waited = self.pool.wait();
        self.report(outcomes);
        waited.map_err(|why| self.failed(&why))?;
        let unsure = std::mem::take(&mut self.unsure);
        if unsure > 0 {
            outcomes.notes.push(format!(
                "namespace {}: {unsure} of the records left alone were sent before without an answer, and may be this \
                 restore's own",
                self.namespace
            ));
        }
        if self.restore.make_equal {
            let lacks = self.account.of(0);
            self.restore.missing(in_words(&self.namespace, "could not be compared", &lacks.missing));
            self.restore.missing(in_words(&self.namespace, "may not have been compared whole", &lacks.doubtful));
        }
        Ok(())
    }

    fn lost(&mut self) -> Result<Vec<KeyRange>, ConnectorError> {
        let lost = self.restore.lost().map_err(|error| self.failed(&error.to_string()))?;
        let ranges = self.pool.shared.acknowledged.forget(&lost);
        if !ranges.is_empty() {
            let partitions = ranges.len();
            self.restore.missing(vec![format!(
                "namespace {}: {} while it was written: what had been acknowledged for {partitions} partitions was written \
                 again, and what else stood in them may be gone",
                self.namespace,
                lost.in_words(),
            )]);
        }
        Ok(ranges)
    }

    fn remove(&mut self, rows: &[Removal], outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        self.hand_over_all()?;
        self.route();
        let writes = std::mem::replace(&mut self.work, Work::Delete);
        for Removal { key, generation } in rows {
            let Some(digest) = Digest::from_sort_key(key) else {
                return Err(self.failed("a key to remove is no digest"));
            };
            // Without a generation the filter alone has to do.
            let at = if *generation == 0 { 0 } else { rows::AT_GENERATION };
            let durable = if self.restore.how.durable_delete { rows::DURABLE } else { 0 };
            let info2 = rows::WRITE | rows::DELETE | at | durable;
            let head = WriteHead { digest, info2, info3: 0, generation: *generation as u16, void_time: 0 };
            let slot = self.slots[usize::from(digest.partition())];
            let group = &mut self.gatherings[slot].group;
            let before = group.bytes();
            group.begin(&head, self.namespace.as_bytes(), &[]);
            if !self.unchanged.is_empty() {
                group.field(field::FILTER, &self.unchanged);
            }
            group.end();
            self.gathered_bytes += group.bytes() - before;
            self.hand_over_if_full(slot)?;
        }
        self.hand_over_all()?;
        self.work = writes;
        self.drain(outcomes)
    }

    fn standing(&self) -> Option<&dyn Standing> {
        Some(self)
    }

    fn finish(mut self: Box<Self>) -> Result<(), ConnectorError> {
        let mut left = Outcomes::default();
        self.drain(&mut left)?;
        if let Some((key, why)) = left.failures.first() {
            return Err(self.failed(&format!("{key}: {why}")));
        }
        if self.written > 0 && self.left_out == 0 {
            let mut whole = self.restore.whole.lock().unwrap_or_else(PoisonError::into_inner);
            whole.insert(self.namespace.clone());
        }
        Ok(())
    }
}

impl Standing for NamespaceWriter {
    fn keys(&self, range: &KeyRange) -> Result<Box<dyn MetaStream + '_>, ConnectorError> {
        Ok(Box::new(SweepStream::open(&self.context(), range, None)))
    }

    fn is_over(&self, key: &[u8], expiry: Expiry) -> bool {
        let map = self.pool.shared.map();
        let owner = Digest::from_sort_key(key).and_then(|digest| map.owner(digest.partition()));
        let now = self.restore.clocks.second(owner.map_or("", |node| node.id.as_str()));
        self.void_time(expiry).is_ok_and(|until| ttl(until, now).is_none())
    }
}
