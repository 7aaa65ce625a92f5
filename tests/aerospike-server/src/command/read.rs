//! Reading one record: its metadata, all its bins, some of them, or the results of expressions. A read near the end of a
//! record's life may extend it.

use super::Answer;
use crate::codes::{field, info1, info2, op, particle, rc};
use crate::exp::{Context, Expression};
use crate::msgpack::{self, Item};
use crate::record::{Place, Record};
use crate::store::{Namespace, Unreadable};
use crate::wire::{Cursor, Message, Op, put_op};

/// A read's TTL field that forbids extending the record.
const NO_READ_TOUCH: u32 = u32::MAX;
/// Flag of an expression read: no value where there is none, instead of an error.
const EVAL_NO_FAIL: i128 = 0x10;

/// Reads, and says whether the record is to be touched.
pub(super) fn read(
    namespace: &Namespace,
    place: Place,
    message: &Message<'_>,
    filter: Option<&Expression>,
    now_ms: i64,
) -> Result<(Answer, bool), u8> {
    let record = namespace.live(&place, now_ms).ok_or(rc::NOT_FOUND)?;
    let context = Context { record, digest: place.digest(), namespace, now_ms };
    if filter.is_some_and(|filter| !filter.passes(&context)) {
        return Err(rc::FILTERED_OUT);
    }
    if let (Some(sent), Some(stored)) = (message.fields.get(field::KEY), &record.key)
        && sent != &**stored
    {
        return Err(rc::KEY_MISMATCH);
    }
    let no_bins = message.info[0] & info1::GET_NO_BINS != 0;
    if !no_bins && namespace.unreadable.get(&place) == Some(&Unreadable::Record) {
        return Err(rc::UNKNOWN);
    }
    let mut answer =
        Answer { generation: u32::from(record.generation), void_time: record.void_time, ..Answer::default() };
    if no_bins {
    } else if message.info[0] & info1::GET_ALL != 0 {
        answer.ops.extend_from_slice(&record.bins);
        answer.n_ops = record.n_bins;
    } else {
        let respond_all = message.info[1] & info2::RESPOND_ALL_OPS != 0;
        for op in &message.ops {
            read_op(op, &context, respond_all, &mut answer)?;
        }
    }
    Ok((answer, wants_touch(namespace, record, message.record_ttl, now_ms)))
}

/// Answers one reading op.
pub(super) fn read_op(op: &Op<'_>, context: &Context<'_>, respond_all: bool, answer: &mut Answer) -> Result<(), u8> {
    match op.code {
        op::READ if op.name.is_empty() => {
            answer.ops.extend_from_slice(&context.record.bins);
            answer.n_ops += context.record.n_bins;
        }
        op::READ => match context.record.bin(op.name) {
            Some((kind, value)) => {
                put_op(&mut answer.ops, op.name, kind, value);
                answer.n_ops += 1;
            }
            None if respond_all => {
                put_op(&mut answer.ops, op.name, particle::NULL, &[]);
                answer.n_ops += 1;
            }
            None => {}
        },
        op::EXP_READ => {
            let (expression, no_fail) = read_expression(op.value)?;
            match expression.particle(context) {
                Some((kind, value)) => put_op(&mut answer.ops, op.name, kind, &value),
                None if no_fail => put_op(&mut answer.ops, op.name, particle::NULL, &[]),
                None => return Err(rc::OP_NOT_APPLICABLE),
            }
            answer.n_ops += 1;
        }
        _ => return Err(rc::PARAMETER),
    }
    Ok(())
}

/// The value of an expression read: expression and flags.
pub(crate) fn read_expression(value: &[u8]) -> Result<(Expression, bool), u8> {
    let pair = msgpack::container(value).map_err(|_| rc::PARAMETER)?;
    let [expression, flags] = pair.elements[..] else { return Err(rc::PARAMETER) };
    let Ok(Item::Int(flags)) = msgpack::item(&mut Cursor::new(flags)) else { return Err(rc::PARAMETER) };
    Ok((Expression::parse(expression)?, flags & EVAL_NO_FAIL != 0))
}

/// A read extends a record in the last part of its life; how large that part is, the request or the namespace says.
fn wants_touch(namespace: &Namespace, record: &Record, request_ttl: u32, now_ms: i64) -> bool {
    let percent = match request_ttl {
        0 => u32::from(namespace.config.read_touch_percent),
        NO_READ_TOUCH => 0,
        percent => percent,
    };
    if record.void_time == 0 || percent == 0 || percent > 100 {
        return false;
    }
    let life = life_seconds(record);
    let left = i64::from(record.void_time) - now_ms.div_euclid(1000);
    left * 100 <= life * i64::from(percent)
}

fn life_seconds(record: &Record) -> i64 {
    i64::from(record.void_time) - (record.lut_ms / 1000) as i64
}

/// Moves last-update-time and void-time, not the generation.
pub(super) fn touch(namespace: &mut Namespace, place: Place, now_ms: i64) {
    let Some(record) = namespace.records.get_mut(&place).filter(|record| !record.is_expired(now_ms)) else { return };
    let life = life_seconds(record);
    record.void_time = (now_ms.div_euclid(1000) + life) as u32;
    record.lut_ms = record.lut_ms.max(now_ms as u64);
}
