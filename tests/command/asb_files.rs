//! Files of Aerospike's backup tools by the command: their keys, pipes, and looking at them.

use crate::world::World;
use serde_json::json;
use std::{
    io::Write as _,
    process::{Output, Stdio},
};

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/asb/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_key_of_encrypted_files_comes_from_a_file_a_variable_or_a_command() {
    let world = World::new();
    let (url, key) = (format!("asb:{}", fixture("source-ns2.aes128.asb")), fixture("test-only-rsa-key.pem"));
    let pem = std::fs::read_to_string(&key).unwrap();
    let as_of = ["--as-of", "2024-01-01T00:00:00Z"];
    let backup = |more: &[&str]| {
        let line = [&["--json", "backup", &url, "--encrypt", "aes128"][..], &as_of, more].concat();
        world
            .command(&line)
            .env("ASB_KEY", &pem)
            .env("ASB_KEY_BASE64", data_encoding::BASE64.encode(pem.as_bytes()))
            .output()
            .unwrap()
    };
    let print = format!("cat '{key}'");
    let ways: [&[&str]; 4] = [
        &["--encryption-key-file", &key],
        &["--encryption-key-env", "ASB_KEY"],
        &["--encryption-key-env", "ASB_KEY_BASE64"],
        &["--encryption-key-command", &print],
    ];
    let mut records = Vec::new();
    for way in ways {
        let output = backup(way);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{way:?}: {said}");
        assert!(!said.contains("PRIVATE KEY"), "{said}");
        let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        records.push(outcome["records"].as_u64().unwrap());
    }
    assert!(records[0] > 0 && records.iter().all(|of| *of == records[0]), "{records:?}");
    for (way, code, words) in [
        (&["--encryption-key-env", "NOT_THERE"][..], 2, "there is no variable NOT_THERE"),
        (&["--encryption-key-command", "exit 3"], 1, "the encryption key command"),
        (&["--encryption-key-command", "echo no key"], 1, "no RSA private key"),
        (&[], 1, "key"),
    ] {
        let output = backup(way);
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_ne!(output.status.code(), Some(0), "{way:?}");
        assert!(output.status.code() <= Some(code.max(2)) && said.contains(words), "{way:?}: {said}");
    }
}

fn fed(world: &World, line: &[&str], input: &[u8]) -> Output {
    let mut child =
        world.command(line).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_file_comes_through_a_pipe_and_goes_into_one() {
    let world = World::new();
    let text = std::fs::read(fixture("source-ns2_00000.asb")).unwrap();
    let output = fed(&world, &["--json", "backup", "asb:-", "--as-of", "2024-01-01T00:00:00Z"], &text);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let from_pipe = outcome["id"].as_str().unwrap().to_owned();
    let file = format!("asb:{}", fixture("source-ns2_00000.asb"));
    let from_file = world.backup(&[&file, "--as-of", "2024-01-01T00:00:00Z"]);
    let written = |id: &str| {
        let output = world.command(&["restore", id, "asb:-"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let (one, other) = (written(&from_pipe), written(&from_file));
    assert!(one.starts_with(b"Version 3.") && one == other, "the same records, the same bytes");
    // And what was written to one pipe is read from another.
    let again = fed(&world, &["--json", "backup", "asb:-", "--as-of", "2024-01-01T00:00:00Z"], &one);
    let outcome_again: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(outcome_again["records"], outcome["records"]);
    let cut = fed(&world, &["backup", "asb:-"], &text[..text.len() / 2]);
    assert_eq!(cut.status.code(), Some(1), "{}", String::from_utf8_lossy(&cut.stderr));
}

#[test]
fn what_every_type_of_key_and_bin_is_shows_by_looking() {
    let world = World::new();
    let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
    let point = r#"{"type":"Point","coordinates":[1,2]}"#;
    let bins = [
        "- N none".to_owned(),
        "- Z yes T".to_owned(),
        "- I i -7".to_owned(),
        "- D d 0.5".to_owned(),
        "- S s 2 a\n".to_owned(),
        format!("- G g {} {point}", point.len()),
        format!("- X x 4 {}", base64(b"abc")),
        format!("- B b 4 {}", base64(&[1, 2, 3])),
        "- B! raw 3 \n\n\n".to_owned(),
    ];
    let packed = ["J", "C", "P", "R", "H", "E", "Y", "M", "L"]
        .map(|letter| format!("- {letter} {} 4 {}", letter.to_lowercase(), base64(&[0x90, 0, 0])));
    let all: Vec<String> = bins.into_iter().chain(packed).collect();
    let keys = [
        "I 5",
        "D 1.5",
        "S 3 a\nb",
        &format!("X 4 {}", base64(b"abc")),
        &format!("B 4 {}", base64(&[1, 2, 3])),
        "B! 2 \n\n",
    ];
    let mut text =
        "Version 3.3\n# namespace n\n# first-file\n* i n s index N 1 i N\n* u L m.lua 3 a\nb\n* q what\n".to_owned();
    for (number, key) in keys.iter().enumerate() {
        let digest = base64(&[number as u8; 20]);
        text += &format!("+ k {key}\n+ n n\n+ d {digest}\n+ s s\n+ g 1\n+ t {}\n+ b {}\n", number * 100, all.len());
        text += &all.join("\n");
        text += "\n";
    }
    text += &format!("+ n n\n+ d {}\n+ g 1\n+ t 0\n+ b 0\n", base64(&[99; 20]));
    std::fs::write(world.path("all.asb"), &text).unwrap();
    let seen = world.json(&["inspect", "asb:all.asb"]);
    assert_eq!(seen["sound"], true, "{seen}");
    let of = &seen["namespaces"][0];
    assert_eq!(
        of["bins"],
        json!({
            "none": 6, "boolean": 6, "integer": 6, "float": 6, "string": 12, "GeoJSON": 6, "blob": 12,
            "language blob": 36, "HLL": 6, "map": 6, "list": 6,
        }),
        "{of}"
    );
    assert_eq!((&of["records"], &of["with_user_key"], &of["without_bins"]), (&json!(7), &json!(6), &json!(1)));
    assert_eq!((&of["expiring"], &of["sets"]), (&json!(5), &json!({ "": 1, "s": 6 })));
    assert_eq!((of["indexes"].as_array().unwrap().len(), of["modules"].as_array().unwrap().len()), (1, 1));
    assert_eq!((&of["unknown_lines"], &of["unknown"]), (&json!(1), &json!(["* q what"])));
    let words = world.ok(&["inspect", "asb:all.asb"]).out;
    for part in ["version 3.3", "namespace n", "bins of type HLL: 6", "of no known kind: * q what", "UDF module m.lua"]
    {
        assert!(words.contains(part), "{part}: {words}");
    }
}
