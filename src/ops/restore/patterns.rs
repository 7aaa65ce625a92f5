//! Patterns over keys, as people type them, and which of them met anything.

use crate::{ops::OpsError, record::KeyCodec};
use globset::{Candidate, Glob, GlobSet, GlobSetBuilder};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Globs over keys: over paths by their bytes, over other keys as they are shown. A path may also be given as it is shown
/// where that is not the path itself.
#[derive(Debug, Clone)]
pub(in crate::ops) struct Patterns {
    globs: GlobSet,
    /// Whose each glob is.
    owners: Vec<usize>,
    /// Paths to be met as they are, with what lies below, and whose they are.
    exact: Vec<(usize, Vec<u8>)>,
    texts: Vec<String>,
    met: Arc<[AtomicBool]>,
}

impl Patterns {
    /// `None` for no patterns.
    pub(super) fn new(codec: KeyCodec, texts: &[String]) -> Result<Option<Self>, OpsError> {
        if texts.is_empty() {
            return Ok(None);
        }
        let mut set = GlobSetBuilder::new();
        let (mut owners, mut exact) = (Vec::new(), Vec::new());
        for (owner, text) in texts.iter().enumerate() {
            if text.is_empty() {
                return Err(OpsError::Usage("an empty pattern matches nothing".to_owned()));
            }
            if let Some(path) = exact_path(codec, text) {
                exact.push((owner, path));
                continue;
            }
            let pattern = if codec == KeyCodec::Path { relative(text) } else { text.as_str() };
            let wrong = |error: globset::Error| OpsError::Usage(format!("`{text}` is no pattern: {error}"));
            set.add(Glob::new(pattern).map_err(wrong)?);
            owners.push(owner);
            // Naming a folder means what is in it too.
            if let Ok(below) = Glob::new(&format!("{}/**", pattern.trim_end_matches('/'))) {
                set.add(below);
                owners.push(owner);
            }
        }
        let globs = set.build().map_err(|error| OpsError::Usage(error.to_string()))?;
        let met = texts.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(Some(Self { globs, owners, exact, texts: texts.to_vec(), met }))
    }

    /// Whether one of them meets a key.
    pub(super) fn hit(&self, codec: KeyCodec, key: &[u8]) -> bool {
        let key_path = key.strip_suffix(b"/").unwrap_or(key);
        let path = match codec {
            KeyCodec::Path => path_of(key_path),
            _ => PathBuf::from(codec.show(key).trim_end_matches('/')),
        };
        let mut hit = false;
        let mut meet = |owner: usize| {
            hit = true;
            self.met[owner].store(true, Ordering::Relaxed);
        };
        let is_below = |dir: &[u8]| key_path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
        self.exact.iter().filter(|(_, exact)| is_below(exact)).for_each(|(owner, _)| meet(*owner));
        for glob in self.globs.matches_candidate(&Candidate::new(&path)) {
            meet(self.owners[glob]);
        }
        hit
    }

    /// The patterns as they were typed.
    pub(super) fn texts(&self) -> Vec<&str> {
        self.texts.iter().map(String::as_str).collect()
    }

    /// Whether the pattern of this number met a key.
    pub(super) fn has_met(&self, number: usize) -> bool {
        self.met[number].load(Ordering::Relaxed)
    }
}

/// A path that was typed as paths are shown that cannot be shown as they are.
fn exact_path(codec: KeyCodec, text: &str) -> Option<Vec<u8>> {
    let is_typed = codec == KeyCodec::Path && (text.starts_with("hex:") || text.starts_with("str:"));
    let path = codec.parse(text).ok().filter(|path| is_typed && path.as_slice() != text.as_bytes())?;
    Some(path.strip_suffix(b"/").map_or(path.clone(), <[u8]>::to_vec))
}

/// Paths are relative to the root: what is typed as `./x`, `/x` or `x/` is `x`.
fn relative(text: &str) -> &str {
    let mut rest = text;
    while let Some(shorter) = rest.strip_prefix("./").or_else(|| rest.strip_prefix('/')) {
        rest = shorter;
    }
    let rest = rest.trim_end_matches('/');
    if rest.is_empty() || rest == "." { "**" } else { rest }
}

#[cfg(unix)]
fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

#[cfg(not(unix))]
fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Result<Option<Patterns>, OpsError> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Patterns::new(KeyCodec::Path, &texts)
    }

    #[test]
    fn paths_are_met_however_they_are_typed() {
        for text in ["a/b", "./a/b", "/a/b", "a/b/", "str:a/b", "hex:612f62", "a/*", "."] {
            let pattern = patterns(&[text]).unwrap().unwrap();
            for key in [&b"a/b"[..], b"a/b/", b"a/b/c"] {
                assert!(pattern.hit(KeyCodec::Path, key), "{text} and {}", String::from_utf8_lossy(key));
            }
            assert!(text == "." || !pattern.hit(KeyCodec::Path, b"ab"), "{text}");
        }
        let odd = patterns(&["hex:ff", "str:hex:00", "*.\u{1}"]).unwrap().unwrap();
        for key in [&b"\xff"[..], b"\xff/x", b"hex:00", b"a.\x01", b"\xfe.\x01"] {
            assert!(odd.hit(KeyCodec::Path, key), "{key:?}");
        }
        assert!(!odd.hit(KeyCodec::Path, b"\xfe") && !odd.hit(KeyCodec::Path, b"\0"));
    }

    #[test]
    fn what_is_no_pattern_is_refused_and_what_met_nothing_is_known() {
        for bad in ["", "a[", "{a"] {
            assert!(matches!(patterns(&[bad]), Err(OpsError::Usage(_))), "{bad}");
        }
        let some = patterns(&["*.a", "*.b"]).unwrap().unwrap();
        assert!(some.hit(KeyCodec::Path, b"x.b"));
        assert_eq!((some.has_met(0), some.has_met(1)), (false, true));
    }
}
