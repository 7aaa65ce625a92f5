//! `deeplake:PLACE` as a target: a local folder, or a prefix at a service.

use super::{
    DeepLakeSource,
    cut::Cut,
    far::FarSession,
    far_place::FarPlace,
    kept::Told,
    local::{LocalSession, check_place},
    making::Wanted,
    names,
    place::LakePlace,
};
use crate::{
    connector::{
        ConnectorError, Leaves, Meets, Overwrite, Source, SourceUrl, Target, TargetAbilities, TargetCollection,
        TargetPlan, TargetSession,
    },
    record::KeyCodec,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use std::{
    fs, io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// How datasets are restored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeepLakeTargetOptions {
    /// As they were at a commit: its version, its number, a tag, or `@TIME` for the last one at or before a time.
    pub at_version: Option<String>,
    /// The branch that the version is on; by default `main`.
    pub branch: Option<String>,
    /// Whether what was not committed (version 3) stays as it was copied.
    pub keep_head: bool,
}

impl DeepLakeTargetOptions {
    fn wanted(self) -> Result<Wanted, ConnectorError> {
        Ok(Wanted { cut: self.cut()?, keep_head: self.keep_head })
    }

    fn cut(&self) -> Result<Option<Cut>, ConnectorError> {
        let wrong = |reason: String| ConnectorError::Options { reason };
        match (self.at_version.as_deref(), &self.branch) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(wrong("a branch without a version on it says nothing".to_owned())),
            (Some(at), branch) => match at.strip_prefix('@') {
                None => Ok(Some(Cut::Version(at.to_owned(), branch.clone()))),
                Some(_) if branch.is_some() => Err(wrong("a time cuts all branches: name none".to_owned())),
                Some(time) => {
                    let time: jiff::Timestamp =
                        time.parse().map_err(|_| wrong(format!("`{time}` is no time such as 2026-11-28T12:00:00Z")))?;
                    Ok(Some(Cut::Time(time.as_second())))
                }
            },
        }
    }
}

/// A place to restore datasets into.
#[derive(Debug)]
pub struct DeepLakeTarget {
    place: LakePlace,
    wanted: Wanted,
    told: Arc<Mutex<Told>>,
    /// Whether nodes are made anew: then nothing of the kind can be counted.
    resets: AtomicBool,
}

impl DeepLakeTarget {
    /// A target at `deeplake:PLACE`, which need not exist.
    ///
    /// # Errors
    /// [`ConnectorError`] if the URL or the options make no sense.
    pub fn new(url: &SourceUrl, options: DeepLakeTargetOptions) -> Result<Self, ConnectorError> {
        Ok(Self {
            place: LakePlace::of(url)?,
            wanted: options.wanted()?,
            told: Arc::default(),
            resets: AtomicBool::new(false),
        })
    }

    fn check_plan(&self, plan: &TargetPlan) -> Result<(), ConnectorError> {
        let wrong = |object: String, reason: &str| ConnectorError::Mismatch { object, reason: reason.to_owned() };
        if plan.connector != "deeplake" || plan.collections.iter().any(|one| one.codec != KeyCodec::Path) {
            let reason = "it holds no Deep Lake datasets; restore it to a target of its own kind";
            return Err(wrong("the snapshot".to_owned(), reason));
        }
        for collection in &plan.collections {
            let object = || format!("the dataset name `{}`", collection.name.escape_debug());
            names::parts(&collection.name).map_err(|reason| wrong(object(), &reason))?;
            if self.wanted.cut.is_some() && collection.attributes.get("version") != Some(&Json::from(4)) {
                let reason = "only version 4 keeps a log that can be cut; check out an older commit after the restore";
                return Err(wrong(format!("the dataset {}", collection.source_name), reason));
            }
        }
        for collection in &plan.collections {
            let below = format!("{}/", collection.name);
            if plan.collections.iter().any(|other| other.name.starts_with(&below)) {
                let reason = "another dataset would lie inside of it";
                return Err(wrong(format!("the dataset name `{}`", collection.name), reason));
            }
            if let LakePlace::Local(root) = &self.place {
                check_place(root, &collection.name)?;
            }
        }
        Ok(())
    }
}

impl Target for DeepLakeTarget {
    fn connector(&self) -> &'static str {
        "deeplake"
    }

    fn abilities(&self) -> TargetAbilities {
        TargetAbilities {
            overwrites: &[Overwrite::Always, Overwrite::Never],
            leaves: match self.place {
                LakePlace::Local(_) => Leaves::Collections,
                LakePlace::Remote(_) => Leaves::CollectionsInProgress,
            },
            ..TargetAbilities::default()
        }
    }

    fn stand_alone(&self, _: &TargetCollection) -> bool {
        // Its log and the files that it names are a dataset only together.
        false
    }

    fn occupied(&self, collections: &[String]) -> Result<Vec<(String, u64)>, ConnectorError> {
        let mut occupied = Vec::new();
        for name in collections {
            // What cannot be a name is refused with the plan.
            if names::parts(name).is_err() {
                continue;
            }
            let is_occupied = match &self.place {
                LakePlace::Local(root) => match fs::read_dir(root.join(name)) {
                    Ok(mut entries) => entries.next().is_some(),
                    Err(error) => error.kind() != io::ErrorKind::NotFound,
                },
                LakePlace::Remote(tree) => FarPlace::new(tree, name).is_occupied()?,
            };
            if is_occupied {
                occupied.push((name.clone(), 1));
            }
        }
        Ok(occupied)
    }

    fn rehearse(&self, plan: &TargetPlan) -> Result<Vec<Meets>, ConnectorError> {
        self.check_plan(plan)?;
        Ok(vec![Meets::Unknown; plan.collections.len()])
    }

    fn begin(&self, plan: &TargetPlan) -> Result<Box<dyn TargetSession>, ConnectorError> {
        self.check_plan(plan)?;
        let is_torn = |one: &TargetCollection| {
            one.attributes.get("torn").and_then(Json::as_array).is_some_and(|nodes| !nodes.is_empty())
        };
        self.resets.store(!self.wanted.keep_head && plan.collections.iter().any(is_torn), Ordering::Relaxed);
        Ok(match &self.place {
            LakePlace::Local(root) => Box::new(LocalSession::begin(root, plan, &self.wanted, &self.told)?),
            LakePlace::Remote(tree) => Box::new(FarSession::begin(tree, plan, &self.wanted, &self.told)?),
        })
    }

    fn changed_itself(&self, collection: &str) -> u64 {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).changed.get(collection).copied().unwrap_or(0)
    }

    fn read_back(&self) -> Result<Option<Box<dyn Source>>, ConnectorError> {
        // What is restored as it was at a commit is other files than the snapshot holds.
        if self.wanted.cut.is_some() || self.resets.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Some(Box::new(DeepLakeSource::back(self.place.clone(), &told))))
    }
}
