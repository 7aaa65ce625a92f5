//! `capture aerospike://…`: what XDR ships.

use super::{CaptureArgs, KEPT, metrics::Measured, summary};
use crate::{
    cli::{
        aerospike_connect::ConnectArgs,
        context::Context,
        exit::{Failure, Kept as _, Status, usage},
        interrupt,
        units::parse_duration,
    },
    connector::{
        Options, Source as _, SourceUrl,
        aerospike::{
            AerospikeSource, reached_by,
            xdr::{
                center::{Center, CenterOptions, MARGIN_SECONDS},
                listener::{Listener, ListenerOptions, MAX_CONNECTIONS, tls::server_config},
            },
        },
    },
    ops::{
        capture::{
            live::{Live, LiveOptions, capture_live, rewind},
            stream_source,
        },
        opening,
        stream::StreamOptions,
    },
};
use clap::Args;
use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    time::Duration,
};

/// Bytes of changes that wait for their snapshot.
const WINDOW_BYTES: usize = 48 << 20;

/// How changes of a cluster are captured.
#[derive(Debug, Args)]
#[command(next_help_heading = "Changes of a cluster")]
pub struct LiveArgs {
    /// The data center's name, which every node is told
    #[arg(long, value_name = "NAME")]
    dc: Option<String>,
    /// Where to listen for what nodes ship
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// What nodes are told as our address [default: that of --listen]
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Speak TLS with nodes: the file of the listener's certificate (PEM, with those that it hangs on)
    #[arg(long, value_name = "FILE", requires = "listen_tls_key")]
    listen_tls_cert: Option<PathBuf>,
    /// The file of that certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "listen_tls_cert")]
    listen_tls_key: Option<PathBuf>,
    /// Take only nodes whose own certificate is of an authority in this file (PEM)
    #[arg(long, value_name = "FILE", requires = "listen_tls_cert")]
    listen_tls_client_ca: Option<PathBuf>,
    /// The TLS settings that nodes ship with, by the name that their configuration gives them
    #[arg(long, value_name = "NAME", requires = "listen_tls_cert")]
    node_tls_name: Option<String>,
    /// The most connections of nodes at once
    #[arg(long, value_name = "N", default_value_t = MAX_CONNECTIONS as u16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    max_connections: u16,
    /// How far back records are shipped that were there before: `all`, or seconds [default: since the last snapshot; all without one]
    #[arg(long, value_name = "all|SECONDS", value_parser = parse_rewind)]
    rewind: Option<u64>,
    /// The most records a second of each node, a multiple of 100
    #[arg(long, value_name = "N")]
    max_throughput: Option<u32>,
    /// Ship what came from other clusters too
    #[arg(long)]
    forward: bool,
    /// With --once: do not hold up the writes of transactions for the end
    #[arg(long, requires = "once")]
    no_checkpoint: bool,
    /// With --once: give up if nothing is shipped for so long
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    start_timeout: Duration,
    /// Take the data center away from every node, and do nothing else
    #[arg(long, conflicts_with = "once")]
    stop_xdr: bool,
    /// Let the writes of transactions go on, on every node, and do nothing else
    #[arg(long, conflicts_with = "once")]
    unblock_mrt: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

fn parse_rewind(text: &str) -> Result<u64, String> {
    match text {
        "all" => Ok(0),
        seconds => match seconds.parse() {
            Ok(seconds) if seconds > 0 => Ok(seconds),
            _ => Err("`all`, or seconds".to_owned()),
        },
    }
}

impl LiveArgs {
    fn reached(&self) -> Result<crate::connector::aerospike::AerospikeOptions, Failure> {
        let mut options = Options::default();
        options.add(&self.connect)?;
        self.connect.add_password(&mut options)?;
        Ok(reached_by(&options)?)
    }

    fn listener(&self) -> Result<ListenerOptions, Failure> {
        let tls = match (&self.listen_tls_cert, &self.listen_tls_key) {
            (Some(cert), Some(key)) => Some(server_config(cert, key, self.listen_tls_client_ca.as_deref())?),
            _ => None,
        };
        Ok(ListenerOptions { most_bytes: WINDOW_BYTES, max_connections: usize::from(self.max_connections), tls })
    }

    fn listen(&self) -> Result<SocketAddr, Failure> {
        let text = self.listen.as_deref().ok_or_else(|| usage("where nodes ship to: give --listen HOST:PORT"))?;
        let resolved = text.to_socket_addrs().map_err(|error| usage(format!("--listen {text}: {error}")))?;
        resolved.into_iter().next().ok_or_else(|| usage(format!("--listen {text}: no such address")))
    }
}

/// Why less than `needed` is not enough; zero is everything.
fn gap(wanted: u64, needed: u64) -> Option<String> {
    let said = format!("--rewind {wanted}: nodes ship what was made in the last {wanted} s");
    match (wanted, needed) {
        (0, _) => None,
        (_, 0) => Some(format!("{said} and since, and what was there before is in no snapshot")),
        _ if wanted + MARGIN_SECONDS < needed => {
            Some(format!("{said}, and the newest snapshot shows all that was made by about {needed} s ago"))
        }
        _ => None,
    }
}

pub(super) fn run(args: &CaptureArgs, stream: StreamOptions, context: &Context) -> Result<Status, Failure> {
    let live = &args.live;
    let name = live.dc.clone().ok_or_else(|| usage("which data center nodes ship to: give --dc NAME"))?;
    let url = SourceUrl::parse(&args.source)?;
    let center = |address: String, rewind: Option<u64>| {
        let options = CenterOptions {
            name: name.clone(),
            address,
            rewind,
            max_throughput: live.max_throughput,
            forward: live.forward,
        };
        let reached = live.reached()?;
        let center = opening(&url.to_string(), &context.reporter, || Center::connect(&url, &reached, options))?;
        Ok::<_, Failure>(center.under_tls(live.node_tls_name.clone()))
    };
    if live.stop_xdr || live.unblock_mrt {
        let center = center(String::new(), None)?;
        if live.unblock_mrt {
            center.hold_transactions(false)?;
        }
        if live.stop_xdr {
            center.remove_any()?;
        }
        return Ok(Status::Done);
    }
    interrupt::listen();
    let at = live.listen()?;
    let repo = context.open()?;
    // Asked first, so that a wrong name or namespace is said before a port is opened.
    let probe = center(String::new(), None)?;
    let listener = Listener::open_with(at, probe.namespace(), live.listener()?)
        .map_err(|error| usage(format!("--listen {at} cannot be listened at: {error}")))?;
    // The same part of the cluster as a backup of this URL reads, so that both make one history.
    let reached = live.reached()?;
    let read = opening(&url.to_string(), &context.reporter, || AerospikeSource::new(&url, reached))?;
    let source = stream_source(&repo, &read.identity(), read.scope(), &args.source, args.source_name.as_deref());
    let address = live.advertise.clone().unwrap_or_else(|| listener.address().to_string());
    let needed = rewind(&repo, &source, probe.now(&live.reached()?))?;
    let back = live.rewind.unwrap_or(needed);
    let center = center(address, Some(back))?;
    let options = LiveOptions {
        every: args.pace.every,
        once: args.pace.once,
        checkpoint: !live.no_checkpoint,
        poll: args.pace.info_polling_period,
        start_timeout: live.start_timeout,
        gap: gap(back, needed),
        chosen: args.source_name.is_some(),
        ..LiveOptions::default()
    };
    let stream = StreamOptions { supersede: !args.pace.once, ..stream };
    let labels = [("source", source.source.name.as_str()), ("namespace", center.namespace()), ("dc", name.as_str())];
    let measured = Measured::new(&context.reporter, args.pace.metrics_file.clone(), &labels);
    let outcome = capture_live(&Live {
        repo: &repo,
        center: &center,
        listener: &listener,
        source: &source,
        stream: &stream,
        options: &options,
        progress: &measured,
    })
    .kept(KEPT)?;
    Ok(context.tell(&outcome, &outcome.problems, outcome.complete, || summary(&outcome)))
}
