//! Drills: how a routine's newest backup is proved.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the newest backup of a routine is restored to a place that nobody needs, and looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DrillSettings {
    /// When drills are due; on demand only without it.
    pub interval_cron: Option<String>,
    /// A part of the records: `5%`, or about so many; all of them without it.
    pub sample: Option<String>,
    /// An empty target, which `service.restore-targets` must allow; a scratch folder without it.
    pub target: Option<String>,
    /// Its connector's options.
    #[schema(value_type = Option<Object>)]
    pub target_options: Option<serde_json::Map<String, serde_json::Value>>,
    /// A hook by name that is run before each restore: it makes the target hold nothing.
    pub prepare: Option<String>,
    /// Hooks by name that look at what was restored: one that fails fails the drill.
    pub assertions: Vec<String>,
    /// The drill fails if the backup is older than so many seconds.
    pub max_rpo: Option<u64>,
    /// The drill fails if the restore takes more than so many seconds.
    pub max_rto: Option<u64>,
}
