//! What a segment begins with, and what its file is called.

use super::bytes::Eye;
use super::id::RunId;

/// Bytes before the first frame.
pub const HEADER_BYTES: usize = 64;

const MAGIC: [u8; 8] = *b"SRPLEDGR";

/// The version that this program writes, and the only one that it reads.
pub const VERSION: u16 = 1;

/// How a segment is called that is being written, or whose writer died.
pub const LIVE: &str = "live";

/// How a segment is called that nobody writes any more.
pub const SEALED: &str = "ledger";

/// Whose segment it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The process.
    pub run: RunId,
    /// Its core.
    pub core: u16,
    /// Counted from 0, for each core.
    pub number: u32,
    /// When it was made ready, in microseconds since 1970.
    pub made_us: i64,
    /// Where the instance stands: ISO 3166-1 alpha-2, lower case.
    pub jurisdiction: [u8; 2],
    /// What prices are in: an ISO 4217 code, or zeros.
    pub currency: [u8; 3],
}

/// A file that doesn't begin as a segment does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotASegment {
    /// Something else, or its beginning is damaged.
    #[error("not a segment of a ledger")]
    Foreign,
    /// Of a version that this program can't read.
    #[error("a segment of version {0}: expected version {VERSION}")]
    Version(u16),
}

impl Header {
    /// As it lies in the file.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.core.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..28].copy_from_slice(&self.run.0);
        bytes[28..30].copy_from_slice(&self.jurisdiction);
        bytes[30..33].copy_from_slice(&self.currency);
        bytes[40..48].copy_from_slice(&self.made_us.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the beginning of a file.
    ///
    /// # Errors
    /// [`NotASegment`]
    pub fn decode(file: &[u8]) -> Result<Header, NotASegment> {
        let bytes: &[u8; HEADER_BYTES] = file.first_chunk().ok_or(NotASegment::Foreign)?;
        let (covered, checksum) = bytes.split_at(60);
        if !bytes.starts_with(&MAGIC) || crc32c::crc32c(covered).to_le_bytes() != checksum {
            return Err(NotASegment::Foreign);
        }
        Header::fields(Eye(&bytes[8..])).ok_or(NotASegment::Foreign)?
    }

    fn fields(mut eye: Eye<'_>) -> Option<Result<Header, NotASegment>> {
        let version = u16::from_le_bytes(*eye.array()?);
        if version != VERSION {
            return Some(Err(NotASegment::Version(version)));
        }
        let (core, number) = (*eye.array()?, *eye.array()?);
        let (run, jurisdiction, currency) = (*eye.array()?, *eye.array()?, *eye.array()?);
        eye.array::<7>()?;
        Some(Ok(Header {
            run: RunId(run),
            core: u16::from_le_bytes(core),
            number: u32::from_le_bytes(number),
            made_us: i64::from_le_bytes(*eye.array()?),
            jurisdiction,
            currency,
        }))
    }

    /// The name of its file without the ending: sorts by run, core and number.
    pub fn stem(&self) -> String {
        format!("{}-{:03}-{:08}", self.run, self.core, self.number)
    }
}

/// The stem and the ending of a segment's file name; None if it is none.
pub fn parts(name: &str) -> Option<(&str, &str)> {
    let (stem, ending) = name.rsplit_once('.')?;
    let mut parts = stem.split('-');
    let run: RunId = parts.next()?.parse().ok()?;
    let core: u16 = parts.next()?.parse().ok()?;
    let number: u32 = parts.next()?.parse().ok()?;
    let canonical = format!("{run}-{core:03}-{number:08}");
    (canonical == stem && (ending == LIVE || ending == SEALED)).then_some((stem, ending))
}
