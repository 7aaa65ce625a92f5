//! Names in SQL text.

/// A name as a quoted identifier.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The `CREATE TABLE` statement with another table name; `None` if the text is not what SQLite stores.
pub(super) fn rename_table(sql: &str, name: &str) -> Option<String> {
    const HEAD: &str = "CREATE TABLE ";
    let rest = sql.strip_prefix(HEAD)?;
    let token = rest.trim_start();
    let old = &token[..identifier_len(token)?];
    Some(format!("{HEAD}{}{}", ident(name), &token[old.len()..]))
}

/// The bytes of the identifier that the text begins with.
fn identifier_len(text: &str) -> Option<usize> {
    let first = text.chars().next()?;
    let close = match first {
        '"' | '\'' | '`' => first,
        '[' => return text.find(']').map(|at| at + 1),
        _ => {
            let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
            let len = text.find(|c| !bare(c)).unwrap_or(text.len());
            return (len > 0).then_some(len);
        }
    };
    let mut at = 1;
    loop {
        at += text[at..].find(close)? + 1;
        if text[at..].starts_with(close) {
            at += 1;
        } else {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create_table_takes_another_name_however_the_old_one_is_quoted() {
        for old in ["t", "\"a\"\"b (\"", "'x''y'", "`q``r`", "[odd name]", "żółw"] {
            let sql = format!("CREATE TABLE {old}(a, b)");
            assert_eq!(rename_table(&sql, "n\"w").as_deref(), Some("CREATE TABLE \"n\"\"w\"(a, b)"), "{old}");
        }
        assert_eq!(rename_table("CREATE VIEW v AS SELECT 1", "x"), None);
        assert_eq!(rename_table("CREATE TABLE \"open", "x"), None);
    }
}
