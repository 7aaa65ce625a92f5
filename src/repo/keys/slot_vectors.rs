//! `format-spec/vectors/slots.json`: key slots of every kind and role, and what becomes of them when they are altered.
//! What is drawn at random is written once (`REKEEP_WRITE_VECTORS=1`) and opened for ever.

use super::{
    recovery,
    slot::{Attempt, Slot},
    vectors::keyring,
    *,
};
use crate::repo::RepoError;
use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value as Json, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

const CHEAP: KdfParams = KdfParams { memory_kib: 16, passes: 1, lanes: 2 };
const NAME: &str = "5107a0b1c2d3e4f5061728394a5b6c7d";

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors/slots.json")
}

/// A provider that made `wrapped` of the slot key that it gives back.
#[derive(Debug)]
struct Kept {
    provider: String,
    wrapped: Vec<u8>,
    /// What it gives back; when a slot is made, what it was given.
    key: std::sync::Mutex<Vec<u8>>,
}

impl KeyWrapper for Kept {
    fn provider(&self) -> &str {
        &self.provider
    }

    fn wrap(&self, key: &[u8; 32]) -> Result<Vec<u8>, String> {
        *self.key.lock().unwrap() = key.to_vec();
        Ok(self.wrapped.clone())
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        if wrapped != self.wrapped {
            return Err("it wrapped no such key".to_owned());
        }
        Ok(Zeroizing::new(self.key.lock().unwrap().clone()))
    }
}

fn kept(secret: &Json) -> Kept {
    let bytes = |name: &str| BASE64.decode(secret[name].as_str().unwrap().as_bytes()).unwrap();
    Kept {
        provider: secret["provider"].as_str().unwrap().to_owned(),
        wrapped: bytes("wrapped"),
        key: bytes("key").into(),
    }
}

fn unlock(secret: &Json) -> Unlock {
    let text = |name: &str| secret[name].as_str().map(str::to_owned);
    match (text("password"), text("recovery")) {
        (Some(password), _) => Unlock::Password(password),
        (_, Some(recovery)) => Unlock::Recovery(recovery),
        _ => Unlock::External(Arc::new(kept(secret))),
    }
}

/// What a reader with this secret makes of a slot: the epochs that it finds in it, or why it does not.
fn opened(id: &RepoId, name: &str, secret: &Json, bytes: &[u8]) -> (&'static str, Option<Json>) {
    let attempt = Attempt::new(&unlock(secret)).unwrap();
    let result = Slot::parse(name, &slot::path(name), bytes, id)
        .and_then(|slot| if attempt.fits(&slot) { slot.open(name, &attempt) } else { Ok(None) });
    match result {
        Ok(Some(epochs)) => ("opens", Some(json!(epochs))),
        Ok(None) | Err(RepoError::KeyService { .. }) => ("stays closed", None),
        Err(RepoError::UnknownFeature { .. } | RepoError::NewerFormat { .. }) => ("unknown", None),
        Err(RepoError::Damaged { .. }) => ("damaged", None),
        Err(error) => panic!("{error}"),
    }
}

/// Both lines of a slot, the first as it is given.
fn two_lines(line: &str) -> Vec<u8> {
    let line = format!("{line}\n");
    format!("{line}\"{}\"\n", blake3::hash(line.as_bytes())).into_bytes()
}

fn external(provider: &str, wrapped: &[u8]) -> Json {
    json!({ "provider": provider, "wrapped": BASE64.encode(wrapped) })
}

/// A new slot, and the secret that opens it with what its provider was given.
fn made(keyring: &Keyring, role: Role, mut secret: Json) -> (Json, Slot) {
    let make = |unlock: &Unlock| {
        Slot::make(NAME, keyring, unlock, role, CHEAP, "mia@host", Timestamp::from_millis(1_790_000_000_000)).unwrap()
    };
    if secret.get("provider").is_none() {
        return (secret.clone(), make(&unlock(&secret)));
    }
    secret["key"] = json!("");
    let provider = Arc::new(kept(&secret));
    let slot = make(&Unlock::External(Arc::clone(&provider) as Arc<dyn KeyWrapper>));
    secret["key"] = json!(BASE64.encode(&provider.key.lock().unwrap()));
    (secret, slot)
}

fn vectors() -> Json {
    let id = keyring(Suite::ChaCha20Poly1305).repo_id;
    let mut all = Vec::new();
    let mut put = |why: &str, name: &str, secret: &Json, bytes: Vec<u8>| {
        let (outcome, epochs) = opened(&id, name, secret, &bytes);
        let text = String::from_utf8(bytes).unwrap();
        let name = format!("keys/{name}");
        let mut one = json!({ "why": why, "name": name, "secret": secret, "outcome": outcome, "text": text });
        if let Some(epochs) = epochs {
            one["epochs"] = epochs;
        }
        all.push(one);
    };
    let recovery = json!({ "recovery": recovery::print(&[7; 32]) });
    let vault = external("vault", b"vault:v1:bm90IHdoYXQgaXQgbWFkZSBvZiBpdA==");
    for (suite, role, secret) in [
        (Suite::ChaCha20Poly1305, Role::Admin, json!({ "password": "päss wörd" })),
        (Suite::ChaCha20Poly1305, Role::ReadOnly, json!({ "password": "p" })),
        (Suite::ChaCha20Poly1305, Role::Admin, recovery),
        (Suite::ChaCha20Poly1305, Role::Admin, external("command", b"wrapped by a command")),
        (Suite::ChaCha20Poly1305, Role::Operator, external("aws-kms", &[1; 184])),
        (Suite::ChaCha20Poly1305, Role::ReadOnly, external("azure-key-vault", &[2; 256])),
        (Suite::ChaCha20Poly1305, Role::PutOnly, external("gcp-kms", &[3; 113])),
        (Suite::Aes256Gcm, Role::Admin, vault.clone()),
        (Suite::ChaCha20Poly1305, Role::Admin, external("a provider of tomorrow", b"")),
        (Suite::ChaCha20Poly1305, Role::Admin, external("", &[0, 255, 10])),
    ] {
        let (secret, slot) = made(&keyring(suite), role, secret);
        let why = format!("{} of {}, suite {}", slot.kind, role.name(), suite as u8);
        put(&why, NAME, &secret, lines::print(&slot).unwrap());
    }
    let (secret, slot) = made(&keyring(Suite::ChaCha20Poly1305), Role::ReadOnly, vault);
    let line = serde_json::to_string(&slot).unwrap();
    let said: Json = serde_json::from_str(&line).unwrap();
    let with = |change: &dyn Fn(&mut Json)| {
        let mut said = said.clone();
        change(&mut said);
        two_lines(&said.to_string())
    };
    put("its members in another order", NAME, &secret, with(&|_| {}));
    put("blanks between its members", NAME, &secret, two_lines(&line.replace(',', " ,\t")));
    put("under another name", "6107a0b1c2d3e4f5061728394a5b6c7d", &secret, two_lines(&line));
    let mut other = secret.clone();
    other["key"] = json!(BASE64.encode(&[9; 32]));
    put("the provider gives another key", NAME, &other, two_lines(&line));
    other["key"] = json!(BASE64.encode(&[9; 31]));
    put("the provider gives 31 bytes", NAME, &other, two_lines(&line));
    put("a password for it", NAME, &json!({ "password": "p" }), two_lines(&line));
    put("another provider is asked", NAME, &external_with("command", &secret), two_lines(&line));
    let renamed = with(&|it| it["kdf"]["provider"] = json!("command"));
    put("it names another provider, which gives the same key", NAME, &external_with("command", &secret), renamed);
    let longest = "A".repeat(16 * 1024 / 3 * 4) + "AA==";
    let other_key = with(&|it| it["kdf"]["key"] = json!(BASE64.encode(b"something else")));
    let mut same_key = secret.clone();
    same_key["wrapped"] = json!(BASE64.encode(b"something else"));
    put("another wrapped key, of which the same key comes", NAME, &same_key, other_key);
    same_key["wrapped"] = json!(longest);
    put("a wrapped key as long as may be", NAME, &same_key, with(&|it| it["kdf"]["key"] = json!(longest)));
    for (why, change) in [
        ("another role", (|it| it["role"] = json!("admin")) as fn(&mut Json)),
        ("another label", |it| it["label"] = json!("mia@hos")),
        ("another time", |it| it["created"] = json!(1)),
        ("another suite", |it| it["suite"] = json!(2)),
        ("a suite that there is not", |it| it["suite"] = json!(9)),
        ("another kind", |it| it["kind"] = json!("password")),
        ("a kind that there is not", |it| it["kind"] = json!("passkey")),
        ("a role that there is not", |it| it["role"] = json!("root")),
        ("a newer format", |it| it["format"] = json!(2)),
        ("no format", |it| it["format"] = json!(0)),
        ("of another repository", |it| it["repository"] = json!("ff".repeat(16))),
        ("a salt", |it| it["kdf"]["salt"] = json!(BASE64.encode(&[0; 16]))),
        ("no provider", |it| drop(it["kdf"].as_object_mut().unwrap().remove("provider"))),
        ("no label", |it| drop(it.as_object_mut().unwrap().remove("label"))),
        ("a member more", |it| it["note"] = json!("x")),
        ("a wrapped key that is no base64", |it| it["kdf"]["key"] = json!("%")),
        ("a wrapped key without its padding", |it| it["kdf"]["key"] = json!("AAA")),
        ("a wrapped key of one byte too many", |it| {
            it["kdf"]["key"] = json!("A".repeat(16 * 1024 / 3 * 4) + "AAA=");
        }),
        ("a wrapped keyring that is no base64", |it| it["wrapped"] = json!("%")),
        ("a wrapped keyring of nothing", |it| it["wrapped"] = json!("")),
    ] {
        put(why, NAME, &secret, with(&change));
    }
    put("a member twice", NAME, &secret, two_lines(&line.replacen('{', "{\"label\":\"mia@host\",", 1)));
    let text = String::from_utf8(two_lines(&line)).unwrap();
    put("without its second line", NAME, &secret, format!("{line}\n").into_bytes());
    put("another hash", NAME, &secret, text.replacen("mia", "mai", 1).into_bytes());
    put("a byte behind it", NAME, &secret, format!("{text}\n").into_bytes());
    put("nothing", NAME, &secret, Vec::new());
    json!({ "repository": HEXLOWER.encode(&id.0), "slots": all })
}

fn external_with(provider: &str, secret: &Json) -> Json {
    let mut secret = secret.clone();
    secret["provider"] = json!(provider);
    secret
}

#[test]
fn slots_open_or_are_refused_as_the_vectors_say() {
    if std::env::var_os("REKEEP_WRITE_VECTORS").is_some() {
        std::fs::write(path(), serde_json::to_string_pretty(&vectors()).unwrap() + "\n").unwrap();
    }
    let kept: Json = serde_json::from_str(&std::fs::read_to_string(path()).unwrap()).unwrap();
    let id: RepoId = serde_json::from_value(kept["repository"].clone()).unwrap();
    let slots = kept["slots"].as_array().unwrap();
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for one in slots {
        let name = one["name"].as_str().unwrap().strip_prefix("keys/").unwrap();
        let (outcome, epochs) = opened(&id, name, &one["secret"], one["text"].as_str().unwrap().as_bytes());
        assert_eq!(one["outcome"], outcome, "{}", one["why"]);
        assert_eq!(one.get("epochs"), epochs.as_ref(), "{}", one["why"]);
        *outcomes.entry(outcome).or_default() += 1;
    }
    assert!(outcomes["opens"] >= 12 && outcomes["stays closed"] >= 10 && outcomes["damaged"] >= 14, "{outcomes:?}");
    assert!(outcomes["unknown"] >= 4, "{outcomes:?}");
}
