//! From the commit point on: the provider's bytes go to the client in the buffer that they were
//! read into, one write per read. The next read waits for the write: that is the back-pressure.

use std::borrow::Cow;
use std::pin::pin;
use std::time::Duration;

use super::answer::{self, Delimited, Manner};
use super::attempt::Served;
use super::client::{Client, Stopped};
use super::core::Core;
use super::inbound::{HEADROOM, Inbound, Kind, Patience};
use super::settle::{Attempt, Settlement};
use super::slots::Slot;
use super::verdict::Verdict;
use crate::base::Moment;
use crate::http::{Version, encode};
use crate::net::buffer::TURN;
use crate::net::{Buffer, Recycled, turn};
use crate::openai::{Operation, StreamScanner, Usage, UsageSearch, write_error_event};
use crate::telemetry::Outcome;

/// An event without its end that is longer than this is passed on in parts.
const EVENT_BYTES_MAX: usize = 64 * 1024;

/// How long the client has at least for what is sent when the call's time is up.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is known of a call when its response is relayed.
pub struct Passage<'p, 'c> {
    /// The core.
    pub core: &'c Core,
    /// The attempt whose response it is.
    pub attempt: &'p Attempt<'c>,
    /// The slot that the call has, where they are counted.
    pub slot: Option<&'p Slot<'c>>,
    /// What was asked for.
    pub operation: Operation,
    /// Whether the client is to be spared the usage event that it didn't ask for.
    pub strip_usage: bool,
    /// How the client wants it.
    pub manner: Manner,
    /// When the call's time is up.
    pub call_until: Moment,
    /// `X-Sovereign-Provider`, if it is to be shown.
    pub provider: Option<&'p str>,
}

/// How a relayed response ended.
pub struct Ending {
    /// What the attempt counts as.
    pub verdict: Verdict,
    /// What the client saw.
    pub outcome: Outcome,
    /// The tokens that the provider counted.
    pub usage: Option<Usage>,
}

impl Ending {
    /// The client left.
    fn gone(usage: Option<Usage>) -> Ending {
        Ending {
            verdict: Verdict::Cancelled,
            outcome: Outcome::ClientGone,
            usage,
        }
    }

    /// A stream came to its end; what it said on the way decides what it counts as.
    fn of_stream(scanner: &StreamScanner) -> Ending {
        let verdict = match scanner.failed() {
            true => Verdict::ErrorEvent,
            false => Verdict::Succeeded,
        };
        Ending {
            verdict,
            outcome: Outcome::Completed,
            usage: scanner.usage(),
        }
    }

    /// The response ends short of its end.
    fn cut(verdict: Verdict, usage: Option<Usage>) -> Ending {
        Ending {
            verdict,
            outcome: Outcome::Cut,
            usage,
        }
    }
}

impl Passage<'_, '_> {
    /// Relays a response to its end, however it ends.
    pub async fn relay(
        &self,
        client: &mut Client,
        served: Served,
        settlement: &mut Settlement<'_>,
    ) -> Ending {
        let Served {
            inbound,
            verdict,
            usage,
        } = served;
        let mut way = Way {
            passage: self,
            sent: 0,
        };
        let ending = if inbound.kind == Kind::Events && (200..300).contains(&inbound.status) {
            way.events(client, inbound, settlement).await
        } else {
            way.body(
                client,
                inbound,
                settlement,
                Ending {
                    verdict,
                    outcome: Outcome::Completed,
                    usage,
                },
            )
            .await
        };
        settlement.record_mut().bytes_out = way.sent;
        ending
    }

    /// The head, at the commit point: in the core's scratch, which is given back when it is sent.
    fn head(
        &self,
        client: &mut Client,
        inbound: &mut Inbound,
        settlement: &Settlement<'_>,
        delimited: Delimited,
    ) -> Vec<u8> {
        let mut out = self.core.scratch.take();
        out.clear();
        encode::status_line(&mut out, inbound.status);
        out.extend_from_slice(std::mem::take(&mut inbound.fields).readable());
        let took = (inbound.kind != Kind::Events).then(|| settlement.took_ms());
        answer::stamp(&mut out, settlement, took);
        if let Some(provider) = self.provider {
            encode::field(&mut out, "x-sovereign-provider", provider.as_bytes());
        }
        answer::framing(&mut out, delimited);
        let manner = self.manner.by_now(self.core);
        answer::connection(&mut out, manner);
        client.may_ask_again = manner.persistent;
        out.extend_from_slice(encode::CRLF);
        out
    }

    fn open_ended(&self) -> Delimited {
        match self.manner.version {
            Version::Http11 => Delimited::Chunked,
            Version::Http10 => Delimited::Close,
        }
    }

    /// Reads on, for as long as the client is there: None once it has left. The call's time is
    /// looked at even if nothing has to be waited for.
    async fn more(
        &self,
        client: &mut Client,
        inbound: &mut Inbound,
    ) -> Option<Result<(), Verdict>> {
        let now = self.core.recently();
        if now >= self.call_until {
            return Some(Err(Verdict::Deadline));
        }
        let patience = Patience {
            until: now + self.attempt.provider().timeouts.stream_idle,
            call_until: self.call_until,
        };
        let more = pin!(inbound.more(patience));
        match client.unless_stopped(self.slot, more).await {
            Ok(read) => Some(read),
            Err(Stopped::ClientGone) => None,
            Err(Stopped::Curtailed) => Some(Err(Verdict::Curtailed)),
        }
    }

    /// A wait that ended with the whole call's time says nothing about the provider.
    fn late(&self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Stalled | Verdict::TimedOut if self.core.now() >= self.call_until => {
                Verdict::Deadline
            }
            other => other,
        }
    }
}

/// A response on its way.
struct Way<'w, 'p, 'c> {
    passage: &'w Passage<'p, 'c>,
    /// Payload bytes sent.
    sent: u64,
}

impl Way<'_, '_, '_> {
    /// Anything but events: a body that is complete, or its first part with more to come.
    async fn body(
        &mut self,
        client: &mut Client,
        mut inbound: Recycled<Inbound>,
        settlement: &mut Settlement<'_>,
        mut whole: Ending,
    ) -> Ending {
        let passage = self.passage;
        let delimited = match (inbound.done, inbound.length) {
            _ if inbound.status == 204 => Delimited::Nothing,
            (true, _) => Delimited::Length(inbound.buffer.len() as u64),
            (false, Some(length)) => Delimited::Length(length),
            (false, None) => passage.open_ended(),
        };
        let chunked = delimited == Delimited::Chunked;
        let head = passage.head(client, &mut inbound, settlement, delimited);
        let mut payload = std::mem::take(&mut inbound.buffer);
        let mut first = Some(head);
        // A whole one has been inspected; a longer one is searched as it passes.
        let long = !inbound.done && inbound.kind == Kind::Json;
        let mut search = long.then(UsageSearch::new);
        loop {
            let end = inbound.done;
            if let Some(search) = &mut search {
                search.look(payload.readable());
            }
            if end {
                inbound.watch();
                whole.usage = search.as_ref().and_then(UsageSearch::usage).or(whole.usage);
                self.enter(settlement, &whole, payload.len(), passage.core.recently());
            }
            let sent = self.send(client, &mut payload, first.take(), chunked, end);
            if !sent.await {
                return Ending::gone(None);
            }
            if end {
                passage.core.keep(passage.attempt.endpoint().id, inbound);
                return whole;
            }
            inbound.buffer = inbound.next_buffer(payload);
            match passage.more(client, &mut inbound).await {
                None => return Ending::gone(None),
                Some(Err(verdict)) => {
                    client.misled_by_close = delimited == Delimited::Close;
                    return Ending::cut(passage.late(verdict), None);
                }
                Some(Ok(())) => payload = std::mem::take(&mut inbound.buffer),
            }
        }
    }

    /// A stream of events: whole events only, so that one that is cut off can be told from one
    /// that is not, and the usage event can be left out.
    async fn events(
        &mut self,
        client: &mut Client,
        mut inbound: Recycled<Inbound>,
        settlement: &mut Settlement<'_>,
    ) -> Ending {
        let passage = self.passage;
        let delimited = passage.open_ended();
        let chunked = delimited == Delimited::Chunked;
        let mut first = Some(passage.head(client, &mut inbound, settlement, delimited));
        let mut scanner = StreamScanner::new(passage.operation, passage.strip_usage);
        let mut tail = Vec::new();
        let mut window = std::mem::take(&mut inbound.buffer);
        loop {
            cut_window(&mut scanner, &mut window, &mut tail, inbound.done);
            let ends = inbound.done && scanner.ended_cleanly();
            if ends {
                inbound.watch();
            }
            // What ends a stream for its client may come before what ends the body.
            if ends || scanner.said_end() || scanner.failed() {
                let ending = Ending::of_stream(&scanner);
                self.enter(settlement, &ending, window.len(), passage.core.now());
            }
            if !window.is_empty() || ends || first.is_some() {
                let sent = self.send(client, &mut window, first.take(), chunked, ends);
                if !sent.await {
                    return Ending::gone(scanner.usage());
                }
            }
            if ends {
                passage.core.keep(passage.attempt.endpoint().id, inbound);
                return Ending::of_stream(&scanner);
            }
            let read = if inbound.done {
                Err(Verdict::Truncated)
            } else {
                inbound.buffer = inbound.next_buffer(window);
                inbound.buffer.extend(&tail);
                match passage.more(client, &mut inbound).await {
                    None => return Ending::gone(scanner.usage()),
                    Some(read) => read,
                }
            };
            match read {
                Ok(()) => window = std::mem::take(&mut inbound.buffer),
                // The stream has said that it is over; its framing's end is no loss.
                Err(_) if scanner.said_end() => {
                    inbound.end_early();
                    window = Buffer::default();
                }
                Err(_) if scanner.failed() => {
                    // The provider's own error event has told the client.
                    return Ending::cut(Verdict::ErrorEvent, scanner.usage());
                }
                Err(verdict) => {
                    let ending = Ending::cut(passage.late(verdict), scanner.usage());
                    self.say_died(client, settlement, &ending, &scanner, chunked)
                        .await;
                    return ending;
                }
            }
        }
    }

    /// Has the call recorded before so many last bytes of payload are sent.
    fn enter(&self, settlement: &mut Settlement<'_>, ending: &Ending, last: usize, now: Moment) {
        let record = settlement.record_mut();
        record.bytes_out = self.sent + last as u64;
        if let Some(Usage { input, output }) = ending.usage {
            record.input_tokens = Some(input);
            record.output_tokens = Some(output);
        }
        settlement.enter(ending.outcome, Some(ending.verdict), now);
    }

    /// Sends payload, framed for the client, behind the head if that is still to come. False if the
    /// client is gone.
    async fn send(
        &mut self,
        client: &mut Client,
        payload: &mut Buffer,
        head: Option<Vec<u8>>,
        chunked: bool,
        end: bool,
    ) -> bool {
        let turn = self.sent / TURN as u64;
        self.sent += payload.len() as u64;
        if self.sent / TURN as u64 > turn {
            turn::pass_behind_io().await;
        }
        if chunked {
            frame(payload, end);
        }
        if let Some(head) = head {
            // Head and first body bytes leave in one write.
            if !payload.prepend(&head) {
                let mut both = Buffer::with_capacity(head.len() + payload.len());
                both.extend(&head);
                both.extend(payload.readable());
                *payload = both;
            }
            self.passage.core.scratch.replace(head);
        }
        let now = self.passage.core.recently();
        let idle = now + self.passage.attempt.provider().timeouts.stream_idle;
        // One that takes a little now and then has no longer than the call has; the last words may
        // come after it.
        let until = idle.min(self.passage.call_until.max(now + LAST_WORDS));
        match self.passage.slot {
            None => client.send(payload, until).await,
            Some(slot) => client.send_while(slot, payload, until).await,
        }
    }

    /// The stream's death, in a form that its client can type. No `[DONE]`, no last chunk.
    async fn say_died(
        &mut self,
        client: &mut Client,
        settlement: &mut Settlement<'_>,
        ending: &Ending,
        scanner: &StreamScanner,
        chunked: bool,
    ) {
        let verdict = ending.verdict;
        let message: Cow<'_, str> = match verdict {
            Verdict::Deadline => "the call ran out of time before its stream ended".into(),
            Verdict::Curtailed => "a reservation's owner needed the slot before the stream ended: \
                                   try again in 1 second"
                .into(),
            Verdict::Stalled => "the provider stopped sending before the stream ended".into(),
            _ => "the provider's stream ended before its end".into(),
        };
        let code = match verdict {
            Verdict::Deadline => "deadline_exceeded",
            Verdict::Curtailed => "curtailed",
            _ => "upstream_died",
        };
        let mut event = Buffer::small();
        event.reset(HEADROOM);
        if scanner.is_within_event() {
            // Half an event has been sent: ours must not become its second half.
            event.extend(b"\n\n");
        }
        let sequence = scanner.next_sequence();
        write_error_event(
            event.vec(),
            self.passage.operation,
            code,
            &message,
            sequence,
        );
        self.enter(settlement, ending, event.len(), self.passage.core.now());
        self.send(client, &mut event, None, chunked, false).await;
    }
}

/// Leaves in the window what may be sent now, and puts the beginning of an event whose end is
/// still to come into `tail`.
fn cut_window(scanner: &mut StreamScanner, window: &mut Buffer, tail: &mut Vec<u8>, done: bool) {
    tail.clear();
    let sweep = scanner.sweep(window.readable());
    let mut complete = sweep.complete;
    if done {
        scanner.finish(&window.readable()[complete..]);
        complete = window.len();
        if !scanner.ended_cleanly() {
            complete = sweep.complete;
        }
    } else if complete == 0 && window.len() > EVENT_BYTES_MAX {
        scanner.spill(window.readable());
        complete = window.len();
    }
    tail.extend_from_slice(&window.readable()[complete..]);
    window.truncate(complete);
    if let Some(range) = sweep.remove {
        window.remove(range);
    }
}

/// Makes a chunk of the payload, where it lies; `end` adds the last chunk.
fn frame(payload: &mut Buffer, end: bool) {
    if !payload.is_empty() {
        let mut room = [0; encode::CHUNK_SIZE_ROOM];
        let size = encode::write_chunk_size(payload.len(), &mut room);
        if !payload.prepend(size) {
            let mut moved = Buffer::with_headroom(payload.len() + HEADROOM, HEADROOM);
            moved.extend(payload.readable());
            moved.prepend(size);
            *payload = moved;
        }
        payload.extend(encode::CRLF);
    }
    if end {
        payload.extend(encode::LAST_CHUNK);
    }
}
