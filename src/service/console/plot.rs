//! Pictures, drawn here: growth as lines, a timeline as bars. Each says in words what it shows.

use super::{
    shelf::Mark,
    show::{date, size},
};
use crate::{record::Timestamp, repo::manifest::Kind};
use maud::{Markup, html};

/// Points of a line and bars of a timeline at most.
const COLUMNS: usize = 240;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 150.0;
/// Where lines are drawn: left, right, top, bottom.
const FRAME: (f64, f64, f64, f64) = (4.0, 556.0, 12.0, 122.0);

/// A line over time.
pub(super) struct Line<'l> {
    /// What it is.
    pub(super) title: &'l str,
    /// The colour's class.
    pub(super) class: &'l str,
    /// When, and how many bytes; in order.
    pub(super) points: Vec<(Timestamp, u64)>,
}

/// At most so many points, the last of each stretch.
fn thinned(points: &[(Timestamp, u64)]) -> Vec<(Timestamp, u64)> {
    if points.len() <= COLUMNS {
        return points.to_vec();
    }
    (1..=COLUMNS).map(|column| points[column * points.len() / COLUMNS - 1]).collect()
}

/// Draws a line.
pub(super) fn line(line: &Line<'_>) -> Markup {
    let points = thinned(&line.points);
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return html! {} };
    let most = points.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0).max(1);
    let span = (last.0.as_millis() - first.0.as_millis()).max(1) as f64;
    let (left, right, top, bottom) = FRAME;
    let at = |(time, bytes): &(Timestamp, u64)| {
        let share = (time.as_millis() - first.0.as_millis()) as f64 / span;
        let x = if points.len() == 1 { f64::midpoint(left, right) } else { left + share * (right - left) };
        (x, bottom - *bytes as f64 / most as f64 * (bottom - top))
    };
    let mut path = String::new();
    for (number, point) in points.iter().enumerate() {
        let (x, y) = at(point);
        path.push_str(&format!("{}{x:.1} {y:.1}", if number == 0 { "M" } else { "L" }));
    }
    let (end_x, end_y) = at(last);
    let (begin_x, _) = at(first);
    let words = format!(
        "{}: {} at {}, {} at {}, {} at most",
        line.title,
        size(first.1),
        date(first.0),
        size(last.1),
        date(last.0),
        size(most)
    );
    html! {
        figure.plot {
            figcaption { span { (line.title) } strong { (size(last.1)) } }
            svg class={ "line " (line.class) } viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(words) preserveAspectRatio="none" {
                @for share in [0.0, 0.5, 1.0] {
                    @let y = bottom - share * (bottom - top);
                    line.grid x1=(left) x2=(right) y1=(y) y2=(y) {}
                }
                path.area d={ (path) "L" (format!("{end_x:.1}")) " " (bottom) "L" (format!("{begin_x:.1}")) " " (bottom) "Z" } {}
                path.stroke d=(path) {}
                circle.end cx=(format!("{end_x:.1}")) cy=(format!("{end_y:.1}")) r="3.5" {}
            }
            div.axis aria-hidden="true" { span { (date(first.0)) } span { "at most " (size(most)) } span { (date(last.0)) } }
        }
    }
}

/// What a bar of a timeline stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bar {
    Full,
    Differential,
    Incremental,
    Incomplete,
    /// Retention drops it next.
    Going,
    /// Runs that were due and left nothing.
    Gap,
}

impl Bar {
    pub(super) fn of(mark: &Mark) -> Self {
        match (mark.complete, mark.kind) {
            (false, _) => Self::Incomplete,
            (true, Kind::Full) => Self::Full,
            (true, Kind::Differential) => Self::Differential,
            // A stream goes on from what was before it.
            (true, Kind::Incremental | Kind::Journal) => Self::Incremental,
        }
    }

    const fn class(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Differential => "differential",
            Self::Incremental => "incremental",
            Self::Incomplete => "incomplete",
            Self::Going => "going",
            Self::Gap => "gap",
        }
    }

    /// Of two in one column the one that is seen.
    const fn rank(self) -> u8 {
        match self {
            Self::Incomplete => 5,
            Self::Full => 4,
            Self::Differential => 3,
            Self::Incremental => 2,
            Self::Going => 1,
            Self::Gap => 0,
        }
    }
}

/// How high bars are, by what their snapshots added: a hundred times as much is seen, and a tenth, too.
pub(super) struct Heights {
    low: f64,
    high: f64,
}

fn log(bytes: u64) -> f64 {
    (bytes.max(1) as f64).ln()
}

impl Heights {
    pub(super) fn of(marks: &[Mark]) -> Self {
        let added = || marks.iter().map(|mark| mark.added);
        Self { low: log(added().min().unwrap_or(0)) - 1.0, high: log(added().max().unwrap_or(0)) }
    }

    /// The share of the whole height.
    pub(super) fn share(&self, mark: &Mark) -> f64 {
        ((log(mark.added) - self.low) / (self.high - self.low).max(1.0)).clamp(0.0, 1.0)
    }
}

/// Draws snapshots as bars along time: when, what, and how high of all.
pub(super) fn timeline(bars: &[(Timestamp, Bar, f64)], words: &str) -> Markup {
    let (Some((first, ..)), Some((last, ..))) = (bars.first(), bars.last()) else { return html! {} };
    let span = (last.as_millis() - first.as_millis()).max(1) as f64;
    let mut columns: Vec<Option<(Bar, f64)>> = vec![None; COLUMNS];
    for (time, bar, height) in bars {
        let share = (time.as_millis() - first.as_millis()) as f64 / span;
        let column = ((share * (COLUMNS - 1) as f64) as usize).min(COLUMNS - 1);
        let kept = columns[column].get_or_insert((*bar, *height));
        if kept.0.rank() < bar.rank() {
            kept.0 = *bar;
        }
        kept.1 = kept.1.max(*height);
    }
    html! {
        svg.timeline viewBox="0 0 960 56" role="img" aria-label=(words) preserveAspectRatio="none" {
            line.grid x1="0" x2="960" y1="54" y2="54" {}
            @for (column, bar) in columns.iter().enumerate() {
                @if let Some((bar, share)) = bar {
                    @let height = if *bar == Bar::Gap { 4.0 } else { 8.0 + 42.0 * share };
                    rect class=(bar.class()) x=(column * 4) y=(format!("{:.1}", 53.0 - height)) width="3.2" height=(format!("{height:.1}")) rx="1" {}
                }
            }
        }
        div.axis aria-hidden="true" { span { (date(*first)) } span { (date(*last)) } }
    }
}

/// The newest snapshots of a source, as small as can be.
pub(super) fn strip(marks: &[Mark]) -> Markup {
    const SHOWN: usize = 32;
    let shown = &marks[marks.len().saturating_sub(SHOWN)..];
    let from = SHOWN - shown.len();
    let heights = Heights::of(shown);
    html! {
        svg.strip viewBox="0 0 128 24" width="128" height="24" aria-hidden="true" {
            @for (at, mark) in shown.iter().enumerate() {
                @let height = 4.0 + 18.0 * heights.share(mark);
                rect class=(Bar::of(mark).class()) x=((from + at) * 4) y=(format!("{:.1}", 23.0 - height)) width="3" height=(format!("{height:.1}")) rx="1" {}
            }
        }
    }
}
