//! The pages in a real browser: the whole way from a change to a restore that is proved, by keys alone, on a phone. Pictures for
//! `docs/console.md` are made on the way where `REKEEP_SCREENSHOTS` says.

use crate::{
    browser::{Browser, ENTER, SHIFT, SPACE, TAB, until},
    world::{ROUTINE, World},
};
use rekeep::service::make_key;
use serde_json::json;

/// A shop with orders, of which some change.
fn fill(world: &World) {
    let db = world.database("accounts.db");
    db.execute_batch(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL, state TEXT NOT NULL, cents INTEGER, note TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
         INSERT INTO orders SELECT i, 'customer ' || (i % 97), 'open', i * 37 % 10007, hex(randomblob(60)) FROM n;",
    )
    .unwrap();
}

fn change(world: &World, number: i64, every: i64) {
    let sql = "UPDATE orders SET state = CASE state WHEN 'open' THEN 'paid' WHEN 'paid' THEN 'sent' ELSE 'open' END,
               note = hex(randomblob(60)) WHERE id % ?1 = ?2 % ?1 OR id = 17";
    let db = world.database("accounts.db");
    db.execute(sql, [every, number]).unwrap();
    db.execute("INSERT INTO orders (customer, state, cents) VALUES ('customer ' || ?1, 'open', ?1)", [number]).unwrap();
}

/// Sources of every kind of health beside the one that is looked at.
fn routines() -> String {
    let other = |name: &str, lines: &str| ROUTINE.replace("  accounts:", &format!("  {name}:\n{lines}"));
    let broken = ROUTINE.replace("accounts", "ledger").replace("backup-policy: ledger", "backup-policy: once");
    let all =
        [ROUTINE.to_owned(), broken, other("archive", "    disabled: true"), other("sessions", "    tenant: web")];
    // Due at a time that pictures can show, which is not now.
    all.concat().replace("0 0 0 1 1 ? 2090", "0 0 3 1 * ?").replace("0 0 0 1 1 ? 2091", "0 0 4 1 * ?")
}

/// The picture pages of a world that has something to show.
fn pictured(world: &World) {
    for number in 0..14 {
        change(world, number, [400, 400, 150, 900, 20, 900][number as usize % 6]);
        world.back_up("accounts", if number % 5 == 0 { "full" } else { "incremental" });
    }
    world.ask("POST", "/v1/backups/full/ledger", None).is(202);
    world.back_up("archive", "full");
}

#[test]
#[ignore = "needs chromium"]
fn what_was_changed_is_seen_looked_at_restored_and_proved() {
    let mut world = World::new();
    let (key, hash) = make_key().unwrap();
    let keys = format!("  api-keys:\n    console: {{ hash: '{hash}', scopes: [admin] }}\n");
    world.key = Some(key.clone());
    fill(&world);
    world.configure(&routines(), &keys);
    world.start();
    let browser = Browser::start(world.address());
    // In by a key, to where one wanted to go.
    browser.open("/console/jobs");
    browser.see("Sign in to rekeep");
    browser.check();
    browser.fill("#key", &key);
    browser.keys(&[ENTER]);
    until(|| Some(browser.place()).filter(|place| place == "/console/jobs"));
    browser.press("Sources");
    browser.see("No backup yet");
    // A backup is asked for, followed while it runs, and is there.
    browser.press("accounts");
    browser.press("Back up now");
    browser.see("done");
    browser.see("It made");
    browser.check();
    pictured(&world);
    browser.open("/console/");
    browser.see("15 kept");
    browser.see("Failed");
    browser.check();
    browser.picture("overview");
    // What changes is seen without anybody asking for it.
    browser.press("accounts");
    browser.see("Timeline");
    change(&world, 99, 30);
    let then = world.names("accounts.db");
    world.back_up("accounts", "incremental");
    until(|| {
        Some(browser.run("return document.querySelectorAll('table.snapshots tbody th[scope=row]').length"))
            .filter(|rows| *rows == 16)
    });
    browser.check();
    browser.picture("source");
    // Down to one record.
    browser.click("table.snapshots tbody th[scope=row] a");
    browser.see("Collections");
    browser.check();
    browser.picture("snapshot");
    browser.press("orders");
    browser.see("int:1");
    browser.fill("#key", "int:15");
    browser.press("Go");
    browser.see("int:17");
    browser.check();
    browser.picture("records");
    browser.press("int:17");
    browser.see("versions in 16 snapshots");
    browser.check();
    let was =
        browser.run("return [...document.querySelectorAll('article tr.differs del')].map(one => one.textContent)");
    let was: Vec<&str> = was.as_array().unwrap().iter().filter_map(|one| one.as_str()).collect();
    assert!(["open", "paid", "sent"].iter().all(|state| was.contains(state)), "{was:?}");
    browser.picture("record");
    // Something goes wrong, and is taken back in three steps.
    world
        .database("accounts.db")
        .execute_batch("UPDATE orders SET cents = 0; UPDATE accounts SET name = 'gone';")
        .unwrap();
    browser.open("/console/sources/accounts");
    browser.press("Restore…");
    browser.see("As it was at");
    browser.check();
    browser.picture("restore-1");
    browser.press("Try it out");
    browser.see("Nothing was written.");
    let tried = browser.see("differ: replaced");
    assert!(tried.contains("records in all"), "{tried}");
    assert_eq!(world.names("accounts.db"), ["gone"]);
    browser.check();
    browser.picture("restore-2");
    browser.press("Restore now");
    browser.see("found equal: proved");
    browser.check();
    browser.picture("restore-3");
    assert_eq!(world.names("accounts.db"), then);
    let zeros: i64 = world
        .database("accounts.db")
        .query_row("SELECT COUNT(*) FROM orders WHERE cents = 0", [], |row| row.get(0))
        .unwrap();
    assert!(zeros < 10, "{zeros}");
    browser.press("To the source");
    let proved =
        "return [...document.querySelectorAll('.fact')].find(one => one.textContent.includes('Proved')).textContent";
    until(|| browser.run(proved).as_str().filter(|words| words.contains("ago") || words.contains("now")).map(drop));
    browser.press("Jobs");
    browser.see("dry run of a restore");
    browser.check();
    browser.picture("jobs");
    browser.press("Logs");
    browser.see("Log");
    browser.check();
    browser.blameless();
    browser.press("Sign out");
    browser.see("Sign in to rekeep");
    browser.open("/console/sources/accounts");
    browser.see("Sign in to rekeep");
}

#[test]
#[ignore = "needs chromium"]
fn everything_is_reached_by_keys_alone_and_the_focus_stays_where_it_is() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    world.back_up("accounts", "full");
    let browser = Browser::start(world.address());
    browser.open("/");
    browser.see("1 kept");
    browser.tab_to("Skip to the content");
    browser.keys(&[ENTER]);
    until(|| Some(browser.focus().1).filter(|id| id == "main"));
    // What is live is replaced, and what had the focus has it still.
    browser.tab_to("accounts");
    let seen = |browser: &Browser| browser.run("return document.querySelector('.asof').textContent");
    let before = seen(&browser);
    until(|| Some(seen(&browser)).filter(|now| *now != before));
    assert_eq!(browser.focus().0, "accounts");
    browser.keys(&[ENTER]);
    until(|| Some(browser.place()).filter(|place| place == "/console/sources/accounts"));
    browser.tab_to("Restore…");
    browser.keys(&[ENTER]);
    browser.see("As it was at");
    let damaged = world.database("accounts.db");
    damaged.execute("UPDATE accounts SET name = 'damaged'", []).unwrap();
    browser.tab_to("Try it out");
    browser.keys(&[SPACE]);
    browser.see("Nothing was written.");
    browser.tab_to("Restore now");
    browser.keys(&[ENTER]);
    browser.see("found equal: proved");
    assert_eq!(world.names("accounts.db"), ["one"]);
    browser.keys(&[SHIFT, TAB]);
    browser.blameless();
}

#[test]
#[ignore = "needs chromium"]
fn pages_fit_on_a_phone_by_day_and_by_night_and_without_a_script() {
    let mut world = World::new();
    fill(&world);
    world.configure(&routines(), "");
    world.start();
    pictured(&world);
    let browser = Browser::start(world.address());
    browser.size(390, 844, true);
    let newest = world.get("/v1/backups/full/accounts");
    let id = newest[newest.as_array().unwrap().len() - 1]["snapshot"].as_str().unwrap().to_owned();
    let own = "/console/sources/accounts";
    for is_dark in [false, true] {
        browser.dark(is_dark);
        for (path, words) in [
            ("/console/".to_owned(), "kept"),
            (own.to_owned(), "Timeline"),
            (format!("{own}/snapshots/{id}"), "Collections"),
            (format!("{own}/snapshots/{id}/records?collection=orders"), "int:1"),
            (format!("{own}/record?collection=orders&key=int:17"), "versions"),
            (format!("{own}/restore"), "As it was at"),
            ("/console/jobs".to_owned(), "full backup"),
            ("/console/jobs/1".to_owned(), "Everything that came of it"),
            ("/console/logs".to_owned(), "Log"),
            ("/console/nothing".to_owned(), "Not there"),
        ] {
            browser.open(&path);
            browser.see(words);
            browser.check();
        }
        browser.open(own);
        browser.picture(if is_dark { "phone-dark" } else { "phone" });
    }
    browser.size(1280, 900, false);
    browser.open("/console/");
    browser.picture("overview-dark");
    browser.tools("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    browser.open("/console/");
    browser.see("kept");
    browser.click("#s-accounts");
    browser.see("Timeline");
}
