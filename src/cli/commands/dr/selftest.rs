//! `dr test`: tries the whole way, with a dataset of its own.

use super::{
    backup_id, create,
    place::{Setup, noted, url_of},
    verify::bring_back,
};
use crate::{
    cli::{
        context::Context,
        exit::{CliError, Failure, Status},
    },
    connector::Options,
    ops::{
        backup::{BackupOptions, ParentChoice, backup},
        check_storage::check_storage,
        forget::{execute, plan_named},
    },
    repo::storage::TrialOptions,
};
use serde_json::json;
use std::{fs, io, path::Path};

/// What the test's own backup is noted as.
const NOTE: &str = "self-test";

/// Writes a dataset of version 4 with one block.
fn make(root: &Path) -> io::Result<()> {
    const BRANCH: &str = "00000000000000000000000000000001";
    let (meta, branch) = (root.join("_deeplake_log/_meta"), root.join("_deeplake_log").join(BRANCH));
    let block = "tested/aa/00000000000000000000000000000";
    for folder in [&meta, &branch, &root.join("tested/aa")] {
        fs::create_dir_all(folder)?;
    }
    fs::write(root.join(block), b"tested")?;
    let begun = format!("{{\"createBranch\":{{\"id\":\"{BRANCH}\",\"name\":\"main\"}}}}\n");
    fs::write(meta.join("0000000001c00000000.jsonl"), begun)?;
    let line = format!("{{\"addBlock\":{{\"d\":{{\"p\":[\"\"],\"b\":[6],\"x\":\"{block}\"}},\"c\":1}}}}\n");
    fs::write(branch.join("0000000001m00000000.jsonl"), line)?;
    for folder in [&meta, &branch] {
        fs::write(folder.join("next_base"), 2_u64.to_le_bytes())?;
    }
    Ok(())
}

pub(super) fn run(setup: &Setup, context: &Context) -> Result<Status, Failure> {
    let mut steps: Vec<(&str, Result<String, String>)> = Vec::new();
    let storage = setup.storage(context)?;
    let check = check_storage(&storage, &TrialOptions { connections: 0, object_bytes: 0 })?;
    let usable = if check.usable {
        Ok(check.location.clone())
    } else {
        Err(format!("{} cannot keep a repository", check.location))
    };
    let goes_on = usable.is_ok();
    steps.push(("storage", usable));
    if goes_on {
        let scratch = tempfile::Builder::new()
            .prefix("rekeep-dr-test-")
            .tempdir()
            .map_err(|error| CliError::io("make", "a scratch folder", error))?;
        let (from, to) = (scratch.path().join("lake/rekeep/self-test"), scratch.path().join("back"));
        make(&from).map_err(|error| CliError::io("write", from.display().to_string(), error))?;
        let (repo, _) = create::open_or_make(setup, context)?;
        steps.push(("repository", Ok(repo.id().to_string())));
        let url = url_of(&scratch.path().join("lake").display().to_string());
        let mut options = Options::default();
        options.add(&json!({ "note": { "type": "full", "done": "full", "description": NOTE } }))?;
        let source = context.registry.source(&url, &options)?;
        let backup_options = BackupOptions { parent: ParentChoice::None, url, ..BackupOptions::default() };
        let outcome = backup(&repo, source.as_ref(), &backup_options, &context.reporter)?;
        let complete =
            if outcome.complete { Ok(format!("{} files", outcome.records)) } else { Err(outcome.problems.join("; ")) };
        steps.push(("backup", complete));
        let made = backup_id::all(&repo)?.into_iter().find(|one| Some(one.id) == outcome.id);
        if let Some(snapshot) = made.filter(|one| noted(one, "description") == Some(NOTE)) {
            let wrong = bring_back(&repo, &snapshot, &to, setup, context)?;
            let same = fs::read(to.join("rekeep/self-test/tested/aa/00000000000000000000000000000"))
                .is_ok_and(|is| is == b"tested");
            steps.push((
                "restore",
                match (wrong.is_empty(), same) {
                    (true, true) => Ok("the dataset came back".to_owned()),
                    (true, false) => Err("what came back is not what was backed up".to_owned()),
                    (false, _) => Err(wrong.join("; ")),
                },
            ));
            let plan = plan_named(&repo, std::slice::from_ref(&snapshot), true)?;
            let dropped = execute(&repo, plan, &context.reporter)?;
            let gone = dropped.failed.is_empty();
            steps.push((
                "delete",
                if gone { Ok("the test's backup is dropped".to_owned()) } else { Err("it stays".to_owned()) },
            ));
        }
    }
    context.reporter.finish();
    let good = steps.iter().all(|(_, result)| result.is_ok());
    if context.json {
        let steps: Vec<_> = steps
            .iter()
            .map(|(name, result)| json!({ "step": name, "ok": result.is_ok(), "words": result.as_ref().unwrap_or_else(|words| words) }))
            .collect();
        context.out.json(&json!({ "ok": good, "steps": steps }));
    } else {
        for (name, result) in &steps {
            match result {
                Ok(words) => context.out.line(format_args!("ok      {name}: {words}")),
                Err(words) => context.out.line(format_args!("FAILED  {name}: {words}")),
            }
        }
    }
    Ok(if good { Status::Done } else { Status::Bad })
}
