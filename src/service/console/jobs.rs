//! What waits, what is at work, and what came of what ended.

use super::{
    Console,
    admit::{Posted, Visit},
    failure::{Asked, Failure, Path},
    page::{self, Nav, Page, fact, pill},
    show,
};
use crate::service::{
    ServiceError,
    job::{JobState, StoredJob, Work},
    keys::Scope,
    standing::{RunningJob, all_running},
    state::JobFilter,
};
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect, Response},
};
use maud::{Markup, html};
use serde::Deserialize;
use std::{collections::HashMap, sync::Arc};

/// Jobs on a page.
const PER_PAGE: usize = 50;

/// Which jobs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    /// Those with numbers below this one.
    before: Option<i64>,
    /// Only of this source.
    source: String,
}

/// A job, and how far it is.
pub(super) struct Seen {
    pub(super) job: StoredJob,
    pub(super) running: Option<RunningJob>,
}

impl Console {
    /// A job that somebody may see.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub(super) fn job(&self, visit: &Visit, id: i64) -> Result<Seen, ServiceError> {
        let job = self.service.job(id)?;
        let job = job.filter(|job| visit.may_see(job.work.routine(), job.tenant.as_deref()));
        let job = job.ok_or_else(|| ServiceError::NotFound { what: "job", name: id.to_string() })?;
        Ok(Seen { running: self.running().remove(&id), job })
    }

    fn running(&self) -> HashMap<i64, RunningJob> {
        all_running(&self.service).into_iter().map(|(_, job)| (job.job, job)).collect()
    }
}

/// What a job does, in words.
pub(super) fn does(work: &Work) -> String {
    match work {
        Work::Backup { full: true, .. } => "full backup".to_owned(),
        Work::Backup { .. } => "incremental backup".to_owned(),
        Work::Restore { request, .. } if request.get("dry-run").is_some_and(|it| it == true) => {
            "dry run of a restore".to_owned()
        }
        other => other.verb().to_owned(),
    }
}

/// How far a job is, as a word with a colour.
pub(super) fn state(state: JobState) -> Markup {
    match state {
        JobState::Queued => pill("dim", "…", "waits"),
        JobState::Running => pill("work", "▶", "at work"),
        JobState::Success => pill("good", "✓", "done"),
        JobState::Incomplete => pill("warn", "◐", "incomplete"),
        JobState::Failure => pill("bad", "✕", "failed"),
        JobState::Canceled => pill("dim", "■", "stopped"),
        JobState::Skipped => pill("dim", "»", "skipped"),
    }
}

/// A bar with how far, how fast and how long still.
pub(super) fn progress(running: &RunningJob) -> Markup {
    let left = running.estimated_end_time.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let began = running.start_time.parse::<jiff::Timestamp>().ok();
    // What is left is told from what is done: at the very beginning that is no word to give.
    let left =
        left.zip(began).map(|(end, begin)| end.as_millisecond() - begin.as_millisecond() - running.duration * 1000);
    html! {
        div.progress {
            progress max="100" value=(running.percentage_done) aria-label="How much is done" { (running.percentage_done) " %" }
            div.progress-words role="status" {
                strong { (running.percentage_done) " %" }
                span { (show::plain(&running.phase, 80)) }
                span { (show::count(running.done_records)) @if running.total_records > running.done_records { " of " (show::count(running.total_records)) } " records" }
                span { (show::count(running.metrics.records_per_second)) " records/s" }
                span { (show::size(running.metrics.kilobytes_per_second * 1024)) "/s" }
                @match left.filter(|left| *left > 0) {
                    Some(left) => span { "about " (show::duration(left)) " left" },
                    None => span { "for " (show::duration(running.duration * 1000)) },
                }
            }
        }
    }
}

/// The page of all jobs.
pub(super) async fn list(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Asked(which): Asked<Which>,
) -> Result<Response, Failure> {
    visit.needs(Scope::Read)?;
    let (visitor, asked) = (visit.clone(), which.clone());
    let (jobs, running, next) = console
        .wait(move |console| {
            let filter = JobFilter {
                before: asked.before,
                routine: Some(asked.source).filter(|source| !source.is_empty()),
                limit: PER_PAGE as u32 + 1,
                ..JobFilter::default()
            };
            let mut jobs = console.service.state.jobs(&filter.of(&visitor.caller))?;
            let next = if jobs.len() > PER_PAGE { jobs.get(PER_PAGE - 1).map(|job| job.id) } else { None };
            jobs.truncate(PER_PAGE);
            jobs.retain(|job| visitor.may_see(job.work.routine(), job.tenant.as_deref()));
            Ok((jobs, console.running(), next))
        })
        .await?;
    let address = |before: Option<i64>| {
        let before = before.map_or_else(String::new, |id| format!("&before={id}"));
        visit.at(&format!("jobs?source={}{before}", show::encoded(&which.source)))
    };
    let body = html! {
        div.title {
            h1 { "Jobs" }
            form.search role="search" method="get" action=(visit.at("jobs")) {
                label.hidden for="source" { "Source" }
                input #source type="search" name="source" value=(which.source) placeholder="Source";
                button type="submit" { "Find" }
            }
        }
        div #live hx-get=(address(which.before)) hx-select="#live" hx-swap="outerHTML" hx-trigger="every 2s" {
            @if jobs.is_empty() { p.empty { "There are no jobs." } } @else {
                table.cards {
                    caption.hidden { "Jobs, the newest first" }
                    thead { tr { th scope="col" { "Job" } th scope="col" { "Source" } th scope="col" { "State" } th scope="col" { "Asked for" } th scope="col" { "By" } th scope="col" { "What came of it" } } }
                    tbody { @for job in &jobs { (row(&visit, job, running.get(&job.id))) } }
                }
            }
            nav.pager aria-label="Pages of jobs" {
                @if which.before.is_some() { a href=(address(None)) { "← Newest" } }
                @if let Some(next) = next { a #page-next rel="next" href=(address(Some(next))) { "Older →" } }
            }
            p.asof { "As of " (show::clock(visit.now)) }
        }
    };
    Ok(Page { visit: &visit, title: "Jobs", nav: Nav::Jobs, refresh: Some(5), body }.answer())
}

fn row(visit: &Visit, job: &StoredJob, running: Option<&RunningJob>) -> Markup {
    html! {
        tr {
            th scope="row" data-label="Job" { a id={ "j-" (job.id) } href=(visit.at(&format!("jobs/{}", job.id))) { (job.id) " " (does(&job.work)) } }
            td data-label="Source" { @match job.work.routine() { Some(name) => a href=(visit.at_source(name, "")) { (show::cut(name, 60)) }, None => span.dim { "—" } } }
            td data-label="State" { (state(job.state)) }
            td data-label="Asked for" { (show::ago(job.created, visit.now)) }
            td data-label="By" { (show::cut(&job.by, 40)) }
            td data-label="What came of it" {
                @match (running, &job.error) {
                    (Some(running), _) => (progress(running)),
                    (None, Some(error)) => (show::cut(error, 160)),
                    (None, None) => (came_to(job)),
                }
            }
        }
    }
}

fn came_to(job: &StoredJob) -> Markup {
    let number = |name: &str| job.result.get(name).and_then(serde_json::Value::as_u64);
    let took = job.started.zip(job.finished).map(|(began, ended)| ended.as_millis() - began.as_millis());
    html! {
        @if let Some(records) = number("records").filter(|it| *it > 0) { (show::count(records)) " records" }
        @if let Some(bytes) = number("bytes").filter(|it| *it > 0) { ", " (show::size(bytes)) }
        @if let Some(took) = took { " in " (show::duration(took)) }
    }
}

/// The page of one job.
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Path(id): Path<i64>,
) -> Result<Response, Failure> {
    visit.needs(Scope::Read)?;
    let visitor = visit.clone();
    let seen = console.wait(move |console| console.job(&visitor, id)).await?;
    let job = &seen.job;
    let here = visit.at(&format!("jobs/{id}"));
    let time = |time: Option<crate::record::Timestamp>| time.map_or_else(|| html! { span.dim { "—" } }, show::moment);
    let body = html! {
        (page::crumbs(&visit, &[(visit.at("jobs"), "Jobs")], &format!("Job {id}")))
        div #live hx-get=(here) hx-select="#live" hx-swap="outerHTML" hx-trigger=[(!job.state.is_over()).then_some("every 1s")] {
            div.title {
                h1 { "Job " (id) ": " (does(&job.work)) }
                @if !job.state.is_over() && may_stop(&visit, job) { (stopping(&visit, id)) }
            }
            @if let Some(running) = &seen.running { (progress(running)) }
            @if let Some(error) = &job.error {
                p.notice.(if job.state == JobState::Failure { "bad" } else { "warn" }) role="alert" { (show::cut(error, 2000)) }
            }
            dl.facts {
                (fact("State", state(job.state)))
                @if let Some(name) = job.work.routine() { (fact("Source", html! { a href=(visit.at_source(name, "")) { (show::cut(name, 80)) } })) }
                (fact("Asked for", html! { (show::moment(job.created)) " by " (show::cut(&job.by, 60)) }))
                @if job.due.is_some() { (fact("Due", time(job.due))) }
                (fact("Began", time(job.started)))
                (fact("Ended", time(job.finished)))
                @if job.attempts > 1 { (fact("Tries", html! { (job.attempts) })) }
                (fact("Came to", came_to(job)))
            }
            (made(&visit, job))
            @if !job.result.is_null() {
                details { summary { "Everything that came of it" } pre.json { (show::cut(&serde_json::to_string_pretty(&job.result).unwrap_or_default(), 20_000)) } }
            }
        }
    };
    let title = format!("Job {id}");
    Ok(Page { visit: &visit, title: &title, nav: Nav::Jobs, refresh: (!job.state.is_over()).then_some(3), body }
        .answer())
}

/// The snapshots that a backup made.
fn made(visit: &Visit, job: &StoredJob) -> Markup {
    let ids = job.result.get("snapshots").and_then(serde_json::Value::as_array);
    let ids: Vec<&str> = ids.into_iter().flatten().filter_map(|one| one.get("id")?.as_str()).take(50).collect();
    html! {
        @if let Some(name) = job.work.routine().filter(|_| !ids.is_empty()) {
            p { "It made "
                @for id in &ids { a href=(visit.at_source(name, &format!("/snapshots/{}", show::encoded(id)))) { "snapshot " code { (show::plain(id, 8).trim_end_matches('…')) } } " " }
            }
        }
    }
}

fn may_stop(visit: &Visit, job: &StoredJob) -> bool {
    visit.caller.may(scope_of(job))
}

const fn scope_of(job: &StoredJob) -> Scope {
    if matches!(job.work, Work::Restore { .. }) { Scope::Restore } else { Scope::Backup }
}

pub(super) fn stopping(visit: &Visit, id: i64) -> Markup {
    html! {
        form.actions method="post" action=(visit.at(&format!("jobs/{id}/stop"))) {
            (page::token(visit))
            button #stop type="submit" { "Stop" }
        }
    }
}

/// Stops a job.
pub(super) async fn stop(
    State(console): State<Arc<Console>>,
    Path(id): Path<i64>,
    form: Posted,
) -> Result<Response, Failure> {
    let visit = form.visit.clone();
    let visitor = visit.clone();
    let seen = console.wait(move |console| console.job(&visitor, id)).await?;
    visit.needs(scope_of(&seen.job))?;
    console.wait(move |console| console.service.cancel(id)).await?;
    Ok(Redirect::to(&visit.at(&format!("jobs/{id}"))).into_response())
}
