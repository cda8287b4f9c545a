//! What is read to be sent, from segments that are written here.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::super::ledger::sent::{Place, Sent};
use super::batch::{Batch, Rows};
use crate::ledger::entry::{self, Call};
use crate::ledger::frame::{self, Kind};
use crate::ledger::segment::HEADER_BYTES;
use crate::ledger::testing::REFUSED;
use crate::ledger::{Header, RunId};
use crate::telemetry::Outcome;

const RUN: RunId = RunId([7; 12]);

fn header(core: u16, number: u32) -> Header {
    Header {
        run: RUN,
        core,
        number,
        made_us: 0,
        jurisdiction: *b"au",
        currency: *b"AUD",
    }
}

fn call(number: u64, outcome: Outcome) -> Call<&'static str> {
    Call {
        number,
        began_us: 1_790_000_000_000_000,
        outcome,
        key: "acme",
        ..REFUSED
    }
}

/// A segment's bytes, with some zeros behind its frames.
fn segment(of: Header, frames: &[(u64, Kind, u64)]) -> Vec<u8> {
    let mut bytes = vec![0; 16 * 1024];
    let mut at = HEADER_BYTES;
    bytes[..at].copy_from_slice(&of.encode());
    for (serial, kind, number) in frames {
        let outcome = match kind {
            Kind::Entry => Outcome::Failed,
            Kind::Amendment => Outcome::ClientGone,
        };
        let written = frame::write(&mut bytes[at..], *serial, |pen| {
            entry::encode(pen, *kind, &call(*number, outcome), [].into_iter())
        });
        let written = written.unwrap();
        bytes[at..at + 4].copy_from_slice(&written.length.to_le_bytes());
        at += written.size;
    }
    bytes
}

fn write(place: &Path, of: Header, ending: &str, bytes: &[u8]) {
    fs::write(place.join(format!("{}.{ending}", of.stem())), bytes).unwrap();
}

/// Core 0 has a sealed segment and one in use, core 1 has one in use.
fn three() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let (entry, amendment) = (Kind::Entry, Kind::Amendment);
    let directory = place.path();
    let first = segment(header(0, 0), &[(0, entry, 0), (1, entry, 1)]);
    write(directory, header(0, 0), "ledger", &first);
    let second = segment(header(0, 1), &[(2, amendment, 0), (3, entry, 2)]);
    write(directory, header(0, 1), "live", &second);
    let other = segment(header(1, 0), &[(0, entry, 0)]);
    write(directory, header(1, 0), "live", &other);
    place
}

/// Serial, id's end and outcome of each row.
fn shown(batch: &Batch) -> Vec<(u64, String, String)> {
    let rows: Vec<Value> = serde_json::from_str(&batch.json()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let shown = rows.iter().map(|row| {
        let id = text(&row["id"]);
        let end = id.strip_prefix(&format!("{RUN}-")).unwrap().to_owned();
        assert_eq!(row["amended"], row["outcome"] == "client_gone");
        (row["serial"].as_u64().unwrap(), end, text(&row["outcome"]))
    });
    shown.collect()
}

fn row(serial: u64, id: &str, outcome: &str) -> (u64, String, String) {
    (serial, id.to_owned(), outcome.to_owned())
}

#[test]
fn a_batch_goes_on_where_the_last_has_ended_and_has_one_row_a_call() {
    let place = three();
    let whole = Batch::gather(place.path(), &Sent::default(), Rows::Calls, 100).unwrap();
    let amended = row(2, "0-0", "client_gone");
    let rest = [
        row(1, "0-1", "failed"),
        row(3, "0-2", "failed"),
        row(0, "1-0", "failed"),
    ];
    let mut expected = vec![amended.clone()];
    expected.extend(rest.clone());
    assert_eq!(shown(&whole), expected);
    assert_eq!((whole.frames, whole.is_full()), (5, false));
    // One by one: the same frames, each once.
    let (mut sent, mut found) = (Sent::default(), Vec::new());
    loop {
        let batch = Batch::gather(place.path(), &sent, Rows::Calls, 1).unwrap();
        if batch.is_empty() {
            assert_eq!(batch.sent, whole.sent);
            break;
        }
        found.extend(shown(&batch));
        sent = batch.sent;
    }
    let first = row(0, "0-0", "failed");
    let [one, two, three] = rest;
    assert_eq!(found, [first, one, amended, two, three]);
    let again = Batch::gather(place.path(), &whole.sent, Rows::Calls, 100).unwrap();
    assert!(again.is_empty() && again.skipped.is_empty() && again.stuck.is_empty());
}

#[test]
fn a_log_gets_each_frame_in_its_order() {
    let place = three();
    let batch = Batch::gather(place.path(), &Sent::default(), Rows::Frames, 100).unwrap();
    let expected = [
        row(0, "0-0", "failed"),
        row(1, "0-1", "failed"),
        row(2, "0-0", "client_gone"),
        row(3, "0-2", "failed"),
        row(0, "1-0", "failed"),
    ];
    assert_eq!(shown(&batch), expected);
    let numbers = batch
        .rows
        .iter()
        .map(|row| (row.serial, row.id.call, row.amends));
    let expected = [
        (0, 0, false),
        (1, 1, false),
        (2, 0, true),
        (3, 2, false),
        (0, 0, false),
    ];
    assert_eq!(numbers.collect::<Vec<_>>(), expected);
}

#[test]
fn a_sealed_segment_is_behind_when_all_of_it_is_sent_and_a_live_one_never_is() {
    let place = three();
    let first = Batch::gather(place.path(), &Sent::default(), Rows::Calls, 1).unwrap();
    assert!(!first.sent.is_behind(RUN, 0, 0));
    let whole = Batch::gather(place.path(), &Sent::default(), Rows::Calls, 100).unwrap();
    assert!(whole.sent.is_behind(RUN, 0, 0));
    assert!(!whole.sent.is_behind(RUN, 0, 1) && !whole.sent.is_behind(RUN, 1, 0));
    // What is said of cores that have no segment any more is forgotten.
    for listed in fs::read_dir(place.path()).unwrap() {
        fs::remove_file(listed.unwrap().path()).unwrap();
    }
    let none = Batch::gather(place.path(), &whole.sent, Rows::Calls, 100).unwrap();
    assert_eq!(none.sent, Sent::default());
}

#[test]
fn what_is_gone_or_damaged_is_passed_over_and_said() {
    let place = three();
    let first = segment(header(0, 0), &[(0, Kind::Entry, 0), (1, Kind::Entry, 1)]);
    let at = Place {
        number: 0,
        offset: HEADER_BYTES as u64,
    };
    let mut damaged = first.clone();
    damaged[HEADER_BYTES + 40] ^= 1;
    write(place.path(), header(0, 0), "ledger", &damaged);
    let batch = Batch::gather(place.path(), &Sent::default(), Rows::Calls, 100).unwrap();
    assert_eq!((batch.skipped.len(), batch.frames), (1, 4));
    // In use it may only be half written: it is looked at again.
    let path = place.path().join(format!("{}.ledger", header(0, 0).stem()));
    fs::rename(&path, path.with_extension("live")).unwrap();
    let batch = Batch::gather(place.path(), &Sent::default(), Rows::Calls, 100).unwrap();
    assert_eq!((batch.skipped.len(), batch.frames), (0, 1));
    assert_eq!(batch.sent.0[&(RUN, 0)], at);
    fs::remove_file(path.with_extension("live")).unwrap();
    let begun = Sent([((RUN, 0), at)].into());
    let batch = Batch::gather(place.path(), &begun, Rows::Calls, 100).unwrap();
    assert_eq!((batch.skipped.len(), batch.frames), (1, 3));
}

#[test]
fn what_another_version_wrote_is_waited_for() {
    let place = three();
    let mut bytes = vec![0; 1024];
    bytes[..HEADER_BYTES].copy_from_slice(&header(0, 0).encode());
    let written = frame::write(&mut bytes[HEADER_BYTES..], 0, |pen| pen.bytes(&[9; 100]));
    let length = written.unwrap().length.to_le_bytes();
    bytes[HEADER_BYTES..HEADER_BYTES + 4].copy_from_slice(&length);
    write(place.path(), header(0, 0), "ledger", &bytes);
    let batch = Batch::gather(place.path(), &Sent::default(), Rows::Calls, 100).unwrap();
    // The other core's go on.
    assert_eq!((batch.stuck.len(), batch.frames), (1, 1));
    write(place.path(), header(0, 0), "ledger", b"something else");
    let batch = Batch::gather(place.path(), &Sent::default(), Rows::Calls, 100).unwrap();
    assert_eq!((batch.stuck.len(), batch.frames), (1, 1));
}
