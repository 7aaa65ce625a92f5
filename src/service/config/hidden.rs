//! A secret as it stands in a configuration.

use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// What stands in the place of a secret.
pub const HIDDEN: &str = "[secret]";

/// A secret, or a reference to one: `env:NAME`, `file:PATH`, `secrets:RESOURCE:KEY`. Never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}
