//! What must be thawed before a restore can read it: found before anything is written, asked for, and waited for, if somebody says so.

use super::{
    OpsError, Phase, PhaseKind, Progress,
    command::Bounded,
    crew::{each, heed},
};
use crate::{
    layer::Layer,
    repo::{
        ObjectName, RepoError, Repository, Storage,
        manifest::LayerRef,
        pack,
        storage::{Readiness, Standing, ThawTier, may_be_cold},
    },
    report::{ErrorKind, WarningKind},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io::{self, Write as _},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How many packs are named one by one.
const MOST_NAMED: usize = 1000;

/// Between two looks at what is being thawed: it takes hours.
pub const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Who is asked to thaw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The service.
    Service {
        /// How long the readable copies stay.
        days: u16,
        /// In what haste.
        tier: ThawTier,
    },
    /// A command, which finds the list in a file.
    Command(Bounded),
}

/// What becomes of objects that must be thawed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThawOptions {
    /// Who is asked.
    pub ask: Ask,
    /// How long it is waited for before the verb ends with the list of what is not there yet.
    pub wait: Duration,
    /// Between two looks.
    pub look_every: Duration,
}

/// Packs by name, as storage says where they lie.
type Frozen = BTreeMap<ObjectName, Standing>;

/// Gives the packs that are read; of those that it is given, if only some are.
type Needed<'a> = dyn Fn(Option<&HashSet<ObjectName>>) -> Result<BTreeSet<ObjectName>, OpsError> + 'a;

/// What of a restore's packs cannot be read yet is thawed as the options say. `needed` finds the packs that are read of those that
/// are given to it, if only some are.
///
/// # Errors
/// [`ErrorKind::Archived`] with the packs and their bytes if they are not all there in time, or nobody asks for them.
pub(super) fn ready(
    repo: &Repository,
    needed: &Needed<'_>,
    options: Option<&ThawOptions>,
    progress: &dyn Progress,
) -> Result<(), OpsError> {
    let storage = repo.storage();
    if !storage.may_archive() {
        return Ok(());
    }
    let cold = cold_packs(storage)?;
    let packs = match &cold {
        Some(cold) if cold.is_empty() => return Ok(()),
        // Nothing is known before each is asked about, which is done for whoever expects it.
        None if options.is_none() => return Ok(()),
        cold => needed(cold.as_ref())?,
    };
    let mut frozen = not_readable(storage, packs, progress)?;
    if frozen.is_empty() {
        return Ok(());
    }
    let Some(options) = options else {
        name(&frozen, progress);
        let words = format!("{}, and nothing was written", what_lacks(&frozen));
        return Err(OpsError::refused(ErrorKind::Archived, words));
    };
    ask(storage, &frozen, &options.ask, progress)?;
    let (began, all) = (Instant::now(), frozen.len() as u64);
    progress.phase(&Phase::new(PhaseKind::Thawing, all, frozen.values().map(|it| it.bytes).sum()));
    loop {
        let left = not_readable(storage, frozen.keys().copied().collect(), progress)?;
        let bytes = |of: &Frozen| of.values().map(|it| it.bytes).sum::<u64>();
        progress.count((frozen.len() - left.len()) as u64, bytes(&frozen) - bytes(&left));
        frozen = left;
        if frozen.is_empty() {
            return Ok(());
        }
        if began.elapsed() >= options.wait {
            name(&frozen, progress);
            let words = format!(
                "{} packs were asked for, and {} are not there yet; nothing was written. The same command goes on when they are: {}",
                all,
                frozen.len(),
                what_lacks(&frozen)
            );
            return Err(OpsError::refused(ErrorKind::Archived, words));
        }
        crate::record::pause(options.look_every, || progress.cancelled());
        heed(progress)?;
    }
}

/// The packs of which a listing says that they may have to be thawed; `None` where listings do not tell, or nobody may see such a one:
/// then the read of a pack says it.
pub(super) fn cold_packs(storage: &Storage) -> Result<Option<HashSet<ObjectName>>, OpsError> {
    let mut cold = HashSet::new();
    let tells = storage.list_classes("packs/", &mut |page| {
        let may_be = page.iter().filter(|(_, class)| may_be_cold(class));
        cold.extend(may_be.filter_map(|(it, _)| pack::parse_path(&it.name)));
    });
    match tells {
        Ok(tells) => Ok(tells.then_some(cold)),
        Err(RepoError::Storage { source, .. }) if is_of_the_listing(source.kind()) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether a service does not give such listings, rather than cannot be reached.
const fn is_of_the_listing(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidData, NotFound, Other, PermissionDenied, Unsupported};
    matches!(kind, InvalidData | NotFound | Other | PermissionDenied | Unsupported)
}

/// The packs that are needed of these layers and lie nowhere else; of those only that are given.
pub(super) fn of_layers(
    repo: &Repository,
    layers: &[&LayerRef],
    among: Option<&HashSet<ObjectName>>,
    progress: &dyn Progress,
) -> Result<BTreeSet<ObjectName>, OpsError> {
    let chunks = repo.chunks();
    let is_among = |name: &ObjectName| among.is_none_or(|among| among.contains(name));
    let mut packs = BTreeSet::new();
    for layer in layers {
        Layer::open(&chunks, layer)?.for_each_chunk(&mut |id| {
            if progress.cancelled() {
                return Err(RepoError::Interrupted.into());
            }
            let places = repo.chunk_places(&id)?;
            if let Some(first) = places.first()
                && places.iter().all(|place| is_among(&place.name))
            {
                packs.insert(first.name);
            }
            Ok(())
        })?;
    }
    Ok(packs)
}

/// Those of the packs that cannot be read now. What is gone is found out by whoever reads it.
fn not_readable(storage: &Storage, packs: BTreeSet<ObjectName>, progress: &dyn Progress) -> Result<Frozen, OpsError> {
    let found = Mutex::new(Frozen::new());
    each(storage.connections(), packs.into_iter(), progress, |pack| {
        match storage.standing_of(&pack::path(&pack)) {
            Ok(Some(standing)) if !standing.readiness.can_be_read() => {
                found.lock().unwrap_or_else(PoisonError::into_inner).insert(pack, standing);
            }
            Ok(_) | Err(RepoError::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    })?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Asks for what nobody has asked for.
fn ask(storage: &Storage, frozen: &Frozen, how: &Ask, progress: &dyn Progress) -> Result<(), OpsError> {
    let mut asleep = frozen.iter().filter(|(_, standing)| standing.readiness == Readiness::Archived);
    match how {
        Ask::Service { days, tier } => each(storage.connections(), asleep, progress, |(pack, _)| {
            Ok(storage.thaw(&pack::path(pack), *days, *tier)?)
        }),
        Ask::Command(command) => {
            let failed = |words: String| OpsError::Failed(format!("the command that thaws: {words}"));
            let io = |error: std::io::Error| failed(error.to_string());
            let mut list = tempfile::NamedTempFile::new().map_err(io)?;
            asleep.try_for_each(|(pack, it)| writeln!(list, "{}\t{}", it.bytes, pack::path(pack))).map_err(io)?;
            list.flush().map_err(io)?;
            let told = [
                ("REKEEP_THAW_LIST", list.path().to_string_lossy().into_owned()),
                ("REKEEP_LOCATION", storage.location().to_owned()),
            ];
            let ended = command.run(&told, &|| progress.cancelled());
            match ended.wrong {
                _ if ended.stopped => Err(OpsError::Interrupted),
                Some(wrong) => Err(failed(format!("{wrong}: {}", ended.printed))),
                None => Ok(()),
            }
        }
    }
}

fn name(frozen: &Frozen, progress: &dyn Progress) {
    for (pack, standing) in frozen.iter().take(MOST_NAMED) {
        let state = if standing.readiness == Readiness::Thawing { "is being thawed" } else { "must be thawed" };
        let (path, Standing { bytes, class, .. }) = (pack::path(pack), standing);
        let words = format!("{path} ({bytes} bytes in {class}) {state}");
        progress.warn(WarningKind::Archived, path, words);
    }
}

fn what_lacks(frozen: &Frozen) -> String {
    let thawing = frozen.values().filter(|it| it.readiness == Readiness::Thawing).count();
    let bytes: u64 = frozen.values().map(|it| it.bytes).sum();
    let classes: BTreeSet<&str> = frozen.values().map(|it| it.class.as_str()).collect();
    let classes = classes.into_iter().collect::<Vec<_>>().join(", ");
    format!(
        "{} packs of {bytes} bytes lie in {classes} and cannot be read before they are thawed ({thawing} of them are being thawed)",
        frozen.len()
    )
}
