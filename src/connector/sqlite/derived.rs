//! Virtual tables that keep an index in tables of their own, which are restored as such. Where the target had rows of its own and
//! is not made equal, rows of two states stand in them, which fit together as a whole only: the index is made anew from the rows
//! that it is of, or the restore is refused.

use super::quote::ident;
use crate::connector::TargetPlan;
use rusqlite::{Connection, OptionalExtension as _};

/// What stands before the module in a statement.
const USING: &str = "USING";

/// The module that a virtual table's statement names, and what follows its name.
pub(super) fn module_of(sql: &str) -> Option<(&str, &str)> {
    let upper = sql.to_ascii_uppercase();
    let is_word = |at: usize| {
        sql[..at].ends_with(char::is_whitespace) && sql[at + USING.len()..].starts_with(char::is_whitespace)
    };
    let at = upper.match_indices(USING).map(|(at, _)| at).find(|at| is_word(*at))?;
    let rest = sql[at + USING.len()..].trim_start();
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    Some(rest.split_at(end))
}

/// What module keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Module {
    Fts5,
    /// `fts3` and `fts4`.
    Fts4,
    /// `rtree` and `geopoly`.
    Rtree,
    /// One that only the application has.
    Other,
}

/// A virtual table with an index in tables of its own.
#[derive(Debug, PartialEq, Eq)]
struct Derived {
    module: Module,
    /// The table whose rows it indexes, if it has none of its own.
    content: Option<String>,
    /// Whether it keeps no text that it could be made anew from.
    is_contentless: bool,
}

impl Derived {
    /// That of a statement; `None` if its module keeps no such index.
    fn of(sql: &str) -> Option<Self> {
        let (module, arguments) = module_of(sql)?;
        let module = match module.to_ascii_lowercase().as_str() {
            "fts5" => Module::Fts5,
            "fts3" | "fts4" => Module::Fts4,
            "rtree" | "rtree_i32" | "geopoly" => Module::Rtree,
            _ => Module::Other,
        };
        let mut is_contentless = false;
        let content = arguments.trim().trim_start_matches('(').trim_end_matches(')').split(',').find_map(|argument| {
            let (option, value) = argument.split_once('=')?;
            let value = value.trim().trim_matches(['"', '\'', '`', '[', ']']);
            let is_content = option.trim().eq_ignore_ascii_case("content");
            is_contentless |= is_content && value.is_empty();
            (is_content && !value.is_empty()).then(|| value.to_owned())
        });
        Some(Self { module, content, is_contentless })
    }

    const fn kind(&self) -> &'static str {
        match self.module {
            Module::Fts5 | Module::Fts4 => "full-text index",
            Module::Rtree => "spatial index",
            Module::Other => "virtual table",
        }
    }

    /// What the names of the tables end with that hold nothing but what is derived.
    const fn endings(&self) -> &'static [&'static str] {
        match self.module {
            Module::Fts5 => &["_data", "_idx", "_docsize"],
            Module::Fts4 => &["_segments", "_segdir", "_docsize", "_stat"],
            Module::Rtree | Module::Other => &[],
        }
    }

    /// What is the matter with it; `None` if its parts fit together.
    fn fault(&self, connection: &Connection, name: &str) -> Option<String> {
        match self.module {
            Module::Rtree => {
                let check = "SELECT rtreecheck('main', ?1)";
                let told: rusqlite::Result<Option<String>> =
                    connection.query_row(check, [name], |row| row.get(0)).optional();
                told.map_or_else(|error| Some(error.to_string()), |told| told.filter(|told| told != "ok"))
            }
            Module::Fts5 => {
                let name = ident(name);
                let check = format!("INSERT INTO main.{name}({name}) VALUES ('integrity-check')");
                within(connection, &check).err().map(|error| error.to_string())
            }
            // It cannot be asked without its text, or not here.
            Module::Fts4 | Module::Other => None,
        }
    }
}

/// Makes a full-text index anew from the rows that it is of.
fn make_anew(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    let name = ident(name);
    within(connection, &format!("INSERT INTO main.{name}({name}) VALUES ('rebuild')"))
}

/// Runs a statement of which nothing stands if it fails.
fn within(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.execute_batch("SAVEPOINT rekeep_derived")?;
    let done = connection.execute_batch(sql);
    if done.is_err() {
        connection.execute_batch("ROLLBACK TO rekeep_derived")?;
    }
    connection.execute_batch("RELEASE rekeep_derived")?;
    done
}

/// What became of indexes.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// What a person should know.
    pub(super) notes: Vec<String>,
    /// What is not as it should be.
    pub(super) missing: Vec<String>,
    /// Tables that hold what was made anew, and so other rows than came.
    pub(super) anew: Vec<String>,
    /// In whose tables rows of two states do not fit together.
    pub(super) mixed: Option<String>,
}

/// Settles the indexes of an existing database beneath which rows were written, into the tables of `touched`.
pub(super) fn settle(connection: &Connection, plan: &TargetPlan, touched: &[&str]) -> rusqlite::Result<Settled> {
    let mut settled = Settled::default();
    for (name, sql) in virtual_tables(connection)? {
        let Some(derived) = Derived::of(&sql) else { continue };
        let is_shadow = |table: &str| table.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('_'));
        if plan.make_equal && !plan.partial && plan.collections.iter().any(|c| is_shadow(&c.name)) {
            continue;
        }
        let is_written = |content: &&str| touched.iter().any(|table| table.eq_ignore_ascii_case(content));
        let content = derived.content.as_deref().filter(is_written);
        if content.is_none() && !touched.iter().any(|table| is_shadow(table)) {
            continue;
        }
        settle_one(connection, &name, &derived, &mut settled);
        if settled.mixed.is_some() {
            break;
        }
    }
    Ok(settled)
}

fn settle_one(connection: &Connection, name: &str, derived: &Derived, settled: &mut Settled) {
    let kind = derived.kind();
    if derived.module == Module::Other {
        settled.notes.push(format!(
            "the {kind} `{name}`: rows changed in tables that may be its own, and its module is the application's: whether they still \
             fit together cannot be said here"
        ));
        return;
    }
    if derived.module == Module::Rtree || derived.is_contentless {
        if let Some(fault) = derived.fault(connection, name) {
            settled.mixed = Some(format!(
                "the {kind} `{name}` keeps its rows in tables that only fit together as a whole, and rows of the snapshot and of \
                 the target would stand in them ({})",
                fault.lines().next().unwrap_or_default()
            ));
        } else if derived.is_contentless {
            let text = "rows changed beneath it; it keeps no text of its own: only the application can fill it anew";
            settled.notes.push(format!("the {kind} `{name}`: {text}"));
        }
        return;
    }
    match make_anew(connection, name) {
        Ok(()) => {
            let of = derived.content.as_ref().map_or_else(String::new, |content| format!(" of `{content}`"));
            settled.notes.push(format!("the {kind} `{name}`{of}: rows changed beneath it, and it was made anew of them"));
            settled.anew.extend(derived.endings().iter().map(|ending| format!("{name}{ending}")));
        }
        Err(error) => settled.missing.push(format!(
            "the {kind} `{name}`: rows changed beneath it, and it could not be made anew ({error}); where it can be, INSERT INTO \
             {0}({0}) VALUES ('rebuild') does it",
            ident(name)
        )),
    }
}

fn virtual_tables(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = connection
        .prepare("SELECT name, sql FROM main.sqlite_schema WHERE type = 'table' AND rootpage = 0 ORDER BY rowid")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_known_by_their_statements() {
        let of = |sql: &str| Derived::of(sql).map(|derived| (derived.module, derived.content, derived.is_contentless));
        let some = |module, name: &str| Some((module, Some(name.to_owned()), false));
        assert_eq!(
            of("CREATE VIRTUAL TABLE x USING fts5(a, content=docs, content_rowid=id)"),
            some(Module::Fts5, "docs")
        );
        assert_eq!(of("create virtual table x using FTS4(content=\"my docs\", a)"), some(Module::Fts4, "my docs"));
        assert_eq!(of("CREATE VIRTUAL TABLE x USING fts5(a, content='')"), Some((Module::Fts5, None, true)));
        assert_eq!(of("CREATE VIRTUAL TABLE using_x\nUSING\tfts5 (\n  a\n)"), Some((Module::Fts5, None, false)));
        assert_eq!(of("CREATE VIRTUAL TABLE x USING rtree(id, a, b)"), Some((Module::Rtree, None, false)));
        assert_eq!(of("CREATE VIRTUAL TABLE x USING vec0(a float[3])"), Some((Module::Other, None, false)));
        assert_eq!(of("CREATE TABLE x(a)"), None);
    }
}
