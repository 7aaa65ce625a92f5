//! How nodes are reached, who logs in, and which nodes are read: racks, alternate addresses, logins of every kind, TLS.

use crate::{
    cluster::{assert_kept, back_up, plain, populated, quick, try_back_up},
    place::{Living, here},
};
use rekeep::connector::{
    SourceUrl,
    aerospike::{AerospikeOptions, AerospikeSource, Auth, TlsOptions},
};
use rekeep_aerospike_server::{Config, Handle, QueryMoment, TlsConfig, partition_of};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

/// The records of partitions that a node masters.
fn mastered(server: &Handle, node: usize) -> u64 {
    let mine = |digest| server.master_of(partition_of(digest)) == Some(node);
    server.dump("test").iter().filter(|dumped| mine(&dumped.digest)).count() as u64
}

fn of_nodes(nodes: &[String]) -> AerospikeOptions {
    AerospikeOptions { nodes: nodes.to_vec(), ..quick() }
}

fn why_not(url: &str, options: AerospikeOptions) -> String {
    AerospikeSource::new(&SourceUrl::parse(url).unwrap(), options).unwrap_err().to_string()
}

#[test]
fn chosen_nodes_are_read_and_stay_the_same_part_while_they_master_the_same() {
    let server = here(Config::with_nodes(3));
    let (_world, repo) = populated(&server, 900, 120);
    for name in [server.node_id(1), server.node_id(1).to_lowercase(), server.address(1).to_string()] {
        let (outcome, _) = try_back_up(&repo, &server.url(), of_nodes(&[name]), &plain()).unwrap();
        assert_eq!((outcome.complete, outcome.records), (true, mastered(&server, 1)));
    }
    let both = [server.node_id(0), server.node_id(1)];
    let (first, _) = try_back_up(&repo, &server.url(), of_nodes(&both), &plain()).unwrap();
    assert_eq!(first.records, mastered(&server, 0) + mastered(&server, 1));
    server.advance(Duration::from_mins(1));
    let gone = server.dump("test").into_iter().find(|d| server.master_of(partition_of(&d.digest)) == Some(1)).unwrap();
    server.delete("test", &gone.digest);
    let turned = [server.node_id(1), server.node_id(0)];
    let (next, _) = try_back_up(&repo, &server.url(), of_nodes(&turned), &plain()).unwrap();
    assert_eq!((next.parent, next.stats.deleted, next.records), (first.id, 1, first.records - 1));
    // They master others now: what they had is no state before.
    server.add_node().unwrap();
    let (moved, _) = try_back_up(&repo, &server.url(), of_nodes(&both), &plain()).unwrap();
    assert_eq!((moved.parent, moved.stats.deleted), (None, 0));
    assert_eq!(moved.records, mastered(&server, 0) + mastered(&server, 1));
    let error = why_not(&server.url(), of_nodes(&["BB9AAAAAAAAAAAA".to_owned()]));
    assert!(error.contains("BB9AAAAAAAAAAAA") && error.contains(&server.node_id(2)), "{error}");
    let also = AerospikeOptions { partitions: Some("1".to_owned()), ..of_nodes(&both) };
    assert!(why_not(&server.url(), also).contains("give one"));
}

#[test]
fn chosen_racks_are_what_their_nodes_master() {
    let racks = vec![10, 20, 10, 20];
    let server = here(Config { racks, replication_factor: 2, enterprise: true, ..Config::with_nodes(4) });
    let (_world, repo) = populated(&server, 800, 121);
    let of = |racks: &[u32]| AerospikeOptions { racks: racks.to_vec(), ..quick() };
    let (ten, _) = try_back_up(&repo, &server.url(), of(&[10]), &plain()).unwrap();
    assert_eq!((ten.complete, ten.records), (true, mastered(&server, 0) + mastered(&server, 2)));
    let (both, _) = try_back_up(&repo, &server.url(), of(&[20, 10]), &plain()).unwrap();
    assert_eq!(both.records, 800);
    assert!(why_not(&server.url(), of(&[10, 30])).contains("rack 30 (there are 10, 20)"));
    let community = here(Config::with_nodes(1));
    for options in [of(&[1]), AerospikeOptions { prefer_racks: vec![1], ..quick() }] {
        assert!(why_not(&community.url(), options).contains("Enterprise Edition"));
    }
}

/// The records that each node sent, by query.
fn sent_by(server: &Handle) -> Arc<Mutex<BTreeMap<(usize, u64), u64>>> {
    let sent: Arc<Mutex<BTreeMap<(usize, u64), u64>>> = Arc::default();
    let counts = Arc::clone(&sent);
    server.on_query(move |_, event| {
        if let QueryMoment::Sent(records) = event.moment {
            counts.lock().unwrap().insert((event.node, event.trid), records);
        }
    });
    sent
}

#[test]
fn copies_in_a_preferred_rack_are_read_and_masters_where_they_do_not_do() {
    let server = here(Config { racks: vec![1, 2], replication_factor: 2, ..Config::with_nodes(2) });
    let (_world, repo) = populated(&server, 700, 122);
    let prefer = |racks: &[u32]| AerospikeOptions { prefer_racks: racks.to_vec(), ..quick() };
    let sent = sent_by(&server);
    let of = |node| sent.lock().unwrap().iter().filter(|((at, _), _)| *at == node).map(|(_, n)| *n).sum::<u64>();
    for (racks, chosen) in [(&[2][..], 1), (&[1, 2], 0), (&[7, 2], 1)] {
        sent.lock().unwrap().clear();
        let (outcome, _) = try_back_up(&repo, &server.url(), prefer(racks), &plain()).unwrap();
        assert!(outcome.complete, "{:?}", outcome.problems);
        assert_kept(&repo, &server, &outcome, "from copies");
        // The clock is read by one record of each master.
        let (near, far) = (of(chosen), of(1 - chosen));
        assert!(near >= 700 && far <= 5, "{racks:?}: {near} near, {far} far");
        server.advance(Duration::from_mins(1));
    }
    server.set_unavailable(1, 0..2000, true);
    let mine = (0..2000).filter(|pid| server.master_of(*pid) == Some(1));
    server.set_unavailable(1, mine, false);
    let (outcome, _) = try_back_up(&repo, &server.url(), prefer(&[2]), &plain()).unwrap();
    assert!(outcome.complete, "{:?}", outcome.problems);
    assert_kept(&repo, &server, &outcome, "from masters too");
    assert_eq!(back_up(&repo, &server).stats.deleted, 0);
}

#[test]
fn nodes_are_found_by_their_alternate_addresses() {
    // Nobody listens where the nodes say they are; from here they are reached by others.
    let told_host = Some("127.1.2.3".to_owned());
    let server = here(Config { told_host, alternate_host: Some("127.0.0.1".to_owned()), ..Config::with_nodes(3) });
    let (_world, repo) = populated(&server, 300, 123);
    let (lost, warnings) = try_back_up(&repo, &server.url(), quick(), &plain()).unwrap();
    assert!(!lost.complete && warnings.contains("does not answer"), "{warnings}");
    let alternate = AerospikeOptions { services_alternate: true, ..quick() };
    let (found, _) = try_back_up(&repo, &server.url(), alternate, &plain()).unwrap();
    assert!(found.complete, "{:?}", found.problems);
    assert_kept(&repo, &server, &found, "by alternate addresses");
    let without = here(Config { told_host: Some("127.1.2.3".to_owned()), ..Config::with_nodes(2) });
    let alternate = AerospikeOptions { services_alternate: true, ..quick() };
    let (_, warnings) = try_back_up(&repo, &without.url(), alternate, &plain()).unwrap();
    assert!(warnings.contains("has no address"), "{warnings}");
}

fn tls() -> TlsOptions {
    TlsOptions { name: Some("aerospike.test".to_owned()), ca_file: Some(fixture("ca.pem")), ..TlsOptions::default() }
}

fn server_tls() -> TlsConfig {
    TlsConfig::from_pem("aerospike.test", &read("server.pem"), &read("server.key")).unwrap()
}

#[test]
fn a_directory_is_given_the_password_itself_and_only_under_tls() {
    let directory = vec![("joe".to_owned(), b"pass word".to_vec())];
    let server = here(Config { directory, tls: Some(server_tls()), ..Config::with_nodes(2) });
    let (_world, repo) = populated(&server, 100, 124);
    let by = |auth, password: &str| AerospikeOptions {
        auth,
        user: Some("joe".to_owned()),
        password: Some(password.to_owned().into()),
        tls: Some(tls()),
        ..quick()
    };
    let (outcome, _) = try_back_up(&repo, &server.url(), by(Auth::External, "pass word"), &plain()).unwrap();
    assert_eq!((outcome.complete, outcome.records), (true, 100));
    assert!(why_not(&server.url(), by(Auth::External, "wrong")).contains("wrong user or password"));
    assert!(why_not(&server.url(), by(Auth::Internal, "pass word")).contains("wrong user or password"));
    let directory = vec![("joe".to_owned(), b"pass word".to_vec())];
    let clear = here(Config { directory, ..Config::with_nodes(1) });
    let without = |auth| AerospikeOptions { tls: None, ..by(auth, "pass word") };
    let requests = clear.requests();
    assert!(why_not(&clear.url(), without(Auth::External)).contains("anybody may read it"));
    assert_eq!(clear.requests(), requests, "nothing was sent");
    AerospikeSource::new(&SourceUrl::parse(&clear.url()).unwrap(), without(Auth::ExternalInsecure)).unwrap();
}

#[test]
fn a_certificate_says_who_logs_in_and_its_key_may_be_encrypted() {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    let der = CertificateDer::from_pem_slice(&read("client.pem")).unwrap().to_vec();
    let config = Config {
        certificates: vec![("joe".to_owned(), der)],
        tls: Some(server_tls().with_client_authority(&read("client-ca.pem")).unwrap()),
        ..Config::with_nodes(2)
    };
    let server = here(config);
    let (_world, repo) = populated(&server, 100, 125);
    let with = |change: &dyn Fn(&mut TlsOptions)| {
        let mut tls = TlsOptions {
            cert_file: Some(fixture("client.pem")),
            key_file: Some(fixture("client.key")),
            key_password: Some("key word".to_owned().into()),
            ..tls()
        };
        change(&mut tls);
        AerospikeOptions { auth: Auth::Pki, tls: Some(tls), ..quick() }
    };
    // New connections show the session's token alone.
    for _ in 0..2 {
        let (outcome, _) = try_back_up(&repo, &server.url(), with(&|_| {}), &plain()).unwrap();
        assert_eq!((outcome.complete, outcome.records), (true, 100));
    }
    let url = server.url();
    assert!(why_not(&url, with(&|tls| tls.key_password = None)).contains("it is encrypted, and no password"));
    assert!(why_not(&url, with(&|tls| tls.key_password = Some("no".to_owned().into()))).contains("does not open it"));
    assert!(why_not(&url, with(&|tls| (tls.cert_file, tls.key_file) = (None, None))).contains("needs one"));
    assert!(why_not(&url, with(&|tls| tls.key_file = None)).contains("belong together"));
    assert!(why_not(&url, with(&|tls| tls.cert_file = Some(fixture("README.md")))).contains("no certificate in it"));
    let also = AerospikeOptions { user: Some("joe".to_owned()), ..with(&|_| {}) };
    assert!(why_not(&url, also).contains("the certificate says who"));
    // Who shows none is nobody.
    let nobody = AerospikeOptions { auth: Auth::Internal, tls: Some(tls()), ..quick() };
    assert!(why_not(&url, nobody).contains("not authenticated"));
}

#[test]
fn authorities_may_lie_in_a_folder_and_versions_and_suites_be_chosen() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("ca.pem"), dir.path().join("5e1f.0")).unwrap();
    std::fs::copy(fixture("README.md"), dir.path().join("README")).unwrap();
    std::fs::create_dir(dir.path().join("more")).unwrap();
    let folder = || TlsOptions { ca_file: None, ca_path: Some(dir.path().to_owned()), ..tls() };
    let old = here(Config { tls: Some(server_tls().with_only(false).unwrap()), ..Config::with_nodes(1) });
    let new = here(Config { tls: Some(server_tls().with_only(true).unwrap()), ..Config::with_nodes(1) });
    let reach = |server: &Handle, tls: TlsOptions| {
        let options = AerospikeOptions { tls: Some(tls), max_retries: 0, ..quick() };
        AerospikeSource::new(&SourceUrl::parse(&server.url()).unwrap(), options).map(drop).map_err(|e| e.to_string())
    };
    reach(&old, folder()).unwrap();
    reach(&new, folder()).unwrap();
    let spoken = |list: &str| TlsOptions { protocols: Some(list.to_owned()), ..tls() };
    assert!(reach(&old, spoken("TLSv1.3")).unwrap_err().contains("open TLS to"));
    assert!(reach(&new, spoken("-all +TLSv1.2")).unwrap_err().contains("open TLS to"));
    reach(&old, spoken("TLSv1.2")).unwrap();
    let suites = |list: &str| TlsOptions { cipher_suites: Some(list.to_owned()), ..tls() };
    reach(&old, suites("ECDHE-ECDSA-AES256-GCM-SHA384:AES256-SHA")).unwrap();
    // None of TLS 1.3 is among them.
    assert!(reach(&new, suites("ECDHE-ECDSA-AES256-GCM-SHA384")).is_err());
    assert!(reach(&new, suites("RC4-MD5")).unwrap_err().contains("names no cipher suite"));
    std::fs::remove_file(dir.path().join("5e1f.0")).unwrap();
    assert!(reach(&old, folder()).unwrap_err().contains("holds no certificate"));
}

#[test]
fn a_host_may_be_typed_with_the_name_of_its_certificate() {
    let server = here(Config { tls: Some(server_tls()), ..Config::with_nodes(2) });
    let (_world, repo) = populated(&server, 50, 126);
    let address = server.address(0);
    let url = |name: &str| format!("aerospike://{}:{name}:{}/test", address.ip(), address.port());
    // The name that is typed of one host is stronger than the one of all.
    for all in [None, Some("aerospike.test".to_owned())] {
        let options = || AerospikeOptions { tls: Some(TlsOptions { name: all.clone(), ..tls() }), ..quick() };
        let (outcome, _) = try_back_up(&repo, &url("aerospike.test"), options(), &plain()).unwrap();
        assert_eq!((outcome.complete, outcome.records), (true, 50));
        assert!(why_not(&url("else.test"), options()).contains("open TLS to"));
    }
}
