//! A request's body: read whole, or passed over.

use super::client::Client;
use super::core::Core;
use super::intake::{Intake, too_large};
use super::payload::{Payload, Progress};
use super::reject::Rejection;
use crate::base::Moment;
use crate::http::chunked::ChunkedDecoder;
use crate::http::{RequestFraming, encode};
use crate::net::buffer::{LARGE, SMALL, TURN};
use crate::net::{Buffer, Ends, turn};
use crate::openai::{BodyKind, ErrorCode, FormProber, ProbeError, Prober};
use crate::tables::Routes;

/// Passes over the body of a request that is answered without it. False if it isn't all there:
/// then where the next request begins is not known.
pub fn skip(client: &mut Client, framing: RequestFraming) -> bool {
    match framing {
        RequestFraming::None => true,
        RequestFraming::Length(length) if length <= client.input.len() as u64 => {
            client
                .input
                .consume(usize::try_from(length).unwrap_or(usize::MAX));
            true
        }
        RequestFraming::Length(_) | RequestFraming::Chunked => false,
    }
}

/// Why there is no body to go on with.
pub enum Unread {
    /// The client left.
    Gone,
    /// It is not one that is taken.
    Rejected(Rejection),
}

/// A large body is looked at as it comes; this much is small enough to be looked at when it's whole.
const LOOK_BYTES: usize = LARGE;

/// The probe of a body that is looked at as it comes.
pub enum Probing {
    /// JSON.
    Json(Prober),
    /// A form.
    Form(FormProber),
}

/// A body that has come whole.
pub struct Whole {
    /// The body, without framing.
    pub bytes: Buffer,
    /// The probe of a large one, nearly at its end.
    pub probing: Option<Box<Probing>>,
}

/// The reading of a body, to its end: routing needs its `model`, and a second attempt needs all of
/// it.
pub struct Reading<'r> {
    core: &'r Core,
    routes: &'r Routes,
    intake: &'r Intake,
    /// When the call's time is up.
    until: Moment,
    /// Since when more is waited for.
    waiting: Moment,
    /// Bytes read since the others had their turn.
    turn: usize,
    probing: Option<Box<Probing>>,
    looked: usize,
}

impl<'r> Reading<'r> {
    /// The reading of the body of a call that began at `started`.
    pub fn new(
        core: &'r Core,
        routes: &'r Routes,
        intake: &'r Intake,
        started: Moment,
    ) -> Reading<'r> {
        Reading {
            core,
            routes,
            intake,
            until: started + routes.timeouts.call,
            waiting: core.recently(),
            turn: 0,
            probing: None,
            looked: 0,
        }
    }

    /// Reads it.
    pub async fn whole(
        mut self,
        client: &mut Client,
        framing: RequestFraming,
        expects: bool,
    ) -> Result<Whole, Unread> {
        if expects && client.input.is_empty() {
            let mut go_on = Buffer::small();
            go_on.extend(encode::CONTINUE);
            if !client.send(&mut go_on, self.patience()).await {
                return Err(Unread::Gone);
            }
        }
        let bytes = match framing {
            RequestFraming::None => Buffer::small(),
            RequestFraming::Length(length) => self.measured(client, length).await?,
            RequestFraming::Chunked => self.chunked(client).await?,
        };
        client.conn.deadline.clear();
        Ok(Whole {
            bytes,
            probing: self.probing,
        })
    }

    /// Until when the next bytes must have come.
    fn patience(&self) -> Moment {
        self.until.min(self.waiting + self.routes.timeouts.body)
    }

    async fn measured(&mut self, client: &mut Client, length: u64) -> Result<Buffer, Unread> {
        let length =
            usize::try_from(length).map_err(|_| Unread::Rejected(too_large(self.routes)))?;
        self.afford(length, 0)?;
        while client.input.len() < length {
            let before = client.input.len();
            let missing = length - client.input.len();
            if client.input.room() < missing.min(TURN) {
                // What was only declared takes no memory: it grows with what has come.
                let more = client.input.len().max(TURN);
                client.input.reserve(missing.min(more));
            }
            self.more(client).await?;
            self.afford(length, client.input.len() - before)?;
            let come = client.input.len().min(length);
            self.look(&client.input.readable()[..come])?;
        }
        Ok(split(client, length))
    }

    async fn chunked(&mut self, client: &mut Client) -> Result<Buffer, Unread> {
        let mut payload = Payload::Chunked(ChunkedDecoder::new());
        let mut body = Buffer::small();
        loop {
            if client.input.is_empty() {
                self.more(client).await?;
            }
            let progress = payload.absorb(&mut client.input, 0).map_err(|_| {
                Unread::Rejected(Rejection::new(
                    ErrorCode::BadRequest,
                    "the body's chunks are malformed",
                ))
            })?;
            let excess = match progress {
                Progress::DoneEarly { excess } => excess,
                Progress::More | Progress::Done => 0,
            };
            let length = client.input.len() - excess;
            let announced = (body.len() + length) as u64;
            if announced.saturating_add(payload.announced()) > self.routes.limits.body_bytes as u64
            {
                return Err(Unread::Rejected(too_large(self.routes)));
            }
            self.afford(body.len() + length, length)?;
            body.extend(&client.input.readable()[..length]);
            client.input.consume(length);
            if progress != Progress::More {
                return Ok(body);
            }
            self.look(body.readable())?;
            let next = if body.len() < LARGE { SMALL } else { LARGE };
            client.input = Buffer::with_capacity(next);
        }
    }

    /// Refuses what there is no memory for: a body of `length` bytes as far as is known, `come` of
    /// which have just come.
    fn afford(&self, length: usize, come: usize) -> Result<(), Unread> {
        self.core
            .memory_for_body(self.routes, length, come)
            .map_err(Unread::Rejected)
    }

    async fn more(&mut self, client: &mut Client) -> Result<(), Unread> {
        client.conn.deadline.set(self.patience(), Ends::Reading);
        match client.fill().await {
            Ok(n) if n > 0 => {
                self.waiting = self.core.recently();
                self.turn += n;
                if self.turn >= TURN {
                    self.turn = 0;
                    turn::pass_behind_io().await;
                }
                Ok(())
            }
            _ if client.conn.deadline.fired() => Err(Unread::Rejected(Rejection::new(
                ErrorCode::RequestTimeout,
                "the request's body did not arrive in time",
            ))),
            _ => Err(Unread::Gone),
        }
    }

    /// Looks at what has come of a large body.
    fn look(&mut self, come: &[u8]) -> Result<(), Unread> {
        if come.len() - self.looked < LOOK_BYTES {
            return Ok(());
        }
        self.looked = come.len();
        self.probe(come)
            .map_err(|error| Unread::Rejected(error.into()))
    }

    fn probe(&mut self, come: &[u8]) -> Result<(), ProbeError> {
        let probing = match &mut self.probing {
            Some(probing) => probing,
            none => none.insert(Box::new(match self.intake.operation.body() {
                BodyKind::Json => Probing::Json(Prober::new()),
                BodyKind::Multipart => Probing::Form(FormProber::new(&self.intake.content_type)?),
            })),
        };
        match &mut **probing {
            Probing::Json(prober) => prober.look(come),
            Probing::Form(prober) => prober.look(come),
        }
    }
}

/// Takes the first `length` bytes of the input as a body of their own; what follows them stays.
fn split(client: &mut Client, length: usize) -> Buffer {
    let mut body = std::mem::take(&mut client.input);
    if body.len() > length {
        let rest = &body.readable()[length..];
        client.input = Buffer::with_capacity(rest.len());
        client.input.extend(rest);
        body.truncate(length);
    }
    body
}
