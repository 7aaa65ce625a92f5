//! `dr config show`.

use super::{config::without_secrets, place::Setup};
use crate::cli::{
    context::Context,
    exit::{Failure, Status},
    show::{render, safe, table},
};
use serde_json::{Map, Value as Json, json};

pub(super) fn run(effective: bool, setup: &Setup, context: &Context) -> Result<Status, Failure> {
    let chosen = setup.settings.shown().filter(|(.., origin)| effective || *origin != "default");
    let (repository, data) = (without_secrets(&setup.repository(context)?), without_secrets(&setup.data));
    if context.json {
        let settings: Map<String, Json> = chosen
            .map(|(name, value, origin)| (name.to_owned(), json!({ "value": value, "origin": origin })))
            .collect();
        context.out.json(&json!({ "settings": settings, "repository": repository, "data": data }));
        return Ok(Status::Done);
    }
    let mut rows = table(&["setting", "value", "from"], &[]);
    for (name, value, origin) in chosen {
        rows.add_row(vec![name.to_owned(), safe(&value), safe(origin)]);
    }
    context.out.line(render(&rows));
    context.out.line(format_args!("repository  {repository}\ndata        {data}"));
    Ok(Status::Done)
}
