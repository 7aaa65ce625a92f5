//! Tables that can be read only where names are found as their database finds them: a function in an index, a condition of one or
//! statistics is planned with every statement, and may name something without its schema.

use super::{
    catalog::Table,
    client::Client,
    define::attempt,
    error::{names_what_is_not_found, reading, said},
    names::literal,
    types::Form,
};
use crate::connector::ConnectorError;

/// The search path that this user has in this database.
pub(super) fn usual(client: &mut Client) -> Result<String, postgres::Error> {
    let sql = "SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'search_path'";
    let path: String = client.query_one(sql, &[])?.get(0);
    // None at all is said by a name that no list may hold.
    Ok(if path.trim_matches('"').is_empty() { "pg_catalog".to_owned() } else { path })
}

/// The statement that has names found by a path, within a transaction alone or beyond.
pub(super) fn set(path: Option<&str>, is_local: bool) -> String {
    format!("SELECT pg_catalog.set_config('search_path', {}, {is_local})", literal(path.unwrap_or_default()))
}

/// Has tables read by the path of the database that cannot be read without; in a transaction. Those that cannot be read at all are
/// taken out, and named.
pub(super) fn settle(
    client: &mut Client,
    tables: &mut Vec<Table>,
    object: &str,
) -> Result<Vec<String>, ConnectorError> {
    let fail = |error: postgres::Error| reading(object, &error);
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let sql = "SELECT indrelid FROM pg_catalog.pg_index WHERE indrelid = ANY($1) AND (indexprs IS NOT NULL OR indpred IS NOT NULL) \
               UNION SELECT stxrelid FROM pg_catalog.pg_statistic_ext WHERE stxrelid = ANY($1) AND stxexprs IS NOT NULL";
    let rows = client.query(sql, &[&oids]).map_err(fail)?;
    let suspects: Vec<u32> = rows.iter().map(|row| row.get(0)).collect();
    let mut unread = Vec::new();
    for table in tables.iter_mut().filter(|table| suspects.contains(&table.oid)) {
        let plan = format!("EXPLAIN SELECT FROM ONLY {}", table.sql(false));
        let error = match attempt(client, &plan, object)? {
            Err(error) if names_what_is_not_found(&error) => error,
            _ => continue,
        };
        let path = usual(client).map_err(fail)?;
        let on_path = format!("{}; {plan}; {}", set(Some(&path), true), set(None, true));
        // Text forms of what is in the catalog (`regclass`) name it as the path has it.
        let names_by_path = table.columns.iter().find(|column| column.by_output && column.form == Form::Cast);
        match (attempt(client, &on_path, object)?, names_by_path) {
            (Ok(()), None) => table.path = Some(path),
            (Ok(()), Some(column)) => {
                let name = &column.name;
                let why =
                    format!("{}; where that is found, the text of its column {name} is another one", said(&error));
                unread.push((table.oid, why));
            }
            (Err(error), _) => unread.push((table.oid, said(&error))),
        }
    }
    let mut missing = Vec::new();
    for (oid, why) in unread {
        if let Some(at) = tables.iter().position(|table| table.oid == oid) {
            missing.push(format!("table {}: it cannot be read: {why}", tables[at].collection()));
            tables.remove(at);
        }
    }
    Ok(missing)
}
