//! Reads a table in the order of its heap and sorts its rows by key.

use super::{
    client::Client,
    copy::CopyRows,
    error,
    large::hash_row,
    plan::{Plan, Read},
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
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Pages that are read by one statement, where several read: 64 MiB.
const PAGES_AT_ONCE: u64 = 8192;

/// The sorted rows of a table, read by as many readers as are free.
pub(super) fn load(shared: &Shared, plan: &Plan) -> Result<Sorted, ConnectorError> {
    let pages = if plan.table.is_heap { plan.table.pages } else { 0 };
    let parts = pages.div_ceil(PAGES_AT_ONCE).max(1);
    let range = |part: u64| (part * PAGES_AT_ONCE, (part + 1 < parts).then(|| (part + 1) * PAGES_AT_ONCE));
    let next = AtomicUsize::new(0);
    let work = |client: &mut Client| -> Result<Sorted, ConnectorError> {
        let mut loader = Loader::new(&shared.temp_dir, shared.run_bytes, plan)?;
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed) as u64;
            if part >= parts {
                return loader.finish();
            }
            loader.take(client, Some(shared), range(part))?;
        }
    };
    let mut reader = shared.reader()?;
    let mut helpers = Vec::new();
    while helpers.len() as u64 + 1 < parts {
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
    loader.take(client, None, (0, None))?;
    loader.finish()
}

fn wrong(plan: &Plan, reason: &str) -> ConnectorError {
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
        Ok(Self { plan, sorter: Sorter::new(Arc::clone(&spool)), pending: 0, run_bytes })
    }

    fn take(
        &mut self,
        client: &mut Client,
        shared: Option<&Shared>,
        pages: (u64, Option<u64>),
    ) -> Result<(), ConnectorError> {
        let plan = self.plan;
        let object = plan.object();
        let reader = client.copy_out(&plan.copy_out(pages)).map_err(|error| error::reading(&object, &error))?;
        let mut rows = CopyRows::new(reader);
        let (mut fields, mut scratch) = (Vec::new(), Vec::new());
        let mut hash = |place: u64, body: &[u8]| match shared {
            Some(shared) => hash_row(shared, plan, place, body),
            None => {
                Err(wrong(plan, "a table without a key holds values of more than 1 MiB: its rows cannot be compared"))
            }
        };
        loop {
            let row = rows.next(&mut fields).map_err(|error| copying(plan, error))?;
            let Some(row) = row else { return Ok(()) };
            let place = Plan::place(&row);
            match plan.read(&row, &mut scratch, &mut hash)? {
                Read::Row(key, body) => {
                    if let Some(shared) = shared.filter(|_| Plan::has_outside(&body)) {
                        shared.note_outside();
                    }
                    self.pending += self.sorter.push(key, place, body);
                }
                Read::Unusable(why) => {
                    let words = format!("{object}: the row at ({},{}): {why}", place >> 16, place & 0xffff);
                    match shared {
                        Some(shared) => shared.name_unusable(words),
                        None => return Err(wrong(plan, &words)),
                    }
                }
            }
            if self.pending >= self.run_bytes {
                self.pending = 0;
                self.sorter.spill().map_err(|error| sorting(plan, error))?;
                if shared.is_some_and(Shared::is_stopped) {
                    return Err(wrong(plan, "it was stopped"));
                }
            }
        }
    }

    fn finish(self) -> Result<Sorted, ConnectorError> {
        self.sorter.finish().map_err(|error| sorting(self.plan, error))
    }
}

fn sorting(plan: &Plan, source: io::Error) -> ConnectorError {
    ConnectorError::Io { operation: "sort", object: plan.object(), source }
}

/// What the server said in the midst of rows.
pub(super) fn copying(plan: &Plan, error: io::Error) -> ConnectorError {
    let said = error.get_ref().and_then(|inner| inner.downcast_ref::<postgres::Error>());
    match said {
        Some(said) => error::reading(&plan.object(), said),
        None => ConnectorError::Io { operation: "read", object: plan.object(), source: error },
    }
}
