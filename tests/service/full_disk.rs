//! A disk that fills under the state of the service: backups lie elsewhere, and go on.

use crate::{
    client::until,
    small_disk::SmallDisk,
    world::{ROUTINE, World},
};
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use serde_json::{Value as Json, json};
use std::fs;

fn jobs(world: &World) -> Vec<Json> {
    let listed = world.get("/api/v1/jobs");
    listed.as_array().or_else(|| listed["jobs"].as_array()).unwrap().clone()
}

fn backups(world: &World, routine: &str) -> usize {
    world.get(&format!("/v1/backups/full/{routine}")).as_array().unwrap().len()
}

#[test]
#[ignore = "needs service-disk"]
fn a_disk_that_fills_under_the_state_costs_no_backup_and_no_word_of_one() {
    let disk = SmallDisk::open("service-disk");
    let mut world = World::new();
    fs::create_dir(disk.0.join("state")).unwrap();
    std::os::unix::fs::symlink(disk.0.join("state"), world.path("state")).unwrap();
    let (begun, go) = (world.path("begun"), world.path("go"));
    let hook = format!("touch {}; while ! test -e {}; do sleep 0.02; done", begun.display(), go.display());
    // Due once, while there is no room.
    let due = Timestamp::now() + 4.seconds();
    let at = due.to_zoned(TimeZone::UTC);
    let soon = format!(
        "  soon:\n    interval-cron: '{} {} {} * * ?'\n    source: sqlite:{{dir}}/accounts.db\n    storage: local\n    \
         backup-policy: once\n",
        at.second(),
        at.minute(),
        at.hour()
    );
    world.configure(
        &format!("{ROUTINE}    before: [waits]\n{soon}"),
        &format!("  hooks:\n    waits: {{ command: [sh, -c, '{hook}'] }}"),
    );
    world.start();
    world.ask("POST", "/v1/backups/full/accounts", None).is(202);
    until(|| begun.exists().then_some(()));
    disk.fill_up_to(0);
    // One ends now that nothing can be kept of it, and is there.
    fs::write(&go, "").unwrap();
    until(|| (backups(&world, "accounts") == 1).then_some(()));
    let refused = world.ask("POST", "/v1/backups/full/accounts", None).is(500);
    assert!(refused.body.contains("full"), "{refused:?}");
    until(|| (Timestamp::now() > due + 1.second()).then_some(()));
    assert_eq!(backups(&world, "soon"), 0, "nobody could write down that it is to run");
    disk.empty();
    until(|| (backups(&world, "soon") == 1).then_some(()));
    until(|| (jobs(&world).len() == 2 && jobs(&world).iter().all(|job| job["state"] == "success")).then_some(()));
    let metrics = world.ask("GET", "/metrics", None).is(200).body;
    assert!(metrics.contains("backup_operations_total{type=\"full\",status=\"success\"} 2"), "{metrics}");
    let before = jobs(&world);
    world.stop();
    world.start();
    assert_eq!(json!(jobs(&world)), json!(before), "it is written down");
}
