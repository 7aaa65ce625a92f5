//! What the rooms of `src/` may know of each other, read from their text.

#![allow(clippy::unwrap_used, reason = "tests")]
use std::{
    collections::{BTreeMap, BTreeSet},
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
    assert!(!names_what_is_typed("/// as with `--force`") && !names_what_is_typed("x--y"));
    let mut wrong = Vec::new();
    for room in ["ops", "connector", "layer", "repo", "record", "report"] {
        for (path, text) in sources(room) {
            // What another program is told nobody types.
            if path.ends_with("postgres/dump.rs") || path.ends_with("postgres/select.rs") {
                continue;
            }
            for (number, line) in text.lines().enumerate().filter(|(_, line)| names_what_is_typed(line)) {
                wrong.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "the front end adds what to type (cli/advice.rs):\n{}", wrong.join("\n"));
}

/// The text before its tests.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

/// Whether a file is there for tests alone.
fn is_for_tests(path: &Path) -> bool {
    path.iter().any(|part| ["tests", "tests.rs", "testing.rs", "vectors.rs"].iter().any(|name| part == *name))
}

/// A module's path, such as `repo::catalog::import`, by its file.
fn module_of(path: &Path) -> Vec<String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut parts: Vec<String> =
        path.strip_prefix(src).unwrap().iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let file = parts.pop().unwrap();
    let name = file.trim_end_matches(".rs");
    if !["mod", "lib", "main"].contains(&name) {
        parts.push(name.to_owned());
    }
    parts
}

/// Every path that a `use` statement of a text names, with whether it is given on to others.
fn used(text: &str) -> Vec<(Vec<String>, bool)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("use ") {
        let line = rest[..at].rsplit('\n').next().unwrap_or_default().trim();
        let behind = &rest[at + 4..];
        if line.is_empty() || line.starts_with("pub") {
            let statement: String =
                behind.split(';').next().unwrap_or_default().chars().filter(|c| !c.is_whitespace()).collect();
            let mut paths = Vec::new();
            spread(&statement, &mut Vec::new(), &mut paths);
            found.extend(paths.into_iter().map(|path| (path, line.starts_with("pub"))));
        }
        rest = behind;
    }
    found
}

/// Spreads `a::{b,c::{d,e}}` into its paths.
fn spread(tree: &str, before: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let brace = tree.find('{');
    let head = &tree[..brace.unwrap_or(tree.len())];
    let own = head.split("::").filter(|part| !part.is_empty()).map(|part| part.split("as ").next().unwrap().to_owned());
    let kept = before.len();
    before.extend(own);
    match brace {
        None => found.push(before.clone()),
        Some(brace) => {
            let inner = &tree[brace + 1..tree.rfind('}').unwrap_or(tree.len())];
            let (mut depth, mut start) = (0, 0);
            for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        if at > start {
                            spread(&inner[start..at], before, found);
                        }
                        start = at + 1;
                    }
                    _ => {}
                }
            }
        }
    }
    before.truncate(kept);
}

/// A path as seen from the root of the crate; `None` if it leads out of it.
fn from_root(path: &[String], module: &[String], modules: &BTreeSet<Vec<String>>) -> Option<Vec<String>> {
    let up = path.iter().take_while(|part| *part == "super").count();
    let rest = || path[up..].iter().cloned();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some(module.iter().cloned().chain(path[1..].iter().cloned()).collect()),
        _ if up > 0 => Some(module[..module.len().checked_sub(up)?].iter().cloned().chain(rest()).collect()),
        first => {
            let mut child = module.to_vec();
            child.push(first.to_owned());
            modules.contains(&child).then(|| module.iter().cloned().chain(rest()).collect())
        }
    }
}

/// Who uses what: modules, and the items that they name, followed to where they are made.
fn uses() -> Vec<(Vec<String>, Vec<String>)> {
    let files: Vec<_> = sources("").into_iter().filter(|(path, _)| !is_for_tests(path)).collect();
    let modules: BTreeSet<Vec<String>> = files.iter().map(|(path, _)| module_of(path)).collect();
    let (mut all, mut given_on) = (Vec::new(), BTreeMap::new());
    for (path, text) in &files {
        let module = module_of(path);
        for (used, is_public) in used(without_tests(text)) {
            let Some(target) = from_root(&used, &module, &modules) else { continue };
            if is_public && let Some(name) = target.last() {
                let name = module.iter().chain([name]).cloned().collect::<Vec<_>>();
                given_on.insert(name, target.clone());
            }
            all.push((module.clone(), target));
        }
    }
    for (_, target) in &mut all {
        while let Some(made) = given_on.get(target).filter(|made| *made != target) {
            target.clone_from(made);
        }
    }
    all
}

#[test]
fn use_statements_are_read() {
    let paths = used("use crate::{\n    a::{B, c::D},\n    e,\n};\npub use super::f::G;\n// use x;\nlet because = 1;");
    let shown: Vec<String> = paths.iter().map(|(path, _)| path.join("::")).collect();
    assert_eq!(shown, ["crate::a::B", "crate::a::c::D", "crate::e", "super::f::G"]);
    assert!(paths[3].1 && !paths[0].1);
}

/// From the top to the bottom: each room may use those behind it.
const ROOMS: [&str; 8] = ["cli", "service", "ops", "connector", "layer", "repo", "record", "report"];

#[test]
fn no_room_reaches_upwards() {
    let rank = |path: &[String]| path.first().and_then(|room| ROOMS.iter().position(|other| other == room));
    let mut wrong = BTreeSet::new();
    for (module, target) in uses() {
        if let (Some(from), Some(to)) = (rank(&module), rank(&target))
            && to < from
        {
            wrong.insert(format!("{} uses {}", module.join("::"), target.join("::")));
        }
    }
    // What is not imported is written out in full.
    for (at, room) in ROOMS.iter().enumerate() {
        for (path, text) in sources(room).into_iter().filter(|(path, _)| !is_for_tests(path)) {
            for above in &ROOMS[..at] {
                if without_tests(&text).contains(&format!("crate::{above}::")) {
                    wrong.insert(format!("{} names crate::{above}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_two_neighbours_use_each_other() {
    let mut edges: BTreeSet<(String, String, String)> = BTreeSet::new();
    for (module, target) in uses() {
        let common = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
        if let (Some(from), Some(to)) = (module.get(common), target.get(common)) {
            edges.insert((module[..common].join("::"), from.clone(), to.clone()));
        }
    }
    let mut found = BTreeSet::new();
    for (folder, a, b) in &edges {
        if a < b && edges.contains(&(folder.clone(), b.clone(), a.clone())) {
            found.insert(format!("{folder}: {a} <-> {b}"));
        }
    }
    assert!(found.is_empty(), "circles: {found:#?}");
}
