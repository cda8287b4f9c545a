//! The TLS session of one connection, without its socket.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, HandshakeKind, ProtocolVersion};

use super::broken::Broken;
use super::config::{ClientTls, ServerTls};
use super::record::{self, Next};
use crate::net::buffer::{Buffer, LARGE, SMALL, TAILROOM, TINY};

/// Bytes of records that hold the beginning of a handshake message, while its end is waited for.
const HANDSHAKE_BYTES_MAX: usize = LARGE;

/// Records that may come between two bytes of data, or instead of any: a handshake's, session
/// tickets, key updates.
pub const FRUITLESS_RECORDS_MAX: u32 = 256;

/// Bytes of such records.
pub const FRUITLESS_BYTES_MAX: usize = 256 * 1024;

/// Bytes that protection adds to a record, with the header: more than any cipher suite needs.
const OVERHEAD: usize = 64;

/// rustls' state machine, of either side.
enum Machine {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

impl Machine {
    fn common(&self) -> &CommonState {
        match self {
            Machine::Client(tls) => tls,
            Machine::Server(tls) => tls,
        }
    }

    /// Lets it look at `records` and do one thing. Returns how many of their bytes it is done
    /// with.
    fn advance(
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
enum Wish<'a> {
    Nothing,
    Protect(&'a [u8]),
    Close,
}

/// What the machine did.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Something; it may have more to do.
    Some,
    /// It can't go on without more from the other side.
    Blocked,
    /// It has done what was wished, if anything was: data may be sent.
    Open,
    /// Both sides have.
    Closed,
}

/// Where received data goes: behind what a buffer holds, and what has no room there into another.
struct Plain<'a> {
    buffer: &'a mut Buffer,
    spill: &'a mut Buffer,
    /// Set by the other side's close_notify.
    closed: &'a mut bool,
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
            let mut step = Ok(Step::Some);
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

/// What a session makes of what was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// That many bytes of data.
    Data(usize),
    /// Nothing yet: a record lacks at least that many bytes.
    Lacking(usize),
    /// The other side's close_notify: no data follows.
    End,
}

/// How a session began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// An earlier session went on: no certificate was shown.
    pub resumed: bool,
}

/// The session of one connection. Both of its halves use it, each between two waits.
pub struct Session {
    machine: Machine,
    /// Received and not done with. While the reader waits for more it has this buffer, unless
    /// rustls holds on to its beginning.
    incoming: Buffer,
    /// Bytes at the beginning of `incoming` that rustls has seen and wants to see again: records
    /// with a part of a handshake message.
    held: usize,
    /// Protected, and to be sent before anything that is protected later.
    outgoing: Buffer,
    /// Data that had no room in the reader's buffer: less than a record's.
    spill: Buffer,
    fruitless_records: u32,
    fruitless_bytes: usize,
    peer_closed: bool,
    /// A close_notify has been made: nothing may be sent after it.
    ended: bool,
    /// An error has been found: nothing can be received or sent.
    broken: bool,
}

impl Session {
    /// A server's.
    ///
    /// # Errors
    /// What rustls says of the configuration.
    pub fn server(tls: &ServerTls) -> Result<Session, Broken> {
        Ok(Session::of(Machine::Server(Box::new(tls.connection()?))))
    }

    /// A client's. [`Session::shake`] makes the first message.
    ///
    /// # Errors
    /// What rustls says of the configuration.
    pub fn client(tls: &ClientTls) -> Result<Session, Broken> {
        Ok(Session::of(Machine::Client(Box::new(tls.connection()?))))
    }

    fn of(machine: Machine) -> Session {
        Session {
            machine,
            incoming: Buffer::default(),
            held: 0,
            outgoing: Buffer::default(),
            spill: Buffer::default(),
            fruitless_records: 0,
            fruitless_bytes: 0,
            peer_closed: false,
            ended: false,
            broken: false,
        }
    }

    /// How it began, once it has.
    pub fn opening(&self) -> Option<Opening> {
        let common = self.machine.common();
        Some(Opening {
            version: match common.protocol_version()? {
                ProtocolVersion::TLSv1_3 => "TLSv1.3",
                _ => "TLSv1.2",
            },
            resumed: common.handshake_kind()? == HandshakeKind::Resumed,
        })
    }

    /// Whether the handshake is still under way.
    pub fn is_shaking(&self) -> bool {
        self.machine.common().is_handshaking()
    }

    /// Goes on with the handshake as far as what was received allows. `None` once it is over,
    /// else how many bytes are lacking at least. Either way there may be something to send.
    ///
    /// # Errors
    /// The handshake has failed. An alert that says so may have to be sent.
    pub fn shake(&mut self) -> Result<Option<usize>, Broken> {
        // Data that follows the handshake at once waits for the reader.
        let mut none = Buffer::default();
        // A client's first message needs none from the server.
        self.process(self.held, &mut none)?;
        while self.is_shaking() {
            if let Some(missing) = self.feed(&mut none)? {
                return Ok(Some(missing));
            }
        }
        Ok(None)
    }

    /// Whether [`Session::shake`] or [`Session::receive`] would find a whole record.
    pub fn has_record(&self) -> bool {
        !matches!(record::next(self.fresh()), Next::Partial(_))
    }

    /// Appends received data to `plain`, as far as it has room, but at least some.
    ///
    /// # Errors
    /// The other side doesn't keep to the protocol, or says that this side doesn't. An alert may
    /// have to be sent.
    pub fn receive(&mut self, plain: &mut Buffer) -> Result<Received, Broken> {
        let before = plain.len();
        self.unspill(plain);
        loop {
            let got = plain.len() - before;
            if got > 0 {
                // A record that may have no room waits, unless it is the first.
                let room = plain.room();
                let fits = matches!(record::next(self.fresh()), Next::Whole(size) if size <= room);
                if self.peer_closed || !self.spill.is_empty() || !fits {
                    return Ok(Received::Data(got));
                }
            } else if self.peer_closed {
                return Ok(Received::End);
            }
            if let Some(missing) = self.feed(plain)? {
                return Ok(Received::Lacking(missing));
            }
        }
    }

    fn unspill(&mut self, plain: &mut Buffer) {
        if !self.spill.is_empty() {
            let fits = self.spill.len().min(plain.room());
            plain.extend(&self.spill.readable()[..fits]);
            self.spill.consume(fits);
        }
        if self.spill.is_empty() {
            self.spill = Buffer::default();
        }
    }

    /// Received, and not seen by rustls.
    fn fresh(&self) -> &[u8] {
        &self.incoming.readable()[self.held..]
    }

    /// Shows rustls one more record. If there is no whole one: how many bytes it lacks.
    fn feed(&mut self, plain: &mut Buffer) -> Result<Option<usize>, Broken> {
        if self.broken {
            return Err(Broken::Ended);
        }
        let next = record::next(self.fresh());
        let size = match next {
            Next::Partial(missing) => return Ok(Some(missing)),
            Next::Whole(size) => size,
            Next::Alien => self.fresh().len(),
        };
        let first = self.is_shaking() && self.fruitless_records == 0;
        self.bound(size)?;
        let before = plain.len() + self.spill.len();
        let seen = self.process(self.held + size, plain);
        if next == Next::Alien {
            self.broken = true;
            return Err(match seen {
                Err(broken) if !first => broken,
                _ => Broken::NotTls,
            });
        }
        seen?;
        if plain.len() + self.spill.len() > before {
            self.fruitless_records = 0;
            self.fruitless_bytes = 0;
        }
        Ok(None)
    }

    /// Counts a record as fruitless, until it shows data.
    fn bound(&mut self, size: usize) -> Result<(), Broken> {
        self.fruitless_records += 1;
        self.fruitless_bytes += size;
        let broken = if self.held + size > HANDSHAKE_BYTES_MAX {
            Broken::Oversized
        } else if self.fruitless_records > FRUITLESS_RECORDS_MAX
            || self.fruitless_bytes > FRUITLESS_BYTES_MAX
        {
            Broken::Fruitless
        } else {
            return Ok(());
        };
        self.broken = true;
        Err(broken)
    }

    /// Lets rustls do all that it can with the first `seen` bytes.
    fn process(&mut self, seen: usize, plain: &mut Buffer) -> Result<(), Broken> {
        self.held = seen;
        loop {
            match self.advance(Wish::Nothing, plain, None)? {
                Step::Some => {}
                Step::Blocked | Step::Open | Step::Closed => return Ok(()),
            }
        }
    }

    /// One step, with the first `held` bytes of what was received. Its output goes to `out`, or
    /// to what waits for the next writer.
    fn advance(
        &mut self,
        wish: Wish<'_>,
        plain: &mut Buffer,
        out: Option<&mut Buffer>,
    ) -> Result<Step, Broken> {
        let records = &mut self.incoming.readable_mut()[..self.held];
        let mut plain = Plain {
            buffer: plain,
            spill: &mut self.spill,
            closed: &mut self.peer_closed,
        };
        let out = out.unwrap_or(&mut self.outgoing);
        let (done_with, step) = self.machine.advance(records, wish, &mut plain, out);
        self.incoming.consume(done_with);
        self.held = self.held.saturating_sub(done_with);
        if step.is_err() {
            self.fail();
        }
        step
    }

    /// After an error: what rustls has to say about it, an alert, is to be sent. It must not be
    /// shown records again, since it may remember those that it found the error in.
    fn fail(&mut self) {
        self.broken = true;
        let (mut none, mut spill, mut closed) = (Buffer::default(), Buffer::default(), false);
        let mut nowhere = Plain {
            buffer: &mut none,
            spill: &mut spill,
            closed: &mut closed,
        };
        while self.machine.common().wants_write() {
            let out = &mut self.outgoing;
            let (_, step) = self
                .machine
                .advance(&mut [], Wish::Nothing, &mut nowhere, out);
            if step.is_err() {
                return;
            }
        }
    }

    /// Appends to `out` what is to be sent, and then `data`, protected.
    ///
    /// # Errors
    /// The session has ended, or its keys are used up (TLS 1.2 can't renew them).
    pub fn protect(&mut self, data: &[u8], out: &mut Buffer) -> Result<(), Broken> {
        self.put(Wish::Protect(data), out)
    }

    /// Appends to `out` what is to be sent, and then a close_notify. Nothing may be sent after.
    ///
    /// # Errors
    /// The session has ended.
    pub fn close(&mut self, out: &mut Buffer) -> Result<(), Broken> {
        let put = self.put(Wish::Close, out);
        self.ended = true;
        put
    }

    fn put(&mut self, wish: Wish<'_>, out: &mut Buffer) -> Result<(), Broken> {
        if self.broken || self.ended {
            return Err(Broken::Ended);
        }
        out.extend(self.outgoing.readable());
        self.outgoing = Buffer::default();
        // No data comes out of records that were all seen before.
        let mut none = Buffer::default();
        loop {
            match self.advance(wish, &mut none, Some(out))? {
                Step::Some => {}
                Step::Open => return Ok(()),
                Step::Blocked | Step::Closed => return Err(Broken::Ended),
            }
        }
    }

    /// Takes what is to be sent before anything else.
    pub fn take_outgoing(&mut self) -> Option<Buffer> {
        (!self.outgoing.is_empty()).then(|| std::mem::take(&mut self.outgoing))
    }

    /// Puts in front what could not be sent of it. Nothing may have been protected since.
    pub fn untake_outgoing(&mut self, buffer: Buffer) {
        self.outgoing = buffer;
    }

    /// A buffer to receive at least `lacking` bytes in, and many if `many`.
    pub fn lend(&mut self, lacking: usize, many: bool) -> Buffer {
        let room = lacking.max(if many { LARGE } else { TINY } - TAILROOM);
        if self.held > 0 {
            return Buffer::with_capacity(room + TAILROOM);
        }
        let begun = std::mem::take(&mut self.incoming);
        let room = room.max(begun.len() + lacking);
        let mut buffer = Buffer::with_capacity(room + TAILROOM);
        buffer.extend(begun.readable());
        buffer
    }

    /// Takes the buffer back, with what it has received.
    pub fn give_back(&mut self, buffer: Buffer) {
        if self.incoming.is_empty() {
            self.incoming = buffer;
        } else {
            self.incoming.extend(buffer.readable());
        }
    }
}
