//! Commands on records: one at a time, in batches, and as queries.

pub mod batch;
pub mod query;
mod read;
mod write;

use crate::codes::{field, info1, info2, rc};
use crate::exp::Expression;
use crate::record::{Digest, Place, digest_of};
use crate::server::Shared;
use crate::wire::{Head, Message, put_field};

/// What a command on one record answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Result code.
    pub result: u8,
    /// The record's generation.
    pub generation: u32,
    /// Its absolute void-time.
    pub void_time: u32,
    /// What is told of an error beside its code.
    pub detail: &'static str,
    /// Number of ops in `ops`.
    pub n_ops: u16,
    /// Ops, encoded.
    pub ops: Vec<u8>,
}

impl Answer {
    /// Only a result code.
    pub fn result(result: u8) -> Self {
        Self { result, ..Self::default() }
    }

    /// Appends the answer as a message; `row` is its index in a batch, else 0.
    pub fn put(&self, out: &mut Vec<u8>, row: u32) {
        let head = Head {
            result: self.result,
            generation: self.generation,
            void_time: self.void_time,
            row,
            n_ops: self.n_ops,
            n_fields: u16::from(!self.detail.is_empty()),
            ..Head::default()
        };
        head.put(out);
        if !self.detail.is_empty() {
            put_field(out, field::ERROR_DETAIL, self.detail.as_bytes());
        }
        out.extend_from_slice(&self.ops);
    }
}

/// Whether a message writes.
pub fn is_write(message: &Message<'_>) -> bool {
    message.info[1] & info2::WRITE != 0
}

/// Does a command on one record. `digest` is given for a batch row; `filter` is the one of the whole batch.
pub fn single(
    shared: &Shared,
    node: usize,
    message: &Message<'_>,
    digest: Option<Digest>,
    filter: Option<&Expression>,
) -> Answer {
    let detail = if shared.config.build.tells_details() { "subcode=1;see the log" } else { "" };
    let failed = |code| Answer { detail, ..Answer::result(code) };
    execute(shared, node, message, digest, filter).unwrap_or_else(failed)
}

fn execute(
    shared: &Shared,
    node: usize,
    message: &Message<'_>,
    digest: Option<Digest>,
    filter: Option<&Expression>,
) -> Result<Answer, u8> {
    let name = message.fields.get(field::NAMESPACE).ok_or(rc::PARAMETER)?;
    let namespace = shared.namespace(name).ok_or(rc::NAMESPACE)?;
    let digest = match digest {
        Some(digest) => digest,
        None => request_digest(message)?,
    };
    let place = Place::of(&digest);
    if shared.is_unavailable(node, place.partition()) {
        return Err(rc::UNAVAILABLE);
    }
    let own = message.fields.get(field::FILTER).map(Expression::parse).transpose()?;
    let filter = own.as_ref().or(filter);
    if message.fields.get(field::UDF_FILE).is_some() {
        return Err(rc::UNSUPPORTED);
    }
    let now_ms = shared.now_ms(node);
    if is_write(message) {
        let mut namespace = namespace.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        return write::write(&mut namespace, place, message, filter, now_ms);
    }
    if message.info[0] & info1::READ == 0 {
        return Err(rc::PARAMETER);
    }
    let (answer, touch) = {
        let namespace = namespace.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        read::read(&namespace, place, message, filter, now_ms)?
    };
    if touch {
        let mut namespace = namespace.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        read::touch(&mut namespace, place, now_ms);
    }
    Ok(answer)
}

fn request_digest(message: &Message<'_>) -> Result<Digest, u8> {
    if let Some(digest) = message.fields.get(field::DIGEST) {
        return digest.try_into().map_err(|_| rc::PARAMETER);
    }
    let [kind, key @ ..] = message.fields.get(field::KEY).ok_or(rc::PARAMETER)? else { return Err(rc::PARAMETER) };
    Ok(digest_of(message.fields.get(field::SET).unwrap_or_default(), *kind, key))
}
