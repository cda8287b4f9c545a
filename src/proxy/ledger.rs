//! A core's part of the ledger: entries are stored into a file that is mapped, so that they are the
//! kernel's before the client has the end of its answer, and cost no system call.

use std::sync::Arc;

use rtrb::Consumer;

use crate::http::encode::CRLF;
use crate::ledger::frame::{self, Kind};
use crate::ledger::segment::HEADER_BYTES;
use crate::ledger::{Attempt, Call, EntryId, RunId, Text, entry};
use crate::tables::LedgerLink;
use crate::tables::ledger::{Sheet, Standing, Tally};

/// Frames that a call can need: its entry, and what amends it.
const FRAMES_PER_CALL: usize = 2;

/// What a core writes.
pub struct Ledger {
    run: RunId,
    /// The core's number.
    core: u16,
    sheet: Sheet,
    next: Consumer<Sheet>,
    standing: Arc<Standing>,
    tally: Arc<Tally>,
    serve_on: bool,
    /// Where the next frame goes.
    at: usize,
    /// Of the next frame. One that is lost has one, too: whoever reads sees that it is missing.
    serial: u64,
    /// Calls begun.
    calls: u64,
    /// What the receipts of its calls begin with, and how much of it that is.
    receipt: ([u8; RECEIPT_ROOM], usize),
}

/// The field's name, and of an id 24 digits, a number of 16 bits, and what is between them.
const RECEIPT_ROOM: usize = 64;

/// Bytes that a call with so many attempts can need.
const fn need(attempts: usize) -> usize {
    FRAMES_PER_CALL * frame::size(entry::payload_bytes_max(attempts))
}

impl Ledger {
    /// Of the core with this number.
    pub fn new(link: LedgerLink, core: usize) -> Ledger {
        let core = core as u16;
        let begins = format!("x-sovereign-receipt: {}-{core}-", link.run);
        let mut receipt = [0; RECEIPT_ROOM];
        receipt[..begins.len()].copy_from_slice(begins.as_bytes());
        Ledger {
            run: link.run,
            core,
            sheet: link.first,
            next: link.next,
            standing: link.standing,
            tally: link.tally,
            serve_on: link.serve_on,
            at: HEADER_BYTES,
            serial: 0,
            calls: 0,
            receipt: (receipt, begins.len()),
        }
    }

    /// The id of a call that begins now. One without an entry was under way when the process died.
    #[inline]
    pub fn begin(&mut self) -> EntryId {
        let call = self.calls;
        self.calls += 1;
        EntryId {
            run: self.run,
            core: self.core,
            call,
        }
    }

    /// Writes the field that tells a client of this core what the entry of its call is called.
    #[inline]
    pub fn receipt(&self, id: EntryId, out: &mut Vec<u8>) {
        let (begins, bytes) = &self.receipt;
        let end = out.len() + bytes;
        // All of the room, and then less of it: a copy of a known length is a few moves.
        out.extend_from_slice(begins);
        out.truncate(end);
        out.extend_from_slice(itoa::Buffer::new().format(id.call).as_bytes());
        out.extend_from_slice(CRLF);
    }

    /// Whether there is room for the entries of so many calls of so many attempts each.
    #[inline]
    fn has_room(&self, calls: usize, attempts: usize) -> bool {
        let need = need(attempts);
        let all = calls.saturating_mul(need);
        let left = self.sheet.page.length() - self.at;
        if left >= all {
            return true;
        }
        // What is left of this sheet may be too short for one.
        let next = self.next.slots() * (self.sheet.page.length() - HEADER_BYTES);
        left + next >= all.saturating_add(need)
    }

    /// Whether a call may be let in, as one of so many that are under way: its entry is sure of its
    /// room then.
    #[inline]
    pub fn admits(&self, calls: usize, attempts: usize) -> bool {
        self.serve_on || (!self.standing.is_unsafe() && self.has_room(calls, attempts))
    }

    /// Writes an entry, or what amends one.
    #[inline]
    pub fn write<'a>(
        &mut self,
        kind: Kind,
        call: &Call<Text<'a>>,
        attempts: impl Iterator<Item = Attempt<Text<'a>>> + Clone,
    ) {
        // Here, or else in the next sheet. In one place, where the compiler puts it together with
        // what made the call.
        let written = (0..2)
            .any(|at| (at == 0 || self.turn_over()) && self.put(kind, call, attempts.clone()));
        self.serial += 1;
        match (written, kind) {
            (false, _) => self.tally.lost.add(1),
            (true, Kind::Entry) => self.tally.entries.add(1),
            (true, Kind::Amendment) => self.tally.amendments.add(1),
        }
    }

    /// Writes the entry of a call that was never let in, and so has no attempts, or what amends it,
    /// unless the room is needed for those that were.
    pub fn write_refused(
        &mut self,
        kind: Kind,
        call: &Call<Text<'_>>,
        calls: usize,
        attempts: usize,
    ) {
        if self.has_room(calls, attempts) {
            return self.write(kind, call, [].into_iter());
        }
        self.serial += 1;
        self.tally.refused.add(1);
    }

    #[inline]
    fn put<'a>(
        &mut self,
        kind: Kind,
        call: &Call<Text<'a>>,
        attempts: impl Iterator<Item = Attempt<Text<'a>>>,
    ) -> bool {
        let page = &mut self.sheet.page;
        let written = frame::write(page.bytes(self.at), self.serial, |pen| {
            entry::encode(pen, kind, call, attempts)
        });
        let Some(written) = written else {
            return false;
        };
        if !page.publish(self.at, written.length.to_le()) {
            return false;
        }
        self.at += written.size;
        self.sheet.progress.set_written(self.at as u64);
        true
    }

    /// Goes on to the next sheet, if there is one.
    #[cold]
    fn turn_over(&mut self) -> bool {
        let Ok(next) = self.next.pop() else {
            return false;
        };
        let Sheet { page, progress } = std::mem::replace(&mut self.sheet, next);
        // Before the clerk hears of it, so that it is there, and not here, where the file is
        // unmapped.
        drop(page);
        progress.set_full();
        self.at = HEADER_BYTES;
        true
    }
}
