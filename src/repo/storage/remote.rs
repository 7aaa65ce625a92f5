//! Storage behind `OpenDAL`'s services, called from ordinary threads.

mod pages;

#[cfg(feature = "azblob")]
use super::azure;
#[cfg(feature = "sftp")]
use super::sftp::{self, Connections};
use super::{
    Backend, Created, Listed, Promises,
    exclusive::{self, Exclusive},
    failure::{Secrets, io_error},
    is_named_by_content,
    local::{STALE, TEMPORARY},
    location::ServicePlace,
    patience::{Patience, STANDARD},
    runtime::{Running, begin, runtime},
    service::Service,
    too_large,
    traffic::{Meter, Traffic},
};
#[cfg(feature = "s3")]
use super::{LockMode, ObjectHold, s3};
#[cfg(any(feature = "s3", feature = "azblob"))]
use super::{
    Standing, ThawTier,
    transport::{Heard, hearing},
};
#[cfg(feature = "s3")]
use crate::record::Timestamp;
use bytes::Bytes;
use futures::TryStreamExt;
use opendal::{
    Buffer, Operator,
    layers::{RetryLayer, TimeoutLayer},
    options::{ListOptions, ReadOptions, WriteOptions},
};
use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    io::{self, ErrorKind},
    ops::Range,
    sync::Arc,
    time::Duration,
};
use tokio::sync::Semaphore;

/// Longer objects are uploaded in parts.
const ONE_REQUEST_BYTES: usize = 32 << 20;
const PART_BYTES: usize = 16 << 20;
const PARTS_AT_ONCE: usize = 4;

/// Operations at once, if not told otherwise.
pub(super) const CONNECTIONS: u16 = 8;

/// What one call of a service may take that is no HTTP request with limits of its own.
const CALL: Duration = Duration::from_mins(1);
const IO_CALL: Duration = Duration::from_secs(60 + (ONE_REQUEST_BYTES as u64) / (128 * 1024));

/// How often one page of a listing is tried again before the listing begins anew.
const PAGE_RETRIES: usize = 3;

/// Any service.
pub(super) struct RemoteBackend {
    operator: Operator,
    /// For objects that hold data, if they are stored in another class.
    data: Option<Operator>,
    lister: Operator,
    exclusive: Exclusive,
    secrets: Arc<Secrets>,
    permits: Arc<Semaphore>,
    meter: Arc<Meter>,
    connections: u16,
    /// After how many pages a listing of packs goes on by folders.
    split_after: usize,
    is_far: bool,
    /// Whether objects are dated by the service alone.
    has_one_clock: bool,
    #[cfg(any(feature = "s3", feature = "azblob"))]
    service: Service,
    /// Whether a create on a condition takes more requests than one without.
    conditions_cost: bool,
    /// Requests that `OpenDAL` does not make, where there are such.
    #[cfg(feature = "s3")]
    requests: Option<Arc<s3::Requests>>,
    #[cfg(feature = "azblob")]
    tiers: Option<Arc<azure::Requests>>,
}

impl RemoteBackend {
    /// Opens a place; says why not in words.
    pub(super) fn open(place: &ServicePlace, connections: u16) -> Result<Self, String> {
        let meter = Arc::new(Meter::new());
        let made = Made::of(place, &place.config, true, &meter)?;
        let data = match &place.data_config {
            Some(config) => Some(Made::of(place, config, true, &meter)?.operator),
            None => None,
        };
        let exclusive = exclusive_of(place, &made);
        let pages = RetryLayer::new().with_max_times(PAGE_RETRIES).with_jitter();
        #[cfg(feature = "s3")]
        let requests = match place.service {
            Service::S3 => Some(Arc::new(s3::Requests::of(place, &meter)?)),
            _ => None,
        };
        #[cfg(feature = "azblob")]
        let tiers = match place.service {
            Service::Azblob => Some(Arc::new(azure::Requests::of(place, &meter)?)),
            _ => None,
        };
        Ok(Self {
            #[cfg(feature = "s3")]
            requests,
            #[cfg(feature = "azblob")]
            tiers,
            #[cfg(any(feature = "s3", feature = "azblob"))]
            service: place.service,
            lister: made.operator.clone().layer(pages),
            operator: made.operator,
            data,
            exclusive,
            secrets: Arc::new(place.secrets.clone()),
            permits: Arc::new(Semaphore::new(usize::from(connections.max(1)))),
            meter,
            connections: connections.max(1),
            split_after: pages::SPLIT_AFTER,
            is_far: place.service != Service::Memory,
            has_one_clock: place.service.has_one_clock(),
            conditions_cost: conditions_cost(place.service),
        })
    }

    /// Runs an operation on the storage runtime, when it is its turn.
    fn run<T, F>(&self, kind: &'static str, work: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = io::Result<T>> + Send + 'static,
    {
        self.begin(kind, work)?.wait()
    }

    /// The same, without waiting for its end.
    fn begin<T, F>(&self, kind: &'static str, work: F) -> io::Result<Running<T>>
    where
        T: Send + 'static,
        F: Future<Output = io::Result<T>> + Send + 'static,
    {
        if !self.counts_itself() {
            self.meter.count(kind);
        }
        let permits = Arc::clone(&self.permits);
        begin(async move {
            let _permit = permits.acquire_owned().await.map_err(io::Error::other)?;
            work.await
        })
    }

    /// Whether requests are counted where they are made.
    fn counts_itself(&self) -> bool {
        self.is_far && !matches!(self.operator.info().scheme(), "sftp")
    }

    fn opendal<T, F>(&self, kind: &'static str, work: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = opendal::Result<T>> + Send + 'static,
    {
        let secrets = Arc::clone(&self.secrets);
        self.run(kind, async move { work.await.map_err(|error| io_error(error, &secrets)) })
    }

    fn create_in(&self, operator: &Operator, name: &str, bytes: &Bytes) -> io::Result<Created> {
        let (operator, name, bytes) = (operator.clone(), name.to_owned(), bytes.clone());
        match &self.exclusive {
            // Whoever puts a name that is the hash of its bytes puts the same bytes. Rights that do not allow to overwrite refuse
            // it where the name is taken: then the condition says so.
            Exclusive::Native if self.conditions_cost && is_named_by_content(&name) => {
                match self.put(operator.clone(), name.clone(), bytes.clone(), false) {
                    Err(error) if error.kind() == ErrorKind::PermissionDenied => self.put(operator, name, bytes, true),
                    done => done,
                }
            }
            Exclusive::Native => self.put(operator, name, bytes, true),
            Exclusive::Looked => match self.len(&name) {
                Ok(_) => Ok(Created::Exists),
                Err(error) if error.kind() == ErrorKind::NotFound => self.put(operator, name, bytes, false),
                Err(error) => Err(error),
            },
            #[cfg(feature = "webdav")]
            Exclusive::Move(mover) => {
                let (mover, secrets) = (Arc::clone(mover), Arc::clone(&self.secrets));
                let is_claimed = !is_named_by_content(&name);
                self.run("write", mover.create(operator, name, bytes, is_claimed, secrets))
            }
            #[cfg(feature = "sftp")]
            Exclusive::Link(linker) => {
                let attempt = || {
                    let work = Arc::clone(linker).create(name.clone(), bytes.clone());
                    let limit = CALL + Duration::from_secs(bytes.len() as u64 / (128 * 1024));
                    self.run("write", async move {
                        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
                    })
                };
                match attempt() {
                    // A folder was removed by others since we made it.
                    Err(error) if error.kind() == ErrorKind::NotFound => attempt(),
                    answer => answer,
                }
            }
        }
    }

    fn put(&self, operator: Operator, name: String, bytes: Bytes, if_not_exists: bool) -> io::Result<Created> {
        let mut options = WriteOptions { if_not_exists, ..WriteOptions::default() };
        if bytes.len() > ONE_REQUEST_BYTES && operator.info().capability().write_can_multi {
            options.chunk = Some(PART_BYTES);
            options.concurrent = PARTS_AT_ONCE;
        }
        let done = self.opendal("write", async move {
            let mut writer = operator.writer_options(&name, options).await?;
            let written = match writer.write(Buffer::from(bytes)).await {
                Ok(()) => writer.close().await,
                Err(error) => Err(error),
            };
            if written.is_err() {
                // Else its parts stay, invisible and paid for. Where there are none this fails, which is as good.
                let _ = writer.abort().await;
            }
            written
        });
        match done {
            Ok(_) => Ok(Created::New),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Created::Exists),
            Err(error) => Err(error),
        }
    }

    /// An object's metadata, and what `OpenDAL` does not pass on of the answer.
    #[cfg(any(feature = "s3", feature = "azblob"))]
    fn stat_hearing(&self, operator: Operator, path: String) -> io::Result<(opendal::Metadata, Option<Heard>)> {
        self.opendal("stat", async move {
            let (metadata, heard) = hearing(operator.stat(&path)).await;
            Ok((metadata?, heard))
        })
    }

    /// Where an object is, or would be.
    #[cfg(feature = "s3")]
    fn address_of(&self, name: &str) -> io::Result<http::Uri> {
        let (operator, path) = (self.operator.clone(), name.to_owned());
        let heard = self.run("stat", async move { Ok(hearing(operator.stat(&path)).await.1) })?;
        heard.map(|heard| heard.address).ok_or_else(|| io::Error::new(ErrorKind::TimedOut, "no answer came"))
    }

    /// A range read that failed or gave other than it should: is it past the end, or did the answer lose something?
    fn judge(&self, name: &str, range: &Range<u64>, trouble: io::Error) -> io::Error {
        match self.len(name) {
            Ok(len) if range.end > len => past_the_end(range),
            Ok(_) if trouble.kind() == ErrorKind::UnexpectedEof => {
                io::Error::new(ErrorKind::TimedOut, format!("the answer was cut short: {trouble}"))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => error,
            Ok(_) | Err(_) => trouble,
        }
    }
}

impl Backend for RemoteBackend {
    fn list(&self, prefix: &str) -> io::Result<Vec<Listed>> {
        // Some services list one entry twice.
        let mut listed = HashMap::new();
        self.list_pages(prefix, &mut |page| listed.extend(page.into_iter().map(|it| (it.name, it.bytes))))?;
        Ok(listed.into_iter().map(|(name, bytes)| Listed { name, bytes }).collect())
    }

    fn list_pages(&self, prefix: &str, page: &mut dyn FnMut(Vec<Listed>)) -> io::Result<()> {
        self.list_by_pages(prefix, page)
    }

    fn read(&self, name: &str, range: Option<Range<u64>>) -> io::Result<Vec<u8>> {
        let mut options = ReadOptions::default();
        if let Some(range) = &range {
            if range.start >= range.end {
                return if range.end <= self.len(name)? { Ok(Vec::new()) } else { Err(past_the_end(range)) };
            }
            options.range = range.clone().into();
        }
        let (operator, path) = (self.operator.clone(), name.to_owned());
        let read = self.opendal("read", async move { Ok(operator.read_options(&path, options).await?.to_vec()) });
        let Some(range) = range else { return read };
        match read {
            Ok(bytes) if bytes.len() as u64 == range.end - range.start => Ok(bytes),
            Ok(bytes) => {
                let trouble = format!("{} bytes came of {range:?}", bytes.len());
                Err(self.judge(name, &range, io::Error::new(ErrorKind::UnexpectedEof, trouble)))
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Err(error),
            Err(error) => Err(self.judge(name, &range, error)),
        }
    }

    /// One request: it breaks off where there is more than there may be.
    fn read_at_most(&self, name: &str, most: u64) -> io::Result<Vec<u8>> {
        let (operator, path) = (self.operator.clone(), name.to_owned());
        let secrets = Arc::clone(&self.secrets);
        self.run("read", async move {
            let words = |error| io_error(error, &secrets);
            let reader = operator.reader(&path).await.map_err(words)?;
            let mut parts = reader.into_stream(..).await.map_err(words)?;
            let mut bytes = Vec::new();
            while let Some(part) = parts.try_next().await.map_err(words)? {
                let len = bytes.len() as u64 + part.len() as u64;
                if len > most {
                    return Err(too_large(len, most));
                }
                part.for_each(|part| bytes.extend_from_slice(&part));
            }
            Ok(bytes)
        })
    }

    fn create(&self, name: &str, bytes: &Bytes) -> io::Result<Created> {
        self.create_in(&self.operator, name, bytes)
    }

    fn create_data(&self, name: &str, bytes: &Bytes) -> io::Result<Created> {
        self.create_in(self.data.as_ref().unwrap_or(&self.operator), name, bytes)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let (operator, path) = (self.operator.clone(), name.to_owned());
        self.opendal("delete", async move { operator.delete(&path).await })
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        let (operator, path) = (self.operator.clone(), name.to_owned());
        let metadata = self.opendal("stat", async move { operator.stat(&path).await })?;
        if metadata.is_file() { Ok(metadata.content_length()) } else { Err(ErrorKind::NotFound.into()) }
    }

    fn promises(&self) -> Promises {
        let conditional_create = !matches!(self.exclusive, Exclusive::Looked);
        Promises { conditional_create, prompt_listing: true }
    }

    fn is_proved(&self) -> bool {
        !self.is_far
    }

    fn is_far(&self) -> bool {
        self.is_far
    }

    fn connections(&self) -> usize {
        usize::from(self.connections)
    }

    fn patience(&self) -> Patience {
        if self.is_far { Patience::Long(STANDARD) } else { Patience::Short }
    }

    fn traffic(&self) -> Traffic {
        self.meter.so_far()
    }

    fn clock_offset_millis(&self) -> Option<i64> {
        self.meter.clock_offset_millis()
    }

    /// Where the service dates what is put, and no client can.
    fn made_at(&self, name: &str) -> io::Result<Option<i64>> {
        if !self.has_one_clock {
            return Ok(None);
        }
        let (operator, path) = (self.operator.clone(), name.to_owned());
        let metadata = self.opendal("stat", async move { operator.stat(&path).await })?;
        Ok(metadata.last_modified().and_then(|modified| {
            let modified: std::time::SystemTime = modified.into();
            i64::try_from(modified.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis()).ok()
        }))
    }

    #[cfg(feature = "s3")]
    fn hold_of(&self, name: &str) -> io::Result<Option<ObjectHold>> {
        if self.requests.is_none() {
            return Ok(None);
        }
        let (operator, path) = (self.operator.clone(), name.to_owned());
        let (metadata, heard) = self.stat_hearing(operator, path)?;
        let heard = heard.ok_or_else(|| io::Error::other("the answer was not heard"))?;
        Ok(Some(s3::hold_in(&heard, metadata.content_length())))
    }

    #[cfg(feature = "s3")]
    fn lock_until(&self, name: &str, until: Timestamp, mode: LockMode) -> io::Result<()> {
        let Some(requests) = self.requests.clone() else { return Err(ErrorKind::Unsupported.into()) };
        let (operator, path) = (self.operator.clone(), name.to_owned());
        let (_, heard) = self.stat_hearing(operator, path)?;
        let heard = heard.ok_or_else(|| io::Error::other("the answer was not heard"))?;
        self.run("other", async move { requests.lock(&heard.address, until, mode).await })
    }

    #[cfg(any(feature = "s3", feature = "azblob"))]
    fn may_archive(&self) -> bool {
        match self.service {
            #[cfg(feature = "s3")]
            Service::S3 => true,
            #[cfg(feature = "azblob")]
            Service::Azblob => true,
            _ => false,
        }
    }

    #[cfg(any(feature = "s3", feature = "azblob"))]
    fn standing_of(&self, name: &str) -> io::Result<Option<Standing>> {
        if !self.may_archive() {
            return Ok(None);
        }
        let (metadata, heard) = self.stat_hearing(self.operator.clone(), name.to_owned())?;
        let heard = heard.ok_or_else(|| io::Error::other("the answer was not heard"))?;
        let bytes = metadata.content_length();
        Ok(match self.service {
            #[cfg(feature = "s3")]
            Service::S3 => Some(s3::standing_in(&heard, bytes)),
            #[cfg(feature = "azblob")]
            Service::Azblob => Some(azure::standing_in(&heard, bytes)),
            _ => None,
        })
    }

    #[cfg(any(feature = "s3", feature = "azblob"))]
    fn list_classes(&self, prefix: &str, page: &mut dyn FnMut(Vec<(Listed, String)>)) -> io::Result<bool> {
        #[cfg(feature = "azblob")]
        if let Some(requests) = &self.tiers {
            let mut after: Option<String> = None;
            loop {
                let (requests, prefix) = (Arc::clone(requests), prefix.to_owned());
                let tiers = self.run("list", async move { requests.tiers(&prefix, after.as_deref()).await })?;
                page(tiers.objects);
                match tiers.next {
                    Some(next) => after = Some(next),
                    None => return Ok(true),
                }
            }
        }
        #[cfg(feature = "s3")]
        {
            self.list_classes_at_s3(prefix, page)
        }
        #[cfg(not(feature = "s3"))]
        {
            Ok(false)
        }
    }

    #[cfg(feature = "s3")]
    fn region(&self) -> io::Result<Option<String>> {
        let Some(requests) = self.requests.clone() else { return Ok(None) };
        let config = self.address_of("rekeep.json")?;
        self.run("other", async move { requests.region(&config).await })
    }

    #[cfg(any(feature = "s3", feature = "azblob"))]
    fn thaw(&self, name: &str, days: u16, tier: ThawTier) -> io::Result<()> {
        #[cfg(feature = "azblob")]
        if let Some(requests) = self.tiers.clone() {
            let name = name.to_owned();
            return self.run("other", async move { requests.thaw(&name, tier).await });
        }
        #[cfg(feature = "s3")]
        if let Some(requests) = self.requests.clone() {
            let (metadata, heard) = self.stat_hearing(self.operator.clone(), name.to_owned())?;
            let heard = heard.ok_or_else(|| io::Error::other("the answer was not heard"))?;
            let class = s3::standing_in(&heard, metadata.content_length()).class;
            return self.run("other", async move { requests.thaw(&heard.address, &class, days, tier).await });
        }
        // Azure alone knows no days.
        #[cfg(not(feature = "s3"))]
        let _ = days;
        Err(io::Error::new(ErrorKind::Unsupported, "this program does not know how this service is asked to thaw"))
    }

    #[cfg(any(feature = "s3", feature = "azblob"))]
    fn move_to_class(&self, name: &str, class: &str) -> io::Result<()> {
        let class = class.to_owned();
        #[cfg(feature = "azblob")]
        if let Some(requests) = self.tiers.clone() {
            let name = name.to_owned();
            return self.run("other", async move { requests.move_to(&name, &class).await });
        }
        #[cfg(feature = "s3")]
        if let Some(requests) = self.requests.clone() {
            let address = self.address_of(name)?;
            return self.run("other", async move { requests.move_to_class(&address, &class).await });
        }
        Err(ErrorKind::Unsupported.into())
    }

    /// Ages are told by the server's own clock: an object that is made now says what time it is there.
    fn sweep(&self) -> io::Result<u64> {
        if !self.exclusive.leaves_temporaries() {
            return Ok(0);
        }
        let operator = self.operator.clone();
        let probe = exclusive::temporary_name()?;
        self.opendal("list", async move {
            let mut found = Vec::new();
            let mut entries = match operator.lister_options(TEMPORARY, ListOptions::default()).await {
                Err(error) if error.kind() == opendal::ErrorKind::NotFound => return Ok(0),
                entries => entries?,
            };
            while let Some(entry) = entries.try_next().await? {
                if entry.metadata().is_file() && is_temporary_name(entry.path()) {
                    found.push(entry.path().to_owned());
                }
            }
            if found.is_empty() {
                return Ok(0);
            }
            operator.write(&probe, vec![b'.']).await?;
            let now = operator.stat(&probe).await?.last_modified();
            operator.delete(&probe).await?;
            let Some(now) = now else { return Ok(0) };
            let mut swept = 0;
            for path in found {
                let modified = match operator.stat(&path).await {
                    Ok(metadata) => metadata.last_modified(),
                    Err(_) => None,
                };
                let age = modified.map(|modified| {
                    let (now, modified): (std::time::SystemTime, std::time::SystemTime) = (now.into(), modified.into());
                    now.duration_since(modified).unwrap_or_default()
                });
                if age.is_some_and(|age| age > STALE) {
                    operator.delete(&path).await?;
                    swept += 1;
                }
            }
            Ok(swept)
        })
    }
}

/// Whether a listing's entry is an object below a prefix: some services list the folder itself.
fn is_file_of(begins: &str, path: &str, metadata: &opendal::Metadata) -> bool {
    metadata.is_file() && !path.ends_with('/') && path.starts_with(begins) && !path.starts_with(TEMPORARY)
}

/// Whether a name in `tmp/` is one that we make.
fn is_temporary_name(path: &str) -> bool {
    let name = path.strip_prefix(TEMPORARY).unwrap_or("");
    name.len() == 32 && name.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// Google's conditional creates are sessions: one request to begin it, one for the bytes.
#[allow(clippy::missing_const_for_fn, unused_variables, reason = "depends on the services that are built in")]
fn conditions_cost(service: Service) -> bool {
    #[cfg(feature = "gcs")]
    if service == Service::Gcs {
        return true;
    }
    false
}

fn past_the_end(range: &Range<u64>) -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, format!("{range:?} is not within the object"))
}

#[allow(unused_variables, reason = "depends on the services that are built in")]
fn exclusive_of(place: &ServicePlace, made: &Made) -> Exclusive {
    match place.service {
        #[cfg(feature = "webdav")]
        Service::Webdav { .. } => Exclusive::Move(Arc::new(exclusive::webdav::Mover::new(&place.config))),
        #[cfg(feature = "sftp")]
        Service::Sftp => Exclusive::Link(Arc::new(exclusive::sftp::Linker::new(&place.config, &made.connections))),
        _ if made.operator.info().capability().write_with_if_not_exists => Exclusive::Native,
        _ => Exclusive::Looked,
    }
}

/// An operator with its time limits, and its way to the network.
pub(super) struct Made {
    pub operator: Operator,
    /// What the operator's SFTP goes by, which makes none before it is asked for something.
    #[cfg(feature = "sftp")]
    connections: Arc<Connections>,
}

impl Made {
    /// `refuses_pages`: whether a web page in place of an object is a fault of the line.
    #[allow(unused_variables, reason = "depends on the services that are built in")]
    pub fn of(
        place: &ServicePlace,
        config: &BTreeMap<String, String>,
        refuses_pages: bool,
        meter: &Arc<Meter>,
    ) -> Result<Self, String> {
        let _entered = runtime().map_err(|error| error.to_string())?.enter();
        opendal::init_default_registry();
        #[cfg(feature = "sftp")]
        let connections = Arc::new(Connections::new(config));
        #[cfg(feature = "sftp")]
        let operator = if place.service == Service::Sftp {
            sftp::operator(&connections, config.get("root").map_or("/", String::as_str))
        } else {
            Operator::via_iter(place.service.name(), config.clone())
        };
        #[cfg(not(feature = "sftp"))]
        let operator = Operator::via_iter(place.service.name(), config.clone());
        let operator = operator.map_err(|error| io_error(error, &place.secrets).to_string())?;
        #[cfg(feature = "http")]
        let operator = if place.service.is_http() {
            let (ca_file, proxy) = (place.ca_file.as_deref(), place.proxy.as_deref());
            let (meter, secrets) = (Arc::clone(meter), &place.secrets);
            let transport =
                super::transport::Transport::new(ca_file, proxy, refuses_pages, place.service, meter, secrets)?;
            let context = operator.base_context().with_http_transport(opendal::HttpTransporter::new(transport));
            operator.with_context(context)
        } else {
            operator
        };
        let limits = TimeoutLayer::new().with_timeout(CALL).with_io_timeout(IO_CALL);
        Ok(Self {
            operator: operator.layer(limits),
            #[cfg(feature = "sftp")]
            connections,
        })
    }
}
