//! Reads a table in the order of its heap and sorts its rows by key, or as many of them as have to be.

use super::{
    client::Client,
    copy::CopyRows,
    error,
    large::hash_row,
    order::{Bound, Order, step},
    plan::{Made, Plan},
    shared::Shared,
};
use crate::connector::{
    ConnectorError,
    shared::{
        sort::{Sorted, Sorter},
        spool::Spool,
    },
};
use std::{
    io,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Pages that are read by one statement, where several read: 64 MiB.
const PAGES_AT_ONCE: u64 = 8192;

/// Pages in which a row is looked for.
const PAGES_OF_SAMPLE: u64 = 8;

/// So many rows are looked at first.
const FEW_SAMPLES: u64 = 256;

/// A longer key is no bound: all bounds are in memory, several times.
const MOST_BOUND_BYTES: usize = 512;

/// The sorted rows of a table, read by as many readers as are free.
pub(super) fn load(shared: &Shared, plan: &Plan) -> Result<Sorted, ConnectorError> {
    let pages = if plan.table.is_heap { plan.table.pages } else { 0 };
    let parts = pages.div_ceil(PAGES_AT_ONCE).max(1);
    let range = |part: u64| (part * PAGES_AT_ONCE, (part + 1 < parts).then(|| (part + 1) * PAGES_AT_ONCE));
    sort_parts(shared, plan, parts as usize, &|part| plan.copy_out(range(part as u64), None))
}

/// How the heap of a table lies, and its strays, if it lies in the order of its key but for some.
pub(super) fn load_order(shared: &Shared, plan: &Plan) -> Result<Option<(Order, Sorted)>, ConnectorError> {
    let table = &plan.table;
    let step = step(table.pages, table.bytes).filter(|_| table.is_heap && plan.has_ordered_key());
    let Some(step) = step else { return Ok(None) };
    // A few say whether it is worth it to look at all.
    let coarse = step * (table.pages / step / FEW_SAMPLES).max(1);
    if coarse > step && Order::of(samples(shared, plan, coarse)?, coarse, table.pages).is_none() {
        return Ok(None);
    }
    let Some(order) = Order::of(samples(shared, plan, step)?, step, table.pages) else { return Ok(None) };
    let strays = |part: usize| {
        let stretch = &order.stretches[part];
        let astray = order.keys_of(stretch).map(|keys| format!("({}) IS NOT TRUE", between(plan, keys)));
        plan.copy_out(stretch.pages, astray.as_deref())
    };
    let strays = sort_parts(shared, plan, order.stretches.len(), &strays)?;
    Ok(Some((order, strays)))
}

/// The condition of the rows that a stretch is to have.
pub(super) fn between(plan: &Plan, (from, to): (Option<&Bound>, Option<&Bound>)) -> String {
    plan.between(from.map(|from| from.texts.as_slice()), to.map(|to| to.texts.as_slice()))
}

/// The keys of rows, one every `step` pages.
fn samples(shared: &Shared, plan: &Plan, step: u64) -> Result<Vec<(u64, Bound)>, ConnectorError> {
    let mut samples = Vec::new();
    let mut reader = shared.reader()?;
    for page in (0..plan.table.pages).step_by(step as usize) {
        let found = sample(&mut reader, shared.facts.is_replica, plan, page)?;
        samples.extend(found.map(|bound| (page, bound)));
        if shared.is_stopped() {
            return Err(wrong(plan, "it was stopped"));
        }
    }
    Ok(samples)
}

/// The key of a row at the beginning of a page or soon behind it, if one is there that can be compared with.
fn sample(client: &mut Client, is_replica: bool, plan: &Plan, page: u64) -> Result<Option<Bound>, ConnectorError> {
    plan.enter(client)?;
    let found = sample_there(client, is_replica, plan, page)?;
    plan.leave(client)?;
    Ok(found)
}

fn sample_there(
    client: &mut Client,
    is_replica: bool,
    plan: &Plan,
    page: u64,
) -> Result<Option<Bound>, ConnectorError> {
    let sql = plan.copy_one_key((page, Some(page + PAGES_OF_SAMPLE)));
    let reader = client.copy_out(&sql).map_err(|error| error::reading_from(is_replica, &plan.object(), &error))?;
    let (mut rows, mut fields) = (CopyRows::new(reader), Vec::new());
    let mut found = None;
    while let Some(row) = rows.next(&mut fields).map_err(|error| copying_from(is_replica, plan, error))? {
        let parts = plan.table.key.len();
        let text = |part: usize| {
            let text = str::from_utf8(row.field(parts + part)?).ok()?;
            (text.is_ascii() || !plan.ascii).then(|| text.to_owned())
        };
        let texts: Option<Vec<String>> = (0..parts).map(text).collect();
        let mut key = Vec::new();
        let made = plan.put_key(|part, _| row.field(part), &mut key, &mut Vec::new());
        found = texts.filter(|_| made.is_ok() && key.len() <= MOST_BOUND_BYTES).map(|texts| Bound { key, texts });
    }
    Ok(found)
}

/// The sorted rows of statements, run by as many readers as are free.
fn sort_parts(
    shared: &Shared,
    plan: &Plan,
    parts: usize,
    statement: &(dyn Fn(usize) -> String + Sync),
) -> Result<Sorted, ConnectorError> {
    let next = AtomicUsize::new(0);
    let work = |client: &mut Client| -> Result<Sorted, ConnectorError> {
        let mut loader = Loader::new(&shared.temp_dir, shared.run_bytes, plan)?;
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part >= parts {
                return loader.finish();
            }
            if shared.is_stopped() {
                return Err(wrong(plan, "it was stopped"));
            }
            loader.take(client, Some(shared), &statement(part))?;
        }
    };
    let mut reader = shared.reader()?;
    let mut helpers = Vec::new();
    while helpers.len() + 1 < parts {
        match shared.free_reader() {
            Some(helper) => helpers.push(helper),
            None => break,
        }
    }
    let results = std::thread::scope(|scope| {
        let work = &work;
        let started: Vec<_> = helpers.into_iter().map(|mut helper| scope.spawn(move || work(&mut helper))).collect();
        let mut results = vec![work(&mut reader)];
        for one in started {
            results.push(one.join().unwrap_or_else(|_| Err(wrong(plan, "a reader panicked"))));
        }
        results
    });
    Ok(Sorted::join(results.into_iter().collect::<Result<Vec<_>, _>>()?))
}

/// The sorted rows of a table as one connection sees it.
pub(super) fn load_by(client: &mut Client, dir: &Path, plan: &Plan) -> Result<Sorted, ConnectorError> {
    let mut loader = Loader::new(dir, 16 << 20, plan)?;
    loader.take(client, None, &plan.copy_out((0, None), None))?;
    loader.finish()
}

pub(super) fn wrong(plan: &Plan, reason: &str) -> ConnectorError {
    ConnectorError::Unreadable { object: plan.object(), reason: reason.to_owned() }
}

/// What one reader has read.
struct Loader<'a> {
    plan: &'a Plan,
    sorter: Sorter,
    pending: usize,
    run_bytes: usize,
}

impl<'a> Loader<'a> {
    fn new(dir: &Path, run_bytes: usize, plan: &'a Plan) -> Result<Self, ConnectorError> {
        let spool = Spool::new(dir).map_err(|source| ConnectorError::Io {
            operation: "make a temporary file in",
            object: dir.display().to_string(),
            source,
        })?;
        Ok(Self { plan, sorter: Sorter::new(spool), pending: 0, run_bytes })
    }

    fn take(&mut self, client: &mut Client, shared: Option<&Shared>, sql: &str) -> Result<(), ConnectorError> {
        read_rows(client, shared, self.plan, sql, &mut |place, made| {
            self.pending += self.sorter.push(&made.key, place, &made.body);
            if self.pending >= self.run_bytes {
                self.pending = 0;
                self.sorter.spill().map_err(|error| sorting(self.plan, error))?;
                if shared.is_some_and(Shared::is_stopped) {
                    return Err(wrong(self.plan, "it was stopped"));
                }
            }
            Ok(())
        })
    }

    fn finish(self) -> Result<Sorted, ConnectorError> {
        self.sorter.finish().map_err(|error| sorting(self.plan, error))
    }
}

/// Gives every row of a statement with its place, and names those that cannot be kept.
pub(super) fn read_rows(
    client: &mut Client,
    shared: Option<&Shared>,
    plan: &Plan,
    sql: &str,
    take: &mut dyn FnMut(u64, &Made) -> Result<(), ConnectorError>,
) -> Result<(), ConnectorError> {
    plan.enter(client)?;
    read_rows_there(client, shared, plan, sql, take)?;
    plan.leave(client)
}

fn read_rows_there(
    client: &mut Client,
    shared: Option<&Shared>,
    plan: &Plan,
    sql: &str,
    take: &mut dyn FnMut(u64, &Made) -> Result<(), ConnectorError>,
) -> Result<(), ConnectorError> {
    let (object, is_replica) = (plan.object(), shared.is_some_and(|shared| shared.facts.is_replica));
    let reader = client.copy_out(sql).map_err(|error| error::reading_from(is_replica, &object, &error))?;
    let mut rows = CopyRows::new(reader);
    let (mut fields, mut made) = (Vec::new(), Made::default());
    let mut hash = |place: u64, body: &[u8]| match shared {
        Some(shared) => hash_row(shared, plan, place, body),
        None => Err(wrong(plan, "a table without a key holds values of more than 1 MiB: its rows cannot be compared")),
    };
    loop {
        let row = rows.next(&mut fields).map_err(|error| copying_from(is_replica, plan, error))?;
        let Some(row) = row else { return Ok(()) };
        let place = Plan::place(&row);
        match plan.read(&row, &mut made, &mut hash)? {
            Ok(()) => {
                if let Some(shared) = shared.filter(|_| Plan::has_outside(&made.body)) {
                    shared.note_outside();
                }
                take(place, &made)?;
            }
            Err(why) => {
                let words = format!("{object}: the row at ({},{}): {why}", place >> 16, place & 0xffff);
                match shared {
                    Some(shared) => shared.name_unusable(words),
                    None => return Err(wrong(plan, &words)),
                }
            }
        }
    }
}

pub(super) fn sorting(plan: &Plan, source: io::Error) -> ConnectorError {
    ConnectorError::Io { operation: "sort", object: plan.object(), source }
}

/// What the server said in the midst of rows.
pub(super) fn copying(plan: &Plan, error: io::Error) -> ConnectorError {
    copying_from(false, plan, error)
}

fn copying_from(is_replica: bool, plan: &Plan, error: io::Error) -> ConnectorError {
    let said = error.get_ref().and_then(|inner| inner.downcast_ref::<postgres::Error>());
    match said {
        Some(said) => error::reading_from(is_replica, &plan.object(), said),
        None => ConnectorError::Io { operation: "read", object: plan.object(), source: error },
    }
}
