//! The tree against directories of segments: what is new is in it once, in order, whatever is done to
//! its file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::roll::{Batch, Position};
use super::*;
use crate::ledger::entry::{self, Call};
use crate::ledger::frame::{self, Kind};
use crate::ledger::merkle::{Frontier, Hash};
use crate::ledger::segment::{HEADER_BYTES, LIVE, SEALED};
use crate::ledger::testing::REFUSED;
use crate::ledger::tree::{FILE, Record};
use crate::ledger::{Header, Leaf, RunId};

fn key() -> AuthorityKey {
    AuthorityKey::from_seed(&Zeroizing::new([1; 32]))
}

fn header(run: u8, core: u16, number: u32) -> Header {
    Header {
        run: RunId([run; 12]),
        core,
        number,
        made_us: 0,
        jurisdiction: *b"au",
        currency: *b"AUD",
    }
}

/// Writes a segment with these serial numbers; the hashes of what is in it.
fn write(directory: &Path, header: Header, ending: &str, serials: &[u64]) -> Vec<Hash> {
    let mut bytes = vec![0; 64 * 1024];
    bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    let (mut at, mut hashes) = (HEADER_BYTES, Vec::new());
    for serial in serials {
        let number = *serial;
        let written = frame::write(&mut bytes[at..], number, |pen| {
            let call = Call { number, ..REFUSED };
            entry::encode(pen, Kind::Entry, &call, [].into_iter())
        });
        let written = written.unwrap();
        bytes[at..at + 4].copy_from_slice(&written.length.to_le_bytes());
        let payload = &bytes[at + 16..at + 16 + written.length as usize];
        hashes.push(Leaf::new(&header, *serial, payload).hash());
        at += written.size;
    }
    if ending == SEALED {
        bytes.truncate(at);
        let _ = fs::remove_file(path(directory, header, LIVE));
    }
    fs::write(path(directory, header, ending), bytes).unwrap();
    hashes
}

fn path(directory: &Path, header: Header, ending: &str) -> PathBuf {
    directory.join(header.stem()).with_extension(ending)
}

/// A round of a notary whose process has just begun, and has ended after it.
fn round(directory: &Path) -> Result<(), RollError> {
    let mut notary = Notary {
        directory: directory.to_owned(),
        key: key(),
        interval: Duration::from_secs(1),
        noted: Arc::default(),
        view: Arc::default(),
        roll: None,
        gave_up: false,
    };
    notary.round()
}

/// All records of a tree.
fn records(directory: &Path) -> Vec<Record> {
    let file = fs::File::open(directory.join(FILE)).unwrap();
    let mut records = Vec::new();
    let read = roll::read(&file, |record, _, _| {
        records.push(record);
        Ok::<(), RollError>(())
    });
    read.unwrap();
    records
}

fn leaves(directory: &Path) -> Vec<Hash> {
    let records = records(directory);
    records.into_iter().flat_map(|it| it.leaves).collect()
}

#[test]
fn entries_come_by_run_core_and_number_and_each_round_takes_what_is_new() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path();
    let late = write(directory, header(2, 0, 0), LIVE, &[0, 1]);
    let second = write(directory, header(1, 1, 0), SEALED, &[0, 1, 2]);
    let first = write(directory, header(1, 0, 0), SEALED, &[0, 1]);
    let next = write(directory, header(1, 0, 1), SEALED, &[2, 4]);
    round(directory).unwrap();
    let mut expected = [first, next, second, late].concat();
    assert_eq!(leaves(directory), expected);
    // Nothing is new: no head.
    round(directory).unwrap();
    assert_eq!(records(directory).len(), 1);
    let grown = write(directory, header(2, 0, 0), LIVE, &[0, 1, 2, 3]);
    round(directory).unwrap();
    expected.extend(&grown[2..]);
    assert_eq!(leaves(directory), expected);
    let spans: Vec<(u64, u32)> = records(directory)
        .iter()
        .flat_map(|record| record.spans.iter().map(|it| (it.first, it.count)))
        .collect();
    assert_eq!(spans, [(0, 2), (2, 1), (4, 1), (0, 3), (0, 2), (2, 2)]);
    for record in records(directory) {
        let signed = record.signed;
        let bytes = signed.head.signed_bytes();
        assert!(key().public_key().has_signed(&bytes, &signed.signature));
    }
    let mode = fs::metadata(directory.join(FILE)).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
}

#[test]
fn the_next_segment_is_begun_when_the_last_one_is_through() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path();
    let mut expected = write(directory, header(1, 0, 0), LIVE, &[0]);
    // Blank: the core may still write the first.
    write(directory, header(1, 0, 1), LIVE, &[]);
    round(directory).unwrap();
    expected = [
        &expected[..0],
        &write(directory, header(1, 0, 0), LIVE, &[0, 1]),
    ]
    .concat();
    round(directory).unwrap();
    assert_eq!(leaves(directory), expected);
    expected.extend(write(directory, header(1, 0, 1), LIVE, &[2]));
    round(directory).unwrap();
    write(directory, header(1, 0, 0), SEALED, &[0, 1]);
    expected.extend(&write(directory, header(1, 0, 1), SEALED, &[2, 3])[1..]);
    round(directory).unwrap();
    assert_eq!(leaves(directory), expected);
}

#[test]
fn what_is_damaged_before_it_was_signed_is_passed_over() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path();
    let whole = write(directory, header(1, 0, 0), SEALED, &[0, 1, 2, 3]);
    let file = path(directory, header(1, 0, 0), SEALED);
    let mut bytes = fs::read(&file).unwrap();
    let middle = HEADER_BYTES + (bytes.len() - HEADER_BYTES) / 4 + 30;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    round(directory).unwrap();
    assert_eq!(leaves(directory), [whole[0], whole[2], whole[3]]);
    let next = write(directory, header(1, 0, 1), LIVE, &[4]);
    round(directory).unwrap();
    assert_eq!(leaves(directory), [whole[0], whole[2], whole[3], next[0]]);
}

#[test]
fn a_copy_of_a_segment_is_not_signed_again() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path();
    let all = write(directory, header(1, 0, 0), SEALED, &[0, 1]);
    round(directory).unwrap();
    write(directory, header(1, 0, 1), SEALED, &[0, 1]);
    round(directory).unwrap();
    assert_eq!(leaves(directory), all);
}

#[test]
fn a_tree_that_was_torn_at_any_byte_goes_on_with_each_entry_once() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path();
    let mut all = write(directory, header(1, 0, 0), SEALED, &[0, 1]);
    round(directory).unwrap();
    let begun = fs::metadata(directory.join(FILE)).unwrap().len() as usize;
    all.extend(write(directory, header(1, 0, 1), SEALED, &[2, 3, 4]));
    round(directory).unwrap();
    let whole = fs::read(directory.join(FILE)).unwrap();
    for torn in begun..whole.len() {
        for zeros in [false, true] {
            let mut bytes = whole[..torn].to_vec();
            if zeros {
                bytes.resize(whole.len(), 0);
            }
            fs::write(directory.join(FILE), bytes).unwrap();
            round(directory).unwrap();
            assert_eq!(leaves(directory), all, "{torn}");
        }
    }
    // Before there was a record.
    for torn in 0..crate::ledger::tree::HEADER_BYTES {
        fs::write(directory.join(FILE), &whole[..torn]).unwrap();
        round(directory).unwrap();
        assert_eq!(leaves(directory), all, "{torn}");
    }
}

#[test]
fn a_tree_that_is_damaged_anywhere_is_left_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path();
    write(directory, header(1, 0, 0), SEALED, &[0, 1]);
    round(directory).unwrap();
    let first = fs::metadata(directory.join(FILE)).unwrap().len() as usize;
    write(directory, header(1, 0, 1), SEALED, &[2, 3, 4]);
    round(directory).unwrap();
    let whole = fs::read(directory.join(FILE)).unwrap();
    for at in 0..first {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(directory.join(FILE), &bytes).unwrap();
        let refused = round(directory).unwrap_err();
        let expected = match at < crate::ledger::tree::HEADER_BYTES {
            true => matches!(refused, RollError::Foreign),
            false => matches!(refused, RollError::Damaged { at: 32 }),
        };
        assert!(expected, "{at}: {refused}");
        assert_eq!(fs::read(directory.join(FILE)).unwrap(), bytes);
    }
}

#[test]
fn one_process_at_a_time_has_the_tree() {
    let place = tempfile::tempdir().unwrap();
    let held = Roll::open(place.path()).unwrap().expect("it is free");
    assert!(Roll::open(place.path()).unwrap().is_none());
    drop(held);
    assert!(Roll::open(place.path()).unwrap().is_some());
}

#[test]
fn a_round_that_finds_more_than_a_record_has_room_for_makes_several() {
    let place = tempfile::tempdir().unwrap();
    let mut roll = Roll::open(place.path()).unwrap().unwrap();
    let all: Vec<Hash> = (0..40_u8).map(|it| [it; 32]).collect();
    let mut frontier = Frontier::default();
    for (serial, leaf) in (0..).zip(&all) {
        frontier.push(*leaf);
        let batch = Batch {
            spans: vec![crate::ledger::tree::Span {
                run: RunId([1; 12]),
                core: 0,
                segment: 0,
                count: 1,
                first: serial,
                end: 64 + 8 * serial,
            }],
            leaves: vec![*leaf],
        };
        roll.append(&key(), &batch, 5).unwrap();
    }
    drop(roll);
    let again = Roll::open(place.path()).unwrap().unwrap();
    assert_eq!(again.size(), 40);
    let position = Position {
        segment: 0,
        offset: 64 + 8 * 39,
        serial: 40,
    };
    assert_eq!(again.positions()[&(RunId([1; 12]), 0)], position);
    drop(again);
    let last = records(place.path()).pop().unwrap();
    assert_eq!(last.signed.head.root, frontier.root());
}

#[test]
fn only_what_is_in_the_tree_may_be_removed() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("ledger");
    fs::create_dir(&directory).unwrap();
    let (first, second) = (header(1, 0, 0), header(1, 0, 1));
    write(&directory, first, SEALED, &[0]);
    write(&directory, second, SEALED, &[1]);
    let config = crate::config::Ledger {
        directory: directory.clone(),
        sync: Duration::from_secs(1),
        segment_bytes: 65_536,
        keep_days: None,
        bytes_max: Some(0),
        on_failure: crate::config::OnFailure::Stop,
    };
    let (noted, standing) = (Noted::default(), crate::tables::ledger::Standing::default());
    let left = || {
        super::super::ledger::files::segments(&directory)
            .unwrap()
            .len()
    };
    let retain = super::super::ledger::retention::retain;
    retain(&directory, &config, Some(&noted), &[], &standing).unwrap();
    assert_eq!(left(), 2);
    noted.set([(RunId([1; 12]), 0, 1)].into_iter());
    retain(&directory, &config, Some(&noted), &[], &standing).unwrap();
    assert_eq!(left(), 1);
    assert!(path(&directory, second, SEALED).exists());
    retain(&directory, &config, None, &[], &standing).unwrap();
    assert_eq!(left(), 0);
}
