//! One snapshot: what was read, what changed, what is missing, and what is in it.

use super::{
    Console,
    admit::Visit,
    contents::MAX_LINKED_BYTES,
    failure::{Failure, Path},
    page::{self, Nav, Page, fact},
    show,
    source::kind_words,
};
use crate::{
    ops::OpsError,
    repo::{By, Head, Repository, Snapshot, manifest::Collection},
    report::ErrorKind,
    service::{ServiceError, keys::Scope, listing::of_routine, places::Where, tags::routine_tag},
};
use axum::{extract::State, response::Response};
use maud::{Markup, html};
use std::sync::Arc;

/// Collections that are shown; what comes behind is counted.
const MOST_COLLECTIONS: usize = 500;

impl Console {
    /// A snapshot of a source, and the repository that it is in.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] if there is none of this name that belongs to the source.
    pub(super) fn snapshot(&self, source: &str, id: &str) -> Result<(Repository, Snapshot), ServiceError> {
        let repo = self.repository(source)?;
        let none = || ServiceError::NotFound { what: "snapshot", name: id.to_owned() };
        let found = repo.snapshot(&id.parse().map_err(|_| none())?).map_err(OpsError::from)?;
        let found = found.filter(|snapshot| snapshot.tags.contains(&routine_tag(source))).ok_or_else(none)?;
        Ok((repo, found))
    }

    /// The snapshots of a source, oldest first, and the repository that they are in.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] if there is no such source; what the repository says.
    pub(super) fn snapshots(&self, source: &str) -> Result<(Repository, Vec<Snapshot>), ServiceError> {
        let repo = self.repository(source)?;
        let snapshots = of_routine(&repo, source, None)?;
        Ok((repo, snapshots))
    }

    /// The same in brief.
    ///
    /// # Errors
    /// As above.
    pub(super) fn heads(&self, source: &str) -> Result<(Repository, Vec<Head>), ServiceError> {
        let repo = self.repository(source)?;
        let heads = repo.heads(By::Tag(&routine_tag(source)), None).map_err(OpsError::from)?;
        Ok((repo, heads))
    }

    fn repository(&self, source: &str) -> Result<Repository, ServiceError> {
        let config = self.service.config();
        let none = || ServiceError::NotFound { what: "source", name: source.to_owned() };
        let place = Where::of_routine(&config, config.routines.get(source).ok_or_else(none)?)?;
        let opened = self.service.places.ask(&config, &place);
        opened.map_err(|error| match error.kind() {
            ErrorKind::NoRepository => ServiceError::NotFound { what: "backup of", name: source.to_owned() },
            _ => ServiceError::from(error),
        })
    }
}

/// The page.
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Path((name, id)): Path<(String, String)>,
) -> Result<Response, Failure> {
    visit.needs(Scope::Read)?;
    visit.routine(&console.service.config(), &name)?;
    let (source, wanted) = (name.clone(), id.clone());
    let snapshot = console.wait(move |console| Ok(console.snapshot(&source, &wanted)?.1)).await?;
    let body = body(&visit, &name, &snapshot);
    let title = format!("Snapshot {} of {name}", snapshot.id.short());
    Ok(Page { visit: &visit, title: &title, nav: Nav::Sources, refresh: None, body }.answer())
}

fn body(visit: &Visit, name: &str, snapshot: &Snapshot) -> Markup {
    let content = &snapshot.content;
    let restore = visit.at_source(name, &format!("/restore?at={}", content.end.as_millis()));
    html! {
        (page::crumbs(visit, &[(visit.at_source(name, ""), name)], &snapshot.id.short()))
        div.title {
            h1 { "Snapshot " code { (snapshot.id.short()) } }
            @if visit.caller.may(Scope::Restore) {
                div.actions { a.button.primary href=(restore) { "Restore from here…" } }
            }
        }
        @if !content.complete {
            div.notice.warn {
                strong { "Something is missing in it." }
                ul { @for problem in content.problems.iter().take(50) { li { (show::cut(problem, 500)) } } }
                @if content.problems.len() > 50 { p { "… and " (content.problems.len() - 50) " more" } }
            }
        }
        (facts(visit, name, snapshot))
        (collections(visit, name, snapshot))
        @if !snapshot.tags.is_empty() {
            h2 { "Tags" }
            ul.tags { @for tag in snapshot.tags.iter().take(100) { li.tag { (show::cut(tag, 100)) } } }
        }
    }
}

fn facts(visit: &Visit, name: &str, snapshot: &Snapshot) -> Markup {
    let (content, stats) = (&snapshot.content, &snapshot.content.stats);
    let sum = |of: fn(&Collection) -> u64| snapshot.collections.iter().map(of).sum::<u64>();
    html! {
        dl.facts {
            (fact("State as of", html! { (show::moment(content.end)) " " small { (show::ago(content.end, visit.now)) } }))
            (fact("Read", html! { span class={ "kind " (kind_words(content.kind)) } { (kind_words(content.kind)) } " in " (show::duration(content.end.as_millis() - content.start.as_millis())) }))
            (fact("Records", html! { (show::count(sum(|it| it.records))) }))
            (fact("Data", html! { (show::size(sum(|it| it.bytes))) }))
            (fact("Added to the repository", html! { (show::size(stats.bytes_added)) }))
            (fact("Since the snapshot before", html! { "+" (show::count(stats.new)) " ~" (show::count(stats.changed)) " −" (show::count(stats.deleted)) @if stats.expired > 0 { " expired " (show::count(stats.expired)) } }))
            @if let Some(parent) = content.parent {
                (fact("Joined with", html! { a href=(visit.at_source(name, &format!("/snapshots/{parent}"))) { code { (parent.short()) } } }))
            }
            (fact("Source", html! { (show::cut(&content.source.url, 120)) " on " (show::cut(&content.source.host, 60)) }))
            @if snapshot.hold { (fact("Held", html! { "nothing may drop it" })) }
            @if let Some(until) = snapshot.lock_until { (fact("Locked until", show::moment(until))) }
            (fact("Id", html! { code.whole { (snapshot.id) } }))
        }
    }
}

fn collections(visit: &Visit, name: &str, snapshot: &Snapshot) -> Markup {
    let records = |collection: &Collection| {
        let rest = format!("/snapshots/{}/records?collection={}", snapshot.id, show::encoded(&collection.name));
        visit.at_source(name, &rest)
    };
    html! {
        h2 { "Collections" }
        table.cards {
            caption.hidden { "Collections of this snapshot" }
            thead { tr { th scope="col" { "Name" } th.number scope="col" { "Records" } th.number scope="col" { "Data" } th.number scope="col" { "Layers" } th scope="col" { "Deletions" } } }
            tbody {
                @for (at, collection) in snapshot.collections.iter().take(MOST_COLLECTIONS).enumerate() {
                    tr {
                        th scope="row" data-label="Name" {
                            @if collection.name.len() <= MAX_LINKED_BYTES {
                                a id={ "c-" (at) } href=(records(collection)) { (show::cut(&collection.name, 100)) }
                            } @else {
                                (show::cut(&collection.name, 100))
                                p.hint { "Its name is too long for an address: " code { "rekeep ls" } " lists its records." }
                            }
                        }
                        td.number data-label="Records" { (show::count(collection.records)) }
                        td.number data-label="Data" { (show::size(collection.bytes)) }
                        td.number data-label="Layers" { (collection.stack.len()) }
                        td data-label="Deletions" { @if collection.confirms_deletions() { "confirmed" } @else { (page::pill("warn", "◐", "not confirmed")) } }
                    }
                }
            }
        }
        @if snapshot.collections.len() > MOST_COLLECTIONS {
            p.hint { "… and " (snapshot.collections.len() - MOST_COLLECTIONS) " more, which " code { "rekeep ls" } " lists" }
        }
    }
}
