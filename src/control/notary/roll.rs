//! The tree's file: read from its beginning at the start, then appended to. A record is one write; what
//! a writer that died has left of its last one is cut.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::super::ledger::files::sync_directory;
use crate::ledger::RunId;
use crate::ledger::merkle::{Frontier, Hash};
use crate::ledger::segment;
use crate::ledger::tree::{
    FILE, HEADER_BYTES, Head, PAYLOAD_BYTES_MAX, RECORD_HEAD_BYTES, Record, Signed, Span, TreeId,
    announced, has_record, header, hex, is_whole, read_header,
};
use crate::policy::accreditation::AuthorityKey;

/// Who may read the file: its owner.
const FILE_MODE: u32 = 0o600;

/// Bytes that are read at a time.
const INPUT: usize = 1024 * 1024;

/// No record is longer, torn or not.
const LONGEST: usize = RECORD_HEAD_BYTES + PAYLOAD_BYTES_MAX;

/// One core of one process.
pub type Part = (RunId, u16);

/// How far a part's segments are in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Segments with a lower number are.
    pub segment: u32,
    /// Frames of that segment that begin before this are.
    pub offset: u64,
    /// Of the next frame, at least.
    pub serial: u64,
}

impl Position {
    /// At the first frame of this segment.
    pub fn at(segment: u32, serial: u64) -> Position {
        Position {
            segment,
            offset: segment::HEADER_BYTES as u64,
            serial,
        }
    }
}

/// How far each part is.
pub type Positions = BTreeMap<Part, Position>;

/// What is to be added to the tree.
#[derive(Debug, Default)]
pub struct Batch {
    /// Where the leaves come from.
    pub spans: Vec<Span>,
    /// The leaves.
    pub leaves: Vec<Hash>,
}

/// Why the tree can't go on.
#[derive(Debug, thiserror::Error)]
pub enum RollError {
    /// Something else is there.
    #[error("{FILE}: expected a tree of version 1; it is left as it is")]
    Foreign,
    /// A record isn't what was written, and others follow.
    #[error(
        "{FILE}: damaged at byte {at}; it is left as it is, and nothing is signed until it is whole \
         again, or moved away, and srpd restarted"
    )]
    Damaged {
        /// Where it begins.
        at: u64,
    },
    /// It can't be read or written.
    #[error("{FILE}: {0}")]
    File(#[from] io::Error),
    /// It can't be made durable.
    #[error("{FILE}: what was written can't be made durable; only a restart helps: {0}")]
    Sync(io::Error),
    /// The ledger's files can't be read.
    #[error("the ledger's segments: {0}")]
    Segments(io::Error),
    /// They can't be made durable, and the tree must not know more than they do.
    #[error("the ledger's segments can't be made durable; only a restart helps: {0}")]
    Unsynced(io::Error),
    /// The tree's name.
    #[error("the operating system has no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

impl RollError {
    /// Whether trying again doesn't help: what is there may not be what was written.
    pub fn is_final(&self) -> bool {
        use RollError::{Damaged, File, Foreign, Random, Segments, Sync, Unsynced};
        match self {
            Foreign | Damaged { .. } | Sync(_) | Unsynced(_) => true,
            File(_) | Segments(_) | Random(_) => false,
        }
    }
}

/// Reads a tree's file, record by record. `see` gets each one, where it begins, and the tree's right
/// edge behind it. What is behind the last whole record is returned as the end.
///
/// # Errors
/// [`RollError`], or what `see` says.
pub fn read<E: From<RollError>>(
    file: &File,
    mut see: impl FnMut(Record, u64, &Frontier) -> Result<(), E>,
) -> Result<(TreeId, Frontier, u64), E> {
    let file_error = |error: io::Error| E::from(RollError::File(error));
    // What is appended meanwhile may be half there.
    let length = file.metadata().map_err(file_error)?.len();
    let mut input = BufReader::with_capacity(INPUT, file.take(length));
    let mut head = [0; HEADER_BYTES];
    input.read_exact(&mut head).map_err(file_error)?;
    let tree = read_header(&head).ok_or(RollError::Foreign)?;
    let (mut frontier, mut at) = (Frontier::default(), HEADER_BYTES as u64);
    loop {
        let payload = next(&mut input).map_err(file_error)?;
        let record = payload.and_then(|payload| Record::decode(tree, &payload));
        let Some(record) = record else {
            break;
        };
        record.leaves.iter().for_each(|leaf| frontier.push(*leaf));
        let head = &record.signed.head;
        if (head.size, head.root) != (frontier.size(), frontier.root()) {
            return Err(RollError::Damaged { at }.into());
        }
        let begun = at;
        at += record.encoded_bytes() as u64;
        see(record, begun, &frontier)?;
    }
    let left = (length - at) as usize;
    if left > LONGEST || has_record(&rest(file, at, left).map_err(file_error)?) {
        return Err(RollError::Damaged { at }.into());
    }
    Ok((tree, frontier, at))
}

/// The next record's payload. None if there is no whole one.
fn next(input: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; RECORD_HEAD_BYTES];
    let payload = match input.read_exact(&mut head) {
        Ok(()) => announced(&head),
        Err(error) => return ended(error),
    };
    let Some(bytes) = payload else {
        return Ok(None);
    };
    let mut payload = vec![0; bytes];
    match input.read_exact(&mut payload) {
        Ok(()) => Ok(is_whole(&head, &payload).then_some(payload)),
        Err(error) => ended(error),
    }
}

fn ended<T>(error: io::Error) -> io::Result<Option<T>> {
    match error.kind() {
        ErrorKind::UnexpectedEof => Ok(None),
        _ => Err(error),
    }
}

/// So many bytes from there on, if they are still there.
fn rest(file: &File, at: u64, left: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; left];
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], at + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

/// The tree that this process goes on with.
#[derive(Debug)]
pub struct Roll {
    /// Locked for as long as it is open.
    file: File,
    tree: TreeId,
    frontier: Frontier,
    positions: Positions,
    end: u64,
}

impl Roll {
    /// Reads what there is, cuts a torn tail, or begins a tree. None if another process has it.
    ///
    /// # Errors
    /// [`RollError`]
    pub fn open(directory: &Path) -> Result<Option<Roll>, RollError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(directory.join(FILE))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(RollError::File(error.into())),
        }
        // Shorter than its header: whoever began it died at that.
        if file.metadata()?.len() < HEADER_BYTES as u64 {
            let mut tree = TreeId([0; 16]);
            getrandom::fill(&mut tree.0)?;
            file.write_all_at(&header(tree), 0)?;
            file.sync_all()
                .and_then(|()| sync_directory(directory))
                .map_err(RollError::Sync)?;
        }
        let mut positions = Positions::new();
        let (tree, frontier, end) = read(&file, |record, _, _| {
            for span in &record.spans {
                let position = Position {
                    segment: span.segment,
                    offset: span.end,
                    serial: span.first + u64::from(span.count),
                };
                positions.insert((span.run, span.core), position);
            }
            Ok::<(), RollError>(())
        })?;
        let length = file.metadata()?.len();
        if length > end {
            tracing::warn!(
                bytes = length - end,
                "audit: a torn record was cut off the tree"
            );
            file.set_len(end)?;
        }
        Ok(Some(Roll {
            file,
            tree,
            frontier,
            positions,
            end,
        }))
    }

    /// Leaves.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// What the tree is called.
    pub fn name(&self) -> String {
        hex(&self.tree.0)
    }

    /// How far each part is.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// The parts are this far, with what was appended.
    pub fn move_to(&mut self, positions: Positions) {
        self.positions = positions;
    }

    /// Adds leaves, and signs the head of what comes of it. It is on disk when this returns.
    ///
    /// # Errors
    /// [`RollError`]: the tree is what it was.
    pub fn append(
        &mut self,
        key: &AuthorityKey,
        batch: &Batch,
        at_ms: i64,
    ) -> Result<(), RollError> {
        let mut frontier = self.frontier.clone();
        batch.leaves.iter().for_each(|leaf| frontier.push(*leaf));
        let head = Head {
            tree: self.tree,
            size: frontier.size(),
            root: frontier.root(),
            at_ms,
        };
        let record = Record {
            signed: Signed {
                head,
                key: key.public_key().bytes(),
                signature: key.sign_bytes(&head.signed_bytes()),
            },
            spans: batch.spans.clone(),
            leaves: batch.leaves.clone(),
        };
        let bytes = record.encode();
        if let Err(error) = self.file.write_all_at(&bytes, self.end) {
            // Else it is written over the next time.
            let _ = self.file.set_len(self.end);
            return Err(RollError::File(error));
        }
        self.file.sync_data().map_err(RollError::Sync)?;
        self.frontier = frontier;
        self.end += bytes.len() as u64;
        Ok(())
    }
}
