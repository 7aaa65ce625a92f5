//! A report as a page to print: one file that asks for nothing else.

use crate::{
    record::Timestamp,
    repo::{RepoId, drills::KeptDrill},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = "
body { font: 11pt/1.45 system-ui, sans-serif; color: #1a1a1a; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem; }
.passed { color: #0a6b2d; } .failed { color: #a8121a; }
.result { font-size: 1.3rem; font-weight: 700; border: 2px solid; border-radius: .4rem; padding: .2rem .8rem; display: inline-block; margin: .8rem 0; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #ddd; }
th { font-weight: 600; white-space: nowrap; } td { overflow-wrap: anywhere; white-space: pre-wrap; } td.n { text-align: right; white-space: nowrap; }
code { font: .92em ui-monospace, monospace; overflow-wrap: anywhere; }
footer { margin-top: 2rem; font-size: .85rem; color: #444; }
@page { margin: 18mm; } @media print { body { margin: 0; max-width: none; } tr { break-inside: avoid; } }
";

/// A length of time as people read it.
fn length(millis: u64) -> String {
    let seconds = millis / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match seconds {
        0..60 => format!("{}.{:03} s", seconds, millis % 1000),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Text in which nothing changes the direction of what stands around it, and controls are seen.
fn told(text: &str) -> Markup {
    let seen: String = text
        .chars()
        .map(|c| match c {
            '\n' | '\t' => c.to_string(),
            c if c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                c.escape_unicode().to_string()
            }
            c => c.to_string(),
        })
        .collect();
    html! { bdi { (seen) } }
}

fn time(at: Timestamp) -> Markup {
    html! { time datetime=(at.to_string()) { (at.to_string()) } }
}

fn row(head: &str, cell: &Markup) -> Markup {
    html! { tr { th scope="row" { (head) } td { (cell) } } }
}

/// The page of a report. `problems` is what was found wrong with it or with its chain.
#[must_use]
pub fn page(repository: &RepoId, kept: &KeptDrill, problems: &[String]) -> String {
    let report = &kept.report;
    let result = if report.passed { "passed" } else { "failed" };
    let goal = |goal: Option<u64>| goal.map_or_else(String::new, |goal| format!(" (goal: {})", length(goal)));
    let rto = report.rto_millis.map_or_else(|| "not everything came back".to_owned(), length);
    let sample = report.sample.map_or_else(
        || "all records".to_owned(),
        |sample| {
            format!(
                "a sample: {:.3} % of the records, drawn by their keys",
                sample.share as f64 / u64::MAX as f64 * 100.0
            )
        },
    );
    let source = format!("{}:{}", report.source.connector, report.source.name);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Restore drill " (kept.name.to_string()) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { h1 { "Restore drill" } p { (told(&source)) ", " (time(report.started)) } }
                main {
                    p class={ "result " (result) } { @if report.passed { "PASSED" } @else { "FAILED" } }
                    h2 { "Summary" }
                    table { tbody {
                        (row("Recovery point", &html! { (length(report.rpo_millis)) " before the drill" (goal(report.goals.rpo_millis)) }))
                        (row("Recovery time", &html! { (rto) (goal(report.goals.rto_millis)) }))
                        (row("Restored", &html! { (report.records) " records, " (report.bytes) " bytes" }))
                        (row("Compared", &html! { (report.compared) " records with the snapshot, " (report.different) " differ" }))
                        (row("Extent", &html! { (sample) }))
                    } }
                    h2 { "Checks" }
                    table {
                        thead { tr { th scope="col" { "Check" } th scope="col" { "Result" } th scope="col" { "Found" } th scope="col" { "Took" } } }
                        tbody { @for check in &report.checks { tr {
                            th scope="row" { (told(&check.name)) }
                            td class=(if check.passed { "passed" } else { "failed" }) { @if check.passed { "passed" } @else { "FAILED" } }
                            td { (told(&check.words)) }
                            td class="n" { (length(check.millis)) }
                        } } }
                    }
                    h2 { "What was restored" }
                    table { tbody {
                        (row("Source", &told(&source)))
                        (row("Snapshot", &html! { code { (report.snapshot.to_string()) } }))
                        (row("State of", &time(report.snapshot_end)))
                        (row("Repository", &html! { code { (repository.to_string()) } " at " (told(&report.place)) }))
                        (row("Restored to", &told(&report.target)))
                        (row("On host", &told(&report.host)))
                        (row("By", &html! { (told(&report.program.name)) " " (told(&report.program.version)) }))
                        (row("From", &time(report.started)))
                        (row("To", &time(report.finished)))
                    } }
                    h2 { "Collections" }
                    table {
                        thead { tr { th scope="col" { "Collection" } th scope="col" { "Records" } th scope="col" { "Bytes" } } }
                        tbody { @for collection in &report.collections { tr {
                            th scope="row" { (told(&collection.name)) } td class="n" { (collection.records) } td class="n" { (collection.bytes) }
                        } } }
                    }
                    @if report.collections_left_out > 0 { p { "and " (report.collections_left_out) " more" } }
                    @if !report.notes.is_empty() {
                        h2 { "Notes" }
                        ul { @for note in &report.notes { li { (told(note)) } } }
                    }
                    @if !problems.is_empty() {
                        h2 class="failed" { "What is wrong with the chain of reports" }
                        ul { @for problem in problems { li { (told(problem)) } } }
                    }
                }
                footer {
                    p { "Report " code { (kept.name.to_string()) } ", signed with the operator's key of the repository, BLAKE3 " code { (kept.hash) } "." }
                    p { "The report before it: " @match &report.previous { Some(hash) => { "BLAKE3 " code { (hash) } } None => { "none" } } "." }
                    p { "Whoever has the repository and one of its keys checks this page with " code { "rekeep drill show " (kept.name.to_string()) } "." }
                }
            }
        }
    }
    .into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_at_a_glance() {
        let shown = [1, 61_000, 3_660_000, 90_000_000].map(length);
        assert_eq!(shown, ["0.001 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn what_a_name_holds_is_shown_and_does_nothing() {
        let shown = told("<script>\u{202e}evil\u{7}").into_string();
        assert_eq!(shown, "<bdi>&lt;script&gt;\\u{202e}evil\\u{7}</bdi>");
    }
}
