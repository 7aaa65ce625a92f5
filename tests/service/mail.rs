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
