//! One check of one endpoint, over a connection of its own: what is to be shown is that a new one
//! is taken. It goes where calls go and nowhere else, and the other side is verified as it is for
//! them. No credential is sent.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::vitals::{self, Vitals};
use crate::base::EndpointId;
use crate::net::ClientTls;

/// Bytes of a page of metrics: vLLM's has about a tenth of it.
pub const METRICS_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of an answer to a check; what it says isn't read.
const HEALTH_BYTES_MAX: usize = 64 * 1024;

const AGENT: &str = concat!("srpd/", env!("CARGO_PKG_VERSION"));

/// Where to look, and for what.
#[derive(Clone)]
pub struct Visit {
    /// Whom.
    pub id: EndpointId,
    /// Where calls go.
    pub addresses: Vec<SocketAddr>,
    /// The `Host` field value.
    pub authority: String,
    /// By what it is verified; none: plaintext.
    pub tls: Option<ClientTls>,
    /// What to ask for.
    pub path: String,
    /// Where its metrics are, if they are wanted now.
    pub metrics: Option<String>,
    /// How long each of the two may take.
    pub timeout: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Checkup {
    /// Of whom.
    pub id: EndpointId,
    /// Whether it is ready, or why not.
    pub health: Result<(), String>,
    /// What its metrics say, if they were asked for; nothing if it has none.
    pub vitals: Option<Option<Vitals>>,
}

/// Looks at an endpoint. Its metrics are asked for only if it is ready.
pub async fn check(visit: Visit) -> Checkup {
    let asked = within(visit.timeout, get(&visit, &visit.path, HEALTH_BYTES_MAX)).await;
    let health = asked.and_then(|(status, _)| match status.is_success() {
        true => Ok(()),
        false => Err(format!("status {}", status.as_u16())),
    });
    let vitals = match &visit.metrics {
        Some(path) if health.is_ok() => {
            let page = within(visit.timeout, get(&visit, path, METRICS_BYTES_MAX)).await;
            Some(page.ok().and_then(read))
        }
        _ => None,
    };
    Checkup {
        id: visit.id,
        health,
        vitals,
    }
}

fn read((status, page): (StatusCode, Bytes)) -> Option<Vitals> {
    let is_page = status == StatusCode::OK;
    is_page.then(|| vitals::read(&String::from_utf8_lossy(&page)))?
}

async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let late = |_| Err(format!("no answer within {timeout:?}"));
    tokio::time::timeout(timeout, work)
        .await
        .unwrap_or_else(late)
}

async fn get(visit: &Visit, path: &str, most: usize) -> Result<(StatusCode, Bytes), String> {
    let stream = connect(&visit.addresses).await?;
    match &visit.tls {
        None => exchange(visit, path, most, stream).await,
        Some(tls) => {
            let (config, name) = tls.apart();
            let connector = TlsConnector::from(config);
            let stream = connector.connect(name, stream).await.map_err(said)?;
            exchange(visit, path, most, stream).await
        }
    }
}

/// The addresses in turn, as for a call.
async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let mut failure = "it has no address".to_owned();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error.to_string(),
        }
    }
    Err(failure)
}

async fn exchange<S>(
    visit: &Visit,
    path: &str,
    most: usize,
    stream: S,
) -> Result<(StatusCode, Bytes), String>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(said)?;
    let _connection = Driven(tokio::task::spawn_local(async move {
        // Whatever it fails with, the exchange fails with too.
        let _ = connection.await;
    }));
    let request = Request::get(path)
        .header(HOST, &visit.authority)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(said)?;
    let response = sender.send_request(request).await.map_err(said)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), most).collect().await;
    let body = body.map_err(|error| error.to_string())?;
    Ok((status, body.to_bytes()))
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A connection at work, for as long as somebody waits for what it brings.
struct Driven(JoinHandle<()>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}
