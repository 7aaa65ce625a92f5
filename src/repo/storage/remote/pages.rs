//! Listings page by page. A service gives one page after another, each with the question where the next begins, so a listing of
//! millions of packs takes minutes however quick the line is. What turns out to be long goes on by folders, several at once.

#[cfg(feature = "sftp")]
use super::{CALL, Exclusive};
use super::{RemoteBackend, io_error, is_file_of};
#[cfg(feature = "sftp")]
use crate::repo::storage::exclusive::sftp::{Entries, Linker};
use crate::repo::storage::{Listed, runtime::Running};
use futures::TryStreamExt;
use opendal::options::ListOptions;
use std::{
    future::Future,
    io::{self, ErrorKind},
    sync::{Arc, mpsc},
};
use tokio::sync::Semaphore;

/// What is given on of a listing at once, and how many such pages may wait, whatever the length of the listing.
const PAGE_OBJECTS: usize = 1000;
const PAGES_AHEAD: usize = 4;

/// The folder that may hold millions, and in it others, by the first two digits of names.
const PACKS: &str = "packs/";

/// After so many pages it is listed by its folders: 256 requests, eight at once, take as long as these did, so no listing takes more
/// than twice what it would, and a long one an eighth of it.
pub(super) const SPLIT_AFTER: usize = 32;

/// Where pages go.
struct Outlet<T> {
    send: mpsc::Sender<Vec<T>>,
    room: Arc<Semaphore>,
}

impl<T> Outlet<T> {
    fn another(&self) -> Self {
        Self { send: self.send.clone(), room: Arc::clone(&self.room) }
    }

    /// Whether anybody takes them still.
    async fn give(&self, page: Vec<T>) -> io::Result<bool> {
        self.room.acquire().await.map_err(io::Error::other)?.forget();
        Ok(self.send.send(page).is_ok())
    }
}

/// How a folder was listed.
#[derive(Default)]
struct Walked {
    /// To its end, and not only so far as was asked.
    is_done: bool,
    /// What lies in it that is a folder, where only the folder itself was asked for.
    folders: Vec<String>,
}

impl RemoteBackend {
    pub(super) fn list_by_pages(&self, prefix: &str, page: &mut dyn FnMut(Vec<Listed>)) -> io::Result<()> {
        #[cfg(feature = "sftp")]
        if let Exclusive::Link(linker) = &self.exclusive {
            return self.list_by_folders(linker, prefix, page);
        }
        let most = if prefix == PACKS { self.split_after } else { usize::MAX };
        if self.walk(vec![prefix.to_owned()], true, most, page)?.iter().all(|walked| walked.is_done) {
            return Ok(());
        }
        let shallow = self.walk(vec![prefix.to_owned()], false, usize::MAX, page)?;
        let folders = shallow.into_iter().flat_map(|walked| walked.folders).collect();
        self.walk(folders, true, usize::MAX, page).map(drop)
    }

    /// Where there are links, which a listing of `OpenDAL`'s passes over if they lead nowhere or to a folder: what lies behind them
    /// would be taken for absent.
    #[cfg(feature = "sftp")]
    fn list_by_folders(&self, linker: &Arc<Linker>, prefix: &str, page: &mut dyn FnMut(Vec<Listed>)) -> io::Result<()> {
        let walked = self.gather(vec![prefix.to_owned()], page, |begins, outlet: Outlet<Listed>| {
            let linker = Arc::clone(linker);
            async move {
                let (mut left, mut page) = (vec![begins], Vec::new());
                while let Some(folder) = left.pop() {
                    let looking = tokio::time::timeout(CALL, linker.entries(&folder));
                    let Entries { objects, folders } =
                        looking.await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))?;
                    page.extend(objects);
                    left.extend(folders);
                    if page.len() >= PAGE_OBJECTS && !outlet.give(std::mem::take(&mut page)).await? {
                        return Ok(Walked::default());
                    }
                }
                outlet.give(page).await?;
                Ok(Walked { is_done: true, folders: Vec::new() })
            }
        });
        walked.map(drop)
    }

    /// Lists folders, several at once, so many pages of each.
    fn walk(
        &self,
        folders: Vec<String>,
        recursive: bool,
        most: usize,
        page: &mut dyn FnMut(Vec<Listed>),
    ) -> io::Result<Vec<Walked>> {
        self.gather(folders, page, |begins, outlet: Outlet<Listed>| {
            let (lister, secrets) = (self.lister.clone(), Arc::clone(&self.secrets));
            async move {
                let words = |error| io_error(error, &secrets);
                let folder = if begins.is_empty() { "/" } else { &begins };
                let options = ListOptions { recursive, ..ListOptions::default() };
                let mut entries = lister.lister_options(folder, options).await.map_err(words)?;
                let (mut walked, mut page, mut pages) = (Walked::default(), Vec::new(), 0);
                loop {
                    let entry = entries.try_next().await.map_err(words)?;
                    walked.is_done = entry.is_none();
                    if let Some(entry) = entry {
                        let (path, metadata) = entry.into_parts();
                        if is_file_of(&begins, &path, &metadata) {
                            page.push(Listed { bytes: metadata.content_length(), name: path });
                        } else if !recursive && path.ends_with('/') && path.len() > begins.len() {
                            walked.folders.push(path);
                        }
                    }
                    if walked.is_done || page.len() >= PAGE_OBJECTS {
                        pages += 1;
                        let is_taken = outlet.give(std::mem::take(&mut page)).await?;
                        if !is_taken || walked.is_done || pages >= most {
                            return Ok(walked);
                        }
                    }
                }
            }
        })
    }

    /// The same with the classes of objects, at S3.
    #[cfg(feature = "s3")]
    pub(super) fn list_classes_at_s3(
        &self,
        prefix: &str,
        page: &mut dyn FnMut(Vec<(Listed, String)>),
    ) -> io::Result<bool> {
        let Some(requests) = self.requests.clone() else { return Ok(false) };
        let config = self.address_of("rekeep.json")?;
        let mut walk = |prefixes: Vec<String>, most: usize| {
            self.gather(prefixes, page, |prefix, outlet: Outlet<(Listed, String)>| {
                let (requests, config) = (Arc::clone(&requests), config.clone());
                async move {
                    let (mut after, mut pages) = (None::<String>, 0);
                    loop {
                        let classes = requests.classes(&config, &prefix, after.as_deref()).await?;
                        pages += 1;
                        let is_taken = outlet.give(classes.objects).await?;
                        after = classes.next;
                        if !is_taken || after.is_none() || pages >= most {
                            return Ok(Walked { is_done: after.is_none(), folders: Vec::new() });
                        }
                    }
                }
            })
        };
        let most = if prefix == PACKS { self.split_after } else { usize::MAX };
        if !walk(vec![prefix.to_owned()], most)?.iter().all(|walked| walked.is_done) {
            // Only packs are asked for: nothing else has a class that matters.
            walk((0..=255).map(|digits| format!("{prefix}{digits:02x}/")).collect(), usize::MAX)?;
        }
        Ok(true)
    }

    /// Does the same for each prefix, when it is its turn; what they give goes to `page` as it comes. A folder that is not there is empty.
    fn gather<T, F>(
        &self,
        prefixes: Vec<String>,
        page: &mut dyn FnMut(Vec<T>),
        mut work: impl FnMut(String, Outlet<T>) -> F,
    ) -> io::Result<Vec<Walked>>
    where
        T: Send + 'static,
        F: Future<Output = io::Result<Walked>> + Send + 'static,
    {
        let (send, pages) = mpsc::channel();
        let room = Arc::new(Semaphore::new(PAGES_AHEAD));
        let outlet = Outlet { send, room: Arc::clone(&room) };
        let running: Vec<Running<Walked>> = prefixes
            .into_iter()
            .map(|prefix| self.begin("list", work(prefix, outlet.another())))
            .collect::<io::Result<_>>()?;
        drop(outlet);
        while let Ok(listed) = pages.recv() {
            page(listed);
            room.add_permits(1);
        }
        let walked = running.into_iter().map(|running| match running.wait() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Walked { is_done: true, ..Walked::default() }),
            walked => walked,
        });
        walked.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::storage::{Backend, StorageOptions, location::Location};
    use bytes::Bytes;
    use std::collections::BTreeSet;

    #[test]
    fn a_long_listing_of_packs_goes_on_by_folders_and_leaves_nothing_out() {
        let Ok(Location::Service(place)) = Location::parse("memory://", &StorageOptions::default()) else {
            panic!("memory is a service")
        };
        let mut backend = RemoteBackend::open(&place, 4).unwrap();
        let mut names: BTreeSet<String> = (0..2_500).map(|n| format!("packs/{:02x}/{n:064x}", n % 256)).collect();
        // Things of others are listed too: somebody has to be told of them.
        names.extend(["packs/stray", "packs/zz/deep/er", "packs/0"].map(str::to_owned));
        for name in names.iter().map(String::as_str).chain(["index/1", "packets/1"]) {
            backend.create(name, &Bytes::from_static(b"x")).unwrap();
        }
        let listed = |backend: &RemoteBackend, prefix: &str| {
            let mut all = Vec::new();
            backend.list_pages(prefix, &mut |page| all.extend(page.into_iter().map(|it| it.name))).unwrap();
            all
        };
        let whole = listed(&backend, "packs/");
        assert_eq!((whole.len(), whole.into_iter().collect::<BTreeSet<_>>()), (names.len(), names.clone()));
        for pages in [1, 2] {
            backend.split_after = pages;
            let split = listed(&backend, "packs/");
            assert!(split.len() >= names.len() + 1000 * pages, "what came before it was split comes twice");
            assert_eq!(split.into_iter().collect::<BTreeSet<_>>(), names);
            assert_eq!(listed(&backend, "index/"), ["index/1"]);
            assert_eq!(backend.list("packs/").unwrap().len(), names.len());
        }
    }
}
