//! A tree's file, read by who wants to prove or to check something. Every root in it is computed anew
//! from the leaves.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::Failure;
use crate::control::notary::roll::{self, Part, RollError};
use crate::ledger::merkle::{Hash, Roots};
use crate::ledger::tree::{FILE, Signed, leaves_at};

/// Leaves of one part that follow each other, and where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// The first one's serial number.
    pub(super) first: u64,
    /// How many.
    pub(super) count: u32,
    /// The first one's place in the tree.
    pub(super) index: u64,
    /// When they were signed, in milliseconds since 1970.
    pub(super) at_ms: i64,
    /// Where the first one's hash is in the file.
    offset: u64,
}

impl Spot {
    /// The serial numbers.
    pub(super) fn serials(&self) -> Range<u64> {
        self.first..self.first + u64::from(self.count)
    }
}

/// What is known of a tree.
pub(super) struct Tree {
    path: PathBuf,
    file: File,
    /// The newest head.
    pub(super) newest: Signed,
    /// By part, in the order of serial numbers.
    pub(super) parts: BTreeMap<Part, Vec<Spot>>,
}

/// Why a file can't be read as a tree.
enum Problem {
    Roll(RollError),
    Content(String),
}

impl From<RollError> for Problem {
    fn from(error: RollError) -> Problem {
        Problem::Roll(error)
    }
}

impl Tree {
    /// Reads the tree of a ledger. `known` are older trees of which it must be the continuation: how
    /// many leaves each has, and its root.
    pub(super) fn read(directory: &Path, known: &[Signed]) -> Result<Tree, Failure> {
        let path = directory.join(FILE);
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Failure::Unproven(format!(
                    "{}: there is no tree: nothing of this ledger has been signed",
                    path.display()
                )));
            }
            opened => opened.map_err(Failure::file(&path))?,
        };
        // Who is shown a head can rely on it, whatever becomes of this machine.
        file.sync_data().map_err(Failure::file(&path))?;
        let (mut newest, mut parts) = (None, BTreeMap::<Part, Vec<Spot>>::new());
        let read = roll::read(&file, |record, begun, _| {
            let count = record.leaves.len() as u64;
            let mut index = record.signed.head.size - count;
            let mut offset = begun + leaves_at(record.spans.len()) as u64;
            for span in &record.spans {
                let spots = parts.entry((span.run, span.core)).or_default();
                if spots
                    .last()
                    .is_some_and(|last| last.serials().end > span.first)
                {
                    let what = format!("a frame of {}-{} is in it twice", span.run, span.core);
                    return Err(Problem::Content(what));
                }
                spots.push(Spot {
                    first: span.first,
                    count: span.count,
                    index,
                    at_ms: record.signed.head.at_ms,
                    offset,
                });
                index += u64::from(span.count);
                offset += 32 * u64::from(span.count);
            }
            newest = Some(record.signed);
            Ok(())
        });
        let unproven = |what: String| Failure::Unproven(format!("{}: {what}", path.display()));
        read.map_err(|problem| match problem {
            Problem::Roll(error) => unproven(error.to_string()),
            Problem::Content(what) => unproven(what),
        })?;
        let newest = newest.ok_or_else(|| unproven("nothing has been signed yet".to_owned()))?;
        let tree = Tree {
            path,
            file,
            newest,
            parts,
        };
        known.iter().try_for_each(|older| tree.continues(older))?;
        Ok(tree)
    }

    /// Whether it begins with the leaves of an older one.
    fn continues(&self, older: &Signed) -> Result<(), Failure> {
        let (old, new) = (&older.head, &self.newest.head);
        let wrong = |what: String| Err(Failure::Unproven(what));
        if old.tree != new.tree {
            return wrong("the older head is one of another tree".to_owned());
        }
        if old.size > new.size {
            return wrong(format!(
                "the tree was cut: it has {} leaves, and had {} at {}",
                new.size,
                old.size,
                super::papers::shown(old.at_ms)
            ));
        }
        let whole = 0..old.size;
        if self.roots([whole])?.first() != Some(&old.root) {
            return wrong(format!(
                "the tree was changed: its first {} leaves are not those of the head of {}",
                old.size,
                super::papers::shown(old.at_ms)
            ));
        }
        Ok(())
    }

    /// The roots of ranges of leaves.
    pub(super) fn roots(
        &self,
        ranges: impl IntoIterator<Item = Range<u64>>,
    ) -> Result<Vec<Hash>, Failure> {
        let mut roots = Roots::new(ranges);
        let file = File::open(&self.path).map_err(Failure::file(&self.path))?;
        let read = roll::read(&file, |record, _, _| {
            let first = record.signed.head.size - record.leaves.len() as u64;
            for (index, leaf) in (first..).zip(&record.leaves) {
                roots.see(index, *leaf);
            }
            Ok::<(), RollError>(())
        });
        read.map_err(|error| Failure::Unproven(error.to_string()))?;
        let short = || Failure::Unproven(format!("{}: it was cut", self.path.display()));
        roots.finish().ok_or_else(short)
    }

    /// Where a frame is.
    pub(super) fn spot(&self, part: Part, serial: u64) -> Option<&Spot> {
        let spots = self.parts.get(&part)?;
        let at = spots.partition_point(|spot| spot.serials().end <= serial);
        spots
            .get(at)
            .filter(|spot| spot.serials().contains(&serial))
    }

    /// The leaves of a spot.
    pub(super) fn leaves(&self, spot: &Spot) -> Result<Vec<Hash>, Failure> {
        let mut bytes = vec![0; 32 * spot.count as usize];
        self.file
            .read_exact_at(&mut bytes, spot.offset)
            .map_err(Failure::file(&self.path))?;
        Ok(bytes.as_chunks().0.to_vec())
    }
}
