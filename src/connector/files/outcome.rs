//! What targets say of what they could not do.

use crate::{connector::Outcomes, record::KeyCodec};

/// What is said of a part of the target that could not be compared.
pub(super) const UNSEEN: &str = "what stands in the target could not be looked at";

/// Counts a record that could not be written.
pub(super) fn failed(outcomes: &mut Outcomes, key: &[u8], reason: String) {
    outcomes.fail(|| KeyCodec::Path.show(key), reason);
}
