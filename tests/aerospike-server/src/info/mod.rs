//! Info commands: a line of text each, answered by a line of text each.

mod namespaces;
mod nodes;
mod sindexes;
mod udfs;
mod xdr;

use std::sync::Arc;

use crate::server::{Shared, lock};

/// A command taken apart: `name[/argument…][:key=value;key=value…]`.
pub(crate) struct Request<'a> {
    name: &'a str,
    arguments: Vec<&'a str>,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Request<'a> {
    fn parse(command: &'a str) -> Self {
        let end = command.find(['/', ':', ';']).unwrap_or(command.len());
        let (name, rest) = command.split_at(end);
        let (path, parameters) = match rest.strip_prefix('/') {
            Some(rest) => rest.split_once(':').unwrap_or((rest, "")),
            None => ("", rest.trim_start_matches([':', ';'])),
        };
        Self {
            name,
            arguments: path.split('/').filter(|part| !part.is_empty()).collect(),
            parameters: parameters.split(';').filter_map(|pair| pair.split_once('=')).collect(),
        }
    }

    /// The value of the first of these parameters that is there.
    fn get(&self, keys: &[&str]) -> Option<&'a str> {
        self.parameters.iter().find(|(key, _)| keys.contains(key)).map(|(_, value)| *value)
    }

    fn namespace(&self) -> Option<&'a str> {
        self.get(&["namespace", "ns", "id"]).or(self.arguments.first().copied())
    }
}

/// Answers the commands of one request.
pub(crate) fn answer(shared: &Arc<Shared>, node: usize, body: &[u8], is_authenticated: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let command = String::from_utf8_lossy(line);
        let value = if is_authenticated { one(shared, node, &command) } else { error(80, "not authenticated") };
        out.extend_from_slice(line);
        out.push(b'\t');
        out.extend_from_slice(value.as_bytes());
        out.push(b'\n');
    }
    out
}

fn one(shared: &Arc<Shared>, node: usize, command: &str) -> String {
    let request = Request::parse(command);
    let overrides = lock(&shared.info_overrides);
    let name = request.name.to_owned();
    if let Some(value) = overrides.get(&(Some(node), name.clone())).or_else(|| overrides.get(&(None, name))) {
        return value.clone();
    }
    drop(overrides);
    xdr::answer(shared, node, &request)
        .or_else(|| nodes::answer(shared, node, &request))
        .or_else(|| namespaces::answer(shared, node, &request))
        .or_else(|| sindexes::answer(shared, node, &request))
        .or_else(|| udfs::answer(shared, &request))
        .unwrap_or_else(|| error(4, "unrecognized command"))
}

fn error(code: u16, text: &str) -> String {
    format!("ERROR:{code}:{text}")
}

fn ok() -> String {
    String::from("ok")
}
