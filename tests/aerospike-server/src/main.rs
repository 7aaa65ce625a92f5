//! The server on its own: `rekeep-aerospike-server [--port N] [--namespace NAME]... [--nodes N] [--replication-factor N]`.

use std::process::ExitCode;

use rekeep_aerospike_server::{ClockMode, Config, NamespaceConfig, Server};

fn main() -> ExitCode {
    match config(std::env::args().skip(1)) {
        Err(text) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
        Ok(config) => match Server::start(config) {
            Err(error) => {
                eprintln!("cannot open the ports: {error}");
                ExitCode::FAILURE
            }
            Ok(server) => {
                for (node, address) in server.addresses().iter().enumerate() {
                    println!("node {} listens on {address}", server.node_id(node));
                }
                loop {
                    std::thread::park();
                }
            }
        },
    }
}

fn config(mut arguments: impl Iterator<Item = String>) -> Result<Config, String> {
    let mut config = Config { port: Some(3000), clock: ClockMode::Real, ..Config::default() };
    let mut namespaces = Vec::new();
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        let bad = |_| format!("{name}: {value} is no number");
        match name.as_str() {
            "--port" => config.port = Some(value.parse().map_err(bad)?).filter(|port| *port != 0),
            "--nodes" => config.nodes = value.parse().map_err(bad)?,
            "--replication-factor" => config.replication_factor = value.parse().map_err(bad)?,
            "--namespace" => namespaces.push(NamespaceConfig::named(&value)),
            "--cluster-name" => config.cluster_name = Some(value),
            _ => return Err(format!("unknown option {name}")),
        }
    }
    if !namespaces.is_empty() {
        config.namespaces = namespaces;
    }
    Ok(config)
}
