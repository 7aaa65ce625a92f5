//! What the rooms of `src/` may know of each other, read from their text.

#![allow(clippy::unwrap_used, reason = "tests")]
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every source file below a folder of `src/`, with its text up to its tests.
fn sources(below: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(below)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "{below}");
    found.sort();
    found
}

/// Whether code, comments left aside, holds what a person types: an option, or a command of ours in backticks.
fn names_what_is_typed(line: &str) -> bool {
    let code = line.trim_start();
    if code.starts_with("//") {
        return false;
    }
    let option = code.match_indices("--").any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + 2..].chars().next();
        before.is_none_or(|c| " `\"'(/,".contains(c)) && after.is_some_and(|c| c.is_ascii_lowercase())
    });
    option || code.contains("`rekeep ")
}

#[test]
fn below_the_front_end_no_text_names_an_option_or_a_command() {
    assert!(names_what_is_typed(r#"    "say --force","#) && names_what_is_typed(r#"format!("`rekeep prune`")"#));
    assert!(!names_what_is_typed("/// as with `--force`") && !names_what_is_typed("a - --b"));
    let mut wrong = Vec::new();
    for room in ["ops", "connector", "layer", "repo", "record", "report"] {
        for (path, text) in sources(room) {
            for (number, line) in text.lines().enumerate().filter(|(_, line)| names_what_is_typed(line)) {
                wrong.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "the front end adds what to type (cli/advice.rs):\n{}", wrong.join("\n"));
}
