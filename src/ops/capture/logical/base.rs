//! The base of a stream: a backup that fits the slot without a gap and without an overlap.

use super::{Course, Logical, lineage::Lineage, round::Round};
use crate::{
    connector::postgres::{
        log::Lsn,
        logical::{Follower, Mark, Span, Tables},
    },
    ops::{OpsError, backup::backup},
    record::pause,
    report::WarningKind,
};
use std::time::{Duration, Instant};

/// After so long it is said what a base waits for.
const PATIENCE: Duration = Duration::from_secs(5);

impl Logical<'_> {
    /// The first base of a stream, or the one after a gap. `from` is a place of the log up to which all is known.
    pub(super) fn begin(
        &self,
        follower: &mut Follower,
        from: Option<Lsn>,
        course: &mut Course,
    ) -> Result<Lineage, OpsError> {
        let mut tables = follower.tables()?;
        follower.publish(&mut tables)?;
        if follower.standing()?.slot.is_none() {
            // It waits for them by itself, without a word.
            self.wait_for_running(follower)?;
            follower.make_slot()?;
        }
        let standing = follower.standing()?;
        let facts = standing.slot.ok_or_else(|| OpsError::Failed("the slot vanished as it was made".to_owned()))?;
        if facts.plugin.as_deref() != Some("pgoutput") || !facts.is_ours {
            let words = format!("slot {} is there, and is one of another database or kind", self.options.slot);
            return Err(OpsError::Usage(words));
        }
        let confirmed = facts.confirmed.unwrap_or(standing.flush);
        let position = from.map_or(confirmed, |from| from.max(confirmed));
        let (_, publication) = follower.marks()?;
        self.wait_for_running(follower)?;
        let source = self.database.base(self.mark(follower, position, publication, &tables));
        let outcome = backup(self.repo, &source, self.backup, self.progress)?;
        let missing = || OpsError::Failed("the base is gone".to_owned());
        let id = outcome.id.ok_or_else(missing)?;
        let snapshot = self.repo.snapshot(&id)?.ok_or_else(missing)?;
        course.outcome.snapshot = Some(id);
        course.outcome.end = Some(outcome.end);
        course.outcome.bytes_added += outcome.stats.bytes_added;
        course.outcome.complete &= outcome.complete;
        course.outcome.problems.extend(outcome.problems);
        Lineage::of(self, &snapshot).ok_or_else(missing)
    }

    /// What a base says of the stream that goes on from it.
    pub(super) fn mark(&self, follower: &mut Follower, position: Lsn, publication: String, tables: &Tables) -> Mark {
        let untold = tables.left().map(|(name, _)| name.to_owned()).collect();
        Mark { slot: self.options.slot.clone(), position, publication, system: follower.system(), untold }
    }

    /// A transaction may have written its commit to the log, before the slot, and be seen by nobody yet: waits until all that
    /// run have ended, so that the base sees them.
    pub(super) fn wait_for_running(&self, follower: &mut Follower) -> Result<(), OpsError> {
        let running = follower.visible()?.running().to_vec();
        let (began, mut is_said) = (Instant::now(), false);
        while follower.visible()?.runs_any(&running) {
            if self.progress.cancelled() {
                return Err(OpsError::Interrupted);
            }
            if !is_said && began.elapsed() > PATIENCE {
                let words = "the base waits for transactions that run";
                self.progress.warn(WarningKind::Note, follower.object(), words);
                is_said = true;
            }
            pause(Duration::from_millis(100), || self.progress.cancelled());
        }
        Ok(())
    }

    /// A base where the server cannot tell all that followed.
    pub(super) fn begin_anew(
        &self,
        follower: &mut Follower,
        why: &str,
        course: &mut Course,
    ) -> Result<Lineage, OpsError> {
        let words = format!("{why}: versions from then on are lost up to a new base, which is taken now");
        self.progress.warn(WarningKind::Problem, follower.object(), words.as_str());
        course.outcome.problems.push(words);
        course.outcome.complete = false;
        follower.remove_slot()?;
        self.begin(follower, None, course)
    }

    /// A base beside a stream whose definitions changed; what was committed until then is kept under the old one as far as it fits.
    pub(super) fn rebase(
        &self,
        follower: &mut Follower,
        old: &Lineage,
        why: &str,
        course: &mut Course,
    ) -> Result<Lineage, OpsError> {
        self.progress.warn(WarningKind::Note, follower.object(), format!("{why}: a new base is taken"));
        let mut base = self.begin(follower, Some(old.state.position), course)?;
        base.is_new = true;
        let span = Span { after: old.state.position, upto: follower.standing()?.flush, messages: i32::MAX };
        follower.follow(old.followed(), &old.state.oids)?;
        let mut round = Round::new(self, old, Some(&base.state.base));
        let taken = match follower.take(&span, &mut round) {
            Ok(taken) => taken,
            Err(error) => return Err(round.abandon(error)),
        };
        let ended = round.ended;
        if let Some(differs) = taken.differs {
            round.give_up();
            if differs.before <= span.after {
                return Ok(base);
            }
            let span = Span { upto: differs.before, ..span };
            let mut round = Round::new(self, old, Some(&base.state.base));
            match follower.take(&span, &mut round) {
                Ok(taken) if taken.differs.is_none() && round.has_changes() => {
                    let ended = round.ended;
                    course.outcome.add(&round.commit(follower, ended, None)?.commit);
                }
                Ok(_) => round.give_up(),
                Err(error) => return Err(round.abandon(error)),
            }
        } else if round.has_changes() {
            course.outcome.add(&round.commit(follower, ended, None)?.commit);
        } else {
            round.give_up();
        }
        Ok(base)
    }
}
