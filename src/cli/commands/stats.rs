//! `stats`: what the repository takes, and what that costs.

use crate::{
    cli::{
        context::{Context, io_error},
        exit::{Failure, Status},
        interrupt,
        show::{render, safe, table},
        units::{show_count, show_size},
    },
    ops::{
        cost::{Costs, PRICES, Prices, costs},
        stats::stats,
    },
};
use clap::Args;
use std::path::PathBuf;

/// `stats`.
#[derive(Debug, Default, Args)]
pub struct StatsArgs {
    /// Say what keeping the repository costs in a month, and what reading all of it back costs; needs no password
    /// (docs/cold-storage.md)
    #[arg(long)]
    cost: bool,
    /// A table of prices of your own
    #[arg(long, value_name = "FILE", requires = "cost")]
    prices: Option<PathBuf>,
    /// The class of everything where a listing does not tell [default: STANDARD, or LOCAL in a folder]
    #[arg(long, value_name = "CLASS", requires = "cost")]
    cost_class: Option<String>,
    /// Print the table of prices that is built in, to be kept in a file and edited
    #[arg(long, conflicts_with = "cost")]
    print_prices: bool,
}

pub(super) fn run(args: &StatsArgs, context: &Context) -> Result<Status, Failure> {
    if args.print_prices {
        context.out.text(PRICES);
        return Ok(Status::Done);
    }
    if args.cost {
        return cost(args, context);
    }
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
        ("of it parity", show_size(stats.parity_bytes)),
        ("chunks before compression", show_size(stats.plain_bytes)),
        ("all snapshots if restored", show_size(stats.restore_bytes)),
    ] {
        rows.add_row(vec![what.to_owned(), how_much]);
    }
    context.out.line(render(&rows));
    Ok(Status::Done)
}

fn cost(args: &StatsArgs, context: &Context) -> Result<Status, Failure> {
    let prices = match &args.prices {
        None => Prices::parse(PRICES)?,
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|error| io_error("reading", file, error))?;
            Prices::parse(&text)?
        }
    };
    let storage = context.storage()?;
    crate::repo::keys::read_config(&storage)?;
    interrupt::listen();
    let usual = if storage.folder().is_some() { "LOCAL" } else { "STANDARD" };
    let class = args.cost_class.as_deref().unwrap_or(usual);
    let costs = costs(&storage, &prices, class, &context.reporter)?;
    context.reporter.finish();
    if context.json {
        context.out.json(&costs);
    } else {
        costs.unpriced.iter().for_each(|class| {
            context
                .reporter
                .problem(&format!("the table of prices knows no class {}, which counts as nothing", safe(class)));
        });
        context.out.text(&shown(&costs));
    }
    Ok(Status::complete(costs.unpriced.is_empty()))
}

fn shown(costs: &Costs) -> String {
    let money = |amount: f64| format!("{amount:.2} {}", safe(&costs.currency));
    let mut rows = table(&["class", "objects", "bytes", "billed", "a month", "read back"], &[1, 2, 3, 4, 5]);
    for class in &costs.classes {
        let known = |amount: Option<f64>| amount.map_or_else(|| "?".to_owned(), &money);
        rows.add_row(vec![
            safe(&class.class),
            show_count(class.objects),
            show_size(class.bytes),
            show_size(class.billed_bytes),
            known(class.month),
            known(class.read_back),
        ]);
    }
    let note = if costs.prices.is_empty() { String::new() } else { format!("\nprices: {}\n", safe(&costs.prices)) };
    format!(
        "{}\nkeeping costs {} a month; reading all of it back {}, of which {} for leaving the service{note}",
        render(&rows),
        money(costs.month),
        money(costs.read_back),
        money(costs.out)
    ) + if note.is_empty() { "\n" } else { "" }
}
