//! The whole job once, as the README shows it.

use crate::world::World;

#[test]
fn the_demonstration_does_the_whole_job() {
    let world = World::empty();
    let outcome = world.json(&["demo", "--records", "5000", "--dir", "demo"]);
    assert_eq!(outcome["records_equal"], 5_000, "{outcome}");
    assert!(outcome["steps"].as_array().unwrap().len() >= 7, "{outcome}");
    // What it leaves behind is a repository that its own words open.
    let repository = outcome["repository"].as_str().unwrap();
    let password = outcome["password_file"].as_str().unwrap();
    let listed = world.json(&["-r", repository, "--password-file", password, "snapshots"]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let shown = world.ok(&["demo", "--records", "2000", "--dir", "again"]);
    shown.says(&["What each step cost", "restored records equal those of that time"]);
}
