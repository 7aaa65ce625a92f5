//! Where in the text of a configuration something stands, so that what is wrong with it has a line.

use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::Spanned;
use std::collections::BTreeMap;

type Fields = BTreeMap<String, Spanned<IgnoredAny>>;
type Named = BTreeMap<String, Fields>;

/// The lines of fields, of sections that hold named things.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Located {
    aerospike_clusters: Named,
    storage: Named,
    backup_policies: Named,
    backup_routines: Named,
    secret_agents: Named,
    repositories: Named,
    service: Fields,
}

impl Located {
    /// Of a text; nothing is known of one that cannot be read so.
    pub(super) fn of(text: &str) -> Self {
        serde_saphyr::from_str(text).unwrap_or_default()
    }

    /// The line of a path, or of the nearest above it that is known.
    pub(super) fn line(&self, path: &[String]) -> Option<u64> {
        let section = match path.first()?.as_str() {
            "aerospike-clusters" => &self.aerospike_clusters,
            "storage" => &self.storage,
            "backup-policies" => &self.backup_policies,
            "backup-routines" => &self.backup_routines,
            "secret-agents" => &self.secret_agents,
            "repositories" => &self.repositories,
            "service" => return line_of(&self.service, path.get(1)),
            _ => return None,
        };
        line_of(section.get(path.get(1)?)?, path.get(2))
    }
}

/// The line of a field, else of the first.
fn line_of(fields: &Fields, name: Option<&String>) -> Option<u64> {
    let own = name.and_then(|name| fields.get(name));
    let first = || fields.values().min_by_key(|field| field.referenced.line());
    own.or_else(first).map(|field| u64::from(field.referenced.line() as u32))
}
