//! What is made of a directory of segments.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use super::files::segments;
use super::recovery::recover;
use super::retention::{Kept, doomed, retain};
use super::segment::Segment;
use super::sent::{Place, Sent, SinkState};
use crate::config;
use crate::ledger::entry::{self, Call};
use crate::ledger::frame::{self, Kind};
use crate::ledger::segment::HEADER_BYTES;
use crate::ledger::testing::REFUSED;
use crate::ledger::{Entry, Found, Header, RunId, Scan};
use crate::tables::ledger::{Sheet, Standing};

const BYTES: usize = 64 * 1024;

fn header(number: u32) -> Header {
    Header {
        run: RunId([1; 12]),
        core: 0,
        number,
        made_us: 0,
        jurisdiction: *b"au",
        currency: *b"AUD",
    }
}

/// A segment with so many entries, as a core writes it.
fn written(directory: &Path, number: u32, entries: u64) -> (Segment, Sheet) {
    let (segment, mut sheet) = Segment::make(directory, &header(number), BYTES).unwrap();
    let mut at = HEADER_BYTES;
    for number in 0..entries {
        let call = Call { number, ..REFUSED };
        let place = sheet.page.bytes(at);
        let written = frame::write(place, number, |pen| {
            entry::encode(pen, Kind::Entry, &call, [].into_iter())
        });
        let written = written.unwrap();
        assert!(sheet.page.publish(at, written.length.to_le()));
        at += written.size;
        sheet.progress.set_written(at as u64);
    }
    (segment, sheet)
}

/// How many entries a file has.
fn count(path: &Path) -> usize {
    let bytes = fs::read(path).unwrap();
    let frames = Scan::new(&bytes, HEADER_BYTES).filter_map(|found| match found {
        Found::Frame(_, frame) => Entry::decode(frame.payload),
        Found::Damage(_) => None,
    });
    frames.count()
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn name(number: u32, ending: &str) -> String {
    format!("{}.{ending}", header(number).stem())
}

#[test]
fn what_the_dead_have_left_is_sealed_and_what_the_living_have_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path();
    drop(written(directory, 0, 5));
    drop(written(directory, 1, 0));
    let living = written(directory, 2, 3);
    let standing = Standing::default();
    recover(directory, &standing).unwrap();
    // The blank one is gone.
    assert_eq!(names(directory), [name(0, "ledger"), name(2, "live")]);
    assert_eq!(count(&directory.join(name(0, "ledger"))), 5);
    assert_eq!(standing.torn.load(Relaxed), 0);
    drop(living);
    recover(directory, &standing).unwrap();
    assert_eq!(names(directory), [name(0, "ledger"), name(2, "ledger")]);
    assert_eq!(segments(directory).unwrap().len(), 2);
}

#[test]
fn a_tail_is_cut_wherever_it_was_torn_and_no_entry_with_it() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path();
    drop(written(directory, 0, 3));
    let path = directory.join(name(0, "live"));
    let whole = fs::read(&path).unwrap();
    let mut scan = Scan::new(&whole, HEADER_BYTES);
    scan.by_ref().for_each(drop);
    let end = scan.end();
    let last = end - (end - HEADER_BYTES) / 3;
    for torn in last..end {
        let mut bytes = whole.clone();
        bytes[torn..].fill(0);
        let _ = fs::remove_file(directory.join(name(0, "ledger")));
        fs::write(&path, &bytes).unwrap();
        let standing = Standing::default();
        recover(directory, &standing).unwrap();
        let left = count(&directory.join(name(0, "ledger")));
        // A frame's padding may be missing.
        assert!(
            left == 2 || (left == 3 && end - torn < frame::ALIGN),
            "{torn}"
        );
        let is_torn = left == 2 && torn > last;
        assert_eq!(standing.torn.load(Relaxed), u64::from(is_torn), "{torn}");
    }
}

#[test]
fn damage_before_the_end_is_said_and_nothing_is_cut() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path();
    drop(written(directory, 0, 9));
    let path = directory.join(name(0, "live"));
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff; 40], 400).unwrap();
    drop(file);
    let standing = Standing::default();
    recover(directory, &standing).unwrap();
    assert_eq!(standing.damaged.load(Relaxed), 1);
    assert!(count(&directory.join(name(0, "ledger"))) >= 7);
}

#[test]
fn what_is_no_segment_is_left_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path();
    fs::write(directory.join(name(3, "live")), "something else").unwrap();
    fs::write(directory.join("notes.txt"), "mine").unwrap();
    fs::write(directory.join(name(4, "new")), "").unwrap();
    let standing = Standing::default();
    recover(directory, &standing).unwrap();
    assert_eq!(names(directory).len(), 3);
    assert_eq!(standing.damaged.load(Relaxed), 1);
    // What somebody began to make ready, long ago, is nobody's.
    let old = SystemTime::now() - Duration::from_secs(3600);
    let file = OpenOptions::new()
        .write(true)
        .open(directory.join(name(4, "new")));
    file.unwrap().set_modified(old).unwrap();
    recover(directory, &standing).unwrap();
    assert_eq!(names(directory).len(), 2);
}

#[test]
fn retention_takes_the_old_then_the_oldest_and_never_what_is_in_use() {
    const DAY: Duration = Duration::from_hours(24);
    let kept = |name: &str, days: u32, kept| Kept {
        path: name.into(),
        bytes: 100,
        age: DAY * days,
        kept,
        unsent: false,
    };
    let all = || {
        vec![
            kept("c", 1, false),
            kept("a", 9, false),
            kept("in-use", 20, true),
            kept("b", 5, false),
        ]
    };
    let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
    assert_eq!(doomed(all(), None, None), paths(&[]));
    assert_eq!(doomed(all(), Some(5), None), paths(&["a", "b"]));
    assert_eq!(doomed(all(), Some(10), None), paths(&[]));
    assert_eq!(doomed(all(), None, Some(300)), paths(&["a"]));
    assert_eq!(doomed(all(), None, Some(299)), paths(&["a", "b"]));
    assert_eq!(doomed(all(), Some(9), Some(200)), paths(&["a", "b"]));
    assert_eq!(doomed(all(), None, Some(0)), paths(&["a", "b", "c"]));
    // What a sink has not sent stays, until there is no room for it.
    let unsent = || {
        let keep = |kept: Kept| Kept {
            unsent: kept.path == Path::new("a"),
            ..kept
        };
        all().into_iter().map(keep).collect()
    };
    assert_eq!(doomed(unsent(), Some(5), None), paths(&["b"]));
    assert_eq!(doomed(unsent(), Some(5), Some(300)), paths(&["a", "b"]));
}

#[test]
fn a_segment_that_a_sink_has_not_sent_is_kept_or_missed_aloud() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path();
    drop(written(directory, 0, 5));
    let standing = Standing::default();
    recover(directory, &standing).unwrap();
    let path = directory.join(name(0, "ledger"));
    let old = SystemTime::now() - Duration::from_hours(48);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_modified(old).unwrap();
    let mut config = config::Ledger {
        directory: directory.to_owned(),
        sync: Duration::from_millis(100),
        segment_bytes: BYTES,
        keep_days: Some(1),
        bytes_max: None,
        on_failure: config::OnFailure::Stop,
    };
    let sinks = [Arc::new(SinkState::new("billing", 0))];
    let keeps = |config: &config::Ledger| {
        retain(directory, config, None, &sinks, &standing).unwrap();
        path.exists()
    };
    assert!(keeps(&config));
    let at = |number| Place {
        number,
        offset: HEADER_BYTES as u64,
    };
    let sent = |number| Sent([((RunId([1; 12]), 0), at(number))].into());
    sent(0).save(&Sent::path(directory, "billing")).unwrap();
    assert!(keeps(&config));
    let whole = fs::read(&path).unwrap();
    sent(1).save(&Sent::path(directory, "billing")).unwrap();
    assert!(!keeps(&config));
    assert_eq!(sinks[0].removed_unsent.load(Relaxed), 0);
    // A bound on bytes is one.
    fs::write(&path, whole).unwrap();
    fs::remove_file(Sent::path(directory, "billing")).unwrap();
    config.bytes_max = Some(1);
    assert!(!keeps(&config));
    assert_eq!(sinks[0].removed_unsent.load(Relaxed), 1);
}
