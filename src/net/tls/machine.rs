//! rustls' state machine, one step at a time.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, Error};

use super::broken::Broken;
use super::config::{ClientTls, ServerTls};
use super::record;
use crate::net::buffer::{Buffer, SMALL};

/// Bytes that protection adds to a record, with the header: more than any cipher suite needs.
const OVERHEAD: usize = 64;

/// rustls' state machine, of either side.
pub enum Machine {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

impl Machine {
    pub fn client(tls: &ClientTls) -> Result<Machine, Error> {
        Ok(Machine::Client(Box::new(tls.connection()?)))
    }

    pub fn server(tls: &ServerTls) -> Result<Machine, Error> {
        Ok(Machine::Server(Box::new(tls.connection()?)))
    }

    /// What it knows of the connection.
    pub fn common(&self) -> &CommonState {
        match self {
            Machine::Client(tls) => tls,
            Machine::Server(tls) => tls,
        }
    }

    /// Session tickets that a server has sent (TLS 1.3).
    pub fn tickets(&self) -> u32 {
        match self {
            Machine::Client(tls) => tls.tls13_tickets_received(),
            Machine::Server(_) => 0,
        }
    }

    /// Lets it look at `records` and do one thing. Returns how many of their bytes it is done
    /// with.
    pub fn advance(
        &mut self,
        records: &mut [u8],
        wish: Wish<'_>,
        plain: &mut Plain<'_>,
        out: &mut Buffer,
    ) -> (usize, Result<Step, Broken>) {
        match self {
            Machine::Client(tls) => take_step(tls.process_tls_records(records), wish, plain, out),
            Machine::Server(tls) => take_step(tls.process_tls_records(records), wish, plain, out),
        }
    }
}

/// What to do when the machine has nothing else to do.
#[derive(Clone, Copy)]
pub enum Wish<'a> {
    Nothing,
    Protect(&'a [u8]),
    Close,
}

/// What the machine did.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Something; it may have more to do.
    Some,
    /// It has decrypted data; it may have more to do.
    Data,
    /// It can't go on without more from the other side.
    Blocked,
    /// It has done what was wished, if anything was: data may be sent.
    Open,
    /// Both sides have.
    Closed,
}

/// Where received data goes: behind what a buffer holds, and what has no room there into another.
pub struct Plain<'a> {
    /// The one.
    pub buffer: &'a mut Buffer,
    /// The other.
    pub spill: &'a mut Buffer,
    /// Set by the other side's close_notify.
    pub closed: &'a mut bool,
}

impl Plain<'_> {
    fn take(&mut self, data: &[u8]) {
        let (fits, rest) = data.split_at(data.len().min(self.buffer.room()));
        self.buffer.extend(fits);
        if !rest.is_empty() {
            if self.spill.is_empty() {
                *self.spill = Buffer::with_capacity(rest.len());
            }
            self.spill.extend(rest);
        }
    }
}

fn take_step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    wish: Wish<'_>,
    plain: &mut Plain<'_>,
    out: &mut Buffer,
) -> (usize, Result<Step, Broken>) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Err(error) => Err(error.into()),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut step = Ok(Step::Data);
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        plain.take(record.payload);
                    }
                    Err(error) => step = Err(error.into()),
                }
            }
            step
        }
        Ok(ConnectionState::EncodeTlsData(mut message)) => append(out, 0, |space| {
            message.encode(space).map_err(|error| match error {
                EncodeError::InsufficientSize(short) => Some(short.required_size),
                EncodeError::AlreadyEncoded => None,
            })
        }),
        Ok(ConnectionState::TransmitTlsData(sent)) => {
            // It is in `out`, which nothing that is encoded later overtakes.
            sent.done();
            Ok(Step::Some)
        }
        Ok(ConnectionState::PeerClosed) => {
            *plain.closed = true;
            Ok(Step::Some)
        }
        Ok(ConnectionState::Closed) => Ok(Step::Closed),
        Ok(ConnectionState::BlockedHandshake) => Ok(Step::Blocked),
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let done = match wish {
                Wish::Nothing => Ok(Step::Open),
                Wish::Protect(data) => {
                    let records = data.len().div_ceil(record::PAYLOAD_MAX);
                    append(out, data.len() + records * OVERHEAD, |space| {
                        traffic.encrypt(data, space).map_err(required)
                    })
                }
                Wish::Close => append(out, OVERHEAD, |space| {
                    traffic.queue_close_notify(space).map_err(required)
                }),
            };
            done.map(|_| Step::Open)
        }
        // Early data is never agreed on.
        Ok(_) => Err(Broken::Unexpected),
    };
    (discard, step)
}

fn required(error: EncryptError) -> Option<usize> {
    match error {
        EncryptError::InsufficientSize(short) => Some(short.required_size),
        EncryptError::EncryptExhausted => None,
    }
}

/// Appends what `write` writes into a space of `guess` bytes, or of as many as it asks for.
fn append(
    out: &mut Buffer,
    guess: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Result<Step, Broken> {
    if out.vec().capacity() == 0 {
        *out = Buffer::with_capacity(guess.max(SMALL));
    }
    let begin = out.vec().len();
    let mut space = guess;
    // The second time it has what it asked for.
    for _ in 0..2 {
        out.vec().resize(begin + space, 0);
        match write(&mut out.vec()[begin..]) {
            Ok(written) => {
                out.vec().truncate(begin + written);
                return Ok(Step::Some);
            }
            Err(Some(required)) => space = required,
            Err(None) => break,
        }
    }
    out.vec().truncate(begin);
    Err(Broken::Unexpected)
}
