//! The slots of a repository: reading, listing, adding, removing, mending. Each is kept twice.

use super::{
    CONFIG, COPIES, Capability, KdfParams, Keyring, Role, Unlock, config,
    crypto::random,
    lines,
    slot::{self, Slot},
};
use crate::report::{ErrorKind, Trouble};
use crate::{
    record::Timestamp,
    repo::{
        RepoError, RepoId, Storage,
        names::{self, Fit, fit},
        storage::Created,
    },
};
use data_encoding::HEXLOWER;
use std::collections::BTreeSet;

const DAMAGED: &str = "damaged";
const NEWER: &str = "newer";

/// One key slot, as `key list` shows it.
#[derive(Debug, Clone)]
pub struct SlotInfo {
    /// The slot's object name under `keys/`.
    pub name: String,
    /// `password`, `recovery`, `external`; `damaged`, or `newer` if a newer program wrote it.
    pub kind: String,
    /// What it allows; `None` for one that cannot be read.
    pub role: Option<Role>,
    /// The service that keeps its key, for external ones.
    pub provider: Option<String>,
    /// Words given when it was made: host and user.
    pub label: String,
    /// When it was made.
    pub created: Timestamp,
    /// Whether the keyring in use was opened through it.
    pub current: bool,
}

/// A slot, and the slot if it is readable.
pub(super) struct Found {
    pub name: String,
    pub slot: Result<Slot, RepoError>,
    /// Its copy, if that is another.
    pub other: Option<Slot>,
    /// What is wrong with one of the two objects.
    pub warning: Option<String>,
}

fn copy_path(name: &str) -> String {
    format!("{COPIES}{}", slot::path(name))
}

/// The names of all slots; those that no slot can have are passed over.
fn named(storage: &Storage) -> Result<BTreeSet<String>, RepoError> {
    let mut names = BTreeSet::new();
    let folders = ["keys/".to_owned(), format!("{COPIES}keys/")].map(|folder| (storage.begin_list(&folder), folder));
    for (listing, folder) in folders {
        let listed = listing.get()?;
        let fitting = listed.iter().filter(|it| fit(&it.name) == Fit::Object);
        names.extend(fitting.filter_map(|it| it.name.strip_prefix(&folder)).map(str::to_owned));
    }
    Ok(names)
}

/// Every slot, by name, each readable or not.
pub(super) fn read(storage: &Storage, id: &RepoId) -> Result<Vec<Found>, RepoError> {
    let names = named(storage)?;
    let mut found = Vec::new();
    let paths = names.iter().flat_map(|name| [slot::path(name), copy_path(name)]);
    let mut reading = lines::read_each(storage, paths.collect());
    for name in names {
        let mut next = || {
            let (path, bytes) = reading.next()?;
            Some(bytes.and_then(|bytes| Slot::parse(&name, &path, &bytes, id)))
        };
        let (Some(first), Some(copy)) = (next(), next()) else { break };
        let passing = |error: &RepoError| matches!(error, RepoError::Storage { .. } | RepoError::Missing { .. });
        let (slot, other, warning) = match (first, copy) {
            // Removed since it was listed.
            (Err(RepoError::Missing { .. }), Err(RepoError::Missing { .. })) => continue,
            (Ok(slot), Ok(copy)) => {
                let other = (slot != copy).then_some(copy);
                let warning = other.is_some().then(|| format!("keys/{name} and its copy differ: one was altered"));
                (Ok(slot), other, warning)
            }
            (Ok(slot), Err(error)) => (Ok(slot), None, Some(format!("the copy of a key slot cannot be used: {error}"))),
            (Err(error), Ok(slot)) => (Ok(slot), None, Some(format!("{error}; its copy was used"))),
            (Err(error), Err(copy)) => (Err(if passing(&error) && !passing(&copy) { copy } else { error }), None, None),
        };
        found.push(Found { name, slot, other, warning });
    }
    Ok(found)
}

/// Fails where something is no folder and stands in the place of one with slots: a slot that is removed or made would be so in
/// one of the two alone.
pub fn both_are_folders(storage: &Storage) -> Result<(), RepoError> {
    for folder in ["keys/".to_owned(), format!("{COPIES}keys/")] {
        if let Some(object) = names::in_its_place(&folder, &storage.list(&folder)?) {
            return Err(RepoError::Hidden { object: object.to_owned() });
        }
    }
    Ok(())
}

/// The key slots. A damaged one is shown with the kind `damaged`, one that a newer program wrote as `newer`.
pub fn slots(storage: &Storage, keyring: &Keyring) -> Result<Vec<SlotInfo>, RepoError> {
    let infos = read(storage, &keyring.repo_id)?.into_iter().map(|found| {
        let current = found.name == keyring.slot;
        match found.slot {
            Ok(slot) => SlotInfo {
                name: found.name,
                provider: slot.provider().map(str::to_owned),
                kind: slot.kind,
                role: Some(slot.role),
                label: slot.label,
                created: slot.created,
                current,
            },
            Err(error) => SlotInfo {
                name: found.name,
                kind: if error.kind() == ErrorKind::NewerFormat { NEWER } else { DAMAGED }.to_owned(),
                role: None,
                provider: None,
                label: error.to_string(),
                created: Timestamp::default(),
                current,
            },
        }
    });
    Ok(infos.collect())
}

/// Adds a slot for another password, recovery key or service; gives its name.
pub fn add_slot(
    storage: &Storage,
    keyring: &Keyring,
    unlock: &Unlock,
    role: Role,
    kdf: KdfParams,
    label: &str,
    now: Timestamp,
) -> Result<String, RepoError> {
    keyring.need(Capability::Administer)?;
    let name = HEXLOWER.encode(&random::<16>()?);
    let bytes = lines::print(&Slot::make(&name, keyring, unlock, role, kdf, label, now)?)?;
    match storage.create(&slot::path(&name), &bytes)? {
        Created::New => storage.create(&copy_path(&name), &bytes).map(|_| name),
        Created::Exists => Err(RepoError::Internal(format!("the random slot name {name} is taken"))),
    }
}

/// The copy goes first: a slot of which only one object is left is still shown, and told of.
pub(super) fn delete(storage: &Storage, name: &str) -> Result<(), RepoError> {
    storage.delete(&copy_path(name))?;
    storage.delete(&slot::path(name))
}

/// Removes the slot whose name begins with `prefix`; refuses to remove the last readable one of an administrator. Of several
/// who remove slots at once the last to look puts his back if the others are gone by then.
pub fn remove_slot(storage: &Storage, keyring: &Keyring, prefix: &str) -> Result<(), RepoError> {
    keyring.need(Capability::Administer)?;
    both_are_folders(storage)?;
    let slots = slots(storage, keyring)?;
    let mut matching = slots.iter().filter(|slot| !prefix.is_empty() && slot.name.starts_with(prefix));
    let Some(slot) = matching.next() else {
        return Err(RepoError::Invalid(format!("no key slot begins with `{prefix}`")));
    };
    if matching.next().is_some() {
        return Err(RepoError::Invalid(format!("more than one key slot begins with `{prefix}`")));
    }
    let is_admin = |other: &&SlotInfo| other.name != slot.name && other.role == Some(Role::Admin);
    let others: Vec<_> = slots.iter().filter(is_admin).collect();
    if others.is_empty() {
        return Err(RepoError::Invalid(format!(
            "{} is the last key slot of an administrator: without it keys could be made no more",
            slot.name
        )));
    }
    let path = slot::path(&slot.name);
    let bytes = match lines::read(storage, &path) {
        Err(RepoError::Missing { .. }) => lines::read(storage, &copy_path(&slot.name))?,
        // Longer than any slot: it opens nothing, so nothing would be put back.
        Err(RepoError::Damaged { .. }) => return delete(storage, &slot.name),
        other => other?,
    };
    delete(storage, &slot.name)?;
    // By name, since a listing may be late.
    let left = others
        .iter()
        .try_fold(false, |left, other| Ok::<_, RepoError>(left || storage.len(&slot::path(&other.name))?.is_some()));
    match left {
        Ok(true) => Ok(()),
        left => {
            storage.create(&path, &bytes)?;
            storage.create(&copy_path(&slot.name), &bytes)?;
            left?;
            Err(RepoError::Invalid(format!(
                "all other key slots were removed meanwhile: {} was put back, without it nothing could be read",
                slot.name
            )))
        }
    }
}

/// One of two objects that should be the same, of which the other is sound.
pub struct Unsound {
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub problem: RepoError,
    /// The bytes of the other, if that is sound.
    pub other: Option<Vec<u8>>,
}

/// What of that which is kept twice is missing or damaged.
pub fn unsound(storage: &Storage, keyring: &Keyring) -> Result<Vec<Unsound>, RepoError> {
    let mut pairs = vec![(CONFIG.to_owned(), format!("{COPIES}{CONFIG}"))];
    pairs.extend(named(storage)?.iter().map(|name| (slot::path(name), copy_path(name))));
    let paths = pairs.iter().flat_map(|(first, copy)| [first.clone(), copy.clone()]);
    let mut reading = lines::read_each(storage, paths.collect());
    let mut sound = |path: &str| {
        let read = reading.next().map(|(_, bytes)| bytes);
        let bytes = read.unwrap_or_else(|| Err(RepoError::Internal(format!("{path} was not read"))))?;
        if path.ends_with(CONFIG) {
            config::parse_config(path, &bytes)?.open(keyring.first_metadata()?)?;
        } else {
            let name = path.rsplit('/').next().unwrap_or_default();
            Slot::parse(name, path, &bytes, &keyring.repo_id)?;
        }
        Ok(bytes)
    };
    let mut found = Vec::new();
    for (first, copy) in pairs {
        let looked = [(first.clone(), sound(&first)), (copy.clone(), sound(&copy))];
        match looked {
            // Removed since it was listed.
            [(_, Err(RepoError::Missing { .. })), (_, Err(RepoError::Missing { .. }))] if first != CONFIG => {}
            [(_, Ok(bytes)), (name, Err(problem))] | [(name, Err(problem)), (_, Ok(bytes))] => {
                found.push(Unsound { name, problem, other: Some(bytes) });
            }
            [(_, Ok(a)), (_, Ok(b))] if a == b => {}
            [(_, Ok(_)), (name, Ok(_))] => {
                let problem = RepoError::damaged(&*name, format!("it is not what {first} is: one was altered"));
                found.push(Unsound { name, problem, other: None });
            }
            both => {
                for (name, looked) in both {
                    if let Err(problem) = looked {
                        found.push(Unsound { name, problem, other: None });
                    }
                }
            }
        }
    }
    Ok(found)
}

/// Makes the second one again of what is kept twice, where one is missing or damaged; gives the names of what was made, and
/// what stays lost. Where both are sound and differ nobody can say which one was altered.
pub fn mend(storage: &Storage, keyring: &Keyring, dry_run: bool) -> Result<(Vec<String>, Vec<Trouble>), RepoError> {
    if !dry_run {
        keyring.need(Capability::Administer)?;
    }
    let (mut mended, mut lost) = (Vec::new(), Vec::new());
    for Unsound { name, problem, other } in unsound(storage, keyring)? {
        let is_lost = matches!(problem, RepoError::Damaged { .. } | RepoError::Missing { .. });
        let Some(bytes) = other.filter(|_| is_lost) else {
            lost.push(problem.into());
            continue;
        };
        let made = if dry_run { Ok(()) } else { replace(storage, &name, &bytes) };
        match made {
            Ok(()) => mended.push(name),
            Err(error) => lost.push(error.into()),
        }
    }
    Ok((mended, lost))
}

fn replace(storage: &Storage, name: &str, bytes: &[u8]) -> Result<(), RepoError> {
    storage.delete(name)?;
    match storage.create(name, bytes)? {
        Created::New => Ok(()),
        Created::Exists => Err(RepoError::damaged(name, "what lies there cannot be taken away, or came back")),
    }
}
