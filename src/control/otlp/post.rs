//! One export: a POST of JSON over a connection of its own (OTLP 1.x, "OTLP/HTTP").

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::discovery::resolver::Resolver;
use crate::config::Otlp;
use crate::config::endpoint::authority;

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

const AGENT: &str = concat!("srpd/", env!("CARGO_PKG_VERSION"));

/// Why an export failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It may be taken later.
    Later {
        /// What is wrong.
        why: String,
        /// When to try again, if the collector says so.
        after: Option<Duration>,
    },
    /// It won't.
    Never(String),
}

/// Where exports go.
pub struct Collector {
    config: Otlp,
    resolver: Resolver,
}

impl Collector {
    /// Names are asked of these servers, or of the system's.
    pub fn new(config: Otlp, servers: &[SocketAddr]) -> Collector {
        Collector {
            config,
            resolver: Resolver::new(servers),
        }
    }

    /// Has it taken. Says how many items the collector refused all the same.
    ///
    /// # Errors
    /// It wasn't taken, within `otlp.timeout`.
    pub async fn post(&self, path: &str, body: Bytes) -> Result<u64, Trouble> {
        let timeout = self.config.timeout;
        let late = |_| Err(later(format!("no answer within {timeout:?}")));
        tokio::time::timeout(timeout, self.deliver(path, body))
            .await
            .unwrap_or_else(late)
    }

    async fn deliver(&self, path: &str, body: Bytes) -> Result<u64, Trouble> {
        let stream = self.connect().await?;
        match &self.config.tls {
            None => self.exchange(path, body, stream).await,
            Some(tls) => {
                let (config, name) = tls.apart();
                let connector = TlsConnector::from(config);
                let stream = connector.connect(name, stream).await.map_err(later)?;
                self.exchange(path, body, stream).await
            }
        }
    }

    async fn connect(&self) -> Result<TcpStream, Trouble> {
        let url = &self.config.url;
        let addresses = match url.host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => {
                let found = self.resolver.addresses(&url.host).await;
                found.map_err(later)?.records
            }
        };
        let mut failure = "it has no address".to_owned();
        for address in addresses {
            match TcpStream::connect((address, url.port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error.to_string(),
            }
        }
        Err(later(failure))
    }

    async fn exchange<S>(&self, path: &str, body: Bytes, stream: S) -> Result<u64, Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(later)?;
        let request = self.request(path, body)?;
        let asking = async {
            let response = sender.send_request(request).await.map_err(later)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            judge(head.status, &head.headers, &body)
        };
        tokio::pin!(asking, connection);
        tokio::select! {
            biased;
            judged = &mut asking => judged,
            // It may end before what it has brought is looked at.
            _ = &mut connection => asking.await,
        }
    }

    fn request(&self, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Trouble> {
        let Otlp { url, headers, .. } = &self.config;
        let never = |error: hyper::http::Error| Trouble::Never(error.to_string());
        let mut request = Request::post(format!("{}{path}", url.prefix))
            .header(HOST, authority(url.https, &url.host, url.port))
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "close");
        for (name, value) in headers {
            if let Ok(mut value) = HeaderValue::from_bytes(value.expose()) {
                value.set_sensitive(true);
                request = request.header(name, value);
            }
        }
        request.body(Full::new(body)).map_err(never)
    }
}

fn later(error: impl std::fmt::Display) -> Trouble {
    Trouble::Later {
        why: error.to_string(),
        after: None,
    }
}

/// What an answer means: some statuses ask for another try, no other does (OTLP 1.x, "Failures").
pub(super) fn judge(status: StatusCode, fields: &HeaderMap, body: &[u8]) -> Result<u64, Trouble> {
    let why = format!("status {}", status.as_u16());
    match status.as_u16() {
        200..300 => Ok(refused(body)),
        429 | 502 | 503 | 504 => {
            let after = fields.get(RETRY_AFTER).and_then(seconds);
            Err(Trouble::Later { why, after })
        }
        _ => Err(Trouble::Never(why)),
    }
}

/// Only whole seconds: no collector is known to send a date.
fn seconds(value: &HeaderValue) -> Option<Duration> {
    let seconds = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What a collector says it left out of an export that it took.
fn refused(body: &[u8]) -> u64 {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let partial = &answer["partialSuccess"];
    let counts = ["rejectedSpans", "rejectedDataPoints"].map(|key| &partial[key]);
    let read = |count: &Value| match count {
        Value::String(text) => text.parse().ok(),
        count => count.as_u64(),
    };
    counts.into_iter().find_map(read).unwrap_or(0)
}
