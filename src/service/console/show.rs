//! What people read: text of whoever wrote it, sizes, counts, times. Nothing that is put on a page can stand for anything but
//! itself.

use crate::record::Timestamp;
use maud::{Markup, html};

/// What is shown of a text at most, where nothing else is said.
const MOST_CHARS: usize = 300;

/// Whether a character is not seen, or moves what stands around it.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// Text that somebody wrote: apart from what stands around it, with what is not seen written out, and cut.
pub(super) fn text(text: &str) -> Markup {
    cut(text, MOST_CHARS)
}

/// The same, cut behind so many characters.
pub(super) fn cut(text: &str, most: usize) -> Markup {
    let end = text.char_indices().nth(most).map_or(text.len(), |(at, _)| at);
    let shown = &text[..end];
    html! {
        bdi {
            @for run in runs(shown) {
                @match run {
                    Run::Plain(plain) => (plain),
                    Run::Hidden(c) => span.hidden-char title="a character that is not seen" { "\\u{" (format!("{:x}", u32::from(c))) "}" },
                }
            }
        }
        @if end < text.len() { span.cut { "… " (size(text.len() as u64)) " in all" } }
    }
}

enum Run<'t> {
    Plain(&'t str),
    Hidden(char),
}

fn runs(text: &str) -> Vec<Run<'_>> {
    let mut found = Vec::new();
    let mut from = 0;
    for (at, c) in text.char_indices().filter(|(_, c)| is_hidden(*c)) {
        if from < at {
            found.push(Run::Plain(&text[from..at]));
        }
        found.push(Run::Hidden(c));
        from = at + c.len_utf8();
    }
    if from < text.len() {
        found.push(Run::Plain(&text[from..]));
    }
    found
}

/// The same for where there can be no elements: titles, labels.
pub(super) fn plain(text: &str, most: usize) -> String {
    let mut out = String::new();
    for c in text.chars().take(most) {
        if is_hidden(c) { out.push_str(&format!("\\u{{{:x}}}", u32::from(c))) } else { out.push(c) }
    }
    if text.chars().nth(most).is_some() {
        out.push('…');
    }
    out
}

/// A size: `9.2 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const NAMES: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut name) = (bytes as f64 / 1024.0, 0);
    // 1023.95 would be shown as 1024.0.
    while value >= 1023.95 && name + 1 < NAMES.len() {
        (value, name) = (value / 1024.0, name + 1);
    }
    format!("{value:.1} {}", NAMES[name])
}

/// A count with its thousands apart.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A length of time in its two largest units.
pub(super) fn duration(millis: i64) -> String {
    let seconds = millis.max(0) / 1000;
    match seconds {
        0 if millis > 0 => format!("{millis} ms"),
        0..60 => format!("{seconds} s"),
        60..3600 => two(seconds, 60, "min", 1, "s"),
        3600..172_800 => two(seconds, 3600, "h", 60, "min"),
        _ => two(seconds, 86_400, "d", 3600, "h"),
    }
}

fn two(seconds: i64, large: i64, large_name: &str, small: i64, small_name: &str) -> String {
    let rest = seconds % large / small;
    if rest == 0 {
        return format!("{} {large_name}", seconds / large);
    }
    format!("{} {large_name} {rest} {small_name}", seconds / large)
}

/// A time as a calendar has it, in UTC.
pub(super) fn date(time: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(time.as_millis()) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => time.to_string(),
    }
}

/// The day of a time, in UTC.
pub(super) fn day(time: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(time.as_millis()) {
        Ok(time) => time.strftime("%A, %-d %B %Y").to_string(),
        Err(_) => time.to_string(),
    }
}

/// The time of the day, in UTC.
pub(super) fn clock(time: Timestamp) -> Markup {
    let shown = match jiff::Timestamp::from_millisecond(time.as_millis()) {
        Ok(time) => time.strftime("%H:%M:%S").to_string(),
        Err(_) => time.to_string(),
    };
    html! { time datetime=(time) title={ (date(time)) " UTC" } { (shown) } }
}

/// A time with its date.
pub(super) fn moment(time: Timestamp) -> Markup {
    html! { time datetime=(time) { (date(time)) } }
}

/// How long ago a time was, or how soon it will be.
pub(super) fn ago(time: Timestamp, now: Timestamp) -> Markup {
    let millis = now.as_millis() - time.as_millis();
    let words = match millis {
        0.. if millis < 1000 => "now".to_owned(),
        0.. => format!("{} ago", duration(millis)),
        _ => format!("in {}", duration(-millis / 1000 * 1000)),
    };
    html! { time datetime=(time) title={ (date(time)) " UTC" } { (words) } }
}

/// What is put into an address: everything but letters, digits and a few others is encoded.
pub(super) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stands_for_itself() {
        let shown = text("<script>a</script>\u{202e}gpj.exe\0\n").into_string();
        assert_eq!(shown.matches("\\u{").count(), 3, "{shown}");
        assert!(!shown.contains("<script>") && !shown.contains('\u{202e}') && shown.starts_with("<bdi>&lt;script&gt;"));
        let long = text(&"ä".repeat(10 << 20)).into_string();
        assert!(long.len() < 1000 && long.contains("20.0 MiB in all"), "{long}");
        assert_eq!(plain("a\u{200b}b\u{2066}", 3), "a\\u{200b}b…");
        assert_eq!(text("שלום 👨\u{200d}👩 e\u{301}").into_string().matches("hidden-char").count(), 1);
    }

    #[test]
    fn numbers_and_times_are_shown_for_people() {
        assert_eq!([0, 1023, 1024, 1 << 30].map(size), ["0 B", "1023 B", "1.0 KiB", "1.0 GiB"]);
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        let lengths = [0, 5, 59_000, 61_000, 7_260_000, 90_000_000 * 24].map(duration);
        assert_eq!(lengths, ["0 s", "5 ms", "59 s", "1 min 1 s", "2 h 1 min", "25 d"]);
        let now = Timestamp::from_millis(1_800_000_000_000);
        let of = |millis: i64| ago(Timestamp::from_millis(now.as_millis() - millis), now).into_string();
        assert!(of(0).contains(">now<") && of(5000).contains(">5 s ago<") && of(-60_000).contains(">in 1 min<"));
        assert_eq!(encoded("a/b%\u{202e}"), "a%2Fb%25%E2%80%AE");
    }
}
