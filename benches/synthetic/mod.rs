//! A repository of many chunks whose packs of values and keys exist by name and length alone.

use crate::common::Outcome;
use rekeep::{
    record::{
        Fingerprinter, KeyCodec, SystemClock, Timestamp,
        bytes::{put_slice, put_u64},
    },
    repo::{
        Backend, ChunkId, ChunkKind, ChunkPlain, InitOptions, Manifest, ObjectName, OpenOptions, RepoError, Repository,
        SnapshotId, Storage, Unlock,
        carried::Carried,
        ids::PackKind,
        index::{self, IndexedPack},
        keys::{self, KdfParams, Keyring, Party, Signer},
        manifest::{Collection, Content, Coverage, Kind, LayerRef, SourceId, Stats},
        object::{self, ObjectKind},
        pack::{self, PackBuilder, PackEntry, TARGET_PACK_BYTES},
        storage::{Created, Listed, Promises},
    },
};
use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

pub const PASSWORD: &str = "benchmark";

/// Sources that are backed up in turn.
const SOURCES: u64 = 10;
/// A source's backups from one new base to the next, the base included.
const STACK: u64 = 25;
/// Stored bytes of a values chunk and of a keys chunk.
const VALUES_BYTES: u32 = 260 * 1024;
const KEYS_BYTES: u32 = 30 * 1024;
/// Blocks that one list names.
const LISTED: usize = 1_000;
/// Packs that one index object describes.
const INDEXED: usize = 64;
const BLOCK_ROWS: u64 = 600;
const HOUR: i64 = 3_600_000;

/// How much is made.
pub struct Shape {
    pub chunks: u64,
    pub snapshots: u64,
}

/// A folder, beside which there are packs of which only names and lengths are kept, in a file of 40 bytes each.
pub struct Shallow {
    folder: Storage,
    file: PathBuf,
    packs: Mutex<BTreeMap<[u8; 32], u64>>,
}

impl Shallow {
    pub fn open(folder: Storage, file: PathBuf) -> Outcome<Self> {
        let mut packs = BTreeMap::new();
        for record in fs::read(&file)?.chunks_exact(40) {
            let (name, bytes) = record.split_at(32);
            packs.insert(name.try_into()?, u64::from_le_bytes(bytes.try_into()?));
        }
        Ok(Self { folder, file, packs: Mutex::new(packs) })
    }

    fn fake(&self, name: &str) -> Option<u64> {
        let name: ObjectName = name.rsplit('/').next()?.parse().ok()?;
        self.packs.lock().unwrap_or_else(PoisonError::into_inner).get(&name.0).copied()
    }
}

fn io(error: RepoError) -> io::Error {
    match error {
        RepoError::Missing { .. } => io::ErrorKind::NotFound.into(),
        RepoError::Storage { source, .. } => source,
        other => io::Error::other(other.to_string()),
    }
}

impl Backend for Shallow {
    fn list(&self, prefix: &str) -> io::Result<Vec<Listed>> {
        let mut listed = self.folder.list(prefix).map_err(io)?;
        if prefix == "packs/" {
            let packs = self.packs.lock().unwrap_or_else(PoisonError::into_inner);
            listed.extend(packs.iter().map(|(name, &bytes)| Listed { name: pack::path(&ObjectName(*name)), bytes }));
        }
        Ok(listed)
    }

    fn read(&self, name: &str, range: Option<Range<u64>>) -> io::Result<Vec<u8>> {
        if self.fake(name).is_some() {
            return Err(io::Error::other(format!("{name} has no bytes here")));
        }
        let read = match range {
            None => self.folder.read(name),
            Some(range) => self.folder.read_range(name, range),
        };
        read.map_err(io)
    }

    fn create(&self, name: &str, bytes: &bytes::Bytes) -> io::Result<Created> {
        self.folder.create(name, bytes).map_err(io)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        if self.fake(name).is_none() {
            return self.folder.delete(name).map_err(io);
        }
        let name: ObjectName = name.rsplit('/').next().unwrap_or_default().parse().map_err(io::Error::other)?;
        self.packs.lock().unwrap_or_else(PoisonError::into_inner).remove(&name.0);
        Ok(())
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        match self.fake(name) {
            Some(bytes) => Ok(bytes),
            None => self.folder.len(name).map_err(io)?.ok_or_else(|| io::ErrorKind::NotFound.into()),
        }
    }

    fn promises(&self) -> Promises {
        Promises { conditional_create: true, prompt_listing: true }
    }
}

impl Drop for Shallow {
    /// What was deleted stays deleted for the next process.
    fn drop(&mut self) {
        let packs = self.packs.lock().unwrap_or_else(PoisonError::into_inner);
        let records = packs.iter().flat_map(|(name, bytes)| name.iter().copied().chain(bytes.to_le_bytes()));
        // Without it the next phase finds packs that no index object names: it would say so.
        let _ = fs::write(&self.file, records.collect::<Vec<u8>>());
    }
}

/// Where the first frame of a pack begins.
const HEADER_BYTES: u64 = pack::HEADER_BYTES as u64 + 72;

/// A pack that is filled.
struct Open {
    kind: PackKind,
    header: pack::PackHeader,
    entries: Vec<PackEntry>,
    end: u64,
}

struct Maker {
    folder: Storage,
    keyring: Arc<Keyring>,
    lease: SnapshotId,
    names: io::BufWriter<fs::File>,
    values: Open,
    keys: Open,
    lists: Option<PackBuilder>,
    unindexed: Vec<IndexedPack>,
    packs: u64,
    chunks: u64,
    index_bytes: u64,
}

/// Makes the repository; says in words what it holds.
pub fn make(folder: &Path, names: &Path, shape: &Shape) -> Outcome<String> {
    let folder = Storage::at(&folder.to_string_lossy())?;
    let init = InitOptions { kdf: KdfParams { memory_kib: 8, passes: 1, lanes: 1 }, label: "bench".to_owned() };
    let cache = tempfile::tempdir()?;
    let open =
        OpenOptions { cache_dir: cache.path().to_owned(), clock: Arc::new(SystemClock), host: "bench".to_owned() };
    let unlock = Unlock::Password(PASSWORD.to_owned());
    Repository::init(&folder, &unlock, None, &init, &open)?;
    let keyring = Arc::new(keys::open(&folder, &unlock)?);
    let lease = SnapshotId([7; 16]);
    let mut maker = Maker {
        values: Open::new(&keyring, PackKind::Data, lease)?,
        keys: Open::new(&keyring, PackKind::Metadata, lease)?,
        folder,
        keyring,
        lease,
        names: io::BufWriter::new(fs::File::create(names)?),
        lists: None,
        unindexed: Vec::new(),
        packs: 0,
        chunks: 0,
        index_bytes: 0,
    };
    maker.histories(shape)?;
    Ok(format!(
        "{} chunks in {} packs, {:.0} MiB of index objects, {} snapshots of {SOURCES} sources.",
        maker.chunks,
        maker.packs,
        maker.index_bytes as f64 / 1_048_576.0,
        shape.snapshots
    ))
}

/// Forgets the newest snapshots of two sources.
pub fn forget(repo: &Repository) -> Outcome<()> {
    for snapshot in repo.snapshots()?.iter().rev().take(2) {
        repo.forget(&snapshot.id)?;
    }
    Ok(())
}

impl Open {
    /// The header is that of a real pack: nobody opens the frames behind it.
    fn new(keyring: &Arc<Keyring>, kind: PackKind, lease: SnapshotId) -> Outcome<Self> {
        let mut builder = PackBuilder::new(Arc::clone(keyring), kind, lease)?;
        let chunk = if kind == PackKind::Data { ChunkKind::Values } else { ChunkKind::Keys };
        let plain = ChunkPlain::single(vec![1]);
        builder.add(plain.id(&keyring.secrets.chunk_id, chunk), chunk, &plain, 0, false)?;
        Ok(Self { kind, header: builder.finish()?.header, entries: Vec::new(), end: HEADER_BYTES })
    }
}

fn id(tag: u8, number: u64) -> ChunkId {
    let mut name = [tag; 9];
    name[1..].copy_from_slice(&number.to_le_bytes());
    ChunkId(*blake3::hash(&name).as_bytes())
}

impl Maker {
    /// Every source has a base, deltas on it, then a base that shares half of its blocks with the one before, and so on.
    fn histories(&mut self, shape: &Shape) -> Outcome<()> {
        let rounds = shape.snapshots.div_ceil(SOURCES);
        let bases = rounds.div_ceil(STACK);
        let blocks = shape.chunks / 2 / SOURCES;
        let base = (blocks * 8 / 10 * 2 / (bases + 1)).max(2);
        let delta = (blocks * 2 / 10 / (rounds - bases).max(1)).max(1);
        let mut stacks: Vec<Vec<LayerRef>> = vec![Vec::new(); SOURCES as usize];
        let mut old: Vec<Vec<u64>> = vec![Vec::new(); SOURCES as usize];
        let mut parents: Vec<Option<SnapshotId>> = vec![None; SOURCES as usize];
        let mut next = 0;
        for number in 0..shape.snapshots {
            let (round, source) = (number / SOURCES, (number % SOURCES) as usize);
            let is_base = round.is_multiple_of(STACK);
            let fresh = match (is_base, old[source].is_empty()) {
                (true, true) => base,
                (true, false) => base / 2,
                (false, _) => delta,
            };
            let mut layer: Vec<u64> = Vec::new();
            if is_base {
                stacks[source].clear();
                let kept = old[source].len() / 2;
                layer.extend_from_slice(&old[source][kept..]);
            }
            layer.extend(next..next + fresh);
            self.blocks(next..next + fresh)?;
            next += fresh;
            let layer_ref = self.layer(&layer)?;
            stacks[source].push(layer_ref);
            if is_base {
                old[source] = layer;
            }
            parents[source] = Some(self.snapshot(round, source, &stacks[source], parents[source])?);
        }
        self.close()
    }

    fn blocks(&mut self, numbers: Range<u64>) -> Outcome<()> {
        for number in numbers {
            self.put(PackKind::Metadata, id(b'k', number))?;
            self.put(PackKind::Data, id(b'v', number))?;
        }
        // The next layer begins a pack of its own, as another run does.
        self.end_pack(PackKind::Metadata)?;
        self.end_pack(PackKind::Data)
    }

    fn open(&mut self, kind: PackKind) -> &mut Open {
        if kind == PackKind::Data { &mut self.values } else { &mut self.keys }
    }

    fn put(&mut self, kind: PackKind, id: ChunkId) -> Outcome<()> {
        let (chunk, stored_len) = match kind {
            PackKind::Data => (ChunkKind::Values, VALUES_BYTES),
            PackKind::Metadata => (ChunkKind::Keys, KEYS_BYTES),
        };
        self.chunks += 1;
        let open = self.open(kind);
        open.entries.push(PackEntry { id, kind: chunk, offset: open.end, stored_len, plain_len: stored_len });
        open.end += u64::from(stored_len);
        if open.end >= TARGET_PACK_BYTES as u64 { self.end_pack(kind) } else { Ok(()) }
    }

    fn end_pack(&mut self, kind: PackKind) -> Outcome<()> {
        let (number, lease) = (self.packs, self.lease);
        let open = self.open(kind);
        if open.entries.is_empty() {
            return Ok(());
        }
        let entries = std::mem::take(&mut open.entries);
        let bytes = std::mem::replace(&mut open.end, HEADER_BYTES).next_multiple_of(65_536);
        let name = ObjectName(id(b'p', number).0);
        let pack = IndexedPack { name, bytes, kind: open.kind, lease, header: open.header.clone(), entries };
        self.names.write_all(&name.0)?;
        self.names.write_all(&bytes.to_le_bytes())?;
        self.describe(pack)
    }

    fn describe(&mut self, pack: IndexedPack) -> Outcome<()> {
        self.packs += 1;
        self.unindexed.push(pack);
        if self.unindexed.len() >= INDEXED { self.index() } else { Ok(()) }
    }

    fn index(&mut self) -> Outcome<()> {
        if self.unindexed.is_empty() {
            return Ok(());
        }
        let (name, bytes) = index::seal(&self.keyring, &std::mem::take(&mut self.unindexed))?;
        self.index_bytes += bytes.len() as u64;
        self.folder.create(&index::path(&name), &bytes)?;
        Ok(())
    }

    /// A list chunk (`format-spec/layers.md`): flags, key and totals of each entry, then its ids.
    fn list(&mut self, entries: &[(u64, u64, Vec<ChunkId>)], is_root: bool, flags: u8) -> Outcome<ChunkId> {
        let rows = entries.iter().map(|entry| entry.1 * BLOCK_ROWS).sum();
        let bytes = entries.iter().map(|entry| entry.1 * u64::from(VALUES_BYTES)).sum();
        let mut plain = ChunkPlain::default();
        plain.bytes.push(1);
        put_u64(&mut plain.bytes, entries.len() as u64);
        plain.bytes.push(u8::from(is_root));
        if is_root {
            put_slice(&mut plain.bytes, Fingerprinter::NAME.as_bytes());
            for number in [0, rows, bytes] {
                put_u64(&mut plain.bytes, number);
            }
        }
        plain.end_run();
        let mut before: &[u8] = &[];
        let keys: Vec<[u8; 8]> = entries.iter().map(|entry| entry.0.to_be_bytes()).collect();
        for ((_, blocks, _), key) in entries.iter().zip(&keys) {
            plain.bytes.push(flags);
            let shared = before.iter().zip(key).take_while(|(a, b)| a == b).count();
            put_u64(&mut plain.bytes, shared as u64);
            put_slice(&mut plain.bytes, &key[shared..]);
            before = key;
            for number in [blocks * BLOCK_ROWS, blocks * BLOCK_ROWS, blocks * u64::from(VALUES_BYTES)] {
                put_u64(&mut plain.bytes, number);
            }
        }
        plain.end_run();
        for id in entries.iter().flat_map(|entry| &entry.2) {
            plain.bytes.extend_from_slice(&id.0);
        }
        plain.end_run();
        let id = plain.id(&self.keyring.secrets.chunk_id, ChunkKind::List);
        let mut builder = match self.lists.take() {
            Some(builder) => builder,
            None => PackBuilder::new(Arc::clone(&self.keyring), PackKind::Metadata, self.lease)?,
        };
        builder.add(id, ChunkKind::List, &plain, 0, false)?;
        self.chunks += 1;
        let is_full = builder.len() >= TARGET_PACK_BYTES;
        self.lists = Some(builder);
        if is_full {
            self.end_lists()?;
        }
        Ok(id)
    }

    fn end_lists(&mut self) -> Outcome<()> {
        let Some(builder) = self.lists.take() else { return Ok(()) };
        let sealed = builder.finish()?;
        self.folder.create(&pack::path(&sealed.name), &sealed.bytes)?;
        self.describe(IndexedPack {
            name: sealed.name,
            bytes: sealed.bytes.len() as u64,
            kind: sealed.kind,
            lease: sealed.lease,
            header: sealed.header,
            entries: sealed.entries,
        })
    }

    /// Lists over blocks and a root over the lists.
    fn layer(&mut self, blocks: &[u64]) -> Outcome<LayerRef> {
        let mut lists = Vec::new();
        for (at, part) in blocks.chunks(LISTED).enumerate() {
            let key = |n: usize| (at * LISTED + n) as u64;
            let entries: Vec<_> = part
                .iter()
                .enumerate()
                .map(|(n, &block)| (key(n), 1, vec![id(b'k', block), id(b'v', block)]))
                .collect();
            let list = self.list(&entries, false, 2)?;
            lists.push((key(0), part.len() as u64, vec![list]));
        }
        let id = self.list(&lists, true, 1)?;
        let count = blocks.len() as u64;
        Ok(LayerRef::new(id, count * BLOCK_ROWS, count * u64::from(VALUES_BYTES)))
    }

    fn snapshot(
        &self,
        round: u64,
        source: usize,
        stack: &[LayerRef],
        parent: Option<SnapshotId>,
    ) -> Outcome<SnapshotId> {
        let lease = self.keyring.lease_key(Party::Writer)?;
        let id = lease.lease();
        let end = Timestamp::from_millis(1_700_000_000_000 + round as i64 * HOUR);
        let name = format!("source {source}");
        let records = stack.first().map_or(0, |base| base.rows);
        let manifest = Manifest::first(
            id,
            Content {
                start: end,
                end,
                order: 0,
                source: SourceId {
                    connector: "bench".to_owned(),
                    name: name.clone(),
                    host: "bench".to_owned(),
                    url: name.clone(),
                    other: Carried::default(),
                },
                scope: String::new(),
                scope_note: String::new(),
                asked: rekeep::repo::manifest::Asked::default(),
                loss_accepted: false,
                kind: if stack.len() == 1 { Kind::Full } else { Kind::Incremental },
                parent,
                complete: true,
                problems: Vec::new(),
                attributes: serde_json::Value::Null,
                stats: Stats::default(),
                program: "bench".to_owned(),
                copy_of: None,
                other: Carried::default(),
            },
            vec![Collection {
                name,
                codec: KeyCodec::Int,
                records,
                bytes: records * 430,
                coverage: vec![Coverage {
                    from: String::new(),
                    to: None,
                    start: end,
                    end,
                    complete: true,
                    sum: "0".repeat(64),
                    records,
                    deletions: Vec::new(),
                    deletions_as_of: None,
                    other: Carried::default(),
                }],
                attributes: serde_json::Value::Null,
                sets: Vec::new(),
                stack: stack.to_vec(),
                journal: None,
                counted: true,
                other: Carried::default(),
            }],
        );
        let path = format!("snapshots/{id}/0");
        let body = serde_json::to_vec(&manifest)?;
        let sealed = object::make(&self.keyring, Signer::Lease(&lease), ObjectKind::Snapshot, &path, &body)?;
        self.folder.create(&path, &sealed)?;
        Ok(id)
    }

    fn close(&mut self) -> Outcome<()> {
        self.end_lists()?;
        self.index()?;
        Ok(self.names.flush()?)
    }
}
