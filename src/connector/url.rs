//! `sqlite:file.db?table=a`, `files:dir`, `jsonl:-`: which connector, which place, which options.

use super::ConnectorError;
pub use super::passwords::without_password;
use std::{fmt, path::PathBuf};

/// A parsed source or target URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceUrl {
    /// What precedes the first colon.
    pub scheme: String,
    /// What follows it, up to the query, as given (not percent-decoded: file names may hold any character; a `?` that
    /// belongs to the name is written `%3F`, a percent sign `%25`, and only these two are decoded).
    pub place: String,
    /// The same before anything is decoded, for connectors that decode all of it themselves.
    pub written: String,
    /// `key=value` pairs of the query, percent-decoded, in order.
    pub options: Vec<(String, String)>,
}

impl SourceUrl {
    /// The place as a path: `hex:` and its bytes, where it is written so (a path may be no text), else the text. A relative
    /// path that itself begins with `hex:` is written `./hex:…`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        path_from_text(&self.place)
    }

    /// Splits a URL.
    ///
    /// # Errors
    /// [`ConnectorError::Url`].
    pub fn parse(text: &str) -> Result<Self, ConnectorError> {
        let wrong = |reason: String| ConnectorError::Url { url: without_password(text), reason };
        let (scheme, rest) =
            text.split_once(':').ok_or_else(|| wrong("it has no scheme, such as sqlite:".to_owned()))?;
        let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
        if place.is_empty() {
            return Err(wrong("nothing follows the colon".to_owned()));
        }
        if crate::repo::storage::is_unexpanded_home(place) {
            return Err(wrong(format!(
                "`~` is the home directory only where a shell expands it, which none does behind a colon: write \
                 {scheme}:\"$HOME\"{}; a folder of that name is written {scheme}:./{place}",
                &place[1..]
            )));
        }
        if let Some(name) = crate::repo::storage::unexpanded_variable(place) {
            return Err(wrong(format!(
                "`{name}` is a variable only where a shell puts its value in place of it, and none did here: write the whole path; \
                 what bears that name is written {scheme}:./{place}"
            )));
        }
        let mut options = Vec::new();
        for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |part| percent_decode(part).ok_or_else(|| wrong(format!("`{part}` is not percent-encoded")));
            options.push((decode(key)?, decode(value)?));
        }
        let written = place.to_owned();
        let place = place.replace("%3F", "?").replace("%3f", "?").replace("%25", "%");
        Ok(Self { scheme: scheme.to_owned(), place, written, options })
    }
}

impl fmt::Display for SourceUrl {
    /// Without options, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&format!("{}:{}", self.scheme, self.place)))
    }
}

/// A path as it stands in a text: `hex:` and its bytes, or as it is.
#[must_use]
pub fn path_from_text(text: &str) -> PathBuf {
    let hex = text.strip_prefix("hex:");
    match hex.and_then(|hex| data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()) {
        Some(bytes) => path_of(bytes),
        None => PathBuf::from(text),
    }
}

#[cfg(unix)]
fn path_of(bytes: Vec<u8>) -> PathBuf {
    let text: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(bytes);
    text.into()
}

#[cfg(not(unix))]
fn path_of(bytes: Vec<u8>) -> PathBuf {
    String::from_utf8_lossy(&bytes).into_owned().into()
}

/// Text, of a path or a name, as it stands before the `?` of a URL.
#[must_use]
pub fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('?', "%3F")
}

pub(super) fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            let decoded = data_encoding::HEXLOWER_PERMISSIVE.decode(&digits).ok()?;
            out.extend_from_slice(&decoded);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_that_no_shell_expanded_is_no_folder() {
        for url in ["files:~/out", "files:~", "sqlite:~/a.db?table=t"] {
            let said = SourceUrl::parse(url).unwrap_err().to_string();
            assert!(said.contains("$HOME") && said.contains(":./~"), "{url}: {said}");
        }
        for url in ["files:./~/out", "sqlite:~a.db", "files:~user/x", "postgresql://~/x"] {
            SourceUrl::parse(url).unwrap();
        }
    }

    #[test]
    fn urls_split_into_scheme_place_and_options() {
        let url = SourceUrl::parse("sqlite:a b%3Fc.db?table=x%26y&table=z").unwrap();
        assert_eq!(url.place, "a b?c.db");
        assert_eq!(url.options, [("table".to_owned(), "x&y".to_owned()), ("table".to_owned(), "z".to_owned())]);
        assert_eq!(SourceUrl::parse("files:./hex:61").unwrap().path(), std::path::Path::new("./hex:61"));
        assert_eq!(SourceUrl::parse("files:hex:612f62").unwrap().path(), std::path::Path::new("a/b"));
        for bad in ["file.db", "sqlite:", "sqlite:x?table=%zz"] {
            assert!(SourceUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
