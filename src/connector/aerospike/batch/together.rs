//! Many records of one partition, by one query over what follows the first of them: a query for each alone is worth it only
//! where few of the partition are wanted. Records of a node that comes back are wanted by the thousand.

use super::{Presence, add, before};
use crate::{
    connector::aerospike::{
        cluster::Node,
        decode::Decoder,
        error::Error,
        pace::Pace,
        query::{Ask, End, Evidence, Mode, NotAsked, Plan, Sink, Span},
        scan::ScanContext,
        spare::Buffers,
    },
    record::{Digest, RecordBatch},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// Records that a scan passes over in the time that one query for a single record takes.
const SCANNED_IN_ONE_QUERY: u64 = 50;

/// Queries begun again before what is still missing is asked for one by one.
const TRIES: u32 = 3;

/// What came of one record.
pub(super) struct Found(Result<Option<Vec<u8>>, String>);

impl Found {
    pub(super) fn finish(
        self,
        digest: &Digest,
        decoder: &mut Decoder,
        batch: &mut RecordBatch,
    ) -> Result<Presence, Error> {
        match self.0 {
            Ok(Some(bytes)) => add(&bytes, digest, decoder, batch),
            Ok(None) => Ok(Presence::Absent),
            Err(reason) => Ok(Presence::Unknown(reason)),
        }
    }
}

/// What came of records that were read together; of others nothing.
#[derive(Default)]
pub(super) struct Together(HashMap<Digest, Found>);

impl Together {
    pub(super) fn take(&mut self, digest: &Digest) -> Option<Found> {
        self.0.remove(digest)
    }
}

/// Reads those of these digests together of whose partitions enough are wanted.
pub(super) fn read(context: &ScanContext, digests: &[Digest]) -> Result<Together, Error> {
    let mut by_pid: BTreeMap<u16, Vec<Digest>> = BTreeMap::new();
    for digest in digests {
        by_pid.entry(digest.partition()).or_default().push(*digest);
    }
    by_pid.retain(|_, wanted| wanted.len() as u64 * SCANNED_IN_ONE_QUERY >= context.partition_records);
    let mut sink = Wanted::default();
    for (pid, wanted) in by_pid {
        let first = wanted.iter().min_by_key(|digest| digest.sort_key());
        let Some(after) = first.and_then(before) else { continue };
        sink.lasts.insert(pid, after);
        sink.digests.extend(wanted);
    }
    let mut found = Together::default();
    for _ in 0..TRIES {
        if sink.lasts.is_empty() {
            break;
        }
        once(context, &mut sink, &mut found)?;
        if !sink.lasts.is_empty() {
            // The old map serves until a node answers again.
            let _ = context.cluster.refresh_soon();
        }
    }
    Ok(found)
}

/// Asks each owner once; partitions that were read to their end are settled.
fn once(context: &ScanContext, sink: &mut Wanted, found: &mut Together) -> Result<(), Error> {
    let plan = Plan {
        cluster: &context.cluster,
        namespace: &context.namespace,
        selection: &context.selection,
        options: &context.options,
        mode: Mode::Full,
        pace: &Pace::default(),
        patience: &context.patience,
        max_records: 0,
        stop: &context.stop,
    };
    let map = context.cluster.map(&context.namespace);
    let mut by_node: BTreeMap<String, (Arc<Node>, Vec<Ask>)> = BTreeMap::new();
    for (pid, after) in &sink.lasts {
        if let Some(owner) = map.owner(*pid) {
            let group = by_node.entry(owner.id.clone()).or_insert_with(|| (Arc::clone(owner), Vec::new()));
            group.1.push(Ask { pid: *pid, after: Some(*after) });
        }
    }
    for (node, asks) in by_node.into_values() {
        let outcome = plan.run(&node, &asks, 1, sink)?;
        sink.sort_out();
        if !matches!(outcome.end, End::Complete) {
            continue;
        }
        let reason = if let Evidence::Differs(reason) = outcome.evidence { Some(reason) } else { None };
        for ask in asks.iter().filter(|ask| !outcome.unavailable.contains(&ask.pid)) {
            sink.settle(ask.pid, reason.as_deref(), found);
        }
    }
    Ok(())
}

/// Keeps the records that are wanted, and forgets the others.
#[derive(Default)]
struct Wanted {
    digests: HashSet<Digest>,
    /// By partition that is not settled, the last digest seen.
    lasts: BTreeMap<u16, Digest>,
    kept: HashMap<Digest, Vec<u8>>,
    buffers: Buffers,
    /// Where wanted records lie in the buffers.
    spans: Vec<(Digest, Span)>,
}

impl Wanted {
    /// Moves what is wanted out of the buffers.
    fn sort_out(&mut self) {
        for (digest, span) in self.spans.drain(..) {
            let bytes = self.buffers.at(span.buffer, span.at);
            if let Some(bytes) = bytes.and_then(|rest| rest.get(..span.len as usize)) {
                self.kept.insert(digest, bytes.to_vec());
            }
        }
        self.buffers.clear();
    }

    fn settle(&mut self, pid: u16, differs: Option<&str>, found: &mut Together) {
        self.lasts.remove(&pid);
        let of_it: Vec<Digest> = self.digests.iter().filter(|digest| digest.partition() == pid).copied().collect();
        for digest in of_it {
            self.digests.remove(&digest);
            let came = match (self.kept.remove(&digest), differs) {
                (None, Some(reason)) => Err(reason.to_owned()),
                (bytes, _) => Ok(bytes),
            };
            found.0.insert(digest, Found(came));
        }
    }
}

impl Sink for Wanted {
    fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }

    fn record(&mut self, pid: u16, digest: Digest, span: Span) {
        self.lasts.insert(pid, digest);
        if self.digests.contains(&digest) {
            self.spans.push((digest, span));
        }
    }

    fn room(&mut self) -> Result<bool, Error> {
        self.sort_out();
        Ok(true)
    }

    fn last(&self, pid: u16) -> Result<Option<Digest>, NotAsked> {
        self.lasts.get(&pid).map(|last| Some(*last)).ok_or(NotAsked)
    }
}
