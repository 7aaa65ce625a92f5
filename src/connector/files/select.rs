//! Which files are asked for: exclude patterns, lists of files, one file system.

use super::{FilesOptions, walk::is_valid_key};
use crate::connector::ConnectorError;
use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
};

/// One exclude pattern beside its globs.
struct Rule {
    /// A leading `!`: what an earlier pattern excluded is taken after all.
    includes: bool,
    /// A trailing `/`: only directories.
    only_directories: bool,
}

/// What is selected below a root.
pub(super) struct Selection {
    globs: GlobSet,
    /// The rule of each glob; the last one that matches decides.
    rules: Vec<Rule>,
    patterns: Vec<String>,
    /// The paths listed by `files_from`, without trailing slashes; `None` for all.
    listed: Option<BTreeSet<Vec<u8>>>,
    /// Whether directories on other file systems stay empty.
    pub(super) one_file_system: bool,
}

impl Selection {
    /// Reads pattern files and path lists. `root` is what absolute patterns and paths are taken relative to.
    pub(super) fn new(options: &FilesOptions, root: &Path) -> Result<Self, ConnectorError> {
        let mut patterns = options.exclude.clone();
        for file in &options.exclude_files {
            let bytes = read(file)?;
            let text = String::from_utf8(bytes).map_err(|_| ConnectorError::Unreadable {
                object: file.display().to_string(),
                reason: "exclude patterns must be UTF-8".to_owned(),
            })?;
            let lines = text.lines().map(|line| line.trim_end_matches('\r'));
            patterns.extend(lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#')).map(str::to_owned));
        }
        let (globs, rules) = compile(&patterns, root)?;
        let mut listed = None;
        for file in &options.files_from {
            add_paths(&read(file)?, root, listed.get_or_insert_default(), file)?;
        }
        Ok(Self { globs, rules, patterns, listed, one_file_system: options.one_file_system })
    }

    /// Everything.
    pub(super) fn all() -> Self {
        let patterns = Vec::new();
        Self { globs: GlobSet::empty(), rules: Vec::new(), patterns, listed: None, one_file_system: false }
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
        if self.rules.is_empty() {
            return false;
        }
        let (path, directory) = match key.strip_suffix(b"/") {
            Some(path) => (path, true),
            None => (key, false),
        };
        let matches = self.globs.matches_candidate(&Candidate::new(OsStr::from_bytes(path)));
        let rules = matches.into_iter().rev().map(|at| &self.rules[at]);
        rules.filter(|rule| directory || !rule.only_directories).map(|rule| !rule.includes).next().unwrap_or(false)
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
            let mut hasher = blake3::Hasher::new();
            for path in listed {
                hasher.update(path).update(&[0]);
            }
            parts.push(format!("files={}", hasher.finalize().to_hex()));
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

fn read(file: &Path) -> Result<Vec<u8>, ConnectorError> {
    fs::read(file).map_err(|source| ConnectorError::Io {
        operation: "read",
        object: file.display().to_string(),
        source,
    })
}

fn compile(patterns: &[String], root: &Path) -> Result<(GlobSet, Vec<Rule>), ConnectorError> {
    let mut builder = GlobSetBuilder::new();
    let mut rules = Vec::new();
    let wrong = |pattern: &str, error: globset::Error| ConnectorError::Mismatch {
        object: format!("the exclude pattern `{pattern}`"),
        reason: error.to_string(),
    };
    for pattern in patterns {
        let (includes, rest) = pattern.strip_prefix('!').map_or((false, pattern.as_str()), |rest| (true, rest));
        let (only_directories, rest) = rest.strip_suffix('/').map_or((false, rest), |rest| (true, rest));
        let within = root.to_str().and_then(|root| rest.strip_prefix(root)).filter(|rest| rest.starts_with('/'));
        let rest = within.unwrap_or(rest);
        let glob = rest.strip_prefix('/').map_or_else(|| format!("**/{rest}"), str::to_owned);
        let glob = GlobBuilder::new(&glob).literal_separator(true).backslash_escape(true).build();
        builder.add(glob.map_err(|error| wrong(pattern, error))?);
        rules.push(Rule { includes, only_directories });
    }
    let globs = builder.build().map_err(|error| wrong(&patterns.join(" "), error))?;
    Ok((globs, rules))
}

/// One path per line, or ended by NULs if there is one in the file; below `root`, or relative to it.
fn add_paths(bytes: &[u8], root: &Path, out: &mut BTreeSet<Vec<u8>>, file: &Path) -> Result<(), ConnectorError> {
    let separator = if bytes.contains(&0) { 0 } else { b'\n' };
    for (number, line) in bytes.split(|&byte| byte == separator).enumerate() {
        if line.is_empty() {
            continue;
        }
        let path = Path::new(OsStr::from_bytes(line));
        let relative = path.strip_prefix(root).unwrap_or(path);
        // Components also drop repeated slashes and `.`.
        let clean: std::path::PathBuf =
            relative.components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect();
        let clean = clean.into_os_string().into_vec();
        if clean.is_empty() {
            continue;
        }
        if !is_valid_key(&clean) {
            return Err(ConnectorError::Mismatch {
                object: format!("`{}` (entry {} of {})", path.display(), number + 1, file.display()),
                reason: format!("the path does not lie below {}", root.display()),
            });
        }
        out.insert(clean);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluding(patterns: &[&str]) -> Selection {
        let exclude = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Selection::new(&FilesOptions { exclude, ..FilesOptions::default() }, Path::new("/home/x")).unwrap()
    }

    #[test]
    fn patterns_match_names_anchors_and_directories() {
        let selection = excluding(&["*.tmp", "/build", "cache/", "doc/*.html", "!keep.tmp", "/home/x/abs"]);
        for out in ["a.tmp", "d/a.tmp", "build", "build/", "d/cache/", "x/doc/a.html", "abs"] {
            assert!(!selection.takes(out.as_bytes()), "{out}");
        }
        for kept in ["a.tmpx", "d/build", "cache", "doc/a/b.html", "keep.tmp", "d/keep.tmp", "d/abs"] {
            assert!(selection.takes(kept.as_bytes()), "{kept}");
        }
        assert!(!excluding(&["*.tmp"]).takes(b"\xff.tmp"));
    }

    #[test]
    fn listed_paths_bring_their_directories_and_what_is_below() {
        let mut listed = BTreeSet::new();
        add_paths(b"a/b/c\n./d//e/\n/home/x/f\n", Path::new("/home/x"), &mut listed, Path::new("list")).unwrap();
        let selection = Selection { listed: Some(listed), ..Selection::all() };
        for taken in ["./", "a/", "a/b/", "a/b/c", "a/b/c/", "a/b/c/x", "d/", "d/e/x/y", "f"] {
            assert!(selection.takes(taken.as_bytes()), "{taken}");
        }
        for left in ["a", "a/b/cc", "a/c", "d", "d/f", "a/b.c", "ff"] {
            assert!(!selection.takes(left.as_bytes()), "{left}");
        }
        for bad in [&b"../x"[..], b"/etc/passwd"] {
            assert!(add_paths(bad, Path::new("/home/x"), &mut BTreeSet::new(), Path::new("list")).is_err());
        }
    }
}
