//! Which of a provider's replicas a call goes to, seen from the replicas.

mod prefix;

use std::collections::BTreeSet;
use std::thread;

use crate::support::{
    Ask, Client, Instance, Refusing, Reply, Setup, Upstream, delta, eventually, ms,
};

/// An instance whose capability `smart` is served by a fleet of these, with `more` in its table.
pub fn fleet(replicas: &[Upstream], backstop: &Upstream, more: &str) -> Setup {
    let urls: Vec<String> = replicas.iter().map(Upstream::url).collect();
    of_urls(&urls, backstop, more)
}

pub fn of_urls(urls: &[String], backstop: &Upstream, more: &str) -> Setup {
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    Setup::bare(&backstop.url())
        .provider("fleet", "au", &urls, more)
        .capability("smart", &["fleet"], "")
        .patient_breakers()
}

pub fn replicas<const N: usize>(script: impl Fn() -> Reply) -> [Upstream; N] {
    [(); N].map(|()| Upstream::always(script()))
}

pub fn counts(replicas: &[Upstream]) -> Vec<usize> {
    replicas.iter().map(Upstream::count).collect()
}

/// A stream that has begun and doesn't end.
pub fn endless() -> Reply {
    Reply::events().event(&delta("one")).stall()
}

/// Begins a stream on a connection of its own, and waits until it has begun.
pub fn begin(srpd: &Instance, ask: &Ask) -> Client {
    let mut client = srpd.connect();
    client.send(ask.bytes());
    client.incoming().until("one");
    client
}

pub fn under_way(srpd: &Instance) -> f64 {
    srpd.metric("srpd_endpoint_calls", &["fleet"])
}

#[test]
fn calls_go_to_the_replica_with_fewer_under_way() {
    let (fleet_of, backstop) = (
        replicas::<2>(endless),
        Upstream::always(Reply::chat("home")),
    );
    let srpd = fleet(&fleet_of, &backstop, "").start();
    // Of two, both are looked at each time: they fill up evenly, whatever core a call comes to.
    let begun: Vec<Client> = (0..12)
        .map(|_| begin(&srpd, &Ask::stream("smart")))
        .collect();
    let reached = counts(&fleet_of);
    assert!(
        reached.iter().all(|count| (5..=7).contains(count)),
        "{reached:?}"
    );
    assert_eq!(under_way(&srpd), 12.0);
    assert_eq!(srpd.metric("srpd_endpoint_calls_awaiting", &["fleet"]), 0.0);
    drop(begun);
    eventually("no call is under way", || under_way(&srpd) == 0.0);
}

#[test]
fn all_replicas_are_used() {
    let answer = || Reply::chat_stream(&["one"]);
    let fleet_of = replicas::<4>(|| Reply {
        steps: [Reply::new().pause(ms(30)).steps, answer().steps].concat(),
    });
    let backstop = Upstream::always(Reply::chat("home"));
    let srpd = fleet(&fleet_of, &backstop, "").start();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = srpd.connect();
                for _ in 0..20 {
                    assert_eq!(client.ask(&Ask::stream("smart")).status, 200);
                }
            });
        }
    });
    let reached = counts(&fleet_of);
    assert_eq!((reached.iter().sum::<usize>(), backstop.count()), (160, 0));
    assert!(reached.iter().all(|count| *count >= 16), "{reached:?}");
    eventually("no call is under way", || under_way(&srpd) == 0.0);
}

#[test]
fn a_replica_that_fails_fast_attracts_nothing() {
    let fleet_of = [
        Upstream::always(Reply::failure(500)),
        Upstream::always(Reply::events().pause(ms(30)).event(&delta("one")).done()),
    ];
    let backstop = Upstream::always(Reply::chat("home"));
    let srpd = fleet(&fleet_of, &backstop, "").start();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut client = srpd.connect();
                for _ in 0..20 {
                    assert_eq!(client.ask(&Ask::stream("smart")).status, 200);
                }
            });
        }
    });
    // It never has more than one call under way, and the other has six: by its count alone it
    // would be asked for each.
    assert!(fleet_of[0].count() <= 12, "{:?}", counts(&fleet_of));
}

#[test]
fn calls_that_are_given_up_leave_every_count_at_zero() {
    let silent = replicas::<2>(|| Reply::new().stall());
    let [one, other] = replicas::<2>(endless);
    let [silent_one, silent_other] = silent;
    let fleet_of = [one, other, silent_one, silent_other];
    let backstop = Upstream::always(Reply::chat("home"));
    let srpd = fleet(&fleet_of, &backstop, "").start();
    for round in 0..30 {
        let before = counts(&fleet_of).iter().sum::<usize>();
        let mut left: Vec<Client> = (0..8).map(|_| srpd.connect()).collect();
        for (number, client) in left.iter_mut().enumerate() {
            let bytes = Ask::stream("smart").bytes();
            // Some go before their request is whole, some before its answer, some in the middle.
            let part = if number % 4 == 0 {
                bytes.len() - 1
            } else {
                bytes.len()
            };
            client.send(&bytes[..part]);
        }
        if round % 2 == 0 {
            eventually("most of them asked for", || {
                counts(&fleet_of).iter().sum::<usize>() >= before + 5
            });
        }
    }
    let awaiting = || srpd.metric("srpd_endpoint_calls_awaiting", &["fleet"]);
    // The last ones may not even have been accepted yet.
    eventually("no call is under way", || {
        (under_way(&srpd), awaiting()) == (0.0, 0.0)
    });
    assert!(fleet_of[..2].iter().all(|replica| replica.count() > 0));
}

#[test]
fn a_reload_keeps_the_counts_and_a_replica_that_is_gone_gets_no_new_call() {
    let fleet_of = replicas::<3>(endless);
    let backstop = Upstream::always(Reply::chat("home"));
    let setup = fleet(&fleet_of, &backstop, "");
    let srpd = setup.start();
    let mut begun: Vec<Client> = (0..9)
        .map(|_| begin(&srpd, &Ask::stream("smart")))
        .collect();
    let before = counts(&fleet_of);
    assert_eq!((before.iter().sum::<usize>(), under_way(&srpd)), (9, 9.0));
    let urls = [fleet_of[0].url(), fleet_of[1].url()];
    srpd.reload(&of_urls(&urls, &backstop, ""));
    eventually("the reload", || {
        srpd.metric("srpd_config_reloads_total", &[]) == 1.0
    });
    let kept = (before[0] + before[1]) as f64;
    assert_eq!(
        under_way(&srpd),
        kept,
        "those of the endpoints that are left"
    );
    begun.extend((0..6).map(|_| begin(&srpd, &Ask::stream("smart"))));
    assert_eq!(fleet_of[2].count(), before[2], "no new call");
    // Its calls go on, and count when it is back.
    srpd.reload(&setup);
    eventually("the reload", || {
        srpd.metric("srpd_config_reloads_total", &[]) == 2.0
    });
    assert_eq!(under_way(&srpd), 15.0);
    drop(begun);
    eventually("no call is under way", || under_way(&srpd) == 0.0);
}

#[test]
fn a_new_replica_gets_its_share_gradually() {
    let fleet_of = replicas::<2>(|| Reply::chat_stream(&["one"]));
    let backstop = Upstream::always(Reply::chat("home"));
    let urls: BTreeSet<String> = fleet_of.iter().map(Upstream::url).collect();
    assert_eq!(urls.len(), 2);
    let [old, new] = &fleet_of;
    let srpd = of_urls(&[old.url()], &backstop, "").start();
    srpd.reload(&fleet(&fleet_of, &backstop, ""));
    eventually("the reload", || {
        srpd.metric("srpd_config_reloads_total", &[]) == 1.0
    });
    old.set_always(endless());
    new.set_always(endless());
    let before = old.count();
    let _begun: Vec<Client> = (0..10)
        .map(|_| begin(&srpd, &Ask::stream("smart")))
        .collect();
    // A tenth of a share at first, and it may have grown to a few tenths on a slow machine.
    assert!(new.count() <= 3, "{}", new.count());
    assert!(old.count() - before >= 7);
}

#[test]
fn a_capacity_is_shared_by_the_replicas_and_a_reserved_slot_is_above_that() {
    const EVER: &str = "from = \"2020-01-01T00:00:00Z\"\nuntil = \"2100-01-01T00:00:00Z\"";
    let (alive, dead) = (Upstream::always(endless()), Refusing::new());
    let backstop = Upstream::always(Reply::chat("home"));
    let reserved =
        format!("[[reservation]]\nkey = \"acme\"\nprovider = \"fleet\"\nslots = 1\n{EVER}\n");
    let srpd = of_urls(&[alive.url(), dead.url()], &backstop, "capacity = 6")
        .raw(&reserved)
        .start();
    let begun: Vec<Client> = (0..3)
        .map(|_| begin(&srpd, &Ask::stream("smart")))
        .collect();
    assert_eq!((alive.count(), backstop.count()), (3, 0));
    // Its half of the capacity is in use; the other half is where nobody answers.
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "home");
    assert_eq!(alive.count(), 3);
    let firm = Ask::stream("smart").field("X-Sovereign-Supply", "firm");
    let reserved = begin(&srpd, &firm);
    assert_eq!(alive.count(), 4);
    drop((begun, reserved));
}
