//! What a snapshot of a stream says of how far it is: a member of its attributes.

use super::{lsn::Lsn, visible::Visible};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

const MEMBER: &str = "stream";

/// How far a stream is, and what it goes on from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    /// The replication slot.
    pub slot: String,
    /// The server's own number, where it may be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The server's timeline.
    pub timeline: String,
    /// Every transaction whose commit lies before it is in the snapshot.
    pub position: Lsn,
    /// And so is every one that the base sees.
    pub base: Visible,
    /// What the publication was like.
    pub publication: String,
    /// By collection, what changes when the table is made anew or its columns are altered, be it to what they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stamps: BTreeMap<String, String>,
    /// By collection, the number that the table has under any name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub oids: BTreeMap<String, u32>,
    /// What changes with everything that `pg_dump` tells of the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definitions: Option<String>,
    /// The collections whose changes are not told.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub untold: BTreeSet<String>,
    /// Whether nothing else is missing than changes that are not told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_whole: bool,
}

/// What a snapshot's attributes say of its stream.
#[must_use]
pub fn state_of(attributes: &Json) -> Option<StreamState> {
    StreamState::deserialize(attributes.get(MEMBER)?).ok()
}

/// Puts it into attributes.
pub fn state_into(attributes: &mut Json, state: &StreamState) {
    if let (Json::Object(members), Ok(state)) = (attributes, serde_json::to_value(state)) {
        members.insert(MEMBER.to_owned(), state);
    }
}

/// Puts how sequences stand into attributes.
pub fn sequences_into(attributes: &mut Json, sequences: Json) {
    if let Json::Object(members) = attributes {
        members.insert("sequences".to_owned(), sequences);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_state_stands_beside_what_else_attributes_say() {
        let mut attributes = json!({ "format": 1 });
        assert_eq!(state_of(&attributes), None);
        let state = StreamState {
            slot: "s".to_owned(),
            system: None,
            timeline: "00000001".to_owned(),
            position: Lsn(0x1_0000_0020),
            base: "5:7:5".parse().unwrap(),
            publication: "p".to_owned(),
            stamps: BTreeMap::from([("public.t".to_owned(), "m".to_owned())]),
            oids: BTreeMap::from([("public.t".to_owned(), 16_384)]),
            definitions: Some("d".to_owned()),
            untold: BTreeSet::new(),
            is_whole: false,
        };
        state_into(&mut attributes, &state);
        assert_eq!(attributes["stream"]["position"], "1/20");
        assert_eq!(attributes["format"], 1);
        assert_eq!(attributes["stream"].get("untold"), None);
        assert_eq!(state_of(&attributes), Some(state));
    }
}
