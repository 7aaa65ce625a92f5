//! Names of schemas, tables and columns: as SQL wants them, and as collections bear them.

use crate::connector::ConnectorError;
use std::fmt::Write as _;

/// A quoted identifier, for a connection whose encoding is that of the statement or, where `ascii` is set, may be another one.
pub(super) fn ident(name: &str, ascii: bool) -> String {
    if ascii && !name.is_ascii() {
        let mut out = "U&\"".to_owned();
        for c in name.chars() {
            match c {
                '"' => out.push_str("\"\""),
                '\\' => out.push_str("\\\\"),
                c if c.is_ascii() => out.push(c),
                c => {
                    let _ = write!(out, "\\+{:06X}", u32::from(c));
                }
            }
        }
        out.push('"');
        return out;
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string in quotes, whatever is in it.
pub(super) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// One part of a collection's name: as it is if it is plain, else in quotes.
pub(super) fn shown(name: &str) -> String {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if first && bytes.all(plain) { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A table as collections are named.
pub(super) fn collection(schema: &str, table: &str) -> String {
    format!("{}.{}", shown(schema), shown(table))
}

/// The parts of a name as it is shown: one, or two divided by a point. Names that are not in quotes are taken as they are.
pub(super) fn parse(text: &str) -> Option<(Option<String>, String)> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, behind) =
            if let Some(quoted) = rest.strip_prefix('"') { take_quoted(quoted)? } else { take_plain(rest)? };
        parts.push(part);
        match behind.strip_prefix('.') {
            Some(next) => rest = next,
            None if behind.is_empty() => break,
            None => return None,
        }
    }
    match (parts.pop(), parts.pop(), parts.pop()) {
        (Some(table), schema, None) => Some((schema, table)),
        _ => None,
    }
}

fn take_plain(text: &str) -> Option<(String, &str)> {
    let end = text.find('.').unwrap_or(text.len());
    let (part, rest) = text.split_at(end);
    (!part.is_empty() && !part.contains('"')).then(|| (part.to_owned(), rest))
}

fn take_quoted(text: &str) -> Option<(String, &str)> {
    let mut part = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != '"' {
            part.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == '"') {
            part.push('"');
            chars.next();
        } else {
            return (!part.is_empty()).then(|| (part, &text[at + 1..]));
        }
    }
    None
}

/// Schema and name of the table that a collection is in the target.
pub(super) fn place(name: &str) -> Result<(String, String), ConnectorError> {
    match parse(name) {
        Some((schema, table)) => Ok((schema.unwrap_or_else(|| "public".to_owned()), table)),
        None => Err(ConnectorError::Usage {
            object: name.to_owned(),
            reason: "it names no table: write table, schema.table or \"Schema\".\"Table\"".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back_from_how_it_is_shown() {
        for (schema, table) in
            [("public", "a"), ("Odd Name", "x.y"), ("a\"b", "\"\""), ("1", "ż"), ("_x9", "A"), ("a.b", "c\n")]
        {
            let shown = collection(schema, table);
            assert_eq!(parse(&shown), Some((Some(schema.to_owned()), table.to_owned())), "{shown}");
        }
        assert_eq!(collection("public", "user_2"), "public.user_2");
        assert_eq!(parse("t"), Some((None, "t".to_owned())));
        for bad in ["", ".", "a.", ".a", "a.b.c", "\"a", "\"a\"b", "a\"b", "\"\""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn identifiers_and_literals_are_quoted_whatever_is_in_them() {
        assert_eq!(ident("a\"b", false), "\"a\"\"b\"");
        assert_eq!(ident("aż\\\"", true), "U&\"a\\+00017C\\\\\"\"\"");
        assert_eq!(ident("a\\", true), "\"a\\\"");
        assert_eq!(literal("a'b\\"), "E'a''b\\\\'");
    }
}
