//! The way back, in three steps: what and where to; what would become of every record; what became of it.

use super::{
    Console,
    admit::{Posted, Visit},
    failure::{Asked, Failure, Path},
    health::reads,
    jobs::{Seen, progress, state, stopping},
    page::{self, Nav, Page},
    show,
};
use crate::{
    ops::{OpsError, select::parse_time},
    record::Timestamp,
    service::{
        ServiceError,
        config::hidden_url,
        job::{JobState, NewJob, Work},
        keys::Scope,
        reach::may_write,
        restore::{RestoreTimestampRequest, shown},
    },
};
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// What a request that came from here says beside, so that its pages know it.
const BACK: &str = "into-source";

/// Keys that a restore of single records takes from here.
const MOST_KEYS: usize = 1000;

/// What is filled in already.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filled {
    /// Milliseconds since 1970, or as somebody wrote it.
    at: String,
    collection: String,
    keys: String,
}

/// What the first step offers.
struct Offer {
    /// Times that can be gone back to, the newest first.
    times: Vec<Timestamp>,
    collections: Vec<String>,
    reads: String,
    clusters: Vec<String>,
    targets: Vec<String>,
}

/// The first step.
pub(super) async fn ask(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Path(name): Path<String>,
    Asked(filled): Asked<Filled>,
) -> Result<Response, Failure> {
    visit.needs(Scope::Restore)?;
    visit.routine(&console.service.config(), &name)?;
    let source = name.clone();
    let offer = console.wait(move |console| offer(console, &source)).await?;
    let body = html! {
        (page::crumbs(&visit, &[(visit.at_source(&name, ""), &name)], "Restore"))
        h1 { "Restore " (show::cut(&name, 60)) }
        (steps(1))
        (form(&visit, &name, &filled, &offer))
    };
    let title = format!("Restore {name}");
    Ok(Page { visit: &visit, title: &title, nav: Nav::Sources, refresh: None, body }.answer())
}

fn offer(console: &Console, name: &str) -> Result<Offer, ServiceError> {
    let config = console.service.config();
    let routine = config.routines.get(name);
    let routine = routine.ok_or_else(|| ServiceError::NotFound { what: "source", name: name.to_owned() })?;
    let (repo, heads) = console.heads(name)?;
    let newest = repo.open_heads(heads.last().map_or(&[], std::slice::from_ref)).map_err(OpsError::from)?;
    Ok(Offer {
        times: heads.iter().rev().take(100).map(|head| head.end).collect(),
        collections: newest.iter().flat_map(|it| &it.collections).map(|it| it.name.clone()).take(1000).collect(),
        reads: reads(&config, routine),
        clusters: config.clusters.keys().cloned().collect(),
        targets: config.service.restore_targets.iter().map(|url| hidden_url(url)).collect(),
    })
}

/// Where in the three steps somebody is.
fn steps(here: u8) -> Markup {
    let steps = [(1, "What, and where to"), (2, "Dry run"), (3, "Restored and compared")];
    html! {
        ol.steps aria-label="Steps" {
            @for (number, words) in steps {
                li.(if number < here { "done" } else { "" }) aria-current=[(number == here).then_some("step")] { (words) }
            }
        }
    }
}

fn form(visit: &Visit, name: &str, filled: &Filled, offer: &Offer) -> Markup {
    let at = match (filled.at.trim(), filled.at.trim().parse()) {
        ("", _) => offer.times.first().copied().unwrap_or(visit.now).to_string(),
        (_, Ok(millis)) => Timestamp::from_millis(millis).to_string(),
        (words, Err(_)) => words.chars().take(100).collect(),
    };
    html! {
        form.card.stacked method="post" action=(visit.at_source(name, "/restore")) {
            (page::token(visit))
            fieldset {
                legend { "What" }
                label for="at" { "As it was at" }
                input #at name="at" value=(at) list="times" required aria-describedby="at-hint" autocomplete="off" spellcheck="false";
                datalist #times { @for time in &offer.times { option value=(time) {} } }
                p.hint #at-hint { "The newest snapshot that had ended by then. Write a time as above, or “2 hours ago”." }
                label for="collection" { "Collection" }
                select #collection name="collection" {
                    option value="" { "all" }
                    @for collection in &offer.collections {
                        option value=(collection) selected[*collection == filled.collection] { (show::plain(collection, 80)) }
                    }
                    @if !filled.collection.is_empty() && !offer.collections.contains(&filled.collection) {
                        option value=(filled.collection) selected { (show::plain(&filled.collection, 80)) }
                    }
                }
                label for="keys" { "Only these records" }
                textarea #keys name="keys" rows=(if filled.keys.is_empty() { 2 } else { 3 }) spellcheck="false" aria-describedby="keys-hint" { (filled.keys) }
                p.hint #keys-hint { "One key a line, as int:5, str:abc or a path; empty for all." }
            }
            fieldset {
                legend { "Where to" }
                label.choice { input type="radio" name="to" value="source" checked; span { "Back into what it reads: " code { (show::cut(&offer.reads, 100)) } } }
                @for (at, cluster) in offer.clusters.iter().take(100).enumerate() {
                    label.choice { input id={ "to-" (at) } type="radio" name="to" value={ "cluster:" (cluster) }; span { "Cluster " (show::cut(cluster, 60)) } }
                }
                @if !offer.targets.is_empty() {
                    label.choice { input type="radio" name="to" value="target"; span { "Another target" } }
                    label.hidden for="target" { "Its address" }
                    input #target name="target" aria-describedby="target-hint" autocomplete="off" spellcheck="false" placeholder=(offer.targets[0]);
                    p.hint #target-hint { "It begins with " @for (at, target) in offer.targets.iter().take(10).enumerate() { @if at > 0 { " or " } code { (show::cut(target, 80)) } } "." }
                }
            }
            fieldset {
                legend { "Records that are there" }
                @for (at, (value, words)) in OVERWRITE.iter().enumerate() {
                    label.choice { input type="radio" name="overwrite" value=(value) checked[at == 0]; span { (words) } }
                }
            }
            p.actions {
                button.primary type="submit" { "Try it out" }
                span.hint { "A dry run: nothing is written." }
            }
        }
    }
}

const OVERWRITE: [(&str, &str); 4] = [
    ("if-changed", "are replaced where they differ"),
    ("if-newer", "are replaced unless they are newer, where the target knows"),
    ("never", "stay as they are"),
    ("always", "are written again, all of them"),
];

/// What a form asks for, and whether it goes back into the source.
fn request_of(form: &Posted, name: &str, now: Timestamp) -> Result<(RestoreTimestampRequest, bool), Failure> {
    let invalid = |words: String| Failure::new(StatusCode::BAD_REQUEST, words);
    let time = parse_time(form.get("at"), now).map_err(|error| invalid(error.to_string()))?;
    let keys: Vec<String> =
        form.get("keys").lines().map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect();
    if keys.len() > MOST_KEYS {
        return Err(invalid(format!("{} keys are too many for a page: {MOST_KEYS} at most.", keys.len())));
    }
    let collection = Some(form.get("collection").to_owned()).filter(|name| !name.is_empty());
    if !keys.is_empty() && collection.is_none() {
        return Err(invalid("Which collection are these records of? Choose it.".to_owned()));
    }
    let mut request = RestoreTimestampRequest {
        routine: name.to_owned(),
        time: time.as_millis(),
        overwrite: Some(form.get("overwrite").to_owned()),
        verify: Some(true),
        dry_run: Some(true),
        keys: (!keys.is_empty()).then_some(keys),
        collection,
        ..RestoreTimestampRequest::default()
    };
    match form.get("to") {
        "source" => return Ok((request, true)),
        "target" => request.target = Some(form.get("target").to_owned()),
        other => match other.strip_prefix("cluster:") {
            Some(cluster) => request.destination_name = Some(cluster.to_owned()),
            None => return Err(invalid("Where to? Choose it.".to_owned())),
        },
    }
    Ok((request, false))
}

/// Starts a restore; gives its job's number.
fn start(console: &Console, visit: &Visit, request: &RestoreTimestampRequest, back: bool) -> Result<i64, ServiceError> {
    let plan = console.service.plan_restore_as_of(request, back)?;
    if !may_write(&console.service.config(), &visit.caller, &plan.target) {
        let words = "Your key may restore into what its own sources read, and not there.";
        return Err(ServiceError::Forbidden(words.to_owned()));
    }
    let tenant = console.service.config().routines.get(&request.routine).and_then(|routine| routine.tenant.clone());
    let mut kept = shown(request);
    if let Some(fields) = kept.as_object_mut() {
        fields.insert(BACK.to_owned(), json!(back));
        fields.insert("into".to_owned(), json!(crate::connector::url::without_password(&plan.target)));
    }
    let work = Work::Restore { routine: Some(request.routine.clone()), request: kept };
    let new = NewJob { work, tenant, by: visit.caller.name.to_string(), due: None };
    Ok(console.service.submit(&new, visit.now, false, Some(plan))?.id())
}

/// Starts the dry run.
pub(super) async fn try_out(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    form: Posted,
) -> Result<Response, Failure> {
    let visit = form.visit.clone();
    visit.needs(Scope::Restore)?;
    visit.routine(&console.service.config(), &name)?;
    let (request, back) = request_of(&form, &name, visit.now)?;
    let visitor = visit.clone();
    let job = console.wait(move |console| start(console, &visitor, &request, back)).await?;
    Ok(Redirect::to(&visit.at(&format!("restores/{job}"))).into_response())
}

/// What a job that was started from here was asked for.
fn asked_of(seen: &Seen) -> Option<(RestoreTimestampRequest, bool, String)> {
    let Work::Restore { request, .. } = &seen.job.work else { return None };
    let mut request = request.clone();
    let fields = request.as_object_mut()?;
    let back = fields.remove(BACK)?.as_bool()?;
    let into = fields.remove("into").and_then(|into| into.as_str().map(str::to_owned)).unwrap_or_default();
    Some((serde_json::from_value(request).ok()?, back, into))
}

/// Writes what was tried out.
pub(super) async fn run(
    State(console): State<Arc<Console>>,
    Path(id): Path<i64>,
    form: Posted,
) -> Result<Response, Failure> {
    let visit = form.visit.clone();
    visit.needs(Scope::Restore)?;
    let visitor = visit.clone();
    let started = console.wait(move |console| {
        let seen = console.job(&visitor, id)?;
        let asked = asked_of(&seen).filter(|(request, ..)| request.dry_run == Some(true));
        let (mut request, back, _) =
            asked.ok_or_else(|| ServiceError::NotFound { what: "dry run", name: id.to_string() })?;
        if seen.job.state != JobState::Success {
            return Err(ServiceError::Conflict("the dry run did not go well: nothing is written".to_owned()));
        }
        request.dry_run = None;
        start(console, &visitor, &request, back)
    });
    Ok(Redirect::to(&visit.at(&format!("restores/{}", started.await?))).into_response())
}

/// The second and third step.
pub(super) async fn follow(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Path(id): Path<i64>,
) -> Result<Response, Failure> {
    visit.needs(Scope::Read)?;
    let visitor = visit.clone();
    let seen = console.wait(move |console| console.job(&visitor, id)).await?;
    let Some((request, _, into)) = asked_of(&seen) else {
        return Ok(Redirect::to(&visit.at(&format!("jobs/{id}"))).into_response());
    };
    let is_dry = request.dry_run == Some(true);
    let is_over = seen.job.state.is_over();
    let here = visit.at(&format!("restores/{id}"));
    let name = request.routine.clone();
    let body = html! {
        (page::crumbs(&visit, &[(visit.at_source(&name, ""), &name)], "Restore"))
        h1 { "Restore " (show::cut(&name, 60)) }
        div #live hx-get=(here) hx-select="#live" hx-swap="outerHTML" hx-trigger=[(!is_over).then_some("every 1s")] {
            (steps(if is_dry { 2 } else { 3 }))
            (said(&request, &into))
            p.state role="status" { (state(seen.job.state)) " " (outcome_words(&seen, is_dry)) }
            @if let Some(running) = &seen.running { (progress(running)) }
            @if !is_over && visit.caller.may(Scope::Restore) { (stopping(&visit, id)) }
            @if let Some(error) = &seen.job.error {
                p.notice.(if seen.job.state == JobState::Failure { "bad" } else { "warn" }) role="alert" { (show::cut(error, 2000)) }
            }
            @if is_over { (counts(&seen.job.result, is_dry)) }
            @if is_over && is_dry { (go_on(&visit, &seen, &request)) }
            @if is_over && !is_dry {
                p.actions {
                    a.button href=(visit.at_source(&name, "")) { "To the source" }
                    a.button href=(visit.at(&format!("jobs/{id}"))) { "Everything about this job" }
                }
            }
        }
    };
    let title = if is_dry { "Restore: dry run" } else { "Restore" };
    let refresh = (!is_over).then_some(3);
    Ok(Page { visit: &visit, title, nav: Nav::Sources, refresh, body }.answer())
}

/// What was asked for, in words.
fn said(request: &RestoreTimestampRequest, into: &str) -> Markup {
    let overwrite = OVERWRITE.iter().find(|(value, _)| Some(*value) == request.overwrite.as_deref());
    html! {
        p.said {
            @match &request.keys {
                Some(keys) if keys.len() == 1 => { "The record " code { (show::cut(&keys[0], 80)) } },
                Some(keys) => { (keys.len()) " records" },
                None => "Everything",
            }
            @if let Some(collection) = &request.collection { " of " (show::cut(collection, 60)) }
            " as it was at " (show::moment(Timestamp::from_millis(request.time)))
            ", into " code { (show::cut(into, 120)) }
            @if let Some((_, words)) = overwrite { "; records that are there " (words) }
            ". Records that have come since stay."
        }
    }
}

fn outcome_words(seen: &Seen, is_dry: bool) -> &'static str {
    match (seen.job.state, is_dry) {
        (JobState::Queued, _) => "Another job has to end first.",
        (JobState::Running, true) => "What would become of each record is counted. Nothing is written.",
        (JobState::Running, false) => "Records are written, and read back.",
        (JobState::Success, true) => "This is what would become of the records. Nothing was written.",
        (JobState::Success, false) if is_proved(&seen.job.result) => "Restored, read back, and found equal: proved.",
        (JobState::Success, false) => "Restored.",
        (JobState::Incomplete, _) => "Done, and something is missing:",
        (JobState::Failure, true) => "It would not go well:",
        (JobState::Failure, false) => "It failed:",
        (JobState::Canceled | JobState::Skipped, true) => "Stopped. Nothing was written.",
        (JobState::Canceled | JobState::Skipped, false) => {
            "Stopped. What was written stays; the same restore goes on from there."
        }
    }
}

fn restores(result: &Json) -> impl Iterator<Item = &Json> {
    result.get("restores").and_then(Json::as_array).into_iter().flatten()
}

/// Whether everything was read back.
fn is_proved(result: &Json) -> bool {
    let mut all = restores(result).peekable();
    all.peek().is_some() && all.all(|one| one["verified"].is_u64() && one["different"] == 0)
}

/// What became, or would become, of the records.
fn counts(result: &Json, is_dry: bool) -> Markup {
    let sum = |name: &str| restores(result).filter_map(|one| one.get(name)?.as_u64()).sum::<u64>();
    if restores(result).next().is_none() {
        return html! {};
    }
    let rows = [
        ("records", "records in all"),
        ("inserted", "are not there: written"),
        ("replaced", "differ: replaced"),
        ("unchanged", "are equal: left alone"),
        ("existed", "are there: left alone"),
        ("fresher", "are newer: left alone"),
        ("expired", "have expired: not written"),
        ("skipped", "are not for this target"),
        ("unmappable", "have no key there"),
        ("ignored", "could not be written"),
        ("failed", "could not be written"),
        ("lost", "are lost to damage"),
        ("verified", "were read back and compared"),
        ("different", "differ when read back"),
    ];
    let notes = restores(result).flat_map(|one| ["missing", "notes", "damage"].map(|name| &one[name]));
    let notes: Vec<&str> = notes.filter_map(Json::as_array).flatten().filter_map(Json::as_str).take(50).collect();
    html! {
        table.counts {
            caption { @if is_dry { "What would become of the records" } @else { "What became of the records" } }
            tbody {
                @for (name, words) in rows {
                    @let count = sum(name);
                    @if count > 0 || name == "records" {
                        tr { td.number { strong { (show::count(count)) } } th scope="row" { (words) } }
                    }
                }
                tr { td.number { strong { (show::size(sum("bytes"))) } } th scope="row" { "of data" } }
            }
        }
        @if !notes.is_empty() { ul.notes { @for note in notes { li { (show::cut(note, 400)) } } } }
    }
}

/// What comes behind a dry run.
fn go_on(visit: &Visit, seen: &Seen, request: &RestoreTimestampRequest) -> Markup {
    let again = format!(
        "/restore?at={}&collection={}&keys={}",
        request.time,
        show::encoded(request.collection.as_deref().unwrap_or_default()),
        show::encoded(&request.keys.clone().unwrap_or_default().join("\n"))
    );
    html! {
        form.actions method="post" action=(visit.at(&format!("restores/{}/run", seen.job.id))) {
            (page::token(visit))
            @if seen.job.state == JobState::Success && visit.caller.may(Scope::Restore) {
                button #run.primary.danger type="submit" { "Restore now" }
            }
            a.button href=(visit.at_source(&request.routine, &again)) { "Change it" }
        }
    }
}
