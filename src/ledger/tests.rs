//! What is written is read, and what is damaged costs no more than itself.

use proptest::prelude::*;

use super::entry::{self, Attempt, Call, Entry};
use super::frame::{self, Kind, Read};
use super::merge::Amendments;
use super::segment::{HEADER_BYTES, parts};
use super::*;
use crate::telemetry::{AttemptResult, Outcome};

const CALL: Call<&'static str> = Call {
    number: 7,
    began_us: 1_790_000_000_000_000,
    total_us: 812_000,
    ttft_us: Some(230_000),
    bytes_in: 1024,
    bytes_out: 2048,
    tokens: Some((12, 34)),
    price: Some(2_400_000),
    firm: true,
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

const ATTEMPTS: [Attempt<&'static str>; 2] = [
    Attempt {
        result: Some(AttemptResult::ServerError),
        status: 503,
        after_us: 40,
        took_us: 900,
        provider: "vendor-us",
        endpoint: "vendor.example:443",
        jurisdiction: Some(*b"us"),
    },
    Attempt {
        result: None,
        status: 0,
        after_us: 1000,
        took_us: 5,
        provider: "aloomu",
        endpoint: "127.0.0.1:9101",
        jurisdiction: None,
    },
];

const HEADER: Header = Header {
    run: RunId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
    core: 3,
    number: 9,
    made_us: -5,
    jurisdiction: *b"au",
    currency: *b"AUD",
};

/// A segment with these calls in it, of so many bytes.
fn segment(calls: &[(Kind, Call<&str>)], bytes: usize) -> Vec<u8> {
    let mut segment = vec![0; bytes];
    let mut at = HEADER_BYTES;
    segment[..at].copy_from_slice(&HEADER.encode());
    for (serial, (kind, call)) in calls.iter().enumerate() {
        let written = frame::write(&mut segment[at..], serial as u64, |pen| {
            entry::encode(pen, *kind, call, ATTEMPTS.into_iter())
        });
        let written = written.expect("room");
        segment[at..at + 4].copy_from_slice(&written.length.to_le_bytes());
        at += written.size;
    }
    segment
}

fn numbered(numbers: std::ops::Range<u64>) -> Vec<(Kind, Call<&'static str>)> {
    let call = |number| (Kind::Entry, Call { number, ..CALL });
    numbers.map(call).collect()
}

/// The numbers of the calls that are found, and the bytes of damage between them.
fn found(segment: &[u8]) -> (Vec<u64>, usize) {
    let (mut calls, mut damage) = (Vec::new(), 0);
    for found in Scan::new(segment, HEADER_BYTES) {
        match found {
            Found::Frame(_, frame) => {
                calls.push(Entry::decode(frame.payload).expect("an entry").call.number);
            }
            Found::Damage(bytes) => damage += bytes,
        }
    }
    (calls, damage)
}

#[test]
fn a_copy_that_was_made_while_frames_were_stored_is_completed() {
    let mut stored = segment(&numbered(0..6), 16 * 1024);
    let frame = (frame_end(&stored, 0) - HEADER_BYTES, HEADER_BYTES);
    let place = |number: usize| frame.1 + number * frame.0;
    // The copy has the fifth without what was stored before it; the second is damaged for good.
    stored[place(1) + 20] ^= 1;
    let mut copy = stored.clone();
    copy[place(2)..place(4)].fill(0);
    assert_eq!(found(&copy), (vec![0, 4, 5], 3 * frame.0));
    let mut times = 0;
    let again = |bytes: &mut [u8], at: usize| -> Result<(), std::convert::Infallible> {
        times += 1;
        bytes.copy_from_slice(&stored[at..at + bytes.len()]);
        Ok(())
    };
    scan::settle(&mut copy, HEADER_BYTES, again).expect("it can't fail");
    assert_eq!(found(&copy), (vec![0, 2, 3, 4, 5], frame.0));
    assert_eq!(times, 1);
}

/// Where the frame of this number ends.
fn frame_end(segment: &[u8], number: usize) -> usize {
    let mut scan = Scan::new(segment, HEADER_BYTES);
    scan.nth(number).expect("a frame");
    scan.end()
}

#[test]
fn an_entry_is_read_as_it_was_written() {
    let segment = segment(&[(Kind::Amendment, CALL)], 4096);
    let Some(Found::Frame(at, frame)) = Scan::new(&segment, HEADER_BYTES).next() else {
        panic!("no frame");
    };
    assert_eq!((at, frame.serial), (HEADER_BYTES, 0));
    let entry = Entry::decode(frame.payload).expect("an entry");
    assert!(entry.amends);
    assert_eq!(entry.call, CALL);
    assert_eq!(entry.attempts().collect::<Vec<_>>(), ATTEMPTS);
    assert_eq!(entry.provider(), Some("aloomu"));
    assert_eq!(entry.cost(), Some(46 * 2_400_000));
}

/// Whoever changes a byte of this has made another version.
#[test]
fn the_bytes_of_version_1_stay_what_they_are() {
    let call = Call {
        code: "x",
        number: 0x0102,
        ..CALL
    };
    let mut place = [0; 512];
    let written = frame::write(&mut place, 5, |pen| {
        entry::encode(pen, Kind::Entry, &call, ATTEMPTS[..1].iter().copied())
    });
    let written = written.expect("room");
    let payload = &place[16..16 + written.length as usize];
    let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = concat!(
        "01012f01c8006175",
        "0105070405010000",
        "0201000000000000",
        "00e025dafe5b0600",
        "e0630c0000000000",
        "7082030000000000",
        "0004000000000000",
        "0008000000000000",
        "0c00000000000000",
        "2200000000000000",
        "009f240000000000",
        "78",
        "7265712d31",
        "61752d6f6e6c79",
        "61636d65",
        "736d617274",
        "06091200f7017573",
        "2800000000000000",
        "8403000000000000",
        "76656e646f722d7573",
        "76656e646f722e6578616d706c653a343433",
    );
    assert_eq!(hex, expected);
    assert_eq!(place[8..16], [5, 0, 0, 0, 0, 0, 0, 0]);
    let header: String = HEADER.encode()[..60]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        header,
        concat!(
            "5352504c45444752",
            "01000300",
            "09000000",
            "0102030405060708090a0b0c",
            "6175",
            "415544",
            "00000000000000",
            "fbffffffffffffff",
            "000000000000000000000000",
        )
    );
}

#[test]
fn every_result_and_outcome_has_a_number_of_its_own() {
    for result in AttemptResult::ALL {
        for outcome in Outcome::ALL {
            let attempt = Attempt {
                result: Some(result),
                ..ATTEMPTS[0]
            };
            let mut place = [0; 1024];
            let written = frame::write(&mut place, 0, |pen| {
                let call = Call { outcome, ..CALL };
                entry::encode(pen, Kind::Entry, &call, [attempt].into_iter())
            });
            let length = written.expect("room").length as usize;
            let entry = Entry::decode(&place[16..16 + length]).expect("an entry");
            assert_eq!(entry.call.outcome, outcome);
            assert_eq!(entry.attempts().last(), Some(attempt));
        }
    }
}

#[test]
fn a_tail_cut_at_any_byte_loses_no_entry_before_it_and_gives_none_twice() {
    let whole = segment(&numbered(0..20), 16 * 1024);
    let ends: Vec<usize> = Scan::new(&whole, HEADER_BYTES)
        .map(|found| match found {
            Found::Frame(at, frame) => at + frame.size,
            Found::Damage(_) => panic!("damage"),
        })
        .collect();
    for cut in HEADER_BYTES..whole.len() {
        let complete = ends.iter().filter(|end| **end <= cut).count() as u64;
        let expected: Vec<u64> = (0..complete).collect();
        // A file that ends there, and one that has kept its size.
        assert_eq!(found(&whole[..cut]), (expected.clone(), 0), "at {cut}");
        let mut blank = whole.clone();
        blank[cut..].fill(0);
        let (calls, damage) = found(&blank);
        // The last frame's padding, and an end that is zeros anyway, may be missing.
        assert!(
            calls == expected || calls.len() as u64 == complete + 1,
            "at {cut}"
        );
        assert_eq!(damage, 0, "at {cut}");
        let mut scan = Scan::new(&blank, HEADER_BYTES);
        scan.by_ref().for_each(drop);
        assert!(scan.end() <= cut.next_multiple_of(frame::ALIGN));
        assert!(scan.torn() <= cut - scan.end().min(cut), "at {cut}");
    }
}

#[test]
fn a_flipped_bit_costs_the_frame_that_it_is_in_and_no_other() {
    let whole = segment(&numbered(0..6), 4096);
    let used = {
        let mut scan = Scan::new(&whole, HEADER_BYTES);
        scan.by_ref().for_each(drop);
        assert_eq!(scan.torn(), 0);
        scan.end()
    };
    for byte in HEADER_BYTES..used {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[byte] ^= 1 << bit;
            let (calls, _) = found(&flipped);
            assert!(calls.len() >= 5, "{byte}.{bit}: {calls:?}");
            assert!(calls.is_sorted_by(|a, b| a < b), "{byte}.{bit}: {calls:?}");
        }
    }
}

#[test]
fn a_page_that_never_reached_the_disk_is_damage_and_not_the_end() {
    let mut segment = segment(&numbered(0..40), 16 * 1024);
    segment[4096..8192].fill(0);
    let (calls, damage) = found(&segment);
    assert!(damage >= 4096);
    assert!(calls.contains(&0) && calls.contains(&39), "{calls:?}");
}

#[test]
fn what_amends_an_entry_is_in_its_place() {
    let gone = Call {
        outcome: Outcome::ClientGone,
        number: 1,
        ..CALL
    };
    let mut calls = numbered(0..3);
    calls.push((Kind::Amendment, gone));
    calls.push((Kind::Amendment, Call { number: 9, ..gone }));
    let segment = segment(&calls, 4096);
    let mut amendments = Amendments::default();
    amendments.collect(Scan::new(&segment, HEADER_BYTES));
    assert!(amendments.take(0).is_none());
    let payload = amendments.take(1).expect("an amendment");
    let entry = Entry::decode(&payload).expect("an entry");
    assert_eq!(entry.call.outcome, Outcome::ClientGone);
    let rest: Vec<_> = amendments.rest().collect();
    assert_eq!(rest.len(), 1);
}

#[test]
fn a_frame_without_room_leaves_no_trace() {
    for room in 0..400 {
        let mut place = vec![0; room];
        let written = frame::write(&mut place, 1, |pen| {
            entry::encode(pen, Kind::Entry, &CALL, ATTEMPTS.into_iter())
        });
        if written.is_none() {
            assert_eq!(place, vec![0; room]);
        }
    }
}

#[test]
fn headers_names_and_ids_are_read_as_they_were_written() {
    assert_eq!(Header::decode(&HEADER.encode()), Ok(HEADER));
    let stem = HEADER.stem();
    assert_eq!(stem, "0102030405060708090a0b0c-003-00000009");
    let live = format!("{stem}.live");
    assert_eq!(parts(&live), Some((stem.as_str(), "live")));
    for other in [
        "x.live",
        "0102030405060708090a0b0c-3-9.live",
        "a-b-c.ledger",
    ] {
        assert_eq!(parts(other), None, "{other}");
    }
    assert_eq!(parts(&format!("{stem}.old")), None);
    let id = EntryId {
        run: HEADER.run,
        core: 3,
        call: 77,
    };
    assert_eq!(id.to_string(), "0102030405060708090a0b0c-3-77");
    assert_eq!("0102030405060708090a0b0c-3-77".parse(), Ok(id));
    for other in [
        "",
        "7",
        "0102030405060708090a0b0c-03-77",
        "0102030405060708090a0b0c-3-77-1",
    ] {
        assert_eq!(other.parse::<EntryId>(), Err(id::NotAnId), "{other}");
    }
    let early = RunId::new(1_790_000_000_000, 5);
    assert!(early < RunId::new(1_790_000_000_001, 4));
    let mut other = HEADER.encode();
    other[8] = 2;
    let checksum = crc32c::crc32c(&other[..60]).to_le_bytes();
    other[60..].copy_from_slice(&checksum);
    assert_eq!(
        Header::decode(&other),
        Err(segment::NotASegment::Version(2))
    );
}

#[test]
fn money_is_exact() {
    assert_eq!(Amount(0).to_string(), "0");
    assert_eq!(Amount(2_400_000 * 46).to_string(), "0.0001104");
    assert_eq!(Amount(1).to_string(), "0.000000000001");
    assert_eq!(Amount(3_000_000_000_000).to_string(), "3");
}

proptest! {
    #[test]
    fn any_entry_is_read_as_it_was_written(
        number: u64, began_us: i64, total_us: u64, ttft_us: Option<u64>, tokens: Option<(u64, u64)>,
        price: Option<u64>, flags: (bool, bool, bool), status: u16, request_id in "[ -~]{0,128}",
        key in "[a-z]{0,64}", outcome in 0..4usize, results in proptest::collection::vec(0..17usize, 0..64),
    ) {
        let call = Call {
            number, began_us, total_us, ttft_us, tokens, price, status,
            firm: flags.0, stream: flags.1, served: flags.2,
            outcome: Outcome::ALL[outcome], request_id: request_id.as_str(), key: key.as_str(), ..CALL
        };
        let attempts: Vec<Attempt<&str>> = results.iter()
            .map(|at| Attempt { result: Some(AttemptResult::ALL[*at]), ..ATTEMPTS[0] })
            .collect();
        let mut place = vec![0; frame::HEAD_BYTES + entry::payload_bytes_max(attempts.len()) + 8];
        let written = frame::write(&mut place, 3, |pen| {
            entry::encode(pen, Kind::Entry, &call, attempts.iter().copied())
        }).expect("room");
        place[..4].copy_from_slice(&written.length.to_le_bytes());
        let Read::Frame(frame) = frame::read(&place) else { panic!("no frame") };
        let entry = Entry::decode(frame.payload).expect("an entry");
        prop_assert_eq!(entry.call, call);
        prop_assert_eq!(entry.attempts().collect::<Vec<_>>(), attempts);
    }

    #[test]
    fn arbitrary_bytes_are_never_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..2048), whole: bool) {
        if whole && bytes.len() > 1024 {
            let good = segment(&numbered(0..2), 1024);
            bytes[..1024].copy_from_slice(&good);
        }
        let _ = Header::decode(&bytes);
        let _ = Entry::decode(&bytes);
        let mut scan = Scan::new(&bytes, HEADER_BYTES);
        let mut last = None;
        for found in scan.by_ref() {
            if let Found::Frame(_, frame) = found {
                prop_assert!(last < Some(frame.serial) || last.is_none());
                last = Some(frame.serial);
                let _ = Entry::decode(frame.payload);
            }
        }
        prop_assert!(scan.end() <= bytes.len() && scan.end() + scan.torn() <= bytes.len());
    }
}

#[test]
fn a_call_is_inside_if_everybody_who_was_tried_is_allowed() {
    let border = |residency: &str, served: Option<[u8; 2]>, tried: &[Option<[u8; 2]>]| {
        let call = Call {
            residency,
            served: served.is_some(),
            jurisdiction: served,
            ..CALL
        };
        let attempts = tried.iter().map(|place| Attempt {
            jurisdiction: *place,
            ..ATTEMPTS[0]
        });
        let mut place = vec![0; 64 * 1024];
        let written = frame::write(&mut place, 0, |pen| {
            entry::encode(pen, Kind::Entry, &call, attempts)
        });
        let length = written.expect("room").length as usize;
        let entry = Entry::decode(&place[16..16 + length]).expect("an entry");
        entry.border()
    };
    let [au, nz, us] = [*b"au", *b"nz", *b"us"].map(Some);
    let both = "au-only,nz-only";
    assert_eq!(border(both, nz, &[au, nz]), Border::Inside);
    assert_eq!(border("any", us, &[us, None]), Border::Inside);
    assert_eq!(border("", None, &[]), Border::Inside);
    assert_eq!(border(both, us, &[us]), Border::Outside(*b"us"));
    // It was served at home, after somebody abroad had had it.
    assert_eq!(border("au-only", au, &[us, au]), Border::Outside(*b"us"));
    assert_eq!(border("au-only", None, &[us]), Border::Outside(*b"us"));
    assert_eq!(border("au-only", au, &[None, au]), Border::Unknown);
    assert_eq!(border("", None, &[au]), Border::Unknown);
    assert_eq!(border("a-only", au, &[au]), Border::Outside(*b"au"));
    // Cut: what is left of it says who is allowed, and not who isn't.
    let long = "nz-only,".repeat(40);
    assert_eq!(border(&long, nz, &[nz]), Border::Inside);
    assert_eq!(border(&long, us, &[us]), Border::Unknown);
    let (whole, more) = ("nz-only,".repeat(31), "nz-only,".repeat(30));
    assert_eq!(
        border(whole.trim_end_matches(','), us, &[us]),
        Border::Outside(*b"us")
    );
    assert_eq!(
        border(&format!("{more}us-only,nz-"), us, &[us]),
        Border::Inside
    );
}

proptest! {
    #[test]
    fn records_of_a_tree_are_read_as_they_were_written_and_nothing_else_is(
        spans in prop::collection::vec(1..5_u32, 1..6), cut in any::<prop::sample::Index>(), bit in 0..8_u8,
    ) {
        use super::tree::{self, Head, Record, Signed, Span, TreeId};
        let leaves: u32 = spans.iter().sum();
        let tree = TreeId([3; 16]);
        let head = Head { tree, size: u64::from(leaves) + 7, root: [4; 32], at_ms: -1 };
        let span = |count: &u32| Span { run: HEADER.run, core: 2, segment: 1, count: *count, first: 9, end: 640 };
        let record = Record {
            signed: Signed { head, key: [5; 32], signature: [6; 64] },
            spans: spans.iter().map(span).collect(),
            leaves: (0..leaves).map(|it| [it as u8; 32]).collect(),
        };
        let bytes = record.encode();
        prop_assert_eq!(bytes.len(), record.encoded_bytes());
        let (start, payload) = bytes.split_first_chunk::<8>().expect("a head");
        prop_assert_eq!(tree::announced(start), Some(payload.len()));
        prop_assert!(tree::is_whole(start, payload));
        prop_assert_eq!(Record::decode(tree, payload), Some(record));
        prop_assert!(tree::has_record(&[&[0; 24][..], &bytes].concat()));
        let mut changed = bytes.clone();
        let at = cut.index(bytes.len());
        changed[at] ^= 1 << bit;
        prop_assert!(!tree::has_record(&changed));
        prop_assert!(!tree::has_record(&bytes[..at]));
    }

    #[test]
    fn arbitrary_bytes_of_a_tree_are_never_a_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..600), spans in 0..4_u8, leaves in 0..4_u8,
    ) {
        use super::tree::{self, Record, TreeId};
        let _ = (tree::has_record(&bytes), Leaf::decode(&bytes));
        let _ = bytes.first_chunk().map(tree::read_header);
        // Counts that could be.
        if bytes.len() >= 152 {
            bytes[144..152].copy_from_slice(&[spans, 0, 0, 0, leaves, 0, 0, 0]);
        }
        let tree = TreeId([0; 16]);
        bytes.truncate(152 + 40 * usize::from(spans) + 32 * usize::from(leaves));
        if let Some(record) = Record::decode(tree, &bytes) {
            prop_assert_eq!(&record.encode()[8..], &bytes[..]);
        }
    }
}

#[test]
fn what_is_hashed_and_signed_stays_what_it_is() {
    use super::tree::{Head, TreeId};
    let leaf = Leaf::new(&HEADER, 0x0102, b"payload");
    let bytes = leaf.bytes();
    let origin = concat!(
        "0102030405060708090a0b0c",
        "0300",
        "6175",
        "415544",
        "00",
        "0201000000000000"
    );
    assert_eq!(super::tree::hex(&bytes[..28]), origin);
    assert_eq!(&bytes[28..], b"payload");
    assert_eq!(Leaf::decode(&bytes), Some(leaf));
    let head = Head {
        tree: TreeId([0xab; 16]),
        size: 12,
        root: [0xcd; 32],
        at_ms: 1_790_000_000_123,
    };
    let expected = format!(
        "srp-tree-head\n1:1,32:{},2:12,64:{},13:1790000000123,",
        "ab".repeat(16),
        "cd".repeat(32)
    );
    assert_eq!(head.signed_bytes(), expected.as_bytes());
}
