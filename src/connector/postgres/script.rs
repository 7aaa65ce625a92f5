//! The statements of what `pg_dump` writes.

/// A statement, or why the text is none.
pub(super) type Statement<'a> = Result<&'a str, String>;

/// Splits a script into its statements. Lines for psql alone (`\restrict`) are left out; others of the kind are refused.
pub(super) fn statements(script: &str) -> Vec<Statement<'_>> {
    let mut found = Vec::new();
    let mut rest = script;
    loop {
        let text = skip_blank(rest);
        if text.is_empty() {
            return found;
        }
        if let Some(command) = text.strip_prefix('\\') {
            let line = command.split('\n').next().unwrap_or(command);
            if !(line.starts_with("restrict ") || line.starts_with("unrestrict ")) {
                found.push(Err(format!("`\\{line}` is a command of psql, not a statement")));
            }
            rest = &command[line.len()..];
            continue;
        }
        let len = statement_len(text);
        let statement = text[..len].trim_end_matches(';').trim_end();
        if !statement.is_empty() {
            found.push(Ok(statement));
        }
        rest = &text[len..];
    }
}

/// A script without its lines for psql: these are different each time.
pub(super) fn without_commands(script: &str) -> String {
    let is_command = |line: &&str| line.starts_with("\\restrict ") || line.starts_with("\\unrestrict ");
    let commands: Vec<&str> = script.lines().filter(is_command).collect();
    // The token is made by lot, so that the line stands nowhere else.
    let mut text = script.to_owned();
    for command in commands {
        text = text.replacen(&format!("{command}\n"), "", 1);
    }
    text
}

/// What follows blanks and comments.
fn skip_blank(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        if text.starts_with("--") {
            text = text.find('\n').map_or("", |end| &text[end..]);
        } else if text.starts_with("/*") {
            text = &text[comment_len(text)..];
        } else {
            return text;
        }
    }
}

/// The bytes of a statement and the semicolon that ends it. A body of SQL (`BEGIN ATOMIC … END`) has semicolons of its own.
fn statement_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut parentheses, mut depth) = (0, 0_i64, 0_u32);
    let mut words: Vec<String> = Vec::new();
    while at < bytes.len() {
        match bytes[at] {
            b';' if parentheses <= 0 && depth == 0 => return at + 1,
            b'(' => parentheses += 1,
            b')' => parentheses -= 1,
            b'\'' => {
                let escapes = at > 0 && matches!(bytes[at - 1], b'e' | b'E') && !is_word(bytes.get(at.wrapping_sub(2)));
                at += quoted_len(&bytes[at..], b'\'', escapes);
                continue;
            }
            b'"' => {
                at += quoted_len(&bytes[at..], b'"', false);
                continue;
            }
            b'-' if bytes[at..].starts_with(b"--") => {
                at += bytes[at..].iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len() - at);
                continue;
            }
            b'/' if bytes[at..].starts_with(b"/*") => {
                at += comment_len(&text[at..]);
                continue;
            }
            b'$' if at == 0 || !is_word(bytes.get(at - 1)) => {
                if let Some(len) = dollar_len(&text[at..]) {
                    at += len;
                    continue;
                }
            }
            byte if byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80 => {
                let len = bytes[at..].iter().take_while(|byte| is_word(Some(byte))).count();
                let word = text[at..at + len].to_ascii_lowercase();
                if words.len() < 4 {
                    words.push(word.clone());
                }
                if makes_function(&words) && parentheses <= 0 {
                    match word.as_str() {
                        "begin" => depth += 1,
                        "case" if depth > 0 => depth += 1,
                        "end" if depth > 0 => depth -= 1,
                        _ => {}
                    }
                }
                at += len;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

fn makes_function(words: &[String]) -> bool {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let is = |word: Option<&&str>| matches!(word, Some(&"function" | &"procedure"));
    words.first() == Some(&"create")
        && (is(words.get(1)) || (words.get(1..3) == Some(&["or", "replace"]) && is(words.get(3))))
}

fn is_word(byte: Option<&u8>) -> bool {
    byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || *byte >= 0x80)
}

fn quoted_len(bytes: &[u8], quote: u8, escapes: bool) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        if escapes && bytes[at] == b'\\' {
            at += 2;
        } else if bytes[at] == quote {
            if bytes.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 2;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn comment_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// `$tag$ … $tag$`.
fn dollar_len(text: &str) -> Option<usize> {
    let end = text[1..].find('$')? + 1;
    let tag = &text[1..end];
    let mut bytes = tag.bytes();
    let first = bytes.next().is_none_or(|byte| byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80);
    if !first || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80) {
        return None;
    }
    let delimiter = &text[..=end];
    Some(text[end + 1..].find(delimiter).map_or(text.len(), |at| end + 1 + at + delimiter.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(script: &str) -> Vec<&str> {
        statements(script).into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn statements_end_where_the_server_would_end_them() {
        let script = "--\n-- a; b\n\\restrict x9Y\nSET a = 'x;''y';\n/* ; /* ; */ ; */ SELECT E'\\';', \"a;\"\"b\";\n\
            CREATE FUNCTION f() RETURNS int AS $_$ BEGIN; $$;$$ END; $_$;\n\
            CREATE FUNCTION g(a int) RETURNS int BEGIN ATOMIC SELECT CASE WHEN a > 0 THEN 1 END; SELECT 2; END;\n\
            CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);\n\
            SELECT a$b$c, begin FROM x; ;\nCOMMENT ON COLUMN żó.b IS 'é;';\\unrestrict x9Y\n";
        let found = split(script);
        assert_eq!(found.len(), 7, "{found:#?}");
        assert_eq!(found[0], "SET a = 'x;''y'");
        assert!(found[2].ends_with("$_$") && found[3].ends_with("END") && found[4].ends_with("SELECT 2)"));
        assert_eq!(found[5], "SELECT a$b$c, begin FROM x");
    }

    #[test]
    fn other_commands_of_psql_are_refused() {
        let found = statements("\\connect x\nSELECT 1;");
        assert!(found[0].is_err() && found[1] == Ok("SELECT 1"));
    }

    #[test]
    fn what_is_kept_of_a_script_is_the_same_each_time() {
        let script =
            |token: &str| format!("--\n\n\\restrict {token}\n\nSELECT '\\restrict';\n\n\\unrestrict {token}\n\n");
        assert_eq!(without_commands(&script("abc")), without_commands(&script("xyz")));
        assert!(without_commands(&script("abc")).contains("'\\restrict'"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_split(text in "[ ;'\"$ab\\\\/*()\\-\nż]{0,60}") {
            let total: usize = statements(&text).into_iter().flatten().map(str::len).sum();
            prop_assert!(total <= text.len());
        }
    }
}
