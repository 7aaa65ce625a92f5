//! Targets that can say of a restore that only counts what they would do beside writing records.

use super::{ConnectorError, TargetPlan};
use crate::record::RecordBatch;

/// Looks at records of a restore that writes nothing, and says what would be done. Given by [`super::Target::foresight`].
pub trait Foresight {
    /// The collections whose records it wants to see, by their places in the plan, in the order in which it wants them.
    fn wanted(&self, plan: &TargetPlan) -> Vec<usize>;
    /// Takes records of one of them, by its name in the snapshot, in key order.
    ///
    /// # Errors
    /// [`ConnectorError`] if the restore itself would fail on them.
    fn see(&mut self, source_name: &str, batch: &RecordBatch) -> Result<(), ConnectorError>;
    /// What would be done, in words.
    fn say(&self) -> Vec<String>;
}
