//! What is given to others: signed heads, and proofs, as JSON. docs/AUDIT.md says what each member
//! is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ledger::merkle::Hash;
use crate::ledger::tree::{Head, Signed, TreeId, hex};
use crate::policy::accreditation::PublicKey;

/// The protocol version of these papers.
const SRP: &str = "1";

/// Why a paper isn't one.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAPaper {
    /// Not the JSON that is expected.
    #[error(
        "expected a head, a proof of a call or a proof of consistency, as srpd audit writes them: \
         line {}, column {}",
        .0.line(), .0.column()
    )]
    Json(#[from] serde_json::Error),
    /// A member.
    #[error("expected {1} in `{0}`")]
    Member(&'static str, &'static str),
}

/// A signed head.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeadPaper {
    pub(super) srp: String,
    pub(super) tree: String,
    pub(super) size: u64,
    pub(super) root: String,
    pub(super) time: String,
    pub(super) key: String,
    pub(super) signature: String,
}

/// A leaf, and the way from it to the root.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeafPaper {
    pub(super) index: u64,
    pub(super) bytes: String,
    pub(super) path: Vec<String>,
}

/// A call is in the tree.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofPaper {
    pub(super) id: String,
    pub(super) leaves: Vec<LeafPaper>,
    pub(super) head: HeadPaper,
}

/// A tree begins with all leaves of an older one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsistencyPaper {
    pub(super) since: HeadPaper,
    pub(super) head: HeadPaper,
    pub(super) consistency: Vec<String>,
}

/// Any of them.
#[derive(Debug)]
pub(super) enum Paper {
    Head(HeadPaper),
    Proof(ProofPaper),
    Consistency(ConsistencyPaper),
}

impl Paper {
    pub(super) fn parse(text: &str) -> Result<Paper, NotAPaper> {
        let value: serde_json::Value = serde_json::from_str(text)?;
        if value.get("leaves").is_some() {
            Ok(Paper::Proof(serde_json::from_str(text)?))
        } else if value.get("consistency").is_some() {
            Ok(Paper::Consistency(serde_json::from_str(text)?))
        } else {
            Ok(Paper::Head(serde_json::from_str(text)?))
        }
    }
}

/// Bytes of hexadecimal digits.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// A list of hashes, read.
pub(super) fn hashes(list: &[String], member: &'static str) -> Result<Vec<Hash>, NotAPaper> {
    let hash = |text: &String| {
        unhex(text).ok_or(NotAPaper::Member(member, "hashes of 64 hexadecimal digits"))
    };
    list.iter().map(hash).collect()
}

/// A list of hashes, written.
pub(super) fn written(list: &[Hash]) -> Vec<String> {
    list.iter().map(|hash| hex(hash)).collect()
}

impl LeafPaper {
    pub(super) fn new(index: u64, bytes: &[u8], path: &[Hash]) -> LeafPaper {
        LeafPaper {
            index,
            bytes: STANDARD.encode(bytes),
            path: written(path),
        }
    }

    pub(super) fn decoded(&self) -> Result<Vec<u8>, NotAPaper> {
        let bytes = STANDARD.decode(&self.bytes);
        bytes.map_err(|_| NotAPaper::Member("leaves.bytes", "base64"))
    }
}

impl HeadPaper {
    pub(super) fn new(signed: &Signed) -> HeadPaper {
        let head = &signed.head;
        let key = PublicKey::from_bytes(&signed.key).ok();
        HeadPaper {
            srp: SRP.to_owned(),
            tree: hex(&head.tree.0),
            size: head.size,
            root: hex(&head.root),
            time: shown(head.at_ms),
            key: key.and_then(|key| key.encode().ok()).unwrap_or_default(),
            signature: STANDARD.encode(signed.signature),
        }
    }

    /// Nothing of it is verified.
    pub(super) fn signed(&self) -> Result<Signed, NotAPaper> {
        let wrong = NotAPaper::Member;
        if self.srp != SRP {
            return Err(wrong("srp", "\"1\""));
        }
        let time: Timestamp = self
            .time
            .parse()
            .map_err(|_| wrong("time", "an RFC 3339 instant"))?;
        let at_ms = time.as_millisecond();
        if shown(at_ms) != self.time {
            return Err(wrong("time", "an RFC 3339 instant, as srpd writes it"));
        }
        let signature = STANDARD.decode(&self.signature).ok();
        let signature = signature.and_then(|bytes| bytes.try_into().ok());
        let key = PublicKey::parse(&self.key).map_err(|_| wrong("key", "an Ed25519 public key"))?;
        Ok(Signed {
            head: Head {
                tree: unhex(&self.tree)
                    .map(TreeId)
                    .ok_or(wrong("tree", "32 hexadecimal digits"))?,
                size: self.size,
                root: unhex(&self.root).ok_or(wrong("root", "64 hexadecimal digits"))?,
                at_ms,
            },
            key: key.bytes(),
            signature: signature.ok_or(wrong("signature", "64 bytes in base64"))?,
        })
    }
}

/// A time, for people and back.
pub(super) fn shown(at_ms: i64) -> String {
    let time = Timestamp::from_millisecond(at_ms);
    time.map_or_else(|_| at_ms.to_string(), |time| format!("{time:.3}"))
}

/// Whether one of these keys has signed a head; which one.
pub(super) fn signer<'k>(signed: &Signed, keys: &'k [PublicKey]) -> Option<&'k PublicKey> {
    let bytes = signed.head.signed_bytes();
    keys.iter()
        .find(|key| key.has_signed(&bytes, &signed.signature))
}
