//! The merge by key of several layers' rows: all rows of one key at a time, newest first.

use super::{
    Layer, LayerError,
    block::{KeysBlock, RowKind, RowValue},
    error::hex_of,
    lent::{Lent, Side},
    level::Wants,
    reader::LayerCursor,
    version_key::Seen,
};
use crate::record::{KeyRange, VersionTime};

/// Walks the keys of several layers. Use as: `while groups.advance()? { groups.key() … }`.
pub(super) struct Groups<'a> {
    /// One walk a layer, base first.
    walks: Vec<LayerCursor<'a>>,
    /// Which walks are over journals of one stream: the place of the first of them, each layer's own place otherwise.
    streams: Vec<usize>,
    /// The walks that have a row, by key, the newer layer first among equals.
    order: Vec<usize>,
    /// How many at the head of `order` have the current key.
    group: usize,
    started: bool,
}

impl<'a> Groups<'a> {
    pub(super) fn new(layers: &'a [Layer], range: &KeyRange, wants: Wants, seen: Seen) -> Self {
        let walks: Vec<LayerCursor<'a>> =
            layers.iter().map(|layer| LayerCursor::new(layer, range, wants, seen)).collect();
        let mut streams: Vec<usize> = Vec::with_capacity(layers.len());
        for (at, layer) in layers.iter().enumerate() {
            let follows = seen != Seen::Raw && layer.is_journal() && at > 0 && layers[at - 1].is_journal();
            streams.push(if follows { streams[at - 1] } else { at });
        }
        Self { order: Vec::with_capacity(walks.len()), walks, streams, group: 0, started: false }
    }

    /// Shares blocks with groups that walk the same keys.
    pub(super) fn sharing(mut self, lent: &'a Lent, side: Side) -> Self {
        self.walks.iter_mut().for_each(|walk| walk.share(lent, side));
        self
    }

    fn start(&mut self) -> Result<(), LayerError> {
        self.started = true;
        let are_many = self.walks.len() > 1;
        if are_many {
            self.walks.iter_mut().for_each(LayerCursor::send_for_first);
        }
        for walk in 0..self.walks.len() {
            if self.walks[walk].advance()? {
                self.order.insert(0, walk);
                self.sift(0);
                if are_many {
                    self.walks[walk].send_for_values();
                }
            }
        }
        Ok(())
    }

    /// Moves the walk at `at`, whose key has grown, to its place.
    #[inline]
    fn sift(&mut self, mut at: usize) {
        while let Some(&after) = self.order.get(at + 1) {
            let this = self.order[at];
            let keys = self.walks[after].key().cmp(self.walks[this].key());
            if keys.then_with(|| self.newness(this).cmp(&self.newness(after))).is_ge() {
                break;
            }
            self.order.swap(at, at + 1);
            at += 1;
        }
    }

    /// What makes one of two rows of a key the newer one.
    #[inline]
    fn newness(&self, walk: usize) -> (usize, Option<VersionTime>, usize) {
        (self.streams[walk], self.walks[walk].time(), walk)
    }

    /// Moves to the next key; `false` at the end.
    pub(super) fn advance(&mut self) -> Result<bool, LayerError> {
        if !self.started {
            self.start()?;
        }
        // From the right, so that what lies behind the walk being moved is in order.
        for at in (0..self.group).rev() {
            if self.walks[self.order[at]].advance()? {
                self.sift(at);
            } else {
                self.order.remove(at);
            }
        }
        Ok(self.gather())
    }

    /// Moves to the first key that is `key` or behind it, and stays where that is the current one; `false` at the end. Nothing that
    /// lies between is read.
    pub(super) fn seek(&mut self, key: &[u8]) -> Result<bool, LayerError> {
        if !self.started {
            self.walks.iter_mut().for_each(|walk| walk.seek(key));
            self.start()?;
        }
        for at in (0..self.order.len()).rev() {
            let walk = &mut self.walks[self.order[at]];
            if walk.key() >= key {
                continue;
            }
            walk.seek(key);
            if walk.advance()? {
                self.sift(at);
            } else {
                self.order.remove(at);
            }
        }
        Ok(self.gather())
    }

    /// Finds which walks have the least key.
    fn gather(&mut self) -> bool {
        self.group = 0;
        let Some(&first) = self.order.first() else { return false };
        let key = self.walks[first].key();
        self.group = 1 + self.order[1..].iter().take_while(|walk| self.walks[**walk].key() == key).count();
        true
    }

    /// The newest row of the current key.
    #[inline]
    fn newest(&self) -> &LayerCursor<'a> {
        &self.walks[self.order[0]]
    }

    #[inline]
    pub(super) fn key(&self) -> &[u8] {
        self.newest().key()
    }

    /// When the newest version of the current key was made, where a journal holds it.
    pub(super) fn time(&self) -> Option<VersionTime> {
        self.newest().time()
    }

    #[inline]
    pub(super) fn kind(&self) -> RowKind {
        self.newest().kind()
    }

    /// Whether any row of the current key takes its value from an older one.
    pub(super) fn any_inherits(&self) -> bool {
        self.order[..self.group].iter().any(|walk| self.walks[*walk].kind() == RowKind::Inherited)
    }

    /// The block and the row in it of the newest row.
    #[inline]
    pub(super) fn head(&self) -> (&KeysBlock, usize) {
        (self.newest().keys(), self.newest().row())
    }

    /// The newest value of the current key among these layers, with its length; [`RowValue::Inherited`] if it lies in an older
    /// layer than these.
    pub(super) fn value(&mut self) -> Result<(RowValue<'_>, u64), LayerError> {
        let expected = self.newest().keys().row(self.newest().row()).value_bytes;
        let holder =
            self.order[..self.group].iter().copied().find(|walk| self.walks[*walk].kind() != RowKind::Inherited);
        let Some(holder) = holder else { return Ok((RowValue::Inherited, expected)) };
        if holder != self.order[0] {
            let held = self.walks[holder].keys().row(self.walks[holder].row());
            if held.kind == RowKind::Tombstone || held.value_bytes != expected {
                let object = format!("the inherited value of key {}", hex_of(self.key()));
                return Err(LayerError::inconsistent(object, "the older layer does not hold it"));
            }
        }
        self.walks[holder].value()
    }

    /// What [`Self::value`] gave for the current key, without reading anything.
    pub(super) fn loaded(&self) -> Option<RowValue<'_>> {
        let holder = self.order[..self.group].iter().find(|walk| self.walks[**walk].kind() != RowKind::Inherited)?;
        self.walks[*holder].loaded()
    }
}
