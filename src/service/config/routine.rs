//! Routines: what is backed up, when, and to where.

use super::{AgentRef, DrillSettings, SecretAgent};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What becomes of a run that is due while one of its routine is at work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// It waits; of several one waits.
    #[default]
    Queue,
    /// It is skipped, and counted.
    Skip,
}

/// A backup that is taken again and again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Routine {
    /// When fulls are due: six or seven fields as go-quartz reads them, five as Unix does, or `@daily`.
    pub interval_cron: String,
    /// When incrementals are due.
    pub incr_interval_cron: Option<String>,
    /// The cluster to back up.
    pub source_cluster: Option<String>,
    /// The storage to back up to.
    pub storage: Option<String>,
    /// Namespaces; all if there are none.
    pub namespaces: Option<Vec<String>>,
    /// The policy.
    pub backup_policy: Option<String>,
    /// Only these sets.
    pub set_list: Option<Vec<String>>,
    /// Only these bins.
    pub bin_list: Option<Vec<String>>,
    /// Only the partitions that these nodes master: ids, or HOST:PORT.
    pub node_list: Option<Vec<String>>,
    /// Only the partitions whose masters stand in these racks.
    pub rack_list: Option<Vec<u32>>,
    /// Only these partitions: `0,100-50` are 0 and the fifty from 100 on.
    pub partition_list: Option<String>,
    /// Whom to ask for secrets: a name of `secret-agents`, or an agent of its own.
    pub secret_agent: Option<AgentRef>,
    /// Do not run by schedule.
    pub disabled: Option<bool>,
    /// Only records that pass this filter expression, in base64.
    pub filter_exp: Option<String>,
    /// The zone of the schedules: `UTC`, `Local`, or a name such as `Europe/Berlin`.
    pub schedule_timezone: Option<String>,
    /// A source of any connector, by its URL, in the place of a cluster.
    pub source: Option<String>,
    /// That connector's options.
    #[schema(value_type = Option<Object>)]
    pub source_options: Option<serde_json::Map<String, serde_json::Value>>,
    /// Name the source instead of by its address.
    pub source_name: Option<String>,
    /// The repository to back up to, in the place of a storage.
    pub repository: Option<String>,
    /// What becomes of a run that is due while one is at work.
    pub on_overlap: Option<Overlap>,
    /// Whether one run makes up for those that were missed while the service was down; yes by default.
    pub catch_up: Option<bool>,
    /// Begin up to so many seconds after the time that is due, by the routine's name.
    pub jitter: Option<u32>,
    /// Only begin between these times of the day: `22:00-06:00`.
    pub window: Option<String>,
    /// Tags of its snapshots.
    pub tags: Option<Vec<String>>,
    /// Tell somebody if the newest backup is older than so many seconds.
    pub max_age: Option<u32>,
    /// Whose it is.
    pub tenant: Option<String>,
    /// The hooks to run before, by name.
    pub before: Option<Vec<String>>,
    /// The hooks to run after, by name.
    pub after: Option<Vec<String>>,
    /// How its newest backup is proved.
    pub drill: Option<DrillSettings>,
}

impl Routine {
    /// Whether it runs by schedule.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.disabled != Some(true)
    }

    /// The secret agent: its own, or the name of one.
    #[must_use]
    pub fn agent(&self) -> (Option<&SecretAgent>, Option<&str>) {
        match &self.secret_agent {
            Some(AgentRef::Own(agent)) => (Some(agent), None),
            Some(AgentRef::Named(name)) => (None, Some(name)),
            None => (None, None),
        }
    }
}
