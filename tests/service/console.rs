//! Pages for people, as a browser asks for them: what they show, to whom, and what they make of hostile input.

use crate::{
    client::{Answer, request, until},
    world::{ROUTINE, World},
};
use rekeep::service::make_key;

/// A browser's question.
fn open(world: &World, path: &str) -> Answer {
    request(world.address(), "GET", path, &[("accept", "text/html")], None)
}

/// A page of a world without keys.
#[track_caller]
fn page(world: &World, path: &str) -> String {
    let answer = open(world, path).is(200);
    assert!(answer.head.contains("content-type: text/html"), "{}", answer.head);
    answer.body
}

/// What stands between two texts.
#[track_caller]
fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let from = text.find(before).unwrap_or_else(|| panic!("no `{before}` in {text}")) + before.len();
    let end = text[from..].find(after).unwrap_or_else(|| panic!("no `{after}` in {text}")) + from;
    &text[from..end]
}

/// The token that forms of a page carry.
#[track_caller]
fn token(page: &str) -> String {
    between(page, "name=\"token\" value=\"", "\"").to_owned()
}

/// Sends a form as a browser does.
fn send(world: &World, path: &str, more: &[(&str, &str)], fields: &[(&str, &str)]) -> Answer {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|byte| if byte.is_ascii_alphanumeric() { (byte as char).to_string() } else { format!("%{byte:02X}") })
            .collect()
    };
    let body: Vec<String> = fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    let mut head = vec![("content-type", "application/x-www-form-urlencoded"), ("accept", "text/html")];
    head.extend(more);
    request(world.address(), "POST", path, &head, Some(&body.join("&")))
}

/// Where an answer leads.
#[track_caller]
fn leads(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{answer:?}");
    between(&answer.head, "location: ", "\r\n").to_owned()
}

fn begun(routines: &str, service: &str) -> World {
    let mut world = World::new();
    world.configure(routines, service);
    world.start();
    world
}

#[test]
fn a_browser_is_led_to_the_pages_and_a_program_is_not() {
    let world = begun(ROUTINE, "");
    assert_eq!(leads(&open(&world, "/")), "/console/");
    assert_eq!(world.ask("GET", "/", None).is(200).body, "rekeep\n");
    let answer = open(&world, "/console/").is(200);
    let policy = between(&answer.head, "content-security-policy: ", "\r\n");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe") && answer.head.contains("referrer-policy: same-origin"));
    assert!(answer.head.contains("cache-control: no-store") && answer.head.contains("x-frame-options: deny"));
    // Nothing comes from elsewhere, and nothing stands in the page that the policy forbids.
    assert!(!answer.body.contains("//") || answer.body.matches("http://").all(|_| false), "{}", answer.body);
    assert!(!answer.body.contains(" style=") && !answer.body.contains(" onclick="));
    for name in ["console.css", "htmx.js", "mark.svg", "htmx.LICENSE"] {
        let file = open(&world, &format!("/console/assets/{name}")).is(200);
        assert!(file.head.contains("max-age=31536000") && !file.body.is_empty());
    }
    open(&world, "/console/assets/..%2fmod.rs").is(404);
}

#[test]
fn a_source_its_timeline_a_snapshot_and_a_record_are_shown() {
    let world = begun(ROUTINE, "");
    assert!(page(&world, "/console/").contains("No backup yet"));
    let first = world.back_up("accounts", "full");
    world.change(1, "two");
    world.change(2, "new");
    let second = world.back_up("accounts", "incremental");
    let overview = until(|| Some(page(&world, "/console/")).filter(|page| page.contains("2 kept")));
    assert!(overview.contains("accounts") && overview.contains("Fine") && overview.contains("sqlite:"));
    let source = page(&world, "/console/sources/accounts");
    for id in [&first, &second] {
        assert!(source.contains(id["snapshot"].as_str().unwrap()), "{source}");
    }
    assert!(source.contains("1 new, 1 changed, 0 gone") && source.contains("<svg class=\"timeline\""));
    assert!(source.contains("2 snapshots: 2 full, 0 differential, 0 incremental; 0 go next"));
    let id = second["snapshot"].as_str().unwrap();
    let snapshot = page(&world, &format!("/console/sources/accounts/snapshots/{id}"));
    assert!(snapshot.contains("Restore from here") && snapshot.contains("records?collection=accounts"));
    let records = page(&world, &format!("/console/sources/accounts/snapshots/{id}/records?collection=accounts"));
    assert!(records.contains("int:1") && records.contains("int:2") && records.contains("two"), "{records}");
    let from = page(&world, &format!("/console/sources/accounts/snapshots/{id}/records?collection=accounts&key=int:2"));
    assert!(!from.contains(">int:1<") && from.contains("int:2"));
    let record = page(&world, "/console/sources/accounts/record?collection=accounts&key=int:1");
    assert!(record.contains("2 versions in 2 snapshots") && record.contains("<del><bdi>one</bdi></del>"), "{record}");
    assert!(record.contains("(differs)"));
}

#[test]
fn what_is_not_there_is_said_by_a_page() {
    let world = begun(ROUTINE, "");
    world.back_up("accounts", "full");
    let id = "0".repeat(32);
    for path in [
        "/console/nothing",
        "/console/sources/other",
        "/console/sources/accounts/snapshots/x",
        &format!("/console/sources/accounts/snapshots/{id}"),
        &format!("/console/sources/accounts/snapshots/{id}/records?collection=accounts"),
        "/console/sources/accounts/record?collection=other&key=int:1",
        "/console/jobs/999",
        "/console/restores/999",
    ] {
        let answer = open(&world, path).is(404);
        assert!(answer.body.contains("Not there") && answer.body.contains("role=\"alert\""), "{path}: {}", answer.body);
    }
    for path in [
        "/console/sources/accounts/record?collection=accounts&key=nonsense",
        "/console/sources/accounts/record?back=-1",
        "/console/jobs?before=x",
        "/console/?page=99999999999999999999",
        "/console/logs?level=loud",
    ] {
        open(&world, path).is(400);
    }
    // Also where the address itself is no text, or no number.
    for path in ["/console/sources/%ff", "/console/jobs/x", "/console/restores/99999999999999999999"] {
        let answer = open(&world, path).is(400);
        assert!(
            answer.body.contains("That makes no sense") && answer.body.contains("role=\"alert\""),
            "{path}: {}",
            answer.body
        );
    }
    page(&world, "/console/?page=999999");
    page(&world, "/console/sources/accounts?page=999999");
    let record = page(&world, "/console/sources/accounts/record?collection=accounts&key=int:77");
    assert!(record.contains("None of these snapshots has a record of this key"));
    assert!(page(&world, "/console/sources/accounts/record?collection=accounts&key=int:1&back=5").contains("int:1"));
}

#[test]
fn hostile_names_and_values_stand_for_themselves() {
    let mut world = World::new();
    let script = "<script>alert(1)</script>";
    let db = world.database("accounts.db");
    db.execute_batch("DROP TABLE accounts; CREATE TABLE \"<script>t\u{202e}\" (k BLOB PRIMARY KEY, \"<i>v\" ANY);")
        .unwrap();
    let insert = "INSERT INTO \"<script>t\u{202e}\" VALUES (?, ?)";
    db.execute(insert, (format!("{script}\u{202e}txt"), format!("{script}\u{0}\u{2066}"))).unwrap();
    db.execute(insert, (vec![0_u8, 255, 7], vec![1_u8; 1000])).unwrap();
    db.execute(insert, ("z", "long ".repeat(2 << 20))).unwrap();
    db.execute(insert, ("k".repeat(9000), "of a long key")).unwrap();
    drop(db);
    let name = "<img src=x onerror=alert(1)>\u{202e}";
    let routine = ROUTINE.replace("  accounts:", &format!("  \"{name}\":"));
    world.configure(&routine, "");
    world.start();
    let encoded = "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E%E2%80%AE";
    let kept = world.back_up(encoded, "full");
    let id = kept["snapshot"].as_str().unwrap();
    let own = format!("/console/sources/{encoded}");
    let collection = "%3Cscript%3Et%E2%80%AE";
    let pages = [
        until(|| Some(page(&world, "/console/")).filter(|page| page.contains("1 kept"))),
        page(&world, &own),
        page(&world, &format!("{own}/snapshots/{id}")),
        page(&world, &format!("{own}/snapshots/{id}/records?collection={collection}")),
        page(&world, &format!("{own}/record?collection={collection}&key=str:z")),
        page(
            &world,
            &format!("{own}/record?collection={collection}&key=str:%3Cscript%3Ealert(1)%3C%2Fscript%3E%E2%80%AEtxt"),
        ),
        page(&world, &format!("{own}/record?collection={collection}&key=hex:00ff07")),
        page(&world, &format!("{own}/restore?collection={collection}&keys={collection}")),
        page(&world, "/console/jobs"),
    ];
    for (at, page) in pages.iter().enumerate() {
        let odd = ["<script>", "<img src=x", "<i>v"].iter().find(|odd| page.contains(**odd));
        assert!(odd.is_none(), "page {at}: {odd:?} in {page}");
        assert!(!page.contains('\u{2066}') && !page.contains('\0') && page.len() < 1 << 20, "page {at}");
        // What moves the text around it may only stand where it moves nothing: in a field that is filled in.
        let shown =
            page.replace("value=\"&lt;script&gt;t\u{202e}\"", "").replace("&lt;script&gt;t\u{202e}</textarea>", "");
        assert!(!shown.contains('\u{202e}'), "page {at}: {shown}");
    }
    assert!(pages[1].contains("\\u{202e}") && pages[4].contains("10.0 MiB"), "{}", pages[4]);
    assert!(pages[6].contains("base64"), "{}", pages[6]);
}

#[test]
fn names_that_no_address_takes_are_shown_without_one() {
    let mut world = World::new();
    let long = "ü".repeat(24_000);
    world.database("accounts.db").execute_batch(&format!("CREATE TABLE \"{long}\" (id INTEGER PRIMARY KEY)")).unwrap();
    world.configure(ROUTINE, "");
    world.start();
    let kept = world.back_up("accounts", "full");
    let own = format!("/console/sources/accounts/snapshots/{}", kept["snapshot"].as_str().unwrap());
    for path in [own.as_str(), "/console/sources/accounts", "/console/sources/accounts/restore"] {
        let page = page(&world, path);
        for link in page.split("href=\"/").skip(1).map(|rest| rest.split('"').next().unwrap().replace("&amp;", "&")) {
            open(&world, &format!("/{link}")).is(200);
        }
    }
    let page = page(&world, &own);
    assert!(page.contains("too long for an address") && page.contains("records?collection=accounts"), "{page}");
}

#[test]
fn many_sources_and_many_snapshots_are_paged() {
    let mut world = World::new();
    let many: String = (0..1000).map(|n| ROUTINE.replace("  accounts:", &format!("  r{n:04}:"))).collect();
    world.configure(&many, "");
    world.start();
    let first = page(&world, "/console/");
    assert!(
        first.contains("Page 1 of 20, 1\u{202f}000 sources") && first.contains("r0049") && !first.contains("r0050")
    );
    assert!(page(&world, "/console/?page=20").contains("r0999"));
    let found = page(&world, "/console/?q=R0123");
    assert!(found.contains("r0123") && !found.contains("r0124") && !found.contains("Page 1"));
    assert!(page(&world, "/console/?state=failed").contains("No source is meant by this"));
}

#[test]
fn keys_and_rights_are_those_of_the_interface() {
    let mut world = World::new();
    let (reader, reader_hash) = make_key().unwrap();
    let (other, other_hash) = make_key().unwrap();
    let keys = format!(
        "  api-keys:\n    reader: {{ hash: '{reader_hash}', scopes: [read] }}\n    \
         other: {{ hash: '{other_hash}', scopes: [read, backup], routines: [elsewhere] }}\n"
    );
    world.configure(ROUTINE, &keys);
    world.start();
    // A page leads to the question for a key, and back.
    assert_eq!(leads(&open(&world, "/")), "/console/");
    let asked = leads(&open(&world, "/console/sources/accounts?page=2"));
    assert_eq!(asked, "/console/login?to=%2fconsole%2fsources%2faccounts%3fpage%3d2");
    let login = page(&world, "/console/login?to=%2Fconsole%2Fsources%2Faccounts%3Fpage%3D2");
    let enter = |key: &str| {
        let fields =
            [("token", token(&login)), ("key", key.to_owned()), ("to", "/console/sources/accounts?page=2".to_owned())];
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        send(&world, "/console/login", &[], &fields)
    };
    assert!(enter("rkp_wrong").is(401).body.contains("nobody's"));
    let begun = enter(&reader);
    assert_eq!(leads(&begun), "/console/sources/accounts?page=2");
    let set = raw_cookie(&world, &login, &reader);
    assert!(set.contains("; HttpOnly; SameSite=Lax") && !set.contains("Secure"), "{set}");
    let cookie = set.split(';').next().unwrap().to_owned();
    let with = |cookie: &str, path: &str| request(world.address(), "GET", path, &[("cookie", cookie)], None);
    let shown = with(&cookie, "/console/sources/accounts").is(200).body;
    assert!(shown.contains("Sign out") && !shown.contains("Back up now") && !shown.contains("Restore…"));
    // What the key may not is refused, whoever sends the form; and a session opens pages alone.
    let post = |cookie: &str, path: &str, token: &str| {
        send(&world, path, &[("cookie", cookie)], &[("token", token), ("kind", "full")])
    };
    post(&cookie, "/console/sources/accounts/backup", &token(&shown)).is(403);
    post(&cookie, "/console/sources/accounts/backup", "").is(403);
    with(&cookie, "/console/sources/accounts/restore").is(403);
    with(&cookie, "/v1/backups/full/accounts").is(401);
    // Others are not there for a key that is bound.
    let bound = raw_cookie(&world, &login, &other);
    let bound = bound.split(';').next().unwrap();
    with(bound, "/console/sources/accounts").is(404);
    with(bound, "/console/logs").is(403);
    assert!(with(bound, "/console/").is(200).body.contains("There is no source"));
    // A token of one session is none of another's.
    post(bound, "/console/sources/accounts/backup", &token(&shown)).is(403);
    // What runs in a page leads the whole page to the question.
    let script = request(
        world.address(),
        "GET",
        "/console/jobs",
        &[("hx-request", "true"), ("hx-current-url", "http://h/console/jobs?source=a")],
        None,
    )
    .is(401);
    assert_eq!(between(&script.head, "hx-redirect: ", "\r\n"), "/console/login?to=%2fconsole%2fjobs%3fsource%3da");
    // What was filled in while the session ended is there again behind the login.
    let filled = [("at", "2 hours ago"), ("collection", "accounts"), ("keys", "int:1\nint:2"), ("to", "source")];
    let led = leads(&send(&world, "/console/sources/accounts/restore", &[], &filled));
    let login = request(world.address(), "GET", &led, &[("accept", "text/html")], None).is(200).body;
    let back = between(&login, "name=\"to\" value=\"", "\"");
    assert!(back.starts_with("/console/sources/accounts/restore?at=2%20hours%20ago&amp;collection=accounts"), "{back}");
    assert!(back.ends_with("&amp;keys=int%3a1%0aint%3a2"), "{back}");
    // A key that is taken away takes its sessions along; so does leaving.
    let left =
        send(&world, "/console/logout", &[("cookie", bound)], &[("token", &token(&with(bound, "/console/").body))]);
    assert_eq!(leads(&left), "/console/login");
    assert_eq!(with(bound, "/console/").status, 303);
    world.configure(ROUTINE, &keys.replace(&reader_hash, &make_key().unwrap().1));
    world.running.as_ref().unwrap().0.reload().unwrap();
    assert_eq!(with(&cookie, "/console/").status, 303);
}

#[test]
fn of_forms_of_strangers_little_is_read() {
    let (key, hash) = make_key().unwrap();
    let world = begun(ROUTINE, &format!("  api-keys:\n    all: {{ hash: '{hash}', scopes: [admin] }}\n"));
    let long = "x".repeat(20 << 10);
    let form = [("content-type", "application/x-www-form-urlencoded"), ("accept", "text/html")];
    let post = |path: &str, more: &[(&str, &str)]| {
        let head = [&form[..], more].concat();
        request(world.address(), "POST", path, &head, Some(&format!("at=latest&keys={long}")))
    };
    post("/console/login", &[]).is(413);
    // What was filled in is not kept then.
    assert_eq!(leads(&post("/console/sources/accounts/restore", &[]).is(303)), "/console/login?to=");
    // Who may is heard, though this is no form of theirs.
    let bearer = format!("Bearer {key}");
    post("/console/sources/accounts/restore", &[("authorization", &bearer)]).is(403);
}

/// The cookie of a new session, as it is spelt.
fn raw_cookie(world: &World, login: &str, key: &str) -> String {
    use std::io::{Read as _, Write as _};
    let body = format!("token={}&key={key}&to=", token(login));
    let text = format!(
        "POST /console/login HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = std::net::TcpStream::connect(world.address()).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    between(&answer, "set-cookie: ", "\r\n").to_owned()
}

#[test]
fn pages_of_other_sites_start_nothing() {
    let world = begun(ROUTINE, "");
    let shown = page(&world, "/console/sources/accounts");
    let good = token(&shown);
    let path = "/console/sources/accounts/backup";
    send(&world, path, &[("origin", "http://evil.example")], &[("token", &good)]).is(403);
    send(&world, path, &[("sec-fetch-site", "cross-site")], &[("token", &good)]).is(403);
    send(&world, path, &[], &[("token", "x")]).is(403);
    send(&world, path, &[], &[]).is(403);
    send(&world, path, &[], &[("token", &good), ("kind", "odd")]).is(400);
    let to = leads(&send(&world, path, &[], &[("token", &good), ("kind", "full")]));
    let over = until(|| Some(page(&world, &to)).filter(|page| page.contains("> done<")));
    assert!(over.contains("full backup") && over.contains("It made"), "{over}");
}

#[test]
fn behind_a_proxy_every_address_begins_with_what_it_took_away() {
    let world = begun(ROUTINE, "  http:\n    context-path: /own\n");
    let ask = |path: &str, prefix: &str| {
        request(world.address(), "GET", path, &[("accept", "text/html"), ("x-forwarded-prefix", prefix)], None)
    };
    assert_eq!(leads(&ask("/own/", "/outer")), "/outer/own/console/");
    let shown = ask("/own/console/", "/outer").is(200).body;
    let addresses: Vec<&str> = ["href=\"", "src=\"", "action=\"", "hx-get=\""]
        .iter()
        .flat_map(|before| shown.split(before).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .filter(|address| !address.starts_with('#'))
        .collect();
    assert!(addresses.len() > 8 && addresses.iter().all(|address| address.starts_with("/outer/own/")), "{addresses:?}");
    let odd = ask("/own/console/", "//evil.example").is(200).body;
    assert!(!odd.contains("evil.example") && odd.contains("href=\"/own/console/"));
    let missing = ask("/own/console/nothing", "/outer").is(404).body;
    assert!(missing.contains("/outer/own/console/assets/console.css"));
}

#[test]
fn a_repository_that_goes_away_is_said_and_what_was_known_stays() {
    let world = begun(ROUTINE, "");
    world.back_up("accounts", "full");
    until(|| Some(page(&world, "/console/")).filter(|page| page.contains("1 kept")));
    std::fs::rename(world.path("backups"), world.path("elsewhere")).unwrap();
    let gone = until(|| Some(page(&world, "/console/sources/accounts")).filter(|page| page.contains("Unreadable")));
    assert!(gone.contains("cannot be read now") && gone.contains("What is shown is as of"), "{gone}");
    assert!(gone.contains("<svg class=\"timeline\"") && page(&world, "/console/").contains("Unreadable"));
    std::fs::rename(world.path("elsewhere"), world.path("backups")).unwrap();
    until(|| Some(page(&world, "/console/sources/accounts")).filter(|page| page.contains("Fine")));
}

#[test]
fn a_restore_is_tried_out_written_and_proved() {
    let world = begun(ROUTINE, "");
    world.back_up("accounts", "full");
    let then = world.get("/v1/backups/full/accounts")[0]["finished-timestamp"].as_i64().unwrap();
    world.change(1, "damaged");
    let asked = page(&world, &format!("/console/sources/accounts/restore?at={then}&collection=accounts&keys=int:1"));
    let words = page(&world, "/console/sources/accounts/restore?at=2%20hours%20ago");
    assert!(words.contains("value=\"2 hours ago\""), "{words}");
    assert!(asked.contains("aria-current=\"step\">What, and where to") && asked.contains("int:1</textarea>"));
    let token = token(&asked);
    let form = |more: &[(&'static str, &'static str)]| {
        let mut fields = vec![("token", token.clone()), ("at", then.to_string())];
        fields.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        send(&world, "/console/sources/accounts/restore", &[], &fields)
    };
    let good = [("collection", "accounts"), ("keys", "int:1\n"), ("to", "source"), ("overwrite", "always")];
    let over = |to: &str| {
        until(|| Some(page(&world, to)).filter(|page| !page.contains("> waits<") && !page.contains("> at work<")))
    };
    let tried = leads(&form(&good));
    let dry = over(&tried);
    assert!(dry.contains("Nothing was written") && dry.contains("Restore now"), "{dry}");
    assert_eq!(world.names("accounts.db"), ["damaged"]);
    let written = leads(&send(&world, &format!("{tried}/run"), &[], &[("token", &token)]));
    let done = over(&written);
    assert!(done.contains("found equal: proved") && done.contains("were read back and compared"), "{done}");
    assert_eq!(world.names("accounts.db"), ["one"]);
    // One record proves nothing of the others; what is no dry run is not written again from here.
    let proved = || !between(&page(&world, "/console/sources/accounts"), "Proved by a restore", "</div>").contains('—');
    assert!(!proved());
    send(&world, &format!("{written}/run"), &[], &[("token", &token)]).is(404);
    // What was proved stands beside the age of the backup, whatever is tried out since.
    let all = [("to", "source"), ("overwrite", "always")];
    let tried = leads(&form(&all));
    assert!(over(&tried).contains("Restore now") && !proved());
    assert!(over(&leads(&send(&world, &format!("{tried}/run"), &[], &[("token", &token)]))).contains("equal: proved"));
    assert!(proved());
    over(&leads(&form(&good)));
    assert!(proved());
    for (odd, words) in [
        (&[("to", "target"), ("target", "sqlite:/etc/x"), ("overwrite", "always")][..], "nobody may restore into"),
        (&[("to", "cluster:other"), ("overwrite", "always")], "no cluster"),
        (&[("to", "source"), ("overwrite", "odd")], "overwrite"),
        (&[("to", "source"), ("keys", "int:1"), ("overwrite", "always")], "Which collection"),
        (&[("overwrite", "always")], "Where to"),
    ] {
        let answer = form(odd);
        assert!((400..500).contains(&answer.status) && answer.body.contains(words), "{odd:?}: {answer:?}");
    }
}

#[test]
fn a_snapshot_that_is_forgotten_while_its_page_is_open_is_said_and_no_record_of_it_is_shown() {
    let world = begun(ROUTINE, "");
    let first = world.back_up("accounts", "full");
    world.change(2, "two");
    let second = world.back_up("accounts", "full");
    let kept = second["snapshot"].as_str().unwrap();
    let id = first["snapshot"].as_str().unwrap();
    let own = format!("/console/sources/accounts/snapshots/{id}");
    page(&world, &own);
    world.ask("DELETE", &format!("/api/v1/backups/{id}"), None).is(204);
    for path in [own.clone(), format!("{own}/records?collection=accounts")] {
        let gone = open(&world, &path).is(404);
        assert!(gone.body.contains("there is no snapshot"), "{path}: {}", gone.body);
    }
    until(|| Some(page(&world, "/console/sources/accounts")).filter(|page| page.contains(kept) && !page.contains(id)));
}

#[cfg(unix)]
#[test]
fn of_two_people_who_restore_at_once_the_second_is_told_and_what_waits_can_be_stopped() {
    let hooks = "  backup: { max-parallel: 1 }\n  hooks:\n    \
                 waits: { command: [sh, -c, 'until test -e {dir}/go; do sleep 0.05; done'] }";
    let world = begun(&format!("{ROUTINE}    before: [waits]\n"), hooks);
    std::fs::write(world.path("go"), "").unwrap();
    world.back_up("accounts", "full");
    std::fs::remove_file(world.path("go")).unwrap();
    world.ask("POST", "/v1/backups/full/accounts", None).is(202);
    let asked = page(&world, "/console/sources/accounts/restore");
    let token = token(&asked);
    let restore = || {
        let at = between(&asked, "name=\"at\" value=\"", "\"");
        let fields = [("token", token.as_str()), ("at", at), ("to", "source"), ("overwrite", "always")];
        send(&world, "/console/sources/accounts/restore", &[], &fields)
    };
    let first = leads(&restore());
    assert!(page(&world, &first).contains("> waits<"));
    let told = restore().is(409);
    assert!(told.head.contains("content-type: text/html") && told.body.contains("restores into sqlite:"), "{told:?}");
    let jobs = page(&world, "/console/jobs");
    assert!(jobs.contains("> waits<") && jobs.contains("> at work<"), "{jobs}");
    // Once the first is withdrawn the place is free.
    let number = first.rsplit('/').next().unwrap();
    send(&world, &format!("/console/jobs/{number}/stop"), &[], &[("token", &token)]).is(303);
    assert!(page(&world, &first).contains("Nothing was written"));
    let second = leads(&restore());
    std::fs::write(world.path("go"), "").unwrap();
    until(|| page(&world, &second).contains("Restore now").then_some(()));
}
