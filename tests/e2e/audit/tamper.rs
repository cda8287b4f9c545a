//! Whoever has the disk can change what he likes: it is found. Checksums and numbers are always made
//! to fit, as somebody who means it would.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use srpd::ledger::frame::{self, size};
use srpd::ledger::segment::HEADER_BYTES;
use srpd::ledger::{Entry, Found, Header, Scan};

use super::{audit, audited, end, head_of, of, report, start_in, with_ledger};
use crate::support::{Ask, Instance, Reply, Setup, Upstream};

const CALLS: u64 = 12;

/// A frame's serial number and payload.
type Frames = Vec<(u64, Vec<u8>)>;

/// An instance that is gone, its ledger of one core, and a head that somebody has kept.
struct Past {
    place: tempfile::TempDir,
    setup: Setup,
    _upstream: Upstream,
}

fn setup(upstream: &Upstream) -> Setup {
    Setup::backstop_only(&upstream.url()).section("instance", "cores = 1")
}

impl Past {
    fn new() -> Past {
        let upstream = Upstream::always(Reply::chat("whole"));
        let setup = audited(setup(&upstream));
        let place = tempfile::tempdir().expect("a directory");
        let srpd = start_in(&setup, place.path());
        for call in 1..=CALLS {
            assert_eq!(srpd.ask(&Ask::chat("smart")).status, 200);
            if call % 4 == 0 {
                head_of(&place.path().join("ledger"), call);
            }
        }
        end(srpd, "TERM");
        let past = Past {
            place,
            setup,
            _upstream: upstream,
        };
        let (head, _, done) = of(&past.directory(), &["head"]);
        assert!(done);
        fs::write(past.head(), head).expect("a file");
        past
    }

    fn directory(&self) -> PathBuf {
        self.place.path().join("ledger")
    }

    fn head(&self) -> PathBuf {
        self.place.path().join("head.json")
    }

    fn tree(&self) -> PathBuf {
        self.directory().join("audit.tree")
    }

    fn segment(&self) -> PathBuf {
        let all = fs::read_dir(self.directory()).expect("a directory");
        let mut paths = all.map(|entry| entry.expect("an entry").path());
        let found = paths.find(|path| path.extension().is_some_and(|it| it == "ledger"));
        found.expect("a segment")
    }

    /// What the report says with the auditor's head.
    fn report(&self) -> (Value, String, bool) {
        let head = self.head();
        report(
            &self.directory(),
            &["--since", head.to_str().expect("text")],
        )
    }

    /// The only segment, with other frames, and otherwise whole.
    fn edit(&self, change: impl FnOnce(&mut Header, &mut Frames)) {
        let path = self.segment();
        let bytes = fs::read(&path).expect("a segment");
        let mut header = Header::decode(&bytes).expect("a header");
        let frames = Scan::new(&bytes, HEADER_BYTES).map(|found| match found {
            Found::Frame(_, frame) => (frame.serial, frame.payload.to_vec()),
            Found::Damage(_) => panic!("damage"),
        });
        let mut frames: Frames = frames.collect();
        change(&mut header, &mut frames);
        let mut bytes = header.encode().to_vec();
        for (serial, payload) in &frames {
            let mut place = vec![0; size(payload.len())];
            let written = frame::write(&mut place, *serial, |pen| pen.bytes(payload));
            let length = written.expect("room").length;
            place[..4].copy_from_slice(&length.to_le_bytes());
            bytes.extend(place);
        }
        fs::write(&path, bytes).expect("a segment");
    }

    fn restart(&self) -> Instance {
        start_in(&self.setup, self.place.path())
    }
}

/// Each flaw that a report names must say this.
fn assert_found(past: &Past, says: &str, count: usize) {
    let (json, said, proven) = past.report();
    assert!(
        !proven && said.contains("is not proven"),
        "{says}: {json} {said}"
    );
    let flaws = json["flaws"].as_array().expect("flaws");
    let found = flaws
        .iter()
        .filter(|flaw| flaw.as_str().expect("a text").starts_with(says));
    assert_eq!(found.count(), count, "{says}: {json}");
}

/// Where the payload of an entry has its status, its call, and when it began.
const STATUS: usize = 4;
const CALL: usize = 16;
const BEGAN: usize = 24;

#[test]
fn a_ledger_that_nobody_has_touched_is_proven() {
    let past = Past::new();
    let (json, said, proven) = past.report();
    assert!(proven, "{json} {said}");
    assert_eq!(json["covered"], CALLS);
}

#[test]
fn a_changed_entry_is_found() {
    let past = Past::new();
    past.edit(|_, frames| frames[3].1[STATUS] ^= 1);
    assert_found(&past, "changed: ", 1);
    let past = Past::new();
    past.edit(|header, _| header.jurisdiction = *b"nz");
    assert_found(&past, "changed: ", CALLS as usize);
    let past = Past::new();
    past.edit(|_, frames| {
        let (one, other) = (frames[3].1.clone(), frames[4].1.clone());
        (frames[3].1, frames[4].1) = (other, one);
    });
    assert_found(&past, "changed: ", 2);
    // A bit without its checksum.
    let past = Past::new();
    let mut bytes = fs::read(past.segment()).expect("a segment");
    bytes[HEADER_BYTES + 40] ^= 1;
    fs::write(past.segment(), bytes).expect("a segment");
    assert_found(&past, "dropped: frame 0 ", 1);
}

#[test]
fn a_changed_entry_cannot_be_proven_any_more() {
    let past = Past::new();
    let mut id = String::new();
    past.edit(|header, frames| {
        frames[3].1[STATUS] ^= 1;
        let entry = Entry::decode(&frames[3].1).expect("an entry");
        id = format!("{}-{}-{}", header.run, header.core, entry.call.number);
    });
    let (_, said, proven) = of(&past.directory(), &["prove", &id]);
    assert!(!proven && said.contains("it has been changed"), "{said}");
}

#[test]
fn a_dropped_entry_is_found() {
    let past = Past::new();
    past.edit(|_, frames| drop(frames.remove(3)));
    assert_found(&past, "dropped: frame 3 ", 1);
    let past = Past::new();
    past.edit(|_, frames| drop(frames.pop()));
    assert_found(&past, "dropped: frame 11 ", 1);
    // With the others' numbers made to fit.
    let past = Past::new();
    past.edit(|_, frames| {
        frames.remove(3);
        (0..)
            .zip(frames)
            .for_each(|(serial, frame)| frame.0 = serial);
    });
    assert_found(&past, "changed: ", 8);
    let past = Past::new();
    fs::remove_file(past.segment()).expect("it was there");
    let (json, _, proven) = past.report();
    assert!(
        !proven
            && json["flaws"][0]
                .as_str()
                .expect("a flaw")
                .starts_with("dropped: frames 0 to ")
    );
}

#[test]
fn a_reordered_entry_is_found() {
    let past = Past::new();
    past.edit(|_, frames| frames.swap(3, 4));
    assert_found(&past, "reordered: ", 1);
}

#[test]
fn an_inserted_entry_is_found() {
    let past = Past::new();
    past.edit(|_, frames| {
        let (serial, mut payload) = frames.last().expect("a frame").clone();
        payload[CALL + 1] = 9;
        // An hour ago: what is younger than a minute could still be signed.
        let began = payload[BEGAN..].first_chunk().expect("a time");
        let began = i64::from_le_bytes(*began) - 3_600_000_000;
        payload[BEGAN..BEGAN + 8].copy_from_slice(&began.to_le_bytes());
        frames.push((serial + 1, payload));
    });
    assert_found(&past, "unsigned: ", 1);
    let past = Past::new();
    past.edit(|_, frames| frames.insert(4, frames[3].clone()));
    assert_found(&past, "reordered: ", 1);
    // The same segment once more, as the next one.
    let past = Past::new();
    let segment = past.segment();
    let name = segment.file_name().expect("a name").to_str().expect("text");
    let copy = name.replace("-00000000.", "-00000001.");
    fs::copy(&segment, segment.with_file_name(copy)).expect("a copy");
    assert_found(&past, "reordered: ", CALLS as usize);
}

#[test]
fn a_tree_that_was_cut_is_found_by_who_has_kept_a_head() {
    let past = Past::new();
    let bytes = fs::read(past.tree()).expect("a tree");
    // The first record only: a tree as it was once, with a head that was really signed.
    let length = u32::from_le_bytes(*bytes[32..].first_chunk().expect("a record")) as usize;
    assert!(32 + 8 + length < bytes.len());
    fs::write(past.tree(), &bytes[..32 + 8 + length]).expect("a tree");
    let (_, said, proven) = past.report();
    assert!(!proven && said.contains("the tree was cut"), "{said}");
    let head = past.head();
    let since = ["head", "--since", head.to_str().expect("text")];
    assert!(of(&past.directory(), &since).1.contains("the tree was cut"));
}

#[test]
fn a_history_that_was_written_anew_is_found_by_who_has_kept_a_head() {
    // With the tree's own name, and the right key.
    for (left, says) in [(32, "the tree was changed"), (0, "one of another tree")] {
        let past = Past::new();
        past.edit(|_, frames| frames[3].1[STATUS] ^= 1);
        let bytes = fs::read(past.tree()).expect("a tree");
        fs::write(past.tree(), &bytes[..left]).expect("a tree");
        let srpd = past.restart();
        head_of(&past.directory(), CALLS);
        end(srpd, "TERM");
        // To himself he can prove what he likes.
        let (json, said, proven) = report(&past.directory(), &[]);
        assert!(proven, "{json} {said}");
        let (_, said, proven) = past.report();
        assert!(!proven && said.contains(says), "{said}");
    }
}

#[test]
fn the_newest_head_continues_an_older_one_and_that_is_proven_offline() {
    let past = Past::new();
    let srpd = past.restart();
    for _ in 0..3 {
        assert_eq!(srpd.ask(&Ask::chat("smart")).status, 200);
    }
    head_of(&past.directory(), CALLS + 3);
    end(srpd, "TERM");
    let (head, path) = (past.head(), past.place.path().join("consistency.json"));
    let (head, path) = (head.to_str().expect("text"), path.to_str().expect("text"));
    let (_, said, done) = of(&past.directory(), &["head", "--since", head, "--out", path]);
    assert!(done, "{said}");
    let (printed, said, proven) = audit(&["verify", path, "--key", super::PUBLIC]);
    assert!(
        proven && printed.contains("begins with all 12 leaves"),
        "{printed} {said}"
    );
    let mut forged: Value =
        serde_json::from_str(&fs::read_to_string(path).expect("a file")).expect("JSON");
    super::change(&mut forged["consistency"][0], 3);
    fs::write(path, forged.to_string()).expect("a file");
    let (_, said, proven) = audit(&["verify", path, "--key", super::PUBLIC]);
    assert!(!proven && said.contains("history was changed"), "{said}");
}

#[test]
fn a_tree_that_is_damaged_is_not_continued_and_calls_go_on() {
    let past = Past::new();
    let whole = fs::read(past.tree()).expect("a tree");
    let mut bytes = whole.clone();
    bytes[32 + 8 + 20] ^= 1;
    fs::write(past.tree(), &bytes).expect("a tree");
    let (_, said, proven) = past.report();
    assert!(!proven && said.contains("damaged at byte 32"), "{said}");
    let mut srpd = past.restart();
    srpd.wait_log("the alarm", |line| {
        line.contains("damaged at byte 32").then_some(())
    });
    assert_eq!(srpd.ask(&Ask::chat("smart")).status, 200);
    assert_eq!(srpd.metric("srpd_audit_failing", &[]), 1.0);
    end(srpd, "TERM");
    assert_eq!(fs::read(past.tree()).expect("a tree"), bytes);
    // From a copy it goes on, and nothing is missing.
    fs::write(past.tree(), whole).expect("a tree");
    let srpd = past.restart();
    head_of(&past.directory(), CALLS + 1);
    end(srpd, "TERM");
    let (json, said, proven) = past.report();
    assert!(proven && json["covered"] == CALLS + 1, "{json} {said}");
}

#[test]
fn a_call_that_left_its_jurisdictions_is_named() {
    let upstream = Upstream::always(Reply::chat("whole"));
    let plain = with_ledger(setup(&upstream));
    let place = tempfile::tempdir().expect("a directory");
    let srpd = start_in(&plain, place.path());
    let ask = Ask::chat("smart").field("x-sovereign-residency", "au-only");
    let mut ids = Vec::new();
    for _ in 0..3 {
        let response = srpd.ask(&ask);
        ids.push(
            response
                .field("x-sovereign-receipt")
                .expect("it")
                .to_owned(),
        );
    }
    end(srpd, "TERM");
    // No call of srpd's can: what an entry says is changed before it is signed.
    let past = Past {
        place,
        setup: audited(setup(&upstream)),
        _upstream: upstream,
    };
    past.edit(|_, frames| {
        let payload = &mut frames[1].1;
        payload[6..8].copy_from_slice(b"us");
    });
    let srpd = past.restart();
    head_of(&past.directory(), 3);
    end(srpd, "TERM");
    let (json, said, proven) = report(&past.directory(), &[]);
    assert!(
        !proven && said.contains("1 left the jurisdictions"),
        "{said}"
    );
    assert_eq!(json["outside"][0]["id"], ids[1].as_str());
    assert_eq!(json["outside"][0]["jurisdiction"], "us");
    assert_eq!(json["flaws"], Value::Array(Vec::new()));
    let path = past.place.path().join("proof.json");
    let path = path.to_str().expect("text");
    assert!(of(&past.directory(), &["prove", &ids[1], "--out", path]).2);
    let (printed, said, proven) = audit(&["verify", path, "--key", super::PUBLIC]);
    assert!(!proven && said.contains("left the jurisdictions"), "{said}");
    assert!(
        printed.contains("proven: ") && printed.contains("outside"),
        "{printed}"
    );
}

#[test]
fn what_retention_has_removed_leaves_its_hashes_and_later_proofs_hold() {
    let past = Past::new();
    fs::remove_file(past.segment()).expect("it was there");
    let srpd = past.restart();
    let response = srpd.ask(&Ask::chat("smart"));
    let id = response.field("x-sovereign-receipt").expect("a receipt");
    head_of(&past.directory(), CALLS + 1);
    let path = past.place.path().join("proof.json");
    let path = path.to_str().expect("text");
    let (_, said, done) = of(&past.directory(), &["prove", id, "--out", path]);
    assert!(done, "{said}");
    let (_, said, proven) = audit(&["verify", path, "--key", super::PUBLIC]);
    assert!(proven, "{said}");
    let head = past.head();
    let since = ["head", "--since", head.to_str().expect("text")];
    assert!(of(&past.directory(), &since).2);
    // The month whose entries are gone isn't proven any more, and that is said.
    assert_found(&past, "dropped: frames 0 to 11 ", 1);
}

/// A path of the tests' own is in the directory, and is no segment.
#[test]
fn what_is_no_entry_is_no_leaf() {
    let past = Past::new();
    fs::write(past.directory().join("notes.txt"), "mine").expect("a file");
    assert!(past.report().2);
    assert!(Path::new(&past.tree()).exists());
}
