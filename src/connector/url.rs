//! `sqlite:file.db?table=a`, `files:dir`, `jsonl:-`: which connector, which place, which options.

use super::ConnectorError;
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

/// A URL as it may be shown and kept: without the password of `//USER:PASSWORD@HOST`, and without options that are secrets.
#[must_use]
pub fn without_password(url: &str) -> String {
    with_secrets_as(url, &|user| user.to_owned(), &|_| None)
}

/// A URL with its logins and its options that are secrets as they are to stand there: an option's name gives what takes the whole
/// option's place, if anything.
pub fn with_secrets_as(url: &str, login: &dyn Fn(&str) -> String, option: &dyn Fn(&str) -> Option<String>) -> String {
    let (place, query) = url.split_once('?').map_or((url, None), |(place, query)| (place, Some(query)));
    let mut shown = place.to_owned();
    match place.split_once("://") {
        // Only addresses of servers bear logins: a file's name may hold anything.
        Some((schemes, rest)) if schemes.chars().all(|c| c.is_ascii_alphanumeric() || "+-.:".contains(c)) => {
            // The password of a database may hold a slash; of others the login ends before the path.
            let of_database = DATABASES.iter().any(|scheme| schemes.split(':').any(|one| one == *scheme));
            let end = if of_database { rest.len() } else { rest.find(['/', '#']).unwrap_or(rest.len()) };
            if let Some((before, host)) = rest[..end].rsplit_once('@')
                && let Some((user, _)) = before.split_once(':')
            {
                shown = format!("{schemes}://{}@{host}{}", login(user), &rest[end..]);
            }
        }
        _ if DATABASES.iter().any(|scheme| place.starts_with(&format!("{scheme}:"))) => {
            // `host=… password=…`, which is no URL.
            let words = place.split(' ').filter_map(|word| match word.split_once('=') {
                Some((name, _)) if is_secret_option(name.rsplit(':').next().unwrap_or(name)) => option(name),
                _ => Some(word.to_owned()),
            });
            shown = words.collect::<Vec<_>>().join(" ");
        }
        _ => {}
    }
    let Some(query) = query else { return shown };
    let kept = query.split('&').filter_map(|pair| match pair.split_once('=') {
        Some((name, value)) if !value.is_empty() && is_secret_option(name) => option(name),
        _ => Some(pair.to_owned()),
    });
    format!("{shown}?{}", kept.collect::<Vec<_>>().join("&"))
}

/// Whether an option of this name is a secret; one that says where a secret is kept is none.
#[must_use]
pub fn is_secret_option(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let is_place = PLACES.iter().any(|end| name.ends_with(end));
    !is_place && (SECRETS.iter().any(|piece| name.contains(piece)) || name.ends_with("access-key"))
}

/// Schemes of addresses of databases.
const DATABASES: [&str; 3] = ["postgresql", "postgres", "atlasdb"];
/// Pieces of the names of options that are secrets.
const SECRETS: [&str; 8] =
    ["password", "secret", "token", "account-key", "application-key", "encryption-key", "credential", "sas-"];
/// How names of options end that say where a secret is.
const PLACES: [&str; 6] = ["-file", "-path", "-command", "-env", "-agent", "-name"];

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
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("postgresql://a:b@h/d?x=1&password=c&y=2", "postgresql://a@h/d?x=1&y=2"),
            ("postgresql://a:b:@c@h,i:1/d", "postgresql://a@h,i:1/d"),
            ("atlasdb:postgres://a:b@h", "atlasdb:postgres://a@h"),
            ("files:a:b@c", "files:a:b@c"),
            ("postgresql://h:1/d", "postgresql://h:1/d"),
            ("files:sftp://u:p@h/x?key=/k&port=1", "files:sftp://u@h/x?key=/k&port=1"),
            ("files:/a://b:c@d", "files:/a://b:c@d"),
            ("asb:s3://b/p?secret_access_key=x&region=r", "asb:s3://b/p?region=r"),
            ("asb:/tmp/q?encryption_key=x&encryption_key_file=/k", "asb:/tmp/q?encryption_key_file=/k"),
            ("postgresql:host=h user=u password=x dbname=d", "postgresql:host=h user=u dbname=d"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

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
