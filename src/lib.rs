//! rekeep: a content-addressed, deduplicating, encrypted backup repository for databases of records.
//!
//! The rooms, each of which may use those after it and never those before it: [`cli`], `service`, [`ops`], [`connector`],
//! [`layer`], [`repo`], [`record`]; and [`report`], the words in which all of them say what happened. Formats are specified in `format-spec/`.
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
