//! Queries over partitions: the records of each in descending digest order, several partitions side by side, packed into
//! messages.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::read::read_expression;
use crate::codes::{field, info1, info3, op, rc};
use crate::exp::{Context, Expression};
use crate::fault::At;
use crate::jobs::Job;
use crate::record::{PARTITIONS, Place, Record, partition_of};
use crate::respond::Responder;
use crate::server::QueryEvent;
use crate::store::{Namespace, Unreadable};
use crate::wire::{Head, MESSAGE, Message, begin_frame, end_frame, put_field, put_op};

/// Records looked at before writers get their turn.
const MAX_LOOKED_AT: usize = 20_000;

/// What is asked of each record.
enum Projection {
    NoBins,
    AllBins,
    Some(Vec<Column>),
}

/// One column of a projection.
enum Column {
    Bin(Vec<u8>),
    Expression(Vec<u8>, Expression, bool),
}

struct Plan<'a> {
    namespace: &'a RwLock<Namespace>,
    namespace_name: &'a [u8],
    set: Option<&'a [u8]>,
    pids: BTreeMap<u16, Option<Place>>,
    most: u64,
    filter: Option<Expression>,
    projection: Projection,
}

/// Where one of the readers that work side by side is.
struct Lane {
    pid: u16,
    after: Option<Place>,
    begun: bool,
}

/// How the filling of one message ended.
struct Filled {
    records: u64,
    messages: u64,
}

/// Does a query and sends its answer.
pub(crate) fn query(responder: &mut Responder<'_>, message: &Message<'_>) -> io::Result<()> {
    let shared = Arc::clone(responder.shared);
    let refused = responder.reach(At::Start)?;
    let plan = match refused.map_or_else(|| plan(&shared, message), Err) {
        Ok(plan) => plan,
        Err(code) => return end(responder, code),
    };
    // A query without an id gets one that no client draws.
    let trid = message.fields.u64(field::TRID).unwrap_or_else(|| u64::MAX - shared.requests.load(Ordering::SeqCst));
    let node = shared.node(responder.node);
    if node.jobs.running() >= shared.config.query_threads_limit {
        return end(responder, rc::FORBIDDEN);
    }
    let hangs = shared.config.reused_query_id_hangs && node.jobs.has(trid);
    let set = plan.set.map(|set| String::from_utf8_lossy(set).into_owned());
    let name = String::from_utf8_lossy(plan.namespace_name).into_owned();
    let mut job = Job::new(trid, name, set, plan.pids.len(), responder.peer());
    job.rps = message.fields.u32(field::RPS).unwrap_or_default();
    job.socket_timeout_ms = message.fields.u32(field::SOCKET_TIMEOUT).unwrap_or_default();
    let job = Arc::new(job);
    node.jobs.push(Arc::clone(&job));
    let timeout = Duration::from_millis(u64::from(job.socket_timeout_ms));
    responder.set_write_timeout((!timeout.is_zero()).then_some(timeout))?;
    shared.tell_query(&QueryEvent::begun(&job, responder.node));
    let result = run(responder, plan, &job).and_then(|code| {
        job.finish(if code == rc::OK { "ok" } else { "abandoned-unknown" });
        shared.tell_query(&QueryEvent::ended(&job, responder.node));
        if hangs { Ok(()) } else { end(responder, code) }
    });
    if let Err(error) = &result {
        let late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        job.finish(if late { "abandoned-response-timeout" } else { "abandoned-response-error" });
    } else {
        responder.set_write_timeout(None)?;
    }
    result
}

fn end(responder: &mut Responder<'_>, code: u8) -> io::Result<()> {
    let code = responder.reach(At::End)?.unwrap_or(code);
    let mut out = Vec::new();
    begin_frame(&mut out, MESSAGE);
    Head { info3: info3::LAST, ..Head::result(code) }.put(&mut out);
    end_frame(&mut out, 0);
    responder.send(&mut out)
}

fn plan<'a>(shared: &'a crate::server::Shared, message: &Message<'a>) -> Result<Plan<'a>, u8> {
    let fields = &message.fields;
    let namespace_name = fields.get(field::NAMESPACE).ok_or(rc::PARAMETER)?;
    let namespace = shared.namespace(namespace_name).ok_or(rc::NAMESPACE)?;
    let has_partitions = fields.get(field::PID_ARRAY).is_some() || fields.get(field::DIGEST_ARRAY).is_some();
    if message.info[2] & info3::PARTITION_DONE == 0 || !has_partitions {
        return Err(rc::UNSUPPORTED);
    }
    if [field::INDEX_RANGE, field::UDF_FILE, field::UDF_OP].iter().any(|kind| fields.get(*kind).is_some()) {
        return Err(rc::UNSUPPORTED);
    }
    Ok(Plan {
        namespace,
        namespace_name,
        set: fields.get(field::SET).filter(|set| !set.is_empty()),
        pids: partitions(message)?,
        most: fields.u64(field::MAX_RECORDS).filter(|n| *n > 0).unwrap_or(u64::MAX),
        filter: fields.get(field::FILTER).map(Expression::parse).transpose()?,
        projection: projection(message)?,
    })
}

fn partitions(message: &Message<'_>) -> Result<BTreeMap<u16, Option<Place>>, u8> {
    let mut pids = BTreeMap::new();
    let (whole, rest) = message.fields.get(field::PID_ARRAY).unwrap_or_default().as_chunks::<2>();
    let (resumed, rest_too) = message.fields.get(field::DIGEST_ARRAY).unwrap_or_default().as_chunks::<20>();
    if !rest.is_empty() || !rest_too.is_empty() {
        return Err(rc::PARAMETER);
    }
    for pid in whole.iter().map(|bytes| u16::from_le_bytes(*bytes)) {
        if pid >= PARTITIONS || pids.insert(pid, None).is_some() {
            return Err(rc::PARAMETER);
        }
    }
    for digest in resumed {
        if pids.insert(partition_of(digest), Some(Place::of(digest))).is_some() {
            return Err(rc::PARAMETER);
        }
    }
    Ok(pids)
}

fn projection(message: &Message<'_>) -> Result<Projection, u8> {
    if message.info[0] & info1::GET_NO_BINS != 0 {
        return Ok(Projection::NoBins);
    }
    if message.ops.is_empty() {
        return Ok(Projection::AllBins);
    }
    let columns = message.ops.iter().map(|op| match op.code {
        op::READ if !op.name.is_empty() => Ok(Column::Bin(op.name.to_vec())),
        op::EXP_READ => {
            let (expression, no_fail) = read_expression(op.value)?;
            Ok(Column::Expression(op.name.to_vec(), expression, no_fail))
        }
        _ => Err(rc::PARAMETER),
    });
    Ok(Projection::Some(columns.collect::<Result<_, u8>>()?))
}

/// Sends the records and returns the code with which the query ends.
fn run(responder: &mut Responder<'_>, mut plan: Plan<'_>, job: &Job) -> io::Result<u8> {
    let shared = Arc::clone(responder.shared);
    if let Some(code) = responder.reach(At::Records(0))? {
        return Ok(code);
    }
    let mut waiting = std::mem::take(&mut plan.pids).into_iter().map(|(pid, after)| Lane { pid, after, begun: false });
    let mut lanes: Vec<Lane> = waiting.by_ref().take(shared.config.query_lanes.max(1)).collect();
    let mut turn = 0;
    let mut sent = 0;
    let mut out = Vec::new();
    while !lanes.is_empty() && sent < plan.most {
        turn %= lanes.len();
        out.clear();
        begin_frame(&mut out, MESSAGE);
        let most = (plan.most - sent).min(responder.records_until_fault().unwrap_or(u64::MAX));
        let (filled, finished) = fill(responder, &plan, &mut lanes[turn], &mut waiting, &mut out, most, job);
        if finished {
            lanes.remove(turn);
        } else {
            turn += 1;
        }
        if filled.messages == 0 {
            continue;
        }
        end_frame(&mut out, 0);
        job.net_io_bytes.fetch_add(out.len() as u64, Ordering::SeqCst);
        sent += filled.records;
        if let Some(code) = responder.send_records(&mut out, filled.records)? {
            return Ok(code);
        }
        shared.tell_query(&QueryEvent::sent(job, responder.node, sent));
    }
    Ok(rc::OK)
}

/// Fills one message from a lane, going on to the next waiting partition where one ends. Says whether the lane is done.
fn fill(
    responder: &Responder<'_>,
    plan: &Plan<'_>,
    lane: &mut Lane,
    waiting: &mut impl Iterator<Item = Lane>,
    out: &mut Vec<u8>,
    most: u64,
    job: &Job,
) -> (Filled, bool) {
    let shared = responder.shared;
    let full_at = shared.config.query_message_bytes;
    let now_ms = shared.now_ms(responder.node);
    let mut filled = Filled { records: 0, messages: 0 };
    let mut looked_at = 0;
    let namespace = plan.namespace.read().unwrap_or_else(PoisonError::into_inner);
    let set_id = plan.set.map(|set| namespace.set_id(set));
    loop {
        let begins = !std::mem::replace(&mut lane.begun, true);
        if begins && !shared.serves(responder.node, lane.pid) {
            let head =
                Head { info3: info3::PARTITION_DONE, generation: u32::from(lane.pid), ..Head::result(rc::UNAVAILABLE) };
            head.put(out);
            filled.messages += 1;
        } else {
            let mut ended = true;
            for (place, record) in namespace.partition_after(lane.pid, lane.after) {
                if filled.records >= most || out.len() >= full_at || looked_at >= MAX_LOOKED_AT {
                    ended = false;
                    break;
                }
                looked_at += 1;
                lane.after = Some(*place);
                let other_set = set_id.is_some_and(|wanted| wanted != Some(record.set_id));
                if other_set || record.is_expired(now_ms) {
                    continue;
                }
                if put_record(out, &namespace, *place, record, plan, now_ms, job) {
                    filled.records += 1;
                    filled.messages += 1;
                }
            }
            if !ended {
                return (filled, false);
            }
        }
        job.pids_done.fetch_add(1, Ordering::SeqCst);
        match waiting.next() {
            Some(next) => *lane = next,
            None => return (filled, true),
        }
    }
}

/// Appends a record unless it is filtered out or cannot be read; keeps the query's counts.
fn put_record(
    out: &mut Vec<u8>,
    namespace: &Namespace,
    place: Place,
    record: &Record,
    plan: &Plan<'_>,
    now_ms: i64,
    job: &Job,
) -> bool {
    let context = Context { record, digest: place.digest(), namespace, now_ms };
    let no_bins = matches!(plan.projection, Projection::NoBins);
    if !namespace.unreadable.is_empty()
        && let Some(fault) = namespace.unreadable.get(&place)
    {
        let filter_reads = plan.filter.as_ref().is_some_and(Expression::reads_device);
        if no_bins && !filter_reads && *fault == Unreadable::StoredKey && record.key.is_some() {
            job.succeeded.fetch_add(1, Ordering::SeqCst);
            return false;
        }
        if !no_bins || filter_reads || record.key.is_some() {
            job.failed.fetch_add(1, Ordering::SeqCst);
            return false;
        }
    }
    if let Some(filter) = &plan.filter
        && !filter.passes(&context)
    {
        let counter = if filter.reads_device() { &job.filtered_bins } else { &job.filtered_meta };
        counter.fetch_add(1, Ordering::SeqCst);
        return false;
    }
    let start = out.len();
    let set = namespace.set_name(record.set_id);
    let mut head = Head {
        info1: if no_bins { info1::GET_NO_BINS } else { 0 },
        generation: u32::from(record.generation),
        void_time: record.void_time,
        n_fields: 2 + u16::from(record.set_id > 0) + u16::from(record.key.is_some()),
        ..Head::default()
    };
    if matches!(plan.projection, Projection::AllBins) {
        head.n_ops = record.n_bins;
    }
    head.put(out);
    put_field(out, field::NAMESPACE, plan.namespace_name);
    put_field(out, field::DIGEST, &context.digest);
    if record.set_id > 0 {
        put_field(out, field::SET, set);
    }
    if let Some(key) = &record.key {
        put_field(out, field::KEY, key);
    }
    match &plan.projection {
        Projection::NoBins => {}
        Projection::AllBins => out.extend_from_slice(&record.bins),
        Projection::Some(columns) => {
            let Some(n_ops) = put_columns(out, columns, &context) else {
                out.truncate(start);
                job.failed.fetch_add(1, Ordering::SeqCst);
                return false;
            };
            out[start + 20..start + 22].copy_from_slice(&n_ops.to_be_bytes());
        }
    }
    job.succeeded.fetch_add(1, Ordering::SeqCst);
    true
}

/// Appends the columns and returns their number; `None` where an expression has no value and may not be without.
fn put_columns(out: &mut Vec<u8>, columns: &[Column], context: &Context<'_>) -> Option<u16> {
    let mut n = 0;
    for column in columns {
        match column {
            Column::Bin(name) => {
                let Some((kind, value)) = context.record.bin(name) else { continue };
                put_op(out, name, kind, value);
            }
            Column::Expression(name, expression, no_fail) => match expression.particle(context) {
                Some((kind, value)) => put_op(out, name, kind, &value),
                None if *no_fail => continue,
                None => return None,
            },
        }
        n += 1;
    }
    Some(n)
}
