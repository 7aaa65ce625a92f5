//! In which class of storage each pack lies.

use super::OpsError;
use crate::repo::{ObjectName, Storage, pack, storage::may_be_cold};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

/// What a listing says of packs.
pub(super) struct Classes {
    /// Whether listings tell there.
    pub tells: bool,
    pub of: HashMap<ObjectName, Arc<str>>,
}

impl Classes {
    pub fn list(storage: &Storage) -> Result<Self, OpsError> {
        let mut of = HashMap::new();
        // There are few, and millions of packs.
        let mut known: BTreeSet<Arc<str>> = BTreeSet::new();
        let tells = storage.list_classes("packs/", &mut |page| {
            for (listed, class) in page {
                let Some(name) = pack::parse_path(&listed.name) else { continue };
                let class = known.get(&*class).map_or_else(|| Arc::from(class.as_str()), Arc::clone);
                known.insert(Arc::clone(&class));
                of.insert(name, class);
            }
        })?;
        Ok(Self { tells, of })
    }

    /// The packs that may have to be thawed.
    pub fn cold(&self) -> HashSet<ObjectName> {
        self.of.iter().filter(|(_, class)| may_be_cold(class)).map(|(name, _)| *name).collect()
    }
}
