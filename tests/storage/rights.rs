//! The policies of the documentation, as they stand there, at a server that heeds them.

use crate::{
    run::Life,
    server::{Server, part, program},
};
use std::process::Command;

/// Makes the bucket, and a user with a policy; prints the user's keys.
const MAKE: &str = r#"
import boto3, sys
port, user, policy = sys.argv[1:]
at = dict(endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
s3, iam = boto3.client("s3", **at), boto3.client("iam", **at)
if not s3.list_buckets()["Buckets"]:
    s3.create_bucket(Bucket="bucket")
iam.create_user(UserName=user)
iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=policy)
key = iam.create_access_key(UserName=user)["AccessKey"]
print(key["AccessKeyId"], key["SecretAccessKey"])
"#;

fn python(script: &str, args: &[&str]) -> String {
    let output = Command::new(part("moto").join("bin/python")).args(["-c", script]).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A server that lets nobody do what no policy allows.
fn strict() -> Server {
    Server::start(|port, folder| {
        let mut command = Command::new(program("ministack", "ministack"));
        command.env("AUTH", "true").env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", port.to_string());
        command.current_dir(folder);
        command
    })
}

/// A user with this policy, as the environment has its keys.
fn user(server: &Server, name: &str, policy: &str) -> [(&'static str, String); 2] {
    let keys = python(MAKE, &[&server.port.to_string(), name, policy]);
    let (id, secret) = keys.split_once(' ').unwrap();
    [("AWS_ACCESS_KEY_ID", id.to_owned()), ("AWS_SECRET_ACCESS_KEY", secret.to_owned())]
}

#[test]
#[ignore = "needs ministack, moto"]
fn the_least_rights_of_the_documentation_suffice_for_each_role_and_for_nothing_more() {
    let page = include_str!("../../docs/storage.md");
    let adds = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let adds = adds.replace("BUCKET", "bucket").replace("PREFIX", "app");
    // As the page says what to add and what to leave out.
    let with_deletes =
        adds.replace("\"s3:AbortMultipartUpload\"]", "\"s3:AbortMultipartUpload\", \"s3:DeleteObject\"]");
    let reads = adds.replace("\"s3:GetObject\", \"s3:PutObject\", \"s3:AbortMultipartUpload\"", "\"s3:GetObject\"");
    assert!(with_deletes != adds && reads != adds);
    let server = strict();
    let uri = format!("s3://bucket/app?endpoint={}&region=us-east-1", server.url());
    let life = |name: &str, policy: &str| {
        let keys = user(&server, name, policy);
        let mut environment: Vec<(&str, &str)> = keys.iter().map(|(name, value)| (*name, value.as_str())).collect();
        environment.push(("AWS_REGION", "us-east-1"));
        Life::at(&uri, &environment)
    };
    let host = life("host", &adds);
    host.init();
    host.fill(2_000);
    let first = host.backup();
    host.sql("UPDATE t SET data = randomblob(500) WHERE id % 10 = 7");
    host.backup();
    host.ok(&["verify", "--read-data"]);
    let before = host.rows("app.db");
    host.ok(&["restore", "latest", "sqlite:second.db"]);
    assert!(host.rows("second.db") == before);
    host.ok(&["forget", &first]);
    // What cannot be deleted is named, and no damage.
    let pruned = host.run(&["prune"]);
    let err = String::from_utf8_lossy(&pruned.stderr);
    assert_eq!(pruned.status.code(), Some(3), "{err}");
    assert!(err.contains("s3:DeleteObject") && !err.contains("rekeep repair"), "{err}");
    // Whoever may only read restores and verifies, and is told what he may not do.
    let reader = life("reader", &reads);
    reader.ok(&["restore", "latest", "sqlite:second.db"]);
    assert!(reader.rows("second.db") == before);
    reader.ok(&["verify", "--read-data"]);
    reader.fill(10);
    let refused = reader.run(&["backup", "sqlite:app.db"]);
    let err = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{err}");
    assert!(err.contains("s3:PutObject"), "{err}");
    // Whoever prunes deletes.
    let keeper = life("pruner", &with_deletes);
    let done = keeper.json(&["prune"]);
    assert_eq!(done["failures"], serde_json::json!([]), "{done}");
    assert_eq!(done["revisions_removed"], 1, "{done}");
    keeper.ok(&["verify", "--read-data"]);
}
