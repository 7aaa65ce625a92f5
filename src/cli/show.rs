//! Tables and other ways to show things to people.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, presets};

/// A table in the house style; the numbered columns are aligned to the right.
#[must_use]
pub fn table(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING.header_separator(LineStyle::none().fill('─').junction('─')));
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    for index in right {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A count with its word: `1 snapshot`, `2 snapshots`.
#[must_use]
pub fn counted(count: u64, word: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {word}{plural}", super::units::show_count(count))
}

/// A table as text whose lines have no trailing blanks.
#[must_use]
pub fn render(table: &Table) -> String {
    table.trim_fmt()
}

/// Text that cannot play tricks with a terminal: control characters are escaped.
#[must_use]
pub fn safe(text: &str) -> String {
    if text.chars().any(char::is_control) { text.escape_debug().to_string() } else { text.to_owned() }
}

/// Characters that a cell of a table has at most where what it shows may be of any length.
const BRIEF: usize = 48;

/// Safe text that does not break a table: cut where it is long.
#[must_use]
pub fn brief(text: &str) -> String {
    let safe = safe(text);
    if safe.chars().count() <= BRIEF {
        return safe;
    }
    let kept: String = safe.chars().take(BRIEF - 1).collect();
    format!("{kept}…")
}

/// Tags in a cell: each one brief, and all of them.
#[must_use]
pub fn brief_tags(tags: &[String]) -> String {
    let mut shown = String::new();
    for (number, tag) in tags.iter().enumerate() {
        if shown.chars().count() > 2 * BRIEF {
            return format!("{shown} and {} more", tags.len() - number);
        }
        let space = if number == 0 { "" } else { " " };
        shown = format!("{shown}{space}{}", brief(tag));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_do_not_break_a_table() {
        assert_eq!(brief("short"), "short");
        assert_eq!(brief(&"ä".repeat(200)).chars().count(), BRIEF);
        let tags: Vec<String> = (0..100).map(|n| format!("{n}-{}", "x".repeat(100))).collect();
        let shown = brief_tags(&tags);
        assert!(shown.chars().count() < 4 * BRIEF && shown.ends_with("more"), "{shown}");
        assert_eq!(brief_tags(&["a".to_owned(), "b".to_owned()]), "a b");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(safe("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(safe("Grüße"), "Grüße");
    }

    #[test]
    fn one_of_a_thing_is_not_many() {
        assert_eq!(counted(1, "snapshot"), "1 snapshot");
        assert_eq!(counted(2000, "snapshot"), "2 000 snapshots");
    }

    #[test]
    fn tables_have_a_header_and_rows() {
        let mut table = table(&["name", "records"], &[1]);
        table.add_row(vec!["t", "12"]);
        let text = render(&table);
        assert!(text.contains("name") && text.contains("12"), "{text}");
    }
}
