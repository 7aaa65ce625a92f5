//! `demo`: rekeep at work, step by step, on a database it makes itself.

use super::history;
use crate::{
    cli::{
        context::{Context, io_error, threads},
        exit::{Failure, Kept as _, Status},
        interrupt,
        show::{render, table},
        units::{show_count, show_duration, show_size},
    },
    ops::demo::{Cost, DemoEvent, DemoOptions, DemoPlace, DemoVerb, Step, demo},
};
use clap::Args;
use std::path::{Path, PathBuf};

/// `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How many records the database has
    #[arg(
        long,
        value_name = "N",
        default_value_t = 200_000,
        value_parser = clap::value_parser!(u64).range(1000..=100_000_000)
    )]
    pub records: u64,
    /// Work in this new or empty directory [default: a new temporary one, left for inspection]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

pub(super) fn run(args: &DemoArgs, context: &Context) -> Result<Status, Failure> {
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => tempfile::Builder::new()
            .prefix("rekeep-demo-")
            .tempdir()
            .map_err(|error| io_error("making a directory in", &std::env::temp_dir(), error))?
            .keep(),
    };
    interrupt::listen();
    let mut open = context.open_options()?;
    // Everything of the demonstration is in one place, its catalog too.
    open.cache_dir = dir.join("cache");
    let options = DemoOptions { dir: dir.clone(), records: args.records, parallel: threads(None), spell };
    let talk = !context.json && !context.quiet;
    if talk {
        context.out.line(format_args!("Everything happens in {} and is left there.", dir.display()));
        context.out.flush();
    }
    let outcome = demo(&options, &open, &context.reporter, &mut |event| {
        context.reporter.finish();
        if talk {
            tell(&event, context);
        }
    })
    .kept("what was done so far is left in the demonstration's directory")?;
    if context.json {
        context.out.json(&outcome);
        return Ok(Status::Done);
    }
    if talk {
        context.out.line("\nWhat each step cost:\n");
        context.out.line(costs(&outcome.steps));
    }
    context.out.line(format_args!(
        "{} restored records equal those of that time. Look around: {}",
        show_count(outcome.records_equal),
        dir.display()
    ));
    Ok(Status::Done)
}

/// What a person would type for a verb.
fn spell(place: &DemoPlace, verb: &DemoVerb<'_>) -> String {
    let words = match verb {
        DemoVerb::Init => "init".to_owned(),
        DemoVerb::Backup(url) => format!("backup {}", shell_word(url)),
        DemoVerb::Restore(time, url) => format!("restore @{time} {}", shell_word(url)),
        DemoVerb::History(collection, key) => format!("history {collection} {key}"),
        DemoVerb::Verify => "verify --read-data --restore".to_owned(),
    };
    let quoted = |path: &Path| shell_word(&path.to_string_lossy());
    format!("rekeep -r {} --password-file {} {words}", quoted(&place.repository), quoted(&place.password_file))
}

/// A word as a shell takes it.
fn shell_word(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:%@=+,".contains(&byte);
    if word.bytes().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn tell(event: &DemoEvent<'_>, context: &Context) {
    match event {
        DemoEvent::Begin(number, title, command) => {
            context.out.line(format_args!("\n{number}. {title}"));
            if let Some(command) = command {
                context.out.line(format_args!("   $ {command}"));
            }
        }
        DemoEvent::End(step) => {
            context.out.line(format_args!("   {}", step.result));
            context.out.line(format_args!("   {}", cost(&step.cost)));
        }
        DemoEvent::History(found) => {
            let text = history::show(found);
            let indented: Vec<String> = text.trim_end().lines().map(|line| format!("   | {line}")).collect();
            context.out.line(indented.join("\n"));
        }
    }
    context.out.flush();
}

fn cost(cost: &Cost) -> String {
    let mut text = format!("{} records", show_count(cost.records));
    if cost.bytes_read > 0 {
        text.push_str(&format!(", {} read", show_size(cost.bytes_read)));
    }
    if cost.bytes_stored > 0 {
        text.push_str(&format!(", {} stored", show_size(cost.bytes_stored)));
    }
    let (took, memory) = (show_duration(cost.seconds), show_size(cost.peak_memory_bytes));
    text.push_str(&format!(", {took}, peak memory {memory}"));
    text
}

fn costs(steps: &[Step]) -> String {
    let mut rows = table(&["step", "records", "bytes read", "bytes stored", "time", "peak memory"], &[1, 2, 3, 4, 5]);
    for (number, step) in steps.iter().enumerate() {
        let name = step.title.split(':').next().unwrap_or_default();
        rows.add_row(vec![
            format!("{}. {name}", number + 1),
            show_count(step.cost.records),
            show_size(step.cost.bytes_read),
            show_size(step.cost.bytes_stored),
            show_duration(step.cost.seconds),
            show_size(step.cost.peak_memory_bytes),
        ]);
    }
    render(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_blanks_are_quoted() {
        assert_eq!(shell_word("/tmp/a.db"), "/tmp/a.db");
        assert_eq!(shell_word("a b'c"), r"'a b'\''c'");
    }
}
