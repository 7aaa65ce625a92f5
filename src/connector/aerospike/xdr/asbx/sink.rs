//! A folder of ASBX files, written from versions: one worker, numbers from 1, another file behind so many bytes. The files count
//! once the listing beside them says that they are whole.

use super::{
    MAX_PAYLOAD, NAMESPACE_BYTES, SUFFIX,
    listing::{self, ListedFile, Listing},
    place::AsbxPlace,
    put_change, put_head,
};
use crate::{
    connector::{
        ChangeSink, ConnectorError, Landed, SinkCollection, SinkEnd, VersionChange,
        aerospike::xdr::{Change, body_of},
        void_time::{VOID_TIME_EPOCH_SECONDS, void_time_of},
    },
    record::{Digest, Expiry, KeyCodec, Meta, Shape, Tag, VersionTime},
};
use std::{
    borrow::Cow,
    fs::{self, File},
    io::{BufWriter, Seek as _},
    sync::Arc,
};

/// Another file is begun behind so many bytes.
pub const FILE_LIMIT: u64 = 250 << 20;

/// Flags, and how many cells there are: servers compute them anew.
const NO_CELLS: [u8; 3] = [0; 3];

/// A folder being written.
pub struct AsbxSink {
    place: AsbxPlace,
    file_limit: u64,
    collections: Vec<SinkCollection>,
    open: Option<OpenFile>,
    done: Vec<ListedFile>,
    /// The last version that was written of the record at hand: its key, and the time under which it is found there.
    last: Option<(Vec<u8>, VersionTime)>,
    is_begun: bool,
    is_whole: bool,
}

struct OpenFile {
    out: BufWriter<File>,
    collection: usize,
    listed: ListedFile,
}

impl AsbxSink {
    /// A folder to be written; 0 bytes are no limit.
    #[must_use]
    pub const fn new(place: AsbxPlace, file_limit: Option<u64>) -> Self {
        let file_limit = match file_limit {
            Some(0) => u64::MAX,
            Some(limit) => limit,
            None => FILE_LIMIT,
        };
        Self {
            place,
            file_limit,
            collections: Vec::new(),
            open: None,
            done: Vec::new(),
            last: None,
            is_begun: false,
            is_whole: false,
        }
    }

    fn open_file(&mut self, collection: usize) -> Result<OpenFile, ConnectorError> {
        let number = self.done.len() as u64 + 1;
        let namespace = self.collections.get(collection).map(|found| found.name.as_str()).unwrap_or_default();
        let name = format!("0_{namespace}_{number}{SUFFIX}");
        let file = match &self.place {
            AsbxPlace::Here(path) => File::create_new(path.join(&name)),
            // It is sent when it is whole.
            AsbxPlace::There(_) => tempfile::tempfile(),
        };
        let file = file.map_err(self.place.failed("make", &name))?;
        let mut out = BufWriter::with_capacity(256 << 10, file);
        let listed = ListedFile { name, bytes: super::HEAD_BYTES as u64, changes: 0 };
        self.done.push(listed.clone());
        put_head(&mut out, number, namespace.as_bytes()).map_err(self.place.failed("write", &listed.name))?;
        Ok(OpenFile { out, collection, listed })
    }

    fn close_file(&mut self) -> Result<(), ConnectorError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let name = open.listed.name.clone();
        let file = open.out.into_inner().map_err(|error| self.place.failed("write", &name)(error.into_error()))?;
        if let Some(done) = self.done.last_mut() {
            *done = open.listed;
        }
        match &self.place {
            AsbxPlace::Here(_) => file.sync_all().map_err(self.place.failed("sync", &name)),
            AsbxPlace::There(_) => {
                let mut file = file;
                file.rewind().map_err(self.place.failed("read back", &name))?;
                self.place.put(&name, &mut file)
            }
        }
    }

    /// The time under which a version is written: its own, if no older version of its record has that or a later one there.
    fn place_in_time(&self, key: &[u8], own: VersionTime) -> VersionTime {
        let own = VersionTime { millis: own.millis.max(VOID_TIME_EPOCH_SECONDS * 1000), ..own };
        match &self.last {
            Some((last_key, last)) if last_key == key && own <= *last => {
                VersionTime { millis: last.millis + u64::from(own.order <= last.order), ..own }
            }
            _ => own,
        }
    }
}

/// A bin as it is sent: name, particle type, value.
type SentBin<'a> = (&'a [u8], u8, Cow<'a, [u8]>);

/// Bins as they are sent.
fn bins_of<'a>(shape: &'a Arc<Shape>, value: &'a [u8]) -> Result<Vec<SentBin<'a>>, String> {
    let mut bins = Vec::with_capacity(shape.len());
    for (name, cell) in shape.names().iter().zip(shape.cells(value)) {
        let cell = cell.map_err(|error| error.to_string())?;
        if name.len() > 255 {
            return Err("the name of a bin has more than 255 bytes".to_owned());
        }
        let bytes = match cell.tag {
            Tag::NULL => return Err("a bin has no value".to_owned()),
            Tag::JSON => Cow::Owned([&NO_CELLS, cell.bytes].concat()),
            _ => Cow::Borrowed(cell.bytes),
        };
        bins.push((name.as_slice(), cell.tag.0, bytes));
    }
    Ok(bins)
}

/// Seconds that a version lives from its time on, `None` for ever; and whether that is its expiry to the second.
fn left_of(expiry: Expiry, millis: u64) -> Result<(Option<u32>, bool), String> {
    let void_time = void_time_of(expiry).ok_or("its expiry is later than any server can say")?;
    if void_time == 0 {
        return Ok((None, true));
    }
    let over = VOID_TIME_EPOCH_SECONDS + u64::from(void_time);
    match over.checked_sub(millis / 1000) {
        None | Some(0) => Ok((Some(1), false)),
        Some(left) => match u32::try_from(left) {
            Ok(left) if left < u32::MAX => Ok((Some(left), true)),
            _ => Err("its expiry is later than any server can say".to_owned()),
        },
    }
}

impl ChangeSink for AsbxSink {
    fn begin(&mut self, collections: &[SinkCollection]) -> Result<(), ConnectorError> {
        let object = self.place.show();
        for found in collections {
            let mismatch = |reason: String| ConnectorError::Mismatch { object: object.clone(), reason };
            if found.codec != KeyCodec::Digest {
                return Err(mismatch(format!("{}: these files hold records of Aerospike only", found.name)));
            }
            let name = found.name.as_bytes();
            if name.is_empty() || name.len() > NAMESPACE_BYTES || name.iter().any(|byte| [0, b'/'].contains(byte)) {
                let most = NAMESPACE_BYTES;
                return Err(mismatch(format!(
                    "`{}` is no namespace that a file can name: at most {most} bytes",
                    found.name
                )));
            }
        }
        let standing = match &self.place {
            AsbxPlace::Here(path) => {
                fs::create_dir_all(path).map_err(self.place.failed("make", ""))?;
                self.place.list()?
            }
            AsbxPlace::There(_) => self.place.list()?,
        };
        if standing.iter().any(|found| found.name.ends_with(SUFFIX) || found.name == listing::NAME) {
            let reason = "there are backup files already: choose another place".to_owned();
            return Err(ConnectorError::Unwritable { object, reason });
        }
        self.is_begun = true;
        self.place.put(listing::NAME, &mut Listing::begun().bytes().as_slice())?;
        self.place.settle()?;
        self.collections = collections.to_vec();
        Ok(())
    }

    fn write(
        &mut self,
        collection: usize,
        key: &[u8],
        time: VersionTime,
        change: &VersionChange<'_>,
    ) -> Result<Landed, ConnectorError> {
        let lost = |reason: &str| Ok(Landed::Lost(reason.to_owned()));
        let Some(digest) = Digest::from_sort_key(key) else { return lost("its key is no digest") };
        if self.open.as_ref().is_some_and(|open| open.collection != collection) {
            self.close_file()?;
            self.last = None;
        }
        let is_deletion = matches!(change, VersionChange::Delete);
        let generation = match change {
            VersionChange::Put { meta, .. } => meta.generation,
            VersionChange::Delete => u32::try_from(time.order >> 1).unwrap_or(0) & 0xffff,
        };
        let order = u64::from(generation) * 2 + u64::from(is_deletion);
        let written = self.place_in_time(key, VersionTime { millis: time.millis, order });
        let namespace = self.collections.get(collection).map(|found| found.name.clone()).unwrap_or_default();
        let (mut is_exact, bins);
        let body = match change {
            VersionChange::Delete => {
                is_exact = true;
                body_of(namespace.as_bytes(), &digest, b"", None, written.millis, &Change::Delete { generation })
            }
            VersionChange::Put { meta: Meta { set, expiry, user_key, .. }, shape, value } => {
                let left;
                (left, is_exact) = match left_of(*expiry, written.millis) {
                    Ok(left) => left,
                    Err(reason) => return lost(&reason),
                };
                bins = match bins_of(shape, value) {
                    Ok(bins) => bins,
                    Err(reason) => return lost(&reason),
                };
                let bins: Vec<_> = bins.iter().map(|(name, tag, bytes)| (*name, *tag, bytes.as_ref())).collect();
                let put = Change::Put { generation, left, bins: &bins };
                body_of(namespace.as_bytes(), &digest, set, *user_key, written.millis, &put)
            }
        };
        is_exact &= written.millis == time.millis;
        let bytes = 26 + super::wire::FRAME_HEAD_BYTES as u64 + body.len() as u64;
        if bytes - 26 > MAX_PAYLOAD {
            return lost("it has more than 128 MiB");
        }
        if self.open.as_ref().is_some_and(|open| open.listed.changes > 0 && open.listed.bytes + bytes > self.file_limit)
        {
            self.close_file()?;
        }
        if self.open.is_none() {
            self.open = Some(self.open_file(collection)?);
        }
        let Some(open) = &mut self.open else { return lost("no file is open") };
        put_change(&mut open.out, &digest.0, &body).map_err(self.place.failed("write", &open.listed.name))?;
        open.listed.bytes += bytes;
        open.listed.changes += 1;
        self.last = Some((key.to_vec(), written));
        Ok(if is_exact { Landed::Whole } else { Landed::Moved })
    }

    fn finish(&mut self) -> Result<SinkEnd, ConnectorError> {
        self.close_file()?;
        // A namespace without a version has a file all the same, so that it is known.
        for collection in 0..self.collections.len() {
            let start = format!("0_{}_", self.collections[collection].name);
            let is_there = self.done.iter().any(|file| {
                let number = file.name.strip_prefix(&start).and_then(|rest| rest.strip_suffix(SUFFIX));
                number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
            });
            if !is_there {
                self.open = Some(self.open_file(collection)?);
                self.close_file()?;
            }
        }
        self.place.settle()?;
        self.place.put(listing::NAME, &mut Listing::of(self.done.clone()).bytes().as_slice())?;
        self.place.settle()?;
        self.is_whole = true;
        Ok(SinkEnd { files: self.done.len() as u64, bytes: self.done.iter().map(|file| file.bytes).sum() })
    }
}

impl Drop for AsbxSink {
    fn drop(&mut self) {
        if !self.is_begun || self.is_whole {
            return;
        }
        self.open = None;
        // What cannot be removed stays beside a listing that says that it is not whole.
        let removed = self.done.iter().try_for_each(|file| self.place.remove(&file.name));
        if removed.is_ok() {
            let _ = self.place.remove(listing::NAME);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        connector::{ChangeFeed as _, aerospike::xdr::asbx::AsbxFolder},
        record::ChangeBatch,
        repo::storage::{Named, ObjectTree, StorageOptions},
    };
    use std::path::Path;

    fn collection(name: &str) -> SinkCollection {
        SinkCollection { name: name.to_owned(), codec: KeyCodec::Digest }
    }

    /// 2026-01-01T00:00:00Z.
    const BEGIN: u64 = 1_767_225_600_000;

    /// A version: its record, time, generation, text (none for a deletion) and expiry.
    type Made<'a> = (u8, u64, u32, Option<&'a str>, Expiry);

    fn write(sink: &mut AsbxSink, at: usize, made: Made<'_>) -> Landed {
        let (record, millis, generation, text, expiry) = made;
        let key = Digest([record; 20]).sort_key();
        let time = VersionTime { millis, order: u64::from(generation) * 2 + u64::from(text.is_none()) };
        let shape = Arc::new(Shape::new(vec![b"g".to_vec(), b"t".to_vec()]));
        let mut value = Vec::new();
        let mut cells = crate::record::CellWriter::new(&mut value, 2);
        cells.cell(Tag::JSON, b"{}");
        cells.cell(Tag::STRING, text.unwrap_or_default().as_bytes());
        let meta = Meta { set: b"s", generation, expiry, user_key: Some(&[3, b'k']), ..Meta::default() };
        let put = VersionChange::Put { meta, shape: &shape, value: &value };
        sink.write(at, &key, time, if text.is_some() { &put } else { &VersionChange::Delete }).unwrap()
    }

    fn seconds(seconds: u64) -> Expiry {
        Expiry::from_millis(BEGIN + seconds * 1000)
    }

    /// What a folder gives: namespace, record, time, whether deleted, expiry, value.
    fn read(place: &AsbxPlace) -> Vec<(String, u8, u64, bool, Expiry, Vec<u8>)> {
        let mut folder = AsbxFolder::open(place.clone()).unwrap();
        let (mut found, mut batch) = (Vec::new(), ChangeBatch::default());
        while let Some(at) = folder.next(&mut batch, 1 << 20).unwrap() {
            for index in 0..batch.len() {
                let (row, time) = (batch.row(index), batch.time(index));
                let record = Digest::from_sort_key(row.key).unwrap().0[0];
                let name = folder.collections()[at].name.clone();
                found.push((name, record, time.time.millis, time.is_deletion, row.meta.expiry, row.value.to_vec()));
            }
            batch.clear();
        }
        assert_eq!(folder.lost().0, 0, "{:?}", folder.lost().1);
        found
    }

    fn places(dir: &Path) -> [AsbxPlace; 2] {
        let Named::Tree(tree) = ObjectTree::open("memory://", &StorageOptions::default()).unwrap() else { panic!() };
        [AsbxPlace::Here(dir.join("out")), AsbxPlace::There(tree)]
    }

    #[test]
    fn versions_come_back_from_here_and_from_afar_with_their_times_and_expiries() {
        let dir = tempfile::tempdir().unwrap();
        for place in places(dir.path()) {
            let mut sink = AsbxSink::new(place.clone(), Some(400));
            sink.begin(&[collection("one"), collection("other"), collection("empty")]).unwrap();
            let all: [(usize, Made<'_>); 6] = [
                (0, (1, BEGIN, 1, Some("first"), Expiry::NEVER)),
                (0, (1, BEGIN + 1, 2, Some("second"), seconds(60))),
                (0, (1, BEGIN + 2, 3, None, Expiry::NEVER)),
                (0, (2, BEGIN + 999, 1, Some("x"), seconds(2))),
                (0, (2, BEGIN + 1999, 2, Some("y"), seconds(1_000_000_000))),
                (1, (1, BEGIN, 1, Some("z"), Expiry::NEVER)),
            ];
            for (at, made) in all {
                assert_eq!(write(&mut sink, at, made), Landed::Whole, "{made:?}");
            }
            let end = sink.finish().unwrap();
            drop(sink);
            let found = read(&place);
            assert_eq!(found.len(), 6);
            for ((at, made), back) in all.iter().zip(&found) {
                let name = ["one", "other"][*at];
                let expiry = if made.3.is_some() { made.4 } else { Expiry::NEVER };
                assert_eq!(
                    (back.0.as_str(), back.1, back.2, back.3, back.4),
                    (name, made.0, made.1, made.3.is_none(), expiry)
                );
                assert!(made.3.is_none_or(|text| back.5.ends_with(text.as_bytes())));
            }
            let names: Vec<String> = place.list().unwrap().into_iter().map(|found| found.name).collect();
            assert_eq!(names.len() as u64, end.files + 1);
            assert!(end.files > 3 && names.contains(&"0_one_1.asbx".to_owned()), "{names:?}");
            let again = AsbxSink::new(place.clone(), None).begin(&[collection("one")]).unwrap_err();
            assert!(again.to_string().contains("already"), "{again}");
            assert_eq!(read(&place), found, "what was refused left it alone");
        }
    }

    #[test]
    fn the_order_of_versions_is_kept_where_their_times_contradict_it() {
        use Landed::{Moved, Whole};
        let dir = tempfile::tempdir().unwrap();
        let place = AsbxPlace::Here(dir.path().join("out"));
        let mut sink = AsbxSink::new(place.clone(), None);
        sink.begin(&[collection("one")]).unwrap();
        let never = Expiry::NEVER;
        let landed: Vec<Landed> = [
            (1, BEGIN, 9, Some("a"), never),
            (1, BEGIN, 2, Some("b"), never),
            (1, BEGIN, 1, None, never),
            (1, BEGIN + 1, 3, Some("c"), never),
            (2, 5, 1, Some("before 2010"), never),
            (3, BEGIN, 1, Some("dead when it was made"), seconds(0)),
        ]
        .into_iter()
        .map(|made| write(&mut sink, 0, made))
        .collect();
        assert_eq!(landed, [Whole, Moved, Moved, Moved, Moved, Moved]);
        sink.finish().unwrap();
        let found = read(&place);
        let of_first: Vec<_> = found.iter().filter(|it| it.1 == 1).map(|it| (it.2, it.3)).collect();
        assert_eq!(of_first, [(BEGIN, false), (BEGIN + 1, false), (BEGIN + 2, true), (BEGIN + 2, false)]);
    }

    #[test]
    fn what_cannot_be_carried_is_named_and_what_was_not_finished_is_never_taken_for_whole() {
        let dir = tempfile::tempdir().unwrap();
        for place in places(dir.path()) {
            let mut sink = AsbxSink::new(place.clone(), None);
            assert!(sink.begin(&[collection(&"n".repeat(32))]).is_err());
            assert!(sink.begin(&[collection("a/b")]).is_err());
            assert!(sink.begin(&[SinkCollection { codec: KeyCodec::Path, ..collection("a") }]).is_err());
            sink.begin(&[collection("one")]).unwrap();
            let late = Expiry::from_millis(u64::MAX - 1);
            assert!(matches!(write(&mut sink, 0, (1, BEGIN, 1, Some("x"), late)), Landed::Lost(_)));
            write(&mut sink, 0, (1, BEGIN, 1, Some("x"), Expiry::NEVER));
            let error = AsbxFolder::open(place.clone()).map(drop).unwrap_err();
            assert!(error.to_string().contains("not finished"), "{error}");
            drop(sink);
            assert!(place.list().unwrap().is_empty(), "what was given up is gone");
            let mut sink = AsbxSink::new(place.clone(), None);
            sink.begin(&[collection("one")]).unwrap();
            write(&mut sink, 0, (1, BEGIN, 1, Some("x"), Expiry::NEVER));
            sink.finish().unwrap();
            place.remove("0_one_1.asbx").unwrap();
            let error = AsbxFolder::open(place.clone()).map(drop).unwrap_err();
            assert!(error.to_string().contains("0_one_1.asbx"), "{error}");
        }
    }
}
