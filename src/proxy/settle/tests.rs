//! A call and its entry.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rtrb::RingBuffer;

use super::super::testing::Bench;
use super::*;
use crate::ledger::segment::HEADER_BYTES;
use crate::ledger::{Entry, Found, RunId, Scan};
use crate::net::mapped::Mapped;
use crate::tables::LedgerLink;
use crate::tables::ledger::{Sheet, Standing, Tally};

const BYTES: usize = 4096;

/// A core with a ledger of one sheet, and what the office has of it.
fn bench() -> (Bench, std::fs::File, Arc<Standing>, Arc<Tally>) {
    let file = tempfile::tempfile().unwrap();
    file.set_len(BYTES as u64).unwrap();
    let (standing, tally) = (Arc::<Standing>::default(), Arc::<Tally>::default());
    let link = LedgerLink {
        run: RunId([1; 12]),
        first: Sheet {
            page: Mapped::new(&file, BYTES).unwrap(),
            progress: Arc::default(),
        },
        next: RingBuffer::new(1).1,
        standing: Arc::clone(&standing),
        tally: Arc::clone(&tally),
        serve_on: false,
    };
    (Bench::with_ledger(link), file, standing, tally)
}

/// What was written: for each frame, whether it amends, the call, its outcome and status.
fn frames(file: &std::fs::File) -> Vec<(bool, u64, Outcome, u16)> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; BYTES];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let found = Scan::new(&bytes, HEADER_BYTES).map(|found| match found {
        Found::Frame(_, frame) => Entry::decode(frame.payload).expect("an entry").call,
        Found::Damage(_) => panic!("damage"),
    });
    let amends: Vec<bool> = Scan::new(&bytes, HEADER_BYTES)
        .map(|found| match found {
            Found::Frame(_, frame) => Entry::decode(frame.payload).expect("an entry").amends,
            Found::Damage(_) => true,
        })
        .collect();
    let shown = found.map(|call| (call.number, call.outcome, call.status));
    let shown = amends.into_iter().zip(shown);
    shown.map(|(amends, (a, b, c))| (amends, a, b, c)).collect()
}

fn open(core: &Core) -> Settlement<'_> {
    let mut settlement = Settlement::open(core, InlineText::new(b"r"), false);
    assert!(settlement.will_be_recorded(&core.routes()));
    settlement
}

#[test]
fn however_a_call_ends_it_has_one_entry() {
    let (bench, file, ..) = bench();
    let core = &bench.core;
    open(core).settle(Outcome::Completed);
    drop(open(core));
    let panicking = AssertUnwindSafe(|| {
        let _settlement = open(core);
        panic!("on purpose");
    });
    assert!(catch_unwind(panicking).is_err());
    let mut early = open(core);
    early.record_mut().status = 200;
    early.enter(Outcome::Completed, None, core.now());
    early.enter(Outcome::Cut, None, core.now());
    early.settle(Outcome::Completed);
    assert_eq!(
        frames(&file),
        [
            (false, 0, Outcome::Completed, CLIENT_GONE),
            (false, 1, Outcome::ClientGone, CLIENT_GONE),
            (false, 2, Outcome::Cut, 500),
            (false, 3, Outcome::Completed, 200),
        ]
    );
}

#[test]
fn what_turns_out_otherwise_amends_the_entry() {
    let (bench, file, _, tally) = bench();
    let core = &bench.core;
    let mut settlement = open(core);
    settlement.enter(Outcome::Completed, None, core.now());
    settlement.settle(Outcome::ClientGone);
    let mut settlement = open(core);
    settlement.enter(Outcome::Completed, None, core.now());
    settlement.record_mut().input_tokens = Some(3);
    settlement.record_mut().output_tokens = Some(4);
    settlement.settle(Outcome::Completed);
    let amends: Vec<bool> = frames(&file).iter().map(|frame| frame.0).collect();
    assert_eq!(amends, [false, true, false, true]);
    assert_eq!((tally.entries.get(), tally.amendments.get()), (2, 2));
}

#[test]
fn a_call_is_let_in_only_if_its_entry_is_sure_of_its_room() {
    let (bench, file, standing, tally) = bench();
    let core = &bench.core;
    let routes = core.routes();
    // Each of these may need 3 KiB of the 4 that there are.
    let first = open(core);
    let mut second = Settlement::open(core, InlineText::new(b"r"), false);
    assert!(!second.will_be_recorded(&routes));
    second.settle(Outcome::Failed);
    assert_eq!(frames(&file), [], "the room is the first's");
    assert_eq!((tally.refused.get(), tally.lost.get()), (1, 0));
    first.settle(Outcome::Completed);
    assert_eq!(frames(&file).len(), 1);
    // The call that was refused has a serial number: whoever reads sees that one is missing.
    let mut bytes = vec![0; BYTES];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).unwrap();
    let serials = Scan::new(&bytes, HEADER_BYTES).map(|found| match found {
        Found::Frame(_, frame) => frame.serial,
        Found::Damage(_) => 0,
    });
    assert_eq!(serials.collect::<Vec<_>>(), [1]);
    let mut third = Settlement::open(core, InlineText::new(b"r"), false);
    standing.give_up("the disk".to_owned());
    assert!(
        !third.will_be_recorded(&routes),
        "what is written may not last"
    );
    third.settle(Outcome::Failed);
}
