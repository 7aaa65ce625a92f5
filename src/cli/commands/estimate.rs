//! `backup --estimate`: says what a full backup would come to.

use super::backup::BackupArgs;
use crate::{
    cli::{
        context::Context,
        exit::{Failure, Status},
        interrupt,
        show::safe,
        units::{show_count, show_duration, show_size},
    },
    ops::{
        backup::BackupOptions,
        estimate::{EstimateOptions, EstimateOutcome, EstimatedCollection, SAMPLE_RECORDS, estimate},
    },
};
use std::fmt::Write as _;

/// Sets that are named; the others are counted.
const MAX_SETS: usize = 20;

pub(super) fn run(args: &BackupArgs, context: &Context) -> Result<Status, Failure> {
    let mut options = args.source_options()?;
    options.set("sample_records", SAMPLE_RECORDS);
    options.make_ambient(["sample_records"]);
    let source = context.source(&args.url(), options, &args.aerospike.read.connect)?;
    interrupt::listen();
    let options = EstimateOptions {
        compression: args.compression,
        parallel: args.parallel.map_or_else(|| BackupOptions::default().parallel, usize::from),
        read_limit: context.read_limit,
        records_per_second: args.aerospike.read.records_per_second.filter(|limit| *limit > 0),
    };
    let outcome = estimate(source.as_ref(), &options, &context.reporter)?;
    context.reporter.finish();
    if context.json {
        context.out.json(&outcome);
    } else {
        outcome.notes.iter().for_each(|note| context.reporter.note(note));
        context.out.text(&summary(&outcome));
    }
    Ok(Status::Done)
}

fn summary(outcome: &EstimateOutcome) -> String {
    let mut text = String::new();
    for collection in &outcome.collections {
        text.push_str(&line(collection));
        let mut sets: Vec<(&String, &u64)> = collection.sets.iter().collect();
        sets.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        for (set, records) in sets.iter().take(MAX_SETS) {
            let _ = writeln!(text, "  set {}: {} records", safe(set), show_count(**records));
        }
        if sets.len() > MAX_SETS {
            let _ = writeln!(text, "  and {} smaller sets", sets.len() - MAX_SETS);
        }
    }
    let _ = writeln!(
        text,
        "a full backup would read about {} records, {}, and store about {}, in about {}\n\
         nothing was stored",
        show_count(outcome.records),
        show_size(outcome.bytes),
        show_size(outcome.stored_bytes),
        show_duration(outcome.seconds)
    );
    text
}

fn line(collection: &EstimatedCollection) -> String {
    let sample = collection.sample;
    let looked_at = match sample.records {
        0 => "no records".to_owned(),
        records => format!(
            "by {} of them, of {} to {}, {} on average, stored in {}",
            show_count(records),
            show_size(sample.smallest),
            show_size(sample.largest),
            show_size(sample.bytes / records),
            show_size(sample.stored_bytes / records)
        ),
    };
    format!(
        "{}: {} records, {}, stored in {} ({looked_at})\n",
        safe(&collection.name),
        show_count(collection.records),
        show_size(collection.bytes),
        show_size(collection.stored_bytes)
    )
}
