//! What XDR ships: records as they were written and deletions, each as a message of the client protocol with the time of its
//! last update. Specified in `format-spec/aerospike-changes.md`.

pub mod asbx;
pub mod center;
pub mod listener;

use super::{
    decode::{Decoder, MONITOR_SET, VOID_TIME_EPOCH_SECONDS},
    wire::{Message, WireError, field},
};
use crate::record::{ChangeBatch, Digest, Timestamp, VersionTime};

/// info1: shipped by XDR.
pub const INFO1_XDR: u8 = 0x10;
/// info2: a write.
pub const INFO2_WRITE: u8 = 0x01;
/// info2: a deletion.
pub const INFO2_DELETE: u8 = 0x02;
/// info2: a deletion that leaves a tombstone.
pub const INFO2_DURABLE: u8 = 0x10;
/// info3: the record becomes what is sent, whatever it was.
pub const INFO3_REPLACE: u8 = 0x10;

/// A time to live that never ends.
const NEVER: u32 = u32::MAX;

/// A change as it is shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipped<'a> {
    message: Message<'a>,
    /// The record.
    pub digest: Digest,
    /// When it was last updated, in milliseconds since 1970, if that was said.
    pub updated: Option<u64>,
    /// Whether it was deleted.
    pub is_deletion: bool,
    /// Whether it belongs to a transaction and is no record of anybody.
    pub is_monitor: bool,
}

impl<'a> Shipped<'a> {
    /// Reads the body of a message.
    ///
    /// # Errors
    /// [`WireError`] for what is no change: cut, without a digest, neither a write nor a deletion, or of some bins only.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let (message, len) = Message::parse(body)?;
        if len != body.len() {
            return Err(WireError::Invalid("the length"));
        }
        let digest = message.digest.ok_or(WireError::Invalid("a change without a digest"))?;
        let (info2, info3) = (body[2], body[3]);
        let is_deletion = info2 & INFO2_DELETE != 0;
        if info2 & INFO2_WRITE == 0 {
            return Err(WireError::Invalid("a change that writes nothing"));
        }
        if !is_deletion && info3 & INFO3_REPLACE == 0 {
            return Err(WireError::Invalid("a change of some bins only (the data center's bin-policy is not `all`)"));
        }
        let updated = message.updated.map(|millis| millis.saturating_add(VOID_TIME_EPOCH_SECONDS * 1000));
        let is_monitor = message.set == MONITOR_SET;
        Ok(Self { message, digest, updated, is_deletion, is_monitor })
    }

    /// The namespace that it says it is of.
    #[must_use]
    pub const fn namespace(&self) -> &'a [u8] {
        self.message.namespace
    }

    /// When the version was made; `arrived` where it does not say.
    #[must_use]
    pub fn time(&self, arrived: Timestamp) -> VersionTime {
        let millis = self.updated.unwrap_or_else(|| u64::try_from(arrived.as_millis()).unwrap_or(0));
        VersionTime { millis, order: u64::from(self.message.generation) * 2 + u64::from(self.is_deletion) }
    }

    /// Adds it to a batch; what belongs to a transaction is passed over. `shipped` is when it was sent, as far as that is
    /// known: its time to live counts from there.
    ///
    /// # Errors
    /// [`WireError`] for bins that no record has; the batch is as it was then.
    pub fn add_to(&self, shipped: Timestamp, decoder: &mut Decoder, batch: &mut ChangeBatch) -> Result<(), WireError> {
        if self.is_monitor {
            return Ok(());
        }
        let time = self.time(shipped);
        if self.is_deletion {
            batch.delete(time, &self.digest.sort_key(), self.message.generation);
            return Ok(());
        }
        let seconds = shipped.as_millis().max(time.time().as_millis()).max(0) as u64 / 1000;
        let message = Message {
            void_time: match self.message.void_time {
                0 | NEVER => 0,
                left => {
                    let over = (seconds + u64::from(left)).saturating_sub(VOID_TIME_EPOCH_SECONDS);
                    u32::try_from(over).unwrap_or(u32::MAX).max(1)
                }
            },
            ..self.message.clone()
        };
        batch.put(time, |rows| decoder.push(&message, &self.digest, rows))
    }
}

/// A message as XDR would ship it.
#[must_use]
pub fn body_of(
    namespace: &[u8],
    digest: &Digest,
    set: &[u8],
    user_key: Option<&[u8]>,
    updated: u64,
    change: &Change<'_>,
) -> Vec<u8> {
    let mut out = vec![22, INFO1_XDR];
    let (info2, info3, generation, left) = match change {
        Change::Put { generation, left, .. } => (INFO2_WRITE, INFO3_REPLACE, *generation, left.unwrap_or(NEVER)),
        Change::Delete { generation } => (INFO2_WRITE | INFO2_DELETE | INFO2_DURABLE, 0, *generation, 0),
    };
    out.extend_from_slice(&[info2, info3, 0, 0]);
    out.extend_from_slice(&generation.to_be_bytes());
    out.extend_from_slice(&left.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    let updated = updated.saturating_sub(VOID_TIME_EPOCH_SECONDS * 1000).to_be_bytes();
    let fields: [(u8, Option<&[u8]>); 5] = [
        (field::NAMESPACE, Some(namespace)),
        (field::DIGEST, Some(&digest.0)),
        (field::SET, Some(set).filter(|set| !set.is_empty())),
        (field::KEY, user_key),
        (field::UPDATED, Some(&updated)),
    ];
    let fields: Vec<(u8, &[u8])> = fields.into_iter().filter_map(|(kind, value)| Some((kind, value?))).collect();
    let bins: &[(&[u8], u8, &[u8])] = match change {
        Change::Put { bins, .. } => bins,
        Change::Delete { .. } => &[],
    };
    out.extend_from_slice(&(fields.len() as u16).to_be_bytes());
    out.extend_from_slice(&(bins.len() as u16).to_be_bytes());
    for (kind, value) in fields {
        out.extend_from_slice(&(value.len() as u32 + 1).to_be_bytes());
        out.push(kind);
        out.extend_from_slice(value);
    }
    for (name, particle, value) in bins {
        let name = &name[..name.len().min(255)];
        out.extend_from_slice(&((4 + name.len() + value.len()) as u32).to_be_bytes());
        out.extend_from_slice(&[2, *particle, 0, name.len() as u8]);
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
    out
}

/// What is shipped of a record.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// The record.
    Put {
        /// Its generation.
        generation: u32,
        /// Seconds that it still lives; for ever if there are none.
        left: Option<u32>,
        /// Names, particle types and values of its bins.
        bins: &'a [(&'a [u8], u8, &'a [u8])],
    },
    /// It was deleted.
    Delete {
        /// The generation of the deletion.
        generation: u32,
    },
}

#[cfg(test)]
mod tests;
