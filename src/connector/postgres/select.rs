//! Which schemas and tables are meant.

use super::names;
use crate::{
    connector::{ConnectorError, Scope},
    repo::manifest::Asked,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// What was asked for; nothing for everything.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    schemas: BTreeSet<String>,
    tables: BTreeSet<(Option<String>, String)>,
    not_schemas: BTreeSet<String>,
    not_tables: BTreeSet<(Option<String>, String)>,
    large_objects: bool,
}

/// The collection of large objects.
pub(super) const LARGE_OBJECTS: &str = "pg_catalog.pg_largeobject";

impl Selection {
    /// From what of a URL's query is not libpq's.
    pub(super) fn of(options: Vec<(String, String)>) -> Result<Self, String> {
        let mut all = Self::default();
        for (option, value) in options {
            let table = || {
                names::parse(&value)
                    .ok_or_else(|| format!("`{value}` is no table: write table, schema.table or \"Schema\".\"Table\""))
            };
            let schema = || match names::parse(&value) {
                Some((None, schema)) => Ok(schema),
                _ => Err(format!("`{value}` is no schema")),
            };
            match option.as_str() {
                "table" if value == LARGE_OBJECTS => all.large_objects = true,
                "schema" => drop(all.schemas.insert(schema()?)),
                "table" => drop(all.tables.insert(table()?)),
                "exclude-schema" | "exclude_schema" => drop(all.not_schemas.insert(schema()?)),
                "exclude-table" | "exclude_table" => drop(all.not_tables.insert(table()?)),
                other => {
                    return Err(format!(
                        "`{other}` is neither libpq's nor schema, table, exclude-schema or exclude-table"
                    ));
                }
            }
        }
        Ok(all)
    }

    /// Just these tables.
    pub(super) fn only(tables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { tables: tables.into_iter().map(|(schema, table)| (Some(schema), table)).collect(), ..Self::default() }
    }

    /// The one table that is named.
    pub(super) fn one_table(&self) -> Option<String> {
        let mut tables = self.tables.iter();
        let (schema, table) = tables.next()?;
        (tables.next().is_none()).then(|| names::collection(schema.as_deref().unwrap_or("public"), table))
    }

    /// Whether everything is meant.
    pub(super) fn is_all(&self) -> bool {
        self.schemas.is_empty()
            && self.tables.is_empty()
            && self.not_schemas.is_empty()
            && self.not_tables.is_empty()
            && !self.large_objects
    }

    pub(super) fn wants_large_objects(&self) -> bool {
        self.large_objects || (self.schemas.is_empty() && self.tables.is_empty())
    }

    pub(super) fn wants(&self, schema: &str, table: &str) -> bool {
        let of = |set: &BTreeSet<(Option<String>, String)>| {
            !set.is_empty()
                && (set.contains(&(Some(schema.to_owned()), table.to_owned()))
                    || set.contains(&(None, table.to_owned())))
        };
        let included = (self.schemas.is_empty() && self.tables.is_empty() && !self.large_objects)
            || self.schemas.contains(schema)
            || of(&self.tables);
        included && !self.not_schemas.contains(schema) && !of(&self.not_tables)
    }

    /// Refuses names of what is not there.
    pub(super) fn check(&self, all: &[(String, String)], object: &str) -> Result<(), ConnectorError> {
        let missing = |what: String| Err(ConnectorError::Missing { object: format!("{what} of {object}") });
        for (schema, table) in self.tables.iter().chain(&self.not_tables) {
            if !all.iter().any(|(s, t)| t == table && schema.as_ref().is_none_or(|schema| schema == s)) {
                let name = schema.as_ref().map_or_else(|| names::shown(table), |s| names::collection(s, table));
                return missing(format!("table {name}"));
            }
        }
        for schema in self.schemas.iter().chain(&self.not_schemas) {
            if !all.iter().any(|(s, _)| s == schema) {
                return missing(format!("schema {} with tables", names::shown(schema)));
            }
        }
        Ok(())
    }

    fn lists(&self) -> [(&'static str, Vec<String>); 4] {
        let tables = |set: &BTreeSet<(Option<String>, String)>| {
            let name = |(schema, table): &(Option<String>, String)| {
                schema.as_ref().map_or_else(|| names::shown(table), |schema| names::collection(schema, table))
            };
            set.iter().map(name).collect()
        };
        let schemas = |set: &BTreeSet<String>| set.iter().map(|name| names::shown(name)).collect();
        let mut own: Vec<String> = tables(&self.tables);
        own.extend(self.large_objects.then(|| LARGE_OBJECTS.to_owned()));
        [
            ("schemas", schemas(&self.schemas)),
            ("tables", own),
            ("all but schemas", schemas(&self.not_schemas)),
            ("all but tables", tables(&self.not_tables)),
        ]
    }

    pub(super) fn scope(&self) -> Scope {
        if self.is_all() {
            return Scope::default();
        }
        let lists = self.lists();
        let canonical = json!({
            "schemas": lists[0].1, "tables": lists[1].1, "not_schemas": lists[2].1, "not_tables": lists[3].1
        });
        let said = lists.iter().filter(|(_, names)| !names.is_empty());
        let note: Vec<String> = said.map(|(what, names)| format!("{what} {}", names.join(", "))).collect();
        Scope { canonical: canonical.to_string(), note: note.join("; "), asked: self.asked() }
    }

    /// The same as data; nothing where schemas and tables are named together, which adds up.
    fn asked(&self) -> Asked {
        let [schemas, tables, not_schemas, not_tables] = self.lists().map(|(_, names)| names);
        if !schemas.is_empty() && !tables.is_empty() {
            return Asked::default();
        }
        let facets = |schemas: Vec<String>, tables: Vec<String>| {
            let named = [("schemas", schemas), ("tables", tables)].into_iter().filter(|(_, names)| !names.is_empty());
            named.map(|(facet, names)| (facet.to_owned(), names)).collect()
        };
        Asked { only: facets(schemas, tables), without: facets(not_schemas, not_tables), form: BTreeMap::new() }
    }

    /// What tells `pg_dump` the same.
    pub(super) fn dump_arguments(&self) -> Vec<String> {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let table = |(schema, table): &(Option<String>, String)| match schema {
            Some(schema) => format!("{}.{}", quoted(schema), quoted(table)),
            None => format!("*.{}", quoted(table)),
        };
        let mut arguments = Vec::new();
        // Beside tables it takes no heed of schemas.
        let schema = |name: &String, what: &str| {
            let (named, all) = (quoted(name), !self.tables.is_empty());
            if all { format!("--{what}table={named}.*") } else { format!("--{what}schema={named}") }
        };
        arguments.extend(self.schemas.iter().map(|name| schema(name, "")));
        arguments.extend(self.tables.iter().map(|one| format!("--table={}", table(one))));
        arguments.extend(self.not_schemas.iter().map(|name| schema(name, "exclude-")));
        arguments.extend(self.not_tables.iter().map(|one| format!("--exclude-table={}", table(one))));
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(options: &[(&str, &str)]) -> Selection {
        Selection::of(options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()).unwrap()
    }

    #[test]
    fn schemas_and_tables_are_chosen_and_left_out() {
        let all = selection(&[]);
        assert!(all.wants("a", "b") && all.wants_large_objects() && all.scope() == Scope::default());
        let some = selection(&[("schema", "a"), ("table", "b.\"T t\""), ("exclude-table", "a.x")]);
        assert!(some.wants("a", "y") && some.wants("b", "T t"));
        assert!(!some.wants("a", "x") && !some.wants("b", "y") && !some.wants_large_objects());
        assert_eq!(some.scope().note, "schemas a; tables b.\"T t\"; all but tables a.x");
        assert_eq!(some.dump_arguments()[..2], ["--table=\"a\".*", "--table=\"b\".\"T t\""]);
        let objects = selection(&[("table", LARGE_OBJECTS)]);
        assert!(objects.wants_large_objects() && !objects.wants("a", "b") && !objects.is_all());
    }

    #[test]
    fn names_of_what_is_not_there_are_refused() {
        let there = [("a".to_owned(), "t".to_owned())];
        for (option, value, fits) in
            [("table", "t", true), ("table", "b.t", false), ("schema", "b", false), ("exclude-table", "u", false)]
        {
            assert_eq!(selection(&[(option, value)]).check(&there, "x").is_ok(), fits, "{value}");
        }
        for (option, value) in [("tabel", "t"), ("table", "a.b.c"), ("schema", "a.b")] {
            assert!(Selection::of(vec![(option.to_owned(), value.to_owned())]).is_err());
        }
    }
}
