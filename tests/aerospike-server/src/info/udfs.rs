//! Lua modules by info command. They are kept, never run.

use std::sync::Arc;

use data_encoding::{BASE64, HEXLOWER};
use sha1::{Digest as _, Sha1};

use super::{Request, ok};
use crate::server::{Shared, lock};

/// Longest module.
const MAX_BYTES: usize = 1 << 20;

pub(super) fn answer(shared: &Arc<Shared>, request: &Request<'_>) -> Option<String> {
    Some(match request.name {
        "udf-list" => list(shared),
        "udf-put" => put(shared, request),
        "udf-get" => get(shared, request),
        "udf-remove" => {
            lock(&shared.udfs).remove(request.get(&["filename"]).unwrap_or_default());
            ok()
        }
        _ => return None,
    })
}

fn list(shared: &Arc<Shared>) -> String {
    let udfs = lock(&shared.udfs);
    let lines = udfs.iter().map(|(name, content)| format!("filename={name},hash={},type=LUA;", hash(name, content)));
    lines.collect::<Vec<_>>().concat()
}

/// The hash of the text under which the cluster keeps the module.
fn hash(name: &str, content: &[u8]) -> String {
    let kept = format!("{{\"content64\": \"{}\", \"type\": \"LUA\", \"name\": \"{name}\"}}", BASE64.encode(content));
    HEXLOWER.encode(&Sha1::digest(kept.as_bytes()))
}

fn put(shared: &Arc<Shared>, request: &Request<'_>) -> String {
    let name = request.get(&["filename"]).unwrap_or_default();
    if name.split_once('.').is_none_or(|(stem, ending)| stem.is_empty() || ending.is_empty()) {
        return "error=invalid_filename".to_owned();
    }
    let text = request.get(&["content"]).unwrap_or_default();
    let length = request.get(&["content-len"]).and_then(|len| len.parse::<usize>().ok());
    let content = match BASE64.decode(text.as_bytes()) {
        Ok(content) if length == Some(text.len()) && content.len() <= MAX_BYTES => content,
        _ => return "error=invalid_base64_content".to_owned(),
    };
    lock(&shared.udfs).insert(name.to_owned(), content);
    ok()
}

fn get(shared: &Arc<Shared>, request: &Request<'_>) -> String {
    let udfs = lock(&shared.udfs);
    match udfs.get(request.get(&["filename"]).unwrap_or_default()) {
        None => "error=not_found".to_owned(),
        Some(content) => format!("type=LUA;content={};", BASE64.encode(content)),
    }
}
