//! Mail when something goes wrong, taken by a server of the test's own.

use crate::{
    client::until,
    world::{ROUTINE, World},
};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    sync::mpsc,
};

/// Takes mails, and gives each as it came, with who it goes to.
fn server() -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, hear) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut mail = String::new();
            let mut say = |words: &str| stream.write_all(format!("{words}\r\n").as_bytes()).is_ok();
            say("220 test");
            while let Some(Ok(line)) = lines.next() {
                let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
                mail.push_str(&line);
                mail.push('\n');
                match verb.as_str() {
                    "EHLO" | "HELO" => say("250 test"),
                    "DATA" => {
                        say("354 go on");
                        for line in lines.by_ref().map_while(Result::ok) {
                            if line == "." {
                                break;
                            }
                            mail.push_str(&line);
                            mail.push('\n');
                        }
                        told.send(std::mem::take(&mut mail)).unwrap();
                        say("250 taken")
                    }
                    "QUIT" => {
                        say("221 bye");
                        break;
                    }
                    _ => say("250 yes"),
                };
            }
        }
    });
    (port, hear)
}

#[test]
fn a_backup_that_fails_is_told_by_mail_and_one_that_does_not_is_not() {
    let (port, mails) = server();
    let mut world = World::new();
    world.configure(
        &format!("{ROUTINE}  gone:\n    interval-cron: '0 0 0 1 1 ? 2090'\n    source: 'sqlite:{{dir}}/none.db'\n    storage: local\n    backup-policy: once\n"),
        &format!(
            "  mail: {{ server: 127.0.0.1, port: {port}, encryption: none, from: 'Backups <backup@example.org>', \
             to: ['you@example.org', 'me@example.org'] }}\n"
        ),
    );
    world.start();
    world.back_up("accounts", "full");
    world.ask("POST", "/v1/backups/full/gone", None).is(202);
    let mail = until(|| mails.try_recv().ok());
    for words in ["<you@example.org>", "<me@example.org>", "rekeep: full backup of gone: failure", "none.db"] {
        assert!(mail.contains(words), "`{words}` is not in {mail}");
    }
    assert!(mails.try_recv().is_err(), "what went well is not told");
}

#[test]
fn mail_that_makes_no_sense_is_found_at_the_start() {
    for (lines, words) in [
        ("  mail: { server: h, from: nobody, to: ['a@b.c'] }\n", "no address"),
        ("  mail: { server: h, from: 'a@b.c', to: [] }\n", "nobody"),
        ("  mail: { server: h, from: 'a@b.c', to: ['a@b.c'], encryption: ssl }\n", "starttls"),
    ] {
        let mut world = World::new();
        world.configure(ROUTINE, lines);
        let error = world.try_start().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// Answers whatever comes with `250`, and tells the first bytes of each connection and all its lines once it is over.
fn listener() -> (u16, mpsc::Receiver<(u8, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, hear) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
            // Whoever speaks TLS at once waits for nothing.
            let mut first = [0];
            let spoke = stream.peek(&mut first).unwrap_or(0);
            if spoke > 0 {
                told.send((first[0], String::new())).unwrap();
                continue;
            }
            stream.set_read_timeout(None).unwrap();
            stream.write_all(b"220 test\r\n").unwrap();
            let mut all = String::new();
            for line in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok) {
                all.push_str(&line);
                all.push('\n');
                let _ = stream.write_all(b"250 test\r\n");
            }
            told.send((0, all)).unwrap();
        }
    });
    (port, hear)
}

/// Where a password is needed, nothing goes out in clear: neither it nor what happened.
#[test]
fn mail_is_not_sent_in_clear_where_that_was_not_asked_for() {
    for (encryption, first) in [("", 0), ("    encryption: starttls\n", 0), ("    encryption: tls\n", 0x16)] {
        let (port, connections) = listener();
        let mut world = World::new();
        world.configure(
            &ROUTINE.replace("accounts.db", "none.db"),
            &format!(
                "  mail:\n    server: localhost\n    port: {port}\n    user: u\n    password: sesame\n    from: a@example.org\n    \
                 to: [b@example.org]\n{encryption}"
            ),
        );
        world.start();
        world.ask("POST", "/v1/backups/full/accounts", None).is(202);
        let (byte, lines) = connections.recv().unwrap();
        assert_eq!(byte, first, "{encryption}: {lines}");
        assert!(
            !lines.contains("AUTH") && !lines.contains("MAIL") && !lines.contains("sesame"),
            "{encryption}: {lines}"
        );
        assert!(!world.get("/v1/config").to_string().contains("sesame"));
        until(|| (world.get("/api/v1/jobs")[0]["state"] == "failure").then_some(()));
    }
}
