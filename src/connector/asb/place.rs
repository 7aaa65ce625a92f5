//! Where files are: one, a folder, several of both in order, or standard input.

use crate::connector::{ConnectorError, SourceUrl, url::path_from_text};
use std::{
    cmp::Ordering,
    fs, io,
    path::{Path, PathBuf},
};

/// What files of this kind end in.
pub const SUFFIX: &str = ".asb";
/// What the names of files begin with that hold indexes and modules only.
pub const METADATA_PREFIX: &str = "metadata_";

/// A place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AsbPlace {
    /// Standard input or output.
    Standard,
    /// Files and folders, in this order.
    Paths(Vec<PathBuf>),
}

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Where it is; `None` for standard input.
    pub path: Option<PathBuf>,
    /// Which of the places it belongs to.
    pub place: usize,
    /// Its length; 0 if unknown.
    pub len: u64,
}

impl Input {
    /// As a person knows it.
    #[must_use]
    pub fn show(&self) -> String {
        self.path.as_deref().map_or_else(|| "standard input".to_owned(), |path| path.display().to_string())
    }
}

impl AsbPlace {
    /// The place that a URL names, with those that follow it (`?then=`).
    ///
    /// # Errors
    /// [`ConnectorError::Url`] for other options.
    pub fn of(url: &SourceUrl) -> Result<Self, ConnectorError> {
        let wrong = |reason: String| ConnectorError::Url { url: url.to_string(), reason };
        let mut paths = vec![url.path()];
        for (option, value) in &url.options {
            if option != "then" || value.is_empty() {
                return Err(wrong(format!(
                    "`{option}` is not understood; write then=PATH for what comes after (a `?` in a name is written %3F)"
                )));
            }
            paths.push(path_from_text(value));
        }
        match (url.place.as_str(), paths.len()) {
            ("-", 1) => Ok(Self::Standard),
            ("-", _) => Err(wrong("standard input stands alone".to_owned())),
            _ => Ok(Self::Paths(paths)),
        }
    }

    /// As a person knows it.
    #[must_use]
    pub fn show(&self) -> String {
        match self {
            Self::Standard => "standard input or output".to_owned(),
            Self::Paths(paths) => {
                let all: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
                all.join(", ")
            }
        }
    }

    /// The files there, in order.
    ///
    /// # Errors
    /// [`ConnectorError`] if a place does not exist or has no such file.
    pub fn inputs(&self) -> Result<Vec<Input>, ConnectorError> {
        let Self::Paths(paths) = self else { return Ok(vec![Input { path: None, place: 0, len: 0 }]) };
        let mut inputs = Vec::new();
        for (place, path) in paths.iter().enumerate() {
            let object = path.display().to_string();
            let metadata = fs::metadata(path).map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => ConnectorError::Missing { object: object.clone() },
                _ => ConnectorError::Io { operation: "look at", object: object.clone(), source },
            })?;
            if !metadata.is_dir() {
                inputs.push(Input { path: Some(path.clone()), place, len: metadata.len() });
                continue;
            }
            let found = folder(path)?;
            if found.is_empty() {
                return Err(ConnectorError::Unreadable { object, reason: format!("no file in it ends in {SUFFIX}") });
            }
            inputs.extend(found.into_iter().map(|(path, len)| Input { path: Some(path), place, len }));
        }
        Ok(inputs)
    }
}

/// The files of a folder with their lengths: those of indexes and modules first, then as a person counts them.
pub fn folder(path: &Path) -> Result<Vec<(PathBuf, u64)>, ConnectorError> {
    let failed = |source| ConnectorError::Io { operation: "list", object: path.display().to_string(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // What is being written has a name that begins with a dot.
        if !name.ends_with(SUFFIX) || name.starts_with('.') {
            continue;
        }
        let metadata = fs::metadata(entry.path()).map_err(failed)?;
        if metadata.is_file() {
            found.push((name.into_owned(), entry.path(), metadata.len()));
        }
    }
    let is_metadata = |name: &str| name.starts_with(METADATA_PREFIX);
    found.sort_by(|a, b| is_metadata(&b.0).cmp(&is_metadata(&a.0)).then_with(|| by_number(&a.0, &b.0)));
    Ok(found.into_iter().map(|(_, path, len)| (path, len)).collect())
}

/// Names in the order of the numbers in them.
fn by_number(one: &str, other: &str) -> Ordering {
    let (mut a, mut b) = (one, other);
    loop {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (of_a, of_b) = (digits(a), digits(b));
        let order = if of_a > 0 && of_b > 0 {
            let (number_a, number_b) = (a[..of_a].trim_start_matches('0'), b[..of_b].trim_start_matches('0'));
            (a, b) = (&a[of_a..], &b[of_b..]);
            number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b))
        } else {
            match (a.chars().next(), b.chars().next()) {
                (Some(first), Some(second)) => {
                    (a, b) = (&a[first.len_utf8()..], &b[second.len_utf8()..]);
                    first.cmp(&second)
                }
                _ => return a.len().cmp(&b.len()).then_with(|| one.cmp(other)),
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_as_a_person_counts_them() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "n_10.asb",
            "n_2.asb",
            "n_1.asb",
            "metadata_n_11.asb",
            ".n_3.asb",
            "n.asb.state",
            "b_00001.asb",
            "b_00000.asb",
        ] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let found = folder(dir.path()).unwrap();
        let names: Vec<&str> = found.iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["metadata_n_11.asb", "b_00000.asb", "b_00001.asb", "n_1.asb", "n_2.asb", "n_10.asb"]);
    }

    #[test]
    fn places_are_one_or_several_in_order() {
        let place = |text: &str| AsbPlace::of(&SourceUrl::parse(text).unwrap());
        assert_eq!(place("asb:-").unwrap(), AsbPlace::Standard);
        assert_eq!(
            place("asb:a?then=b&then=c%20d").unwrap(),
            AsbPlace::Paths(vec!["a".into(), "b".into(), "c d".into()])
        );
        assert!(place("asb:-?then=a").is_err() && place("asb:a?x=y").is_err() && place("asb:a?then=").is_err());
    }
}
