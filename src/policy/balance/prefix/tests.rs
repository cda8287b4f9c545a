//! Bounds hold, keys stay, and all cores agree.

use proptest::prelude::*;

use super::super::hash::hash;
use super::*;

const PROVIDER: u64 = 3;

fn replica(position: usize, calls: u32) -> Replica {
    Replica {
        position,
        id: position as u16 + 100,
        rank: hash(1, &position.to_le_bytes()),
        calls,
        reading: 0,
        slowed: 1.0,
        share: 1.0,
    }
}

fn idle(count: usize) -> Vec<Replica> {
    (0..count).map(|position| replica(position, 0)).collect()
}

fn key(number: u64) -> Trail {
    Trail::of_key(1, &number.to_le_bytes())
}

/// A conversation: a beginning that many share, then one of its own.
fn text(shared: usize, own: u64, length: usize) -> Trail {
    let mut text = vec![b's'; shared];
    let mut chain = own;
    while text.len() < shared + length {
        chain = hash(chain, &own.to_le_bytes());
        text.extend(chain.to_le_bytes());
    }
    Trail::of_text(1, &[&text])
}

/// One core.
struct Core(Memory);

impl Core {
    fn new() -> Core {
        Core(Memory::of(4096))
    }

    fn send(&mut self, replicas: &[Replica], trail: &Trail) -> usize {
        let chosen = Choice::among(replicas).make(trail, &self.0, PROVIDER);
        let chosen = chosen.expect("a replica").replica;
        remember(&mut self.0, trail, PROVIDER, chosen.id);
        chosen.position
    }
}

fn place(replicas: &[Replica], number: u64) -> usize {
    Core(Memory::of(4)).send(replicas, &key(number))
}

#[test]
fn keys_are_spread_evenly() {
    let replicas = idle(8);
    let mut counts = [0; 8];
    (0..8000).for_each(|number| counts[place(&replicas, number)] += 1);
    assert!(
        counts.iter().all(|count| (850..1150).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn a_conversation_stays_where_it_is_known_on_each_core() {
    let replicas = idle(5);
    let mut cores = [Core::new(), Core::new(), Core::new()];
    for own in 0..50 {
        let places: Vec<usize> = (1..12)
            .map(|turn| cores[turn % 3].send(&replicas, &text(0, own, 300 * turn)))
            .collect();
        assert!(places.iter().all(|it| *it == places[0]), "{places:?}");
    }
}

#[test]
fn what_begins_alike_shares_a_replica_until_that_is_full() {
    let mut core = Core::new();
    let mut replicas = idle(4);
    let mut places = Vec::new();
    for own in 0..40 {
        let chosen = core.send(&replicas, &text(4000, own, 1000));
        replicas[chosen].calls += 1;
        places.push(chosen);
    }
    let free = FREE_CALLS as usize;
    assert!(
        places[..free].iter().all(|it| *it == places[0]),
        "{places:?}"
    );
    assert!(
        replicas.iter().all(|it| (4..=13).contains(&it.calls)),
        "{replicas:?}"
    );
}

#[test]
fn a_conversation_that_was_sent_elsewhere_is_found_there_again() {
    let mut core = Core::new();
    let mut replicas = idle(4);
    let first = core.send(&replicas, &text(2000, 7, 500));
    replicas[first].calls = 9;
    let spilled = core.send(&replicas, &text(2000, 8, 500));
    assert_ne!(spilled, first);
    replicas[first].calls = 0;
    assert_eq!(core.send(&replicas, &text(2000, 8, 1500)), spilled);
    assert_eq!(core.send(&replicas, &text(2000, 7, 1500)), first);
}

#[test]
fn one_that_fails_gets_nothing_and_one_that_returns_little() {
    let mut replicas = idle(3);
    let favourite = place(&replicas, 5);
    replicas[favourite].slowed = 16.0;
    assert_ne!(place(&replicas, 5), favourite);
    replicas[favourite].slowed = 1.0;
    replicas[favourite].share = 0.1;
    assert_eq!(place(&replicas, 5), favourite, "it gets some");
    replicas[favourite].calls = 2;
    assert_ne!(place(&replicas, 5), favourite);
    replicas[favourite].share = 1.0;
    assert_eq!(place(&replicas, 5), favourite);
    replicas.iter_mut().for_each(|it| it.slowed = 1000.0);
    replicas[2].calls = 0;
    replicas[1].calls = 5;
    assert_ne!(
        place(&replicas, 5),
        1,
        "if all fail, one that has little to do"
    );
    assert!(
        Choice::among(&[])
            .make(&key(1), &Memory::new(), 1)
            .is_none()
    );
}

#[test]
fn nobody_waits_longer_than_reading_it_again_would_take() {
    let mut core = Core::new();
    let mut replicas = idle(3);
    let home = core.send(&replicas, &text(0, 4, 6000));
    let next = || text(0, 4, 8000);
    replicas[home].reading = 3000;
    assert_eq!(
        core.send(&replicas, &next()),
        home,
        "3000 and 2000 bytes are to be read"
    );
    replicas[home].reading = 9000;
    assert_ne!(
        core.send(&replicas, &next()),
        home,
        "elsewhere it's 8000 in all"
    );
    // What nobody knows goes to where there is the least to read.
    replicas.iter_mut().for_each(|it| it.reading = 10_000);
    replicas[1].reading = 0;
    assert_eq!(core.send(&replicas, &text(0, 5, 3000)), 1);
}

#[test]
fn what_is_to_be_read_is_what_is_not_known() {
    let mut core = Core::new();
    let reading = |core: &Core, length| {
        let chosen = Choice::among(&idle(3)).make(&text(0, 4, length), &core.0, PROVIDER);
        chosen.unwrap().reading
    };
    assert_eq!(reading(&core, 8000), 6000, "the first may know a quarter");
    core.send(&idle(3), &text(0, 4, 8000));
    assert!((0..1600).contains(&reading(&core, 8000)));
    assert!((4000..5600).contains(&reading(&core, 12_000)));
}

proptest! {
    #[test]
    fn no_replica_is_sent_more_than_its_bound(
        count in 1..20usize,
        calls in proptest::collection::vec(0..12u64, 1..400),
    ) {
        let mut core = Core::new();
        let mut replicas = idle(count);
        for (number, kind) in calls.iter().enumerate() {
            // Some by a few keys, some with a few beginnings.
            let trail = match kind {
                0..6 => key(kind % 2),
                _ => text(1500, kind % 3, 100 * number % 4000),
            };
            let chosen = core.send(&replicas, &trail);
            replicas[chosen].calls += 1;
            let mean = (number + 1) as f32 / count as f32;
            let bound = (mean * LOAD_FACTOR).ceil().max(FREE_CALLS);
            prop_assert!(replicas[chosen].calls as f32 <= bound);
        }
    }

    #[test]
    fn a_replica_that_comes_or_goes_moves_its_own_keys_only(count in 2..30usize, gone: prop::sample::Index) {
        let all = idle(count);
        let gone = gone.index(count);
        let mut others = all.clone();
        others.remove(gone);
        let mut moved = 0;
        for number in 0..300 {
            let before = place(&all, number);
            let after = place(&others, number);
            match before == gone {
                true => moved += 1,
                false => prop_assert_eq!(before, after),
            }
        }
        let most = 300 / count + 60;
        prop_assert!(moved <= most, "{} of 300 at one of {}", moved, count);
    }

    #[test]
    fn cores_and_processes_agree_whatever_the_order_of_their_lists(
        count in 1..20usize,
        number: u64,
        turn in 0..20usize,
    ) {
        let mut turned = idle(count);
        turned.rotate_left(turn % count);
        prop_assert_eq!(place(&idle(count), number), place(&turned, number));
        let own = text(0, number, 900);
        let [one, other] = [idle(count), turned].map(|it| Core::new().send(&it, &own));
        prop_assert_eq!(one, other);
    }

    #[test]
    fn only_what_may_be_used_is_chosen(
        count in 2..12usize,
        usable in proptest::collection::vec(any::<bool>(), 12),
        own in 0..5u64,
    ) {
        let mut core = Core::new();
        core.send(&idle(count), &text(1000, own, 800));
        let usable: Vec<_> = idle(count).into_iter().filter(|it| usable[it.position]).collect();
        let chosen = Choice::among(&usable).make(&text(1000, own, 1500), &core.0, PROVIDER);
        prop_assert_eq!(chosen.is_some(), !usable.is_empty());
        prop_assert!(chosen.is_none_or(|it| usable.iter().any(|one| one.position == it.replica.position)));
    }
}
