//! The official Rust client, unmodified, against the server: what it can do to a real cluster it can do here.
// The client's policies cannot be built otherwise: they have private fields.
#![allow(clippy::unwrap_used, clippy::field_reassign_with_default)]

use std::collections::BTreeSet;
use std::future::Future;

use aerospike::expressions::{eq, ge, gt, int_bin, int_val, last_update, set_name, string_val};
use aerospike::query::PartitionFilter;
use aerospike::{
    AdminPolicy, BatchDeletePolicy, BatchOperation, BatchPolicy, BatchReadPolicy, BatchWritePolicy, Bins, Client,
    ClientPolicy, CollectionIndexType, Expiration, GenerationPolicy, IndexType, Key, QueryPolicy, ReadPolicy,
    RecordExistsAction, ResultCode, Statement, Task, UdfLang, Value, WritePolicy, as_bin, as_key, operations,
};
use futures::StreamExt as _;
use rekeep_aerospike_server::{ClockMode, Config, Handle, Seed, Server, User};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

fn start(nodes: usize) -> Handle {
    Server::start(Config { clock: ClockMode::Real, ..Config::with_nodes(nodes) }).unwrap()
}

async fn connect(server: &Handle, policy: &ClientPolicy) -> Client {
    let hosts = server.address(0).to_string();
    Client::new(policy, &hosts).await.unwrap()
}

/// The integer bin `n` of every record of a query.
async fn numbers(
    client: &Client,
    policy: &QueryPolicy,
    filter: PartitionFilter,
    statement: Statement,
) -> BTreeSet<i64> {
    let records = client.query(policy, filter, statement).await.unwrap();
    let mut stream = records.into_stream();
    let mut numbers = BTreeSet::new();
    while let Some(record) = stream.next().await {
        match record.unwrap().bins.get("n") {
            Some(Value::Int(n)) => assert!(numbers.insert(*n), "{n} came twice"),
            other => panic!("no number: {other:?}"),
        }
    }
    numbers
}

#[test]
fn it_writes_reads_touches_and_deletes_records() {
    let server = start(2);
    block_on(async {
        let client = connect(&server, &ClientPolicy::default()).await;
        assert_eq!(client.nodes().len(), 2);
        let (read, mut write) = (ReadPolicy::default(), WritePolicy::default());
        write.send_key = true;
        for i in 0..50i64 {
            let key = as_key!("test", "demo", i);
            let bins = [as_bin!("n", i), as_bin!("s", "text"), as_bin!("f", 1.5), as_bin!("b", true)];
            client.put(&write, &key, &bins).await.unwrap();
        }
        let key = as_key!("test", "demo", 7);
        let record = client.get(&read, &key, Bins::All).await.unwrap();
        assert_eq!(record.bins.get("n"), Some(&Value::Int(7)));
        assert_eq!(record.bins.get("s"), Some(&Value::from("text")));
        assert_eq!(record.generation, 1);
        client.touch(&write, &key).await.unwrap();
        assert_eq!(client.get(&read, &key, Bins::None).await.unwrap().generation, 2);
        assert_eq!(client.get(&read, &key, Bins::from(["f"])).await.unwrap().bins.len(), 1);
        let seven = as_bin!("n", 70);
        let done = client.operate(&write, &key, &[operations::put(&seven), operations::get()]).await.unwrap();
        assert_eq!(done.bins.get("n"), Some(&Value::Int(70)));
        assert!(client.exists(&read, &key).await.unwrap());
        assert!(client.delete(&write, &key).await.unwrap());
        assert!(!client.delete(&write, &key).await.unwrap());
        assert!(!client.exists(&read, &key).await.unwrap());
        client.close().await.unwrap();
    });
    let dump = server.dump("test");
    assert_eq!(dump.len(), 49);
    assert!(dump.iter().all(|record| record.set == b"demo" && record.key.as_ref().unwrap()[0] == 1));
}

#[test]
fn it_writes_and_reads_batches_with_the_policies_of_a_restore() {
    let server = start(2);
    block_on(async {
        let client = connect(&server, &ClientPolicy::default()).await;
        let mut policy = BatchWritePolicy::default();
        policy.record_exists_action = RecordExistsAction::CreateOnly;
        policy.generation_policy = GenerationPolicy::ExpectGenGreater;
        policy.generation = 7;
        policy.expiration = Expiration::Never;
        policy.send_key = true;
        let keys: Vec<Key> = (0..200i64).map(|i| as_key!("test", "demo", i)).collect();
        let bins: Vec<_> = (0..200i64).map(|i| as_bin!("n", i)).collect();
        let writes = || -> Vec<BatchOperation> {
            let pairs = keys.iter().zip(&bins);
            pairs.map(|(key, bin)| BatchOperation::write(&policy, key.clone(), vec![operations::put(bin)])).collect()
        };
        let mut batch = writes();
        client.batch(&BatchPolicy::write_default(), &mut batch).await.unwrap();
        assert!(batch.iter().all(|row| row.result_code() == Some(ResultCode::Ok)));
        let mut again = writes();
        let _ = client.batch(&BatchPolicy::write_default(), &mut again).await;
        assert!(again.iter().all(|row| row.result_code() == Some(ResultCode::KeyExistsError)));
        let read = BatchReadPolicy::default();
        let mut batch: Vec<_> = keys.iter().map(|key| BatchOperation::read(&read, key.clone(), Bins::All)).collect();
        client.batch(&BatchPolicy::default(), &mut batch).await.unwrap();
        for (i, row) in batch.iter().enumerate() {
            let record = row.batch_record().record.as_ref().unwrap();
            assert_eq!(record.bins.get("n"), Some(&Value::Int(i as i64)));
        }
        let delete = BatchDeletePolicy::default();
        let mut batch: Vec<_> = keys[..50].iter().map(|key| BatchOperation::delete(&delete, key.clone())).collect();
        client.batch(&BatchPolicy::write_default(), &mut batch).await.unwrap();
    });
    assert_eq!(server.count("test"), 150);
}

#[test]
fn it_queries_everything_pages_and_filters() {
    let server = start(3);
    server.put_all("test", (0..1000).map(|i| Seed::int(i).set("demo").bin_int("n", i)));
    server.put_all("test", (0..100).map(|i| Seed::int(i).set("other").bin_int("n", i)));
    block_on(async {
        let client = connect(&server, &ClientPolicy::default()).await;
        let statement = || Statement::new("test", "demo", Bins::All);
        let all = numbers(&client, &QueryPolicy::default(), PartitionFilter::all(), statement()).await;
        assert_eq!(all, (0..1000).collect());

        let mut paged = QueryPolicy::default();
        paged.max_records = 150;
        let (mut cursor, mut seen) = (PartitionFilter::all(), BTreeSet::new());
        while !cursor.done() {
            let records = client.query(&paged, cursor, statement()).await.unwrap();
            let mut stream = records.clone().into_stream();
            while let Some(record) = stream.next().await {
                let Some(Value::Int(n)) = record.unwrap().bins.get("n").cloned() else { panic!("no number") };
                assert!(seen.insert(n), "{n} came twice");
            }
            cursor = records.partition_filter().unwrap();
        }
        assert_eq!(seen, all);

        let mut filtered = QueryPolicy::default();
        let filter = aerospike::expressions::and(vec![
            gt(int_bin("n"), int_val(989)),
            ge(last_update(), int_val(1)),
            eq(set_name(), string_val("demo")),
        ]);
        filtered.base_policy.filter_expression = Some(filter);
        let some = numbers(&client, &filtered, PartitionFilter::all(), Statement::new("test", "", Bins::All)).await;
        assert_eq!(some, (990..1000).collect());
        let range = numbers(&client, &QueryPolicy::default(), PartitionFilter::by_range(0, 2048), statement()).await;
        assert!((400..600).contains(&range.len()), "{}", range.len());
    });
}

#[test]
fn it_makes_and_drops_indexes_registers_and_removes_modules_and_truncates() {
    let server = start(2);
    server.put_all("test", (0..10).map(|i| Seed::int(i).set("demo").bin_int("n", i)));
    block_on(async {
        let client = connect(&server, &ClientPolicy::default()).await;
        let admin = AdminPolicy::default();
        let kind = (IndexType::Numeric, CollectionIndexType::Default);
        let task = client.create_index_on_bin(&admin, "test", "demo", "n", "idx", kind.0, kind.1, None).await.unwrap();
        task.wait_till_complete(None).await.unwrap();
        client.create_set_index(&admin, "test", "demo", "whole").await.unwrap().wait_till_complete(None).await.unwrap();
        client.drop_index(&admin, "test", "demo", "idx").await.unwrap().wait_till_complete(None).await.unwrap();
        let body = b"function f(r) return 1 end";
        let task = client.register_udf(&admin, body, "module.lua", UdfLang::Lua).await.unwrap();
        task.wait_till_complete(None).await.unwrap();
        let listed = client.info(&admin, &["udf-list", "sindex-list:namespace=test"]).await.unwrap();
        assert!(listed["udf-list"].contains("module.lua"));
        assert!(
            listed["sindex-list:namespace=test"].contains("indexname=whole")
                && !format!("{listed:?}").contains("=idx:")
        );
        client.remove_udf(&admin, "module.lua").await.unwrap().wait_till_complete(None).await.unwrap();
        client.truncate(&admin, "test", "demo", 0).await.unwrap();
    });
    assert_eq!(server.count("test"), 0);
}

#[test]
fn it_logs_in_with_a_password() {
    // bcrypt of "admin" with the salt that all clients use.
    let credential = b"$2a$10$7EqJtq98hPqEX7fNZaFWoO1mVO/4MLpGzsqojz6E9Gef6iXDjXdDa".to_vec();
    let users = vec![User { name: "admin".into(), credential }];
    let server = Server::start(Config { users, clock: ClockMode::Real, ..Config::with_nodes(2) }).unwrap();
    block_on(async {
        let mut policy = ClientPolicy::default();
        policy.auth_mode = aerospike::AuthMode::Internal("admin".into(), "admin".into());
        let client = connect(&server, &policy).await;
        client.put(&WritePolicy::default(), &as_key!("test", "demo", 1), &[as_bin!("n", 1)]).await.unwrap();
        policy.auth_mode = aerospike::AuthMode::Internal("admin".into(), "wrong".into());
        assert!(Client::new(&policy, &server.address(0).to_string()).await.is_err());
    });
    assert_eq!(server.count("test"), 1);
}

#[test]
fn it_notices_a_node_that_died_and_goes_on_with_the_others() {
    let server =
        Server::start(Config { replication_factor: 2, clock: ClockMode::Real, ..Config::with_nodes(3) }).unwrap();
    server.put_all("test", (0..500).map(|i| Seed::int(i).set("demo").bin_int("n", i)));
    block_on(async {
        let client = connect(&server, &ClientPolicy::default()).await;
        server.kill_node(2);
        let mut tries = 0;
        while client.nodes().len() != 2 {
            tries += 1;
            assert!(tries < 600, "the client keeps {} nodes", client.nodes().len());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let statement = Statement::new("test", "demo", Bins::All);
        let all = numbers(&client, &QueryPolicy::default(), PartitionFilter::all(), statement).await;
        assert_eq!(all.len(), 500);
    });
}
