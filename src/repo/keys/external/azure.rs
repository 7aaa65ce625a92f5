//! Tokens for Azure Key Vault: from a client's secret, a federated token (workload identity), or the machine's identity.

use super::https::{Https, member, safe};
use bytes::Bytes;
use http::{Request, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use zeroize::Zeroizing;

const AUTHORITY: &str = "https://login.microsoftonline.com";
/// Answers on every virtual machine, by http: it is reached without leaving the host.
const METADATA: &str = "http://169.254.169.254/metadata/identity/oauth2/token";

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What the token is for: the vault's own cloud.
fn resource(vault: &Uri) -> String {
    let domain = vault.host().and_then(|host| host.split_once('.')).map_or("", |(_, domain)| domain);
    if domain.starts_with("vault.") || domain.starts_with("managedhsm.") {
        format!("https://{domain}")
    } else {
        "https://vault.azure.net".to_owned()
    }
}

/// A token for this vault.
pub(super) async fn token(https: &Https, vault: &Uri) -> Result<Zeroizing<String>, String> {
    let resource = resource(vault);
    let request = if let Some((tenant, client)) = variable("AZURE_TENANT_ID").zip(variable("AZURE_CLIENT_ID")) {
        of_client(&tenant, client, &resource)?
    } else {
        of_machine(&resource)?
    };
    let answer = https.ask(request).await.map_err(|error| format!("no token of Azure's: {error}"))?;
    member(&answer, &["access_token"]).map(|token| Zeroizing::new(token.to_owned()))
}

/// Asks the authority, as a client that has a secret or a token of another issuer.
fn of_client(tenant: &str, client: String, resource: &str) -> Result<Request<Bytes>, String> {
    let authority = variable("AZURE_AUTHORITY_HOST").unwrap_or_else(|| AUTHORITY.to_owned());
    let authority = safe(&authority)?.to_string();
    let mut form = vec![
        ("grant_type", "client_credentials".to_owned()),
        ("client_id", client),
        ("scope", format!("{resource}/.default")),
    ];
    if let Some(secret) = variable("AZURE_CLIENT_SECRET") {
        form.push(("client_secret", secret));
    } else if let Some(file) = variable("AZURE_FEDERATED_TOKEN_FILE") {
        let assertion = std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
        form.push(("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned()));
        form.push(("client_assertion", assertion.trim().to_owned()));
    } else {
        let words = "AZURE_CLIENT_ID is set, and neither AZURE_CLIENT_SECRET nor AZURE_FEDERATED_TOKEN_FILE";
        return Err(words.to_owned());
    }
    let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    Request::post(format!("{}/{}/oauth2/v2.0/token", authority.trim_end_matches('/'), encoded(tenant)))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Bytes::from(body.join("&")))
        .map_err(|error| error.to_string())
}

/// Asks the machine that this runs on.
fn of_machine(resource: &str) -> Result<Request<Bytes>, String> {
    let mut address = format!("{METADATA}?api-version=2018-02-01&resource={}", encoded(resource));
    if let Some(client) = variable("AZURE_CLIENT_ID") {
        address.push_str(&format!("&client_id={}", encoded(&client)));
    }
    Request::get(address).header("Metadata", "true").body(Bytes::new()).map_err(|error| error.to_string())
}

/// What stands for itself nowhere.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// As it stands in a form or a query.
fn encoded(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_for_the_cloud_of_the_vault() {
        let of = |host: &str| resource(&format!("https://{host}/keys/k").parse().unwrap());
        assert_eq!(of("mine.vault.azure.net"), "https://vault.azure.net");
        assert_eq!(of("mine.vault.azure.cn"), "https://vault.azure.cn");
        assert_eq!(of("hsm.managedhsm.azure.net"), "https://managedhsm.azure.net");
        assert_eq!(of("127.0.0.1"), "https://vault.azure.net");
        assert_eq!(encoded("a b&c=ä").to_string(), "a%20b%26c%3D%C3%A4");
    }
}
