//! A segment of the ledger, whatever has become of it: frames lie behind one another, and an entry
//! says the same when it is written again.

use srpd::ledger::frame::{self, Kind, Read};
use srpd::ledger::segment::HEADER_BYTES;
use srpd::ledger::{Attempt, Entry, Found, Header, Scan, entry};

/// Reads the input as a whole segment, as frames without a header, and as one payload.
pub fn run(bytes: &[u8]) {
    let _ = Header::decode(bytes);
    for from in [0, HEADER_BYTES] {
        scan(bytes, from);
    }
    if let Some(entry) = Entry::decode(bytes) {
        assert_written_again(&entry);
    }
}

fn scan(bytes: &[u8], from: usize) {
    let mut scan = Scan::new(bytes, from);
    let mut at = from.min(bytes.len());
    for found in scan.by_ref() {
        match found {
            Found::Damage(bytes) => at += bytes,
            Found::Frame(begun, frame) => {
                assert_eq!(begun, at);
                at += frame.size;
                if let Some(entry) = Entry::decode(frame.payload) {
                    assert_written_again(&entry);
                }
            }
        }
        assert!(at <= bytes.len());
    }
    assert_eq!(scan.end(), at);
    assert!(at + scan.torn() <= bytes.len());
}

fn assert_written_again(entry: &Entry<'_>) {
    let attempts: Vec<Attempt<&str>> = entry.attempts().collect();
    let kind = match entry.amends {
        true => Kind::Amendment,
        false => Kind::Entry,
    };
    let mut place = vec![0; 2 * frame::PAYLOAD_BYTES_MAX];
    let written = frame::write(&mut place, 1, |pen| {
        entry::encode(pen, kind, &entry.call, attempts.iter().copied())
    });
    let Some(written) = written else { return };
    place[..4].copy_from_slice(&written.length.to_le_bytes());
    let Read::Frame(frame) = frame::read(&place) else {
        panic!("no frame of ours");
    };
    let again = Entry::decode(frame.payload).expect("an entry of ours");
    // Longer texts than we write are cut.
    let cut = |text: &str| text.len() > entry::TEXT_BYTES_MAX;
    let call = &entry.call;
    let texts = [
        call.code,
        call.request_id,
        call.residency,
        call.key,
        call.capability,
    ];
    let long = |attempt: &Attempt<&str>| cut(attempt.provider) || cut(attempt.endpoint);
    if texts.into_iter().any(cut) || attempts.iter().any(long) {
        return;
    }
    assert_eq!(again.call, entry.call);
    assert_eq!(again.attempts().collect::<Vec<_>>(), attempts);
}
