//! What a successor knows of its predecessor from the first call on: which endpoints drain, and the
//! slots that calls there go on to occupy.

use crate::balance::{begin, endless};
use crate::market::{FIRM, FLOATER, fleet_only, in_use};
use crate::supply::operator;
use crate::support::{Ask, Instance, Reply, Setup, Upstream, eventually, ms};
use crate::upgrade::Line;

fn floating() -> Ask {
    Ask::stream("smart").key(FLOATER)
}

fn firm() -> Ask {
    let ask = Ask::stream("smart").key(FIRM);
    ask.field("X-Sovereign-Supply", "firm")
}

fn upstreams() -> (Upstream, Upstream) {
    (
        Upstream::always(endless()),
        Upstream::always(Reply::chat("home")),
    )
}

fn refuses(srpd: &Instance, ask: &Ask, code: &str) {
    let refused = srpd.ask(ask);
    refused.assert_error(429, "capacity_error", Some(code), None);
}

#[test]
fn slots_that_calls_go_on_to_occupy_are_taken_for_the_successor_too() {
    let (fleet, backstop) = upstreams();
    let srpd = fleet_only(&fleet, &backstop).start();
    let mut line = Line::default();
    let [one, other] = [(); 2].map(|()| begin(&srpd, &floating()));
    line.succeed(&srpd);
    assert_eq!(in_use(&srpd, "floating"), 2.0);
    refuses(&srpd, &floating(), "floating_unavailable");
    // Also for the one after it, whom it tells what it was told.
    line.succeed(&srpd);
    refuses(&srpd, &floating(), "floating_unavailable");
    drop(one);
    eventually("one is free", || in_use(&srpd, "floating") == 1.0);
    let mine = begin(&srpd, &floating());
    refuses(&srpd, &floating(), "floating_unavailable");
    drop((other, mine));
    eventually("all are free", || in_use(&srpd, "floating") == 0.0);
    let _both = [(); 2].map(|()| begin(&srpd, &floating()));
}

#[test]
fn slots_of_a_predecessor_that_dies_are_free() {
    let (fleet, backstop) = upstreams();
    let srpd = fleet_only(&fleet, &backstop).start();
    let mut line = Line::default();
    let _both = [(); 2].map(|()| begin(&srpd, &floating()));
    line.succeed(&srpd);
    refuses(&srpd, &floating(), "floating_unavailable");
    srpd.signal("KILL");
    eventually("all are free", || in_use(&srpd, "floating") == 0.0);
    let _both = [(); 2].map(|()| begin(&srpd, &floating()));
}

#[test]
fn who_has_no_successor_does_not_stay_for_its_predecessors_calls() {
    let (fleet, backstop) = upstreams();
    let srpd = fleet_only(&fleet, &backstop).start();
    let mut line = Line::default();
    let _goes_on = begin(&srpd, &floating());
    line.succeed(&srpd);
    assert_eq!(in_use(&srpd, "floating"), 1.0);
    line.end_last();
}

#[test]
fn a_reservation_that_is_in_use_is_so_for_the_successor_too() {
    let (fleet, backstop) = upstreams();
    let srpd = fleet_only(&fleet, &backstop).start();
    let mut line = Line::default();
    let first = begin(&srpd, &firm());
    line.succeed(&srpd);
    refuses(&srpd, &firm(), "firm_exhausted");
    drop(first);
    eventually("it is given back", || in_use(&srpd, "firm") == 0.0);
    let _mine = begin(&srpd, &firm());
    refuses(&srpd, &firm(), "firm_exhausted");
}

#[test]
fn a_firm_call_displaces_a_floating_one_that_the_predecessor_has() {
    let (fleet, backstop) = upstreams();
    let srpd = fleet_only(&fleet, &backstop).start();
    let mut line = Line::default();
    let [mut poor, rich] = ["4", "9"].map(|bid| {
        let ask = floating().field("X-Sovereign-Max-Price", bid);
        begin(&srpd, &ask)
    });
    line.succeed(&srpd);
    let mine = begin(&srpd, &firm());
    let rest = String::from_utf8_lossy(&poor.rest().0).into_owned();
    assert!(rest.contains("\"curtailed\""), "{rest}");
    eventually("as many as there are", || {
        in_use(&srpd, "firm") + in_use(&srpd, "floating") == 2.0
    });
    // And no more of them than that.
    std::thread::sleep(ms(300));
    assert_eq!(in_use(&srpd, "floating"), 1.0);
    assert_eq!(fleet.closed(), 1);
    drop((rich, mine));
}

#[test]
fn an_endpoint_that_drains_goes_on_to() {
    let [drained, other] = ["drained", "other"].map(|name| Upstream::always(Reply::chat(name)));
    let backstop = Upstream::always(Reply::chat("home"));
    let srpd = Setup::bare(&backstop.url())
        .provider("fleet", "au", &[&drained.url(), &other.url()], "")
        .capability("smart", &["fleet"], "")
        .start();
    let mut line = Line::default();
    let (done, text) = operator(&srpd, &["drain", "fleet", &drained.url()]);
    assert!(done, "{text}");
    line.succeed(&srpd);
    for _ in 0..10 {
        assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "other");
    }
    assert_eq!(drained.count(), 0);
    let (done, text) = operator(&srpd, &["drain", "fleet", &drained.url(), "--undo"]);
    assert!(done, "{text}");
    line.succeed(&srpd);
    eventually("it serves again", || {
        srpd.ask(&Ask::chat("smart")).said() == "drained"
    });
}
