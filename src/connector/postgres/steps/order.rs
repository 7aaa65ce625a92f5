//! What of the part after rows may be made side by side, read from the statements as `pg_dump` writes them. What is not
//! understood is left in its place: that is always right.

use crate::connector::postgres::{names, script};

/// A table: schema and name.
pub(super) type TableName = (String, String);

/// The statements of a script.
#[derive(Debug, Default)]
pub(super) struct Order<'a> {
    /// What is set for those that follow.
    pub(super) settings: Vec<&'a str>,
    pub(super) steps: Vec<Step<'a>>,
}

/// A statement that makes something.
#[derive(Debug)]
pub(super) struct Step<'a> {
    pub(super) sql: &'a str,
    /// How many of the settings stand before it.
    pub(super) settings: usize,
    pub(super) kind: Kind,
}

/// What a statement makes, as far as that says when it may be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An index of a table.
    Index(TableName),
    /// A constraint that has an index: by the statement that builds the index and the one that takes it.
    Key {
        table: TableName,
        build: String,
        take: String,
        undo: String,
    },
    /// One that must be made with its index.
    Exclusive(TableName),
    /// A foreign key from one table to another.
    Foreign(TableName, TableName),
    Other,
}

impl<'a> Order<'a> {
    /// Reads a script; what is no statement is refused with the reason.
    pub(super) fn of(text: &'a str) -> Result<Self, String> {
        let mut order = Self::default();
        for statement in script::statements(text) {
            let sql: &str = statement?;
            if sql.starts_with("SET ") || sql.starts_with("SELECT pg_catalog.set_config(") {
                // How long things may take is what was asked for here.
                if !sql.contains("_timeout") {
                    order.settings.push(sql);
                }
                continue;
            }
            order.steps.push(Step { sql, settings: order.settings.len(), kind: kind(sql) });
        }
        Ok(order)
    }
}

fn kind(sql: &str) -> Kind {
    index(sql).or_else(|| constraint(sql)).unwrap_or(Kind::Other)
}

fn index(sql: &str) -> Option<Kind> {
    let rest = word(sql, "CREATE")?;
    let rest = word(word(rest, "UNIQUE").unwrap_or(rest), "INDEX")?;
    let (_, rest) = name(rest)?;
    let rest = word(rest, "ON")?;
    let (table, _) = name(word(rest, "ONLY").unwrap_or(rest))?;
    Some(Kind::Index(place(table)?))
}

fn constraint(sql: &str) -> Option<Kind> {
    let rest = word(word(word(sql, "ALTER")?, "TABLE")?, "ONLY")?;
    let (table, rest) = name(rest)?;
    let (own, rest) = name(word(word(rest, "ADD")?, "CONSTRAINT")?)?;
    let at = place(table)?;
    if let Some(rest) = word(rest, "FOREIGN") {
        let (_, rest) = group(word(rest, "KEY")?)?;
        let (other, _) = name(word(rest, "REFERENCES")?)?;
        return Some(Kind::Foreign(at, place(other)?));
    }
    let (what, rest) = match word(rest, "PRIMARY") {
        Some(rest) => ("PRIMARY KEY", word(rest, "KEY")?),
        None => match word(rest, "UNIQUE") {
            Some(rest) => ("UNIQUE", rest),
            None => return word(rest, "EXCLUDE").map(|_| Kind::Exclusive(at)),
        },
    };
    match group(rest) {
        Some((columns, "")) => Some(Kind::Key {
            build: format!("CREATE UNIQUE INDEX {own} ON ONLY {table} {columns}"),
            take: format!("ALTER TABLE ONLY {table} ADD CONSTRAINT {own} {what} USING INDEX {own}"),
            undo: format!("DROP INDEX IF EXISTS {}.{own}", names::ident(&at.0, false)),
            table: at,
        }),
        _ => Some(Kind::Exclusive(at)),
    }
}

fn place(text: &str) -> Option<TableName> {
    let (schema, table) = names::parse(text)?;
    Some((schema?, table))
}

/// What follows a word.
fn word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = text.trim_start().strip_prefix(word)?;
    rest.starts_with(|c: char| c.is_whitespace() || c == '(').then_some(rest)
}

/// A name, with its schema if it has one, and what follows.
fn name(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let mut in_quotes = false;
    let is_end = |(_, c): &(usize, char)| {
        in_quotes ^= *c == '"';
        !in_quotes && (c.is_whitespace() || *c == '(')
    };
    let end = text.char_indices().find(is_end).map_or(text.len(), |(at, _)| at);
    (end > 0).then(|| text.split_at(end))
}

/// What stands in parentheses, with them, and what follows.
fn group(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let (mut depth, mut quote) = (0_u32, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) => quote = (c != open).then_some(open),
            (None, '"' | '\'') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    let (own, rest) = text.split_at(at + 1);
                    return Some((own, rest.trim()));
                }
            }
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(schema: &str, table: &str) -> TableName {
        (schema.to_owned(), table.to_owned())
    }

    #[test]
    fn what_may_be_made_side_by_side_is_known_by_its_statement() {
        let text = "SET statement_timeout = 0;\nSET default_tablespace = '';\n\
            CREATE UNIQUE INDEX \"a ON b\" ON public.t USING btree (lower(x));\n\
            CREATE INDEX i ON ONLY \"Odd Name\".\"x.y (\" USING gin (d);\n\
            SET default_tablespace = fast;\n\
            ALTER TABLE ONLY public.t\n    ADD CONSTRAINT t_pkey PRIMARY KEY (a, \"b)\");\n\
            ALTER TABLE ONLY public.t ADD CONSTRAINT u UNIQUE (a) DEFERRABLE INITIALLY DEFERRED;\n\
            ALTER TABLE ONLY public.t ADD CONSTRAINT n UNIQUE NULLS NOT DISTINCT (a);\n\
            ALTER TABLE ONLY public.t ADD CONSTRAINT e EXCLUDE USING gist (r WITH &&);\n\
            ALTER TABLE ONLY public.t ADD CONSTRAINT \"f k\" FOREIGN KEY (a, \") REFERENCES x(\") REFERENCES other.\"p q\"(c, d) ON DELETE CASCADE;\n\
            ALTER TABLE public.p ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES public.t(a);\n\
            ALTER TABLE ONLY public.t ADD CONSTRAINT c CHECK ((a > 0)) NOT VALID;\n\
            ALTER INDEX public.i ATTACH PARTITION public.j;\nCOMMENT ON INDEX public.i IS 'CREATE INDEX x ON public.y';\n\
            CREATE TRIGGER x AFTER INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.f();";
        let order = Order::of(text).unwrap();
        assert_eq!(order.settings, ["SET default_tablespace = ''", "SET default_tablespace = fast"]);
        assert_eq!(order.steps.iter().map(|step| step.settings).collect::<Vec<_>>()[..3], [1, 1, 2]);
        let kinds: Vec<&Kind> = order.steps.iter().map(|step| &step.kind).collect();
        assert_eq!(*kinds[0], Kind::Index(at("public", "t")));
        assert_eq!(*kinds[1], Kind::Index(at("Odd Name", "x.y (")));
        assert_eq!(
            *kinds[2],
            Kind::Key {
                table: at("public", "t"),
                build: "CREATE UNIQUE INDEX t_pkey ON ONLY public.t (a, \"b)\")".to_owned(),
                take: "ALTER TABLE ONLY public.t ADD CONSTRAINT t_pkey PRIMARY KEY USING INDEX t_pkey".to_owned(),
                undo: "DROP INDEX IF EXISTS \"public\".t_pkey".to_owned(),
            }
        );
        for exclusive in &kinds[3..6] {
            assert_eq!(**exclusive, Kind::Exclusive(at("public", "t")));
        }
        assert_eq!(*kinds[6], Kind::Foreign(at("public", "t"), at("other", "p q")));
        // What locks partitions, too, and what is not understood stays in its place.
        for other in &kinds[7..] {
            assert_eq!(**other, Kind::Other);
        }
        assert_eq!(kinds.len(), 12);
        assert!(Order::of("\\connect x\n").is_err());
    }

    #[test]
    fn broken_text_is_left_in_its_place() {
        for text in [
            "",
            "CREATE INDEX",
            "CREATE INDEX a ON",
            "ALTER TABLE ONLY t ADD CONSTRAINT x PRIMARY KEY (a",
            "ALTER TABLE ONLY a.b ADD CONSTRAINT c FOREIGN KEY (x) REFERENCES",
        ] {
            assert_eq!(kind(text), Kind::Other, "{text}");
        }
    }
}
