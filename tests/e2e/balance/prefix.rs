//! `balance = "prefix"`: a conversation comes back to the replica that knows it.

use super::{begin, counts, endless, fleet, replicas, under_way};
use crate::support::{Ask, Client, Instance, Reply, Setup, Upstream, eventually};

const PREFIX: &str = "balance = \"prefix\"";

struct World<const N: usize> {
    fleet: [Upstream; N],
    backstop: Upstream,
    srpd: Instance,
}

fn world<const N: usize>(reply: impl Fn() -> Reply) -> World<N> {
    let fleet_of = replicas::<N>(reply);
    let backstop = Upstream::always(Reply::chat("home"));
    let srpd = setup(&fleet_of, &backstop).start();
    World {
        fleet: fleet_of,
        backstop,
        srpd,
    }
}

fn setup(replicas: &[Upstream], backstop: &Upstream) -> Setup {
    fleet(replicas, backstop, PREFIX)
}

impl<const N: usize> World<N> {
    /// Which replica each of these reaches; all are answered.
    fn reached(&self, asks: impl IntoIterator<Item = Ask>) -> Vec<usize> {
        let asks = asks.into_iter();
        asks.map(|ask| {
            let before = counts(&self.fleet);
            // A connection of its own: it may come to either core.
            assert_eq!(self.srpd.ask(&ask).status, 200);
            let after = counts(&self.fleet);
            let mut grown = before
                .iter()
                .zip(&after)
                .map(|(before, after)| before < after);
            grown.position(|grown| grown).expect("a replica")
        })
        .collect()
    }
}

/// The conversation of that name after so many turns, each of some hundred bytes.
fn turn(name: usize, turns: usize) -> Ask {
    turn_with(name, turns, "")
}

fn turn_with(name: usize, turns: usize, more: &str) -> Ask {
    let said = |number| {
        format!(
            "{name} says {number}: {}",
            format!("word{name} ").repeat(60)
        )
    };
    let messages: Vec<String> = (0..turns * 2 - 1)
        .map(|number| {
            let role = ["user", "assistant"][number % 2];
            format!(r#"{{"role":"{role}","content":"{}"}}"#, said(number))
        })
        .collect();
    let messages = messages.join(",");
    let body = format!(r#"{{"model":"smart",{more}"messages":[{messages}]}}"#);
    Ask::post("/v1/chat/completions", body)
}

fn all_equal(places: &[usize]) -> bool {
    places.iter().all(|place| *place == places[0])
}

fn spread(places: &[usize]) -> usize {
    let mut distinct = places.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.len()
}

#[test]
fn a_conversation_stays_at_one_replica_and_conversations_are_spread() {
    let world = world::<4>(|| Reply::chat("hello"));
    let mut first = Vec::new();
    for name in 0..12 {
        let places = world.reached((1..=6).map(|turns| turn(name, turns)));
        assert!(all_equal(&places), "conversation {name}: {places:?}");
        first.push(places[0]);
    }
    assert!(spread(&first) >= 3, "{first:?}");
}

#[test]
fn without_it_a_conversation_goes_anywhere() {
    let fleet_of = replicas::<4>(|| Reply::chat("hello"));
    let backstop = Upstream::always(Reply::chat("home"));
    let srpd = fleet(&fleet_of, &backstop, "balance = \"least_loaded\"").start();
    for turns in 0..24 {
        assert_eq!(srpd.ask(&turn(1, 1 + turns % 6)).status, 200);
    }
    assert!(counts(&fleet_of).iter().filter(|count| **count > 0).count() >= 3);
}

#[test]
fn a_conversation_is_known_by_what_the_client_calls_it() {
    let world = world::<4>(|| Reply::chat("hello"));
    let named = |make: &dyn Fn(usize, usize) -> Ask| {
        let firsts = (0..12).map(|key| {
            // The texts have nothing in common.
            let places = world.reached((0..4).map(|turns| make(key, 100 + key * 10 + turns)));
            assert!(all_equal(&places), "{places:?}");
            places[0]
        });
        firsts.collect::<Vec<_>>()
    };
    let member = |member: &'static str| {
        move |key: usize, text: usize| {
            turn_with(text, 1, &format!(r#""{member}":"conversation {key}","#))
        }
    };
    let cache_key = named(&member("prompt_cache_key"));
    let user = named(&member("user"));
    let session =
        named(&|key, text| turn(text, 1).field("X-Session-Id", format!("conversation {key}")));
    for places in [&cache_key, &session] {
        assert!(spread(places) >= 3, "{places:?}");
    }
    assert_eq!(cache_key, user, "a name is a name");
    // The cache's own key comes first, then the user, then the session.
    let both = turn_with(
        7,
        1,
        r#""user":"conversation 1","prompt_cache_key":"conversation 0","#,
    );
    let all = both.field("x-session-id", "conversation 2");
    assert_eq!(world.reached([all]), [cache_key[0]]);
    let two = turn_with(7, 1, r#""user":"conversation 1","#);
    assert_eq!(
        world.reached([two.field("x-session-id", "conversation 2")]),
        [user[1]]
    );
}

#[test]
fn the_session_is_forwarded_as_any_field_is() {
    let world = world::<2>(|| Reply::chat("hello"));
    let place = world.reached([turn(1, 1).field("X-Session-Id", "abc")])[0];
    let received = world.fleet[place].last();
    assert_eq!(received.field("x-session-id").as_deref(), Some("abc"));
}

#[test]
fn too_many_calls_for_one_replica_go_elsewhere() {
    let world = world::<4>(endless);
    let ask = || turn_with(3, 1, r#""stream":true,"#);
    let begun: Vec<Client> = (0..8).map(|_| begin(&world.srpd, &ask())).collect();
    let eight = counts(&world.fleet);
    assert!(eight.contains(&8), "a few calls stay together: {eight:?}");
    let more: Vec<Client> = (0..24).map(|_| begin(&world.srpd, &ask())).collect();
    let all = counts(&world.fleet);
    // 32 calls on 4 replicas: none has more than 1.25 times the mean.
    assert!(all.iter().all(|count| *count <= 10), "{all:?}");
    assert_eq!(under_way(&world.srpd), 32.0);
    drop((begun, more));
    eventually("no call is under way", || under_way(&world.srpd) == 0.0);
}

#[test]
fn a_replica_that_fails_loses_its_conversations_and_gets_nothing() {
    let world = world::<3>(|| Reply::chat("hello"));
    let home = world.reached([turn(5, 1)])[0];
    world.fleet[home].set_always(Reply::failure(500));
    let mut client = world.srpd.connect();
    for turns in 2..22 {
        assert_eq!(client.ask(&turn(5, turns)).said(), "hello");
    }
    // Its breaker is told to be patient: what keeps calls away is that failures count as slow.
    assert!(
        world.fleet[home].count() <= 1 + 3,
        "{:?}",
        counts(&world.fleet)
    );
    assert_eq!(world.backstop.count(), 0);
}

#[test]
fn a_replica_that_is_gone_moves_its_own_conversations_only() {
    let world = world::<4>(|| Reply::chat("hello"));
    let name = |name: usize| turn_with(name, 1, &format!(r#""user":"{name}","#));
    let before = world.reached((0..24).map(name));
    let gone = before[0];
    let kept: Vec<String> = (0..4)
        .filter(|place| *place != gone)
        .map(|place| world.fleet[place].url())
        .collect();
    let at_gone = world.fleet[gone].count();
    world
        .srpd
        .reload(&super::of_urls(&kept, &world.backstop, PREFIX));
    eventually("the reload", || {
        world.srpd.metric("srpd_config_reloads_total", &[]) == 1.0
    });
    let after = world.reached((0..24).map(name));
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || *before == gone, "{before} {after}");
    }
    assert_eq!(world.fleet[gone].count(), at_gone, "no new call");
}

#[test]
fn what_has_no_text_is_served_all_the_same() {
    let world = world::<2>(|| Reply::json(200, r#"{"object":"list","data":[]}"#));
    for body in [
        r#"{"model":"smart"}"#,
        r#"{"model":"smart","input":["a","b"]}"#,
    ] {
        let ask = Ask::post("/v1/embeddings", body);
        assert_eq!(world.srpd.ask(&ask).status, 200);
    }
    let form = "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nsmart\r\n\
                --b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--b--\r\n";
    let ask = Ask::post("/v1/audio/transcriptions", form)
        .without("content-type")
        .field("content-type", "multipart/form-data; boundary=b");
    assert_eq!(world.srpd.ask(&ask).status, 200);
    let more = turn(1, 1).field("X-Session-Id", "");
    assert_eq!(world.srpd.ask(&more).status, 200);
}
