//! Bad input: what comes is refused with words, and nothing else happens.

use crate::{
    client::{raw, request, until},
    process::Process,
    world::{ROUTINE, World},
};
use serde_json::Value as Json;
use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

#[test]
fn bad_requests_are_refused_by_statuses_of_their_own() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    let to = world.address();
    let json = [("content-type", "application/json")];
    let ask = |method: &str, path: &str, head: &[(&str, &str)], body: &str| request(to, method, path, head, Some(body));
    let post = "/v1/restore/full";
    ask("POST", post, &[("content-type", "text/plain")], "{}").is(415);
    ask("POST", post, &json, "{").is(400);
    ask("POST", post, &json, "[]").is(400);
    ask("POST", post, &json, "\u{0}").is(400);
    ask("POST", post, &json, r#"{"backup-data-path": 5}"#).is(400);
    ask("POST", post, &json, r#"{"backup-data-path": "../../etc/backup/1"}"#).is(400);
    ask("POST", post, &json, r#"{"backup-data-path": "a/backup/99999999999999999999"}"#).is(400);
    ask("POST", post, &json, &format!(r#"{{"backup-data-path": "{}"}}"#, "x".repeat(10 << 20))).is(413);
    ask("POST", post, &json, &"[".repeat(100_000)).is(400);
    ask("POST", "/v1/restore/timestamp", &json, r#"{"routine": "accounts", "time": 1700000000}"#).is(400);
    ask("POST", "/v1/restore/timestamp", &json, r#"{"routine": "accounts", "time": 1700000000000000000}"#).is(400);
    ask("POST", "/v1/restore/timestamp", &json, r#"{"routine": "accounts", "time": "2026-01-01"}"#).is(400);
    ask("POST", "/v1/restore/timestamp", &json, r#"{"routine": "accounts", "time": 1e300}"#).is(400);
    for path in [
        "/v1/backups/full?from=x",
        "/v1/backups/full?from=-1",
        "/v1/backups/full?from=5&to=4",
        "/v1/backups/full?from=99999999999999999999",
        "/v1/backups/full?odd=1",
        "/v1/restore/jobs?status=odd",
        "/v1/restore/status/x",
        "/v1/restore/status/99999999999999999999",
        "/v1/backups/full/%ff",
        "/v1/retrieve/configuration/accounts/soon",
    ] {
        assert!(!request(to, "GET", path, &[], None).is(400).error().is_empty(), "{path}");
    }
    for delay in ["-1", "x", "99999999999999"] {
        request(to, "POST", &format!("/v1/backups/full/accounts?delay={delay}"), &[], None).is(400);
    }
    request(to, "DELETE", "/v1/config", &[], None).is(405);
    request(to, "GET", "/v1/config/routines/..%2f..%2fetc%2fpasswd", &[], None).is(404);
    request(to, "GET", "/../../etc/passwd", &[], None).is(404);
    assert_eq!(raw(to, b"nonsense\r\n\r\n").status, 400);
    let long = format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    assert_eq!(raw(to, long.as_bytes()).status, 431);
    world.ask("GET", "/health", None).is(200);
}

/// Who sends all of it first, as most clients do, reads why it was refused, and not that somebody closed the connection.
#[test]
fn a_sender_of_too_much_reads_why_it_was_refused() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    let to = world.address();
    let body = "x".repeat(10 << 20);
    let json = "content-type: application/json\r\n";
    let length = format!("content-length: {}\r\n", body.len());
    // Behind it comes what nobody reads: a form without a session, a body where none is wanted, no path at all.
    for (line, head, status) in [
        ("POST /v1/restore/full", format!("{json}{length}"), 413),
        ("PUT /v1/config", format!("{json}{length}"), 413),
        ("POST /console/login", format!("content-type: application/x-www-form-urlencoded\r\n{length}"), 413),
        ("POST /nowhere", length.clone(), 404),
        ("GET /v1/config/policies", length.clone(), 200),
        ("POST /v1/restore/full", format!("x: {}\r\n{length}", "x".repeat(1 << 20)), 431),
    ] {
        for _ in 0..3 {
            let mut stream = TcpStream::connect(to).unwrap();
            stream.write_all(format!("{line} HTTP/1.1\r\nhost: {to}\r\n{head}\r\n").as_bytes()).unwrap();
            stream.write_all(body.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
        }
    }
}

#[test]
fn clients_that_say_nothing_are_given_up_and_many_keep_nobody_out() {
    let mut world = World::new();
    world.configure(ROUTINE, "  http:\n    timeout: 300\n");
    world.start();
    let idle: Vec<TcpStream> = (0..400).filter_map(|_| TcpStream::connect(world.address()).ok()).collect();
    world.ask("GET", "/health", None).is(200);
    for mut stream in idle.into_iter().take(3) {
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let mut rest = Vec::new();
        // The server ends it.
        let _ = stream.read_to_end(&mut rest).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn clients_without_number_leave_files_for_backups() {
    let world = World::new();
    world.configure(&ROUTINE.replace("'0 0 0 1 1 ? 2090'", "'* * * * * ?'"), "  http:\n    timeout: 60000\n");
    let mut process = Process::start_with_files(&world, 192);
    let done = |process: &Process| {
        let jobs = process.ask("GET", "/api/v1/jobs").is(200).json();
        let ended =
            jobs.as_array().unwrap().iter().filter(|job| job["type"] != "incremental" && !job["finished"].is_null());
        ended.map(|job| (job["id"].as_i64().unwrap(), job["state"].as_str().unwrap().to_owned())).collect::<Vec<_>>()
    };
    // Not the first that ended: on a slow machine that is one which was skipped.
    until(|| done(&process).iter().any(|(_, state)| state == "success").then_some(()));
    // Half of them are taken; the system lets about a hundred more wait.
    let idle: Vec<TcpStream> = (0..200).filter_map(|_| TcpStream::connect(process.address()).ok()).collect();
    assert!(idle.len() > 192, "{}", idle.len());
    // They stay, and so does the schedule.
    let snapshots = || std::fs::read_dir(world.path("backups/rekeep/snapshots")).unwrap().count();
    let before = snapshots();
    until(|| (snapshots() >= before + 3).then_some(()));
    drop(idle);
    let ended = until(|| Some(done(&process)).filter(|ended| ended.len() > 3));
    assert!(ended.iter().all(|(_, state)| state == "success" || state == "skipped"), "{ended:?}");
    process.terminate();
    assert_eq!(process.ended(), Some(0));
}

/// Whatever it is that the service is to wait for: a head, the rest of one, a body, and for none of them it waits within this test.
#[cfg(unix)]
#[test]
fn whoever_asks_is_answered_though_all_room_is_taken_by_clients_who_are_waited_for() {
    let world = World::new();
    world.configure(ROUTINE, "  http: { timeout: 3600000, read-timeout: 3600000 }\n");
    let process = Process::start_with_files(&world, 192);
    let begun: [&[u8]; 4] = [
        b"",
        b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nx: ",
        b"POST /v1/restore/full HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
        b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
    ];
    for said in begun {
        let mut waited_for: Vec<TcpStream> = (0..150)
            .map(|_| {
                let mut stream = TcpStream::connect(process.address()).unwrap();
                let _ = stream.write_all(said);
                stream
            })
            .collect();
        for _ in 0..3 {
            process.ask("GET", "/health").is(200);
        }
        // It was the first who had to go.
        let mut first = waited_for.remove(0);
        first.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let mut rest = Vec::new();
        let _ = first.read_to_end(&mut rest);
        assert_eq!(rest.is_empty(), !said.ends_with(b"\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
    }
}

#[test]
fn a_client_who_takes_nothing_of_its_answers_is_given_up() {
    let mut world = World::new();
    world.configure(ROUTINE, "  http:\n    write-timeout: 300\n");
    world.start();
    let mut stream = TcpStream::connect(world.address()).unwrap();
    stream.set_nonblocking(true).unwrap();
    let ask = b"GET /api-docs/openapi.json HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".repeat(100);
    // It asks and asks, and reads nothing: the answers wait at the service, and then nobody is there any more.
    until(|| match stream.write_all(&ask) {
        Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => Some(()),
        _ => None,
    });
    world.ask("GET", "/health", None).is(200);
}

#[test]
fn a_repository_whose_password_is_wrong_is_named_and_nothing_is_made() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    world.back_up("accounts", "full");
    world.stop();
    std::fs::write(world.path("password"), "another\n").unwrap();
    world.start();
    let told = world.ask("GET", "/v1/backups/full/accounts", None).is(503);
    assert_eq!(told.json()["kind"], "wrong_password");
    world.ask("POST", "/v1/backups/full/accounts", None).is(202);
    let failed =
        "aerospike_backup_service_backup_events_total{routine=\"accounts\",type=\"full\",outcome=\"failure\"} 1";
    crate::client::until(|| world.ask("GET", "/metrics", None).body.contains(failed).then_some(()));
}

#[test]
fn the_document_describes_every_path_that_answers() {
    let mut world = World::new();
    world.configure(ROUTINE, "  http:\n    context-path: /backup/\n");
    world.start();
    let document = world.get("/backup/api-docs/");
    assert_eq!(document["servers"][0]["url"], "/backup");
    let paths = document["paths"].as_object().unwrap();
    for path in
        ["/v1/config", "/v1/backups/currentBackup/{name}", "/v1/restore/timestamp", "/v1/config/routines/{name}/enable"]
    {
        assert!(paths.contains_key(path), "{path}");
    }
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let asked = format!(
                "/backup{}",
                path.replace("{name}", "none").replace("{jobId}", "1").replace("{timestamp}", "1")
            );
            let status = world.ask(&method.to_uppercase(), &asked, None).status;
            assert!(status != 405 && status < 500, "{method} {path}: {status}");
        }
    }
    world.ask("GET", "/v1/config", None).is(404);
}

#[test]
fn a_list_where_fields_are_wanted_takes_nothing_away() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    let empty = serde_json::json!([]);
    for (method, path) in [
        ("PUT", "/v1/config"),
        ("POST", "/v1/config/policies/new"),
        ("PUT", "/v1/config/policies/once"),
        ("POST", "/v1/config/routines/new"),
    ] {
        assert!(world.ask(method, path, Some(&empty)).is(400).error().contains("an object is wanted"), "{path}");
    }
    assert!(world.get("/v1/config/routines").get("accounts").is_some());
    world.ask("GET", "/v1/config/policies/new", None).is(404);
    world.back_up("accounts", "full");
}

/// Many ask for what lies in a storage that takes connections and never answers; others go on.
#[test]
fn a_storage_that_does_not_answer_keeps_no_other_question_from_its_answer() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut world = World::new();
    let far = ROUTINE.replace("accounts:", "far:").replace("storage: local", "storage: silent");
    world.configure(&format!("{ROUTINE}{far}"), "");
    let text = std::fs::read_to_string(world.path("config.yml")).unwrap();
    let storage = format!(
        "storage:\n  silent:\n    s3-storage: {{bucket: b, s3-region: r, path: x, access-key-id: a, secret-access-key: s, \
         s3-endpoint-override: 'http://{}'}}\n",
        silent.local_addr().unwrap()
    );
    std::fs::write(world.path("config.yml"), text.replacen("storage:\n", &storage, 1)).unwrap();
    world.start();
    world.back_up("accounts", "full");
    let to = world.address();
    let asking: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(to).unwrap();
            let head = format!("GET /v1/backups/full/far HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    // All but the one that waits for storage are told so, though it never answers.
    let refused = asking.into_iter().filter_map(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok().map(|_| answer)
    });
    let refused: Vec<String> = refused.filter(|answer| answer.contains("has not answered")).collect();
    assert!(refused.len() >= 30 && refused.iter().all(|it| it.starts_with("HTTP/1.1 503")), "{refused:?}");
    world.get("/v1/backups/full/accounts");
    world.ask("GET", "/metrics", None).is(200);
    world.ask("GET", "/console/sources/accounts", None).is(200);
    // A list over all names it, and waits no longer than anybody has patience.
    let all = world.ask("GET", "/v1/backups/full", None).is(200);
    assert!(all.head.contains("rekeep-unreadable: storage silent: "), "{}", all.head);
    assert_eq!(all.json().as_object().unwrap().keys().collect::<Vec<_>>(), ["accounts"]);
}

/// Fields by the schemas that have them, of these paths and of whatever they refer to.
fn fields(document: &Json, is_meant: impl Fn(&str) -> bool) -> BTreeSet<(String, String)> {
    fn names(json: &Json, found: &mut BTreeSet<String>) {
        match json {
            Json::Object(fields) => {
                let name = fields.get("$ref").and_then(Json::as_str).and_then(|to| to.rsplit('/').next());
                found.extend(name.map(str::to_owned));
                fields.values().for_each(|value| names(value, found));
            }
            Json::Array(list) => list.iter().for_each(|value| names(value, found)),
            _ => {}
        }
    }
    fn own(schema: &Json, found: &mut BTreeSet<String>) {
        found.extend(schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()));
        for part in ["allOf", "oneOf", "anyOf"] {
            schema[part].as_array().into_iter().flatten().for_each(|one| own(one, found));
        }
    }
    let schemas = &document["components"]["schemas"];
    let (mut todo, mut seen, mut all) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (path, item) in document["paths"].as_object().unwrap() {
        if is_meant(path) {
            names(item, &mut todo);
        }
    }
    while let Some(name) = todo.pop_first() {
        if seen.insert(name.clone()) {
            let (schema, mut its) = (&schemas[&name], BTreeSet::new());
            assert!(schema.is_object(), "{name}");
            names(schema, &mut todo);
            own(schema, &mut its);
            all.extend(its.into_iter().map(|field| (name.clone(), field)));
        }
    }
    all
}

#[test]
fn each_field_of_the_backup_service_has_its_row() {
    let document = serde_json::to_value(rekeep::service::http::document()).unwrap();
    let of_others = ["/api/v1/", "/v1/drills", "/v1/records", "/v1/audit"];
    let all = fields(&document, |path| !of_others.iter().any(|other| path.starts_with(other)));
    // The walk reaches requests, answers and what they hold.
    for (schema, field) in
        [("Speed", "pipeline"), ("BackupDetails", "from"), ("RetryPolicy", "multiplier"), ("SecretAgent", "is-base64")]
    {
        assert!(all.contains(&(schema.to_owned(), field.to_owned())), "{schema}.{field}: {all:?}");
    }
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/coming-from-abs.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let code = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    let told: BTreeSet<&str> = code.flat_map(|code| code.split(|c: char| !c.is_alphanumeric() && c != '-')).collect();
    let missing: Vec<_> = all.iter().filter(|(_, field)| !told.contains(field.as_str())).collect();
    assert!(missing.is_empty(), "no row of docs/coming-from-abs.md tells of {missing:?}");
}
