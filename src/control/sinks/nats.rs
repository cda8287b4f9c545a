//! A stream of NATS JetStream. Each frame is a message, so what amends an entry is one of its own.
//!
//! What makes each arrive once is not the stream's window for duplicates, which ends: a message is
//! stored only if the last one of its subject is the one that the sink thinks it is
//! (`Nats-Expected-Last-Subject-Sequence`). A new connection begins by asking which that is, and goes
//! on behind it. So a message whose acknowledgement was lost isn't sent again, however long ago that
//! was, and of two senders one is refused.
//!
//! That takes one message at a time for each subject, until it is acknowledged. So each core has
//! several subjects, its lanes; a call's frames share one, and stay in order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{Context, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{self, LastRawMessageErrorKind, RetentionPolicy, StorageType};
use async_nats::{ConnectOptions, jetstream};
use rustls::ClientConfig;
use tokio::task::JoinSet;

use super::batch::{Batch, Failure, Owner, Row};
use crate::config::Sink;
use crate::config::nats::{NatsLogin, NatsServers};
use crate::net::ClientTls;

/// Subjects of a core. Another number would have other calls share a lane: it belongs to the names of
/// the subjects, and stays.
const LANES: u64 = 8;

/// The field with a frame's number, which tells where to go on.
const SERIAL: &str = "Srpd-Serial";

/// How long a connection may take to be made, for each address.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A part of a core's calls: those whose number has this rest.
type Lane = (Owner, u64);

/// How far a lane is in the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reached {
    /// Number of the lane's last message in the stream, 0 without one.
    sequence: u64,
    /// Frames of the lane with a lower number are there, or have been.
    serial: u64,
}

/// A stream, and what is known of it.
pub struct Nats {
    stream: String,
    subject: String,
    /// What was acknowledged over all connections of this process.
    known: HashMap<Lane, Reached>,
    connection: Option<Connection>,
}

struct Connection {
    context: Context,
    stream: stream::Stream<()>,
    /// What the stream itself has said.
    reached: HashMap<Lane, Reached>,
}

impl Nats {
    /// A stream and what its subjects begin with.
    pub fn new(stream: &str, subject: &str) -> Nats {
        Nats {
            stream: stream.to_owned(),
            subject: subject.to_owned(),
            known: HashMap::new(),
            connection: None,
        }
    }

    /// Sends a batch that has each frame. When it returns, the stream has it.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn put(&mut self, sink: &Sink, batch: &mut Batch) -> Result<(), Failure> {
        // Back only if nothing is under way on it any more.
        let connection = self.connection.take().filter(Connection::is_unbroken);
        let mut connection = match connection {
            Some(connection) => connection,
            None => self.connect(sink).await?,
        };
        let mut lanes: BTreeMap<Lane, Vec<Row>> = BTreeMap::new();
        for row in std::mem::take(&mut batch.rows) {
            lanes.entry(lane_of(&row)).or_default().push(row);
        }
        let mut sending = JoinSet::new();
        for (lane, rows) in lanes {
            let sender = Sender {
                context: connection.context.clone(),
                stream: connection.stream.clone(),
                name: self.stream.clone(),
                subject: subject(&self.subject, lane),
            };
            let reached = connection.reached.get(&lane).copied();
            sending.spawn(async move { Ok((lane, sender.send(rows, reached).await?)) });
        }
        let done = all(sending).await?;
        connection.reached.extend(done.iter().copied());
        self.known.extend(done);
        // Of cores that have no segment any more there is nothing to come.
        let here = &batch.sent.0;
        self.known.retain(|(owner, _), _| here.contains_key(owner));
        connection
            .reached
            .retain(|(owner, _), _| here.contains_key(owner));
        self.connection = Some(connection);
        Ok(())
    }

    /// Connects, and asks how far the lanes are that something is known of.
    async fn connect(&mut self, sink: &Sink) -> Result<Connection, Failure> {
        let context = connect(sink).await?;
        let name = &self.stream;
        let absent = |error: &dyn Display| {
            format!("the stream {name} can't be had, which is yours to make: {error}")
        };
        let stream = context.get_stream_no_info(name).await;
        let stream = stream.map_err(|error| absent(&error))?;
        let info = stream.get_info().await.map_err(|error| absent(&error))?;
        check(&info.config)?;
        let end = info.state.last_sequence;
        let mut asking = JoinSet::new();
        for lane in self.known.keys().copied() {
            let (stream, subject) = (stream.clone(), subject(&self.subject, lane));
            asking.spawn(async move { Ok((lane, last(&stream, &subject).await?)) });
        }
        let mut reached = HashMap::new();
        let mut again = BTreeSet::new();
        for (lane, found) in all(asking).await? {
            let known = self.known.get(&lane).copied().unwrap_or_default();
            let Some(to) = go_on(known, found, end) else {
                self.known.remove(&lane);
                again.insert(lane.0);
                continue;
            };
            reached.insert(lane, to);
        }
        if !again.is_empty() {
            return Err(Failure {
                text: "the stream has lost what it had acknowledged: it is sent again".to_owned(),
                again: again.into_iter().collect(),
            });
        }
        Ok(Connection {
            context,
            stream,
            reached,
        })
    }
}

impl Connection {
    /// The client connects again by itself, and then the stream may not be what it was.
    fn is_unbroken(&self) -> bool {
        let client = self.context.client();
        let connects = client.statistics().connects.load(Relaxed);
        connects == 1 && client.connection_state() == State::Connected
    }
}

fn lane_of(row: &Row) -> Lane {
    ((row.id.run, row.id.core), row.id.call % LANES)
}

fn subject(beginning: &str, ((run, core), lane): Lane) -> String {
    format!("{beginning}.{run}.{core}.{lane}")
}

/// Where to go on with a lane, of which something was acknowledged and `found` is the last message
/// now. None if the stream has lost some of it: a machine that lost power, or another stream of that
/// name. A subject that is empty has been purged, or is older than what the stream keeps, as long as
/// the stream's own end is behind what was acknowledged.
fn go_on(known: Reached, found: Option<Reached>, end: u64) -> Option<Reached> {
    match found {
        Some(found) => (found.sequence >= known.sequence).then_some(found),
        None => (end >= known.sequence).then_some(Reached {
            sequence: 0,
            serial: known.serial,
        }),
    }
}

/// What all tasks say, or the first failure.
async fn all<T: 'static>(mut tasks: JoinSet<Result<T, String>>) -> Result<Vec<T>, String> {
    let mut said = Vec::with_capacity(tasks.len());
    while let Some(ended) = tasks.join_next().await {
        said.push(ended.map_err(|error| error.to_string())??);
    }
    Ok(said)
}

async fn connect(sink: &Sink) -> Result<Context, String> {
    // Its text would show the password.
    let servers = NatsServers::parse(&sink.url).ok_or("the URL can't be read")?;
    let mut options = ConnectOptions::new()
        .name("srpd")
        .connection_timeout(CONNECT_WITHIN)
        // Where the password goes is the operator's to say, not a server's.
        .ignore_discovered_servers()
        // Each once: the sink has a patience of its own.
        .max_reconnects(servers.addresses.len());
    options = match servers.login {
        None => options,
        Some(NatsLogin::User(name, password)) => options.user_and_password(name, password),
        Some(NatsLogin::Token(token)) => options.token(token),
    };
    if let (Some(roots), Some(first)) = (&sink.roots, servers.addresses.first()) {
        // The client library checks each server's own name.
        let tls = ClientTls::new(roots, first.host()).map_err(|error| error.to_string())?;
        let (config, _name) = tls.apart();
        let mut config = ClientConfig::clone(&config);
        config.alpn_protocols = Vec::new();
        options = options.require_tls(true).tls_client_config(config);
    }
    let connected = options.connect(servers.addresses).await;
    let client = connected.map_err(|error| error.to_string())?;
    let mut context = jetstream::new(client);
    context.set_timeout(ANSWER_WITHIN);
    Ok(context)
}

/// A stream that forgets can't tell how far it has come.
fn check(config: &stream::Config) -> Result<(), String> {
    let name = &config.name;
    if config.retention != RetentionPolicy::Limits {
        return Err(format!("the stream {name}: expected retention by limits"));
    }
    if config.storage != StorageType::File {
        return Err(format!("the stream {name}: expected storage in files"));
    }
    if config.no_ack {
        return Err(format!("the stream {name}: expected acknowledgements"));
    }
    Ok(())
}

/// The last message of a subject. None if it has none.
async fn last(stream: &stream::Stream<()>, subject: &str) -> Result<Option<Reached>, String> {
    let message = match stream.get_last_raw_message_by_subject(subject).await {
        Ok(message) => message,
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(None),
        Err(error) => return Err(format!("{subject}: {error}")),
    };
    let serial = message.headers.get(SERIAL).map(|it| it.as_str().parse());
    match serial {
        Some(Ok(serial)) => Ok(Some(Reached {
            sequence: message.sequence,
            serial: u64::saturating_add(serial, 1),
        })),
        _ => Err(format!(
            "{subject}: expected the field {SERIAL} in its last message"
        )),
    }
}

/// Sends in one lane.
struct Sender {
    context: Context,
    stream: stream::Stream<()>,
    name: String,
    subject: String,
}

impl Sender {
    /// Sends frames one by one, but those that are there; how far the lane is then.
    async fn send(self, rows: Vec<Row>, reached: Option<Reached>) -> Result<Reached, String> {
        let mut reached = match reached {
            Some(reached) => reached,
            None => last(&self.stream, &self.subject).await?.unwrap_or_default(),
        };
        for row in rows {
            if row.serial < reached.serial {
                continue;
            }
            let sent = match self.publish(&row, reached.sequence).await {
                Err(error)
                    if error.kind() == PublishErrorKind::WrongLastSequence
                        && self.is_emptied(reached).await? =>
                {
                    reached.sequence = 0;
                    self.publish(&row, 0).await
                }
                sent => sent,
            };
            if let Some(sequence) = sent.map_err(|error| self.said(&error))? {
                reached.sequence = sequence;
            }
            reached.serial = row.serial.saturating_add(1);
        }
        Ok(reached)
    }

    /// Sends a frame behind the message with this number; the number of its own. None if the
    /// stream knew it, and has not stored it again.
    async fn publish(&self, row: &Row, behind: u64) -> Result<Option<u64>, PublishError> {
        let message = PublishMessage::build()
            .message_id(message_id(row))
            .header(SERIAL, row.serial.to_string())
            .expected_stream(&self.name)
            .expected_last_subject_sequence(behind)
            .payload(row.json.clone().into());
        let sent = self.context.send_publish(self.subject.clone(), message);
        let acknowledged = sent.await?.await?;
        Ok((!acknowledged.duplicate).then_some(acknowledged.sequence))
    }

    /// Whether the stream has removed all of the lane since: too old, or purged.
    async fn is_emptied(&self, reached: Reached) -> Result<bool, String> {
        let found = last(&self.stream, &self.subject).await?;
        let info = self.stream.get_info().await;
        let end = info.map_err(|error| error.to_string())?.state.last_sequence;
        Ok(found.is_none() && go_on(reached, found, end).is_some())
    }

    fn said(&self, error: &PublishError) -> String {
        let subject = &self.subject;
        match error.kind() {
            PublishErrorKind::StreamNotFound => format!("no stream takes {subject}"),
            PublishErrorKind::WrongLastSequence => {
                format!("{subject} has another last message than expected: {error}")
            }
            _ => format!("{subject}: {error}"),
        }
    }
}

/// An entry's own id; of what amends it, with the number of the frame.
fn message_id(row: &Row) -> String {
    match row.amends {
        false => row.id.to_string(),
        true => format!("{}.{}", row.id, row.serial),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_goes_on_behind_its_last_message_and_what_a_stream_has_lost_is_sent_again() {
        let at = |sequence, serial| Reached { sequence, serial };
        let known = at(70, 9);
        // Nothing happened, or an acknowledgement was lost.
        assert_eq!(go_on(known, Some(at(70, 9)), 90), Some(at(70, 9)));
        assert_eq!(go_on(known, Some(at(82, 11)), 90), Some(at(82, 11)));
        // Purged, or too old for the stream.
        assert_eq!(go_on(known, None, 90), Some(at(0, 9)));
        // Gone back: the lane's end is missing, or the stream's.
        assert_eq!(go_on(known, Some(at(60, 7)), 90), None);
        assert_eq!(go_on(known, None, 0), None);
    }
}
