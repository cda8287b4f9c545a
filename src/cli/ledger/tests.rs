//! The commands, on segments that are written here.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::super::tests::srpd;
use crate::ledger::entry::{self, Attempt, Call};
use crate::ledger::frame::{self, Kind};
use crate::ledger::segment::HEADER_BYTES;
use crate::ledger::{Header, RunId};
use crate::telemetry::{AttemptResult, Outcome};

const HOUR_US: i64 = 3_600_000_000;

const CALL: Call<&'static str> = Call {
    number: 0,
    began_us: 1_790_000_000_000_000,
    total_us: 812_000,
    ttft_us: Some(230_000),
    bytes_in: 10,
    bytes_out: 20,
    tokens: Some((1_000_000, 1)),
    price: Some(2_400_000),
    firm: false,
    stream: false,
    served: true,
    jurisdiction: Some(*b"au"),
    status: 200,
    outcome: Outcome::Completed,
    code: "",
    request_id: "r",
    residency: "au-only",
    key: "acme",
    capability: "smart",
};

/// Writes a segment of core 0 with these frames.
fn segment(directory: &Path, number: u32, ending: &str, frames: &[(u64, Kind, Call<&str>)]) {
    let header = Header {
        run: RunId([7; 12]),
        core: 0,
        number,
        made_us: 0,
        jurisdiction: *b"au",
        currency: *b"AUD",
    };
    let mut bytes = vec![0; 64 * 1024];
    let mut at = HEADER_BYTES;
    bytes[..at].copy_from_slice(&header.encode());
    let attempt = Attempt {
        result: Some(AttemptResult::Succeeded),
        status: 200,
        after_us: 1,
        took_us: 2,
        provider: "aloomu",
        endpoint: "127.0.0.1:9101",
        jurisdiction: Some(*b"au"),
    };
    for (serial, kind, call) in frames {
        let written = frame::write(&mut bytes[at..], *serial, |pen| {
            entry::encode(pen, *kind, call, [attempt].into_iter())
        });
        let written = written.unwrap();
        bytes[at..at + 4].copy_from_slice(&written.length.to_le_bytes());
        at += written.size;
    }
    let name = format!("{}.{ending}", header.stem());
    fs::write(directory.join(name), bytes).unwrap();
}

/// Three calls in two segments; the first is amended in the second, the third is of another key,
/// an hour later, and nobody counted its tokens.
fn three() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let second = Call { number: 1, ..CALL };
    let third = Call {
        number: 2,
        key: "beta",
        began_us: CALL.began_us + HOUR_US,
        tokens: None,
        ..CALL
    };
    let left = Call {
        outcome: Outcome::ClientGone,
        ..CALL
    };
    segment(
        place.path(),
        0,
        "ledger",
        &[(0, Kind::Entry, CALL), (1, Kind::Entry, second)],
    );
    segment(
        place.path(),
        1,
        "live",
        &[(2, Kind::Amendment, left), (3, Kind::Entry, third)],
    );
    place
}

fn run(place: &TempDir, command: &str, more: &[&str]) -> Result<String, String> {
    let directory = place.path().to_str().unwrap();
    srpd(&[&["ledger", command, "--directory", directory], more].concat())
}

#[test]
fn each_call_is_shown_once_as_it_ended() {
    let place = three();
    let lines = run(&place, "query", &[]).unwrap();
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let outcomes: Vec<_> = lines.iter().map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, ["client_gone", "completed", "completed"]);
    assert_eq!(lines[0]["began"], "2026-09-21T14:13:20.000000Z");
    assert_eq!(lines[0]["cost"], "2.4000024");
    assert_eq!(lines[0]["id"], "070707070707070707070707-0-0");
    assert!(lines[2]["cost"].is_null() && lines[2]["input_tokens"].is_null());
    assert_eq!(lines[2]["attempts"][0]["result"], "ok");
    let count = |filter: &[&str]| run(&place, "query", filter).unwrap().lines().count();
    assert_eq!(count(&["--key", "beta"]), 1);
    assert_eq!(count(&["--outcome", "client_gone"]), 1);
    assert_eq!(count(&["--outcome", "completed"]), 2);
    assert_eq!(count(&["--jurisdiction", "nz"]), 0);
    assert_eq!(count(&["--provider", "aloomu"]), 3);
    assert_eq!(count(&["--capability", "fast"]), 0);
    assert_eq!(count(&["--request-id", "r"]), 3);
    assert_eq!(count(&["--id", "070707070707070707070707-0-2"]), 1);
    assert_eq!(count(&["--id", "070707070707070707070707-1-2"]), 0);
    assert_eq!(count(&["--from", "2026-09-21T14:14:00Z"]), 1);
    assert_eq!(count(&["--until", "2026-09-21T14:14:00Z"]), 2);
    assert_eq!(count(&["--limit", "2"]), 2);
}

#[test]
fn sums_are_exact_and_say_what_nobody_counted() {
    let place = three();
    let sum = run(&place, "sum", &["--by", "key,supply,hour"]).unwrap();
    assert_eq!(
        sum,
        "key\tsupply\thour\tcalls\tserved\tunknown\tinput_tokens\toutput_tokens\tcost\tcurrency\n\
         acme\tfloating\t2026-09-21T14:00:00Z\t2\t2\t0\t2000000\t2\t4.8000048\tAUD\n\
         beta\tfloating\t2026-09-21T15:00:00Z\t1\t1\t1\t0\t0\t0\tAUD\n"
    );
    let all = run(&place, "sum", &["--json"]).unwrap();
    let all: serde_json::Value = serde_json::from_str(&all).unwrap();
    assert_eq!((&all["calls"], &all["unknown"]), (&"3".into(), &"1".into()));
}

#[test]
fn what_is_missing_or_damaged_makes_every_command_fail() {
    let place = three();
    let later = Call { number: 9, ..CALL };
    segment(place.path(), 2, "live", &[(7, Kind::Entry, later)]);
    let said = run(&place, "sum", &[]).unwrap_err();
    assert!(
        said.contains("3 entries or amendments are missing"),
        "{said}"
    );
    let path = place
        .path()
        .join("070707070707070707070707-000-00000000.ledger");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    let said = run(&place, "query", &[]).unwrap_err();
    assert!(said.contains("bytes are damaged"), "{said}");
    fs::write(&path, "x").unwrap();
    let said = run(&place, "query", &[]).unwrap_err();
    assert!(said.contains("not a segment"), "{said}");
}

#[test]
fn an_amendment_whose_entry_is_gone_stands_for_it() {
    let place = three();
    fs::remove_file(
        place
            .path()
            .join("070707070707070707070707-000-00000000.ledger"),
    )
    .unwrap();
    let lines = run(&place, "query", &[]).unwrap();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(lines.contains("client_gone"));
}

#[test]
fn the_newest_are_shown_last() {
    let place = three();
    let lines = run(&place, "tail", &["-n", "2"]).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[1].contains("\"beta\""), "{lines:?}");
}

#[test]
fn of_many_the_newest_are_shown() {
    let place = tempfile::tempdir().unwrap();
    // The first to be written is the last to end.
    let calls = (0..5000).map(|number| {
        let total_us = 1_000_000 - number * 100;
        let (key, residency) = ("", "");
        let call = Call {
            number,
            total_us,
            key,
            residency,
            ..CALL
        };
        (number, Kind::Entry, call)
    });
    let calls: Vec<_> = calls.collect();
    for (at, part) in calls.chunks(200).enumerate() {
        segment(place.path(), at as u32, "live", part);
    }
    let lines = run(&place, "tail", &["-n", "3"]).unwrap();
    let ids: Vec<_> = lines.lines().map(|line| &line[..40]).collect();
    let run = "{\"id\":\"070707070707070707070707-0-";
    let last = |number: u32| lines.contains(&format!("{run}{number}\""));
    assert!(ids.len() == 3 && last(1) && last(2), "{ids:?}");
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_is_read_back_by_others() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;

    let place = three();
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("calls.parquet");
    let arguments = ["--format", "parquet", "--out", path.to_str().unwrap()];
    run(&place, "export", &arguments).unwrap();
    let reader = SerializedFileReader::new(fs::File::open(&path).unwrap()).unwrap();
    let rows: Vec<_> = reader
        .get_row_iter(None)
        .unwrap()
        .map(|row| row.unwrap())
        .collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0].get_string(3).unwrap(), "acme");
    assert_eq!(rows[0].get_string(9).unwrap(), "2.4000024");
    assert_eq!(rows[0].get_string(13).unwrap(), "client_gone");
    assert_eq!(rows[0].get_long(16).unwrap(), 1_000_000);
    assert!(rows[2].get_long(16).is_err(), "null");
    assert_eq!(rows[2].get_string(22).unwrap(), "aloomu=ok");
}
