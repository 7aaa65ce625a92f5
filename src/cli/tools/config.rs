//! Configuration files of the tools: `astools.conf` of asbackup and asrestore, and the YAML that absctl takes. What they say becomes
//! flags, unless the command line says it itself; so whatever is a flag may stand in them, and nothing else.

use super::{
    super::exit::{Failure, usage},
    Tool,
};
use clap::{Arg, ArgMatches, Args, Command, parser::ValueSource};
use serde_json::Value as Json;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{ErrorKind, Read as _},
    path::{Path, PathBuf},
};

/// The longest file that is read.
const MAX_BYTES: u64 = 1 << 20;
/// Files that include each other, in a row.
const MAX_INCLUDES: usize = 8;

/// Flags of both tools.
#[derive(Debug, Clone, Default, Args)]
#[allow(dead_code, reason = "they are read before the others")]
#[command(next_help_heading = "Configuration files (flags of the command line win over them)")]
pub struct ConfigArgs {
    /// Read this file behind `/etc/aerospike/astools.conf` and `~/.aerospike/astools.conf`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["no_config_file", "only_config_file"])]
    config_file: Option<PathBuf>,
    /// Read this file, and not those two
    #[arg(long, value_name = "FILE", conflicts_with = "no_config_file")]
    only_config_file: Option<PathBuf>,
    /// Read none
    #[arg(long)]
    no_config_file: bool,
    /// Read the sections `cluster_NAME`, `asbackup_NAME` and so on instead of those without a name
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Read this file as absctl does (YAML), and no other
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config_file", "only_config_file", "no_config_file", "instance"])]
    config: Option<PathBuf>,
}

/// Flags that no file can say.
const OWN: [&str; 7] = ["help", "version", "config-file", "only-config-file", "no-config-file", "instance", "config"];

/// Something that a file says: where, which flag, what.
struct Said {
    place: String,
    flag: String,
    value: Json,
}

/// The command line with what files say in it.
pub(super) fn expanded(tool: Tool, command: Command, typed: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    let lenient = command.clone().ignore_errors(true).try_get_matches_from(&typed);
    // Whoever asks for help gets it, whatever the files say.
    let Ok(given) = lenient else { return Ok(typed) };
    let said = said(tool, &given)?;
    let added = flags(command, &given, &said)?;
    let mut line = typed;
    let at = line.len().min(1);
    line.splice(at..at, added);
    Ok(line)
}

fn said(tool: Tool, given: &ArgMatches) -> Result<Vec<Said>, Failure> {
    let file = |id: &str| given.get_one::<PathBuf>(id).cloned();
    let mut all = Vec::new();
    if let Some(path) = file("config") {
        of_yaml(tool, &path, &mut all)?;
        return Ok(all);
    }
    // A line that is wrong elsewhere is read up to there, and knows no defaults.
    if given.try_get_one::<bool>("no_config_file").ok().flatten().copied().unwrap_or(false) {
        return Ok(all);
    }
    let instance = given.get_one::<String>("instance").map(String::as_str);
    let mut read = |path: &Path, must_exist| of_toml(tool, path, instance, must_exist, MAX_INCLUDES, &mut all);
    if let Some(path) = file("only_config_file") {
        read(&path, true)?;
        return Ok(all);
    }
    read(Path::new("/etc/aerospike/astools.conf"), false)?;
    if let Some(home) = std::env::var_os("HOME").filter(|home| !home.is_empty()) {
        read(&PathBuf::from(home).join(".aerospike/astools.conf"), false)?;
    }
    if let Some(path) = file("config_file") {
        read(&path, true)?;
    }
    Ok(all)
}

fn text_of(path: &Path) -> Result<Option<String>, Failure> {
    let wrong = |why: &dyn std::fmt::Display| usage(format!("{}: {why}", path.display()));
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| wrong(&error))?,
    };
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| wrong(&error))?;
    if text.len() as u64 > MAX_BYTES { Err(wrong(&"it is longer than 1 MiB")) } else { Ok(Some(text)) }
}

/// A file of the C tools, and those that it includes, which come behind it.
fn of_toml(
    tool: Tool,
    path: &Path,
    instance: Option<&str>,
    must_exist: bool,
    includes: usize,
    all: &mut Vec<Said>,
) -> Result<(), Failure> {
    let wrong = |why: String| usage(format!("{}: {why}", path.display()));
    let Some(text) = text_of(path)? else {
        return if must_exist { Err(wrong("there is no such file".to_owned())) } else { Ok(()) };
    };
    let tables: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
    for section in ["cluster", tool.section(), "secret-agent"] {
        let name = instance.map_or_else(|| section.to_owned(), |instance| format!("{section}_{instance}"));
        // One agent may serve all instances.
        let found = tables.get(&name).or_else(|| tables.get(section).filter(|_| section == "secret-agent"));
        let Some(found) = found else { continue };
        let entries = found.as_table().ok_or_else(|| wrong(format!("`{name}` is no section")))?;
        for (key, value) in entries {
            let place = format!("{}: [{name}] {key}", path.display());
            let flag = key.to_ascii_lowercase();
            let flag = if flag == "use-services-alternate" { "services-alternate".to_owned() } else { flag };
            all.push(Said {
                value: plain(value).ok_or_else(|| usage(format!("{place}: it is no value")))?,
                place,
                flag,
            });
        }
    }
    let Some(include) = tables.get("include").and_then(toml::Value::as_table) else { return Ok(()) };
    let below = |name: &str| path.parent().unwrap_or_else(|| Path::new(".")).join(name);
    let left = includes.checked_sub(1).ok_or_else(|| wrong("it is included too deep".to_owned()))?;
    if let Some(file) = include.get("file").and_then(toml::Value::as_str) {
        of_toml(tool, &below(file), instance, false, left, all)?;
    }
    if let Some(folder) = include.get("directory").and_then(toml::Value::as_str) {
        let folder = below(folder);
        let entries = std::fs::read_dir(&folder).map_err(|error| usage(format!("{}: {error}", folder.display())))?;
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|file| file.is_file());
        files.sort();
        for file in files {
            of_toml(tool, &file, instance, true, left, all)?;
        }
    }
    Ok(())
}

fn plain(value: &toml::Value) -> Option<Json> {
    Some(match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => number.to_string().into(),
        toml::Value::Boolean(flag) => (*flag).into(),
        toml::Value::Array(list) => Json::Array(list.iter().map(plain).collect::<Option<_>>()?),
        toml::Value::Datetime(_) | toml::Value::Table(_) => return None,
    })
}

/// Sections of absctl's file, and what the flags begin with that their fields are.
const SECTIONS: [(&[&str], &str); 6] = [
    (&["secret-agent"], "sa-"),
    (&["aws", "s3"], "s3-"),
    (&["gcp", "storage"], "gcp-"),
    (&["azure", "blob"], "azure-"),
    (&["encryption"], "encryption-"),
    (&["app"], ""),
];

/// A file of absctl.
fn of_yaml(tool: Tool, path: &Path, all: &mut Vec<Said>) -> Result<(), Failure> {
    let wrong = |why: String| usage(format!("{}: {why}", path.display()));
    let text = text_of(path)?.ok_or_else(|| wrong("there is no such file".to_owned()))?;
    let whole: Json = serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let known = [
        "app",
        "cluster",
        "backup",
        "restore",
        "compression",
        "encryption",
        "secret-agent",
        "aws",
        "gcp",
        "azure",
        "local",
    ];
    let sections = whole.as_object().ok_or_else(|| wrong("it has no sections".to_owned()))?;
    if let Some(name) = sections.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(wrong(format!("there is no section `{name}`")));
    }
    let mut add = |section: &str, field: &str, flag: String, value: &Json| {
        let place = format!("{}: {section}.{field}", path.display());
        if !value.is_null() {
            all.push(Said { place, flag, value: value.clone() });
        }
    };
    let fields = |names: &[&str]| names.iter().try_fold(&whole, |at, name| at.get(name)).and_then(Json::as_object);
    for (names, prefix) in SECTIONS {
        for (field, value) in fields(names).into_iter().flatten() {
            // The mode bears the name of its flag.
            let flag = if field == "encrypt" { field.clone() } else { format!("{prefix}{field}") };
            add(&names.join("."), field, flag, value);
        }
    }
    for (field, value) in fields(&["compression"]).into_iter().flatten() {
        let flag = if field == "level" { "compression-level" } else { field };
        add("compression", field, flag.to_owned(), value);
    }
    for (field, value) in fields(&["local", "disk"]).into_iter().flatten() {
        add("local.disk", field, format!("local-{field}"), value);
    }
    let own = if tool == Tool::Backup { "backup" } else { "restore" };
    for (field, value) in fields(&[own]).into_iter().flatten() {
        let flag = if field == "std-buffer-size" { "std-buffer" } else { field };
        add(own, field, flag.to_owned(), value);
    }
    for (field, value) in fields(&["cluster"]).into_iter().flatten() {
        match field.as_str() {
            "seeds" => add(
                "cluster",
                field,
                "host".to_owned(),
                &hosts(value)
                    .ok_or_else(|| wrong("cluster.seeds: each has host, and may have port and tls-name".to_owned()))?,
            ),
            "tls" => {}
            _ => add("cluster", field, field.clone(), value),
        }
    }
    let tls = fields(&["cluster", "tls"]);
    for (field, value) in tls.into_iter().flatten() {
        add("cluster.tls", field, format!("tls-{field}"), value);
    }
    // As there: whatever is said of TLS means that it is spoken.
    if tls.is_some_and(|tls| tls.values().any(|value| value.as_str().is_some_and(|text| !text.is_empty()))) {
        add("cluster", "tls", "tls-enable".to_owned(), &Json::Bool(true));
    }
    Ok(())
}

/// `HOST[:TLS_NAME][:PORT],…`
fn hosts(seeds: &Json) -> Option<Json> {
    let one = |seed: &Json| {
        let host = seed.get("host")?.as_str()?;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let name = seed.get("tls-name").and_then(Json::as_str).filter(|name| !name.is_empty());
        let port = seed.get("port").and_then(Json::as_u64).filter(|port| *port > 0).map(|port| port.to_string());
        Some([Some(host), name.map(str::to_owned), port].into_iter().flatten().collect::<Vec<_>>().join(":"))
    };
    Some(seeds.as_array()?.iter().map(one).collect::<Option<Vec<_>>>()?.join(",").into())
}

/// What files say as flags; the last that says something of one wins, and the command line over all.
fn flags(mut command: Command, given: &ArgMatches, said: &[Said]) -> Result<Vec<OsString>, Failure> {
    command.build();
    let is_typed = |arg: &Arg| given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let mut lines: BTreeMap<String, Option<OsString>> = BTreeMap::new();
    for Said { place, flag, value } in said {
        let bears = |arg: &&Arg| {
            arg.get_long() == Some(flag) || arg.get_all_aliases().is_some_and(|all| all.contains(&flag.as_str()))
        };
        let found = command.get_arguments().find(bears).filter(|_| !OWN.contains(&flag.as_str()));
        let arg = found.ok_or_else(|| usage(format!("{place}: there is no such option")))?;
        if is_typed(arg) || command.get_arg_conflicts_with(arg).into_iter().any(is_typed) {
            continue;
        }
        let line = match (arg.get_action().takes_values(), shown(value)) {
            (false, Some(text)) if text == "true" => Some(format!("--{flag}").into()),
            (_, Some(text)) if text.is_empty() || text == "false" => None,
            (true, Some(text)) if !value.is_boolean() => Some(format!("--{flag}={text}").into()),
            _ => return Err(usage(format!("{place}: that is no value of it"))),
        };
        lines.insert(arg.get_id().to_string(), line);
    }
    Ok(lines.into_values().flatten().collect())
}

/// A value as it would be typed.
fn shown(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Bool(flag) => Some(flag.to_string()),
        Json::Number(number) => Some(number.to_string()),
        Json::Array(list) => Some(list.iter().map(shown).collect::<Option<Vec<_>>>()?.join(",")),
        Json::Null | Json::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tools::{BackupArgs, RestoreArgs};
    use clap::CommandFactory as _;

    fn line(tool: Tool, typed: &[&str]) -> Result<String, String> {
        let command = if tool == Tool::Backup { BackupArgs::command() } else { RestoreArgs::command() };
        let typed = ["tool"].iter().chain(typed).map(OsString::from).collect();
        let line = expanded(tool, command, typed).map_err(|failure| failure.to_string())?;
        Ok(line[1..].iter().map(|one| one.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn files_of_the_tools_say_flags_and_the_command_line_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let text = "[cluster]\nhost = \"a:3000\"\nport = 3100\nuser = \"\"\n[cluster_b]\nhost = \"b\"\nuse-services-alternate = true\n\
                    [asbackup]\nnamespace = \"test\"\nCompact = true\ncontinue = false\ndirectory = \"d\"\n\
                    [asbackup_b]\nset-list = [\"x\", \"y\"]\n[asrestore]\nunique = true\nnice = \"10,20\"\n\
                    [secret-agent]\nsa-address = \"vault:3005\"\n[include]\nfile = \"more.conf\"\n";
        std::fs::write(path("astools.conf"), text).unwrap();
        std::fs::write(path("more.conf"), "[cluster]\nport = 3200\n").unwrap();
        let only = format!("--only-config-file={}", path("astools.conf"));
        let backup = |more: &[&str]| line(Tool::Backup, &[&[only.as_str()], more].concat()).unwrap();
        assert_eq!(
            backup(&[]),
            format!(
                "--compact --directory=d --host=a:3000 --namespace=test --port=3200 --sa-address=vault:3005 {only}"
            )
        );
        // What excludes it was typed.
        assert_eq!(
            backup(&["-o", "-", "-h", "c"]),
            format!("--compact --namespace=test --port=3200 --sa-address=vault:3005 {only} -o - -h c")
        );
        assert_eq!(
            backup(&["--instance", "b"]),
            format!("--host=b --sa-address=vault:3005 --services-alternate --set-list=x,y {only} --instance b")
        );
        let restore = line(Tool::Restore, &[&only, "-u"]).unwrap();
        assert_eq!(restore, format!("--host=a:3000 --nice=10,20 --port=3200 --sa-address=vault:3005 {only} -u"));
        assert_eq!(line(Tool::Backup, &["--no-config-file", "-Z"]).unwrap(), "--no-config-file -Z");
        for (text, word) in [
            ("[asbackup]\nnonsense = 1\n", "[asbackup] nonsense"),
            ("[cluster]\nhelp = true\n", "no such option"),
            ("[asbackup]\ncompact = 3\n", "no value of it"),
            ("[asbackup]\ndirectory = true\n", "no value of it"),
            ("[asbackup\n", "astools.conf"),
            ("[include]\nfile = \"astools.conf\"\n", "too deep"),
        ] {
            std::fs::write(path("astools.conf"), text).unwrap();
            let error = line(Tool::Backup, &[&only]).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        assert!(line(Tool::Backup, &["--config-file", "/no/such"]).unwrap_err().contains("no such file"));
    }

    #[test]
    fn a_file_of_absctl_says_the_same_in_its_own_words() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.yaml");
        let text = "app: {verbose: true, log-level: info}\ncluster:\n  seeds: [{host: a, tls-name: node, port: 3000}, {host: '::1'}]\n\
                    \x20 user: joe\n  password: secrets:r:k\n  tls: {name: '', cafile: ca.pem}\n\
                    backup: {namespace: test, directory: d, set-list: [x], parallel: 4, no-bins: false, modified-after: ''}\n\
                    restore: {namespace: other}\ncompression: {compress: zstd, level: 5}\n\
                    encryption: {encrypt: aes128, key-file: k.pem}\nsecret-agent: {address: v, port: 3005, is-base64: true}\n\
                    aws: {s3: {bucket-name: b, region: r, chunk-size: 5}}\n";
        std::fs::write(&file, text).unwrap();
        let config = format!("--config={}", file.display());
        let said = line(Tool::Backup, &[&config, "-w", "2"]).unwrap();
        let wanted = "--s3-chunk-size=5 --compress=zstd --compression-level=5 --directory=d --encrypt=aes128 \
                      --encryption-key-file=k.pem --host=a:node:3000,[::1] --log-level=info --namespace=test --password=secrets:r:k \
                      --s3-bucket-name=b --s3-region=r --sa-address=v --sa-is-base64 --sa-port=3005 --set-list=x --tls-cafile=ca.pem \
                      --tls-enable --user=joe --verbose";
        let sorted = |text: &str| {
            let mut parts: Vec<String> = text.split(' ').map(str::to_owned).collect();
            parts.sort();
            parts
        };
        assert_eq!(sorted(&said), sorted(&format!("{wanted} {config} -w 2")));
        for text in ["nonsense: {}\n", "backup: {nonsense: 1}\n", "backup: [", "cluster: {seeds: [{port: 1}]}\n"] {
            std::fs::write(&file, text).unwrap();
            assert!(line(Tool::Backup, &[&config]).is_err(), "{text}");
        }
    }
}
