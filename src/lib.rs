//! rekeep: a content-addressed, deduplicating, encrypted backup repository for databases of records.
//!
//! The rooms, each of which may use those after it and never those before it: [`cli`], `service`, [`ops`], [`connector`],
//! [`layer`], [`repo`], [`record`]; and [`report`], the words in which all of them say what happened. Formats are specified in `format-spec/`.
//!
//! A program backs up and restores by jobs, which run on threads of their own:
//!
//! ```no_run
//! use rekeep::connector::{Options, Registry};
//! use rekeep::ops::{OpsError, backup::BackupOptions, job, restore::RestoreOptions};
//! use rekeep::repo::Repository;
//!
//! fn keep(repo: &Repository) -> Result<(), OpsError> {
//!     let connectors = Registry::default();
//!     let source = connectors.source("sqlite:app.db", &Options::default())?;
//!     let kept = job::backup(repo, source, BackupOptions::default())?.wait()?;
//!     println!("{} records, complete: {}", kept.records, kept.complete);
//!
//!     let newest = repo.snapshots()?.pop().expect("one was just made");
//!     let target = connectors.target("sqlite:restored.db", &Options::default())?;
//!     job::restore(repo, newest, target, RestoreOptions::default())?.wait()?;
//!     Ok(())
//! }
//! ```
//!
//! `examples/jobs.rs` is the whole of it, with the repository and what a person sees meanwhile.
#![forbid(unsafe_code)]

pub mod cli;
pub mod connector;
pub mod layer;
pub mod ops;
pub mod record;
pub mod repo;
pub mod report;
#[cfg(feature = "service")]
pub mod service;
