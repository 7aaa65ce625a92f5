//! Snapshots of which there is nothing but the manifest, for tests.

use crate::{
    record::{CollectionSum, KeyCodec, Timestamp},
    repo::{
        Manifest, Snapshot, SnapshotId,
        carried::Carried,
        manifest::{Asked, Collection, Content, Coverage, Kind, LayerRef, SourceId, Stats},
    },
};
use serde_json::Value as Json;

/// Of one source, the ends a tenth of a second apart by their numbers; a collection for each stack.
pub fn snapshot(number: u8, stacks: &[Vec<LayerRef>]) -> Snapshot {
    Snapshot::made_up(manifest(number, stacks))
}

pub fn manifest(number: u8, stacks: &[Vec<LayerRef>]) -> Manifest {
    let end = Timestamp::from_millis(i64::from(number) * 100);
    let coverage = Coverage {
        from: String::new(),
        to: None,
        start: end,
        end,
        complete: true,
        sum: CollectionSum::default().to_hex(),
        records: 1000,
        deletions_as_of: None,
        deletions: Vec::new(),
        other: Carried::default(),
    };
    let collection = |(at, stack): (usize, &Vec<LayerRef>)| Collection {
        name: format!("c{at}"),
        codec: KeyCodec::Int,
        records: 1000,
        bytes: 10_000,
        coverage: vec![coverage.clone()],
        attributes: Json::Null,
        sets: Vec::new(),
        stack: stack.clone(),
        journal: None,
        counted: true,
        other: Carried::default(),
    };
    let source = SourceId {
        connector: "jsonl".to_owned(),
        name: "n".to_owned(),
        host: "h".to_owned(),
        url: "jsonl:-".to_owned(),
        other: Carried::default(),
    };
    Manifest::first(
        SnapshotId([number; 16]),
        Content {
            start: end,
            end,
            order: 0,
            source,
            scope: String::new(),
            scope_note: String::new(),
            asked: Asked::default(),
            loss_accepted: false,
            kind: Kind::Full,
            parent: None,
            complete: true,
            problems: Vec::new(),
            attributes: Json::Null,
            stats: Stats::default(),
            program: "test".to_owned(),
            copy_of: None,
            other: Carried::default(),
        },
        stacks.iter().enumerate().map(collection).collect(),
    )
}
