//! Rows of a table whose heap lies in the order of its key: read when their turn comes, and strays among them.

use super::{
    load::{between, copying, load, load_order, read_rows, sorting, wrong},
    order::Order,
    plan::Plan,
    shared::Shared,
};
use crate::{
    connector::{
        ConnectorError,
        shared::{
            sort::{Entry, Held, Merge, Sorted, Sorter},
            spool::Spool,
        },
    },
    record::KeyRange,
};
use std::{io, sync::Arc};

/// What was made of a table before its rows are asked for.
pub(super) enum Loaded {
    /// All of them, sorted.
    Sorted(Sorted),
    /// Where they lie.
    Ordered(Arc<Ordered>),
}

/// Where rows lie, and the strays, sorted.
pub(super) struct Ordered {
    order: Order,
    strays: Sorted,
}

impl Loaded {
    /// What is made of a table with the least that is to be sorted.
    pub(super) fn of(shared: &Shared, plan: &Plan) -> Result<Self, ConnectorError> {
        Ok(match load_order(shared, plan)? {
            Some((order, strays)) => Self::Ordered(Arc::new(Ordered { order, strays })),
            None => Self::sorted(shared, plan)?,
        })
    }

    /// All of a table, so that the server is asked for nothing more.
    pub(super) fn sorted(shared: &Shared, plan: &Plan) -> Result<Self, ConnectorError> {
        load(shared, plan).map(Self::Sorted)
    }

    /// About `parts - 1` keys that split the rows.
    pub(super) fn splits(&self, parts: usize) -> Vec<Vec<u8>> {
        match self {
            Self::Sorted(sorted) => sorted.splits(parts),
            Self::Ordered(ordered) => ordered.order.splits(parts),
        }
    }
}

/// The rows of a range, and maybe some below it.
pub(super) struct OrderedRows {
    shared: Arc<Shared>,
    plan: Arc<Plan>,
    ordered: Arc<Ordered>,
    end: Option<Vec<u8>>,
    /// The stretch that is read next.
    next: usize,
    stretch: Stretch,
    strays: Merge,
    has_stray: bool,
    /// Which of both has the row at hand.
    is_stray: bool,
    begun: bool,
}

/// The sorted rows of one stretch, from the one at hand on.
enum Stretch {
    InMemory(Held, usize),
    /// There were too many.
    Spilled(Merge),
}

impl Stretch {
    fn entry(&self) -> Option<Entry<'_>> {
        match self {
            Self::InMemory(held, at) => held.get(*at),
            Self::Spilled(merge) => merge.entry(),
        }
    }

    fn advance(&mut self) -> io::Result<()> {
        match self {
            Self::InMemory(_, at) => *at += 1,
            Self::Spilled(merge) => drop(merge.advance()?),
        }
        Ok(())
    }
}

impl OrderedRows {
    pub(super) fn new(
        shared: &Arc<Shared>,
        plan: &Arc<Plan>,
        ordered: &Arc<Ordered>,
        range: &KeyRange,
    ) -> io::Result<Self> {
        let order = &ordered.order;
        let starts_behind = |stretch: &super::order::Stretch| {
            let to = order.keys_of(stretch).map(|(_, to)| to);
            to.is_none_or(|to| to.is_some_and(|to| to.key <= range.start))
        };
        Ok(Self {
            shared: Arc::clone(shared),
            plan: Arc::clone(plan),
            ordered: Arc::clone(ordered),
            end: range.end.clone(),
            next: order.stretches.iter().position(|stretch| !starts_behind(stretch)).unwrap_or(order.stretches.len()),
            stretch: Stretch::InMemory(Held::default(), 0),
            strays: ordered.strays.entries(&range.start)?,
            has_stray: false,
            is_stray: false,
            begun: false,
        })
    }

    /// Goes to the next row; `false` behind the last.
    pub(super) fn advance(&mut self) -> Result<bool, ConnectorError> {
        let of_stray = !self.begun || self.is_stray;
        let went = if of_stray {
            self.strays.advance().map(|has_stray| self.has_stray = has_stray)
        } else {
            self.stretch.advance()
        };
        went.map_err(|error| copying(&self.plan, error))?;
        self.begun = true;
        while self.stretch.entry().is_none() && self.read_stretch()? {}
        let stray = self.strays.entry().filter(|_| self.has_stray);
        self.is_stray = match (stray, self.stretch.entry()) {
            (None, None) => return Ok(false),
            (Some(stray), Some(row)) => stray < row,
            (stray, None) => stray.is_some(),
            (None, Some(_)) => false,
        };
        Ok(true)
    }

    /// The row at hand: its key, its place and its body.
    pub(super) fn entry(&self) -> Option<Entry<'_>> {
        if self.is_stray { self.strays.entry() } else { self.stretch.entry() }
    }

    /// Reads the next stretch; `false` if there is none that may have rows of the range.
    fn read_stretch(&mut self) -> Result<bool, ConnectorError> {
        let ordered = Arc::clone(&self.ordered);
        let order = &ordered.order;
        let Some(stretch) = order.stretches.get(self.next) else { return Ok(false) };
        self.next += 1;
        let Some((from, to)) = order.keys_of(stretch) else { return Ok(true) };
        if from.is_some_and(|from| self.end.as_ref().is_some_and(|end| from.key >= *end)) {
            self.next = order.stretches.len();
            return Ok(false);
        }
        let (plan, shared) = (&self.plan, &self.shared);
        let mut held = match std::mem::replace(&mut self.stretch, Stretch::InMemory(Held::default(), 0)) {
            Stretch::InMemory(mut held, _) => {
                held.clear();
                held
            }
            Stretch::Spilled(_) => Held::default(),
        };
        let mut sorter: Option<Sorter> = None;
        let io = |error| sorting(plan, error);
        let sql = plan.copy_out(stretch.pages, Some(&between(plan, (from, to))));
        let mut reader = shared.reader()?;
        read_rows(&mut reader, Some(shared), plan, &sql, &mut |place, made| {
            let key = made.key.as_slice();
            if from.is_some_and(|from| key < from.key.as_slice()) || to.is_some_and(|to| key >= to.key.as_slice()) {
                return Err(wrong(plan, "the server orders its keys in another way than it should"));
            }
            held.push(Entry { key, line: place, body: &made.body });
            if held.bytes() >= shared.run_bytes {
                let sorter = match &mut sorter {
                    Some(sorter) => sorter,
                    none => none.insert(Sorter::new(Spool::new(&shared.temp_dir).map_err(io)?)),
                };
                sorter.take(&mut held).map_err(io)?;
            }
            Ok(())
        })?;
        drop(reader);
        self.stretch = match sorter {
            None => {
                held.sort();
                Stretch::InMemory(held, 0)
            }
            Some(mut sorter) => {
                sorter.take(&mut held).map_err(io)?;
                let mut merge = sorter.finish().map_err(io)?.entries(b"").map_err(io)?;
                merge.advance().map_err(io)?;
                Stretch::Spilled(merge)
            }
        };
        Ok(true)
    }
}
