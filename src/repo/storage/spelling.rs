//! Locations in the spelling of another tool: a folder of that name is hardly what is meant.

use std::path::Path;

/// What to write instead of a location without `://`, or with one behind another tool's prefix; `None` if it is a path.
pub(super) fn of_another_tool(text: &str) -> Option<String> {
    if is_unexpanded_home(text) {
        return Some(format!(
            "`~` is the home directory only where a shell expands it, and none did here: write the whole path; a local folder \
             of that name is written ./{text}"
        ));
    }
    if let Some(name) = unexpanded_variable(text) {
        return Some(format!(
            "`{name}` is a variable only where a shell puts its value in place of it, and none did here: write the whole path; a \
             local folder of that name is written ./{text}"
        ));
    }
    let (prefix, rest) = text.split_once(':')?;
    // A scheme of this program, or one that others have.
    let is_scheme = matches!(
        prefix.to_ascii_lowercase().as_str(),
        "file"
            | "fs"
            | "webdav"
            | "webdavs"
            | "dav"
            | "davs"
            | "oss"
            | "memory"
            | "http"
            | "https"
            | "ftp"
            | "scp"
            | "rsync"
    );
    // A path may hold a colon: behind a slash it is one, and so is what there is already.
    if prefix.contains('/') || prefix.is_empty() || rest.starts_with("//") {
        return None;
    }
    // What may hold a password is not repeated.
    let place = if text.contains("://") && text.contains('@') { "…" } else { text };
    let is_path = |reason: String| Some(format!("{reason}; a local folder of that name is written ./{place}"));
    if place != text {
        return is_path(format!("`{prefix}:` is another program's spelling, which docs/storage.md translates"));
    }
    let trimmed = |path: &str| path.trim_start_matches('/').to_owned();
    let bucket = |scheme: &str, hint: &str| {
        let (bucket, path) = rest.split_once(':').unwrap_or((rest, ""));
        let place = if path.is_empty() { trimmed(bucket) } else { format!("{bucket}/{}", trimmed(path)) };
        is_path(format!("in this program that is written {scheme}://{place}{hint}"))
    };
    match prefix.to_ascii_lowercase().as_str() {
        "sftp" | "ssh" => {
            let (host, path) = rest.split_once(':').or_else(|| rest.split_once('/')).unwrap_or((rest, "PATH"));
            is_path(format!("in this program that is written sftp://{host}/{}", trimmed(path)))
        }
        "s3" => {
            let (tls, place) = rest.split_once("://").map_or((None, rest), |(scheme, place)| (Some(scheme), place));
            let (host, path) = place.trim_start_matches('/').split_once('/').unwrap_or((place, "BUCKET"));
            let endpoint = match tls {
                _ if host.ends_with("amazonaws.com") => "?region=REGION".to_owned(),
                scheme => format!("?endpoint={}://{host}&region=REGION", scheme.unwrap_or("https")),
            };
            is_path(format!("in this program that is written s3://{path}{endpoint}"))
        }
        "b2" => bucket("b2", "?bucket-id=ID"),
        "gs" | "gcs" => bucket("gcs", ""),
        "azure" | "azblob" => bucket("azblob", "?account-name=NAME"),
        "rclone" | "rest" | "swift" | "idrive" | "smb" | "nfs" | "opendal" | "minio" | "hdfs" | "drive" | "gdrive"
        | "dropbox" | "onedrive" => {
            is_path(format!("`{prefix}:` is another program's; docs/storage.md says what this one reaches"))
        }
        drive if !cfg!(windows) && drive.len() == 1 && rest.starts_with(['\\', '/']) => {
            is_path("that is a path of Windows, and this is no Windows".to_owned())
        }
        "file" | "fs" | "local" => is_path(format!("a folder on this machine is written as its path alone, {rest}")),
        _ if Path::new(text).exists() => None,
        scheme if is_scheme => is_path(format!("behind `{scheme}:` two slashes are missing, if a service is meant")),
        _ if rest.starts_with(':') => is_path(format!(
            "if `{prefix}` is a folder with archives, give the folder alone: this program has one repository in it"
        )),
        _ if prefix.contains('@') => {
            is_path(format!("in this program that is written sftp://{prefix}/{}", trimmed(rest)))
        }
        _ if rest.starts_with('/') => {
            is_path(format!("if `{prefix}` is a host, that is written sftp://{prefix}{rest}"))
        }
        _ => None,
    }
}

/// Whether a path begins with a `~` that a shell should have expanded: within quotes, behind a colon, in a unit's file. A
/// folder of that name is hardly what is meant, unless there is one.
#[must_use]
pub fn is_unexpanded_home(path: &str) -> bool {
    (path == "~" || path.starts_with("~/")) && !Path::new("~").exists()
}

/// The variable that a path begins with, where no shell put its value there.
#[must_use]
pub fn unexpanded_variable(path: &str) -> Option<&str> {
    let first = path.split('/').next()?;
    let inner = match first.strip_prefix("${") {
        Some(rest) => rest.strip_suffix('}')?,
        None => first.strip_prefix('$')?,
    };
    let is_name = !inner.is_empty()
        && !inner.starts_with(|c: char| c.is_ascii_digit())
        && inner.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_name && !Path::new(first).exists()).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_no_shell_expanded_are_known() {
        for (path, name) in
            [("$HOME/x", Some("$HOME")), ("${DATA}/x/y", Some("${DATA}")), ("$BACKUPS", Some("$BACKUPS"))]
        {
            assert_eq!(unexpanded_variable(path), name);
        }
        for path in ["/x/$HOME", "./$HOME/x", "$", "$1/x", "${}", "a$b", "$a-b/c", "x"] {
            assert_eq!(unexpanded_variable(path), None, "{path}");
        }
    }

    #[test]
    fn what_another_tool_would_understand_is_refused_with_the_right_spelling() {
        for (text, right) in [
            ("sftp:user@host:/x", "sftp://user@host/x"),
            ("sftp:host:x/y", "sftp://host/x/y"),
            ("s3:s3.amazonaws.com/bucket/p", "s3://bucket/p?region="),
            ("s3:https://minio:9000/bucket", "s3://bucket?endpoint=https://minio:9000"),
            ("b2:bucket:path/x", "b2://bucket/path/x"),
            ("gs:bucket:/x", "gcs://bucket/x"),
            ("azure:container:/", "azblob://container/"),
            ("rclone:remote:x", "`rclone:`"),
            ("rest:https://host:8000/", "`rest:`"),
            ("user@host:/srv/r", "sftp://user@host/srv/r"),
            ("host:/srv/r", "sftp://host/srv/r"),
            ("file:/srv/r", "its path alone, /srv/r"),
            ("local:/srv/r", "its path alone, /srv/r"),
            ("local:x", "its path alone, x"),
            ("opendal:s3", "another program's"),
            ("minio:bucket", "another program's"),
            ("C:\\backup", "a path of Windows"),
            ("d:/backup", "a path of Windows"),
            ("webdav:host/r", "two slashes"),
            ("https:host/r", "two slashes"),
            ("repo::archive", "the folder alone"),
            ("~/backups", "the whole path"),
            ("~", "the whole path"),
        ] {
            let said = of_another_tool(text).unwrap_or_default();
            assert!(said.contains(right) && said.contains(&format!("./{text}")), "{text}: {said}");
        }
    }

    #[test]
    fn passwords_are_not_repeated() {
        for text in ["rest:https://me:hunter22@host/", "s3:https://id:hunter22@minio/b"] {
            assert!(!of_another_tool(text).unwrap().contains("hunter22"), "{text}");
        }
    }

    #[test]
    fn paths_and_locations_of_this_program_are_none_of_another() {
        for text in [
            "/srv/r",
            "r",
            "./a:b",
            "/srv/12:30",
            "backup-12:30",
            "s3://bucket/x",
            "sftp://host/x",
            "file:///x",
            "C:",
            "~x",
            "~x/y",
            "/~/x",
        ] {
            assert_eq!(of_another_tool(text), None, "{text}");
        }
    }
}
