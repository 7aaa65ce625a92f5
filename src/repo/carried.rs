//! Members of a manifest that this program does not know: whoever revises it carries them over, at every level.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::{cmp::Ordering, collections::BTreeMap};

/// Members by name, as they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Carried(BTreeMap<String, Json>);

impl Carried {
    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl Ord for Carried {
    fn cmp(&self, other: &Self) -> Ordering {
        let texts = |it: &Self| it.0.iter().map(|(name, json)| (name.clone(), json.to_string())).collect::<Vec<_>>();
        if self == other { Ordering::Equal } else { texts(self).cmp(&texts(other)) }
    }
}

impl PartialOrd for Carried {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
