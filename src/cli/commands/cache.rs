//! `cache`: the local catalogs, and what is kept of far storage. Both can always be rebuilt from the repository.

use crate::{
    cli::{
        context::{Context, io_error},
        exit::{Failure, Status},
        show::{counted, render, table},
        units::{show_size, show_time},
    },
    record::Timestamp,
};
use clap::Subcommand;
use serde::Serialize;
use std::{
    io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

/// `cache`.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// List the catalogs, and what is kept of storage behind services
    List,
    /// Delete both; the next command rebuilds what it needs
    Clear,
}

#[derive(Debug, Serialize)]
struct CacheFile {
    path: PathBuf,
    bytes: u64,
    modified: Option<Timestamp>,
}

pub(super) fn run(command: &CacheCommand, context: &Context) -> Result<Status, Failure> {
    let dir = context.cache_dir()?;
    let files = list(&dir).map_err(|error| io_error("listing", &dir, error))?;
    if matches!(command, CacheCommand::Clear) {
        for file in &files {
            let remove = if file.path.is_dir() { std::fs::remove_dir_all } else { std::fs::remove_file };
            let removed = remove(&file.path);
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("deleting", &file.path, error).into());
                }
                _ => {}
            }
        }
    }
    if context.json {
        context.out.json(&files);
        return Ok(Status::Done);
    }
    if context.quiet && matches!(command, CacheCommand::Clear) {
        return Ok(Status::Done);
    }
    let bytes = show_size(files.iter().map(|file| file.bytes).sum());
    if matches!(command, CacheCommand::Clear) {
        context.out.line(format_args!(
            "deleted {}, {bytes}, in {}",
            counted(files.len() as u64, "file"),
            dir.display()
        ));
        return Ok(Status::Done);
    }
    let mut rows = table(&["file", "size", "last used"], &[1]);
    for file in &files {
        let name = file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        rows.add_row(vec![name, show_size(file.bytes), file.modified.map_or_else(String::new, show_time)]);
    }
    context.out.line(format_args!("{}: {}, {bytes}", dir.display(), counted(files.len() as u64, "file")));
    if !files.is_empty() {
        context.out.line(render(&rows));
    }
    Ok(Status::Done)
}

/// Whether a file is a catalog (`<repository id>-<location hash>.db`) or belongs to one: nothing else in the directory
/// is ours to delete.
fn is_catalog(name: &str) -> bool {
    let name = ["-wal", "-shm", "-journal"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    let hex = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.strip_suffix(".db")
        .and_then(|stem| stem.split_once('-'))
        .is_some_and(|(id, location)| hex(id, 32) && hex(location, 16))
}

/// Whether a directory is what is kept of a repository's storage (`<repository id>-<location hash>.objects`), or what sources
/// noted of what they read (`.notes`).
fn is_kept(name: &str) -> bool {
    let stem = [".objects", ".notes"].iter().find_map(|end| name.strip_suffix(end));
    stem.is_some_and(|stem| is_catalog(&format!("{stem}.db")) && !stem.contains('.'))
}

/// Whether a file is what is remembered of opening a place (`<location hash>.opened`).
fn is_remembered(name: &str) -> bool {
    name.strip_suffix(".opened")
        .is_some_and(|place| place.len() == 16 && place.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The bytes of all files below a directory; what goes meanwhile is left out.
fn bytes_below(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        Some(if metadata.is_dir() { bytes_below(&entry.path()) } else { metadata.len() })
    });
    sizes.sum()
}

fn list(dir: &Path) -> io::Result<Vec<CacheFile>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let name = entry.file_name();
        let is_ours = |is: fn(&str) -> bool| name.to_str().is_some_and(is);
        if metadata.is_file() && (is_ours(is_catalog) || is_ours(is_remembered))
            || metadata.is_dir() && is_ours(is_kept)
        {
            let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            files.push(CacheFile {
                path: entry.path(),
                bytes: if metadata.is_dir() { bytes_below(&entry.path()) } else { metadata.len() },
                modified: modified.map(|since| Timestamp::from_millis(since.as_millis() as i64)),
            });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_catalogs_are_ours_to_delete() {
        let catalog = format!("{}-{}.db", "0a".repeat(16), "f1".repeat(8));
        assert!(is_catalog(&catalog));
        assert!(is_catalog(&format!("{catalog}-wal")));
        let kept = catalog.replace(".db", ".objects");
        assert!(is_kept(&kept) && !is_kept(&catalog) && !is_kept("photos.objects") && !is_catalog(&kept));
        assert!(is_remembered(&format!("{}.opened", "f1".repeat(8))) && !is_remembered("letter.opened"));
        for other in ["notes.db", "a-b.db", "letter.txt", &format!("{catalog}.bak")] {
            assert!(!is_catalog(other), "{other}");
        }
    }
}
