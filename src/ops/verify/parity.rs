//! Groups of parity: whether they are whole, whether they are that of their members, and which packs have none.

use super::{Finding, ReadData, VerifyOutcome, data::by_chance};
use crate::report::TroubleKind;
use crate::{
    ops::{OpsError, Phase, PhaseKind, Progress},
    repo::{Repository, repair::ParityStanding},
};

pub(super) fn check(
    repo: &Repository,
    standing: &ParityStanding,
    read: ReadData,
    outcome: &mut VerifyOutcome,
    progress: &dyn Progress,
) -> Result<(), OpsError> {
    let mut wrong = standing.damaged.clone();
    outcome.groups = standing.groups;
    outcome.notes.extend(standing.unknown.iter().map(ToString::to_string));
    let share = match read {
        ReadData::None => 0.0,
        ReadData::All => 100.0,
        ReadData::Percent(percent) => percent,
        ReadData::OneIn(parts) => 100.0 / f64::from(parts.max(1)),
    };
    if standing.groups > 0 && share > 0.0 {
        progress.phase(&Phase::new(PhaseKind::ReadingPacks, 0, 0));
        let mut go_on = |bytes| {
            progress.count(1, bytes);
            !progress.cancelled()
        };
        let mut chosen: Vec<_> = standing.names().collect();
        by_chance(repo, &mut chosen, share, |name| name);
        let (groups, found) = repo.check_parity(standing, &chosen.into_iter().collect(), &mut go_on)?;
        outcome.groups_read = groups;
        wrong.extend(found);
    }
    for (object, problem) in wrong {
        if !outcome.findings.iter().any(|finding| finding.object == object) {
            outcome.findings.push(Finding { kind: TroubleKind::Damaged, object, problem, snapshots: Vec::new() });
        }
    }
    if standing.percent.is_some() {
        outcome.unprotected = standing.unprotected.len() as u64;
        let words = match outcome.unprotected {
            0 => return Ok(()),
            1 => "1 pack has".to_owned(),
            packs => format!("{packs} packs have"),
        };
        let first = standing.unprotected.first().map(crate::repo::pack::path).unwrap_or_default();
        outcome.notes.push(format!(
            "{words} no parity, and cannot be made again if lost: they are of writers that broke off or did without, or lost a group ({first})"
        ));
    }
    Ok(())
}
