//! Secondary indexes by info command.

use std::sync::{Arc, PoisonError};

use data_encoding::BASE64;

use super::Request;
use crate::builds::Build;
use crate::exp::Expression;
use crate::server::Shared;
use crate::sindex::{Sindex, SindexSource, SindexType, path_is_known};

pub(super) fn answer(shared: &Arc<Shared>, node: usize, request: &Request<'_>) -> Option<String> {
    let build = shared.config.build;
    Some(match request.name {
        "sindex-list" => list(shared, request),
        "sindex" if request.arguments.len() < 2 && build < Build::V8_2 => list(shared, request),
        "sindex-create" => create(shared, request),
        "sindex-delete" => delete(shared, request),
        "sindex-exists" if build.has_new_indexes() => exists(shared, request).to_string(),
        "sindex" if build < Build::V8_2 => stat(shared, node, request),
        "sindex-stat" => stat(shared, node, request),
        _ => return None,
    })
}

/// The namespace that a command names, as far as such a build reads it.
fn namespace_of<'a>(build: Build, request: &Request<'a>) -> Option<&'a str> {
    let named = build.reads_namespace().then(|| request.get(&["namespace"])).flatten();
    let by_old_name = || build.reads_ns().then(|| request.get(&["ns"])).flatten();
    named.or_else(by_old_name).or(request.arguments.first().copied())
}

fn error(build: Build, code: u16, text: &str) -> String {
    let detail = if build.tells_details() { " (see the documentation of this command)" } else { "" };
    format!("{}:{code}:{text}{detail}", build.error_word())
}

fn ok(build: Build) -> String {
    String::from(if build < Build::V6_4 { "OK" } else { "ok" })
}

fn list(shared: &Arc<Shared>, request: &Request<'_>) -> String {
    let wanted = namespace_of(shared.config.build, request);
    let b64 = request.get(&["b64"]) == Some("true");
    let coded = |bytes: &Option<Vec<u8>>, text: &str| match bytes {
        None => "null".to_owned(),
        Some(bytes) if b64 => BASE64.encode(bytes),
        // A real server prints these for people, which nothing can read back.
        Some(_) => text.to_owned(),
    };
    let mut lines = Vec::new();
    for (name, namespace) in shared.namespaces().iter().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == name)) {
        for index in &namespace.read().unwrap_or_else(PoisonError::into_inner).sindexes {
            let expression = if shared.config.build.has_new_indexes() {
                format!("exp={}:", coded(&index.expression, "(expression)"))
            } else {
                String::new()
            };
            lines.push(format!(
                "ns={name}:indexname={}:set={}:bin={}:type={}:indextype={}:context={}:{expression}state=RW",
                index.name,
                index.set.as_deref().unwrap_or("null"),
                index.bin.as_deref().unwrap_or("null"),
                index.kind.name(),
                index.source.name(),
                coded(&index.context, "[map_key(<string>)]"),
            ));
        }
    }
    lines.join(";")
}

fn create(shared: &Arc<Shared>, request: &Request<'_>) -> String {
    let build = shared.config.build;
    let Some(namespace) = namespace_of(build, request).and_then(|name| shared.namespace(name.as_bytes())) else {
        return error(build, 4, "unknown namespace");
    };
    let index = match definition(build, request) {
        Ok(index) => index,
        Err(text) => return error(build, 4, text),
    };
    let mut namespace = namespace.write().unwrap_or_else(PoisonError::into_inner);
    let same = |have: &Sindex| have.name == index.name || Sindex { name: index.name.clone(), ..have.clone() } == index;
    if namespace.sindexes.iter().any(same) {
        return error(build, 200, "index already exists");
    }
    namespace.sindexes.push(index);
    ok(build)
}

fn definition(build: Build, request: &Request<'_>) -> Result<Sindex, &'static str> {
    let name = request.get(&["indexname"]).filter(|name| !name.is_empty()).ok_or("missing indexname")?;
    let source = request.get(&["indextype"]).map_or(Some(SindexSource::Default), SindexSource::parse);
    let source = source.ok_or("bad indextype")?;
    let is_new = build.has_new_indexes();
    if !is_new && (source == SindexSource::Set || request.get(&["exp"]).is_some()) {
        return Err("bad indextype");
    }
    // Before 8.1: `indexdata=bin,type`.
    let data = request.get(&["indexdata"]).filter(|_| build < Build::V8_2);
    let (data_bin, data_type) = data.and_then(|data| data.split_once(',')).unzip();
    if !is_new && data_bin.is_none() {
        return Err("missing indexdata");
    }
    let kind = request.get(&["type"]).filter(|_| is_new).or(data_type);
    let kind = match kind {
        Some(kind) => match SindexType::parse(kind).ok_or("bad type")? {
            SindexType::Blob if build.major < 7 => return Err("bad type"),
            kind => kind,
        },
        None if source == SindexSource::Set => SindexType::Numeric,
        None => return Err("missing type"),
    };
    let decode = |key: &str| match request.get(&[key]) {
        None => Ok(None),
        Some(text) => BASE64.decode(text.as_bytes()).map(Some),
    };
    let context = decode("context").map_err(|_| "bad context")?;
    let expression = decode("exp").map_err(|_| "bad exp")?;
    if context.as_ref().is_some_and(|path| !path_is_known(path)) {
        return Err("bad context");
    }
    if expression.as_ref().is_some_and(|bytes| Expression::parse(bytes).is_err()) {
        return Err("bad exp");
    }
    let bin = request.get(&["bin"]).filter(|_| is_new).or(data_bin);
    if bin.is_none() && expression.is_none() && source != SindexSource::Set {
        return Err("missing bin");
    }
    Ok(Sindex {
        name: name.to_owned(),
        set: request.get(&["set"]).map(str::to_owned),
        bin: bin.map(str::to_owned),
        kind,
        source,
        context,
        expression,
    })
}

fn delete(shared: &Arc<Shared>, request: &Request<'_>) -> String {
    let build = shared.config.build;
    let Some(namespace) = namespace_of(build, request).and_then(|name| shared.namespace(name.as_bytes())) else {
        return error(build, 4, "unknown namespace");
    };
    let mut namespace = namespace.write().unwrap_or_else(PoisonError::into_inner);
    let before = namespace.sindexes.len();
    namespace.sindexes.retain(|index| Some(index.name.as_str()) != request.get(&["indexname"]));
    if namespace.sindexes.len() == before { error(build, 201, "index not found") } else { ok(build) }
}

fn exists(shared: &Arc<Shared>, request: &Request<'_>) -> bool {
    let build = shared.config.build;
    let Some(namespace) = namespace_of(build, request).and_then(|name| shared.namespace(name.as_bytes())) else {
        return false;
    };
    let namespace = namespace.read().unwrap_or_else(PoisonError::into_inner);
    namespace.sindexes.iter().any(|index| Some(index.name.as_str()) == request.get(&["indexname"]))
}

fn stat(shared: &Arc<Shared>, node: usize, request: &Request<'_>) -> String {
    let build = shared.config.build;
    let Some(namespace) = namespace_of(build, request).and_then(|name| shared.namespace(name.as_bytes())) else {
        return error(build, 4, "unknown namespace");
    };
    let wanted = request.get(&["indexname"]).or(request.arguments.get(1).copied());
    let now_ms = shared.now_ms(node);
    let namespace = namespace.read().unwrap_or_else(PoisonError::into_inner);
    let Some(index) = namespace.sindexes.iter().find(|index| Some(index.name.as_str()) == wanted) else {
        return error(build, 201, "index not found");
    };
    let cluster = shared.cluster();
    let entries = index.entries(&namespace, now_ms, |pid| cluster.is_full(node, pid));
    format!(
        "entries={entries};used_bytes=16777216;entries_per_bval=1;entries_per_rec=1;load_pct=100;load_time=0;\
         stat_gc_recs=0"
    )
}
