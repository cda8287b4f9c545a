//! A response as it comes in: its head, and its body turned into payload as it arrives.

use std::time::Duration;

use super::payload::{Payload, Progress};
use super::verdict::Verdict;
use crate::base::Moment;
use crate::http::chunked::ChunkedDecoder;
use crate::http::{HeadLimits, HeadSlots, ResponseFraming, ResponseHead, hop, parse_response};
use crate::net::buffer::{HUGE, LARGE, SMALL};
use crate::net::{Buffer, Conn, Ends, Recycled};

/// Room in front of what is read from a provider, for a chunk size of our own.
pub const HEADROOM: usize = 32;

/// Room in front of a provider's head: with that head's own, most of ours fit there, so that the
/// body is sent from where it lies.
pub const ANSWER_HEADROOM: usize = 384;

/// Bounds on a provider's head.
const LIMITS: HeadLimits = HeadLimits {
    bytes: 64 * 1024,
    fields: 256,
};

/// Interim responses (1xx) that are read over before the final one.
const INTERIM_MAX: usize = 8;

/// After this much the buffers grow: whoever has sent that will send more.
const LONG_BODY_BYTES: u64 = 1024 * 1024;

/// What the body is, as far as it decides how it is relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `text/event-stream`
    Events,
    /// JSON, of whatever subtype.
    Json,
    /// Anything else: audio, images, text, and what is compressed although nobody asked for it.
    Other,
}

/// Until when an attempt may wait, and on whose account.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the next byte.
    pub until: Moment,
    /// For the whole call.
    pub call_until: Moment,
}

impl Patience {
    /// The earlier of the two.
    pub fn ends(&self) -> Moment {
        self.until.min(self.call_until)
    }
}

/// A response whose head has been read.
pub struct Inbound {
    /// The connection that it comes from.
    pub conn: Conn,
    /// Payload that has come and is not sent yet.
    pub buffer: Buffer,
    /// The status.
    pub status: u16,
    /// What the body is.
    pub kind: Kind,
    /// The fields that the client gets, as lines, until it has got them.
    pub fields: Buffer,
    /// How long the provider asks to be left alone.
    pub retry_after: Option<Duration>,
    /// The length that the provider declared.
    pub length: Option<u64>,
    /// Body bytes received, after de-chunking.
    pub received: u64,
    /// Whether the body has come to its declared end.
    pub done: bool,
    payload: Payload,
    reusable: bool,
    /// Whether the last read left no room: more may have been there.
    filled: bool,
}

impl Inbound {
    /// Reads the head of the final response. The reader may be armed already, as a pooled
    /// connection's is. `reused`: whether the connection has served another call before.
    pub async fn begin(
        mut conn: Conn,
        reused: bool,
        patience: Patience,
    ) -> Result<Recycled<Inbound>, Verdict> {
        conn.deadline.set(patience.ends(), Ends::All);
        if !conn.reader.is_armed() {
            conn.reader
                .arm(Buffer::with_headroom(SMALL, ANSWER_HEADROOM));
        }
        let (mut result, mut buffer) = conn.reader.next().await;
        let mut interim = 0;
        loop {
            match result {
                Ok(n) if n > 0 => {}
                _ if conn.deadline.fired() => return Err(Verdict::TimedOut),
                _ => {
                    // An interim response is one too: the provider has begun to answer.
                    return Err(Verdict::Reset {
                        stale: reused && buffer.is_empty() && interim == 0,
                    });
                }
            }
            while let Some(head) = Head::read(&buffer)? {
                buffer.consume(head.bytes);
                if head.status >= 200 {
                    return Inbound::with(conn, buffer, head);
                }
                interim += 1;
                if interim > INTERIM_MAX {
                    return Err(Verdict::Invalid);
                }
            }
            if buffer.room() == 0 {
                buffer = larger(buffer);
            }
            (result, buffer) = conn.reader.read(buffer).await;
        }
    }

    /// Boxed: it goes through many hands, and each would keep room for all of it.
    fn with(conn: Conn, buffer: Buffer, head: Head) -> Result<Recycled<Inbound>, Verdict> {
        conn.deadline.clear();
        let (payload, length) = match head.framing {
            ResponseFraming::None => (Payload::Length(0), Some(0)),
            ResponseFraming::Length(length) => (Payload::Length(length), Some(length)),
            ResponseFraming::Chunked => (Payload::Chunked(ChunkedDecoder::new()), None),
            ResponseFraming::UntilClose => (Payload::UntilClose, None),
        };
        let mut inbound = Recycled::new(Inbound {
            conn,
            buffer,
            status: head.status,
            kind: head.kind,
            fields: head.fields,
            retry_after: head.retry_after,
            length,
            received: 0,
            done: false,
            payload,
            reusable: head.persistent,
            filled: false,
        });
        inbound.take_in(0)?;
        Ok(inbound)
    }

    /// Turns what was received behind the first `from` bytes into payload.
    fn take_in(&mut self, from: usize) -> Result<(), Verdict> {
        self.filled = self.buffer.room() == 0;
        let progress = self
            .payload
            .absorb(&mut self.buffer, from)
            .map_err(|_| Verdict::Invalid)?;
        match progress {
            Progress::More => {}
            Progress::Done => self.done = true,
            Progress::DoneEarly { excess } => {
                self.done = true;
                // Nobody asked for more: whatever it is, the connection is not to be trusted.
                self.reusable = false;
                self.buffer.truncate(self.buffer.len() - excess);
            }
        }
        if self.payload.is_empty() {
            self.done = true;
        }
        self.received += (self.buffer.len() - from) as u64;
        Ok(())
    }

    /// Reads once more, behind what the buffer holds.
    pub async fn more(&mut self, patience: Patience) -> Result<(), Verdict> {
        self.conn.deadline.set(patience.ends(), Ends::All);
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.room() == 0 {
            buffer = larger(buffer);
        }
        let from = buffer.len();
        let (result, buffer) = self.conn.reader.read(buffer).await;
        self.buffer = buffer;
        // How long the client takes for what has come is not on the provider's account.
        self.conn.deadline.clear();
        match result {
            Ok(n) if n > 0 => self.take_in(from),
            _ if self.conn.deadline.fired() => Err(match self.received {
                0 => Verdict::TimedOut,
                _ => Verdict::Stalled,
            }),
            Ok(_) if matches!(self.payload, Payload::UntilClose) => {
                self.done = true;
                Ok(())
            }
            _ => Err(Verdict::Truncated),
        }
    }

    /// Takes the body for ended where its content says so, although its framing doesn't. What
    /// the connection still carries is unknown: no response may follow on it.
    pub fn end_early(&mut self) {
        self.done = true;
        self.reusable = false;
        self.buffer = Buffer::default();
    }

    /// An empty buffer for the next read: a larger one once a read has filled its own, so that
    /// a stream of tokens makes do with a small one.
    pub fn next_buffer(&self, used: Buffer) -> Buffer {
        let mut next = used;
        let wanted = match (self.filled, self.received > LONG_BODY_BYTES) {
            (true, true) => HUGE,
            (true, false) => LARGE,
            (false, _) => SMALL,
        };
        if next.vec().capacity() < wanted {
            next = Buffer::with_capacity(wanted);
        }
        next.reset(HEADROOM);
        next
    }

    /// Starts to read behind a response that has ended, before the last of it goes to the client.
    /// Once that is sent the kernel has seen this read too, and whatever came behind the response
    /// is known before another call can be given the connection.
    pub fn watch(&mut self) {
        if self.done && self.reusable {
            let buffer = Buffer::with_headroom(SMALL, ANSWER_HEADROOM);
            self.reusable = self.conn.reader.starts_quiet(buffer);
        }
    }

    /// The connection, if the response ended exactly where it should have and another may follow.
    pub fn into_reusable(self) -> Option<Conn> {
        (self.done && self.reusable).then_some(self.conn)
    }
}

fn larger(buffer: Buffer) -> Buffer {
    let mut larger = Buffer::with_capacity(HEADROOM + buffer.len() * 4);
    larger.reset(HEADROOM);
    larger.extend(buffer.readable());
    larger
}

/// What is kept of a head when its bytes are gone.
struct Head {
    status: u16,
    framing: ResponseFraming,
    persistent: bool,
    kind: Kind,
    retry_after: Option<Duration>,
    fields: Buffer,
    bytes: usize,
}

impl Head {
    /// Reads the head that the buffer begins with, if it is complete.
    fn read(buffer: &Buffer) -> Result<Option<Head>, Verdict> {
        let mut slots = HeadSlots::new();
        let parsed = parse_response(buffer.readable(), &LIMITS, &mut slots, false);
        let Some(head) = parsed.map_err(|_| Verdict::Invalid)? else {
            return Ok(None);
        };
        let mut fields = Buffer::brief();
        hop::forward_response_fields(&head.fields, fields.vec());
        Ok(Some(Head {
            status: head.status,
            framing: head.framing,
            persistent: head.persistent,
            kind: kind(&head)?,
            retry_after: retry_after(&head),
            fields,
            bytes: head.length,
        }))
    }
}

/// What the body is. A compressed stream of events is refused: where its events end can't be
/// seen, so nothing that is promised of streams would hold.
fn kind(head: &ResponseHead<'_, '_>) -> Result<Kind, Verdict> {
    let value = head.fields.get_all("content-type").next();
    let media = value.and_then(|value| value.split(|&byte| byte == b';').next());
    let media = media.unwrap_or_default().trim_ascii();
    let identity = |value: &[u8]| value.trim_ascii().eq_ignore_ascii_case(b"identity");
    let coded = !head.fields.get_all("content-encoding").all(identity);
    if media.eq_ignore_ascii_case(b"text/event-stream") {
        match coded {
            true => Err(Verdict::Invalid),
            false => Ok(Kind::Events),
        }
    } else if !coded && is_json(media) {
        Ok(Kind::Json)
    } else {
        Ok(Kind::Other)
    }
}

fn is_json(media: &[u8]) -> bool {
    let suffix = media.last_chunk::<5>();
    media.eq_ignore_ascii_case(b"application/json")
        || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(b"+json"))
}

/// How long the provider wants to be left alone: `retry-after-ms`, or `retry-after` in either of
/// its forms (RFC 9110 section 10.2.3).
fn retry_after(head: &ResponseHead<'_, '_>) -> Option<Duration> {
    let text = |name| std::str::from_utf8(head.fields.get_all(name).next()?).ok();
    if let Some(millis) = text("retry-after-ms").and_then(|text| text.trim().parse().ok()) {
        return Some(Duration::from_millis(millis));
    }
    let value = text("retry-after")?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    date.duration_since(std::time::SystemTime::now()).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::base::EndpointId;
    use crate::net::testing::{on_each_driver, pair, settle};
    use crate::net::{Deadlines, Pool};

    #[test]
    fn what_comes_before_the_client_has_its_answer_condemns_the_connection() {
        on_each_driver(|| async {
            for (late, kept) in [(&b""[..], 1), (b"HTTP/1.1 200 OK\r\n\r\n", 0)] {
                let (conn, mut peer) = pair(&Deadlines::default()).await;
                peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .unwrap();
                let (until, call_until) = (Moment(u64::MAX), Moment(u64::MAX));
                let patience = Patience { until, call_until };
                let begun = Inbound::begin(conn, false, patience).await;
                let Ok(mut inbound) = begun else {
                    panic!("{:?}", begun.err());
                };
                assert!(inbound.done);
                inbound.watch();
                peer.write_all(late).unwrap();
                // As long as the answer takes to go out.
                settle().await;
                let mut pool = Pool::new(ANSWER_HEADROOM);
                let reusable = inbound.into_inner().into_reusable().unwrap();
                pool.put(EndpointId(0), reusable, Moment(0));
                assert_eq!(pool.idle(), kept);
            }
        });
    }

    fn kind_of(fields: &str) -> Result<Kind, Verdict> {
        let mut buffer = Buffer::small();
        buffer.extend(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes());
        Head::read(&buffer).map(|head| head.unwrap().kind)
    }

    #[test]
    fn only_what_can_be_read_is_judged_by_its_type() {
        let events = "content-type: Text/Event-Stream; charset=utf-8\r\n";
        let json = "content-type: application/json\r\n";
        let problem = "content-type: application/problem+JSON\r\n";
        assert_eq!(kind_of(events), Ok(Kind::Events));
        assert_eq!(kind_of(json), Ok(Kind::Json));
        assert_eq!(kind_of(problem), Ok(Kind::Json));
        assert_eq!(kind_of("content-type: audio/mpeg\r\n"), Ok(Kind::Other));
        assert_eq!(kind_of(""), Ok(Kind::Other));
        let identity = "content-encoding: identity\r\n";
        assert_eq!(kind_of(&[events, identity].concat()), Ok(Kind::Events));
        let coded = "content-encoding: gzip\r\n";
        assert_eq!(kind_of(&[json, coded].concat()), Ok(Kind::Other));
        assert_eq!(kind_of(&[events, coded].concat()), Err(Verdict::Invalid));
    }
}
