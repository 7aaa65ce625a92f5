//! One source: how it stands, how it grows, and its snapshots in time.

use super::{
    Console,
    admit::{Posted, Visit},
    failure::{Asked, Failure, Path},
    health::{Schedules, Source},
    page::{self, Nav, Page, fact},
    plot::{self, Line},
    shelf::Mark,
    show,
    timeline::{Gap, bars, gap, going},
};
use crate::{
    record::Timestamp,
    repo::{SnapshotId, manifest::Kind},
    service::{
        job::{NewJob, Work},
        keys::Scope,
        timetable::Slot,
    },
};
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use maud::{Markup, html};
use serde::Deserialize;
use std::{collections::HashSet, sync::Arc};

/// Snapshots on a page.
const PER_PAGE: usize = 50;

/// Which page of snapshots.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    /// From 1 on, the newest first.
    page: usize,
}

/// What the page shows.
struct View {
    source: Source,
    schedules: Schedules,
    going: HashSet<SnapshotId>,
    next_full: Option<Timestamp>,
    /// What the policy keeps, in words.
    keeps: String,
}

/// The page.
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Path(name): Path<String>,
    Asked(which): Asked<Which>,
) -> Result<Response, Failure> {
    visit.needs(Scope::Read)?;
    visit.routine(&console.service.config(), &name)?;
    let (visitor, wanted) = (visit.clone(), name.clone());
    let view = console.wait(move |console| {
        let source = console.sources(&visitor, Some(&wanted))?.pop();
        let config = console.service.config();
        let (Some(source), Some(routine)) = (source, config.routines.get(&wanted)) else {
            return Err(crate::service::ServiceError::NotFound { what: "source", name: wanted.clone() });
        };
        let next_full = console.service.desk().timetable.next_of(&wanted, Slot::Full);
        let retention = config.policy_of(routine).retention;
        let keeps = match retention.as_ref().map(|it| (it.full, it.incremental)) {
            Some((Some(full), Some(incremental))) => format!("{full} fulls, incrementals of {incremental}"),
            Some((Some(full), None)) => format!("{full} fulls and what follows them"),
            Some((None, Some(incremental))) => format!("every full, incrementals of {incremental}"),
            _ => "everything".to_owned(),
        };
        let going = going(&source.marks, retention.as_ref(), next_full, visitor.now);
        Ok(View { schedules: Schedules::of(&config, routine), source, going, next_full, keeps })
    });
    let view = view.await?;
    let body = body(&visit, &view, which.page.max(1));
    let title = format!("Source {name}");
    Ok(Page { visit: &visit, title: &title, nav: Nav::Sources, refresh: Some(10), body }.answer())
}

fn body(visit: &Visit, view: &View, page: usize) -> Markup {
    let source = &view.source;
    let here = visit.at_source(&source.name, &format!("?page={page}"));
    html! {
        (page::crumbs(visit, &[], &source.name))
        div.title {
            h1 { (show::cut(&source.name, 80)) }
            (actions(visit, source))
        }
        p.address { (show::text(&source.reads)) }
        div #live hx-get=(here) hx-select="#live" hx-swap="outerHTML" hx-trigger="every 5s" {
            (facts(visit, view))
            @if !source.marks.is_empty() {
                section aria-labelledby="growth" {
                    h2 #growth { "Growth" }
                    div.plots { (growth(source)) }
                }
                section aria-labelledby="timeline" {
                    h2 #timeline { "Timeline" }
                    (drawn(view))
                    (table(visit, view, page))
                }
            } @else if source.health != super::health::Health::Fine {
                p.empty { "Nothing was backed up yet." }
            }
            p.asof { "As of " (show::clock(visit.now)) }
        }
    }
}

fn actions(visit: &Visit, source: &Source) -> Markup {
    html! {
        div.actions {
            @if visit.caller.may(Scope::Restore) && !source.marks.is_empty() {
                a.button href=(visit.at_source(&source.name, "/restore")) { "Restore…" }
            }
            @if visit.caller.may(Scope::Backup) {
                form method="post" action=(visit.at_source(&source.name, "/backup")) {
                    (page::token(visit))
                    button.primary type="submit" name="kind" value="incremental" { "Back up now" }
                    button type="submit" name="kind" value="full" { "In full" }
                }
            }
        }
    }
}

fn facts(visit: &Visit, view: &View) -> Markup {
    let (source, now) = (&view.source, visit.now);
    let none = || html! { span.dim { "—" } };
    html! {
        @if let Some(at) = source.as_of {
            p.notice.bad role="alert" { "The repository cannot be read now: " (show::cut(&source.why, 400)) ". What is shown is as of " (show::moment(at)) "." }
        } @else if !source.why.is_empty() {
            p.notice.(source.health.look().0) { (show::cut(&source.why, 400)) }
        }
        dl.facts {
            (fact("State", html! {
                (source.health.pill())
                @if let Some((_, job)) = &source.running {
                    " " a #at-work href=(visit.at(&format!("jobs/{}", job.job))) { "job " (job.job) " at work, " (job.percentage_done) " %" }
                }
            }))
            (fact("Newest backup", source.last().map_or_else(none, |mark| show::ago(mark.end, now))))
            (fact("Next run", source.next.map_or_else(none, |next| show::ago(next, now))))
            (fact("Verified", source.verified.map_or_else(none, |(at, good)| html! { @if !good { "✕ " } (show::ago(at, now)) })))
            (fact("Proved by a restore", source.proved.map_or_else(none, |at| show::ago(at, now))))
            (fact("Snapshots", html! { (show::count(source.marks.len() as u64)) }))
            (fact("Stored", html! { (show::size(source.added())) @if let Some(times) = source.times() { small { " " (format!("{times:.1}")) "× less than copies" } } }))
            (fact("Kept by the policy", html! { (view.keeps) }))
        }
    }
}

fn growth(source: &Source) -> Markup {
    let data = source.marks.iter().map(|mark| (mark.end, mark.bytes)).collect();
    let mut sum = 0;
    let stored = source.marks.iter().map(|mark| {
        sum += mark.added;
        (mark.end, sum)
    });
    html! {
        (plot::line(&Line { title: "Data in each snapshot", class: "data", points: data }))
        (plot::line(&Line { title: "Added to the repository, all in all", class: "stored", points: stored.collect() }))
    }
}

fn drawn(view: &View) -> Markup {
    let marks = &view.source.marks;
    let count = |kind: Kind| marks.iter().filter(|mark| mark.kind == kind).count();
    let words = format!(
        "{} snapshots: {} full, {} differential, {} incremental; {} go next",
        marks.len(),
        count(Kind::Full),
        count(Kind::Differential),
        count(Kind::Incremental) + count(Kind::Journal),
        view.going.len()
    );
    html! {
        (plot::timeline(&bars(marks, &view.going, &view.schedules), &words))
        ul.legend aria-hidden="true" {
            li.height { "height: what it added" }

            li.full { "full" } li.differential { "differential" } li.incremental { "incremental" } li.incomplete { "lacks something" } li.going { "goes next" } li.gap { "gap" }
        }
        @if !view.going.is_empty() {
            p.hint {
                "Behind the next full"
                @if let Some(next) = view.next_full { " (" (show::moment(next)) ")" }
                " the policy drops " (show::count(view.going.len() as u64)) @if view.going.len() == 1 { " snapshot." } @else { " snapshots." }
            }
        }
    }
}

fn table(visit: &Visit, view: &View, page: usize) -> Markup {
    let (marks, name) = (&view.source.marks, &view.source.name);
    let pages = marks.len().div_ceil(PER_PAGE).max(1);
    let page = page.clamp(1, pages);
    let newest = marks.len() - (page - 1) * PER_PAGE;
    let range = newest.saturating_sub(PER_PAGE)..newest;
    let mut rows = Vec::new();
    let mut day = String::new();
    for at in range.rev() {
        let mark = &marks[at];
        let own = show::day(mark.end);
        if own != day {
            day.clone_from(&own);
            rows.push(html! { tr.day { th colspan="8" scope="rowgroup" { (own) } } });
        }
        rows.push(row(visit, name, mark, view.going.contains(&mark.id)));
        if let Some(gap) = at.checked_sub(1).and_then(|before| gap(&marks[before], mark, &view.schedules)) {
            rows.push(gap_row(&gap));
        }
    }
    html! {
        table.cards.snapshots {
            caption.hidden { "Snapshots, the newest first" }
            thead { tr {
                th scope="col" { "Time" } th scope="col" { "Read" } th.number scope="col" { "Records" } th.number scope="col" { "Changes" }
                th.number scope="col" { "Data" } th.number scope="col" { "Added" } th scope="col" { "Took" } th scope="col" { "Notes" }
            } }
            tbody { @for row in &rows { (row) } }
        }
        @if pages > 1 {
            nav.pager aria-label="Pages of snapshots" {
                @if page > 1 { a #page-before rel="prev" href=(visit.at_source(name, &format!("?page={}", page - 1))) { "← Newer" } }
                span { "Page " (page) " of " (pages) }
                @if page < pages { a #page-next rel="next" href=(visit.at_source(name, &format!("?page={}", page + 1))) { "Older →" } }
            }
        }
    }
}

/// The word for what was read.
pub(super) const fn kind_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Full => "full",
        Kind::Differential => "differential",
        Kind::Incremental => "incremental",
        Kind::Journal => "journal",
    }
}

/// What changed, in signs and for ears.
fn changes(mark: &Mark) -> Markup {
    let words = format!("{} new, {} changed, {} gone", mark.inserted, mark.changed, mark.deleted);
    html! {
        span.changes aria-hidden="true" title=(words) {
            @if mark.inserted > 0 { span.new { "+" (show::count(mark.inserted)) } " " }
            @if mark.changed > 0 { span.changed { "~" (show::count(mark.changed)) } " " }
            @if mark.deleted > 0 { span.gone { "−" (show::count(mark.deleted)) } }
            @if mark.inserted + mark.changed + mark.deleted == 0 { span.dim { "none" } }
        }
        span.hidden { (words) }
    }
}

fn row(visit: &Visit, name: &str, mark: &Mark, goes: bool) -> Markup {
    let address = visit.at_source(name, &format!("/snapshots/{}", mark.id));
    html! {
        tr.(if goes { "goes" } else { "" }) {
            th scope="row" data-label="Time" {
                a id={ "t-" (mark.id.short()) } href=(address) { (show::clock(mark.end)) }
                " " code.id { (mark.id.short()) }
            }
            td data-label="Read" { span class={ "kind " (kind_words(mark.kind)) } { (kind_words(mark.kind)) } }
            td.number data-label="Records" { (show::count(mark.records)) }
            td.number data-label="Changes" { (changes(mark)) }
            td.number data-label="Data" { (show::size(mark.bytes)) }
            td.number data-label="Added" { (show::size(mark.added)) }
            td data-label="Took" { (show::duration(mark.end.as_millis() - mark.start.as_millis())) }
            td data-label="Notes" {
                @if !mark.complete { (page::pill("warn", "◐", "lacks something")) " " }
                @if mark.is_protected() { (page::pill("dim", "⚿", "held")) " " }
                @if goes { (page::pill("dim", "↓", "goes next")) }
            }
        }
    }
}

fn gap_row(gap: &Gap) -> Markup {
    let length = show::duration(gap.to.as_millis() - gap.from.as_millis());
    let most = if gap.missed >= super::timeline::MOST_MISSED { "at least " } else { "" };
    html! {
        tr.gap { td colspan="8" {
            "Gap of " (length) ": " (most) (gap.missed) " runs were due and nothing is kept"
            @if gap.was_forgotten { "; something was there and was forgotten" }
        } }
    }
}

/// Starts a backup.
pub(super) async fn back_up(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    form: Posted,
) -> Result<Response, Failure> {
    let visit = form.visit.clone();
    visit.needs(Scope::Backup)?;
    let config = console.service.config();
    let tenant = visit.routine(&config, &name)?.tenant.clone();
    let is_full = match form.get("kind") {
        "full" => true,
        "incremental" => false,
        _ => return Err(Failure::new(StatusCode::BAD_REQUEST, "A backup is full or incremental.")),
    };
    let work = Work::backup(&name, is_full);
    let new = NewJob { work, tenant, by: visit.caller.name.to_string(), due: None };
    let now = visit.now;
    let job = console.wait(move |console| Ok(console.service.submit(&new, now, false, None)?.id())).await?;
    Ok(Redirect::to(&visit.at(&format!("jobs/{job}"))).into_response())
}
