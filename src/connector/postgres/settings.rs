//! Options of `postgresql:` sources and targets.

use crate::connector::options::Length;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// How a server is used.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long to wait for the lock of a table; 10 s unless given, 0 for ever.
    pub lock_timeout: Option<Length>,
    /// How long one statement may take; for ever unless given.
    pub statement_timeout: Option<Length>,
}

/// How a database is restored.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TargetSettings {
    /// All or nothing, by one connection, also where the database has none of the tables.
    pub single_transaction: bool,
}

impl Settings {
    pub(super) fn lock_timeout_millis(&self) -> u128 {
        self.lock_timeout.map_or(Duration::from_secs(10), |length| length.0).as_millis().min(i32::MAX as u128)
    }

    pub(super) fn statement_timeout_millis(&self) -> u128 {
        self.statement_timeout.map_or(Duration::ZERO, |length| length.0).as_millis().min(i32::MAX as u128)
    }
}
