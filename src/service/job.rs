//! What the service does as jobs: what was asked for, how far it is, what came of it.

use crate::{ops::OpsError, record::Timestamp, report::ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// What a job is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Work {
    /// A backup of a routine.
    Backup {
        /// Which routine.
        routine: String,
        /// Whether every record is to be read.
        full: bool,
        /// Words of whoever asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// The backup that it is part of, by the name that the disaster recovery interface gave it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        /// What was asked for there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<String>,
        /// Whether it is true that most of what the source held is gone.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        accept_deletions: bool,
    },
    /// What a routine's policy does not keep is forgotten, and its space given back.
    Retention {
        /// Which routine.
        routine: String,
    },
    /// The newest backup of a routine is verified.
    Verify {
        /// Which routine.
        routine: String,
        /// `structure`, `data` or `restore`.
        how: String,
    },
    /// The newest backups of a routine are restored to a place that nobody needs, and looked at.
    Drill {
        /// Which routine.
        routine: String,
    },
    /// Snapshots are restored.
    Restore {
        /// Which routine's, if that is known.
        routine: Option<String>,
        /// The request as it came, without its secrets.
        request: Json,
    },
}

impl Work {
    /// A backup of a routine, by schedule or on demand.
    #[must_use]
    pub fn backup(routine: &str, full: bool) -> Self {
        Self::Backup {
            routine: routine.to_owned(),
            full,
            description: None,
            group: None,
            asked: None,
            accept_deletions: false,
        }
    }

    /// Whether a loss of most of what the source held is taken for true.
    #[must_use]
    pub const fn accepts_deletions(&self) -> bool {
        matches!(self, Self::Backup { accept_deletions: true, .. })
    }

    /// The routine that it belongs to.
    #[must_use]
    pub fn routine(&self) -> Option<&str> {
        match self {
            Self::Backup { routine, .. }
            | Self::Retention { routine }
            | Self::Verify { routine, .. }
            | Self::Drill { routine } => Some(routine),
            Self::Restore { routine, .. } => routine.as_deref(),
        }
    }

    /// What it is, in a word.
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Backup { .. } => "backup",
            Self::Retention { .. } => "retention",
            Self::Verify { .. } => "verify",
            Self::Drill { .. } => "drill",
            Self::Restore { .. } => "restore",
        }
    }

    /// What kind of backup it is: the `type` of metrics. Empty for everything else.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Backup { full: true, .. } => "full",
            Self::Backup { full: false, .. } => "incremental",
            _ => "",
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It waits.
    Queued,
    /// It is at work.
    Running,
    /// It is done, and nothing is missing.
    Success,
    /// It is done, and something is missing.
    Incomplete,
    /// It failed.
    Failure,
    /// It was stopped.
    Canceled,
    /// It was not begun, because another run of its routine was at work or had done it.
    Skipped,
}

impl JobState {
    /// All there are.
    pub const ALL: [Self; 7] =
        [Self::Queued, Self::Running, Self::Success, Self::Incomplete, Self::Failure, Self::Canceled, Self::Skipped];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Success => "success",
            Self::Incomplete => "incomplete",
            Self::Failure => "failure",
            Self::Canceled => "canceled",
            Self::Skipped => "skipped",
        }
    }

    /// By its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// As the backup service calls it: it knows nothing between done and failed, and what is missing something is not done.
    #[must_use]
    pub const fn of_service(self) -> &'static str {
        match self {
            Self::Queued | Self::Running => "running",
            Self::Success => "success",
            Self::Incomplete | Self::Failure => "failure",
            Self::Canceled | Self::Skipped => "canceled",
        }
    }
}

/// A job as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredJob {
    /// Its number.
    pub id: i64,
    /// What it is to do.
    pub work: Work,
    /// How far it is.
    pub state: JobState,
    /// Whose it is.
    pub tenant: Option<String>,
    /// Who asked for it: a key's name, `schedule`, `-`.
    pub by: String,
    /// When it was asked for.
    pub created: Timestamp,
    /// When it was due, if it is of a schedule.
    pub due: Option<Timestamp>,
    /// When it is to begin at the earliest.
    pub begin: Timestamp,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// How often it was begun.
    pub attempts: u32,
    /// What came of it.
    pub result: Json,
    /// Why it failed, in words.
    pub error: Option<String>,
    /// The kind of that error.
    pub error_kind: Option<String>,
}

/// A job that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// What it is to do.
    pub work: Work,
    /// Whose it is.
    pub tenant: Option<String>,
    /// Who asks.
    pub by: String,
    /// When it is due, if it is of a schedule.
    pub due: Option<Timestamp>,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// How.
    pub state: JobState,
    /// What came of it.
    pub result: Json,
    /// Why it failed, in words.
    pub error: Option<String>,
    /// The kind of that error.
    pub error_kind: Option<String>,
}

impl Ending {
    /// Without any result, for this reason.
    #[must_use]
    pub fn without(state: JobState, kind: &str, words: impl Into<String>) -> Self {
        Self { state, result: Json::Null, error: Some(words.into()), error_kind: Some(kind.to_owned()) }
    }
}

/// What a job came to.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// What came of it.
    pub(super) result: Json,
    /// Whether nothing is missing.
    pub(super) complete: bool,
    /// What is missing, in words.
    pub(super) problems: Vec<String>,
    /// Why what came of it is no good, in words, though it ran to its end.
    pub(super) failed: Option<String>,
    /// Why it was not done, where another does it.
    pub(super) skipped: Option<String>,
    /// Records that it moved.
    pub(super) records: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

/// Whether trying again may help.
pub(super) fn may_pass(error: &OpsError) -> bool {
    let kind = error.kind();
    !kind.is_usage()
        && !matches!(
            kind,
            ErrorKind::Interrupted
                | ErrorKind::WrongPassword
                | ErrorKind::RoleLacks
                | ErrorKind::NewerFormat
                | ErrorKind::SourceLost
                | ErrorKind::Internal
                | ErrorKind::NoRepository
                | ErrorKind::NoSnapshot
        )
}
