//! What a sink sends to, whatever it is.

use super::batch::{Batch, Failure, Rows};
use super::nats::Nats;
use super::postgres::Database;
use crate::config::{Sink, SinkTarget};

/// A server, and the connection to it if there is one.
pub enum Server {
    /// A table of PostgreSQL.
    Postgres(String, Option<Database>),
    /// A stream of NATS.
    Nats(Box<Nats>),
}

impl Server {
    /// What a sink is configured to send to. It connects with the first batch.
    pub fn new(sink: &Sink) -> Server {
        match &sink.target {
            SinkTarget::Postgres { table } => Server::Postgres(table.clone(), None),
            SinkTarget::Nats { stream, subject } => {
                Server::Nats(Box::new(Nats::new(stream, subject)))
            }
        }
    }

    /// What it wants of a call that was amended.
    pub fn rows(&self) -> Rows {
        match self {
            Server::Postgres(..) => Rows::Calls,
            Server::Nats(_) => Rows::Frames,
        }
    }

    /// Sends a batch, whose rows are gone then. When it returns, the server has it. Whatever fails,
    /// and if it is dropped, the next try has a connection of its own.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn put(&mut self, sink: &Sink, batch: &mut Batch) -> Result<(), Failure> {
        match self {
            Server::Postgres(table, connected) => {
                let database = match connected.take() {
                    Some(database) => database,
                    None => Database::open(sink, table).await?,
                };
                database.put(&batch.json()).await?;
                *connected = Some(database);
                Ok(())
            }
            Server::Nats(nats) => nats.put(sink, batch).await,
        }
    }
}
