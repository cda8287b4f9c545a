//! The tree's file: the hashes of all leaves in their order, where each comes from, and the heads that
//! were signed. docs/AUDIT.md has the format byte by byte.

use super::RunId;
use super::bytes::Eye;
use super::merkle::Hash;

/// How the file is called, in the ledger's directory.
pub const FILE: &str = "audit.tree";

/// Bytes before the first record.
pub const HEADER_BYTES: usize = 32;

/// Bytes of a record before its payload.
pub const RECORD_HEAD_BYTES: usize = 8;

/// Leaves in a record at most.
pub const LEAVES_MAX: usize = 16 * 1024;

/// No payload is longer: whatever says otherwise is no record.
pub const PAYLOAD_BYTES_MAX: usize = FIXED_BYTES + LEAVES_MAX * (SPAN_BYTES + 32);

/// Records begin at multiples of this.
pub const ALIGN: usize = 8;

/// The version that this program writes, and the only one that it reads.
pub const VERSION: u16 = 1;

const MAGIC: [u8; 8] = *b"SRPATREE";

const FIXED_BYTES: usize = 152;

const SPAN_BYTES: usize = 40;

/// One tree, chosen by chance when it is begun: heads of two trees are never taken for one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TreeId(pub [u8; 16]);

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a file of this tree begins with.
pub fn header(tree: TreeId) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..28].copy_from_slice(&tree.0);
    let checksum = crc32c::crc32c(&bytes[..28]);
    bytes[28..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Whose file it is. None: not a tree's, or of another version.
pub fn read_header(bytes: &[u8; HEADER_BYTES]) -> Option<TreeId> {
    let mut eye = Eye(bytes);
    let (magic, version) = (*eye.array()?, u16::from_le_bytes(*eye.array()?));
    eye.array::<2>()?;
    let tree = TreeId(*eye.array()?);
    let is_ours = magic == MAGIC && version == VERSION && header(tree) == *bytes;
    is_ours.then_some(tree)
}

/// What a tree looks like from above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which tree.
    pub tree: TreeId,
    /// Leaves.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// What was in the ledger at this time is in the tree: milliseconds since 1970.
    pub at_ms: i64,
}

impl Head {
    /// What is signed: the line `srp-tree-head\n`, then as netstrings the SRP version, the tree (in
    /// hexadecimal), the size, the root (in hexadecimal) and the time, numbers in decimal.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = b"srp-tree-head\n".to_vec();
        let fields = [
            "1".to_owned(),
            hex(&self.tree.0),
            self.size.to_string(),
            hex(&self.root),
            self.at_ms.to_string(),
        ];
        for field in fields {
            bytes.extend_from_slice(format!("{}:{field},", field.len()).as_bytes());
        }
        bytes
    }
}

/// A head and who signed it: nothing is verified yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What is signed.
    pub head: Head,
    /// The Ed25519 key that it is said to be signed with.
    pub key: [u8; 32],
    /// Ed25519, over [`Head::signed_bytes`].
    pub signature: [u8; 64],
}

/// Leaves that follow each other in the tree, and in one segment of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The process.
    pub run: RunId,
    /// Its core.
    pub core: u16,
    /// The segment's number.
    pub segment: u32,
    /// How many leaves.
    pub count: u32,
    /// The first one's serial number; the others' follow it.
    pub first: u64,
    /// Where the last one's frame ends in the segment.
    pub end: u64,
}

impl Span {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.run.0);
        out.extend_from_slice(&self.core.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.segment.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.end.to_le_bytes());
    }

    fn decode(eye: &mut Eye<'_>) -> Option<Span> {
        let (run, core) = (RunId(*eye.array()?), u16::from_le_bytes(*eye.array()?));
        let [0, 0] = *eye.array()? else {
            return None;
        };
        Some(Span {
            run,
            core,
            segment: u32::from_le_bytes(*eye.array()?),
            count: u32::from_le_bytes(*eye.array()?),
            first: u64::from_le_bytes(*eye.array()?),
            end: u64::from_le_bytes(*eye.array()?),
        })
    }
}

/// What was added to the tree at a time, and the head of what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The head behind the last of the leaves.
    pub signed: Signed,
    /// Where the leaves come from, in their order.
    pub spans: Vec<Span>,
    /// The leaves.
    pub leaves: Vec<Hash>,
}

/// How far into a record the hash of its first leaf is.
pub const fn leaves_at(spans: usize) -> usize {
    RECORD_HEAD_BYTES + FIXED_BYTES + spans * SPAN_BYTES
}

fn checksum(length: u32, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length.to_le_bytes()), payload)
}

impl Record {
    /// As it lies in the file.
    pub fn encode(&self) -> Vec<u8> {
        let Signed {
            head,
            key,
            signature,
        } = &self.signed;
        let mut out = vec![0; RECORD_HEAD_BYTES];
        out.extend_from_slice(&head.size.to_le_bytes());
        out.extend_from_slice(&head.at_ms.to_le_bytes());
        out.extend_from_slice(&head.root);
        out.extend_from_slice(key);
        out.extend_from_slice(signature);
        out.extend_from_slice(&(self.spans.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.leaves.len() as u32).to_le_bytes());
        self.spans.iter().for_each(|span| span.encode(&mut out));
        out.extend(self.leaves.iter().flatten());
        let length = (out.len() - RECORD_HEAD_BYTES) as u32;
        let checksum = checksum(length, &out[RECORD_HEAD_BYTES..]);
        out[..4].copy_from_slice(&length.to_le_bytes());
        out[4..8].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Bytes that it takes in the file.
    pub fn encoded_bytes(&self) -> usize {
        leaves_at(self.spans.len()) + self.leaves.len() * 32
    }

    /// Reads a payload, whose checksum is right. None if it isn't one: its numbers don't agree.
    pub fn decode(tree: TreeId, payload: &[u8]) -> Option<Record> {
        let mut eye = Eye(payload);
        let size = u64::from_le_bytes(*eye.array()?);
        let at_ms = i64::from_le_bytes(*eye.array()?);
        let (root, key, signature) = (*eye.array()?, *eye.array()?, *eye.array()?);
        let spans = u32::from_le_bytes(*eye.array()?) as usize;
        let leaves = u32::from_le_bytes(*eye.array()?) as usize;
        if spans > leaves || eye.0.len() != spans * SPAN_BYTES + leaves * 32 {
            return None;
        }
        let spans: Vec<Span> = (0..spans)
            .map(|_| Span::decode(&mut eye))
            .collect::<Option<_>>()?;
        let counted: u64 = spans.iter().map(|span| u64::from(span.count)).sum();
        let leaves: Vec<Hash> = eye.0.as_chunks().0.to_vec();
        let head = Head {
            tree,
            size,
            root,
            at_ms,
        };
        (counted == leaves.len() as u64 && counted > 0 && counted <= size).then_some(Record {
            signed: Signed {
                head,
                key,
                signature,
            },
            spans,
            leaves,
        })
    }
}

/// How long the payload is that a record's first bytes announce. None: they announce nothing.
pub fn announced(head: &[u8; RECORD_HEAD_BYTES]) -> Option<usize> {
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let fits = (FIXED_BYTES..=PAYLOAD_BYTES_MAX).contains(&length);
    (fits && length.is_multiple_of(ALIGN)).then_some(length)
}

/// Whether this payload is the one that was announced.
pub fn is_whole(head: &[u8; RECORD_HEAD_BYTES], payload: &[u8]) -> bool {
    let expected = [head[4], head[5], head[6], head[7]];
    checksum(payload.len() as u32, payload).to_le_bytes() == expected
}

/// Whether a whole record begins somewhere in there, at a multiple of [`ALIGN`]: then what stands
/// before it is damaged, and not what a writer that died has left of its last record.
pub fn has_record(bytes: &[u8]) -> bool {
    let starts = (0..bytes.len()).step_by(ALIGN);
    starts
        .filter_map(|at| {
            let (head, rest) = bytes[at..].split_first_chunk::<RECORD_HEAD_BYTES>()?;
            Some((head, rest.get(..announced(head)?)?))
        })
        .any(|(head, payload)| is_whole(head, payload))
}
