//! The interface against its own document, asked by a program that does not know it.

use crate::world::{ROUTINE, World};
use std::{path::Path, process::Command};

#[test]
#[ignore = "needs schemathesis"]
fn no_answer_is_an_error_of_the_service_or_other_than_the_document_says() {
    let mut world = World::new();
    world.configure(ROUTINE, "  http:\n    rate:\n      white-list: ['127.0.0.1']\n");
    world.start();
    world.back_up("accounts", "full");
    let parts = std::env::var_os("REKEEP_PARTS").expect("REKEEP_PARTS says where parts lie");
    let ran = Command::new(Path::new(&parts).join("schemathesis/bin/st"))
        .arg("run")
        .arg(format!("http://{}/api-docs/", world.address()))
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        // What reads the file again would bring back what was there before.
        // The same questions each time, so that a failure is somebody's change.
        .args(["--generation-deterministic", "--seed", "1"])
        .args(["--max-examples", "12", "--exclude-path", "/v1/config/apply", "--suppress-health-check", "all"])
        .current_dir(world.path(""))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{told}");
    world.ask("GET", "/health", None).is(200);
}
