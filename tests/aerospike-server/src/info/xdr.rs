//! Data centers, and what holds up transactions.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Request, error, ok};
use crate::server::{Shared, lock};
use crate::xdr::{self, Center};

pub(super) fn answer(shared: &Arc<Shared>, node: usize, request: &Request<'_>) -> Option<String> {
    let context = request.get(&["context"]);
    match (request.name, context) {
        ("set-config" | "get-config" | "get-stats", Some("xdr")) if !shared.config.enterprise => {
            Some(error(25, "enterprise only"))
        }
        ("set-config", Some("xdr")) => Some(set(shared, node, request)),
        ("get-config", Some("xdr")) => Some(config(shared, node, request)),
        ("get-stats", Some("xdr")) => Some(stats(shared, node, request)),
        ("set-config", Some("namespace")) => hold(shared, node, request),
        _ => None,
    }
}

fn center(shared: &Shared, node: usize, request: &Request<'_>) -> Option<Arc<Center>> {
    let name = request.get(&["dc"])?.to_owned();
    lock(&shared.xdr.centers).get(&(node, name)).cloned()
}

fn note(shared: &Shared, node: usize, request: &Request<'_>) -> String {
    let shown: Vec<String> = request.parameters.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let order = shown.join(";");
    lock(&shared.xdr.orders).push((node, order.clone()));
    order
}

fn set(shared: &Arc<Shared>, node: usize, request: &Request<'_>) -> String {
    let Some(name) = request.get(&["dc"]) else { return error(4, "no dc") };
    let action = request.get(&["action"]);
    let order = note(shared, node, request);
    if lock(&shared.xdr.refuses).as_ref().is_some_and(|words| order.contains(words.as_str())) {
        return error(4, "bad parameters");
    }
    if let Some((words, left)) = lock(&shared.xdr.restarts_at).as_mut()
        && *left > 0
        && order.contains(words.as_str())
    {
        *left -= 1;
        shared.forget_centers(node);
    }
    if action == Some("create") {
        let mut centers = lock(&shared.xdr.centers);
        if centers.contains_key(&(node, name.to_owned())) {
            return error(4, "DC already exists");
        }
        centers.insert((node, name.to_owned()), Arc::default());
        return ok();
    }
    let Some(center) = center(shared, node, request) else { return error(4, "DC not found") };
    if action == Some("delete") {
        center.stop.store(true, Ordering::SeqCst);
        lock(&shared.xdr.centers).remove(&(node, name.to_owned()));
        return ok();
    }
    if request.get(&["connector"]).is_some() {
        if lock(&center.address).is_some() {
            return error(4, "connector must be set before an address is");
        }
        center.is_connector.store(true, Ordering::SeqCst);
        return ok();
    }
    if let Some(address) = request.get(&["node-address-port"]) {
        *lock(&center.address) = Some(address.to_owned());
        return ok();
    }
    match (request.get(&["namespace"]), action) {
        (Some(_), Some("add")) if lock(&center.address).is_none() => error(4, "no address"),
        (Some(namespace), Some("add")) if shared.namespace(namespace.as_bytes()).is_some() => {
            *lock(&center.namespace) = Some(namespace.to_owned());
            let now = shared.now_ms(node).max(0) as u64;
            let from = match request.get(&["rewind"]) {
                Some("all") => 0,
                Some(seconds) => now.saturating_sub(seconds.parse::<u64>().unwrap_or(0) * 1000),
                None => now,
            };
            xdr::begin(shared, node, &center, from);
            ok()
        }
        (Some(namespace), _) if shared.namespace(namespace.as_bytes()).is_some() => ok(),
        _ => error(4, "bad parameters"),
    }
}

fn config(shared: &Shared, node: usize, request: &Request<'_>) -> String {
    let Some(center) = center(shared, node, request) else { return error(4, "DC not found") };
    let address = lock(&center.address).clone().unwrap_or_default();
    let namespace = lock(&center.namespace).clone().unwrap_or_default();
    let connector = center.is_connector.load(Ordering::SeqCst);
    format!("connector={connector};node-address-port={address};namespaces={namespace}")
}

fn stats(shared: &Shared, node: usize, request: &Request<'_>) -> String {
    let Some(center) = center(shared, node, request) else { return error(4, "DC not found") };
    let pending = u8::from(!center.is_recovered.load(Ordering::SeqCst));
    let lag = center.lag.load(Ordering::SeqCst);
    if shared.xdr.uncounted.load(Ordering::SeqCst) {
        return format!("lag={lag};in_queue=0;recoveries=0;recoveries_pending=0;success=0");
    }
    format!("lag={lag};in_queue=0;recoveries=1;recoveries_pending={pending};success=0")
}

fn hold(shared: &Shared, node: usize, request: &Request<'_>) -> Option<String> {
    let held = request.get(&["disable-mrt-writes"])?;
    note(shared, node, request);
    let mut nodes = lock(&shared.xdr.held);
    nodes.retain(|other| *other != node);
    if held == "true" {
        nodes.push(node);
    }
    Some(ok())
}
