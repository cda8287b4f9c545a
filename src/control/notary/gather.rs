//! What is in the ledger and not yet in the tree, in the order of runs, cores and frames.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::ledger::files::{Listed, segments};
use super::roll::{Batch, Part, Position, Positions, RollError};
use crate::ledger::frame::{HEAD_BYTES, PAYLOAD_BYTES_MAX, Read, read, size};
use crate::ledger::segment::{HEADER_BYTES, SEALED};
use crate::ledger::tree::{LEAVES_MAX, Span};
use crate::ledger::{Found, Header, Leaf, Scan};

/// Bytes that are read at a time: more than any frame has.
const CHUNK: usize = 4 * PAYLOAD_BYTES_MAX;

/// What was found.
pub struct Gathered {
    /// What is new.
    pub batch: Batch,
    /// How far the parts are with it.
    pub positions: Positions,
    /// There is more: a record has room for so much only.
    pub more: bool,
}

/// Looks through the directory. What it returns is on disk.
///
/// # Errors
/// [`RollError`]: a file can't be read, or made durable.
pub fn gather(directory: &Path, known: &Positions) -> Result<Gathered, RollError> {
    let mut gathered = Gathered {
        batch: Batch::default(),
        positions: known.clone(),
        more: false,
    };
    let all = segments(directory).map_err(RollError::Segments)?;
    let owner = |listed: &Listed| listed.stem.rsplit_once('-').map(|it| it.0.to_owned());
    for listed in all.chunk_by(|a, b| owner(a) == owner(b)) {
        gathered.part(listed)?;
        if gathered.is_full() {
            gathered.more = true;
            break;
        }
    }
    Ok(gathered)
}

/// Whose segment it is, and its number.
fn named(stem: &str) -> Option<(Part, u32)> {
    let mut parts = stem.split('-');
    let (run, core) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(((run, core), parts.next()?.parse().ok()?))
}

/// A segment that is open for reading.
struct Open {
    file: File,
    header: Header,
    /// Nobody writes it any more.
    sealed: bool,
}

/// None if it isn't there any more, or isn't a segment.
fn open(listed: &Listed) -> io::Result<Option<Open>> {
    let sealed = listed.path.with_extension(SEALED);
    for (path, sealed) in [(&listed.path, !listed.live), (&sealed, true)] {
        let file = match File::open(path) {
            Ok(file) => file,
            // Sealed meanwhile, or removed.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut head = [0; HEADER_BYTES];
        let header = match file.read_exact_at(&mut head, 0) {
            Ok(()) => Header::decode(&head).ok(),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        return Ok(header.map(|header| Open {
            file,
            header,
            sealed,
        }));
    }
    Ok(None)
}

/// Whether something was written to a segment: then the core is through with the one before.
fn has_begun(listed: &Listed) -> io::Result<bool> {
    let Some(opened) = open(listed)? else {
        return Ok(false);
    };
    let mut length = [0; 4];
    match opened.file.read_exact_at(&mut length, HEADER_BYTES as u64) {
        Ok(()) => Ok(length != [0; 4]),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

impl Gathered {
    fn is_full(&self) -> bool {
        self.batch.leaves.len() >= LEAVES_MAX
    }

    /// One core's segments of one run.
    fn part(&mut self, listed: &[Listed]) -> Result<(), RollError> {
        for (at, one) in listed.iter().enumerate() {
            let Some((part, number)) = named(&one.stem) else {
                continue;
            };
            let known = self.positions.get(&part).copied();
            let known = known.unwrap_or(Position::at(number, 0));
            if number < known.segment {
                continue;
            }
            let position = match number > known.segment {
                true => Position::at(number, known.serial),
                false => known,
            };
            // Before this one is read: what follows was written after all that is in here.
            let is_over = listed.get(at + 1).map_or(Ok(false), has_begun);
            let is_over = is_over.map_err(RollError::Segments)?;
            let Some(opened) = open(one).map_err(RollError::Segments)? else {
                continue;
            };
            let header = opened.header;
            if ((header.run, header.core), header.number) != (part, number) {
                continue;
            }
            let blank = self.segment(&opened, part, position)?;
            if self.is_full() {
                return Ok(());
            }
            let is_through = opened.sealed || (is_over && blank);
            if !is_through {
                break;
            }
            if let Some(position) = self.positions.get_mut(&part) {
                *position = Position::at(number + 1, position.serial);
            }
        }
        Ok(())
    }

    /// What is new in a segment. True if nothing but zeros follows the last frame.
    fn segment(&mut self, opened: &Open, part: Part, from: Position) -> Result<bool, RollError> {
        let before = self.batch.leaves.len();
        self.positions.insert(part, from);
        let mut chunk = vec![0; CHUNK];
        let blank = loop {
            let at = self
                .positions
                .get(&part)
                .map_or(from.offset, |it| it.offset);
            let bytes = read_up_to(&opened.file, &mut chunk, at).map_err(RollError::Segments)?;
            let (taken, next) = self.frames(&opened.header, part, &chunk[..bytes]);
            if self.is_full() {
                break false;
            }
            if taken == 0 {
                break next == Read::Nothing;
            }
        };
        if opened.sealed && !self.is_full() && !blank {
            self.damaged(opened, part).map_err(RollError::Segments)?;
        }
        // What is in the tree must be in the ledger, whatever becomes of the machine.
        if self.batch.leaves.len() > before && !opened.sealed {
            opened.file.sync_data().map_err(RollError::Unsynced)?;
        }
        Ok(blank)
    }

    /// Takes the whole frames at the beginning of these bytes. How many bytes they are, and what
    /// follows them.
    fn frames<'b>(&mut self, header: &Header, part: Part, bytes: &'b [u8]) -> (usize, Read<'b>) {
        let mut taken = 0;
        loop {
            let next = read(&bytes[taken..]);
            match next {
                Read::Frame(frame) if !self.is_full() => {
                    taken += frame.size;
                    self.take(header, part, frame.serial, frame.payload, frame.size as u64);
                }
                _ => return (taken, next),
            }
        }
    }

    /// What is whole behind a damaged part. The file is read at once: that is rare.
    fn damaged(&mut self, opened: &Open, part: Part) -> io::Result<()> {
        let length = opened.file.metadata()?.len() as usize;
        let mut bytes = vec![0; length];
        let read = read_up_to(&opened.file, &mut bytes, 0)?;
        let at = self.positions.get(&part).map_or(0, |it| it.offset);
        for found in Scan::new(&bytes[..read], at as usize) {
            match found {
                Found::Frame(_, frame) => {
                    let size = size(frame.payload.len()) as u64;
                    self.take(&opened.header, part, frame.serial, frame.payload, size);
                }
                Found::Damage(bytes) => {
                    if let Some(position) = self.positions.get_mut(&part) {
                        position.offset += bytes as u64;
                    }
                }
            }
            if self.is_full() {
                break;
            }
        }
        Ok(())
    }

    /// A frame that begins where the part stands.
    fn take(&mut self, header: &Header, part: Part, serial: u64, payload: &[u8], size: u64) {
        let Some(position) = self.positions.get_mut(&part) else {
            return;
        };
        position.offset += size;
        // It is in the tree already: somebody has put a copy beside it.
        if serial < position.serial {
            return;
        }
        position.serial = serial + 1;
        let end = position.offset;
        self.batch
            .leaves
            .push(Leaf::new(header, serial, payload).hash());
        let follows = |span: &&mut Span| {
            (span.run, span.core, span.segment) == (part.0, part.1, header.number)
                && span.first + u64::from(span.count) == serial
        };
        match self.batch.spans.last_mut().filter(follows) {
            Some(span) => {
                span.count += 1;
                span.end = end;
            }
            None => self.batch.spans.push(Span {
                run: part.0,
                core: part.1,
                segment: header.number,
                count: 1,
                first: serial,
                end,
            }),
        }
    }
}

fn read_up_to(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], at + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// No frame is longer than what is read at a time.
const _: () = assert!(CHUNK > HEAD_BYTES + PAYLOAD_BYTES_MAX);
