//! Itineraries: in order, inside the border, nobody twice, and the last attempt for the backstop.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::policy::residency::JurisdictionSet;

/// Compiles only while neither can be cloned: one candidate, one attempt.
const _: fn() = || {
    trait AmbiguousIfClone<A> {
        fn ambiguous() {}
    }
    struct Cloneable;
    impl<T> AmbiguousIfClone<()> for T {}
    impl<T: Clone> AmbiguousIfClone<Cloneable> for T {}
    let _ = <Candidate as AmbiguousIfClone<_>>::ambiguous;
    let _ = <Itinerary<'_> as AmbiguousIfClone<_>>::ambiguous;
};

fn at(code: &str) -> Jurisdiction {
    Jurisdiction::parse(code).expect(code)
}

fn link(provider: u16, code: &str) -> Link {
    Link {
        provider,
        jurisdiction: at(code),
        backstop: false,
    }
}

fn backstop(provider: u16, code: &str) -> Link {
    Link {
        backstop: true,
        ..link(provider, code)
    }
}

fn chain(links: &[Link]) -> Chain {
    Chain::new(links.to_vec()).unwrap()
}

fn only(codes: &[&str]) -> Residency {
    let set = codes.iter().map(|code| at(code)).collect();
    Residency::effective(Some(set), JurisdictionSet::ALL, JurisdictionSet::ALL)
}

fn anywhere() -> Residency {
    Residency::effective(None, JurisdictionSet::ALL, JurisdictionSet::ALL)
}

/// Takes whatever is offered.
fn take(itinerary: &mut Itinerary<'_>) -> Option<Candidate> {
    itinerary
        .next(|_| Some(()))
        .map(|(candidate, ())| candidate)
}

/// The providers of all attempts, if each is taken and fails.
fn providers(mut itinerary: Itinerary<'_>) -> Vec<u16> {
    std::iter::from_fn(|| take(&mut itinerary).map(|candidate| candidate.provider())).collect()
}

#[test]
fn a_chain_is_bounded_and_names_no_provider_twice() {
    let numbered = |n: u16| (0..n).map(|i| link(i, "au")).collect::<Vec<_>>();
    assert_eq!(chain(&numbered(64)).links(), numbered(64));
    assert_eq!(
        Chain::new(numbered(65)).unwrap_err(),
        ChainError::TooLong { links: 65 }
    );
    let twice = vec![link(3, "us"), link(4, "us"), link(3, "au")];
    assert_eq!(
        Chain::new(twice).unwrap_err(),
        ChainError::Repeated {
            first: 0,
            second: 2
        }
    );
}

#[test]
fn nothing_inside_the_border_is_no_itinerary() {
    let abroad = chain(&[link(0, "us"), link(1, "de")]);
    assert!(abroad.within(&only(&["au"]), 3).is_none());
    assert!(chain(&[]).within(&anywhere(), 3).is_none());
    assert!(abroad.within(&only(&["au", "de"]), 3).is_some());
}

#[test]
fn a_failed_provider_is_followed_by_the_next_inside_the_border() {
    let chain = chain(&[
        link(7, "us"),
        link(8, "nz"),
        link(9, "us"),
        link(5, "au"),
        backstop(6, "au"),
    ]);
    let anz = only(&["au", "nz"]);
    assert_eq!(providers(chain.within(&anz, 9).unwrap()), [8, 5, 6]);
    assert_eq!(
        providers(chain.within(&anywhere(), 9).unwrap()),
        [7, 8, 9, 5, 6]
    );
}

#[test]
fn the_last_attempt_is_kept_for_the_backstop() {
    let chain = chain(&[
        link(0, "us"),
        link(1, "us"),
        link(2, "us"),
        backstop(3, "au"),
    ]);
    let tries = |attempts| providers(chain.within(&anywhere(), attempts).unwrap());
    assert_eq!(tries(0), [0_u16; 0]);
    assert_eq!(tries(1), [0], "a single attempt is the first, not the last");
    assert_eq!(tries(2), [0, 3]);
    assert_eq!(tries(3), [0, 1, 3]);
    assert_eq!(tries(4), [0, 1, 2, 3]);
}

#[test]
fn a_backstop_outside_the_border_keeps_nothing() {
    let chain = chain(&[link(0, "us"), link(1, "us"), backstop(2, "au")]);
    assert_eq!(providers(chain.within(&only(&["us"]), 2).unwrap()), [0, 1]);
}

#[test]
fn a_backstop_listed_first_keeps_its_place_and_then_nothing_is_kept() {
    let chain = chain(&[backstop(0, "au"), link(1, "us"), link(2, "us")]);
    assert_eq!(providers(chain.within(&anywhere(), 3).unwrap()), [0, 1, 2]);
}

#[test]
fn the_last_attempt_goes_to_another_if_the_backstop_can_not_take_it() {
    let chain = chain(&[
        link(0, "us"),
        link(1, "us"),
        link(2, "us"),
        backstop(3, "au"),
    ]);
    let mut itinerary = chain.within(&anywhere(), 2).unwrap();
    assert_eq!(take(&mut itinerary).unwrap().provider(), 0);
    let mut seen = Vec::new();
    let last = itinerary.next(|offered| {
        seen.push(offered.provider());
        (!offered.is_backstop()).then_some(())
    });
    assert_eq!(seen, [3, 1]);
    assert_eq!(last.unwrap().0.provider(), 1);
    assert_eq!(take(&mut itinerary), None);
}

#[test]
fn what_was_refused_costs_nothing_and_is_offered_again() {
    let chain = chain(&[link(0, "us"), link(1, "us")]);
    let mut itinerary = chain.within(&anywhere(), 2).unwrap();
    let mut offered = 0;
    let none: Option<(Candidate, ())> = itinerary.next(|_| {
        offered += 1;
        None
    });
    assert_eq!((none, offered, itinerary.attempts()), (None, 2, 0));
    let (second, permit) = itinerary
        .next(|offered| (offered.provider() == 1).then_some("permit"))
        .unwrap();
    assert_eq!(
        (second.link(), permit, itinerary.attempts()),
        (1, "permit", 1)
    );
    assert_eq!(take(&mut itinerary).unwrap().link(), 0);
}

#[test]
fn a_provider_has_one_repeat() {
    let chain = chain(&[link(0, "us"), link(1, "us")]);
    let mut itinerary = chain.within(&anywhere(), 5).unwrap();
    let first = take(&mut itinerary).unwrap();
    assert!(!first.is_repeat());
    let again = itinerary.repeat(first).unwrap();
    assert!(again.is_repeat());
    assert_eq!((again.provider(), itinerary.attempts()), (0, 2));
    let again = itinerary.repeat(again).unwrap_err();
    assert_eq!((again.provider(), itinerary.attempts()), (0, 2));
    let second = take(&mut itinerary).unwrap();
    assert_eq!(itinerary.repeat(second).unwrap().provider(), 1);
    assert_eq!(itinerary.attempts(), 4);
}

#[test]
fn a_repeat_takes_neither_the_backstops_attempt_nor_one_too_many() {
    let chain = chain(&[link(0, "us"), link(1, "us"), backstop(2, "au")]);
    let mut itinerary = chain.within(&anywhere(), 2).unwrap();
    let first = take(&mut itinerary).unwrap();
    let _ = itinerary.repeat(first).unwrap_err();
    let last = take(&mut itinerary).unwrap();
    assert!(last.is_backstop());
    let _ = itinerary.repeat(last).unwrap_err();
    assert_eq!(itinerary.attempts(), 2);

    let mut itinerary = chain.within(&anywhere(), 3).unwrap();
    let first = take(&mut itinerary).unwrap();
    let _ = itinerary.repeat(first).unwrap();
    assert!(take(&mut itinerary).unwrap().is_backstop());
}

#[test]
fn another_calls_candidate_is_no_way_across_the_border() {
    let chain = chain(&[link(0, "us"), link(1, "au")]);
    let mut abroad = chain.within(&anywhere(), 5).unwrap();
    let mut at_home = chain.within(&only(&["au"]), 5).unwrap();
    assert_eq!(take(&mut at_home).unwrap().provider(), 1);
    let foreign = take(&mut abroad).unwrap();
    let foreign = at_home.repeat(foreign).unwrap_err();
    assert_eq!(foreign.jurisdiction(), at("us"));
    assert_eq!(at_home.attempts(), 1);
}

#[test]
fn another_chains_candidate_is_none_here_even_at_the_same_position() {
    let (vendor, home) = (chain(&[link(0, "us")]), chain(&[link(1, "au")]));
    let mut abroad = vendor.within(&anywhere(), 5).unwrap();
    let mut at_home = home.within(&only(&["au"]), 5).unwrap();
    assert_eq!(take(&mut at_home).unwrap().link(), 0);
    let foreign = take(&mut abroad).unwrap();
    let foreign = at_home.repeat(foreign).unwrap_err();
    assert_eq!((foreign.provider(), at_home.attempts()), (0, 1));
}

fn merit(itinerary: Option<Itinerary<'_>>) -> Itinerary<'_> {
    let mut itinerary = itinerary.unwrap();
    itinerary.order_by_merit(true);
    itinerary
}

#[test]
fn by_merit_the_cheapest_inside_the_border_comes_first() {
    let mut links = chain(&[
        link(0, "us"),
        link(1, "au"),
        link(2, "nz"),
        backstop(3, "au"),
        link(4, "au"),
    ]);
    let costs = [1, 9, 2, 5, 5];
    links.set_costs(|link| costs[usize::from(link.provider)]);
    let by_merit =
        |residency: &Residency, attempts| providers(merit(links.within(residency, attempts)));
    assert_eq!(by_merit(&anywhere(), 5), [0, 2, 3, 4, 1]);
    assert_eq!(
        by_merit(&only(&["au"]), 5),
        [3, 4, 1],
        "never the cheaper one beyond"
    );
    assert_eq!(
        by_merit(&anywhere(), 2),
        [0, 3],
        "the last is kept for the backstop"
    );
    assert_eq!(
        providers(links.within(&anywhere(), 5).unwrap()),
        [0, 1, 2, 3, 4]
    );
}

fn any_links() -> impl Strategy<Value = Vec<Link>> {
    let one = (
        select(vec!["au", "nz", "us", "de"]),
        proptest::bool::weighted(0.2),
    );
    (vec(one, 0..=CHAIN_LINKS_MAX), any::<u16>(), 0..2_usize).prop_map(|(links, salt, short)| {
        let kept = if short == 0 { 6 } else { CHAIN_LINKS_MAX };
        let numbered = links.into_iter().take(kept).zip(0_u16..);
        numbered
            .map(|((code, backstop), i)| Link {
                provider: salt.wrapping_add(i.wrapping_mul(257)),
                jurisdiction: at(code),
                backstop,
            })
            .collect()
    })
}

fn any_residency() -> impl Strategy<Value = Residency> {
    proptest::sample::subsequence(vec!["au", "nz", "us", "de", "jp"], 0..=5)
        .prop_map(|codes| only(&codes))
}

#[derive(Clone, Debug)]
enum Step {
    /// Go on; links of these positions refuse.
    Next { refusing: u64 },
    /// Repeat after one of the candidates in hand.
    Repeat(Index),
}

fn any_step() -> impl Strategy<Value = Step> {
    let refusing = prop_oneof![Just(0), any::<u64>(), Just(u64::MAX)];
    prop_oneof![
        3 => refusing.prop_map(|refusing| Step::Next { refusing }),
        1 => any::<Index>().prop_map(Step::Repeat),
    ]
}

/// The rules of SRP section 5 over plain lists: what may be offered now, in order.
fn offers(
    links: &[Link],
    residency: Residency,
    tried: &[usize],
    spent: u32,
    max: u32,
) -> Vec<usize> {
    if spent == max {
        return Vec::new();
    }
    let open = (0..links.len())
        .filter(|i| residency.allows(links[*i].jurisdiction))
        .filter(|i| !tried.contains(i));
    let (mut order, others): (Vec<usize>, Vec<usize>) = if spent > 0 && spent + 1 == max {
        open.partition(|i| links[*i].backstop)
    } else {
        (Vec::new(), open.collect())
    };
    order.extend(others);
    order
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn an_itinerary_follows_the_rules(
        links in any_links(),
        residency in any_residency(),
        max in prop_oneof![0..5_u32, 0..80_u32],
        steps in vec(any_step(), 0..100),
    ) {
        let chain = chain(&links);
        let inside = links.iter().any(|link| residency.allows(link.jurisdiction));
        let Some(mut itinerary) = chain.within(&residency, max) else {
            prop_assert!(!inside);
            return Ok(());
        };
        prop_assert!(inside);
        let (mut tried, mut repeated, mut spent) = (Vec::new(), Vec::new(), 0);
        let mut in_hand: Vec<Candidate> = Vec::new();
        for step in steps {
            let order = offers(&links, residency, &tried, spent, max);
            match step {
                Step::Next { refusing } => {
                    let mut seen = Vec::new();
                    let next = itinerary.next(|offered| {
                        seen.push(offered.link());
                        (refusing >> offered.link() & 1 == 0).then_some(offered.provider())
                    });
                    let taken = order.iter().position(|i| refusing >> i & 1 == 0);
                    prop_assert_eq!(&seen, &order[..taken.map_or(order.len(), |at| at + 1)]);
                    prop_assert_eq!(next.is_some(), taken.is_some());
                    let Some((candidate, permit)) = next else { continue };
                    let link = links[candidate.link()];
                    prop_assert_eq!(candidate.provider(), link.provider);
                    prop_assert_eq!(permit, link.provider);
                    prop_assert_eq!(candidate.jurisdiction(), link.jurisdiction);
                    prop_assert_eq!(candidate.is_backstop(), link.backstop);
                    prop_assert!(residency.allows(candidate.jurisdiction()));
                    prop_assert!(!tried.contains(&candidate.link()));
                    tried.push(candidate.link());
                    in_hand.push(candidate);
                    spent += 1;
                }
                Step::Repeat(which) if !in_hand.is_empty() => {
                    let after = in_hand.swap_remove(which.index(in_hand.len()));
                    let position = after.link();
                    let kept = spent + 1 == max && order.first().is_some_and(|i| links[*i].backstop);
                    let may = spent < max && !kept && !repeated.contains(&position);
                    prop_assert_eq!(itinerary.may_repeat(&after), may);
                    let repeat = itinerary.repeat(after);
                    prop_assert_eq!(repeat.is_ok(), may);
                    if may {
                        repeated.push(position);
                        spent += 1;
                    }
                    let (Ok(candidate) | Err(candidate)) = repeat;
                    prop_assert_eq!(candidate.link(), position);
                    in_hand.push(candidate);
                }
                Step::Repeat(_) => {}
            }
            prop_assert_eq!(itinerary.attempts(), spent);
            prop_assert!(spent <= max);
        }
    }

    #[test]
    fn a_backstop_that_can_take_it_is_tried_before_the_attempts_run_out(
        links in any_links(),
        residency in any_residency(),
        max in 2..8_u32,
    ) {
        let chain = chain(&links);
        let Some(itinerary) = chain.within(&residency, max) else { return Ok(()) };
        let tried = providers(itinerary);
        let mut backstops = links
            .iter()
            .filter(|link| link.backstop && residency.allows(link.jurisdiction))
            .peekable();
        if backstops.peek().is_some() {
            prop_assert!(backstops.any(|link| tried.contains(&link.provider)));
        }
    }

    #[test]
    fn a_narrower_border_offers_nothing_new(
        links in any_links(),
        wide in any_residency(),
        narrow in any_residency(),
    ) {
        let all = |residency: &Residency| {
            let chain = chain(&links);
            chain.within(residency, 99).map(providers).unwrap_or_default()
        };
        let both: JurisdictionSet = JurisdictionSet::ALL
            .iter()
            .filter(|one| wide.allows(*one) && narrow.allows(*one))
            .collect();
        let both = Residency::effective(Some(both), JurisdictionSet::ALL, JurisdictionSet::ALL);
        let wide = all(&wide);
        prop_assert!(all(&both).iter().all(|provider| wide.contains(provider)));
    }

    #[test]
    fn by_merit_nobody_is_left_out_or_comes_before_someone_cheaper(
        links in any_links(),
        residency in any_residency(),
        costs in vec(0..4u64, 64),
    ) {
        let mut links = chain(&links);
        links.set_costs(|link| costs[usize::from(link.provider) % 64]);
        let whole = CHAIN_LINKS_MAX as u32 + 1;
        if let Some(listed) = links.within(&residency, whole) {
            let listed = providers(listed);
            let merit = providers(merit(links.within(&residency, whole)));
            let mut expected = listed;
            expected.sort_by_key(|&provider| costs[usize::from(provider) % 64]);
            prop_assert_eq!(merit, expected);
        }
    }
}

proptest! {
    /// A call that has waited: whoever has had it is passed over, its earlier attempts count, and
    /// nobody else comes into reach.
    #[test]
    fn what_was_before_a_wait_only_narrows(
        codes in vec(select(vec!["au", "nz", "us"]), 1..8),
        passed in vec(0..9usize, 0..6),
        earlier in 0..4u32,
        most in 1..6u32,
    ) {
        let links: Vec<Link> = (0..).zip(&codes).map(|(id, code)| link(id, code)).collect();
        let chain = chain(&links);
        let border = only(&["au", "nz"]);
        let Some(mut itinerary) = chain.within(&border, most) else {
            return Ok(());
        };
        passed.iter().for_each(|&position| itinerary.pass_over(position));
        itinerary.count_earlier(earlier);
        let spent = itinerary.spent(&border);
        let inside = |position: usize| codes.get(position).is_some_and(|code| *code != "us");
        for position in 0..9 {
            let expected = passed.contains(&position) && inside(position);
            prop_assert_eq!(spent >> position & 1 == 1, expected);
        }
        let free = (0..links.len()).filter(|it| inside(*it) && !passed.contains(it));
        let left = most.saturating_sub(earlier) as usize;
        let expected: Vec<u16> = free.map(|it| it as u16).take(left).collect();
        prop_assert_eq!(providers(itinerary), expected);
    }
}
