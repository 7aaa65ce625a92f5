//! `status`: how old the newest complete snapshot of each source is, and of each part of it that was backed up.

use crate::{
    cli::{
        common::{NarrowArgs, OtherPassword},
        context::Context,
        exit::{Failure, Status, usage},
        password::PasswordSource,
        show::{brief, counted, render, safe, table},
        units::{parse_duration, show_age, show_time},
    },
    ops::{
        places::{CopyPlace, ThreeTwoOne, judge},
        status::{MaxAges, SourceStatus, is_overdue, status},
    },
    repo::Repository,
};
use clap::Args;
use std::{path::PathBuf, time::Duration};

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Exit with status 1 if a source's newest complete snapshot is older (26h, 2 days)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub max_age: Option<Duration>,
    /// Exit with status 1 if the last drill that proved a source is older, or there is none (30 days)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub max_proof_age: Option<Duration>,
    /// Look at this place too, a replica or a repository that was copied to, and say what lacks of three copies on two kinds of
    /// storage, one of them elsewhere: exit with status 1 if something does (repeatable)
    #[arg(long = "copy", value_name = "URI")]
    pub copies: Vec<String>,
    /// The password of the repositories that were copied to [default: `REKEEP_TO_PASSWORD_FILE`, `REKEEP_TO_PASSWORD` …]
    #[arg(long, value_name = "FILE", requires = "copies")]
    pub to_password_file: Option<PathBuf>,
    #[command(flatten)]
    narrow: NarrowArgs,
}

impl StatusArgs {
    /// What each place holds; what cannot be looked at is told there.
    fn places(&self, repo: &Repository, context: &Context) -> Vec<CopyPlace> {
        let look = |uri: &String| self.look(repo, uri, context).unwrap_or_else(|error| CopyPlace::unknown(uri, &error));
        self.copies.iter().map(look).collect()
    }

    fn look(&self, repo: &Repository, uri: &str, context: &Context) -> Result<CopyPlace, Failure> {
        let storage = context.storage_elsewhere(uri)?;
        let place = CopyPlace::replica(repo, &storage)?;
        if place.repository.as_deref() == Some(repo.id().to_string().as_str()) {
            return Ok(place);
        }
        let typed = OtherPassword { to_password_file: self.to_password_file.clone(), ..OtherPassword::default() };
        let password = PasswordSource::choose_other(&typed, &|name| {
            std::env::var_os(name).filter(|value| !value.is_empty()).map(|value| value.to_string_lossy().into_owned())
        });
        if password == PasswordSource::Prompt {
            return Err(usage("it is another repository: without its password nobody can tell what it holds"));
        }
        Ok(CopyPlace::other(repo, &context.open_with(&storage, &password)?)?)
    }
}

pub(super) fn run(args: &StatusArgs, context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    let unread = context.unread(&repo)?;
    let snapshots = args.narrow.narrow().apply_to_some(&repo, &context.reporter)?;
    let seconds = |age: Option<Duration>| age.map(|age| age.as_secs());
    let max = MaxAges { snapshot: seconds(args.max_age), proof: seconds(args.max_proof_age) };
    let mut sources = status(&repo, &snapshots, max, &context.reporter)?;
    let places = args.places(&repo, context);
    for place in &places {
        if let Some(problem) = &place.problem {
            context.reporter.problem(&format!("{}: {problem}", safe(&place.location)));
        }
    }
    if !places.is_empty() {
        let own = CopyPlace::own(&repo);
        for source in &mut sources {
            source.elsewhere = Some(judge(source.newest, &own, &places));
        }
    }
    let lacks = |source: &SourceStatus| source.elsewhere.as_ref().is_some_and(|standing| !standing.lacks.is_empty());
    let bad =
        is_overdue(&sources, max) || sources.iter().any(lacks) || places.iter().any(|place| place.problem.is_some());
    if context.json {
        context.out.json(&sources);
    } else if sources.is_empty() {
        context.out.line(super::snapshots::no_snapshots(unread));
    } else {
        let header = ["source", "scope", "newest complete", "as of", "age", "proved", "newest", "snapshots"];
        let mut rows = table(&header, &[4, 5, 7]);
        for source in &sources {
            let age = source.age_seconds.map_or_else(|| "-".to_owned(), show_age);
            rows.add_row(vec![
                format!("{}:{}", source.source.connector, safe(&source.source.name)),
                brief(&source.scope_note),
                source.newest.map_or_else(|| "none".to_owned(), |id| id.short()),
                source.time.map_or_else(|| "-".to_owned(), show_time),
                if source.too_old { format!("{age} TOO OLD") } else { age },
                proof_words(source),
                match (source.latest, source.latest_time) {
                    (Some(id), Some(time)) if !source.latest_complete => {
                        format!("{} of {}, PARTIAL", id.short(), show_time(time))
                    }
                    (Some(id), _) => id.short(),
                    _ => "none".to_owned(),
                },
                match source.ahead.len() {
                    0 => source.snapshots.to_string(),
                    ahead => format!("{}, {ahead} IN THE FUTURE", source.snapshots),
                },
            ]);
        }
        context.out.line(render(&rows));
        for source in &sources {
            if let Some(standing) = &source.elsewhere {
                context.out.line(copies_words(source, standing));
            }
        }
        // One verification covers all sources.
        let last = sources.iter().find_map(|source| source.last_verify.as_deref());
        context.out.line(format_args!("last verify  {}", last.unwrap_or("none known here")));
        if unread > 0 {
            context.out.line(format_args!("not read     {}, of whatever source", counted(unread as u64, "snapshot")));
        }
    }
    Ok(if bad { Status::Bad } else { Status::Done })
}

/// How old the last proof is, and whether the last drill failed.
fn proof_words(source: &SourceStatus) -> String {
    let proof = &source.proof;
    let mut words = proof.proof_age_seconds.map_or_else(|| "never".to_owned(), show_age);
    if source.proof_too_old {
        words.push_str(" TOO OLD");
    }
    if proof.last_drill_passed == Some(false) {
        words.push_str(", last drill FAILED");
    }
    words
}

/// How many copies there are, on what, and what lacks.
fn copies_words(source: &SourceStatus, standing: &ThreeTwoOne) -> String {
    let name = format!("{}:{}", source.source.connector, safe(&source.source.name));
    let there = format!(
        "{name}: {} with the source, on {} beside it, {} elsewhere",
        if standing.copies == 1 { "1 copy".to_owned() } else { format!("{} copies", standing.copies) },
        if standing.media == 1 {
            "one disk or service".to_owned()
        } else {
            format!("{} disks or services", standing.media)
        },
        standing.elsewhere
    );
    if standing.lacks.is_empty() { there } else { format!("{there}; LACKS {}", standing.lacks.join(", ")) }
}
