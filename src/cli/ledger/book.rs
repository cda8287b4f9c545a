//! Every entry of a ledger once, in the order of runs, cores and ends, with what amends it in its
//! place; and what is missing.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::Failure;
use super::filter::Filter;
use crate::control::ledger::files::{Listed, segments};
use crate::control::ledger::line::Record;
use crate::ledger::merge::Amendments;
use crate::ledger::segment::{HEADER_BYTES, SEALED};
use crate::ledger::{Entry, Found, Header, Scan, scan};

/// What was read, and what couldn't be.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Frames whose serial number is missing.
    pub missing: u64,
    /// Bytes between whole frames that are none.
    pub damaged: usize,
    /// Frames of a kind or version that this program doesn't know.
    pub unknown: u64,
    /// Files that are no segments.
    pub foreign: Vec<String>,
}

impl Report {
    /// What is wrong, in words; None if nothing is.
    pub fn complaint(&self) -> Option<String> {
        let mut parts = Vec::new();
        if self.missing > 0 {
            parts.push(format!(
                "{} entries or amendments are missing",
                self.missing
            ));
        }
        if self.damaged > 0 {
            parts.push(format!("{} bytes are damaged", self.damaged));
        }
        if self.unknown > 0 {
            parts.push(format!("{} frames are of another version", self.unknown));
        }
        parts.extend(self.foreign.iter().cloned());
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// Shows `see` every entry that passes the filter, until it says false.
///
/// # Errors
/// The directory or a file can't be read, or what `see` says.
pub(super) fn read(
    directory: &Path,
    filter: &Filter,
    mut see: impl FnMut(Record<'_>) -> Result<bool, Failure>,
) -> Result<Report, Failure> {
    let all = segments(directory).map_err(Failure::file(directory))?;
    let mut report = Report::default();
    // The number is the last part of a stem: what is before it names a run's core.
    let owner = |listed: &Listed| listed.stem.rsplit_once('-').map(|it| it.0.to_owned());
    for part in all.chunk_by(|a, b| owner(a) == owner(b)) {
        if !filter.may_have(&part[0].stem) {
            continue;
        }
        if !read_part(part, filter, &mut report, &mut see)? {
            break;
        }
    }
    Ok(report)
}

/// One core's segments of one run. False if `see` has had enough.
fn read_part(
    part: &[Listed],
    filter: &Filter,
    report: &mut Report,
    see: &mut impl FnMut(Record<'_>) -> Result<bool, Failure>,
) -> Result<bool, Failure> {
    // Those that are being written, the last first: whatever is in the later one when it is read,
    // the earlier one is complete when it is read after it.
    let live = part.iter().filter(|listed| listed.live).count();
    let (sealed, live) = part.split_at(part.len() - live);
    let mut held = Vec::new();
    for listed in live.iter().rev() {
        held.push(load(listed)?);
    }
    held.reverse();
    let mut amendments = Amendments::default();
    for listed in sealed {
        if let Some(bytes) = load(listed)? {
            amendments.collect(Scan::new(&bytes, HEADER_BYTES));
        }
    }
    for bytes in held.iter().flatten() {
        amendments.collect(Scan::new(bytes, HEADER_BYTES));
    }
    let mut last = None;
    let mut reader = |bytes: &[u8], listed: &Listed, amendments: &mut Amendments| {
        read_segment(bytes, listed, amendments, &mut last, report, filter, see)
    };
    for listed in sealed {
        if let Some(bytes) = load(listed)?
            && !reader(&bytes, listed, &mut amendments)?
        {
            return Ok(false);
        }
    }
    for (bytes, listed) in held.iter().zip(live) {
        if let Some(bytes) = bytes
            && !reader(bytes, listed, &mut amendments)?
        {
            return Ok(false);
        }
    }
    // Their entries are gone, with an older segment.
    let header = part.iter().find_map(|listed| header_of(listed).ok());
    for payload in amendments.rest() {
        if let (Some(header), Some(entry)) = (header, Entry::decode(&payload))
            && filter.passes(header, &entry)
            && !see(Record { header, entry })?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_segment(
    bytes: &[u8],
    listed: &Listed,
    amendments: &mut Amendments,
    last: &mut Option<u64>,
    report: &mut Report,
    filter: &Filter,
    see: &mut impl FnMut(Record<'_>) -> Result<bool, Failure>,
) -> Result<bool, Failure> {
    let header = match Header::decode(bytes) {
        Ok(header) => header,
        Err(error) => {
            let path = listed.path.display();
            report.foreign.push(format!("{path}: {error}"));
            return Ok(true);
        }
    };
    for found in Scan::new(bytes, HEADER_BYTES) {
        let frame = match found {
            Found::Frame(_, frame) => frame,
            Found::Damage(bytes) => {
                report.damaged += bytes;
                continue;
            }
        };
        if let Some(last) = last.replace(frame.serial) {
            report.missing += frame.serial.saturating_sub(last + 1);
        }
        let Some(entry) = Entry::decode(frame.payload) else {
            report.unknown += 1;
            continue;
        };
        if entry.amends {
            continue;
        }
        let amended = amendments.take(entry.call.number);
        let entry = amended.as_deref().and_then(Entry::decode).unwrap_or(entry);
        if filter.passes(header, &entry) && !see(Record { header, entry })? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A segment's bytes. None if retention has removed it meanwhile.
pub fn load(listed: &Listed) -> Result<Option<Vec<u8>>, Failure> {
    let sealed = listed.path.with_extension(SEALED);
    for path in [&listed.path, &sealed] {
        match read_whole(path) {
            Ok(bytes) => return Ok(Some(bytes)),
            // Sealed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::file(path)(error)),
        }
    }
    Ok(None)
}

fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    scan::settle(&mut bytes, HEADER_BYTES, |part, at| {
        file.read_exact_at(part, at as u64)
    })?;
    Ok(bytes)
}

fn header_of(listed: &Listed) -> io::Result<Header> {
    let bytes = fs::read(&listed.path)?;
    Header::decode(&bytes).map_err(io::Error::other)
}
