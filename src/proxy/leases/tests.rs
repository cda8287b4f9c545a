//! Several cores and one key: what they let in together, and what may lie about meanwhile.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const DAY: u64 = 86_400_000_000;
const ID: MeterId = MeterId(0);

/// Some cores, and a key with these limits; 0 for none.
struct House {
    meters: Vec<Arc<Meter>>,
    cores: Vec<Leases>,
    now: u64,
}

impl House {
    fn new(cores: usize, requests: u64, tokens: u64) -> House {
        let house = House {
            meters: vec![Arc::default()],
            cores: (0..cores).map(|_| Leases::new(cores)).collect(),
            now: DAY,
        };
        house.limit(requests, tokens);
        house
    }

    fn limit(&self, requests: u64, tokens: u64) {
        let meter = &self.meters[0];
        meter.requests().set(Rate::new(requests), self.moment());
        meter.tokens().set(Rate::new(tokens), self.moment());
    }

    fn moment(&self) -> Moment {
        Moment(self.now)
    }

    fn admit(&mut self, core: usize) -> Result<(), Exhausted> {
        let now = self.moment();
        self.cores[core].admit(&self.meters[0], ID, now)
    }

    fn charge(&mut self, core: usize, tokens: u64) {
        let now = self.moment();
        self.cores[core].charge(&self.meters[0], ID, tokens, now);
    }

    fn allowance(&mut self, core: usize) -> Allowance {
        let now = self.moment();
        self.cores[core].allowance(&self.meters[0], ID, now)
    }

    fn settle(&mut self, core: usize, all: bool) {
        let now = self.moment();
        self.cores[core].settle(&self.meters, all, now);
    }

    fn leased(&self) -> u64 {
        let leased = |core: &Leases| core.by_meter.first().map_or(0, |lease| lease.requests);
        self.cores.iter().map(leased).sum()
    }
}

#[test]
fn small_limits_are_exact_whichever_core_is_asked() {
    // Below 128 requests a minute and core nothing is leased.
    for limit in [1, 2, 7, 255] {
        let mut house = House::new(2, limit, 0);
        let admitted = (0..2 * limit as usize + 9).filter(|call| house.admit(call % 2).is_ok());
        assert_eq!(admitted.count() as u64, limit);
        assert_eq!(house.leased(), 0);
    }
}

#[test]
fn a_large_limit_is_shared_out_and_comes_back() {
    let mut house = House::new(2, 6400, 0);
    assert!(house.admit(0).is_ok());
    assert_eq!(
        house.leased(),
        49,
        "6400 / (64 * 2), less the one that is used"
    );
    assert_eq!(house.allowance(0).requests.map(|it| it.left), Some(6399));
    assert_eq!(house.allowance(1).requests.map(|it| it.left), Some(6350));
    let admitted = (0..10_000).filter(|_| house.admit(1).is_ok()).count();
    assert_eq!(admitted, 6350);
    house.now += 50_000;
    house.settle(0, false);
    assert_eq!(house.leased(), 49, "a lease lasts 100 ms");
    house.now += 51_000;
    house.settle(0, false);
    assert_eq!((house.leased(), house.cores[0].open.len()), (0, 0));
    // And a tenth of a second's worth has come.
    let admitted = (0..10_000).filter(|_| house.admit(1).is_ok()).count();
    assert_eq!(admitted, 49 + 10);
}

#[test]
fn a_lease_that_has_lapsed_is_not_used() {
    let mut house = House::new(2, 6400, 0);
    assert!(house.admit(0).is_ok());
    house.now += 100_001;
    assert!(house.admit(0).is_ok());
    let bucket = house.meters[0].requests();
    let standing = bucket.standing(0, 0, house.moment()).unwrap();
    // Two were used, 49 are leased again, and the 10 that came fill the bucket up.
    assert_eq!((house.leased(), standing.left), (49, 6400 - 50));
}

#[test]
fn the_last_settling_gives_everything_back() {
    let mut house = House::new(4, 25_600, 25_600);
    for core in 0..4 {
        assert!(house.admit(core).is_ok());
        house.charge(core, 7);
        house.settle(core, true);
    }
    let meter = &house.meters[0];
    let left = |bucket: &Bucket| bucket.standing(0, 0, house.moment()).unwrap().left;
    assert_eq!(
        (left(meter.requests()), left(meter.tokens())),
        (25_596, 25_572)
    );
}

#[test]
fn tokens_are_charged_after_the_call_and_refuse_the_next() {
    let mut house = House::new(2, 0, 60);
    assert!(
        house.admit(0).is_ok() && house.admit(1).is_ok(),
        "nothing used yet"
    );
    house.charge(0, 100);
    house.charge(1, 20);
    let refused = Exhausted {
        limit: Limit::Tokens,
        wait: Duration::from_secs(61),
    };
    assert_eq!(
        (house.admit(0), house.admit(1)),
        (Err(refused), Err(refused))
    );
    house.now += 60_999_999;
    assert!(house.admit(0).is_err());
    house.now += 1;
    assert!(
        house.admit(0).is_ok(),
        "one token is enough to ask for more"
    );
}

#[test]
fn tokens_that_wait_to_be_charged_count_where_they_were_used() {
    let mut house = House::new(2, 0, 128_000);
    house.charge(0, 127_500);
    house.charge(0, 999);
    assert_eq!(house.admit(0).map_err(|it| it.limit), Err(Limit::Tokens));
    assert!(house.admit(1).is_ok(), "the other core hasn't heard");
    house.settle(0, false);
    assert_eq!(house.admit(1).map_err(|it| it.limit), Err(Limit::Tokens));
}

#[test]
fn whoever_is_refused_is_told_the_longer_wait_and_uses_up_nothing() {
    let mut house = House::new(1, 6, 60);
    assert!((0..6).all(|_| house.admit(0).is_ok()));
    let refused = |limit, seconds| {
        Err(Exhausted {
            limit,
            wait: Duration::from_secs(seconds),
        })
    };
    assert_eq!(house.admit(0), refused(Limit::Requests, 10));
    house.charge(0, 65);
    assert_eq!(house.admit(0), refused(Limit::Requests, 10));
    house.charge(0, 60);
    assert_eq!(house.admit(0), refused(Limit::Tokens, 66));
    let before = house.allowance(0);
    assert!((0..50).all(|_| house.admit(0).is_err()));
    assert_eq!(house.allowance(0), before);
    house.settle(0, false);
    let meter = &house.meters[0];
    let refused = [Limit::Requests, Limit::Tokens].map(|limit| meter.refused(limit));
    assert_eq!(refused, [2, 51]);
}

#[test]
fn without_a_limit_nothing_is_counted() {
    let mut house = House::new(2, 0, 0);
    assert!((0..1000).all(|_| house.admit(0).is_ok()));
    house.charge(0, 1 << 40);
    let nothing = Allowance {
        requests: None,
        tokens: None,
    };
    assert_eq!(house.allowance(0), nothing);
    assert!(house.admit(0).is_ok() && house.cores[0].open.is_empty());
}

#[test]
fn a_limit_that_goes_away_takes_its_leases_along() {
    let mut house = House::new(2, 6400, 0);
    assert!(house.admit(0).is_ok());
    house.limit(0, 0);
    assert!((0..100).all(|_| house.admit(0).is_ok()));
    house.settle(0, true);
    house.limit(5, 0);
    assert_eq!((0..9).filter(|_| house.admit(0).is_ok()).count(), 5);
}

proptest! {
    #[test]
    fn the_cores_let_in_what_the_limit_says_and_little_is_stranded(
        cores in 1..5_usize,
        limit in prop_oneof![1..2000_u64, 1..200_000_u64],
        steps in vec((0..5_usize, prop_oneof![3 => 0..2000_u64, 1 => 0..400_000_u64], 1..60_u32), 1..120),
    ) {
        let mut house = House::new(cores, limit, 0);
        let mut admitted: Vec<(u64, u64)> = Vec::new();
        let mut swept = house.now;
        for (core, after, calls) in steps {
            let core = core % cores;
            house.now += after;
            if house.now - swept >= 25_000 {
                swept = house.now;
                (0..cores).for_each(|core| house.settle(core, false));
            }
            let mut let_in = 0;
            for _ in 0..calls {
                match house.admit(core) {
                    Ok(()) => let_in += 1,
                    Err(exhausted) => {
                        prop_assert!(exhausted.wait > Duration::ZERO);
                        let bucket = house.meters[0].requests();
                        let standing = bucket.standing(0, 0, house.moment()).unwrap();
                        prop_assert_eq!(standing.left, 0);
                        prop_assert!(house.leased() <= limit / LEASED_PARTS);
                    }
                }
            }
            if let_in > 0 {
                admitted.push((house.now, let_in));
            }
        }
        let lease = LEASE.as_micros() as u64;
        for (first, &(since, _)) in admitted.iter().enumerate() {
            let mut sum = 0;
            for &(until, calls) in &admitted[first..] {
                sum += calls;
                let came = (limit * (until - since + lease)).div_ceil(60_000_000);
                prop_assert!(sum <= limit + came, "{sum} in {} us", until - since);
            }
        }
    }
}
