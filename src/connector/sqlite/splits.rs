//! Keys that split a table into ranges of about the same size, found by a few look-ups in its index.

use super::{
    error::reading,
    plan::{Order, Plan},
    proof::meets_bad_page,
};
use crate::{
    connector::ConnectorError,
    record::{KeyPart, key::encode_int},
};
use rusqlite::Connection;

/// Sorted, distinct keys of the table, fewer than `parts`.
pub(super) fn splits(connection: &Connection, plan: &Plan, parts: usize) -> Result<Vec<Vec<u8>>, ConnectorError> {
    let found = match plan.order {
        _ if parts < 2 => Ok(Vec::new()),
        Order::Rowid => by_rowid(connection, plan, parts),
        Order::Index => by_first_column(connection, plan, parts),
        // Every range of such a table is a sort of its own.
        Order::Sorted => Ok(Vec::new()),
    };
    let found = match found {
        // Whoever reads the table says what cannot be read.
        Err(error) if meets_bad_page(connection, &error) => Ok(Vec::new()),
        found => found,
    };
    let mut keys = found.map_err(|error| reading(&format!("table `{}`", plan.table.name), &error))?;
    keys.sort();
    keys.dedup();
    Ok(keys)
}

fn by_rowid(connection: &Connection, plan: &Plan, parts: usize) -> rusqlite::Result<Vec<Vec<u8>>> {
    let edge = |last| edge_key(connection, plan, last);
    let (Some((KeyPart::Int(low), _)), Some((KeyPart::Int(high), _))) = (edge(false)?, edge(true)?) else {
        return Ok(Vec::new());
    };
    let span = i128::from(high) - i128::from(low);
    let at = |i: usize| (i128::from(low) + span * i as i128 / parts as i128) as i64;
    Ok((1..parts).map(at).filter(|key| *key > low).map(|key| encode_int(key).to_vec()).collect())
}

fn by_first_column(connection: &Connection, plan: &Plan, parts: usize) -> rusqlite::Result<Vec<Vec<u8>>> {
    let (Some((low, lowest)), Some((high, _))) =
        (edge_key(connection, plan, false)?, edge_key(connection, plan, true)?)
    else {
        return Ok(Vec::new());
    };
    let mut keys = Vec::new();
    let mut statement = connection.prepare(&plan.snap_sql())?;
    for i in 1..parts {
        let Some(between) = between(&low, &high, i, parts) else { break };
        plan.bind_parts(&mut statement, std::slice::from_ref(&between))?;
        let mut rows = statement.raw_query();
        if let Some(row) = rows.next()? {
            let mut key = Vec::new();
            plan.encode_key(row, &mut key)?;
            if key > lowest {
                keys.push(key);
            }
        }
    }
    Ok(keys)
}

/// The first part of the first or the last key, and the whole key.
fn edge_key(connection: &Connection, plan: &Plan, last: bool) -> rusqlite::Result<Option<(KeyPart, Vec<u8>)>> {
    let mut statement = connection.prepare(&plan.edge_sql(last))?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut key = Vec::new();
    plan.encode_key(row, &mut key)?;
    let first = plan.codec.decode(&key).and_then(|parts| parts.into_iter().next());
    Ok(first.map(|first| (first, key)))
}

/// The value `i / parts` of the way between two values of one kind.
fn between(low: &KeyPart, high: &KeyPart, i: usize, parts: usize) -> Option<KeyPart> {
    let share = i as f64 / parts as f64;
    match (low, high) {
        (KeyPart::Int(low), KeyPart::Int(high)) => {
            let span = i128::from(*high) - i128::from(*low);
            Some(KeyPart::Int((i128::from(*low) + span * i as i128 / parts as i128) as i64))
        }
        (KeyPart::Float(low), KeyPart::Float(high)) => {
            let value = low + (high - low) * share;
            value.is_finite().then_some(KeyPart::Float(value))
        }
        (KeyPart::Str(low), KeyPart::Str(high)) => Some(KeyPart::Str(between_bytes(low, high, i, parts))),
        (KeyPart::Bytes(low), KeyPart::Bytes(high)) => Some(KeyPart::Bytes(between_bytes(low, high, i, parts))),
        _ => None,
    }
}

/// Takes eight bytes after the common prefix for a number.
fn between_bytes(low: &[u8], high: &[u8], i: usize, parts: usize) -> Vec<u8> {
    let common = low.iter().zip(high).take_while(|(a, b)| a == b).count();
    let number = |bytes: &[u8]| {
        let mut eight = [0; 8];
        let rest = &bytes[common.min(bytes.len())..];
        let len = rest.len().min(8);
        eight[..len].copy_from_slice(&rest[..len]);
        u128::from(u64::from_be_bytes(eight))
    };
    let (from, to) = (number(low), number(high));
    let value = from + to.saturating_sub(from) * i as u128 / parts as u128;
    [&low[..common], (value as u64).to_be_bytes().as_slice()].concat()
}
