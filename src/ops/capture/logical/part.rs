//! Tables that are new or were altered are read again, and no others: they join a stream that goes on.

use super::{
    Course, Logical,
    lineage::{Lineage, REDEFINED},
    round::{Anew, Round},
};
use crate::{
    connector::{
        Source as _, SourceSession,
        postgres::{
            log::state_of,
            logical::{Differs, Follower, Span, Tables},
        },
    },
    ops::{
        OpsError,
        backup::read_part,
        stream::{StreamCollection, StreamWriter},
    },
    record::KeyCodec,
    report::WarningKind,
};
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// So many times tables may be altered while others are read.
const MAX_TIMES: usize = 5;

/// Tables that are named.
const NAMED: usize = 5;

impl Logical<'_> {
    /// Reads again what differs from the definitions of a stream, and `again` in any case; the stream goes on with it.
    pub(super) fn read_again(
        &self,
        follower: &mut Follower,
        mut lineage: Lineage,
        what: (&str, BTreeSet<String>),
        course: &mut Course,
    ) -> Result<Lineage, OpsError> {
        let (mut why, mut again) = (what.0.to_owned(), what.1);
        for _ in 0..MAX_TIMES {
            self.settle(follower, &mut lineage, course)?;
            match self.read_part(follower, &lineage, &why, &mut again, course)? {
                Ok(next) => return Ok(next),
                Err(differs) => {
                    why = differs.why;
                    again.insert(differs.table);
                }
            }
        }
        Err(OpsError::Failed(format!("tables are altered faster than they can be read: {why}")))
    }

    /// Commits what still fits the definitions as they were.
    fn settle(&self, follower: &mut Follower, lineage: &mut Lineage, course: &mut Course) -> Result<(), OpsError> {
        follower.follow(lineage.followed(), &lineage.state.oids)?;
        let mut span = Span { after: lineage.state.position, upto: follower.standing()?.flush, messages: i32::MAX };
        // The second time up to what fits.
        for is_last in [false, true] {
            if span.upto <= span.after {
                return Ok(());
            }
            let mut round = Round::new(self, lineage, None);
            let taken = match follower.take(&span, &mut round) {
                Ok(taken) => taken,
                Err(error) => return Err(round.abandon(error)),
            };
            match taken.differs {
                Some(_) if is_last => {
                    return Err(round.abandon(OpsError::Failed("the log reads differently twice".to_owned())));
                }
                Some(differs) => {
                    round.give_up();
                    span.upto = differs.before;
                }
                None if round.has_changes() => {
                    let kept = round.commit(follower, taken.reached, None)?;
                    self.count(lineage, kept, course);
                    return Ok(());
                }
                None => {
                    round.give_up();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Reads once; gives back what was altered meanwhile, if something was.
    fn read_part(
        &self,
        follower: &mut Follower,
        lineage: &Lineage,
        why: &str,
        again: &mut BTreeSet<String>,
        course: &mut Course,
    ) -> Result<Result<Lineage, Differs>, OpsError> {
        let mut tables = follower.tables()?;
        again.extend(follower.publish(&mut tables)?);
        let (_, publication) = follower.marks()?;
        // What ran before the publication listed a table is not told of it.
        if why != REDEFINED || !again.is_empty() {
            self.wait_for_running(follower)?;
        }
        let mark = self.mark(follower, lineage.state.position, publication, &tables);
        let source = self.database.part(mark, lineage.held(again));
        let session = source.begin(&self.backup.session_options())?;
        let names: Vec<&str> = session.collections().iter().map(|one| one.name.as_str()).collect();
        let words = match names.as_slice() {
            [] => format!("{why}: no table need be read again"),
            names => {
                let more = names.len().saturating_sub(NAMED);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!(
                    "{why}: {}{more} are read again; moments before {} show them as they were before that, and nothing of what is new",
                    names[..names.len().min(NAMED)].join(", "),
                    session.start()
                )
            }
        };
        self.progress.warn(WarningKind::Note, follower.object(), words);
        let mut next = self.next(follower, lineage, session.as_ref(), &tables)?;
        let is_there = |name: &String| next.collections.iter().any(|(other, ..)| other == name);
        let is_less = !lineage.collections.iter().all(|(name, ..)| is_there(name));
        let (writer, mut anew) = self.begin_part(&next, session.as_ref())?;
        anew.is_less = is_less;
        drop(session);
        follower.follow(next.followed(), &next.state.oids)?;
        let round = Round::new(self, &next, None).with(writer, anew);
        let taken = self.catch_up(follower, &next, round, course)?;
        Ok(match taken {
            Err(differs) => Err(differs),
            Ok(kept) => {
                self.count(&mut next, kept, course);
                follower.advance(next.state.position)?;
                Ok(next)
            }
        })
    }

    /// Reads the log up to a place behind all that the tables show, and makes the snapshot.
    fn catch_up(
        &self,
        follower: &mut Follower,
        next: &Lineage,
        mut round: Round<'_>,
        course: &mut Course,
    ) -> Result<Result<super::round::Summary, Differs>, OpsError> {
        let (flush, now) = match follower.written(&|| self.progress.cancelled()) {
            Ok(written) => written,
            Err(error) => return Err(round.abandon(error.into())),
        };
        let span = Span { after: next.state.position, upto: flush, messages: i32::MAX };
        let taken = match follower.take(&span, &mut round) {
            Ok(taken) => taken,
            Err(error) => return Err(round.abandon(error)),
        };
        if let Some(differs) = taken.differs {
            round.give_up();
            return Ok(Err(differs));
        }
        let kept = round.commit(follower, taken.reached, Some(now))?;
        course.recovery_point = Some(now);
        Ok(Ok(kept))
    }

    /// The stream with the collections that a session describes.
    fn next(
        &self,
        follower: &mut Follower,
        lineage: &Lineage,
        session: &dyn SourceSession,
        tables: &Tables,
    ) -> Result<Lineage, OpsError> {
        let attributes = session.attributes();
        let names = attributes.get("tables").and_then(Json::as_array).cloned().unwrap_or_default();
        let mut collections: Vec<(String, KeyCodec, Json)> = Vec::with_capacity(names.len());
        for name in names.iter().filter_map(Json::as_str) {
            let anew = session.collections().iter().find(|one| one.name == name);
            let anew = anew.map(|one| (one.name.clone(), one.codec, one.attributes.clone()));
            let held = || lineage.collections.iter().find(|(held, ..)| held == name).cloned();
            collections.extend(anew.or_else(held));
        }
        let next = lineage.with(attributes, collections);
        let mut next = next.ok_or_else(|| OpsError::Failed("what was read says nothing of its stream".to_owned()))?;
        next.note_problems(self, follower, tables)?;
        Ok(next)
    }

    /// Begins the snapshot with what a session gives.
    fn begin_part<'s>(
        &'s self,
        next: &'s Lineage,
        session: &dyn SourceSession,
    ) -> Result<(StreamWriter<'s>, Anew), OpsError> {
        let state = state_of(&session.attributes());
        let state = state.ok_or_else(|| OpsError::Failed("what was read says nothing of its stream".to_owned()))?;
        let named = next.collections.iter().map(|(name, codec, _)| StreamCollection {
            name: name.clone(),
            codec: *codec,
            attributes: Json::Null,
        });
        let named: Vec<StreamCollection> = named.collect();
        let mut writer = StreamWriter::begin(self.repo, self.source, &named, &next.options, self.progress)?;
        writer.leave_out_others();
        let of = (&self.source.source, self.source.scope.as_str());
        let put = read_part(self.repo, writer.session(), session, of, self.backup, self.progress).and_then(|read| {
            let mut chosen = vec![false; named.len()];
            for base in read.collections {
                let at = named.iter().position(|one| one.name == base.name);
                let at = at.ok_or_else(|| OpsError::Failed(format!("{} came unasked", base.name)))?;
                chosen[at] = true;
                writer.put_base(at, base)?;
            }
            for note in read.notes {
                self.progress.warn(WarningKind::Note, "", note);
            }
            Ok(Anew { seen: state.base, chosen, is_less: false, from: session.start(), problems: read.problems })
        });
        match put {
            Ok(anew) => Ok((writer, anew)),
            Err(error) => {
                writer.give_up(self.progress);
                Err(if self.progress.cancelled() { OpsError::Interrupted } else { error })
            }
        }
    }
}
