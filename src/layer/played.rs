//! Every version that journals hold, by record, the oldest first: a stream as it is played back.

use super::{
    JournalChange, LayerError, Stack,
    block::{RowKind, RowValue},
    error::{hex_of, unreadable},
    groups::Groups,
    level::Wants,
    piece::PieceReader,
    reader::Layer,
    stack::{StackCursor, VersionValue},
    version_key::{self, Seen, bad_key},
};
use crate::record::{Expiry, KeyRange, Meta, Shape, Timestamp, VersionTime};
use std::{io::Read, sync::Arc};

/// Which versions are played.
#[derive(Debug, Clone)]
pub struct PlayedSpan {
    /// When what lies below the journals was so: those records count as made then.
    pub begins: Timestamp,
    /// From here on: of what was before, the version that stood then. All versions if there is none.
    pub from: Option<Timestamp>,
    /// Leave that version out.
    pub only_changes: bool,
    /// None that was made later.
    pub to: Timestamp,
    /// So many bytes of one record's versions are held at once.
    pub held_bytes: usize,
}

/// A version.
#[derive(Debug, Clone, Copy)]
pub struct Played<'a> {
    /// The record's key.
    pub key: &'a [u8],
    /// When it was made.
    pub time: VersionTime,
    /// What it is.
    pub change: JournalChange<'a>,
}

/// A version's row, held.
struct Held {
    time: VersionTime,
    row: Option<HeldRow>,
}

struct HeldRow {
    set: Vec<u8>,
    user_key: Option<Vec<u8>>,
    generation: u32,
    expiry: Expiry,
    stamp: u64,
    shape: Arc<Shape>,
    value: Vec<u8>,
}

impl Held {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.row.as_ref().map_or(0, |row| row.value.len() + row.set.len())
    }

    fn change(&self) -> JournalChange<'_> {
        match &self.row {
            None => JournalChange::Delete,
            Some(row) => JournalChange::Put {
                meta: Meta {
                    set: &row.set,
                    generation: row.generation,
                    expiry: row.expiry,
                    stamp: row.stamp,
                    user_key: row.user_key.as_deref(),
                },
                shape: &row.shape,
                value: &row.value,
            },
        }
    }
}

/// Versions that follow each other and were not held: the newest and the oldest of them, and their bytes.
struct Window {
    newest: VersionTime,
    oldest: VersionTime,
    bytes: usize,
}

/// Plays what journals and the layers below them hold, by key; of one record the oldest version first.
///
/// # Errors
/// [`LayerError`] from reading, and what `each` says.
pub fn play<E: From<LayerError>>(
    below: &Stack,
    journals: &Stack,
    span: &PlayedSpan,
    each: &mut dyn FnMut(&Played<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut base = Base::open(below, span)?;
    let mut walk = Walk::open(journals, span)?;
    loop {
        let key = match (base.key(), walk.key()) {
            (None, None) => return Ok(()),
            (Some(base), Some(walked)) => base.min(walked),
            (Some(key), None) | (None, Some(key)) => key,
        }
        .to_vec();
        let is_in = |other: Option<&[u8]>| other == Some(key.as_slice());
        let is_superseded = if is_in(walk.key()) { walk.gather()? } else { false };
        if is_in(base.key()) {
            if !is_superseded {
                base.tell(each)?;
            }
            base.advance()?;
        }
        walk.tell(&key, each)?;
    }
}

/// The records below the journals.
struct Base<'a> {
    cursor: Option<StackCursor<'a>>,
    begins: u64,
}

impl<'a> Base<'a> {
    fn open(below: &'a Stack, span: &PlayedSpan) -> Result<Self, LayerError> {
        let is_before = span.from.is_some_and(|from| from >= span.begins);
        let is_wanted = span.begins <= span.to && !(is_before && span.only_changes) && !below.layers().is_empty();
        let cursor = if is_wanted { Some(below.cursor(&KeyRange::all(), span.stands_at(), false)?) } else { None };
        let mut base = Self { cursor, begins: u64::try_from(span.begins.as_millis()).unwrap_or(0) };
        base.advance()?;
        Ok(base)
    }

    fn key(&self) -> Option<&[u8]> {
        self.cursor.as_ref().map(StackCursor::key)
    }

    fn advance(&mut self) -> Result<(), LayerError> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        if !cursor.advance()? {
            self.cursor = None;
        }
        Ok(())
    }

    fn tell<E: From<LayerError>>(&mut self, each: &mut dyn FnMut(&Played<'_>) -> Result<(), E>) -> Result<(), E> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        let row = cursor.row()?;
        let time = VersionTime { millis: self.begins, order: u64::from(row.meta.generation) * 2 };
        let mut whole = Vec::new();
        let value = match row.value {
            VersionValue::Inline(value) => value,
            VersionValue::Pieces { mut reader, .. } => {
                reader.read_to_end(&mut whole).map_err(|error| unreadable(&hex_of(row.key), error))?;
                &whole
            }
        };
        each(&Played { key: row.key, time, change: JournalChange::Put { meta: row.meta, shape: &row.shape, value } })
    }
}

impl PlayedSpan {
    /// The time at which the state is told that changes follow upon.
    fn stands_at(&self) -> Timestamp {
        self.from.map_or(self.begins, |from| from.max(self.begins))
    }
}

/// The versions that journals hold.
struct Walk<'a> {
    journals: &'a Stack,
    span: &'a PlayedSpan,
    groups: Groups<'a>,
    /// The record at which it stands; `None` at the end.
    key: Option<Vec<u8>>,
    time: VersionTime,
    /// Of the record that was gathered last, the newest first.
    held: Vec<Held>,
    windows: Vec<Window>,
}

impl<'a> Walk<'a> {
    fn open(journals: &'a Stack, span: &'a PlayedSpan) -> Result<Self, LayerError> {
        let groups = Groups::new(journals.layers(), &KeyRange::all(), Wants::Rows, Seen::Raw);
        let mut walk = Self {
            journals,
            span,
            groups,
            key: Some(Vec::new()),
            time: VersionTime::default(),
            held: Vec::new(),
            windows: Vec::new(),
        };
        walk.advance()?;
        Ok(walk)
    }

    fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    fn advance(&mut self) -> Result<(), LayerError> {
        if !self.groups.advance()? {
            self.key = None;
            return Ok(());
        }
        let key = self.key.get_or_insert_with(Vec::new);
        self.time = version_key::read(self.groups.key(), key).map_err(|_| bad_key(self.groups.key()))?;
        Ok(())
    }

    /// Takes the versions of the record at hand, and says whether one of them is no later than the state that is told of what
    /// lies below.
    fn gather(&mut self) -> Result<bool, LayerError> {
        let Some(key) = self.key.clone() else { return Ok(false) };
        let mut bytes = 0;
        let (mut is_superseded, mut is_state_told) = (false, false);
        while self.key.as_ref() == Some(&key) {
            let made = self.time.time();
            is_superseded |= made <= self.span.stands_at();
            let is_of_before = self.span.from.is_some_and(|from| made <= from);
            let is_told = made <= self.span.to && !(is_of_before && (is_state_told || !self.is_state()));
            is_state_told |= is_of_before;
            if is_told {
                self.take(&mut bytes)?;
            }
            self.advance()?;
        }
        Ok(is_superseded)
    }

    /// Whether the version at hand is a record that stood when the span begins, and is to be told.
    fn is_state(&self) -> bool {
        let (block, row) = self.groups.head();
        let head = block.row(row);
        let at = self.span.from.unwrap_or_default();
        !self.span.only_changes && head.kind != RowKind::Tombstone && !head.expiry.is_over_at(at)
    }

    /// Holds the version at hand, or remembers where it is if others are held already.
    fn take(&mut self, bytes: &mut usize) -> Result<(), LayerError> {
        let (block, row) = self.groups.head();
        let own = usize::try_from(block.row(row).value_bytes).unwrap_or(usize::MAX);
        let is_first = self.held.is_empty();
        if self.windows.is_empty() && (is_first || bytes.saturating_add(own) <= self.span.held_bytes) {
            let held = hold(&mut self.groups, self.journals, self.time)?;
            *bytes = bytes.saturating_add(held.bytes());
            self.held.push(held);
            return Ok(());
        }
        let own = own.saturating_add(size_of::<Held>());
        match self.windows.last_mut() {
            Some(last) if last.bytes.saturating_add(own) <= self.span.held_bytes => {
                last.oldest = self.time;
                last.bytes += own;
            }
            _ => self.windows.push(Window { newest: self.time, oldest: self.time, bytes: own }),
        }
        Ok(())
    }

    /// Tells what was gathered, the oldest first.
    fn tell<E: From<LayerError>>(
        &mut self,
        key: &[u8],
        each: &mut dyn FnMut(&Played<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut tell = |held: &Held| each(&Played { key, time: held.time, change: held.change() });
        while let Some(window) = self.windows.pop() {
            let bound = |time| {
                let mut out = Vec::new();
                version_key::put(key, time, &mut out);
                out
            };
            let mut end = bound(window.oldest);
            end.push(0);
            let range = KeyRange { start: bound(window.newest), end: Some(end) };
            let mut groups = Groups::new(self.journals.layers(), &range, Wants::Rows, Seen::Raw);
            let (mut read, mut scratch) = (Vec::new(), Vec::new());
            while groups.advance()? {
                let time = version_key::read(groups.key(), &mut scratch).map_err(|_| bad_key(groups.key()))?;
                read.push(hold(&mut groups, self.journals, time)?);
            }
            read.iter().rev().try_for_each(&mut tell)?;
        }
        self.held.iter().rev().try_for_each(&mut tell)?;
        self.held.clear();
        Ok(())
    }
}

/// The version at which groups stand, whole.
fn hold(groups: &mut Groups<'_>, journals: &Stack, time: VersionTime) -> Result<Held, LayerError> {
    let (block, row) = groups.head();
    let head = block.row(row);
    if head.kind == RowKind::Tombstone {
        return Ok(Held { time, row: None });
    }
    let meta = block.meta(row);
    let (set, user_key) = (meta.set.to_vec(), meta.user_key.map(<[u8]>::to_vec));
    let (generation, expiry, stamp, bytes) = (meta.generation, meta.expiry, meta.stamp, head.value_bytes);
    let key = hex_of(groups.key());
    let (shape, value) = match groups.value()?.0 {
        RowValue::InPlace(shape, value) => (Arc::clone(shape), value.to_vec()),
        RowValue::Pieces(shape, list) => {
            let chunks = journals.layers().first().map(Layer::chunks);
            let chunks = chunks.ok_or_else(|| LayerError::inconsistent("a stack", "it has no layers"))?;
            let mut value = Vec::new();
            let mut reader = PieceReader::open(chunks, list, bytes)?;
            reader.read_to_end(&mut value).map_err(|error| unreadable(&key, error))?;
            (Arc::clone(shape), value)
        }
        RowValue::Inherited | RowValue::Tombstone => {
            return Err(LayerError::inconsistent(format!("version {key}"), "a journal inherits nothing"));
        }
    };
    Ok(Held { time, row: Some(HeldRow { set, user_key, generation, expiry, stamp, shape, value }) })
}
