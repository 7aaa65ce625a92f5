//! From a URL to a connector: the one place that knows which there are.

use super::{
    aerospike::AerospikeReadArgs,
    aerospike_target::AerospikeTargetArgs,
    exit::{Failure, usage},
};
use crate::connector::{
    ConnectorError, Source, SourceUrl, Target,
    aerospike::{AerospikeSource, AerospikeTarget},
    files::{FilesOptions, FilesSource, FilesTarget, FilesTargetOptions},
    jsonl::{JsonlSource, JsonlTarget},
    sqlite::{SqliteSource, SqliteTarget},
};
use std::path::PathBuf;

/// What only some sources understand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceOptions {
    /// Globs of paths to leave out.
    pub exclude: Vec<String>,
    /// Files of such globs.
    pub exclude_files: Vec<PathBuf>,
    /// Files of paths to read, instead of all.
    pub files_from: Vec<PathBuf>,
    /// Stay on one file system.
    pub one_file_system: bool,
    /// Read standard input as one value under this name.
    pub stdin: Option<String>,
    /// What only Aerospike understands.
    pub aerospike: AerospikeReadArgs,
}

impl SourceOptions {
    fn narrows_files(&self) -> bool {
        let Self { exclude, exclude_files, files_from, one_file_system, stdin, aerospike: _ } = self;
        !exclude.is_empty()
            || !exclude_files.is_empty()
            || !files_from.is_empty()
            || *one_file_system
            || stdin.is_some()
    }
}

/// The source that a URL names.
pub fn source(text: &str, options: SourceOptions) -> Result<Box<dyn Source>, Failure> {
    let url = SourceUrl::parse(text)?;
    if url.scheme != "aerospike" && options.aerospike.narrows() {
        return Err(usage(format!(
            "--set, --bin, --partitions, --no-records and their kin are for aerospike: sources, not `{text}`"
        )));
    }
    if url.scheme != "files" && options.narrows_files() {
        return Err(usage(format!(
            "--exclude, --exclude-file, --files-from, --one-file-system and --stdin are for files: sources, not `{text}`"
        )));
    }
    if url.scheme == "aerospike" {
        return Ok(Box::new(AerospikeSource::new(&url, options.aerospike.options()?)?));
    }
    let files = FilesOptions {
        exclude: options.exclude,
        exclude_files: options.exclude_files,
        files_from: options.files_from,
        one_file_system: options.one_file_system,
        stdin: options.stdin,
    };
    Ok(match url.scheme.as_str() {
        "sqlite" => Box::new(SqliteSource::new(&url)?),
        "files" => Box::new(FilesSource::new(&url, files)?),
        "jsonl" => Box::new(JsonlSource::new(&url)?),
        _ => return Err(unknown(text).into()),
    })
}

/// What only some targets understand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetOptions {
    /// Set owners by name (files).
    pub owners_by_name: bool,
    /// Whether only single records are restored.
    pub single_records: bool,
    /// What only Aerospike understands.
    pub aerospike: AerospikeTargetArgs,
}

/// The target that a URL names.
pub fn target(text: &str, options: TargetOptions) -> Result<Box<dyn Target>, Failure> {
    let url = SourceUrl::parse(text)?;
    let owners_by_name = options.owners_by_name;
    if url.scheme != "aerospike" && options.aerospike.narrows() {
        return Err(usage(format!(
            "--set, --bin, --partitions, --indexes, --set-map, --extra-ttl, --no-records and their kin are for aerospike: \
             targets, not `{text}`"
        )));
    }
    if url.scheme == "aerospike" {
        let (connect, how) = options.aerospike.options(options.single_records)?;
        return Ok(Box::new(AerospikeTarget::new(&url, connect, how)?));
    }
    if url.scheme != "files" && owners_by_name {
        return Err(usage(format!("--owners-by-name is for files: targets, not `{text}`")));
    }
    Ok(match url.scheme.as_str() {
        "sqlite" => Box::new(SqliteTarget::new(&url)?),
        "files" => Box::new(FilesTarget::new(&url, FilesTargetOptions { owners_by_name })?),
        "jsonl" => Box::new(JsonlTarget::new(&url)?),
        _ => return Err(unknown(text).into()),
    })
}

/// A scheme that the parser knows and this file does not.
fn unknown(text: &str) -> ConnectorError {
    ConnectorError::Url { url: text.to_owned(), reason: "there is no connector for it".to_owned() }
}

/// Whether a target's records go to standard output, where then nothing else may go.
#[must_use]
pub fn is_stdout(text: &str) -> bool {
    SourceUrl::parse(text).is_ok_and(|url| url.scheme == "jsonl" && url.place == "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_files_are_refused_elsewhere() {
        let options = SourceOptions { exclude: vec!["*.tmp".into()], ..SourceOptions::default() };
        let error = source("sqlite:a.db", options).err().unwrap();
        assert!(error.to_string().contains("--exclude"), "{error}");
    }

    #[test]
    fn standard_output_is_recognised() {
        assert!(is_stdout("jsonl:-"));
        assert!(!is_stdout("jsonl:out.jsonl"));
    }
}
