//! Key services of clouds and of Vault: which one a person names, and what it is asked.

use super::{
    azure,
    https::{Https, member, run, safe},
};
use crate::repo::keys::KeyWrapper;
use bytes::Bytes;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use http::{Request, Uri, header};
use reqsign_core::{Context, OsEnv, Signer, hash::hex_sha256};
use reqsign_file_read_tokio::TokioFileRead;
use serde_json::{Value as Json, json};
use std::{collections::BTreeMap, path::PathBuf};
use zeroize::Zeroizing;

/// What every token of Google's is asked for.
const GOOGLE_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// The version of Azure's interface.
const AZURE_VERSION: &str = "7.4";

/// A service that wraps and unwraps the keys of slots by a key that never leaves it.
///
/// | named as | service | credentials |
/// |---|---|---|
/// | `aws-kms:KEY?region=R` | AWS KMS; KEY is an id, an ARN or `alias/NAME` | as for `s3:` but for `credential_process`: environment, profiles, web identity, ECS, instance metadata |
/// | `azure-key-vault:https://VAULT.vault.azure.net/keys/NAME` | an RSA key in Azure Key Vault | client secret or federated token by `AZURE_*`, else the managed identity |
/// | `gcp-kms:projects/P/locations/L/keyRings/R/cryptoKeys/K` | Google Cloud KMS | application default credentials |
/// | `vault:https://HOST:8200/MOUNT/NAME` | a key of the transit engine of Vault or `OpenBao` | `VAULT_TOKEN`, `VAULT_NAMESPACE`, `~/.vault-token` |
///
/// The first and the third take `endpoint=` for another address. No credential is part of the name.
#[derive(Debug, Clone)]
pub struct KeyService {
    at: At,
    https: Https,
}

#[derive(Debug, Clone)]
enum At {
    Aws { key: String, region: String, endpoint: Uri },
    Azure { key: Uri },
    Google { key: String, endpoint: Uri },
    Vault { address: String, mount: String, key: String },
}

impl KeyService {
    /// The service that this names.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn parse(name: &str) -> Result<Self, String> {
        Self::parse_with(name, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn parse_with(name: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let forms = "a key service is aws-kms:KEY?region=R, azure-key-vault:https://VAULT…/keys/NAME, \
                     gcp-kms:projects/…/cryptoKeys/K or vault:https://HOST/MOUNT/NAME";
        let (scheme, rest) = name.split_once(':').ok_or_else(|| format!("{name}: {forms}"))?;
        let (key, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut options: BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let plain = |text: &str, also: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || also.as_bytes().contains(&byte))
        };
        let at = match scheme {
            "aws-kms" if plain(key, ":/_-") => {
                let of_arn = key.strip_prefix("arn:").and_then(|arn| arn.split(':').nth(2)).map(str::to_owned);
                let given = options.remove("region").map(str::to_owned).or(of_arn);
                let known = given.or_else(|| environment("AWS_REGION")).or_else(|| environment("AWS_DEFAULT_REGION"));
                let region = known.filter(|region| plain(region, "-"));
                let region = region.ok_or_else(|| format!("{name}: say which region: aws-kms:KEY?region=R"))?;
                let usual = format!("https://kms.{region}.amazonaws.com/");
                let endpoint = safe(options.remove("endpoint").unwrap_or(&usual))?;
                At::Aws { key: key.to_owned(), region, endpoint }
            }
            "azure-key-vault" => {
                let uri = safe(key)?;
                let parts: Vec<&str> = uri.path().split('/').collect();
                let fits = matches!(*parts.as_slice(), ["", "keys", name] if plain(name, "-"));
                if !fits {
                    return Err(format!("{name}: a key of Azure's is https://VAULT.vault.azure.net/keys/NAME"));
                }
                At::Azure { key: uri }
            }
            "gcp-kms" if plain(key, "/_-.:") && !key.contains("..") && key.contains("/cryptoKeys/") => {
                let endpoint = safe(options.remove("endpoint").unwrap_or("https://cloudkms.googleapis.com"))?;
                At::Google { key: key.to_owned(), endpoint }
            }
            "vault" => {
                let uri = safe(key)?;
                let path = uri.path().trim_matches('/');
                let (mount, last) = path.rsplit_once('/').unwrap_or(("transit", path));
                if !plain(mount, "/_-") || !plain(last, "_-.") {
                    return Err(format!("{name}: a key of Vault's is https://HOST:8200/MOUNT/NAME"));
                }
                let address = key[..key.len() - uri.path().len()].to_owned();
                At::Vault { address, mount: mount.to_owned(), key: last.to_owned() }
            }
            _ => return Err(format!("{name}: {forms}")),
        };
        if let Some(unknown) = options.keys().next() {
            return Err(format!("{name}: there is no option `{unknown}`"));
        }
        Ok(Self { at, https: Https::new()? })
    }

    fn context(&self) -> Context {
        Context::new().with_file_read(TokioFileRead).with_http_send(self.https.clone()).with_env(OsEnv)
    }

    /// Asks AWS for one operation on the key.
    async fn aws(self, action: &'static str, fields: Json) -> Result<Json, String> {
        let At::Aws { key, region, endpoint } = &self.at else { return Err("it is another service".to_owned()) };
        let mut body = fields;
        body["KeyId"] = json!(key);
        let body = Bytes::from(body.to_string());
        let request = Request::post(endpoint.clone())
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", format!("TrentService.{action}"))
            .header("x-amz-content-sha256", hex_sha256(&body))
            .body(body)
            .map_err(|error| error.to_string())?;
        let signer = Signer::new(
            self.context(),
            reqsign_aws_v4::DefaultCredentialProvider::new(),
            reqsign_aws_v4::RequestSigner::new("kms", region),
        );
        self.signed(&signer, request).await
    }

    async fn google(self, action: &'static str, fields: Json) -> Result<Json, String> {
        let At::Google { key, endpoint } = &self.at else { return Err("it is another service".to_owned()) };
        let address = format!("{}/v1/{key}:{action}", endpoint.to_string().trim_end_matches('/'));
        let request = json_request(&address, &fields)?;
        let signer = Signer::new(
            self.context(),
            reqsign_google::DefaultCredentialProvider::new(),
            reqsign_google::RequestSigner::new("cloudkms").with_scope(GOOGLE_SCOPE),
        );
        self.signed(&signer, request).await
    }

    async fn signed<K: reqsign_core::SigningCredential>(
        &self,
        signer: &Signer<K>,
        request: Request<Bytes>,
    ) -> Result<Json, String> {
        let (mut head, body) = request.into_parts();
        signer.sign(&mut head, None).await.map_err(|error| format!("there are no credentials for it: {error}"))?;
        self.https.ask(Request::from_parts(head, body)).await
    }

    async fn azure(self, version: String, action: &'static str, value: String) -> Result<Json, String> {
        let At::Azure { key } = &self.at else { return Err("it is another service".to_owned()) };
        let token = azure::token(&self.https, key).await?;
        let version = if version.is_empty() { version } else { format!("/{version}") };
        let address = format!("{key}{version}/{action}?api-version={AZURE_VERSION}");
        let mut request = json_request(&address, &json!({ "alg": "RSA-OAEP-256", "value": value }))?;
        request.headers_mut().insert(header::AUTHORIZATION, secret_header(&format!("Bearer {}", *token))?);
        self.https.ask(request).await
    }

    async fn vault(self, action: &'static str, fields: Json) -> Result<Json, String> {
        let At::Vault { address, mount, key } = &self.at else { return Err("it is another service".to_owned()) };
        let token = std::env::var("VAULT_TOKEN").ok().filter(|token| !token.is_empty());
        let token = token.or_else(|| {
            let home = std::env::var_os("HOME").map(PathBuf::from)?;
            std::fs::read_to_string(home.join(".vault-token")).ok().map(|token| token.trim().to_owned())
        });
        let token = Zeroizing::new(token.ok_or("VAULT_TOKEN is not set, and there is no ~/.vault-token")?);
        let mut request = json_request(&format!("{address}/v1/{mount}/{action}/{key}"), &fields)?;
        request.headers_mut().insert("x-vault-token", secret_header(&token)?);
        if let Ok(namespace) = std::env::var("VAULT_NAMESPACE")
            && !namespace.is_empty()
        {
            request.headers_mut().insert("x-vault-namespace", secret_header(&namespace)?);
        }
        self.https.ask(request).await
    }
}

impl KeyWrapper for KeyService {
    fn provider(&self) -> &'static str {
        match self.at {
            At::Aws { .. } => "aws-kms",
            At::Azure { .. } => "azure-key-vault",
            At::Google { .. } => "gcp-kms",
            At::Vault { .. } => "vault",
        }
    }

    fn wrap(&self, key: &[u8; 32]) -> Result<Vec<u8>, String> {
        let service = self.clone();
        let plain = BASE64.encode(key);
        let text = match self.at {
            At::Aws { .. } => {
                return base64(&run(service.aws("Encrypt", json!({ "Plaintext": plain })))?, &["CiphertextBlob"]);
            }
            At::Google { .. } => {
                return base64(&run(service.google("encrypt", json!({ "plaintext": plain })))?, &["ciphertext"]);
            }
            At::Azure { .. } => {
                let value = BASE64URL_NOPAD.encode(key);
                let answer = run(service.azure(String::new(), "wrapkey", value))?;
                // Unwrapping takes the version that wrapped; where the key is stays the person's to say.
                let version = member(&answer, &["kid"])?.rsplit('/').next().unwrap_or_default().to_owned();
                format!("{version}:{}", member(&answer, &["value"])?)
            }
            At::Vault { .. } => {
                let answer = run(service.vault("encrypt", json!({ "plaintext": plain })))?;
                member(&answer, &["data", "ciphertext"])?.to_owned()
            }
        };
        Ok(text.into_bytes())
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        let service = self.clone();
        let text = || std::str::from_utf8(wrapped).map_err(|_| "the wrapped key is of another service".to_owned());
        let plain = match self.at {
            At::Aws { .. } => {
                let fields = json!({ "CiphertextBlob": BASE64.encode(wrapped) });
                base64(&run(service.aws("Decrypt", fields))?, &["Plaintext"])?
            }
            At::Google { .. } => {
                let fields = json!({ "ciphertext": BASE64.encode(wrapped) });
                base64(&run(service.google("decrypt", fields))?, &["plaintext"])?
            }
            At::Azure { .. } => {
                let (version, value) = text()?.split_once(':').ok_or("the wrapped key is of another service")?;
                if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                    return Err("the wrapped key names no version of its key".to_owned());
                }
                let answer = run(service.azure(version.to_owned(), "unwrapkey", value.to_owned()))?;
                BASE64URL_NOPAD
                    .decode(member(&answer, &["value"])?.trim_end_matches('=').as_bytes())
                    .map_err(|error| format!("its answer holds no key: {error}"))?
            }
            At::Vault { .. } => {
                let fields = json!({ "ciphertext": text()? });
                base64(&run(service.vault("decrypt", fields))?, &["data", "plaintext"])?
            }
        };
        Ok(Zeroizing::new(plain))
    }
}

/// A request that carries a JSON document.
pub(super) fn json_request(address: &str, fields: &Json) -> Result<Request<Bytes>, String> {
    Request::post(address)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(fields.to_string()))
        .map_err(|error| error.to_string())
}

fn secret_header(value: &str) -> Result<header::HeaderValue, String> {
    let mut value = header::HeaderValue::from_str(value).map_err(|_| "a credential has a line break".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn base64(answer: &Json, path: &[&str]) -> Result<Vec<u8>, String> {
    let text = member(answer, path)?;
    BASE64.decode(text.as_bytes()).map_err(|error| format!("`{}` of its answer: {error}", path.join(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Result<KeyService, String> {
        KeyService::parse_with(name, &|_| None)
    }

    #[test]
    fn services_are_named_by_where_their_key_is() {
        for (name, provider) in [
            ("aws-kms:alias/backup?region=eu-central-1", "aws-kms"),
            ("aws-kms:arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab", "aws-kms"),
            ("azure-key-vault:https://mine.vault.azure.net/keys/backup", "azure-key-vault"),
            ("gcp-kms:projects/p/locations/global/keyRings/r/cryptoKeys/k", "gcp-kms"),
            ("vault:https://vault.example.com:8200/transit/backup", "vault"),
            ("vault:http://127.0.0.1:8200/a/b/backup", "vault"),
        ] {
            assert_eq!(parse(name).unwrap().provider(), provider, "{name}");
        }
        let At::Aws { region, .. } = parse("aws-kms:arn:aws:kms:eu-west-1:111122223333:key/1").unwrap().at else {
            panic!("it is AWS")
        };
        assert_eq!(region, "eu-west-1");
        for (name, says) in [
            ("aws-kms:alias/backup", "region"),
            ("aws-kms:?region=x", "a key service is"),
            ("azure-key-vault:https://mine.vault.azure.net/secrets/backup", "keys/NAME"),
            ("azure-key-vault:http://mine.vault.azure.net/keys/backup", "https"),
            ("gcp-kms:projects/p/../cryptoKeys/k", "a key service is"),
            ("vault:http://vault.example.com/transit/backup", "https"),
            ("vault:https://vault.example.com/transit/a?b=c", "no option `b`"),
            ("ssh:x", "a key service is"),
            ("", "a key service is"),
        ] {
            let error = parse(name).unwrap_err();
            assert!(error.contains(says), "{name}: {error}");
        }
    }
}
