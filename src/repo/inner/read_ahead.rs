//! What is read ahead.

use std::sync::atomic::AtomicU64;

/// What is held by all who read ahead, in bytes.
#[derive(Debug, Default)]
pub(in crate::repo) struct Held(pub AtomicU64);
