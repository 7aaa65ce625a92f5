//! The shape of the records that are files, for all who read or write such records: keys, attributes as cells, and the whole
//! content. It is specified in `format-spec/files.md`.
#![cfg_attr(not(all(feature = "files", feature = "jsonl")), allow(dead_code, reason = "each is used by connectors"))]

pub(in crate::connector) mod cells;
pub mod unkept;
pub(in crate::connector) mod whole;

pub use unkept::{Uncompared, Unkept};
pub use whole::{Take, is_same_file, with_content};

/// The root's own key. No child can have it: `.` is no name.
pub const ROOT: &[u8] = b"./";

/// Whether a key is one that a tree can have: components that are neither empty nor `.` nor `..`, without NUL; or the
/// root's.
pub(in crate::connector) fn is_valid_key(key: &[u8]) -> bool {
    if key == ROOT {
        return true;
    }
    let path = key.strip_suffix(b"/").unwrap_or(key);
    !path.contains(&0) && path.split(|&byte| byte == b'/').all(|name| !name.is_empty() && name != b"." && name != b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_keys_are_no_keys() {
        for bad in
            [&b""[..], b"/", b"/etc/passwd", b"..", b"../x", b"a/../b", b"a//b", b"a/./b", b"a\0b", b".", b"a/.."]
        {
            assert!(!is_valid_key(bad), "{}", String::from_utf8_lossy(bad));
        }
        for good in [&b"./"[..], b"a", b"a/", b"...", b"\xff\n/..a", b"a/b/"] {
            assert!(is_valid_key(good), "{}", String::from_utf8_lossy(good));
        }
    }
}
