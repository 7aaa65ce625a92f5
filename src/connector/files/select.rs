//! Which files are asked for: exclude patterns, lists of files, one file system.

use super::{FilesOptions, shown_path, walk::is_valid_key};
use crate::{connector::ConnectorError, record::KeyCodec, repo::manifest::Asked};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Component, Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// Paths beyond this many are compared as a whole.
const MAX_COMPARED: usize = 1000;

/// The part of a target that is compared with a snapshot, by what the snapshot keeps of what was asked for.
pub(super) fn part_of(kept: Option<&serde_json::Value>, object: &str) -> Result<Selection, ConnectorError> {
    let Some(kept) = kept else { return Ok(Selection::all()) };
    Selection::from_kept(kept).map_err(|reason| ConnectorError::Mismatch {
        object: object.to_owned(),
        reason: format!("which part of its source the snapshot holds makes no sense: {reason}"),
    })
}

/// A selection as a snapshot keeps it among its attributes, so that a target can be asked for the same part.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    /// Patterns relative to the root; the last one that matches decides.
    exclude: Vec<String>,
    /// Listed paths as keys are shown; absent for all.
    files: Option<Vec<String>>,
    one_file_system: bool,
}

/// A pattern that a person typed, and whether it matched anything yet.
struct Typed {
    pattern: String,
    alone: Gitignore,
    matched: AtomicBool,
}

/// What is selected below a root.
pub(super) struct Selection {
    /// All patterns; the last one that matches decides.
    ignore: Gitignore,
    patterns: Vec<String>,
    /// The same, relative to the root.
    relative: Vec<String>,
    typed: Vec<Typed>,
    /// The paths listed by `files_from`, without trailing slashes; `None` for all.
    listed: Option<BTreeSet<Vec<u8>>>,
    /// Whether directories on other file systems stay empty.
    pub(super) one_file_system: bool,
}

impl Selection {
    /// Reads pattern files and path lists. `root` is what absolute patterns and paths are taken relative to.
    pub(super) fn new(options: &FilesOptions, root: &Path) -> Result<Self, ConnectorError> {
        let mut patterns = Vec::new();
        for pattern in &options.exclude {
            if pattern.trim().is_empty() {
                return Err(unusable(format!("the exclude pattern `{pattern}`"), "it is empty"));
            }
            // What is typed is a pattern, where a line of a file would be a comment.
            patterns.push(if pattern.starts_with('#') { format!("\\{pattern}") } else { pattern.clone() });
        }
        let mut typed = Vec::new();
        for pattern in &patterns {
            let alone = compile(std::slice::from_ref(pattern), root)?;
            typed.push(Typed { pattern: pattern.clone(), alone, matched: AtomicBool::new(false) });
        }
        for file in &options.exclude_files {
            patterns.extend(read_patterns(file)?);
        }
        Ok(Self {
            ignore: compile(&patterns, root)?,
            relative: patterns.iter().map(|pattern| relative(pattern, root)).collect(),
            patterns,
            typed,
            listed: read_lists(&options.files_from, root)?,
            one_file_system: options.one_file_system,
        })
    }

    /// The same for another run, in which nothing was matched yet: what it was read from may be a pipe, which gives it once.
    pub(super) fn anew(&self) -> Self {
        let typed = self.typed.iter().map(|it| Typed {
            pattern: it.pattern.clone(),
            alone: it.alone.clone(),
            matched: AtomicBool::new(false),
        });
        Self {
            ignore: self.ignore.clone(),
            patterns: self.patterns.clone(),
            relative: self.relative.clone(),
            typed: typed.collect(),
            listed: self.listed.clone(),
            one_file_system: self.one_file_system,
        }
    }

    /// What a snapshot keeps of it; nothing for everything.
    pub(super) fn kept(&self) -> Option<serde_json::Value> {
        if self.canonical().is_empty() {
            return None;
        }
        let show = |listed: &BTreeSet<Vec<u8>>| listed.iter().map(|path| KeyCodec::Path.show(path)).collect();
        let kept = Kept {
            exclude: self.relative.clone(),
            files: self.listed.as_ref().map(show),
            one_file_system: self.one_file_system,
        };
        serde_json::to_value(kept).ok()
    }

    /// What [`Self::kept`] gave.
    ///
    /// # Errors
    /// In words, if it makes no sense.
    pub(super) fn from_kept(kept: &serde_json::Value) -> Result<Self, String> {
        let kept = Kept::deserialize(kept).map_err(|error| error.to_string())?;
        let listed = kept.files.map(|files| {
            let paths = files.iter().map(|path| KeyCodec::Path.parse(path).map_err(|error| error.to_string()));
            paths.collect::<Result<BTreeSet<_>, String>>()
        });
        Ok(Self {
            ignore: compile(&kept.exclude, Path::new("/")).map_err(|error| error.to_string())?,
            patterns: kept.exclude.clone(),
            relative: kept.exclude,
            typed: Vec::new(),
            listed: listed.transpose()?,
            one_file_system: kept.one_file_system,
        })
    }

    /// What is asked for, as data that can be compared.
    pub(super) fn asked(&self) -> Asked {
        let mut asked = Asked::default();
        let patterns = &self.relative;
        if patterns.iter().any(|pattern| pattern.starts_with('!')) {
            // In which order they come matters.
            asked.only.insert("patterns".to_owned(), vec![serde_json::json!(patterns).to_string()]);
        } else if !patterns.is_empty() {
            asked.without.insert("paths".to_owned(), patterns.clone());
        }
        if let Some(listed) = &self.listed {
            let paths = if listed.len() > MAX_COMPARED {
                vec![format!("{} paths {}", listed.len(), hash_of(listed))]
            } else {
                listed.iter().map(|path| KeyCodec::Path.show(path)).collect()
            };
            asked.only.insert("paths".to_owned(), paths);
        }
        if self.one_file_system {
            asked.only.insert("file systems".to_owned(), vec!["the root's".to_owned()]);
        }
        asked
    }

    /// Everything.
    pub(super) fn all() -> Self {
        Self {
            ignore: Gitignore::empty(),
            patterns: Vec::new(),
            relative: Vec::new(),
            typed: Vec::new(),
            listed: None,
            one_file_system: false,
        }
    }

    /// Whether an entry is asked for, given that its directory is.
    pub(super) fn takes(&self, key: &[u8]) -> bool {
        self.is_listed(key) && !self.is_excluded(key)
    }

    /// The listed paths.
    pub(super) fn listed(&self) -> impl Iterator<Item = &[u8]> {
        self.listed.iter().flatten().map(Vec::as_slice)
    }

    fn is_excluded(&self, key: &[u8]) -> bool {
        if self.patterns.is_empty() {
            return false;
        }
        let (path, directory) = match key.strip_suffix(b"/") {
            Some(path) => (path, true),
            None => (key, false),
        };
        let path = Path::new(OsStr::from_bytes(path));
        for typed in self.typed.iter().filter(|typed| !typed.matched.load(Ordering::Relaxed)) {
            if !typed.alone.matched(path, directory).is_none() {
                typed.matched.store(true, Ordering::Relaxed);
            }
        }
        self.ignore.matched(path, directory).is_ignore()
    }

    /// What of that which a person typed met nothing, in words.
    pub(super) fn unmatched(&self) -> Vec<String> {
        let unmatched = self.typed.iter().filter(|typed| !typed.matched.load(Ordering::Relaxed));
        unmatched.map(|typed| format!("the exclude pattern `{}` matched nothing", typed.pattern)).collect()
    }

    fn is_listed(&self, key: &[u8]) -> bool {
        let Some(listed) = &self.listed else { return true };
        if key == super::walk::ROOT {
            return true;
        }
        let path = key.strip_suffix(b"/").unwrap_or(key);
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        if ends.chain([path.len()]).any(|end| listed.contains(&path[..end])) {
            return true;
        }
        // A directory that leads to something listed.
        key.ends_with(b"/") && listed.range(key.to_vec()..).next().is_some_and(|next| next.starts_with(key))
    }

    /// Equal texts select the same; empty for everything.
    pub(super) fn canonical(&self) -> String {
        let mut parts = Vec::new();
        if !self.patterns.is_empty() {
            parts.push(format!("exclude={}", serde_json::json!(self.patterns)));
        }
        if let Some(listed) = &self.listed {
            parts.push(format!("files={}", hash_of(listed)));
        }
        if self.one_file_system {
            parts.push("one-file-system".to_owned());
        }
        parts.join(" ")
    }

    /// The same in words.
    pub(super) fn note(&self) -> String {
        let mut parts = Vec::new();
        if !self.patterns.is_empty() {
            parts.push(format!("without {}", self.patterns.join(", ")));
        }
        if let Some(listed) = &self.listed {
            parts.push(format!("{} listed paths", listed.len()));
        }
        if self.one_file_system {
            parts.push("one file system".to_owned());
        }
        parts.join("; ")
    }
}

fn hash_of(paths: &BTreeSet<Vec<u8>>) -> String {
    let mut hasher = blake3::Hasher::new();
    for path in paths {
        hasher.update(path).update(&[0]);
    }
    hasher.finalize().to_hex().to_string()
}

/// A pattern as it is relative to the root.
fn relative(pattern: &str, root: &Path) -> String {
    let (not, rest) = pattern.strip_prefix('!').map_or(("", pattern), |rest| ("!", rest));
    let within = root.to_str().filter(|root| *root != "/").and_then(|root| rest.strip_prefix(root));
    let within = within.filter(|rest| rest.starts_with('/')).map(str::to_owned);
    // A person who types `./x` means the one in the root.
    let here = rest.strip_prefix("./").map(|rest| format!("/{}", rest.trim_start_matches('/')));
    format!("{not}{}", within.or(here).unwrap_or_else(|| rest.to_owned()))
}

fn read(file: &Path) -> Result<Vec<u8>, ConnectorError> {
    fs::read(file).map_err(|source| ConnectorError::Io {
        operation: "read",
        object: file.display().to_string(),
        source,
    })
}

fn unusable(object: String, reason: &str) -> ConnectorError {
    ConnectorError::Usage { object, reason: reason.to_owned() }
}

/// The lines of a file of patterns, as `.gitignore` has them.
fn read_patterns(file: &Path) -> Result<Vec<String>, ConnectorError> {
    let text =
        String::from_utf8(read(file)?).map_err(|_| unusable(shown_path(file), "exclude patterns must be UTF-8"))?;
    let lines = text.strip_prefix('\u{feff}').unwrap_or(&text).lines().map(|line| line.trim_end_matches('\r'));
    Ok(lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#')).map(str::to_owned).collect())
}

fn compile(patterns: &[String], root: &Path) -> Result<Gitignore, ConnectorError> {
    // Keys are relative to the root already.
    let mut builder = GitignoreBuilder::new("");
    builder.allow_unclosed_class(false);
    let wrong =
        |pattern: &str, error: ignore::Error| unusable(format!("the exclude pattern `{pattern}`"), &error.to_string());
    for pattern in patterns {
        builder.add_line(None, &relative(pattern, root)).map_err(|error| wrong(pattern, error))?;
    }
    builder.build().map_err(|error| wrong(&patterns.join(" "), error))
}

/// The paths that some files list; `None` for everything: no file, or the root itself is listed.
fn read_lists(files: &[PathBuf], root: &Path) -> Result<Option<BTreeSet<Vec<u8>>>, ConnectorError> {
    if files.is_empty() {
        return Ok(None);
    }
    let mut listed = BTreeSet::new();
    for file in files {
        add_paths(&read(file)?, root, &mut listed, file)?;
    }
    if listed.is_empty() {
        let names: Vec<String> = files.iter().map(|file| shown_path(file)).collect();
        return Err(unusable(
            names.join(", "),
            "no path is listed, and a snapshot of nothing would look like a deletion",
        ));
    }
    Ok((!listed.contains(&b""[..])).then_some(listed))
}

/// One path per line, or ended by NULs if there is one in the file; below `root`, or relative to it. The root itself is the
/// empty path.
fn add_paths(bytes: &[u8], root: &Path, out: &mut BTreeSet<Vec<u8>>, file: &Path) -> Result<(), ConnectorError> {
    let separator = if bytes.contains(&0) { 0 } else { b'\n' };
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let lines = || bytes.split(|&byte| byte == separator).filter(|line| !line.is_empty());
    // A name may end with a carriage return; where every line does, they end the lines.
    let carriage = separator == b'\n' && lines().all(|line| line.ends_with(b"\r"));
    for (number, line) in lines().enumerate() {
        let line = if carriage { &line[..line.len() - 1] } else { line };
        if line.is_empty() {
            continue;
        }
        let path = Path::new(OsStr::from_bytes(line));
        let relative = path.strip_prefix(root).unwrap_or(path);
        // Components also drop repeated slashes and `.`.
        let clean: PathBuf = relative.components().filter(|part| !matches!(part, Component::CurDir)).collect();
        let clean = clean.into_os_string().into_vec();
        if !clean.is_empty() && !is_valid_key(&clean) {
            let object = format!("`{}` (entry {} of {})", shown_path(path), number + 1, shown_path(file));
            return Err(unusable(object, &format!("the path does not lie below {}", shown_path(root))));
        }
        out.insert(clean);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluding(patterns: &[&str]) -> Result<Selection, ConnectorError> {
        let exclude = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Selection::new(&FilesOptions { exclude, ..FilesOptions::default() }, Path::new("/home/x"))
    }

    fn listing(text: &[u8]) -> Result<Selection, ConnectorError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let files_from = vec![file.path().to_owned()];
        Selection::new(&FilesOptions { files_from, ..FilesOptions::default() }, Path::new("/home/x"))
    }

    #[test]
    fn patterns_are_those_of_gitignore() {
        let patterns =
            ["*.tmp", "/build", "cache/", "doc/*.html", "!keep.tmp", "/home/x/abs", "./here", "#x#", "deep/**/end"];
        let selection = excluding(&patterns).unwrap();
        for out in [
            "a.tmp",
            "d/a.tmp",
            "build",
            "build/",
            "d/cache/",
            "doc/a.html",
            "abs",
            "here",
            "#x#",
            "deep/end",
            "deep/1/2/end",
        ] {
            assert!(!selection.takes(out.as_bytes()), "{out}");
        }
        // A slash in the middle ties a pattern to the root.
        for kept in
            ["a.tmpx", "d/build", "cache", "x/doc/a.html", "doc/a/b.html", "keep.tmp", "d/keep.tmp", "d/abs", "d/here"]
        {
            assert!(selection.takes(kept.as_bytes()), "{kept}");
        }
        assert_eq!(selection.unmatched(), Vec::<String>::new());
        let typo = excluding(&["*.tmp", "*.tpm"]).unwrap();
        assert!(!typo.takes(b"\xff.tmp"));
        assert_eq!(typo.unmatched(), ["the exclude pattern `*.tpm` matched nothing"]);
    }

    #[test]
    fn what_a_snapshot_keeps_of_a_selection_selects_the_same_elsewhere() {
        let both = |selection: &Selection| Selection::from_kept(&selection.kept().unwrap()).unwrap();
        let patterns = excluding(&["*.tmp", "/home/x/abs", "./here", "#x#", "!keep.tmp"]).unwrap();
        let listed = listing(b"a/b\n\xff/c\n").unwrap();
        for selection in [&patterns, &listed] {
            let again = both(selection);
            for key in [
                &b"a.tmp"[..],
                b"keep.tmp",
                b"abs",
                b"d/abs",
                b"here",
                b"#x#",
                b"a/",
                b"a/b",
                b"a/c",
                b"\xff/c/d",
                b"x",
            ] {
                assert_eq!(again.takes(key), selection.takes(key), "{}", String::from_utf8_lossy(key));
            }
            assert_eq!(again.kept(), selection.kept());
        }
        assert_eq!(Selection::all().kept(), None);
        assert!(Selection::from_kept(&serde_json::json!({ "exclude": ["a["] })).is_err());
    }

    #[test]
    fn selections_are_compared_by_what_they_leave_out() {
        let of = |patterns: &[&str]| excluding(patterns).unwrap().asked();
        assert!(of(&["a"]).covers(&of(&["a", "b"])) && !of(&["a", "b"]).covers(&of(&["a"])));
        assert!(!of(&["a", "!b"]).covers(&of(&["!b", "a"])), "their order matters");
        assert!(listing(b"a\nb\n").unwrap().asked().covers(&listing(b"a\n").unwrap().asked()));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["", " ", "a[", "{a", "[b-a]", "x\\"] {
            assert!(matches!(excluding(&[bad]), Err(ConnectorError::Usage { .. })), "{bad}");
        }
    }

    #[test]
    fn listed_paths_bring_their_directories_and_what_is_below() {
        let selection = listing(b"a/b/c\n./d//e/\n/home/x/f\n").unwrap();
        for taken in ["./", "a/", "a/b/", "a/b/c", "a/b/c/", "a/b/c/x", "d/", "d/e/x/y", "f"] {
            assert!(selection.takes(taken.as_bytes()), "{taken}");
        }
        for left in ["a", "a/b/cc", "a/c", "d", "d/f", "a/b.c", "ff"] {
            assert!(!selection.takes(left.as_bytes()), "{left}");
        }
        for bad in [&b"../x"[..], b"/etc/passwd", b"", b"\n\r\n"] {
            assert!(matches!(listing(bad), Err(ConnectorError::Usage { .. })), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn lines_may_end_as_on_windows_and_names_with_a_carriage_return() {
        let windows = listing(b"a\r\nb c\r\n\r\n").unwrap();
        assert!(windows.takes(b"a") && windows.takes(b"b c") && !windows.takes(b"a\r"));
        let odd = listing(b"a\r\nb\n").unwrap();
        assert!(odd.takes(b"a\r") && odd.takes(b"b") && !odd.takes(b"a"));
        let ended = listing(b"a\r\0b\r\0").unwrap();
        assert!(ended.takes(b"a\r") && !ended.takes(b"a"));
        assert!(listing(b".\n").unwrap().takes(b"anything"));
    }
}
