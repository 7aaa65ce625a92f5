//! What of a sample cannot be drawn record by record: collections whose records make sense only together are taken whole, or
//! not at all.

use super::plan::Selected;
use crate::{connector::Target, repo::drills::Sample};

/// Names that are told.
const MAX_NAMES: usize = 20;

/// Draws among such collections, by their names as records are drawn by their keys; one at least where there are no others. Says
/// what was drawn.
pub(super) fn draw(selected: &mut Vec<Selected<'_>>, target: &dyn Target, sample: &Sample) -> Option<String> {
    let whole = |one: &Selected<'_>| !target.stand_alone(&one.target());
    let name = |one: &Selected<'_>| one.collection.name.clone();
    let all: Vec<String> = selected.iter().filter(|one| whole(one)).map(name).collect();
    let mut drawn: Vec<String> = all.iter().filter(|name| sample.means(name.as_bytes())).cloned().collect();
    if drawn.is_empty() && all.len() == selected.len() {
        drawn.extend(all.iter().min_by_key(|name| sample.place(name.as_bytes())).cloned());
    }
    selected.retain(|one| !all.contains(&one.collection.name) || drawn.contains(&one.collection.name));
    for one in selected.iter_mut().filter(|one| drawn.contains(&one.collection.name)) {
        one.filter.take_all_drawn();
    }
    (!all.is_empty()).then(|| words(&drawn, all.len()))
}

fn words(drawn: &[String], of: usize) -> String {
    let named: Vec<&str> = drawn.iter().take(MAX_NAMES).map(String::as_str).collect();
    let more = drawn.len().saturating_sub(MAX_NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let which = if named.is_empty() { String::new() } else { format!(": {}{more}", named.join(", ")) };
    format!(
        "{} of {of} collections whose records make sense only together were drawn, and taken whole{which}",
        drawn.len()
    )
}
