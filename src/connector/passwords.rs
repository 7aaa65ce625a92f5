//! URLs as they may be shown.

/// A URL as it may be shown and kept: without the password of `//USER:PASSWORD@HOST`, and without options that are secrets.
#[must_use]
pub fn without_password(url: &str) -> String {
    with_secrets_as(url, &|user| user.to_owned(), &|_| None)
}

/// A URL with its logins and its options that are secrets as they are to stand there: an option's name gives what takes the whole
/// option's place, if anything.
pub fn with_secrets_as(url: &str, login: &dyn Fn(&str) -> String, option: &dyn Fn(&str) -> Option<String>) -> String {
    let (place, query) = url.split_once('?').map_or((url, None), |(place, query)| (place, Some(query)));
    let mut shown = place.to_owned();
    match place.split_once("://") {
        // Only addresses of servers bear logins: a file's name may hold anything.
        Some((schemes, rest)) if schemes.chars().all(|c| c.is_ascii_alphanumeric() || "+-.:".contains(c)) => {
            // The password of a database may hold a slash; of others the login ends before the path.
            let of_database = DATABASES.iter().any(|scheme| schemes.split(':').any(|one| one == *scheme));
            let end = if of_database { rest.len() } else { rest.find(['/', '#']).unwrap_or(rest.len()) };
            if let Some((before, host)) = rest[..end].rsplit_once('@')
                && let Some((user, _)) = before.split_once(':')
            {
                shown = format!("{schemes}://{}@{host}{}", login(user), &rest[end..]);
            }
        }
        _ if DATABASES.iter().any(|scheme| place.starts_with(&format!("{scheme}:"))) => {
            // `host=… password=…`, which is no URL.
            let words = place.split(' ').filter_map(|word| match word.split_once('=') {
                Some((name, _)) if is_secret_option(name.rsplit(':').next().unwrap_or(name)) => option(name),
                _ => Some(word.to_owned()),
            });
            shown = words.collect::<Vec<_>>().join(" ");
        }
        _ => {}
    }
    let Some(query) = query else { return shown };
    let kept = query.split('&').filter_map(|pair| match pair.split_once('=') {
        Some((name, value)) if !value.is_empty() && is_secret_option(name) => option(name),
        // Another place.
        Some((name, value)) if value.contains("://") => {
            Some(format!("{name}={}", with_secrets_as(value, login, option)))
        }
        _ => Some(pair.to_owned()),
    });
    format!("{shown}?{}", kept.collect::<Vec<_>>().join("&"))
}

/// Whether an option of this name is a secret; one that says where a secret is kept is none.
#[must_use]
pub fn is_secret_option(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let is_place = PLACES.iter().any(|end| name.ends_with(end));
    !is_place && (SECRETS.iter().any(|piece| name.contains(piece)) || name.ends_with("access-key"))
}

/// Schemes of addresses of databases.
const DATABASES: [&str; 3] = ["postgresql", "postgres", "atlasdb"];
/// Pieces of the names of options that are secrets.
const SECRETS: [&str; 8] =
    ["password", "secret", "token", "account-key", "application-key", "encryption-key", "credential", "sas-"];
/// How names of options end that say where a secret is.
const PLACES: [&str; 6] = ["-file", "-path", "-command", "-env", "-agent", "-name"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("postgresql://a:b@h/d?x=1&password=c&y=2", "postgresql://a@h/d?x=1&y=2"),
            ("postgresql://a:b:@c@h,i:1/d", "postgresql://a@h,i:1/d"),
            ("atlasdb:postgres://a:b@h", "atlasdb:postgres://a@h"),
            ("files:a:b@c", "files:a:b@c"),
            ("postgresql://h:1/d", "postgresql://h:1/d"),
            ("asb:s3://u:p@b/x?region=y&then=s3://u:p@c", "asb:s3://u@b/x?region=y&then=s3://u@c"),
            ("asb:s3://b/x:y@z", "asb:s3://b/x:y@z"),
            ("files:sftp://u:p@h/x?key=/k&port=1", "files:sftp://u@h/x?key=/k&port=1"),
            ("files:/a://b:c@d", "files:/a://b:c@d"),
            ("asb:s3://b/p?secret_access_key=x&region=r", "asb:s3://b/p?region=r"),
            ("asb:/tmp/q?encryption_key=x&encryption_key_file=/k", "asb:/tmp/q?encryption_key_file=/k"),
            ("postgresql:host=h user=u password=x dbname=d", "postgresql:host=h user=u dbname=d"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
