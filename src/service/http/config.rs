//! The configuration: all of it, and its named things one by one. Each change is checked as a whole, written back, and counts
//! at once.

use super::{
    App,
    answer::{Body, Path, Refusal},
    may, may_of_all, may_routine,
};
use crate::service::{
    ServiceError,
    config::{Config, check::is_name, hide, keep_hidden, lean},
    keys::{Caller, Scope},
};
use axum::{
    Extension, Json,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{ETAG, HeaderName, IF_MATCH},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, RandomState},
};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Something as it is shown: without secrets, and without what says nothing.
fn shown(value: &impl Serialize) -> Json<Value> {
    let mut json = lean(value);
    hide(&mut json);
    Json(json)
}

/// Something as it is shown, with what its present state is known by.
type Tagged = ([(HeaderName, String); 1], Json<Value>);

fn tagged(tags: &RandomState, value: &impl Serialize) -> Tagged {
    ([(ETAG, tag(tags, value))], shown(value))
}

/// What a state is known by until the service ends: secrets count, and cannot be found out from it, since nobody knows the hash's key.
fn tag(tags: &RandomState, value: &impl Serialize) -> String {
    format!("\"{:016x}\"", tags.hash_one(lean(value).to_string()))
}

/// The states that a change is meant for, if whoever asks says that.
fn meant(headers: &HeaderMap) -> Option<Vec<String>> {
    headers.contains_key(IF_MATCH).then(|| {
        let said = headers.get_all(IF_MATCH).iter().filter_map(|value| value.to_str().ok());
        said.flat_map(|value| value.split(',')).map(|one| one.trim().to_owned()).collect()
    })
}

/// Refuses a change of what somebody else has changed since it was seen.
fn is_meant(meant: Option<&[String]>, tags: &RandomState, stored: &impl Serialize) -> Result<(), ServiceError> {
    let own = tag(tags, stored);
    if meant.is_none_or(|meant| meant.iter().any(|one| *one == own || one == "*")) {
        return Ok(());
    }
    Err(ServiceError::Stale("it was changed since you saw it (If-Match): look at it again".to_owned()))
}

/// What came, with the secrets that came back hidden as they are stored.
fn with_secrets<T: Serialize + DeserializeOwned>(new: &T, stored: &impl Serialize) -> Result<T, ServiceError> {
    let mut json = lean(new);
    keep_hidden(&mut json, &lean(stored));
    serde_json::from_value(json).map_err(|error| ServiceError::Invalid(error.to_string()))
}

/// Hooks are commands, and keys are who may: only the file says them.
fn keeps_what_the_file_says(before: &Config, after: &Config) -> Result<(), ServiceError> {
    let (one, other) = (&before.service, &after.service);
    if one.hooks != other.hooks {
        return Err(ServiceError::Forbidden("service.hooks are commands: only the file can change them".to_owned()));
    }
    let same = one.restore_targets == other.restore_targets
        && one.webhooks == other.webhooks
        && one.drill_scratch == other.drill_scratch
        && one.audit == other.audit
        && one.mail == other.mail
        && one.without_authentication == other.without_authentication;
    if !same {
        let words = "service.restore-targets, webhooks, mail, audit, drill-scratch and without-authentication: only the file can change them";
        return Err(ServiceError::Forbidden(words.to_owned()));
    }
    Ok(())
}

/// Shows the whole configuration, secrets hidden
#[utoipa::path(get, path = "/v1/config", tag = "Configuration", responses(
    (status = 200, description = "The configuration", body = Config, headers(("ETag" = String, description = "What its present state is known by"))),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn whole(State(app): State<App>, Extension(caller): Extension<Caller>) -> Result<Tagged, Refusal> {
    may_of_all(&caller, Scope::Configure)?;
    Ok(tagged(&app.tags, &*app.service.config()))
}

/// Puts another configuration in its place; `[secret]` keeps what is stored
#[utoipa::path(put, path = "/v1/config", tag = "Configuration",
    params(("If-Match" = Option<String>, Header, description = "The ETag of what is to be changed")), request_body = Config, responses(
    (status = 412, description = "It is not any more what If-Match names", body = Refusal),
    (status = 200, description = "It counts"),
    (status = 400, description = "It makes no sense", body = Refusal),
    (status = 409, description = "The file was changed since it was read", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn replace(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Body(new): Body<Config>,
) -> Result<StatusCode, Refusal> {
    may_of_all(&caller, Scope::Admin)?;
    let (meant, tags) = (meant(&headers), app.tags.clone());
    app.wait(move |service| {
        service.change(|config| {
            is_meant(meant.as_deref(), &tags, config)?;
            let new = with_secrets(&new, config)?;
            keeps_what_the_file_says(config, &new)?;
            if new.service.https != config.service.https {
                super::check_files(&new)?;
            }
            *config = new;
            Ok(())
        })
    })
    .await?;
    Ok(StatusCode::OK)
}

/// Reads the configuration's file again
#[utoipa::path(post, path = "/v1/config/apply", tag = "Configuration", responses(
    (status = 200, description = "It counts"),
    (status = 400, description = "It makes no sense", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn apply(State(app): State<App>, Extension(caller): Extension<Caller>) -> Result<StatusCode, Refusal> {
    may_of_all(&caller, Scope::Configure)?;
    app.wait(|service| service.reload()).await?;
    Ok(StatusCode::OK)
}

/// Adds something under a name that is free.
fn add<T>(map: &mut BTreeMap<String, T>, what: &'static str, name: &str, new: T) -> Result<(), ServiceError> {
    if !is_name(name) {
        return Err(ServiceError::Invalid(format!(
            "`{name}` is no name: 1 to 128 bytes, no `/`, no control characters, neither `.` nor `..`"
        )));
    }
    if map.contains_key(name) {
        return Err(ServiceError::Conflict(format!("there is a {what} `{name}` already")));
    }
    map.insert(name.to_owned(), new);
    Ok(())
}

fn put<T: Serialize + DeserializeOwned>(
    map: &mut BTreeMap<String, T>,
    what: &'static str,
    name: &str,
    new: &T,
    is_meant: impl FnOnce(&T) -> Result<(), ServiceError>,
) -> Result<(), ServiceError> {
    let stored = map.get_mut(name).ok_or_else(|| ServiceError::NotFound { what, name: name.to_owned() })?;
    is_meant(stored)?;
    *stored = with_secrets(new, stored)?;
    Ok(())
}

/// Takes something out that nothing else names.
fn take<T>(
    map: &mut BTreeMap<String, T>,
    what: &'static str,
    name: &str,
    users: &[String],
    is_meant: impl FnOnce(&T) -> Result<(), ServiceError>,
) -> Result<(), ServiceError> {
    let stored = map.get(name).ok_or_else(|| ServiceError::NotFound { what, name: name.to_owned() })?;
    is_meant(stored)?;
    if let Some(user) = users.first() {
        return Err(ServiceError::Conflict(format!("the {what} `{name}` is used by the routine `{user}`")));
    }
    map.remove(name);
    Ok(())
}

fn users(config: &Config, uses: impl Fn(&crate::service::config::Routine) -> bool) -> Vec<String> {
    config.routines.iter().filter(|(_, routine)| uses(routine)).map(|(name, _)| name.clone()).collect()
}

/// Whether somebody has to do with something of this name.
type Own<T> = fn(&Caller, &str, &T) -> bool;

/// The five paths of one kind of named things. Who is bound to routines or a tenant sees those, and changes nothing: what a routine
/// reads, and where it keeps it, is anybody's.
macro_rules! section {
    ($module:ident, $type:ty, $field:ident, $what:literal, $all:tt, $one:tt, $users:expr, $own:expr) => {
        pub(super) mod $module {
            use super::*;

            /// Shows all of them by name
            #[utoipa::path(get, path = $all, tag = "Configuration", operation_id = concat!("all_", stringify!($module)), responses(
                (status = 200, description = "By name", body = BTreeMap<String, $type>),
                (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
            ))]
            pub(in crate::service::http) async fn all(
                State(app): State<App>,
                Extension(caller): Extension<Caller>,
            ) -> Result<Json<Value>, Refusal> {
                may(&caller, Scope::Configure)?;
                let (own, config): (Own<$type>, _) = ($own, app.service.config());
                let seen = config.$field.iter().filter(|(name, one)| own(&caller, name, one));
                Ok(shown(&seen.collect::<BTreeMap<_, _>>()))
            }

            /// Shows one
            #[utoipa::path(get, path = $one, tag = "Configuration", operation_id = concat!("get_", stringify!($module)),
                params(("name" = String, Path, description = "Its name")), responses(
                (status = 200, description = "It", body = $type, headers(("ETag" = String, description = "What its present state is known by"))),
                (status = 404, description = "There is none", body = Refusal),
                (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
            ))]
            pub(in crate::service::http) async fn get(
                State(app): State<App>,
                Extension(caller): Extension<Caller>,
                Path(name): Path<String>,
            ) -> Result<Tagged, Refusal> {
                may(&caller, Scope::Configure)?;
                let own: Own<$type> = $own;
                match app.service.config().$field.get(&name).filter(|one| own(&caller, &name, one)) {
                    Some(found) => Ok(tagged(&app.tags, found)),
                    None => Err(ServiceError::NotFound { what: $what, name }.into()),
                }
            }

            /// Adds one
            #[utoipa::path(post, path = $one, tag = "Configuration", operation_id = concat!("add_", stringify!($module)),
                params(("name" = String, Path, description = "Its name")), request_body = $type, responses(
                (status = 201, description = "It counts"),
                (status = 400, description = "It makes no sense", body = Refusal),
                (status = 409, description = "There is one already", body = Refusal),
                (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
            ))]
            pub(in crate::service::http) async fn post(
                State(app): State<App>,
                Extension(caller): Extension<Caller>,
                Path(name): Path<String>,
                Body(new): Body<$type>,
            ) -> Result<StatusCode, Refusal> {
                may_of_all(&caller, Scope::Configure)?;
                app.wait(move |service| service.change(|config| add(&mut config.$field, $what, &name, new))).await?;
                Ok(StatusCode::CREATED)
            }

            /// Changes one; `[secret]` keeps what is stored
            #[utoipa::path(put, path = $one, tag = "Configuration", operation_id = concat!("put_", stringify!($module)),
                params(("name" = String, Path, description = "Its name"), ("If-Match" = Option<String>, Header, description = "The ETag of what is to be changed")),
                request_body = $type, responses(
                (status = 412, description = "It is not any more what If-Match names", body = Refusal),
                (status = 200, description = "It counts"),
                (status = 400, description = "It makes no sense", body = Refusal),
                (status = 404, description = "There is none", body = Refusal),
                (status = 409, description = "The file was changed since it was read", body = Refusal),
                (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
            ))]
            pub(in crate::service::http) async fn put(
                State(app): State<App>,
                Extension(caller): Extension<Caller>,
                Path(name): Path<String>,
                headers: HeaderMap,
                Body(new): Body<$type>,
            ) -> Result<StatusCode, Refusal> {
                may_of_all(&caller, Scope::Configure)?;
                let (meant, tags) = (meant(&headers), app.tags.clone());
                app.wait(move |service| {
                    service.change(|config| {
                        super::put(&mut config.$field, $what, &name, &new, |stored| is_meant(meant.as_deref(), &tags, stored))
                    })
                })
                .await?;
                Ok(StatusCode::OK)
            }

            /// Takes one out
            #[utoipa::path(delete, path = $one, tag = "Configuration", operation_id = concat!("delete_", stringify!($module)),
                params(("name" = String, Path, description = "Its name"), ("If-Match" = Option<String>, Header, description = "The ETag of what is to go")), responses(
                (status = 412, description = "It is not any more what If-Match names", body = Refusal),
                (status = 204, description = "It is gone"),
                (status = 404, description = "There is none", body = Refusal),
                (status = 409, description = "A routine uses it", body = Refusal),
                (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
            ))]
            pub(in crate::service::http) async fn delete(
                State(app): State<App>,
                Extension(caller): Extension<Caller>,
                Path(name): Path<String>,
                headers: HeaderMap,
            ) -> Result<StatusCode, Refusal> {
                may_of_all(&caller, Scope::Configure)?;
                let (meant, tags) = (meant(&headers), app.tags.clone());
                app.wait(move |service| {
                    service.change(|config| {
                        let uses: fn(&crate::service::config::Routine, &str) -> bool = $users;
                        let users = users(config, |routine| uses(routine, &name));
                        take(&mut config.$field, $what, &name, &users, |stored| is_meant(meant.as_deref(), &tags, stored))
                    })
                })
                .await?;
                Ok(StatusCode::NO_CONTENT)
            }
        }
    };
}

section!(
    clusters,
    crate::service::config::Cluster,
    clusters,
    "cluster",
    "/v1/config/clusters",
    "/v1/config/clusters/{name}",
    |routine, name| routine.source_cluster.as_deref() == Some(name),
    |caller, _, _| caller.may_all_routines()
);
section!(
    policies,
    crate::service::config::Policy,
    policies,
    "policy",
    "/v1/config/policies",
    "/v1/config/policies/{name}",
    |routine, name| routine.backup_policy.as_deref() == Some(name),
    |caller, _, _| caller.may_all_routines()
);
section!(
    storage,
    crate::service::config::Storage,
    storage,
    "storage",
    "/v1/config/storage",
    "/v1/config/storage/{name}",
    |routine, name| routine.storage.as_deref() == Some(name),
    |caller, _, _| caller.may_all_routines()
);
section!(
    routines,
    crate::service::config::Routine,
    routines,
    "routine",
    "/v1/config/routines",
    "/v1/config/routines/{name}",
    |_, _| false,
    |caller, name, routine| caller.may_routine(name, routine.tenant.as_deref())
);
section!(
    repositories,
    crate::service::config::Place,
    repositories,
    "repository",
    "/v1/config/repositories",
    "/v1/config/repositories/{name}",
    |routine, name| routine.repository.as_deref() == Some(name),
    |caller, _, _| caller.may_all_routines()
);

/// The paths of all sections.
pub(super) fn sections() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(clusters::all))
        .routes(routes!(clusters::get, clusters::post, clusters::put, clusters::delete))
        .routes(routes!(policies::all))
        .routes(routes!(policies::get, policies::post, policies::put, policies::delete))
        .routes(routes!(storage::all))
        .routes(routes!(storage::get, storage::post, storage::put, storage::delete))
        .routes(routes!(routines::all))
        .routes(routes!(routines::get, routines::post, routines::put, routines::delete))
        .routes(routes!(repositories::all))
        .routes(routes!(repositories::get, repositories::post, repositories::put, repositories::delete))
}

async fn set_disabled(app: &App, caller: &Caller, name: String, disabled: bool) -> Result<StatusCode, Refusal> {
    may(caller, Scope::Configure)?;
    may_routine(caller, &app.service.config(), &name)?;
    app.wait(move |service| {
        service.change(|config| {
            let routine = config.routines.get_mut(&name);
            let routine = routine.ok_or_else(|| ServiceError::NotFound { what: "routine", name: name.clone() })?;
            routine.disabled = disabled.then_some(true);
            Ok(())
        })?;
        if disabled {
            service.cancel_routine(&name)?;
        }
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a routine run by schedule
#[utoipa::path(put, path = "/v1/config/routines/{name}/enable", tag = "Configuration",
    params(("name" = String, Path, description = "The routine")), responses(
    (status = 204, description = "It does"), (status = 404, description = "There is none", body = Refusal),
    (status = 409, description = "The file was changed since it was read", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn enable(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    set_disabled(&app, &caller, name, false).await
}

/// Lets a routine no longer run by schedule, and cancels its backups
#[utoipa::path(put, path = "/v1/config/routines/{name}/disable", tag = "Configuration",
    params(("name" = String, Path, description = "The routine")), responses(
    (status = 204, description = "It does not"), (status = 404, description = "There is none", body = Refusal),
    (status = 409, description = "The file was changed since it was read", body = Refusal),
    (status = 401, description = "A key is needed", body = Refusal), (status = 403, description = "The key may not", body = Refusal)
))]
pub(super) async fn disable(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    set_disabled(&app, &caller, name, true).await
}
