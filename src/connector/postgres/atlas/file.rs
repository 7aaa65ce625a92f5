//! Files that hold one timestamp, as `AtlasDB`'s own command writes and reads them.

use crate::connector::ConnectorError;
use std::{fs, path::Path};

/// Reads one: a number on one line.
pub fn read_timestamp(path: &Path) -> Result<i64, ConnectorError> {
    let object = || path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| ConnectorError::Io {
        operation: "read",
        object: object(),
        source,
    })?;
    let wrong = |reason: &str| ConnectorError::Unreadable { object: object(), reason: reason.to_owned() };
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let Some(line) = lines.next() else { return Err(wrong("it holds no timestamp")) };
    if lines.next().is_some() {
        return Err(wrong("it holds more than one line"));
    }
    match line.trim().parse::<i64>() {
        Ok(timestamp) if timestamp > 0 => Ok(timestamp),
        Ok(_) => Err(wrong("a timestamp is greater than 0")),
        Err(_) => Err(wrong("it holds no timestamp, which is a decimal number")),
    }
}

/// Writes one: the number and the end of the line.
pub fn write_timestamp(path: &Path, timestamp: i64) -> Result<(), ConnectorError> {
    let io = |operation| move |source| ConnectorError::Io { operation, object: path.display().to_string(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(io("make the folder of"))?;
    }
    fs::write(path, format!("{timestamp}\n")).map_err(io("write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_number_on_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        write_timestamp(&path, 25).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "25\n");
        for (text, is) in [
            ("25\n", Some(25)),
            ("25", Some(25)),
            (" 25\r\n", Some(25)),
            ("", None),
            ("1\n2\n", None),
            ("-5", None),
            ("0", None),
            ("1x", None),
            ("9223372036854775808", None),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(read_timestamp(&path).ok(), is, "{text:?}");
        }
        assert!(read_timestamp(&dir.path().join("none")).is_err());
    }
}
