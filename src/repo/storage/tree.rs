//! Objects that are no repository: what people keep at a service, listed, read and written as it is, with the same ways of
//! naming a place, credentials, limits of time and retries as a repository has.

#[cfg(feature = "sftp")]
use super::sftp;
use super::{
    StorageOptions,
    failure::{Secrets, io_error},
    location::{Location, ServicePlace},
    remote::Made,
    runtime::{Running, begin, wait},
    traffic::Meter,
    without_query,
};
use crate::repo::RepoError;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures::TryStreamExt;
use opendal::{
    Buffer, Metadata, Operator,
    layers::RetryLayer,
    options::{ListOptions, ReadOptions, WriteOptions},
    raw::normalize_path,
};
use std::{
    future::Future,
    io::{self, ErrorKind, Read},
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

/// Services that give an object another mark with every write.
const MARKING: [&str; 8] = ["s3", "gcs", "azblob", "azdls", "b2", "cos", "obs", "oss"];

/// Services with folders of their own.
const WITH_FOLDERS: [&str; 2] = ["sftp", "webdav"];

/// The mark of an empty object where marks are made by MD5.
const MARK_OF_NOTHING: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// How often a request is tried again.
const RETRIES: usize = 5;

/// What one request reads; the next is on its way meanwhile.
const READ_BYTES: u64 = 4 << 20;

/// What is handed over at once of an object that is written.
const WRITE_BYTES: usize = 8 << 20;

/// The longest object that is written with one request where there is no other way: it is held in memory, to be sent again.
const ONE_REQUEST_BYTES: u64 = 1 << 30;

/// What such a location is.
#[derive(Debug)]
pub enum Named {
    /// A local folder.
    Folder(PathBuf),
    /// Objects at a service.
    Tree(ObjectTree),
}

/// What stands where a tree should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// A folder; or who knows: a bucket has no folders.
    Folder,
    /// Something else.
    File,
    /// Nothing.
    Nothing,
}

/// A prefix at a service, and what lies below it. Cheap to clone.
#[derive(Clone)]
pub struct ObjectTree {
    operator: Operator,
    /// The folder above, and the tree's name there, where a service has folders.
    above: Option<Box<(Operator, String)>>,
    secrets: Arc<Secrets>,
    location: String,
}

/// What tells one version of an object from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion {
    /// Its length.
    pub bytes: u64,
    /// When it was written.
    pub modified: Option<SystemTime>,
    /// The service's own mark.
    pub etag: Option<String>,
}

/// One name in a folder.
#[derive(Debug, Clone)]
pub struct TreeEntry {
    /// The name without the folder's; a folder's with a `/` at its end.
    pub name: String,
    /// Which version it is, if it is an object and the listing says so.
    pub version: Option<ObjectVersion>,
    /// Why it is no object that could be read, if it is none.
    pub odd: Option<&'static str>,
}

impl std::fmt::Debug for ObjectTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ObjectTree").field(&self.location).finish()
    }
}

/// Whether a service that is told this name is told just this one. On the way a path is trimmed and freed of empty parts, and an
/// address of `.` and `..`: another object would be read, replaced or deleted.
#[must_use]
pub fn is_tellable(name: &str) -> bool {
    let is_dots = |part: &str| part == "." || part == "..";
    name.is_empty() || !name.starts_with('/') && normalize_path(name) == name && !name.split('/').any(is_dots)
}

/// Whether an object that stands for a folder may hold anything. Listings of some services do not tell the length of such.
fn holds_content(listed: &ObjectVersion) -> bool {
    let is_empty = listed.etag.as_deref().is_none_or(|etag| etag.trim_matches('"') == MARK_OF_NOTHING);
    listed.bytes > 0 || !is_empty
}

fn told(name: &str) -> io::Result<String> {
    if is_tellable(name) { Ok(name.to_owned()) } else { Err(io::Error::new(ErrorKind::InvalidInput, UNTELLABLE)) }
}

/// Why an object is left alone.
pub const UNTELLABLE: &str =
    "its name begins or ends with white space, or has an empty part, `.` or `..`, and would be taken for another one";

impl ObjectVersion {
    fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.content_length(),
            modified: metadata.last_modified().map(SystemTime::from),
            etag: metadata.etag().map(str::to_owned),
        }
    }

    /// Whether both are the same object's bytes, as far as can be told; answers to different requests give times in different
    /// units, so where there are marks those decide.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let seconds = |version: &Self| {
            version.modified.and_then(|it| it.duration_since(SystemTime::UNIX_EPOCH).ok()).map(|it| it.as_secs())
        };
        self.bytes == other.bytes
            && match (&self.etag, &other.etag) {
                (Some(one), Some(two)) => one == two,
                _ => seconds(self) == seconds(other),
            }
    }
}

impl ObjectTree {
    /// Understands a location, by the rules for repositories.
    ///
    /// # Errors
    /// [`RepoError::Location`].
    pub fn open(location: &str, options: &StorageOptions) -> Result<Named, RepoError> {
        let refuse = |reason: String| RepoError::Location { location: without_query(location).to_owned(), reason };
        match Location::parse(location, options).map_err(refuse)? {
            Location::Local(root) => Ok(Named::Folder(root.into())),
            Location::Service(place) => Self::at(&place).map(Named::Tree).map_err(refuse),
        }
    }

    fn at(place: &ServicePlace) -> Result<Self, String> {
        // A web page may be what somebody keeps there.
        let made = Made::of(place, &place.config, false, &Arc::new(Meter::new()))?;
        let retried = |made: Made| made.operator.layer(RetryLayer::new().with_max_times(RETRIES).with_jitter());
        let operator = retried(made);
        let above = match place.config.get("root").and_then(|root| root.trim_end_matches('/').rsplit_once('/')) {
            Some((folder, name)) if WITH_FOLDERS.contains(&operator.info().scheme()) && !name.is_empty() => {
                let mut config = place.config.clone();
                config.insert("root".to_owned(), format!("{folder}/"));
                let above = retried(Made::of(place, &config, false, &Arc::new(Meter::new()))?);
                Some(Box::new((above, name.to_owned())))
            }
            _ => None,
        };
        Ok(Self { operator, above, secrets: Arc::new(place.secrets.clone()), location: place.canonical.clone() })
    }

    /// What stands there: to a listing what is absent is as empty as an empty folder.
    pub fn stands(&self) -> io::Result<Stands> {
        let Some((operator, name)) = self.above.as_deref().cloned() else { return Ok(Stands::Folder) };
        match self.ask(async move { operator.stat(&name).await }) {
            Ok(metadata) if metadata.is_file() => Ok(Stands::File),
            Ok(_) => Ok(Stands::Folder),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Stands::Nothing),
            Err(error) => Err(error),
        }
    }

    /// What names the place: neither credentials nor options.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    fn ask<T: Send + 'static>(&self, work: impl Future<Output = opendal::Result<T>> + Send + 'static) -> io::Result<T> {
        let secrets = Arc::clone(&self.secrets);
        wait(async move { work.await.map_err(|error| io_error(error, &secrets)) })
    }

    /// The names in a folder (empty for the whole, else with its `/`) that can be told, in any order; an absent folder is an empty
    /// one.
    pub fn list(&self, folder: &str) -> io::Result<Vec<TreeEntry>> {
        let mut entries = match self.list_all(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries.retain(|entry| !entry.name.is_empty() && is_tellable(&format!("{folder}{}", entry.name)));
        Ok(entries)
    }

    /// The same with what cannot be told, and without a name with the content that stands under the folder's own. `NotFound` of a
    /// folder that is absent where there are folders: not of the whole.
    pub fn list_all(&self, folder: &str) -> io::Result<Vec<TreeEntry>> {
        let (operator, path) = (self.operator.clone(), if folder.is_empty() { "/".to_owned() } else { told(folder)? });
        let listed = self.ask(async move { operator.lister(&path).await?.try_collect::<Vec<_>>().await });
        let listed = match listed {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed?,
        };
        if listed.is_empty() && !folder.is_empty() && self.has_folders() {
            self.must_be_there(folder)?;
        }
        let has_folders = self.has_folders();
        let mut found = Vec::new();
        for entry in listed {
            let Some(name) = entry.path().strip_prefix(folder) else { continue };
            let version = ObjectVersion::of(entry.metadata());
            // Of a bucket `/` is also what all names are told by that begin with it.
            let is_itself =
                name.is_empty() || folder.is_empty() && name == "/" && (has_folders || version.etag.is_some());
            if is_itself {
                if holds_content(&version) {
                    let version = (version.bytes > 0).then_some(version);
                    found.push(TreeEntry { name: String::new(), version, odd: None });
                }
                continue;
            }
            let tells = entry.metadata().is_file() && (version.etag.is_some() || version.modified.is_some());
            let odd = self.odd(entry.metadata());
            let version = (tells && odd.is_none()).then_some(version);
            found.push(TreeEntry { name: name.to_owned(), version, odd });
        }
        Ok(found)
    }

    fn has_folders(&self) -> bool {
        WITH_FOLDERS.contains(&self.operator.info().scheme())
    }

    /// A folder's listing has the folder itself in it: services say of one that they do not show, or that went, only that there is
    /// nothing.
    fn must_be_there(&self, folder: &str) -> io::Result<()> {
        let (operator, path) = (self.operator.clone(), folder.to_owned());
        self.ask(async move { operator.stat(&path).await })?;
        if self.operator.info().scheme() == "webdav" {
            return Err(io::Error::other("the service has no listing of it"));
        }
        Ok(())
    }

    /// What an entry is that is neither file nor folder.
    fn odd(&self, metadata: &Metadata) -> Option<&'static str> {
        #[cfg(feature = "sftp")]
        if self.operator.info().scheme() == "sftp" {
            return match metadata.content_type()? {
                sftp::LINK_TO_A_FOLDER => Some("is a link to a folder, which is not followed"),
                sftp::LINK_TO_NOTHING => Some("is a link that leads to nothing, or to what may not be looked at"),
                sftp::SPECIAL => Some("is a special file, which is not kept"),
                _ => None,
            };
        }
        let _ = metadata;
        None
    }

    /// Every object below a folder (empty for the whole, else with its `/`), by its name below it, in any order.
    pub fn list_below(&self, folder: &str) -> io::Result<Vec<TreeEntry>> {
        let (operator, path) = (self.operator.clone(), if folder.is_empty() { "/" } else { folder }.to_owned());
        let (below, tree) = (folder.to_owned(), self.clone());
        let listed = self.ask(async move {
            let options = ListOptions { recursive: true, ..ListOptions::default() };
            let mut entries = operator.lister_options(&path, options).await?;
            let mut found = Vec::new();
            while let Some(entry) = entries.try_next().await? {
                let name = entry.path().strip_prefix(&below).filter(|name| !name.is_empty() && !name.ends_with('/'));
                if let Some(name) = name.filter(|_| entry.metadata().is_file()) {
                    let odd = tree.odd(entry.metadata());
                    let version = odd.is_none().then(|| ObjectVersion::of(entry.metadata()));
                    found.push(TreeEntry { name: name.to_owned(), version, odd });
                }
            }
            Ok(found)
        });
        match listed {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// Which version an object is. `NotFound` if there is none.
    pub fn version(&self, name: &str) -> io::Result<ObjectVersion> {
        let (operator, path) = (self.operator.clone(), told(name)?);
        Ok(ObjectVersion::of(&self.ask(async move { operator.stat(&path).await })?))
    }

    /// Whether there is an object or a folder of that name.
    pub fn exists(&self, name: &str) -> io::Result<bool> {
        let (operator, path) = (self.operator.clone(), told(name)?);
        self.ask(async move { operator.exists(&path).await })
    }

    /// Whether the service's mark of an object is another one after every write: of buckets it is. Elsewhere it is often made of
    /// the length and the time alone.
    #[must_use]
    pub fn marks_each_write(&self) -> bool {
        MARKING.contains(&self.operator.info().scheme())
    }

    /// The bytes of this version of an object, in order. It fails where they turn out to be another's
    /// (`StaleNetworkFileHandle`), or fewer (`UnexpectedEof`).
    pub fn read(&self, name: &str, version: &ObjectVersion) -> io::Result<impl Read + Send + use<>> {
        let is_bound = self.operator.info().capability().read_with_if_match;
        let etag = version.etag.clone().filter(|_| is_bound);
        let mut reader = TreeReader {
            tree: self.clone(),
            name: told(name)?,
            etag,
            len: version.bytes,
            asked: 0,
            next: None,
            at_hand: Bytes::new(),
        };
        // That it is there and may be read is known before anything is made of it.
        if version.bytes > 0 {
            reader.ask_for_more()?;
            reader.take_next()?;
        }
        Ok(reader)
    }

    /// Writes an object, whatever was there: whole or, where the service can rename, not at all.
    pub fn write(&self, name: &str, content: &mut dyn Read) -> io::Result<()> {
        self.write_as(name, content, WriteOptions::default())
    }

    /// The same, but where the service can, never over one that is there: `AlreadyExists`.
    pub fn create(&self, name: &str, content: &mut dyn Read) -> io::Result<()> {
        self.write_as(name, content, self.creating())
    }

    /// Begins to create an object of bytes that are at hand.
    pub fn begin_create(&self, name: &str, bytes: Bytes) -> io::Result<Pending<()>> {
        let (operator, secrets, name) = (self.operator.clone(), Arc::clone(&self.secrets), told(name)?);
        let (aside, options) = (self.aside(&name)?, self.creating());
        let work = async move {
            let Some(aside) = aside else {
                return operator.write_options(&name, Buffer::from(bytes), options).await.map(drop);
            };
            let written = match operator.write(&aside, Buffer::from(bytes)).await {
                Ok(_) => operator.rename(&aside, &name).await,
                Err(error) => Err(error),
            };
            if written.is_err() {
                let _ = operator.delete(&aside).await;
            }
            written
        };
        Ok(Pending(begin(async move { work.await.map_err(|error| io_error(error, &secrets)) })?))
    }

    fn creating(&self) -> WriteOptions {
        let if_not_exists = self.operator.info().capability().write_with_if_not_exists;
        WriteOptions { if_not_exists, ..WriteOptions::default() }
    }

    /// Where the service can rename, the name under which an object is written first.
    fn aside(&self, name: &str) -> io::Result<Option<String>> {
        if !self.operator.info().capability().rename {
            return Ok(None);
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        Ok(Some(format!("{name}.rekeep-{}", HEXLOWER.encode(&random))))
    }

    fn write_as(&self, name: &str, content: &mut dyn Read, mut options: WriteOptions) -> io::Result<()> {
        let aside = self.aside(&told(name)?)?;
        let (operator, path) = (self.operator.clone(), aside.clone().unwrap_or_else(|| name.to_owned()));
        if !self.operator.info().capability().write_can_multi {
            return self.write_at_once(name, aside, content, options);
        }
        options.chunk = Some(WRITE_BYTES);
        let mut writer = self.ask(async move { operator.writer_options(&path, options).await })?;
        let outcome = loop {
            let mut bytes = Vec::with_capacity(WRITE_BYTES.min(64 << 10));
            match content.take(WRITE_BYTES as u64).read_to_end(&mut bytes) {
                Err(error) => break Err(error),
                Ok(0) => break Ok(()),
                Ok(_) => {}
            }
            let secrets = Arc::clone(&self.secrets);
            let written = wait(async move {
                let done = writer.write(Buffer::from(bytes)).await.map_err(|error| io_error(error, &secrets));
                Ok((writer, done))
            })?;
            writer = written.0;
            if let Err(error) = written.1 {
                break Err(error);
            }
        };
        let secrets = Arc::clone(&self.secrets);
        let outcome = wait(async move {
            let closed = match outcome {
                Ok(()) => writer.close().await.map(drop).map_err(|error| io_error(error, &secrets)),
                Err(error) => Err(error),
            };
            if closed.is_err() {
                // Else parts may stay, invisible and paid for.
                let _ = writer.abort().await;
            }
            closed
        });
        self.give_its_name(name, aside, outcome)
    }

    /// Where the service takes an object with one request alone.
    fn write_at_once(
        &self,
        name: &str,
        aside: Option<String>,
        content: &mut dyn Read,
        options: WriteOptions,
    ) -> io::Result<()> {
        let (mut pieces, mut len) = (Vec::new(), 0);
        loop {
            let mut bytes = Vec::with_capacity(64 << 10);
            if content.take(WRITE_BYTES as u64).read_to_end(&mut bytes)? == 0 {
                break;
            }
            len += bytes.len() as u64;
            if len > ONE_REQUEST_BYTES {
                let most = ONE_REQUEST_BYTES >> 20;
                let words = format!(
                    "this service takes an object with one request only, and this one is longer than {most} MiB"
                );
                return Err(io::Error::new(ErrorKind::FileTooLarge, words));
            }
            pieces.push(Bytes::from(bytes));
        }
        let (operator, path) = (self.operator.clone(), aside.clone().unwrap_or_else(|| name.to_owned()));
        let whole = Buffer::from(pieces);
        let outcome = self.ask(async move { operator.write_options(&path, whole, options).await.map(drop) });
        self.give_its_name(name, aside, outcome)
    }

    fn give_its_name(&self, name: &str, aside: Option<String>, outcome: io::Result<()>) -> io::Result<()> {
        let Some(aside) = aside else { return outcome };
        let (operator, from, to) = (self.operator.clone(), aside.clone(), name.to_owned());
        let outcome = outcome.and_then(|()| self.ask(async move { operator.rename(&from, &to).await }));
        if outcome.is_err() {
            // What was there stays; what was begun beside it is nobody's.
            let _ = self.delete(&aside);
        }
        outcome
    }

    /// Makes a folder; where the service knows none, an object that stands for it.
    pub fn make_folder(&self, name: &str) -> io::Result<()> {
        let (operator, path) = (self.operator.clone(), told(name)?);
        self.ask(async move { operator.create_dir(&path).await })
    }

    /// Deletes an object or an empty folder; deleting what does not exist is no error.
    pub fn delete(&self, name: &str) -> io::Result<()> {
        let (operator, path) = (self.operator.clone(), told(name)?);
        self.ask(async move { operator.delete(&path).await })
    }

    /// Deletes objects, many with one request where the service can.
    pub fn delete_all(&self, names: Vec<String>) -> io::Result<()> {
        let operator = self.operator.clone();
        let names = names.into_iter().map(|name| told(&name)).collect::<io::Result<Vec<_>>>()?;
        self.ask(async move { operator.delete_iter(names).await })
    }
}

/// A request that is under way.
pub struct Pending<T>(Running<T>);

impl<T> Pending<T> {
    /// Waits for its end.
    pub fn wait(self) -> io::Result<T> {
        self.0.wait()
    }
}

struct TreeReader {
    tree: ObjectTree,
    name: String,
    etag: Option<String>,
    len: u64,
    asked: u64,
    next: Option<Running<Bytes>>,
    at_hand: Bytes,
}

impl TreeReader {
    fn ask_for_more(&mut self) -> io::Result<()> {
        if self.asked >= self.len {
            return Ok(());
        }
        let range = self.asked..(self.asked + READ_BYTES).min(self.len);
        self.asked = range.end;
        let (operator, path, secrets) = (self.tree.operator.clone(), self.name.clone(), Arc::clone(&self.tree.secrets));
        let options =
            ReadOptions { range: range.clone().into(), if_match: self.etag.clone(), ..ReadOptions::default() };
        self.next = Some(begin(async move {
            let read =
                operator.read_options(&path, options).await.map_err(|error| match io_error(error, &secrets) {
                    error if error.kind() == ErrorKind::AlreadyExists => {
                        io::Error::new(ErrorKind::StaleNetworkFileHandle, "it changed while it was read")
                    }
                    error if error.kind() == ErrorKind::UnexpectedEof => shorter(),
                    error => error,
                })?;
            if read.len() as u64 == range.end - range.start { Ok(read.to_bytes()) } else { Err(shorter()) }
        })?);
        Ok(())
    }

    fn take_next(&mut self) -> io::Result<()> {
        if let Some(next) = self.next.take() {
            self.at_hand = next.wait()?;
            self.ask_for_more()?;
        }
        Ok(())
    }
}

fn shorter() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "it became shorter while it was read")
}

impl Read for TreeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at_hand.is_empty() {
            self.take_next()?;
        }
        let len = buffer.len().min(self.at_hand.len());
        buffer[..len].copy_from_slice(&self.at_hand.split_to(len));
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> ObjectTree {
        match ObjectTree::open("memory://", &StorageOptions::default()).unwrap() {
            Named::Tree(tree) => tree,
            Named::Folder(path) => panic!("{}", path.display()),
        }
    }

    #[test]
    fn objects_of_every_length_come_back_and_folders_are_listed() {
        let tree = tree();
        let read = READ_BYTES as usize;
        let lens = [0, 1, 5_000, read - 1, read, WRITE_BYTES + 1, 2 * read + 5];
        for len in lens {
            let bytes: Vec<u8> = (0..len).map(|n| (n * 31 % 251) as u8).collect();
            let name = format!("d/{len}");
            tree.write(&name, &mut &*bytes).unwrap();
            let version = tree.version(&name).unwrap();
            assert_eq!(version.bytes, len as u64);
            let mut back = Vec::new();
            tree.read(&name, &version).unwrap().read_to_end(&mut back).unwrap();
            assert!(back == bytes, "{len}");
        }
        let mut names: Vec<String> = tree.list("d/").unwrap().into_iter().map(|entry| entry.name).collect();
        names.sort_by_key(|name| name.parse::<usize>().unwrap());
        assert_eq!(names, lens.map(|len| len.to_string()));
        assert_eq!(tree.list("").unwrap().into_iter().map(|entry| entry.name).collect::<Vec<_>>(), ["d/"]);
        assert!(tree.list("none/").unwrap().is_empty());
        let mut below: Vec<_> = tree.list_below("").unwrap();
        below.sort_by(|a, b| a.name.len().cmp(&b.name.len()).then(a.name.cmp(&b.name)));
        let found: Vec<_> = below.iter().map(|one| (one.name.clone(), one.version.as_ref().unwrap().bytes)).collect();
        assert_eq!(found, lens.map(|len| (format!("d/{len}"), len as u64)));
        assert_eq!(tree.list_below("d/").unwrap().len(), lens.len());
        assert!(tree.list_below("none/").unwrap().is_empty());
    }

    #[test]
    fn a_name_that_would_be_taken_for_another_one_is_refused_and_told() {
        let tree = tree();
        for name in ["x ", " x", "x\n", "x\u{a0}", "/", "/x", "a//b", "a/./b", "../x", "a/..", "//"] {
            assert!(!is_tellable(name), "{name:?}");
            let kinds = [
                tree.write(name, &mut &b"other"[..]).map_err(|error| error.kind()),
                tree.create(name, &mut &b"other"[..]).map_err(|error| error.kind()),
                tree.begin_create(name, Bytes::new()).map(drop).map_err(|error| error.kind()),
                tree.version(name).map(drop).map_err(|error| error.kind()),
                tree.exists(name).map(drop).map_err(|error| error.kind()),
                tree.delete(name).map_err(|error| error.kind()),
                tree.delete_all(vec![name.to_owned()]).map_err(|error| error.kind()),
                tree.make_folder(name).map_err(|error| error.kind()),
            ];
            assert_eq!(kinds, [Err(ErrorKind::InvalidInput); 8], "{name:?}");
        }
        for name in ["", "x", "a/b", "a/", "a/ b", "a /b", "a\nb", "...", "a/.b", "x..", "\u{a0}x".trim_start()] {
            assert!(is_tellable(name), "{name:?}");
        }
    }

    #[test]
    fn what_is_there_is_created_over_by_nothing_where_the_service_can_tell() {
        let tree = tree();
        tree.begin_create("a/x", Bytes::from_static(b"one")).unwrap().wait().unwrap();
        tree.create("a/y", &mut &b"two"[..]).unwrap();
        let error = tree.begin_create("a/x", Bytes::from_static(b"other")).unwrap().wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(tree.create("a/y", &mut &b"other"[..]).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(tree.version("a/x").unwrap().bytes, 3);
        tree.delete_all(vec!["a/x".to_owned(), "a/y".to_owned(), "a/none".to_owned()]).unwrap();
        assert!(tree.list_below("").unwrap().is_empty());
    }

    #[test]
    fn what_became_shorter_or_went_is_said() {
        let tree = tree();
        tree.write("a", &mut &b"0123456789"[..]).unwrap();
        let version = tree.version("a").unwrap();
        tree.write("a", &mut &b"01234"[..]).unwrap();
        let error = tree.read("a", &version).map(drop).unwrap_err();
        assert!(error.to_string().contains("shorter"), "{error}");
        assert!(!tree.version("a").unwrap().is(&version));
        tree.delete("a").unwrap();
        tree.delete("a").unwrap();
        assert_eq!(tree.version("a").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(tree.read("a", &version).map(drop).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_content_that_fails_leaves_what_was_there() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("no more"))
            }
        }
        let tree = tree();
        tree.write("a", &mut &b"old"[..]).unwrap();
        let error = tree.write("a", &mut (&b"new"[..]).chain(Fails)).unwrap_err();
        assert_eq!(error.to_string(), "no more");
        assert_eq!(tree.version("a").unwrap().bytes, 3);
        assert_eq!(tree.list("").unwrap().len(), 1);
    }
}
