//! All sources at a glance, the worst first.

use super::{
    Console,
    admit::Visit,
    failure::{Asked, Failure},
    health::{Health, Source},
    page::{Nav, Page},
    plot, show,
};
use crate::service::{
    certificates::{End, Nearness},
    job::Work,
    keys::Scope,
};
use axum::{extract::State, response::Response};
use maud::{Markup, html};
use serde::Deserialize;
use std::sync::Arc;

/// Sources on a page.
const PER_PAGE: usize = 50;

/// Which of them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    /// Only those whose name or address holds this.
    q: String,
    /// Only those that stand so.
    state: String,
    /// The page, from 1 on.
    page: usize,
}

/// The page.
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Asked(which): Asked<Which>,
) -> Result<Response, Failure> {
    visit.needs(Scope::Read)?;
    let visitor = visit.clone();
    let mut all = console.wait(move |console| console.sources(&visitor, None)).await?;
    all.sort_by(|one, other| (one.health, &one.name).cmp(&(other.health, &other.name)));
    // It is the affair of whoever sees all of it.
    let near = if visit.caller.may_all_routines() { console.service.certificates.near(visit.now) } else { Vec::new() };
    let body = body(&visit, &which, &all, &near);
    Ok(Page { visit: &visit, title: "Sources", nav: Nav::Sources, refresh: Some(10), body }.answer())
}

fn address(visit: &Visit, which: &Which, page: usize) -> String {
    let page = if page > 1 { format!("&page={page}") } else { String::new() };
    visit.at(&format!("?state={}&q={}{page}", show::encoded(&which.state), show::encoded(&which.q)))
}

fn body(visit: &Visit, which: &Which, all: &[Source], near: &[End]) -> Markup {
    let wanted = which.q.to_lowercase();
    let is_meant = |source: &&Source| {
        (which.state.is_empty() || source.health.as_str() == which.state)
            && (wanted.is_empty()
                || source.name.to_lowercase().contains(&wanted)
                || source.reads.to_lowercase().contains(&wanted))
    };
    let found: Vec<&Source> = all.iter().filter(is_meant).collect();
    let pages = found.len().div_ceil(PER_PAGE).max(1);
    let page = which.page.clamp(1, pages);
    let shown = &found[(page - 1) * PER_PAGE..(page * PER_PAGE).min(found.len())];
    let here = address(visit, which, page);
    html! {
        div.title {
            h1 { "Sources" }
            form.search role="search" method="get" action=(visit.at("")) {
                @if !which.state.is_empty() { input type="hidden" name="state" value=(which.state); }
                label.hidden for="q" { "Name or address" }
                input #q type="search" name="q" value=(which.q) placeholder="Name or address";
                button type="submit" { "Find" }
            }
        }
        @for end in near {
            p.notice.warn[end.nearness(visit.now) == Nearness::Soon].bad[end.nearness(visit.now) == Nearness::Over] { (show::cut(&end.words(visit.now), 400)) }
        }
        div #live hx-get=(here) hx-select="#live" hx-swap="outerHTML" hx-trigger="every 5s" {
            (tiles(visit, which, all))
            @if shown.is_empty() {
                p.empty { @if all.is_empty() { "There is no source. A source is a routine of the configuration." } @else { "No source is meant by this." } }
            } @else {
                table.cards {
                    caption.hidden { "Sources, the worst first" }
                    thead { tr {
                        th scope="col" { "Source" } th scope="col" { "State" } th scope="col" { "Newest backup" } th scope="col" { "Next run" }
                        th scope="col" { "Verified" } th scope="col" { "Proved" } th.number scope="col" { "Data" } th.number scope="col" { "Stored" } th scope="col" { "Newest snapshots" }
                    } }
                    tbody { @for source in shown { (row(visit, source)) } }
                }
            }
            (pager(visit, which, page, pages, found.len()))
            p.asof { "As of " (show::clock(visit.now)) }
        }
    }
}

/// How many stand how; each leads to these alone.
fn tiles(visit: &Visit, which: &Which, all: &[Source]) -> Markup {
    let of = |health: Health| all.iter().filter(|source| source.health == health).count();
    let link = |state: &str| address(visit, &Which { state: state.to_owned(), page: 1, ..which.clone() }, 1);
    html! {
        ul.tiles aria-label="How sources stand" {
            li { a #tile-all href=(link("")) aria-current=[which.state.is_empty().then_some("true")] { strong { (all.len()) } span { "Sources" } } }
            @for health in Health::ALL {
                @let (count, (class, mark)) = (of(health), health.look());
                @if count > 0 || which.state == health.as_str() {
                    li { a id={ "tile-" (health.as_str()) } class=(class) href=(link(health.as_str())) aria-current=[(which.state == health.as_str()).then_some("true")] {
                        strong { (count) } span { span aria-hidden="true" { (mark) } " " (health.words()) }
                    } }
                }
            }
        }
    }
}

fn row(visit: &Visit, source: &Source) -> Markup {
    let now = visit.now;
    html! {
        tr {
            th scope="row" data-label="Source" {
                a.name id={ "s-" (show::encoded(&source.name)) } href=(visit.at_source(&source.name, "")) { (show::cut(&source.name, 60)) }
                @if let Some(tenant) = &source.tenant { " " span.tag title="tenant" { (show::cut(tenant, 30)) } }
                div.address { (show::cut(&source.reads, 60)) }
            }
            td data-label="State" {
                (source.health.pill())
                @if let Some((work, job)) = &source.running {
                    div.progress-line {
                        progress max="100" value=(job.percentage_done) aria-label={ (work.kind()) " backup at work" } {}
                        span { (if matches!(work, Work::Backup { full: true, .. }) { "full" } else { "incremental" }) " " (job.percentage_done) " %" }
                    }
                } @else if !source.why.is_empty() {
                    div.why { (show::cut(&source.why, 120)) }
                }
                @if let Some(at) = source.as_of { div.why { "shown as of " (show::clock(at)) } }
            }
            td data-label="Newest backup" { @match source.last() { Some(mark) => (show::ago(mark.end, now)), None => span.dim { "—" } } }
            td data-label="Next run" { @match source.next { Some(next) => (show::ago(next, now)), None => span.dim { "—" } } }
            td data-label="Verified" { @match source.verified {
                Some((at, true)) => (show::ago(at, now)),
                Some((at, false)) => { span.bad { "✕ " (show::ago(at, now)) } },
                None => span.dim { "—" },
            } }
            td data-label="Proved" { @match source.proved { Some(at) => (show::ago(at, now)), None => span.dim { "—" } } }
            td.number data-label="Data" { @match source.last() { Some(mark) => (show::size(mark.bytes)), None => span.dim { "—" } } }
            td.number data-label="Stored" {
                @if source.marks.is_empty() { span.dim { "—" } } @else {
                    (show::size(source.added()))
                    @if let Some(times) = source.times() { div.why title="What its snapshots would take as full copies, over what they added" { (format!("{times:.1}")) "× less" } }
                }
            }
            td data-label="Newest snapshots" { (plot::strip(&source.marks)) div.why { (show::count(source.marks.len() as u64)) " kept" } }
        }
    }
}

fn pager(visit: &Visit, which: &Which, page: usize, pages: usize, found: usize) -> Markup {
    html! {
        @if pages > 1 {
            nav.pager aria-label="Pages" {
                @if page > 1 { a #page-before rel="prev" href=(address(visit, which, page - 1)) { "← Before" } }
                span { "Page " (page) " of " (pages) ", " (show::count(found as u64)) " sources" }
                @if page < pages { a #page-next rel="next" href=(address(visit, which, page + 1)) { "Next →" } }
            }
        }
    }
}
