//! `stats`: what the repository takes.

use crate::{
    cli::{
        context::Context,
        exit::{Failure, Status},
        show::{render, table},
        units::{show_count, show_size},
    },
    ops::list::stats,
};

pub(super) fn run(context: &Context) -> Result<Status, Failure> {
    let repo = context.open()?;
    let stats = stats(&repo)?;
    if context.json {
        context.out.json(&stats);
        return Ok(Status::Done);
    }
    let mut rows = table(&["what", "how much"], &[1]);
    for (what, how_much) in [
        ("snapshots", show_count(stats.snapshots as u64)),
        ("layers", show_count(stats.layers as u64)),
        ("packs", show_count(stats.packs)),
        ("chunks", show_count(stats.chunks)),
        ("stored", show_size(stats.stored_bytes)),
        ("chunks before compression", show_size(stats.plain_bytes)),
        ("all snapshots if restored", show_size(stats.restore_bytes)),
    ] {
        rows.add_row(vec![what.to_owned(), how_much]);
    }
    context.out.line(render(&rows));
    Ok(Status::Done)
}
