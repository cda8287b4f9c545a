//! A table of PostgreSQL. A batch is one statement, and so one transaction: an id that isn't there
//! is added, one that is there changes only to what amends it. What arrives twice, or late, changes
//! nothing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{self, ChannelBinding};
use tokio_postgres::{Client, NoTls, Socket, Statement};
use tokio_rustls::TlsConnector;

use crate::config::Sink;
use crate::net::{ClientTls, Roots};

/// How long a connection may take to be made, for each address.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// The application protocol of PostgreSQL's wire protocol in TLS (IANA).
const ALPN: &[u8] = b"postgresql";

/// What the table's comment says: which columns it has.
const SCHEMA: &str = "srpd ledger, schema 1";

/// Name and type of each column. Whole numbers that a provider says may be too large for a bigint.
const COLUMNS: [(&str, &str); 25] = [
    ("id", "text PRIMARY KEY"),
    ("serial", "bigint NOT NULL"),
    ("amended", "boolean NOT NULL"),
    ("request_id", "text NOT NULL"),
    ("began", "timestamptz NOT NULL"),
    ("key", "text"),
    ("capability", "text"),
    ("residency", "text"),
    ("supply", "text"),
    ("price", "numeric"),
    ("currency", "text"),
    ("cost", "numeric"),
    ("jurisdiction", "text"),
    ("provider", "text"),
    ("status", "integer NOT NULL"),
    ("outcome", "text NOT NULL"),
    ("code", "text"),
    ("stream", "boolean NOT NULL"),
    ("input_tokens", "numeric"),
    ("output_tokens", "numeric"),
    ("bytes_in", "bigint NOT NULL"),
    ("bytes_out", "bigint NOT NULL"),
    ("ttft_us", "bigint"),
    ("total_us", "bigint NOT NULL"),
    ("attempts", "jsonb NOT NULL"),
];

/// What is acknowledged has to be on the server's disk, whatever its configuration says.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false) \
                       WHERE current_setting('synchronous_commit') = 'off'";

/// A connection, and what is sent over it.
pub struct Database {
    client: Client,
    insert: Statement,
    connection: JoinHandle<()>,
}

impl Drop for Database {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Database {
    /// Connects, and makes the table if there is none.
    ///
    /// # Errors
    /// The server can't be reached, refuses, or has a table of another schema.
    pub async fn open(sink: &Sink, table: &str) -> Result<Database, String> {
        let (client, connection) = connect(sink).await?;
        let opened = prepare(&client, table).await;
        match opened {
            Ok(insert) => Ok(Database {
                client,
                insert,
                connection,
            }),
            Err(error) => {
                connection.abort();
                Err(error)
            }
        }
    }

    /// Puts an array of rows into the table. When it returns, they are there for good.
    ///
    /// # Errors
    /// What the server says. Whether they are there then, nobody knows.
    pub async fn put(&self, rows: &str) -> Result<(), String> {
        let done = self.client.execute(&self.insert, &[&rows]).await;
        done.map(|_changed| ()).map_err(said)
    }
}

async fn connect(sink: &Sink) -> Result<(Client, JoinHandle<()>), String> {
    // Its text would show the password.
    let unreadable = || "the URL can't be read".to_owned();
    let text = str::from_utf8(sink.url.expose()).map_err(|_| unreadable())?;
    let mut config: tokio_postgres::Config = text.parse().map_err(|_| unreadable())?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_WITHIN);
    }
    if config.get_application_name().is_none() {
        config.application_name("srpd");
    }
    // The end of a connection is seen by who uses it.
    match &sink.roots {
        Some(roots) => {
            config.ssl_mode(SslMode::Require);
            let (client, connection) = config.connect(Tls(roots.clone())).await.map_err(said)?;
            Ok((client, tokio::spawn(async { drop(connection.await) })))
        }
        None => {
            config.ssl_mode(SslMode::Disable);
            let (client, connection) = config.connect(NoTls).await.map_err(said)?;
            Ok((client, tokio::spawn(async { drop(connection.await) })))
        }
    }
}

async fn prepare(client: &Client, table: &str) -> Result<Statement, String> {
    client.batch_execute(DURABLE).await.map_err(said)?;
    let quoted = quoted(table);
    let find = "SELECT to_regclass($1) IS NOT NULL, obj_description(to_regclass($1), 'pg_class')";
    let row = client.query_one(find, &[&quoted]).await.map_err(said)?;
    let (exists, comment): (bool, Option<String>) = (row.get(0), row.get(1));
    if !exists {
        client.batch_execute(&create(&quoted)).await.map_err(said)?;
        tracing::info!(table, "ledger: a sink's table was made");
    } else if comment.as_deref() != Some(SCHEMA) {
        let found = comment.unwrap_or_default();
        return Err(format!(
            "the table {table} has the comment {found:?}: expected {SCHEMA:?}"
        ));
    }
    client.prepare(&insert(&quoted)).await.map_err(said)
}

/// A table's name as SQL has it: configured names have no quotes.
fn quoted(table: &str) -> String {
    let parts: Vec<String> = table.split('.').map(|part| format!("\"{part}\"")).collect();
    parts.join(".")
}

/// In one transaction, as all that one message has.
fn create(table: &str) -> String {
    let columns = COLUMNS.map(|(name, kind)| format!("{name} {kind}"));
    let columns = columns.join(", ");
    format!("CREATE TABLE {table} ({columns}); COMMENT ON TABLE {table} IS '{SCHEMA}'")
}

fn insert(table: &str) -> String {
    let names = COLUMNS.map(|(name, _)| name).join(", ");
    let types = COLUMNS.map(|(name, kind)| {
        let kind = kind.split(' ').next().unwrap_or(kind);
        format!("{name} {kind}")
    });
    let types = types.join(", ");
    let (_, others) = COLUMNS.split_at(1);
    let others: Vec<String> = others
        .iter()
        .map(|(name, _)| format!("{name} = excluded.{name}"))
        .collect();
    let others = others.join(", ");
    format!(
        "INSERT INTO {table} AS kept ({names}) \
         SELECT {names} FROM json_to_recordset($1::text::json) AS fresh({types}) \
         ON CONFLICT (id) DO UPDATE SET {others} WHERE kept.serial < excluded.serial"
    )
}

/// What went wrong, without what a server says of rows.
fn said(error: tokio_postgres::Error) -> String {
    if let Some(refusal) = error.as_db_error() {
        return format!("{} ({})", refusal.message(), refusal.code().code());
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Verifies servers as providers are verified.
#[derive(Clone)]
struct Tls(Roots);

struct Handshake {
    config: ClientConfig,
    name: ServerName<'static>,
}

impl tls::MakeTlsConnect<Socket> for Tls {
    type Stream = Secured;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Handshake> {
        let (config, name) = ClientTls::new(&self.0, host)
            .map_err(io::Error::other)?
            .apart();
        let mut config = ClientConfig::clone(&config);
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Handshake { config, name })
    }
}

impl tls::TlsConnect<Socket> for Handshake {
    type Stream = Secured;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Secured>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        let connector = TlsConnector::from(Arc::new(self.config));
        Box::pin(async move { connector.connect(self.name, socket).await.map(Secured) })
    }
}

struct Secured(tokio_rustls::client::TlsStream<Socket>);

impl tls::TlsStream for Secured {
    /// The server is known by its certificate.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statements_are_those_that_the_documentation_shows() {
        let documented = include_str!("../../../docs/LEDGER.md");
        let shown: String = documented.split_whitespace().collect::<Vec<_>>().join(" ");
        for (name, kind) in COLUMNS {
            assert!(shown.contains(&format!("{name} {kind}")), "{name} {kind}");
        }
        assert!(shown.contains(&format!("COMMENT ON TABLE srpd_ledger IS '{SCHEMA}'")));
        assert!(
            insert(&quoted("billing.calls"))
                .starts_with("INSERT INTO \"billing\".\"calls\" AS kept (id, serial,")
        );
    }
}
