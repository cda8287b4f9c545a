//! What is to be sent next: whole frames that are on disk, from where the last batch ended.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::Serialize;

use super::super::ledger::files::{Listed, segments};
use super::super::ledger::line::{Line, Record};
use super::super::ledger::sent::{Place, Sent};
use crate::ledger::frame::PAYLOAD_BYTES_MAX;
use crate::ledger::segment::{HEADER_BYTES, SEALED};
use crate::ledger::{Entry, EntryId, Found, Header, RunId, Scan};

/// Bytes that are read at a time: many frames.
const PART: usize = 1024 * 1024;

/// Bytes of a batch, above which it is full, however few its entries are.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// What of a call is sent, if a batch has its entry and what amends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rows {
    /// The last of them.
    #[default]
    Calls,
    /// Each of them, in order.
    Frames,
}

/// A frame, as it is sent.
#[derive(Debug)]
pub struct Row {
    /// Whose.
    pub id: EntryId,
    /// The frame's number.
    pub serial: u64,
    /// It amends an entry.
    pub amends: bool,
    /// What it says.
    pub json: String,
}

/// An entry as a row. What amends it has a higher serial number.
#[derive(Serialize)]
struct Shown<'e> {
    serial: u64,
    amended: bool,
    #[serde(flatten)]
    line: Line<'e>,
}

/// Some entries, and where the next begin.
#[derive(Debug, Default)]
pub struct Batch {
    /// What is to be sent; those of a core in the order of their numbers, if all are.
    pub rows: Vec<Row>,
    kind: Rows,
    at: HashMap<EntryId, usize>,
    bytes: usize,
    /// Entries and amendments.
    pub frames: u64,
    /// How far the ledger has been sent when this is.
    pub sent: Sent,
    /// What could not be read, and is passed over.
    pub skipped: Vec<String>,
    /// What could not be read, and is waited for.
    pub stuck: Vec<String>,
    most: usize,
}

/// One core of one process, whose frames have an order.
pub type Owner = (RunId, u16);

/// Why a batch didn't arrive, as far as the sink knows.
#[derive(Debug)]
pub struct Failure {
    /// For the log.
    pub text: String,
    /// Whose frames the server has had, and has lost: they are read again from the beginning.
    pub again: Vec<Owner>,
}

impl From<String> for Failure {
    fn from(text: String) -> Failure {
        let again = Vec::new();
        Failure { text, again }
    }
}

/// Where reading a segment has ended.
enum End {
    /// At the last frame.
    Last,
    /// Before it.
    Sooner,
}

impl Batch {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether there may be more.
    pub fn is_full(&self) -> bool {
        self.rows.len() >= self.most || self.bytes >= BYTES_MAX
    }

    /// As an array of JSON.
    pub fn json(&self) -> String {
        let rows: Vec<&str> = self.rows.iter().map(|row| row.json.as_str()).collect();
        format!("[{}]", rows.join(","))
    }

    /// Reads up to `most` rows from where `sent` says.
    ///
    /// # Errors
    /// The directory or a segment can't be read, or not be made durable.
    pub fn gather(directory: &Path, sent: &Sent, kind: Rows, most: usize) -> io::Result<Batch> {
        let all = segments(directory)?;
        let mut batch = Batch {
            sent: sent.clone(),
            kind,
            most,
            ..Batch::default()
        };
        let owner = |listed: &Listed| listed.place().map(|(run, core, _)| (run, core));
        // What is gone has been sent, or never will be.
        let here: Vec<_> = all.iter().filter_map(owner).collect();
        batch.sent.0.retain(|owner, _| here.contains(owner));
        let mut part = vec![0; PART];
        for segments in all.chunk_by(|a, b| owner(a) == owner(b)) {
            batch.follow(segments, &mut part)?;
            if batch.is_full() {
                break;
            }
        }
        Ok(batch)
    }

    /// One core's segments of one run, in order.
    fn follow(&mut self, segments: &[Listed], part: &mut [u8]) -> io::Result<()> {
        for listed in segments {
            let Some((run, core, number)) = listed.place() else {
                continue;
            };
            let first = Place {
                number,
                offset: HEADER_BYTES as u64,
            };
            let place = self.sent.0.get(&(run, core)).copied().unwrap_or(first);
            if number < place.number {
                continue;
            }
            let mut place = place;
            if number > place.number {
                // The clerk has said so, if it was its doing.
                let (missing, path) = (place.number, listed.path.display());
                self.skipped
                    .push(format!("{path}: segment {missing} is gone"));
                place = first;
            }
            let end = self.read(listed, &mut place.offset, part)?;
            if matches!(end, End::Last) && !listed.live {
                place = Place {
                    number: number.saturating_add(1),
                    offset: HEADER_BYTES as u64,
                };
                self.sent.0.insert((run, core), place);
                continue;
            }
            self.sent.0.insert((run, core), place);
            break;
        }
        Ok(())
    }

    /// Takes in what is behind `offset`, and moves it there.
    fn read(&mut self, listed: &Listed, offset: &mut u64, part: &mut [u8]) -> io::Result<End> {
        let Some(file) = open(listed)? else {
            // Removed meanwhile.
            return Ok(End::Sooner);
        };
        let mut head = [0; HEADER_BYTES];
        let path = listed.path.display();
        if let Err(error) = file.read_exact_at(&mut head, 0) {
            self.stuck.push(format!("{path}: {error}"));
            return Ok(End::Sooner);
        }
        let header = match Header::decode(&head) {
            Ok(header) => header,
            Err(error) => {
                self.stuck.push(format!("{path}: {error}"));
                return Ok(End::Sooner);
            }
        };
        let before = self.frames;
        let end = loop {
            let count = file.read_at(part, *offset)?;
            let (step, end) = self.take(header, &part[..count], listed);
            *offset += step as u64;
            if let Some(end) = end {
                break end;
            }
            if step > 0 {
                continue;
            }
            // Nothing but the end begins here, or damage that is longer than what is read at a time.
            if listed.live || count < part.len() {
                break End::Last;
            }
            self.skipped.push(format!("{path}: damaged at {offset}"));
            *offset += (count - PAYLOAD_BYTES_MAX) as u64;
        };
        if listed.live && self.frames > before {
            // What the machine may still lose must not be known elsewhere. Nearly always the clerk
            // has been here, and there is nothing to do.
            file.sync_data()?;
        }
        Ok(end)
    }

    /// Takes in whole frames; how many bytes they take, and whether to stop there.
    fn take(&mut self, header: Header, bytes: &[u8], listed: &Listed) -> (usize, Option<End>) {
        let mut step = 0;
        let path = listed.path.display();
        for found in Scan::new(bytes, 0) {
            let (at, frame) = match found {
                // A core may have stored two frames while the first was being copied: it is whole
                // when it is looked at again.
                Found::Damage(_) if listed.live => return (step, Some(End::Sooner)),
                Found::Damage(count) => {
                    self.skipped
                        .push(format!("{path}: {count} bytes are damaged"));
                    continue;
                }
                Found::Frame(at, frame) => (at, frame),
            };
            let Some(entry) = Entry::decode(frame.payload) else {
                self.stuck
                    .push(format!("{path}: a frame is of another version"));
                return (step, Some(End::Sooner));
            };
            if self.is_full() {
                return (step, Some(End::Sooner));
            }
            step = at + frame.size;
            self.add(frame.serial, Record { header, entry });
        }
        (step, None)
    }

    fn add(&mut self, serial: u64, record: Record<'_>) {
        let (id, amends) = (record.id(), record.entry.amends);
        let shown = Shown {
            serial,
            amended: amends,
            line: Line::of(&record),
        };
        let row = Row {
            id,
            serial,
            amends,
            // Texts and numbers only: there is nothing that JSON could not say.
            json: serde_json::to_string(&shown).unwrap_or_default(),
        };
        self.frames += 1;
        self.bytes += row.json.len();
        if self.kind == Rows::Calls {
            if let Some(&before) = self.at.get(&id) {
                self.rows[before] = row;
                return;
            }
            self.at.insert(id, self.rows.len());
        }
        self.rows.push(row);
    }
}

/// A segment's file. None if it is gone.
fn open(listed: &Listed) -> io::Result<Option<File>> {
    let sealed = listed.path.with_extension(SEALED);
    for path in [&listed.path, &sealed] {
        match File::open(path) {
            Ok(file) => return Ok(Some(file)),
            // Sealed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
