//! A ledger held against its tree: each entry that is there must have been signed as it is, and each
//! that was signed must be there.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use super::super::Failure;
use super::super::ledger::book::load;
use super::papers::shown;
use super::tree::{Spot, Tree};
use crate::control::ledger::files::{Listed, segments};
use crate::control::ledger::line::Record;
use crate::control::notary::roll::Part;
use crate::ledger::merge::Amendments;
use crate::ledger::merkle::Hash;
use crate::ledger::segment::HEADER_BYTES;
use crate::ledger::{Entry, EntryId, Found, Header, Leaf, RunId, Scan};

/// An entry that ended so long before a head, and isn't in its tree, should be. The ledger's clock is
/// looked at once a second.
const SLACK_MS: i64 = 5_000;

/// An entry that ended so long ago should be in some tree.
const SIGNED_WITHIN_MS: i64 = 60_000;

/// How a ledger and its tree differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It isn't what was signed.
    Changed(EntryId),
    /// It was never signed, and stands where nothing was.
    Inserted(EntryId),
    /// It is there twice, or behind one that came later.
    Misplaced(EntryId),
    /// It was signed, and isn't there.
    Dropped {
        part: Part,
        serials: Range<u64>,
        /// When the first and the last of them were.
        signed_ms: (i64, i64),
    },
    /// It has a number, and was neither found nor signed: there was no room for it, or it was damaged
    /// before that.
    Unrecorded { part: Part, serials: Range<u64> },
    /// It should have been signed.
    Unsigned(EntryId),
    /// A frame that is no entry.
    Unreadable { part: Part, serial: u64 },
    /// Not a segment.
    Foreign(String),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frames = |serials: &Range<u64>| match serials.end - serials.start {
            1 => format!("frame {}", serials.start),
            _ => format!("frames {} to {}", serials.start, serials.end - 1),
        };
        match self {
            Flaw::Changed(id) => write!(f, "changed: {id} is not what was signed"),
            Flaw::Inserted(id) => write!(f, "inserted: {id} was never signed"),
            Flaw::Misplaced(id) => write!(f, "reordered: {id} is not in its place, or there twice"),
            Flaw::Dropped {
                part: (run, core),
                serials,
                signed_ms: (first, last),
            } => {
                let frames = frames(serials);
                write!(
                    f,
                    "dropped: {frames} of {run}-{core}, signed at {}",
                    shown(*first)
                )?;
                match first == last {
                    true => Ok(()),
                    false => write!(f, " to {}", shown(*last)),
                }
            }
            Flaw::Unrecorded {
                part: (run, core),
                serials,
            } => write!(
                f,
                "unrecorded: {} of {run}-{core} found no room, or were damaged before they were signed",
                frames(serials)
            ),
            Flaw::Unsigned(id) => write!(f, "unsigned: {id} is in no tree"),
            Flaw::Unreadable {
                part: (run, core),
                serial,
            } => write!(f, "unreadable: frame {serial} of {run}-{core}"),
            Flaw::Foreign(what) => write!(f, "unreadable: {what}"),
        }
    }
}

/// What came of it.
pub(super) struct Cover<'t> {
    tree: &'t Tree,
    /// Leaves that were signed before this may be gone.
    since_ms: i64,
    now_ms: i64,
    /// What is wrong.
    pub(super) flaws: Vec<Flaw>,
    /// Entries and amendments that are there as they were signed.
    pub(super) covered: u64,
    /// Those that are too young to be signed.
    pub(super) pending: u64,
}

/// One part on the way.
#[derive(Default)]
struct Walk {
    last: Option<u64>,
    /// Serial numbers that were found as they were signed.
    seen: Vec<Range<u64>>,
    /// The spot that was looked at last, and its leaves.
    cached: Option<(Spot, Vec<Hash>)>,
}

impl<'t> Cover<'t> {
    /// Walks through a ledger. `see` gets each call's entry, with what amends it in its place.
    pub(super) fn of(
        directory: &Path,
        tree: &'t Tree,
        since_ms: i64,
        now_ms: i64,
        mut see: impl FnMut(&Record<'_>),
    ) -> Result<Cover<'t>, Failure> {
        let mut cover = Cover {
            tree,
            since_ms,
            now_ms,
            flaws: Vec::new(),
            covered: 0,
            pending: 0,
        };
        let all = segments(directory).map_err(Failure::file(directory))?;
        let owner = |listed: &Listed| listed.stem.rsplit_once('-').map(|it| it.0.to_owned());
        let mut met = Vec::new();
        for listed in all.chunk_by(|a, b| owner(a) == owner(b)) {
            met.extend(cover.part(listed, &mut see)?);
        }
        let missed = tree.parts.keys().filter(|part| !met.contains(part));
        for part in missed {
            cover.dropped(*part, &[]);
        }
        Ok(cover)
    }

    fn part(
        &mut self,
        listed: &[Listed],
        see: &mut impl FnMut(&Record<'_>),
    ) -> Result<Option<Part>, Failure> {
        let mut amendments = Amendments::default();
        for one in listed {
            if let Some(bytes) = load(one)? {
                amendments.collect(Scan::new(&bytes, HEADER_BYTES));
            }
        }
        let (mut walk, mut known) = (Walk::default(), None);
        for one in listed {
            let Some(bytes) = load(one)? else {
                continue;
            };
            let header = match Header::decode(&bytes) {
                Ok(header) => header,
                Err(error) => {
                    let what = format!("{}: {error}", one.path.display());
                    self.flaws.push(Flaw::Foreign(what));
                    continue;
                }
            };
            known = Some(header);
            self.segment(&header, &bytes, &mut amendments, &mut walk, see)?;
        }
        let Some(header) = known else {
            return Ok(None);
        };
        for payload in amendments.rest() {
            if let Some(entry) = Entry::decode(&payload) {
                see(&Record { header, entry });
            }
        }
        let part = (header.run, header.core);
        self.dropped(part, &walk.seen);
        self.unrecorded(part);
        Ok(Some(part))
    }

    fn segment(
        &mut self,
        header: &Header,
        bytes: &[u8],
        amendments: &mut Amendments,
        walk: &mut Walk,
        see: &mut impl FnMut(&Record<'_>),
    ) -> Result<(), Failure> {
        let part = (header.run, header.core);
        for found in Scan::new(bytes, HEADER_BYTES) {
            // What was in damaged bytes is missing.
            let Found::Frame(_, frame) = found else {
                continue;
            };
            let serial = frame.serial;
            let leaf = Leaf::new(header, serial, frame.payload);
            let Some(entry) = Entry::decode(frame.payload) else {
                self.flaws.push(Flaw::Unreadable { part, serial });
                continue;
            };
            let id = leaf.id(entry.call.number);
            let ended_ms = entry.call.began_us / 1000 + (entry.call.total_us / 1000) as i64;
            let flaw = self.judge(part, serial, leaf.hash(), walk, (id, ended_ms))?;
            self.flaws.extend(flaw);
            if !entry.amends {
                let amended = amendments.take(entry.call.number);
                let entry = amended.as_deref().and_then(Entry::decode).unwrap_or(entry);
                see(&Record {
                    header: *header,
                    entry,
                });
            }
        }
        Ok(())
    }

    /// What is wrong with one frame, if anything is.
    fn judge(
        &mut self,
        part: Part,
        serial: u64,
        hash: Hash,
        walk: &mut Walk,
        (id, ended_ms): (EntryId, i64),
    ) -> Result<Option<Flaw>, Failure> {
        if walk.last.is_some_and(|last| serial <= last) {
            return Ok(Some(Flaw::Misplaced(id)));
        }
        walk.last = Some(serial);
        let Some(spot) = self.tree.spot(part, serial).copied() else {
            return Ok(self.unsigned(part, serial, id, ended_ms));
        };
        if walk.cached.as_ref().is_none_or(|(known, _)| *known != spot) {
            walk.cached = Some((spot, self.tree.leaves(&spot)?));
        }
        let leaves = walk.cached.as_ref().map(|(_, leaves)| leaves);
        let signed = leaves.and_then(|leaves| leaves.get((serial - spot.first) as usize));
        match walk.seen.last_mut().filter(|range| range.end == serial) {
            Some(range) => range.end = serial + 1,
            None => walk.seen.push(serial..serial + 1),
        }
        if signed != Some(&hash) {
            return Ok(Some(Flaw::Changed(id)));
        }
        self.covered += 1;
        Ok(None)
    }

    fn unsigned(&mut self, part: Part, serial: u64, id: EntryId, ended_ms: i64) -> Option<Flaw> {
        let spots = self.tree.parts.get(&part);
        let end = spots
            .and_then(|spots| spots.last())
            .map(|it| it.serials().end);
        if end.is_some_and(|end| serial < end) {
            return Some(Flaw::Inserted(id));
        }
        let newest_ms = self.tree.newest.head.at_ms;
        let is_late = ended_ms < newest_ms - SLACK_MS || ended_ms < self.now_ms - SIGNED_WITHIN_MS;
        if is_late {
            return Some(Flaw::Unsigned(id));
        }
        self.pending += 1;
        None
    }

    /// What was signed of a part and isn't among those that were seen.
    fn dropped(&mut self, part: Part, seen: &[Range<u64>]) {
        let (tree, since_ms) = (self.tree, self.since_ms);
        let spots = tree.parts.get(&part).into_iter().flatten();
        for spot in spots.filter(|spot| spot.at_ms >= since_ms) {
            let Range { start, end } = spot.serials();
            let mut at = start;
            let first = seen.partition_point(|range| range.end <= start);
            let overlapping = seen[first..].iter().take_while(|range| range.start < end);
            let mut gaps = Vec::new();
            for range in overlapping {
                gaps.push(at..range.start.max(at));
                at = range.end.min(end);
            }
            gaps.push(at..end);
            for gap in gaps.into_iter().filter(|gap| !gap.is_empty()) {
                self.drop_more(part, gap, spot.at_ms);
            }
        }
    }

    /// What follows what is known to be gone is no flaw of its own.
    fn drop_more(&mut self, of: Part, gap: Range<u64>, at_ms: i64) {
        match self.flaws.last_mut() {
            Some(Flaw::Dropped {
                part,
                serials,
                signed_ms,
            }) if *part == of && serials.end == gap.start => {
                serials.end = gap.end;
                signed_ms.1 = at_ms;
            }
            _ => self.flaws.push(Flaw::Dropped {
                part: of,
                serials: gap,
                signed_ms: (at_ms, at_ms),
            }),
        }
    }

    /// Numbers that nothing was signed of.
    fn unrecorded(&mut self, part: Part) {
        let Some(spots) = self.tree.parts.get(&part) else {
            return;
        };
        // What a run before the month has lost is nothing to it.
        let mut next = match began_ms(part.0) >= self.since_ms {
            true => 0,
            false => spots.first().map_or(0, |spot| spot.first),
        };
        for spot in spots {
            let serials = next..spot.first;
            if !serials.is_empty() && spot.at_ms >= self.since_ms {
                self.flaws.push(Flaw::Unrecorded { part, serials });
            }
            next = spot.serials().end;
        }
    }
}

/// When a run began, in milliseconds since 1970.
fn began_ms(run: RunId) -> i64 {
    let bytes = run.0[..6].iter();
    bytes.fold(0, |all, byte| all << 8 | i64::from(*byte))
}
