//! Listening: connections in clear and by TLS, with limits of time and number, and an end that lets answers under way finish.

use super::{
    auth::Certified,
    limit::Peer,
    lobby::{Awaited, Guest, Lobby},
    patient::Patient,
    tls::{self, Tls},
};
use crate::service::{
    Service, ServiceError,
    config::{
        Config,
        check::{OPEN_UP, address_of, open_to_anybody},
    },
    console::Encrypted,
};
use axum::{Router, body::Body, extract::Request, response::Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
};
use tower::ServiceExt as _;

/// Connections at once; for more of them those go that the service waits for. Each may hold a head and a body in memory.
const MAX_CONNECTIONS: usize = 1024;

/// Connections that the system holds until they are taken, where it lets it: it has others wait for seconds before they ask again.
const BACKLOG: u32 = 4096;

/// How long answers under way may still take at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// The most of a head.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How often what ends soon is said.
const LOOK_AT_CERTIFICATES: Duration = Duration::from_hours(12);

/// A server that listens.
pub struct Server {
    /// Where it listens in clear.
    pub http: Option<SocketAddr>,
    /// Where it listens by TLS.
    pub https: Option<SocketAddr>,
    runtime: tokio::runtime::Runtime,
    stop: watch::Sender<Duration>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Server {
    /// Takes no more connections, and lets answers under way finish.
    pub fn stop(self) {
        self.stop_within(LAST_ANSWERS);
    }

    /// The same, for so long at most.
    pub fn stop_within(self, most: Duration) {
        let Self { runtime, stop, tasks, .. } = self;
        let _ = stop.send(most.min(LAST_ANSWERS));
        runtime.block_on(async {
            for task in tasks {
                if let Err(error) = task.await {
                    tracing::error!("a listener ended badly: {error}");
                }
            }
        });
        runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

#[derive(Clone, Copy)]
struct Patience {
    head: Duration,
    whole: Duration,
    /// For a client to take something of an answer.
    taking: Duration,
}

/// Where to listen in clear: what the configuration says, else every address with keys, else this host alone.
fn clear_address(config: &Config, port: Option<u16>) -> Result<Option<SocketAddr>, ServiceError> {
    let http = config.service.http.clone().unwrap_or_default();
    if http.disabled == Some(true) {
        return Ok(None);
    }
    let is_guarded = !config.service.api_keys.is_empty() || config.service.without_authentication == Some(true);
    let standard = if is_guarded { "0.0.0.0" } else { "127.0.0.1" };
    let said = http.address.as_deref().filter(|address| !address.is_empty());
    let mut address: IpAddr = parsed(said.unwrap_or(standard))?;
    if !is_guarded && !address.is_loopback() {
        // A file of the backup service that says nothing of keys names the address that is its default.
        if !address.is_unspecified() {
            return Err(open(address));
        }
        tracing::warn!("nobody needs a key: only this host is answered. {}", OPEN_UP);
        address = parsed("127.0.0.1")?;
    }
    Ok(Some(SocketAddr::new(address, port.or(http.port).unwrap_or(8080))))
}

fn open(address: IpAddr) -> ServiceError {
    ServiceError::Open(open_to_anybody(address))
}

fn parsed(address: &str) -> Result<IpAddr, ServiceError> {
    address_of(address).ok_or_else(|| ServiceError::Listen {
        place: address.to_owned(),
        reason: "it is no address: write numbers".to_owned(),
    })
}

/// Begins to listen. `port` wins over the configuration's; 0 takes a free one.
///
/// # Errors
/// [`ServiceError::Listen`], [`ServiceError::Open`].
pub fn serve(service: &Arc<Service>, port: Option<u16>) -> Result<Server, ServiceError> {
    let config = service.config();
    let clear = clear_address(&config, port)?;
    let https = config.service.https.clone().filter(|https| https.disabled != Some(true));
    let tls = https.as_ref().map(|https| Tls::new(service, &config, https)).transpose()?.map(Arc::new);
    let is_guarded = !config.service.api_keys.is_empty()
        || config.service.without_authentication == Some(true)
        || https.as_ref().is_some_and(|https| https.client_auth.as_deref() == Some("require-and-verify"));
    let secure = match &https {
        None => None,
        Some(https) => {
            let address = parsed(https.address.as_deref().unwrap_or(if is_guarded { "0.0.0.0" } else { "127.0.0.1" }))?;
            if !is_guarded && !address.is_loopback() {
                return Err(open(address));
            }
            Some(SocketAddr::new(address, https.port.unwrap_or(8443)))
        }
    };
    if clear.is_none() && secure.is_none() {
        let place = "service.http".to_owned();
        return Err(ServiceError::Listen { place, reason: "neither http nor https is to be listened on".to_owned() });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // Questions that read storage wait here; what comes beyond waits for one of them.
        .max_blocking_threads(32)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(|error| ServiceError::Listen { place: "HTTP".to_owned(), reason: error.to_string() })?;
    let router = super::router(service)?;
    let http = config.service.http.clone().unwrap_or_default();
    let in_clear = patience(http.timeout, http.read_timeout, http.write_timeout);
    let by_tls = https.as_ref().map_or(in_clear, |https| {
        let or = |said: Option<u32>, other: Option<u32>| said.or(other);
        patience(
            or(https.timeout, http.timeout),
            or(https.read_timeout, http.read_timeout),
            or(https.write_timeout, http.write_timeout),
        )
    });
    let (stop, stopped) = watch::channel(LAST_ANSWERS);
    let lobby = Lobby::new(MAX_CONNECTIONS);
    let (mut tasks, mut addresses) = (Vec::new(), [None, None]);
    for (at, (address, tls, patience)) in [(clear, None, in_clear), (secure, tls, by_tls)].into_iter().enumerate() {
        let Some(address) = address else { continue };
        let failed =
            |error: std::io::Error| ServiceError::Listen { place: address.to_string(), reason: error.to_string() };
        let listener = runtime.block_on(async { bind(address) }).map_err(failed)?;
        addresses[at] = Some(listener.local_addr().map_err(failed)?);
        if let Some(tls) = &tls {
            runtime.spawn(tell_ends(Arc::clone(tls)));
        }
        tasks.push(runtime.spawn(listen(listener, tls, router.clone(), patience, Arc::clone(&lobby), stopped.clone())));
    }
    let [http, https] = addresses;
    Ok(Server { http, https, runtime, stop, tasks })
}

/// Says again and again what ends soon: nobody reads what was said at a start weeks ago.
async fn tell_ends(tls: Arc<Tls>) {
    loop {
        tokio::time::sleep(LOOK_AT_CERTIFICATES).await;
        tls.tell_ends();
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As `TcpListener::bind` does it: one that has just ended is followed at once.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn patience(timeout: Option<u32>, read: Option<u32>, write: Option<u32>) -> Patience {
    let millis = |said: Option<u32>, standard: u64| {
        Duration::from_millis(said.filter(|millis| *millis > 0).map_or(standard, u64::from))
    };
    let taking = millis(write, 60_000);
    Patience { head: millis(timeout, 5000), whole: millis(read, 30_000) + taking, taking }
}

async fn listen(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    router: Router,
    patience: Patience,
    lobby: Arc<Lobby>,
    mut stopped: watch::Receiver<Duration>,
) {
    let graceful = GracefulShutdown::new();
    loop {
        let next = async { (listener.accept().await, lobby.take_in().await) };
        let (taken, guest) = tokio::select! {
            next = next => next,
            _ = stopped.changed() => break,
        };
        let (stream, peer) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                // No more files may be open: those that are must end first.
                tracing::warn!("a connection could not be taken: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (tls, router, watcher) = (tls.clone(), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            let guest = Arc::new(guest);
            let stay = async {
                let _ = stream.set_nodelay(true);
                match tls {
                    None => speak(stream, peer, Secured::default(), &router, patience, &guest, watcher).await,
                    Some(tls) => {
                        let acceptor = tokio_rustls::TlsAcceptor::from(tls.config());
                        match tokio::time::timeout(patience.head, acceptor.accept(stream)).await {
                            Ok(Ok(stream)) => {
                                let secured = Secured { by_tls: true, name: certified(stream.get_ref().1) };
                                speak(stream, peer, secured, &router, patience, &guest, watcher).await;
                            }
                            Ok(Err(error)) if tls::is_of_certificate(&error) => {
                                tracing::warn!(%peer, "this client's certificate is refused: {error}");
                            }
                            Ok(Err(error)) => tracing::debug!(%peer, "no TLS: {error}"),
                            Err(_) => tracing::debug!(%peer, "no TLS in time"),
                        }
                    }
                }
            };
            tokio::select! {
                () = stay => {}
                () = guest.has_to_leave() => tracing::debug!(%peer, "let go: others need the room"),
            }
        });
    }
    drop(listener);
    let most = *stopped.borrow();
    if tokio::time::timeout(most, graceful.shutdown()).await.is_err() {
        tracing::warn!("some answers took too long and were given up");
    }
}

/// The name of a client whose certificate was verified: by the hash of the certificate, which is unlike every other.
fn certified(connection: &rustls::ServerConnection) -> Option<Arc<str>> {
    let first = connection.peer_certificates()?.first()?;
    Some(format!("certificate {}", &blake3::hash(first).to_hex()[..16]).into())
}

/// What TLS says of a connection.
#[derive(Clone, Default)]
struct Secured {
    by_tls: bool,
    /// The client, if an authority vouches for it.
    name: Option<Arc<str>>,
}

async fn speak<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: SocketAddr,
    secured: Secured,
    router: &Router,
    patience: Patience,
    guest: &Arc<Guest>,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let (router, guest) = (router.clone(), Arc::clone(guest));
    let unread = guest.unread();
    let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (router, secured, guest) = (router.clone(), secured.clone(), Arc::clone(&guest));
        async move {
            let mut request = request.map(|body| Body::new(Awaited::new(body, &guest)));
            request.extensions_mut().insert(Peer(peer.ip()));
            if secured.by_tls {
                request.extensions_mut().insert(Encrypted);
            }
            if let Some(name) = secured.name {
                request.extensions_mut().insert(Certified(name));
            }
            let late = || {
                let words = "the request took too long";
                axum::response::IntoResponse::into_response((axum::http::StatusCode::REQUEST_TIMEOUT, words))
            };
            let answered = tokio::time::timeout(patience.whole, router.oneshot(request)).await;
            let response: Response = match answered {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(_) => late(),
            };
            guest.is_waited_for();
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(Patient::new(stream, patience.taking, unread)), answer);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%peer, "a connection broke: {error}");
    }
}
