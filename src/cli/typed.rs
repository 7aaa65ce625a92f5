//! Arguments whose bytes are not UTF-8, as the text that means the same: URLs and keys name paths, and paths are bytes.

use data_encoding::HEXLOWER;
use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
};

/// A source or target: `files:hex:…` where the path is no text.
#[must_use]
pub fn url(argument: OsString) -> String {
    argument.into_string().unwrap_or_else(|argument| {
        let bytes = bytes_of(&argument);
        match bytes.iter().position(|&byte| byte == b':') {
            Some(colon) => {
                let (scheme, place) = (String::from_utf8_lossy(&bytes[..colon]), &bytes[colon + 1..]);
                format!("{scheme}:hex:{}", HEXLOWER.encode(place))
            }
            None => name(argument),
        }
    })
}

/// A key: `hex:…` where it is no text.
#[must_use]
pub fn key(argument: OsString) -> String {
    argument.into_string().unwrap_or_else(|argument| format!("hex:{}", HEXLOWER.encode(&bytes_of(&argument))))
}

/// A name of a person's own, such as that of a source or stream: as it is if it is text, else with each byte that is none as
/// `\\xNN`, and a backslash doubled, so that no two names come out alike.
#[must_use]
pub fn name(argument: OsString) -> String {
    argument.into_string().unwrap_or_else(|argument| {
        let mut name = String::new();
        for chunk in bytes_of(&argument).utf8_chunks() {
            name += &chunk.valid().replace('\\', "\\\\");
            chunk.invalid().iter().for_each(|byte| name += &format!("\\x{byte:02x}"));
        }
        name
    })
}

/// Paths as options: `hex:…` where one is no text, or might be taken for such.
#[must_use]
pub fn paths(arguments: &[PathBuf]) -> Vec<String> {
    let text = |path: &PathBuf| match path.to_str() {
        Some(text) if text.starts_with("hex:") => format!("./{text}"),
        Some(text) => text.to_owned(),
        None => format!("hex:{}", HEXLOWER.encode(&bytes_of(path.as_os_str()))),
    };
    arguments.iter().map(text).collect()
}

#[cfg(unix)]
fn bytes_of(argument: &OsStr) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(argument).to_vec()
}

#[cfg(not(unix))]
fn bytes_of(argument: &OsStr) -> Vec<u8> {
    argument.to_string_lossy().into_owned().into_bytes()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        assert_eq!(url("files:a b".into()), "files:a b");
        assert_eq!(url(OsString::from_vec(b"files:a\xff".to_vec())), "files:hex:61ff");
        assert_eq!(key("a".into()), "a");
        let odd = PathBuf::from(OsString::from_vec(b"a\xff".to_vec()));
        assert_eq!(paths(&["a".into(), "hex:61".into(), odd]), ["a", "./hex:61", "hex:61ff"]);
        assert_eq!(key(OsString::from_vec(b"a\xff".to_vec())), "hex:61ff");
        assert_eq!(name("a\\xff".into()), "a\\xff");
        assert_eq!(name(OsString::from_vec(b"a\\\xffb".to_vec())), "a\\\\\\xffb");
    }
}
