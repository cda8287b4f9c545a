//! The TLS session of one connection, without its socket.

use rustls::{HandshakeKind, ProtocolVersion};

use super::broken::Broken;
use super::config::{ClientTls, ServerTls};
use super::machine::{Machine, Plain, Step, Wish};
use super::record::{self, Next};
use crate::net::buffer::{Buffer, LARGE, TAILROOM, TINY};

/// Bytes of records that hold the beginning of a handshake message, while its end is waited for.
const HANDSHAKE_BYTES_MAX: usize = LARGE;

/// Records without data (a handshake's, key updates, empty ones) that the other side may send
/// more than data allows: each [`DATA_PER_FRUITLESS_RECORD`] make up for one. A session ticket
/// counts as a record: hundreds fit into one, and each costs some arithmetic.
pub const FRUITLESS_RECORDS_MAX: usize = 256;

/// Bytes of data that make up for a record without any.
const DATA_PER_FRUITLESS_RECORD: usize = 1024;

/// Bytes of records without data that the other side may send more than it sends bytes of data.
pub const FRUITLESS_BYTES_MAX: usize = 128 * 1024;

/// What the other side has sent without data, and not made up for.
#[derive(Default, PartialEq, Eq)]
struct Fruitless {
    records: usize,
    bytes: usize,
    /// Data that hasn't made up for a record yet.
    data: usize,
}

impl Fruitless {
    /// Counts a record of `size` bytes with `data` bytes of data or that many tickets. False if
    /// it is one too many.
    fn count(&mut self, size: usize, data: usize, tickets: u32) -> bool {
        if data == 0 {
            self.records += tickets.max(1) as usize;
            self.bytes += size;
        } else {
            self.data += data;
            let records = self.data / DATA_PER_FRUITLESS_RECORD;
            self.data %= DATA_PER_FRUITLESS_RECORD;
            self.records = self.records.saturating_sub(records);
            self.bytes = self.bytes.saturating_sub(data);
        }
        self.records <= FRUITLESS_RECORDS_MAX && self.bytes <= FRUITLESS_BYTES_MAX
    }
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
    fruitless: Fruitless,
    peer_closed: bool,
    /// A close_notify has been made: nothing may be sent after it.
    ended: bool,
    /// An error has been found: nothing can be received or sent.
    broken: bool,
    /// It was found behind data, and hasn't been told yet.
    fault: Option<Broken>,
}

impl Session {
    /// A server's.
    ///
    /// # Errors
    /// What rustls says of the configuration.
    pub fn server(tls: &ServerTls) -> Result<Session, Broken> {
        Ok(Session::of(Machine::server(tls)?))
    }

    /// A client's. [`Session::shake`] makes the first message.
    ///
    /// # Errors
    /// What rustls says of the configuration.
    pub fn client(tls: &ClientTls) -> Result<Session, Broken> {
        Ok(Session::of(Machine::client(tls)?))
    }

    fn of(machine: Machine) -> Session {
        Session {
            machine,
            incoming: Buffer::default(),
            held: 0,
            outgoing: Buffer::default(),
            spill: Buffer::default(),
            fruitless: Fruitless::default(),
            peer_closed: false,
            ended: false,
            broken: false,
            fault: None,
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

    /// Whether an error has ended it. There may be an alert to send, and nothing else.
    pub fn is_broken(&self) -> bool {
        self.broken
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
            } else if !self.spill.is_empty() {
                return Ok(Received::Data(0));
            } else if let Some(fault) = self.fault.take() {
                return Err(fault);
            } else if self.peer_closed {
                return Ok(Received::End);
            }
            match self.feed(plain) {
                Ok(None) => {}
                Ok(Some(missing)) => return Ok(Received::Lacking(missing)),
                // What came before it is as good as ever.
                Err(fault) if got > 0 => {
                    self.fault = Some(fault);
                    return Ok(Received::Data(got));
                }
                Err(fault) => return Err(fault),
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
        let opens = self.is_shaking() && self.fruitless == Fruitless::default();
        let letter = self.fresh().first().is_some_and(u8::is_ascii_uppercase);
        if self.held + size > HANDSHAKE_BYTES_MAX {
            self.broken = true;
            return Err(Broken::Oversized);
        }
        let tickets = self.machine.tickets();
        let before = plain.len() + self.spill.len();
        let seen = self.process(self.held + size, plain);
        if next == Next::Alien {
            self.broken = true;
            return Err(match seen {
                Err(broken) if !opens => broken,
                _ if opens && letter => Broken::Plaintext,
                _ => Broken::NotTls,
            });
        }
        seen?;
        let data = plain.len() + self.spill.len() - before;
        let tickets = self.machine.tickets() - tickets;
        if !self.fruitless.count(size, data, tickets) {
            self.broken = true;
            return Err(Broken::Fruitless);
        }
        Ok(None)
    }

    /// Lets rustls do all that it can with the first `seen` bytes.
    fn process(&mut self, seen: usize, plain: &mut Buffer) -> Result<(), Broken> {
        self.held = seen;
        loop {
            match self.advance(Wish::Nothing, plain, None)? {
                Step::Some => {}
                // Nothing of a record is left, and it was not one that asks for an answer.
                Step::Data if self.held == 0 && !self.machine.common().wants_write() => {
                    return Ok(());
                }
                Step::Data => {}
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
                Step::Some | Step::Data => {}
                Step::Open => return Ok(()),
                Step::Blocked | Step::Closed => return Err(Broken::Ended),
            }
        }
    }

    /// Takes what is to be sent before anything else.
    pub fn take_outgoing(&mut self) -> Option<Buffer> {
        (!self.outgoing.is_empty()).then(|| std::mem::take(&mut self.outgoing))
    }

    /// Puts back what could not be sent of it. Nothing may have been protected since.
    pub fn untake_outgoing(&mut self, rest: Buffer) {
        if !rest.is_empty() {
            self.outgoing = rest;
        }
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
