//! Single records: every version that is kept of one, with when it stood.

use super::{
    App,
    answer::{Path, Question, Refusal, unread_heads},
    may,
};
use crate::{
    ops::{
        OpsError, Silent,
        history::{History, choose, history},
        select::parse_time,
    },
    record::{KeyCodec, Timestamp},
    repo::{By, Head, Repository, Snapshot},
    report::ErrorKind,
    service::{
        Service, ServiceError,
        config::Config,
        keys::{Caller, Scope},
        places::Where,
        runs::{Whose, of_own_source},
        survey::{Unread, at_once, place_name, words_of},
        tags::{routine_of, routine_tag},
    },
};
use axum::{Extension, Json, extract::State, http::HeaderMap};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr as _,
    sync::Arc,
};
use utoipa::IntoParams;

/// Where to look, and when.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Span {
    /// The routine, or the source by its name or URL; needed where several routines keep such a collection.
    source: Option<String>,
    /// Only states that ended at or after this: milliseconds since 1970, or a time such as 2026-11-20T10:00:00Z.
    from: Option<String>,
    /// Only states that ended at or before this.
    to: Option<String>,
}

/// A repository, and the snapshots in it that may be meant.
type Found = (Repository, Vec<Snapshot>);

/// A repository to look into, and the tags of the routines that are meant.
type Asked = (Where, Vec<String>);

/// Gives every version that is kept of one record, the oldest first, with when it stood, what changed in it, and tombstones
#[utoipa::path(get, path = "/v1/records/{collection}/{set}/{key}", tag = "Record",
    params(
        ("collection" = String, Path, description = "The namespace, table, folder …"),
        ("set" = String, Path, description = "The set; `-` for none, or where there are no sets"),
        ("key" = String, Path, description = "The key as the command has it: `int:5`, `str:abc`, `digest:…`, a path"),
        Span
    ),
    responses(
    (status = 200, description = "Its versions; a repository that cannot be read now and may keep such a collection, too, is named",
        body = Object,
        headers(("rekeep-unreadable" = String, description = "A repository that cannot be read now, and why"))),
    (status = 400, description = "It makes no sense, or several sources are meant", body = Refusal),
    (status = 404, description = "There is no such collection", body = Refusal),
    (status = 503, description = "A repository cannot be read now in which it may be", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn versions(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((collection, set, key)): Path<(String, String, String)>,
    Question(which): Question<Span>,
) -> Result<(HeaderMap, Json<Value>), Refusal> {
    may(&caller, Scope::Read)?;
    let found = app.wait(move |service| {
        let time = |text: &Option<String>| text.as_deref().map(|text| time_of(text, service.now())).transpose();
        let (from, to) = (time(&which.from)?, time(&which.to)?);
        look(service, &caller, &collection, &set, &key, which.source.as_deref(), from, to)
    });
    let (found, unread) = found.await?;
    Ok((unread_heads(&unread), Json(serde_json::to_value(found).unwrap_or_default())))
}

/// A time that is the same wherever the service runs: one without a zone would be in that of the service, which who asks does not
/// know.
fn time_of(text: &str, now: Timestamp) -> Result<Timestamp, ServiceError> {
    let is_number = text.trim().parse::<i64>().is_ok();
    if !is_number && jiff::civil::DateTime::from_str(text.trim()).is_ok() {
        let words = format!("`{text}` has no zone: write 2026-11-20T10:00:00Z, or milliseconds since 1970");
        return Err(OpsError::Usage(words).into());
    }
    Ok(parse_time(text, now)?)
}

/// The record's history, and the repositories that could not be read, in which there may be another of its name.
#[expect(clippy::too_many_arguments, reason = "each part of the path, each once")]
fn look(
    service: &Arc<Service>,
    caller: &Caller,
    collection: &str,
    set: &str,
    key: &str,
    source: Option<&str>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Result<(History, Vec<Unread>), ServiceError> {
    let (mut found, unread) = candidates(service, caller, collection, source);
    let (repo, snapshots) = match (found.pop(), found.len()) {
        (Some(only), 0) => only,
        // It may be where nobody could look.
        (None, _) if !unread.is_empty() => return Err(unread[0].refusal().into()),
        (None, _) => return Err(ServiceError::NotFound { what: "collection", name: collection.to_owned() }),
        (Some(_), _) => {
            let words = format!("several repositories keep a collection `{collection}`: name the routine by source");
            return Err(ServiceError::Invalid(words));
        }
    };
    let config = service.config();
    let snapshots = match source {
        None => {
            only_one_routine(&snapshots, collection)?;
            snapshots
        }
        // Another source may have had its name before, or in another service.
        Some(name) if config.routines.contains_key(name) => {
            of_own_source(snapshots, collection, Whose { config: &config, name }, repo.host())
        }
        Some(_) => snapshots,
    };
    let snapshots = choose(&snapshots, collection, &Silent)?;
    let codec = snapshots.iter().rev().flat_map(|snapshot| &snapshot.collections).find(|it| it.name == collection);
    let key = typed(codec.map(|it| it.codec), set, key)?;
    Ok((history(&repo, &snapshots, collection, &key, from, to, &Silent)?, unread))
}

/// Refuses to choose between routines: each may have kept other states of a record, and none of them all.
fn only_one_routine(snapshots: &[Snapshot], collection: &str) -> Result<(), ServiceError> {
    let holders = snapshots.iter().filter(|it| it.collections.iter().any(|held| held.name == collection));
    let routines: BTreeSet<&str> = holders.filter_map(|it| routine_of(&it.tags)).collect();
    if routines.len() < 2 {
        return Ok(());
    }
    let names: Vec<String> = routines.iter().take(10).map(|name| format!("`{name}`")).collect();
    let words = format!("several routines keep a collection `{collection}`: name one by source: {}", names.join(", "));
    Err(ServiceError::Invalid(words))
}

/// The key as the command takes it.
fn typed(codec: Option<KeyCodec>, set: &str, key: &str) -> Result<String, ServiceError> {
    let set = if set == "-" { "" } else { set };
    match codec {
        Some(KeyCodec::Digest) if key.starts_with("digest:") => Ok(key.to_owned()),
        // In the address the parts are apart already: what divides them for the command is a part of the key here.
        Some(KeyCodec::Digest) => Ok(format!("{set}/{}", key.replace('\\', r"\\").replace('/', r"\/"))),
        _ if set.is_empty() => Ok(key.to_owned()),
        _ => Err(ServiceError::Invalid(format!("there are no sets in this collection: write `-` for `{set}`"))),
    }
}

/// The repositories that keep such a collection, each with its snapshots of the source that is meant; and those that could not be
/// read.
fn candidates(
    service: &Arc<Service>,
    caller: &Caller,
    collection: &str,
    source: Option<&str>,
) -> (Vec<Found>, Vec<Unread>) {
    let config = service.config();
    let mut unread: Vec<Unread> = Vec::new();
    let mut by_place: BTreeMap<String, Asked> = BTreeMap::new();
    for (name, routine) in &config.routines {
        let is_meant = source.is_none_or(|source| source == name || !config.routines.contains_key(source));
        if !is_meant || config.keeps_files(routine) || !caller.may_routine(name, routine.tenant.as_deref()) {
            continue;
        }
        match Where::of_routine(&config, routine) {
            Ok(place) => by_place.entry(place.name.clone()).or_insert((place, Vec::new())).1.push(routine_tag(name)),
            Err(error) => {
                let place = words_of(&place_name(routine));
                if unread.iter().all(|other| other.place != place) {
                    unread.push(Unread::new(&place, &error));
                }
            }
        }
    }
    let other = source.filter(|source| !config.routines.contains_key(*source));
    let narrow = crate::ops::Narrow { source: other.map(str::to_owned), ..crate::ops::Narrow::default() };
    // Whoever is bound to routines sees theirs; others see what the command made, too.
    let bound = !caller.may_all_routines() || source.is_some_and(|source| config.routines.contains_key(source));
    let (collection, asks) = (collection.to_owned(), Arc::clone(service));
    let look = move |asked: &Asked| of_place(&asks, &config, asked, &collection, &narrow, bound);
    let asked: Vec<(String, Asked)> = by_place.into_iter().collect();
    let answers = match asked.as_slice() {
        [(name, one)] => vec![(name.clone(), look(one))],
        _ => at_once(asked, look),
    };
    let mut found = Vec::new();
    for (place, answer) in answers {
        match answer {
            Ok(its) => found.extend(its),
            Err(error) => unread.push(Unread::new(&place, &error)),
        }
    }
    unread.sort_by(|one, other| one.place.cmp(&other.place));
    (found, unread)
}

/// What a repository keeps of a collection, if it does.
fn of_place(
    service: &Service,
    config: &Config,
    (place, tags): &Asked,
    collection: &str,
    narrow: &crate::ops::Narrow,
    bound: bool,
) -> Result<Option<Found>, OpsError> {
    let repo = match service.places.look(config, place) {
        Err(error) if error.kind() == ErrorKind::NoRepository => return Ok(None),
        opened => opened?,
    };
    let mut snapshots = if bound {
        let mut heads = Vec::new();
        for tag in tags {
            heads.extend(repo.heads(By::Tag(tag), None)?);
        }
        heads.sort_by_key(Head::position);
        heads.dedup();
        repo.open_heads(&heads)?
    } else {
        repo.snapshots()?
    };
    snapshots
        .retain(|snapshot| narrow.admits(snapshot) && (!bound || snapshot.tags.iter().any(|tag| tags.contains(tag))));
    let keeps = snapshots.iter().any(|snapshot| snapshot.collections.iter().any(|it| it.name == collection));
    Ok(keeps.then_some((repo, snapshots)))
}
