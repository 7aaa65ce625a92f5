//! Batches: many rows in one message, each a read or a write of one record, answered row by row.

use std::io;

use super::{Answer, single};
use crate::codes::{field, info3, rc};
use crate::exp::Expression;
use crate::fault::At;
use crate::record::Digest;
use crate::respond::Responder;
use crate::wire::{
    Cursor, Fields, HEAD_BYTES, Head, MESSAGE, Malformed, Message, PROTO_BYTES, begin_frame, end_frame, parse_ops,
};

/// Bytes of rows after which a message is sent.
const MESSAGE_BYTES: usize = 128 << 10;
/// Batch flag: all rows are done and answered, whatever their results.
const RESPOND_ALL_KEYS: u8 = 0x04;

/// Row bits.
const REPEAT: u8 = 0x01;
const HAS_INFO: u8 = 0x02;
const HAS_GENERATION: u8 = 0x04;
const HAS_TTL: u8 = 0x08;
const HAS_INFO4: u8 = 0x10;

struct Row<'a> {
    index: u32,
    digest: Digest,
    message: Message<'a>,
}

/// Does a batch and sends its answer.
pub(crate) fn batch(responder: &mut Responder<'_>, message: &Message<'_>) -> io::Result<()> {
    if let Some(code) = responder.reach(At::Start)? {
        return finish(responder, Vec::new(), 0, code);
    }
    let checked = check(responder, message);
    let (rows, flags, filter) = match checked {
        Ok(parts) => parts,
        Err(code) => return finish(responder, Vec::new(), 0, code),
    };
    if let Some(code) = responder.reach(At::Records(0))? {
        return finish(responder, Vec::new(), 0, code);
    }
    let mut out = Vec::new();
    begin_frame(&mut out, MESSAGE);
    let mut pending = 0;
    let mut overall = rc::OK;
    for row in &rows {
        let answer = single(responder.shared, responder.node, &row.message, Some(row.digest), filter.as_ref());
        Answer::put(&answer, &mut out, row.index);
        pending += 1;
        let stops =
            !matches!(answer.result, rc::OK | rc::NOT_FOUND | rc::FILTERED_OUT) && flags & RESPOND_ALL_KEYS == 0;
        if out.len() >= MESSAGE_BYTES || responder.records_until_fault() == Some(pending) {
            end_frame(&mut out, 0);
            let refused = responder.send_records(&mut out, std::mem::take(&mut pending))?;
            out.clear();
            begin_frame(&mut out, MESSAGE);
            if let Some(code) = refused {
                return finish(responder, out, 0, code);
            }
        }
        if stops {
            overall = answer.result;
            break;
        }
    }
    finish(responder, out, pending, overall)
}

/// Rows, batch flags and the filter of the whole batch.
type Parts<'a> = (Vec<Row<'a>>, u8, Option<Expression>);

fn check<'a>(responder: &Responder<'_>, message: &Message<'a>) -> Result<Parts<'a>, u8> {
    let body = message.fields.get(field::BATCH).ok_or(rc::PARAMETER)?;
    let filter = message.fields.get(field::FILTER).map(Expression::parse).transpose()?;
    let build = responder.shared.config.build;
    let (rows, flags) = parse(body, build.has_written_rows()).map_err(|Malformed| rc::PARAMETER)?;
    let most = responder.shared.config.batch_max_requests;
    if most > 0 && rows.len() > most as usize {
        return Err(rc::BATCH_MAX_REQUESTS);
    }
    Ok((rows, flags, filter))
}

/// Before written rows there were, any first byte but 0 meant to repeat the row before.
fn parse(body: &[u8], has_written_rows: bool) -> Result<(Vec<Row<'_>>, u8), Malformed> {
    let mut cursor = Cursor::new(body);
    let (n, flags) = (cursor.u32()?, cursor.u8()?);
    // A row takes 25 bytes at least.
    let mut rows: Vec<Row<'_>> = Vec::with_capacity((n as usize).min(cursor.rest.len() / 25));
    for _ in 0..n {
        let (index, digest, bits) = (cursor.u32()?, cursor.digest()?, cursor.u8()?);
        let message = if bits & REPEAT != 0 || (bits != 0 && !has_written_rows) {
            rows.last().ok_or(Malformed)?.message.clone()
        } else {
            parse_row(&mut cursor, bits)?
        };
        rows.push(Row { index, digest, message });
    }
    if cursor.rest.is_empty() { Ok((rows, flags)) } else { Err(Malformed) }
}

fn parse_row<'a>(cursor: &mut Cursor<'a>, bits: u8) -> Result<Message<'a>, Malformed> {
    let mut message = Message { info: [cursor.u8()?, 0, 0, 0], ..Message::default() };
    if bits & HAS_INFO != 0 {
        message.info[1] = cursor.u8()?;
        message.info[2] = cursor.u8()?;
    }
    if bits & HAS_INFO4 != 0 {
        message.info[3] = cursor.u8()?;
    }
    if bits & HAS_GENERATION != 0 {
        message.generation = u32::from(cursor.u16()?);
    }
    if bits & HAS_TTL != 0 {
        message.record_ttl = cursor.u32()?;
    }
    let (n_fields, n_ops) = (cursor.u16()?, cursor.u16()?);
    message.fields = Fields::parse(cursor, n_fields)?;
    message.ops = parse_ops(cursor, n_ops)?;
    Ok(message)
}

/// Sends the rows in `out`, an open frame or nothing, with the end message behind them.
fn finish(responder: &mut Responder<'_>, mut out: Vec<u8>, pending: u64, code: u8) -> io::Result<()> {
    if out.is_empty() {
        begin_frame(&mut out, MESSAGE);
    }
    if responder.expects(At::End) && out.len() > PROTO_BYTES {
        // What is due before the end must find the rows already sent.
        end_frame(&mut out, 0);
        responder.send_records(&mut out, pending)?;
        out.clear();
        begin_frame(&mut out, MESSAGE);
    }
    let code = responder.reach(At::End)?.unwrap_or(code);
    out.extend_from_slice(&end_message(code));
    end_frame(&mut out, 0);
    responder.send(&mut out)
}

fn end_message(code: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES);
    Head { info3: info3::LAST, ..Head::result(code) }.put(&mut out);
    out
}
