//! The official client, for what is beside records: it makes secondary indexes and modules, waits for them, drops them, tells
//! users and roles, and reads records for a second opinion. What it is not asked to do, and why: `docs/official-client.md`.

mod people;
mod second;
mod tasks;

pub(super) use second::{SecondReader, Seen};
pub(super) use tasks::IndexSpec;

use super::{
    cluster::Cluster,
    options::{AerospikeOptions, Auth},
    tls,
};
use aerospike::{AdminPolicy, AuthMode, Client, ClientPolicy, Host, IndexTask, TlsPolicy};
use std::{
    collections::HashMap,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::runtime::Runtime;

/// How long it may take to know the whole cluster. The client itself has no such limit.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);

/// The official client, connected.
pub(super) struct Official {
    runtime: Runtime,
    client: Client,
    admin: AdminPolicy,
    /// Indexes that it made, by namespace and name.
    building: Mutex<HashMap<(String, String), IndexTask>>,
}

impl std::fmt::Debug for Official {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Official").finish_non_exhaustive()
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

impl Official {
    /// Connects it to the nodes that are known, in the way that the options say.
    pub(super) fn connect(cluster: &Cluster, options: &AerospikeOptions) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("aerospike-client")
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let policy = policy(options)?;
        let hosts: Vec<Host> = cluster.hosts(options).into_iter().map(host).collect();
        let connecting = async { tokio::time::timeout(CONNECT_PATIENCE, Client::new(&policy, &hosts)).await };
        let client = match runtime.block_on(connecting) {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("it does not know the whole cluster after {CONNECT_PATIENCE:?}")),
        };
        let admin = AdminPolicy { timeout: millis(options.socket_timeout) };
        Ok(Self { runtime, client, admin, building: Mutex::default() })
    }

    fn wait<T>(&self, work: impl Future<Output = aerospike::Result<T>>) -> Result<T, String> {
        self.runtime.block_on(work).map_err(|error| error.to_string())
    }

    fn building(&self) -> MutexGuard<'_, HashMap<(String, String), IndexTask>> {
        self.building.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Official {
    fn drop(&mut self) {
        // Nothing is left to do about connections that do not close.
        let _ = self.runtime.block_on(self.client.close());
    }
}

/// A host as the client takes it: name, port, and the name of its certificate.
fn host((name, port, tls_name): (String, u16, Option<String>)) -> Host {
    match tls_name {
        Some(tls_name) => Host::new_tls(&name, &tls_name, port),
        None => Host::new(&name, port),
    }
}

fn policy(options: &AerospikeOptions) -> Result<ClientPolicy, String> {
    let mut policy = ClientPolicy::default();
    let who = || {
        let password = options.password.as_ref().map(|password| password.to_string());
        (options.user.clone().unwrap_or_default(), password.unwrap_or_default())
    };
    policy.auth_mode = match options.auth {
        Auth::Pki => AuthMode::Pki,
        Auth::Internal if options.user.is_none() => AuthMode::None,
        Auth::Internal => AuthMode::Internal(who().0, who().1),
        Auth::External => AuthMode::External(who().0, who().1),
        Auth::ExternalInsecure => AuthMode::ExternalInsecure(who().0, who().1),
    };
    if let Some(tls) = &options.tls {
        let config = tls::client_config(tls).map_err(|error| error.to_string())?;
        policy.tls_policy = Some(TlsPolicy::new(config));
    }
    policy.timeout = millis(options.socket_timeout).max(1);
    policy.use_services_alternate = options.services_alternate;
    policy.application_id = Some("rekeep".to_owned());
    Ok(policy)
}
