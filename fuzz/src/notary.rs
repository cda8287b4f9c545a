//! A tree of three entries, and all that was ever signed of it.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use srpd::ledger::frame::{self, Kind};
use srpd::ledger::merkle::{Frontier, Hash, Roots, consistency, inclusion};
use srpd::ledger::tree::{Head, Record, Signed, Span, TreeId, header, hex};
use srpd::ledger::{Attempt, Call, Header, Leaf, RunId, entry};
use srpd::policy::accreditation::AuthorityKey;
use srpd::telemetry::{AttemptResult, Outcome};

/// The sample key of RFC 8410 section 10.3.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";

const RUN: RunId = RunId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);

const TREE: TreeId = TreeId([7; 16]);

/// The file, and the papers.
pub struct Notary {
    /// Who signs.
    pub key: AuthorityKey,
    /// `audit.tree`, with two records.
    pub file: Vec<u8>,
    /// The heads of both.
    pub heads: [Value; 2],
    /// Proofs, one of each call.
    pub proofs: Vec<Value>,
    /// The second head continues the first.
    pub consistency: Value,
}

/// The only one.
pub fn notary() -> &'static Notary {
    static NOTARY: OnceLock<Notary> = OnceLock::new();
    NOTARY.get_or_init(make)
}

fn payload(number: u64) -> Vec<u8> {
    let call = Call {
        number,
        began_us: 1_790_000_000_000_000,
        total_us: 812_000,
        ttft_us: Some(230_000),
        bytes_in: 1024,
        bytes_out: 1500,
        tokens: Some((180, 150)),
        price: Some(2_400_000),
        firm: false,
        stream: false,
        served: true,
        jurisdiction: Some(*b"au"),
        status: 200,
        outcome: Outcome::Completed,
        code: "",
        request_id: "req-1",
        residency: "au-only",
        key: "acme",
        capability: "smart",
    };
    let attempt = Attempt {
        result: Some(AttemptResult::Succeeded),
        status: 200,
        after_us: 35,
        took_us: 811_000,
        provider: "aloomu",
        endpoint: "127.0.0.1:9101",
        jurisdiction: Some(*b"au"),
    };
    let mut place = vec![0; 1024];
    let written = frame::write(&mut place, number, |pen| {
        entry::encode(pen, Kind::Entry, &call, [attempt].into_iter())
    });
    let length = written.expect("room").length as usize;
    place[frame::HEAD_BYTES..frame::HEAD_BYTES + length].to_vec()
}

/// The roots of ranges of these leaves.
fn roots(ranges: Vec<std::ops::Range<u64>>, leaves: &[Hash]) -> Vec<String> {
    let mut roots = Roots::new(ranges);
    for (index, leaf) in (0..).zip(leaves) {
        roots.see(index, *leaf);
    }
    let found = roots.finish().expect("all leaves were seen");
    found.iter().map(|hash| hex(hash)).collect()
}

fn paper(key: &AuthorityKey, signed: &Signed) -> Value {
    json!({
        "srp": "1",
        "tree": hex(&signed.head.tree.0),
        "size": signed.head.size,
        "root": hex(&signed.head.root),
        "time": format!("2026-11-22T00:00:0{}.000Z", signed.head.size),
        "key": key.public_key().encode().expect("a key"),
        "signature": STANDARD.encode(signed.signature),
    })
}

fn make() -> Notary {
    let key = AuthorityKey::from_pem(KEY).expect("a key");
    let segment = Header {
        run: RUN,
        core: 0,
        number: 0,
        made_us: 0,
        jurisdiction: *b"au",
        currency: *b"AUD",
    };
    let payloads: Vec<Vec<u8>> = (0..3).map(payload).collect();
    let leaves: Vec<Leaf<'_>> = (0..)
        .zip(&payloads)
        .map(|(serial, payload)| Leaf::new(&segment, serial, payload))
        .collect();
    let hashes: Vec<Hash> = leaves.iter().map(Leaf::hash).collect();
    let (mut frontier, mut file, mut heads) = (Frontier::default(), header(TREE).to_vec(), vec![]);
    for part in [0..2, 2..3] {
        hashes[part.clone()]
            .iter()
            .for_each(|it| frontier.push(*it));
        let size = frontier.size();
        let second = jiff::Timestamp::constant(1_795_305_600, 0).as_millisecond();
        let head = Head {
            tree: TREE,
            size,
            root: frontier.root(),
            at_ms: second + 1000 * size as i64,
        };
        let signed = Signed {
            head,
            key: key.public_key().bytes(),
            signature: key.sign_bytes(&head.signed_bytes()),
        };
        let record = Record {
            signed,
            spans: vec![Span {
                run: RUN,
                core: 0,
                segment: 0,
                count: part.len() as u32,
                first: part.start as u64,
                end: 64 + 256 * size,
            }],
            leaves: hashes[part].to_vec(),
        };
        file.extend(record.encode());
        heads.push(paper(&key, &signed));
    }
    let proofs = (0..).zip(&leaves).map(|(index, leaf)| {
        json!({
            "id": format!("{RUN}-0-{index}"),
            "leaves": [{
                "index": index,
                "bytes": STANDARD.encode(leaf.bytes()),
                "path": roots(inclusion(index, 3), &hashes),
            }],
            "head": heads[1],
        })
    });
    Notary {
        proofs: proofs.collect(),
        consistency: json!({
            "since": heads[0],
            "head": heads[1],
            "consistency": roots(consistency(2, 3), &hashes),
        }),
        heads: heads.try_into().expect("two heads"),
        key,
        file,
    }
}
