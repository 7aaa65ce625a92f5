//! Under which names datasets may be restored: none leads out of the target.

use super::find::{SIDE, is_marker};

/// The parts of a dataset's name in a target: its own, with its tenant's before it or without.
///
/// # Errors
/// In words, why it cannot be one.
pub(super) fn parts(name: &str) -> Result<(Option<&str>, &str), String> {
    let split: Vec<&str> = name.split('/').collect();
    for part in &split {
        check(part)?;
    }
    match split[..] {
        [dataset] => Ok((None, dataset)),
        [tenant, dataset] => Ok((Some(tenant), dataset)),
        _ => Err("it is neither DATASET nor TENANT/DATASET".to_owned()),
    }
}

fn check(part: &str) -> Result<(), String> {
    let wrong = if part.is_empty() {
        "a part of it is empty"
    } else if part == "." || part == ".." {
        "it leads elsewhere"
    } else if part.chars().any(|c| c.is_control() || c == '\\') {
        "it holds control characters or backslashes"
    } else if part.len() > 200 {
        "a part of it is longer than 200 bytes"
    } else if part.starts_with(SIDE) {
        "such names are for restores under way"
    } else if is_marker(part) {
        "the folder that it would lie in would be taken for a dataset"
    } else {
        return Ok(());
    };
    Err(wrong.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused_and_plain_ones_are_not() {
        for bad in [
            "",
            "/",
            "/etc",
            "..",
            "../x",
            "a/..",
            "a/../../x",
            "a//b",
            "a/b/c",
            "./a",
            "a\0b",
            "a\nb",
            "..\\x",
            ".rekeep-x",
            "a/",
            "_deeplake_log",
            "t/_deeplake_log",
            "dataset_meta.json/x",
        ] {
            assert!(parts(bad).is_err(), "{bad:?}");
        }
        assert_eq!(parts("a b").unwrap(), (None, "a b"));
        assert_eq!(parts("t/..d").unwrap(), (Some("t"), "..d"));
        assert_eq!(parts("ü/日本").unwrap(), (Some("ü"), "日本"));
    }
}
