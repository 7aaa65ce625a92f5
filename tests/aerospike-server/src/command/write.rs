//! Writing one record: policies first, then its bins. Nothing is changed unless everything is in order.

use std::borrow::Cow;

use super::{Answer, read};
use crate::codes::{field, info2, info3, op, particle, rc};
use crate::exp::{Context, Expression};
use crate::particle::normalise;
use crate::record::{Bin, Place, Record, encode_bins};
use crate::store::Namespace;
use crate::wire::{Message, Op, put_op};

/// Longest time to live: ten years.
const MAX_TTL_SECONDS: u32 = 315_360_000;
/// TTL: never expires.
const TTL_NEVER: u32 = u32::MAX;
/// TTL: as it was.
const TTL_KEEP: u32 = u32::MAX - 1;
/// Longest bin name.
const MAX_BIN_NAME_BYTES: usize = 15;
/// Longest set name.
const MAX_SET_NAME_BYTES: usize = 63;

/// Writes or deletes.
pub(super) fn write(
    namespace: &mut Namespace,
    place: Place,
    message: &Message<'_>,
    filter: Option<&Expression>,
    now_ms: i64,
) -> Result<Answer, u8> {
    let [_, info2, info3, _] = message.info;
    let is_durable = info2 & info2::DURABLE_DELETE != 0;
    if is_durable && !namespace.enterprise {
        return Err(rc::ENTERPRISE_ONLY);
    }
    let deletes = info2 & info2::DELETE != 0;
    if deletes && !is_durable && namespace.config.strong_consistency {
        return Err(rc::FORBIDDEN);
    }
    let set = message.fields.get(field::SET).unwrap_or_default();
    if !deletes {
        check_ops(&message.ops)?;
        check_ttl(namespace, message.record_ttl)?;
        if set.len() > MAX_SET_NAME_BYTES {
            return Err(rc::PARAMETER);
        }
    }
    let old = namespace.live(&place, now_ms);
    check_policies(namespace, old, place, message, filter, now_ms)?;
    if deletes {
        return match namespace.remove(&place) {
            Some(record) if !record.is_expired(now_ms) => {
                namespace.durable_deletes += u64::from(is_durable);
                let lut_ms = record.lut_ms.max(now_ms.max(0) as u64);
                namespace.tombstones.insert(place, (lut_ms, record.generation.wrapping_add(1).max(1)));
                Ok(Answer::result(rc::OK))
            }
            _ => Err(rc::NOT_FOUND),
        };
    }
    let old = old.cloned();
    if old.is_none() && message.ops.iter().all(|op| op.code == op::TOUCH || op.code == op::READ) {
        return Err(rc::NOT_FOUND);
    }
    let replaces = info3 & (info3::CREATE_OR_REPLACE | info3::REPLACE_ONLY) != 0;
    let set_id = match &old {
        Some(record) => record.set_id,
        None => namespace.make_set(set).ok_or(rc::PARAMETER)?,
    };
    let mut record = Record {
        // 16 bits, and 0 is skipped when it wraps.
        generation: old.as_ref().map_or(1, |old| old.generation.wrapping_add(1).max(1)),
        void_time: void_time(namespace, message.record_ttl, old.as_ref(), now_ms),
        lut_ms: old.as_ref().map_or(0, |old| old.lut_ms).max(now_ms.max(0) as u64),
        set_id,
        n_bins: 0,
        key: message.fields.get(field::KEY).map(Into::into),
        bins: Box::default(),
    };
    if let Some(old) = &old {
        if record.key.is_none() {
            record.key.clone_from(&old.key);
        }
        if !replaces {
            record.n_bins = old.n_bins;
            record.bins.clone_from(&old.bins);
        }
    }
    let respond_all = info2 & info2::RESPOND_ALL_OPS != 0;
    let mut answer = apply(namespace, place, &mut record, &message.ops, respond_all, now_ms)?;
    if record.n_bins == 0 {
        if old.is_none() {
            return Err(rc::PARAMETER);
        }
        namespace.remove(&place);
        return Ok(answer);
    }
    if record.stored_bytes(set.len()) > namespace.config.max_record_bytes {
        return Err(rc::RECORD_TOO_BIG);
    }
    answer.generation = u32::from(record.generation);
    answer.void_time = record.void_time;
    namespace.insert(place, record);
    Ok(answer)
}

fn check_ops(ops: &[Op<'_>]) -> Result<(), u8> {
    if ops.is_empty() {
        return Err(rc::PARAMETER);
    }
    if ops.iter().any(|op| op.name.len() > MAX_BIN_NAME_BYTES) {
        return Err(rc::BIN_NAME);
    }
    Ok(())
}

fn check_ttl(namespace: &Namespace, ttl: u32) -> Result<(), u8> {
    let seconds = match ttl {
        TTL_NEVER | TTL_KEEP => return Ok(()),
        0 => namespace.config.default_ttl,
        seconds if seconds > MAX_TTL_SECONDS => return Err(rc::PARAMETER),
        seconds => seconds,
    };
    if seconds > 0 && namespace.config.nsup_period == 0 && !namespace.config.allow_ttl_without_nsup {
        return Err(rc::FORBIDDEN);
    }
    Ok(())
}

fn check_policies(
    namespace: &Namespace,
    old: Option<&Record>,
    place: Place,
    message: &Message<'_>,
    filter: Option<&Expression>,
    now_ms: i64,
) -> Result<(), u8> {
    let [_, info2, info3, _] = message.info;
    let Some(record) = old else {
        let must_exist = info3 & (info3::UPDATE_ONLY | info3::REPLACE_ONLY) != 0 || info2 & info2::DELETE != 0;
        let generation_differs = info2 & info2::GENERATION != 0 && message.generation != 0;
        let not_greater = info2 & info2::GENERATION_GT != 0 && message.generation == 0;
        return match (must_exist, generation_differs || not_greater) {
            (true, _) => Err(rc::NOT_FOUND),
            (_, true) => Err(rc::GENERATION),
            _ => Ok(()),
        };
    };
    if info2 & info2::CREATE_ONLY != 0 {
        return Err(rc::EXISTS);
    }
    let context = Context { record, digest: place.digest(), namespace, now_ms };
    if filter.is_some_and(|filter| !filter.passes(&context)) {
        return Err(rc::FILTERED_OUT);
    }
    let deletes = info2 & info2::DELETE != 0;
    let set = message.fields.get(field::SET).unwrap_or_default();
    if !deletes && namespace.set_name(record.set_id) != set {
        return Err(rc::PARAMETER);
    }
    let generation = u32::from(record.generation);
    if info2 & info2::GENERATION != 0 && message.generation & 0xFFFF != generation
        || info2 & info2::GENERATION_GT != 0 && message.generation & 0xFFFF <= generation
    {
        return Err(rc::GENERATION);
    }
    match (message.fields.get(field::KEY), &record.key) {
        (Some(given), Some(kept)) if given != &**kept => Err(rc::KEY_MISMATCH),
        _ => Ok(()),
    }
}

fn void_time(namespace: &Namespace, ttl: u32, old: Option<&Record>, now_ms: i64) -> u32 {
    let from_now = |seconds: u32| if seconds == 0 { 0 } else { now_ms.div_euclid(1000) as u32 + seconds };
    match (ttl, old) {
        (TTL_NEVER, _) => 0,
        (TTL_KEEP, Some(old)) => old.void_time,
        (0 | TTL_KEEP, _) => from_now(namespace.config.default_ttl),
        (seconds, _) => from_now(seconds),
    }
}

/// Applies the ops to the record's bins in their order.
fn apply(
    namespace: &Namespace,
    place: Place,
    record: &mut Record,
    ops: &[Op<'_>],
    respond_all: bool,
    now_ms: i64,
) -> Result<Answer, u8> {
    let mut answer = Answer::default();
    for op in ops {
        if matches!(op.code, op::READ | op::EXP_READ) {
            let context = Context { record, digest: place.digest(), namespace, now_ms };
            read::read_op(op, &context, respond_all, &mut answer)?;
            continue;
        }
        let bins = change(record.bins(), op)?;
        let changed = encode_bins(&bins);
        (record.n_bins, record.bins) = changed;
        if respond_all {
            put_op(&mut answer.ops, op.name, particle::NULL, &[]);
            answer.n_ops += 1;
        }
    }
    Ok(answer)
}

fn change<'a>(mut bins: Vec<Bin<'a>>, op: &Op<'a>) -> Result<Vec<Bin<'a>>, u8> {
    let at = bins.iter().position(|bin| *bin.name == *op.name);
    match op.code {
        op::TOUCH => {}
        op::DELETE_ALL => bins.clear(),
        op::WRITE if op.particle == particle::NULL => {
            if let Some(at) = at {
                bins.remove(at);
            }
        }
        op::WRITE | op::INCR | op::APPEND | op::PREPEND => {
            if op.name.is_empty() {
                return Err(rc::PARAMETER);
            }
            let sent = normalise(op.particle, op.value)?;
            let old = at.filter(|_| op.code != op::WRITE).map(|at| &bins[at]);
            let (particle, value) = match old {
                Some(old) => combine(old, op, &sent)?,
                None => (op.particle, sent),
            };
            match at {
                Some(at) => (bins[at].particle, bins[at].value) = (particle, value),
                None => bins.push(Bin { name: Cow::Borrowed(op.name), particle, value }),
            }
        }
        _ => return Err(rc::PARAMETER),
    }
    Ok(bins)
}

/// A bin's value together with what is added, appended or prepended.
fn combine<'a>(old: &Bin<'_>, op: &Op<'_>, sent: &[u8]) -> Result<(u8, Cow<'a, [u8]>), u8> {
    if old.particle != op.particle {
        return Err(rc::BIN_TYPE);
    }
    let value = match (op.code, op.particle) {
        (op::INCR, particle::INTEGER | particle::FLOAT) => {
            let (a, b) = (eight(&old.value)?, eight(sent)?);
            if op.particle == particle::INTEGER {
                i64::from_be_bytes(a).wrapping_add(i64::from_be_bytes(b)).to_be_bytes().to_vec()
            } else {
                (f64::from_be_bytes(a) + f64::from_be_bytes(b)).to_be_bytes().to_vec()
            }
        }
        (op::APPEND, particle::STRING | particle::BLOB) => [&*old.value, sent].concat(),
        (op::PREPEND, particle::STRING | particle::BLOB) => [sent, &*old.value].concat(),
        _ => return Err(rc::BIN_TYPE),
    };
    Ok((op.particle, Cow::Owned(value)))
}

fn eight(value: &[u8]) -> Result<[u8; 8], u8> {
    value.try_into().map_err(|_| rc::BIN_TYPE)
}
