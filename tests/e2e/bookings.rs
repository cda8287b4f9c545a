//! Reservations that are booked while the instance runs (SRP section 8), through the admin plane and
//! through `srpd market`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::balance::{begin, endless};
use crate::support::setup::SRPD;
use crate::support::{
    Ask, Client, Instance, Reply, Response, Setup, Upstream, eventually, ms, within,
};
use crate::upgrade::Line;

const KEY: &str = "buyer-key";
const OTHER: &str = "other-key";
const PATH: &str = "/srp/v1/reservations";

/// Whoever else uses this machine's CPUs must not end what is tested here.
const STALL: &str = "stall = \"30s\"";

/// So many hours after the beginning of this one.
fn hour(ahead: i64) -> String {
    let second = (Timestamp::now().as_second() / 3600 + ahead) * 3600;
    let hour = Timestamp::from_second(second).expect("a time");
    hour.to_string()
}

/// Waits until the hour has some time left: what is booked for it must not end during a test.
fn early_in_the_hour() {
    let left = 3600 - Timestamp::now().as_second().rem_euclid(3600);
    if left <= 60 {
        std::thread::sleep(ms(1000 * left as u64));
    }
}

/// `fleet` in nz with four slots is all there is for `smart`; the backstop in au has no capacity.
/// Bookings are kept beside the configuration.
fn setup(fleet: &Upstream) -> Setup {
    early_in_the_hour();
    Setup::bare(&fleet.url())
        .provider("fleet", "nz", &[&fleet.url()], "capacity = 4\nprice = 0.6")
        .capability("smart", &["fleet"], "residency = \"nz-only\"")
        .key("buyer", KEY, "capabilities = [\"*\"]")
        .key("other", OTHER, "capabilities = [\"*\"]")
        .section("market", "bookings = \"reservations.redb\"")
        .section("timeouts", STALL)
}

fn upstream() -> Upstream {
    Upstream::always(Reply::chat("fleet"))
}

/// An order of slots at `fleet`, in this hour.
fn order(slots: u32) -> Value {
    json!({
        "key": "buyer", "provider": "fleet", "slots": slots, "from": hour(0), "until": hour(1),
    })
}

fn with(mut order: Value, member: &str, value: Value) -> Value {
    order[member] = value;
    order
}

fn admin(srpd: &Instance, ask: &Ask) -> Response {
    Client::connect(srpd.admin_address()).ask(ask)
}

fn reserve(srpd: &Instance, order: &Value) -> Response {
    let ask = Ask::post(PATH, order.to_string()).without("authorization");
    admin(srpd, &ask)
}

fn cancel(srpd: &Instance, id: &str) -> Response {
    admin(srpd, &Ask::get(&format!("{PATH}/{id}")).method("DELETE"))
}

/// Books, and returns the id.
fn booked(srpd: &Instance, order: &Value) -> String {
    let response = reserve(srpd, order);
    assert_eq!(response.status, 201, "{}", response.text());
    let id = response.json()["id"].as_str().map(str::to_owned);
    let id = id.expect("an id");
    assert_eq!(response.field("location"), Some(&*format!("{PATH}/{id}")));
    id
}

/// The ids of what is booked, in order of booking.
fn ids(srpd: &Instance) -> Vec<String> {
    let page = srpd.admin(PATH).json();
    let all = page["reservations"].as_array().expect("a list").iter();
    all.filter_map(|it| Some(it["id"].as_str()?.to_owned()))
        .collect()
}

fn firm(key: &str) -> Ask {
    Ask::chat("smart")
        .key(key)
        .field("X-Sovereign-Supply", "firm")
}

fn assert_not_reserved(srpd: &Instance) {
    srpd.ask(&firm(KEY)).assert_error(
        403,
        "permission_error",
        Some("firm_not_reserved"),
        Some("X-Sovereign-Supply"),
    );
}

#[test]
fn what_is_booked_serves_firm_calls_on_every_core_at_once_until_it_is_cancelled() {
    let fleet = upstream();
    let srpd = setup(&fleet).start();
    // Enough connections for both cores to have some.
    let mut clients: Vec<Client> = (0..12).map(|_| srpd.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask(&firm(KEY)).status, 403);
    }
    let id = booked(&srpd, &order(4));
    for client in &mut clients {
        let response = client.ask(&firm(KEY));
        assert_eq!(response.said(), "fleet");
        assert_eq!(response.field("x-sovereign-supply"), Some("firm"));
    }
    assert_eq!(srpd.ask(&firm(OTHER)).status, 403, "it is another's");
    assert_eq!(srpd.metric("srpd_reserved_slots", &["buyer", "fleet"]), 4.0);
    let shown = srpd.admin(PATH).json()["reservations"][0].clone();
    let expected = with(
        with(order(4), "id", id.clone().into()),
        "origin",
        "booked".into(),
    );
    assert_eq!(shown, expected);
    let cancelled = cancel(&srpd, &id);
    assert_eq!((cancelled.status, cancelled.json()), (200, expected));
    for client in &mut clients {
        let response = client.ask(&firm(KEY));
        assert_eq!(response.status, 403, "{}", response.text());
    }
    assert_not_reserved(&srpd);
    assert_eq!(cancel(&srpd, &id).status, 404);
    assert_eq!(ids(&srpd), [""; 0]);
}

#[test]
fn an_hour_that_is_too_full_is_named_with_what_is_left() {
    let fleet = upstream();
    let file = format!(
        "[[reservation]]\nkey = \"other\"\njurisdiction = \"nz\"\nslots = 1\nfrom = \"{}\"\n\
         until = \"{}\"\n",
        hour(-2),
        hour(3)
    );
    let srpd = setup(&fleet).raw(&file).start();
    let over = |from: i64, until: i64, slots: u32| {
        let order = with(order(slots), "from", hour(from).into());
        with(order, "until", hour(until).into())
    };
    booked(&srpd, &over(1, 3, 2));
    let full = reserve(&srpd, &over(0, 4, 2));
    full.assert_error(409, "capacity_error", Some("overbooked"), Some("slots"));
    let expected = format!(
        "slots: expected at most 1 slots: no more are left at {}, found 2",
        hour(1)
    );
    assert_eq!(full.json()["error"]["message"], expected);
    assert_eq!(full.field("x-should-retry"), Some("false"));
    booked(&srpd, &over(0, 1, 3));
    booked(&srpd, &over(1, 3, 1));
    booked(&srpd, &over(3, 48, 4));
    // Anywhere in the jurisdiction there is nothing left either.
    let mut anywhere = over(0, 1, 1);
    anywhere
        .as_object_mut()
        .expect("an object")
        .remove("provider");
    let anywhere = with(anywhere, "jurisdiction", "nz".into());
    assert_eq!(reserve(&srpd, &anywhere).status, 409);
    let page = srpd.admin(PATH).json();
    let all = page["reservations"].as_array().expect("a list");
    assert_eq!(all.len(), 5);
    assert_eq!(
        (&all[0]["origin"], &all[0]["id"]),
        (&"file".into(), &Value::Null)
    );
    assert_eq!(
        srpd.admin("/srp/v1/market").json()["reservations"],
        page["reservations"]
    );
    assert_eq!(srpd.metric("srpd_bookings", &[]), 4.0);
    let refused = srpd.metric("srpd_booking_changes_total", &["reserve", "refused"]);
    assert_eq!(refused, 2.0);
}

#[test]
fn an_order_that_makes_no_sense_is_refused_by_the_member() {
    let fleet = upstream();
    let srpd = setup(&fleet).start();
    for (member, value) in [
        ("key", json!("nobody")),
        ("key", json!(null)),
        ("provider", json!("aloomu")),
        ("provider", json!(7)),
        ("jurisdiction", json!("nz")),
        ("slots", json!(0)),
        ("slots", json!("4")),
        ("from", json!(hour(-1))),
        ("from", json!(hour(0).replace(":00:00Z", ":30:00Z"))),
        ("from", json!("today")),
        ("until", json!(hour(0))),
        ("until", json!(hour(49))),
        ("until", json!(null)),
    ] {
        let response = reserve(&srpd, &with(order(1), member, value));
        response.assert_error(400, "invalid_request_error", None, Some(member));
        let said = response.json()["error"]["message"].to_string();
        assert!(said.starts_with(&format!("\"{member}: ")), "{said}");
    }
    for body in [
        "{}x".to_owned(),
        with(order(1), "colour", json!("red")).to_string(),
    ] {
        let response = admin(&srpd, &Ask::post(PATH, body));
        let code = Some("invalid_json");
        response.assert_error(400, "invalid_request_error", code, Some("body"));
    }
    let long = with(order(1), "key", "x".repeat(5000).into());
    assert_eq!(reserve(&srpd, &long).status, 413);
    let page = Ask::post(PATH, order(1).to_string()).field("Origin", "http://example.com");
    assert_eq!(admin(&srpd, &page).status, 400);
    for (method, path, allowed) in [
        ("PUT", PATH.to_owned(), "GET, HEAD, POST"),
        ("GET", format!("{PATH}/res_0000000000000001"), "DELETE"),
    ] {
        let response = admin(&srpd, &Ask::get(&path).method(method));
        assert_eq!(response.status, 405);
        assert_eq!(response.field("allow"), Some(allowed));
    }
    for id in ["res_0000000000000001", "file", "", "res_1/"] {
        let response = cancel(&srpd, id);
        response.assert_error(404, "invalid_request_error", Some("unknown_url"), None);
    }
    assert_eq!(srpd.admin(&format!("{PATH}s")).status, 404);
    assert_eq!(ids(&srpd), [""; 0]);
    let directory = srpd.config_path();
    let directory = directory.parent().expect("a directory");
    assert!(!directory.join("reservations.redb").exists());
}

/// The same, with bookings in a file of the test's that outlives an instance, and this capacity.
fn lasting(fleet: &Upstream, path: &Path, capacity: u32) -> Setup {
    early_in_the_hour();
    let capacity = format!("capacity = {capacity}");
    Setup::bare(&fleet.url())
        .provider("fleet", "nz", &[&fleet.url()], &capacity)
        .capability("smart", &["fleet"], "residency = \"nz-only\"")
        .key("buyer", KEY, "capabilities = [\"*\"]")
        .section("market", &format!("bookings = {path:?}"))
        .section("timeouts", STALL)
}

#[test]
fn what_was_answered_with_201_survives_a_kill() {
    let fleet = upstream();
    let directory = tempfile::tempdir().expect("a directory");
    let setup = lasting(&fleet, &directory.path().join("kept.redb"), 4);
    let mut expected: Vec<String> = Vec::new();
    for round in 0..4 {
        let mut srpd = setup.start();
        let mut found = ids(&srpd);
        found.sort();
        assert_eq!(found, expected, "in round {round}");
        let is_reserved = srpd.ask(&firm(KEY)).status == 200;
        assert_eq!(is_reserved, round > 0);
        expected.push(booked(&srpd, &order(1)));
        if round == 2 {
            let cancelled = expected.remove(0);
            assert_eq!(cancel(&srpd, &cancelled).status, 200);
        }
        srpd.signal("KILL");
        assert!(!srpd.wait_exit(ms(5000)).success());
        expected.sort();
    }
    assert_eq!(expected.len(), 3);
}

/// Orders one slot after another, each on a connection of its own, until it is told to stop or
/// nobody is there. Returns the ids of those that were answered with 201.
fn keep_ordering(address: SocketAddr, stop: &Arc<AtomicBool>) -> JoinHandle<Vec<String>> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut ids = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let Ok(answer) = try_to_reserve(address) else {
                continue;
            };
            if let Some(body) = answer.strip_prefix("HTTP/1.1 201 ") {
                let body = body.split_once("\r\n\r\n").map_or("", |(_, body)| body);
                // One that was cut off wasn't answered.
                let booked: Result<Value, _> = serde_json::from_str(body);
                ids.extend(
                    booked
                        .ok()
                        .and_then(|it| Some(it["id"].as_str()?.to_owned())),
                );
            }
        }
        ids
    })
}

fn try_to_reserve(address: SocketAddr) -> std::io::Result<String> {
    let ask = Ask::post(PATH, order(1).to_string()).field("connection", "close");
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ms(20_000)))?;
    stream.write_all(&ask.bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_kill_at_any_moment_loses_no_answered_booking_and_leaves_a_file_that_can_be_read() {
    let fleet = upstream();
    let directory = tempfile::tempdir().expect("a directory");
    let setup = lasting(&fleet, &directory.path().join("kept.redb"), 10_000);
    let mut answered: Vec<String> = Vec::new();
    for round in 0..6 {
        let mut srpd = setup.start();
        let found = ids(&srpd);
        let lost = answered.iter().find(|id| !found.contains(id));
        assert_eq!(lost, None, "in round {round}");
        let stop = Arc::default();
        let ordering = keep_ordering(srpd.admin_address(), &stop);
        std::thread::sleep(ms(60 + 37 * round));
        srpd.signal("KILL");
        srpd.wait_exit(ms(5000));
        stop.store(true, Ordering::Relaxed);
        answered.extend(ordering.join().expect("no panic"));
    }
    assert!(!answered.is_empty());
    let found = ids(&setup.start());
    assert!(answered.iter().all(|id| found.contains(id)));
}

#[test]
fn upgrades_lose_no_booking_and_book_nothing_twice() {
    let fleet = upstream();
    let directory = tempfile::tempdir().expect("a directory");
    let mut srpd = lasting(&fleet, &directory.path().join("kept.redb"), 10_000).start();
    let mut line = Line::default();
    let stop = Arc::default();
    let ordering: Vec<_> = (0..2)
        .map(|_| keep_ordering(srpd.admin_address(), &stop))
        .collect();
    for _ in 0..3 {
        let before = ids_anywhere(&srpd).len();
        line.succeed(&srpd);
        within(ms(20_000), "the successor books", || {
            ids_anywhere(&srpd).len() > before
        });
    }
    stop.store(true, Ordering::Relaxed);
    let answered = ordering
        .into_iter()
        .flat_map(|it| it.join().expect("no panic"));
    let mut answered: Vec<String> = answered.collect();
    assert_eq!(srpd.wait_exit(ms(8000)).code(), Some(0));
    let mut found = ids(&srpd);
    found.sort();
    answered.sort();
    assert_eq!(found, answered);
}

/// The ids, from whichever process answers: one that is going down may refuse to.
fn ids_anywhere(srpd: &Instance) -> Vec<String> {
    let mut found = None;
    eventually("a list", || {
        let is_there = srpd.admin(PATH).status == 200;
        found = is_there.then(|| ids(srpd));
        is_there
    });
    found.expect("a list")
}

#[test]
fn a_process_that_has_handed_over_says_so_and_changes_nothing() {
    let endless = Upstream::always(endless());
    let srpd = setup(&endless).start();
    let mut line = Line::default();
    let id = booked(&srpd, &order(1));
    let stream = begin(&srpd, &Ask::stream("smart").key(OTHER));
    let mut old = [(); 3].map(|()| {
        let mut client = Client::connect(srpd.admin_address());
        assert_eq!(client.ask(&Ask::get("/healthz")).status, 200);
        client
    });
    line.succeed(&srpd);
    let asks = [
        Ask::post(PATH, order(1).to_string()),
        Ask::get(&format!("{PATH}/{id}")).method("DELETE"),
        Ask::get(PATH),
    ];
    for (client, ask) in old.iter_mut().zip(asks) {
        let response = client.ask(&ask);
        let code = Some("bookings_closed");
        response.assert_error(503, "service_unavailable_error", code, None);
        assert_eq!(response.field("retry-after"), Some("1"));
        assert_eq!(response.field("x-should-retry"), Some("true"));
        client.assert_closed();
    }
    let later = booked(&srpd, &order(2));
    assert_eq!(ids(&srpd), [id, later]);
    drop(stream);
}

#[test]
fn a_file_that_conflicts_with_what_is_booked_is_refused_by_its_id() {
    let fleet = upstream();
    let setup = setup(&fleet);
    let mut srpd = setup.start();
    let id = booked(&srpd, &order(3));
    let without = |name: &str| {
        let text = std::fs::read_to_string(srpd.config_path()).expect("the file");
        let mut tables: Vec<&str> = text.split("[[key]]").collect();
        tables.retain(|table| !table.contains(&format!("name = \"{name}\"")));
        tables.join("[[key]]")
    };
    let keyless = without("buyer");
    let file = format!(
        "[[reservation]]\nkey = \"other\"\nprovider = \"fleet\"\nslots = 2\nfrom = \"{}\"\n\
         until = \"{}\"\n",
        hour(-9),
        hour(9)
    );
    let crowded = setup.clone().raw(&file);
    let smaller = Setup::bare(&fleet.url())
        .provider("fleet", "nz", &[&fleet.url()], "capacity = 2\nprice = 0.6")
        .capability("smart", &["fleet"], "residency = \"nz-only\"")
        .key("buyer", KEY, "capabilities = [\"*\"]")
        .section("market", "bookings = \"reservations.redb\"");
    let mut refused = 0;
    let mut refuse = |srpd: &mut Instance, says: &str| {
        refused += 1;
        eventually("a refusal", || {
            srpd.metric("srpd_config_reload_failures_total", &[]) == f64::from(refused)
        });
        let said = format!("the reservation {id} was booked, and this configuration can't keep it");
        srpd.wait_log(says, |line| {
            (line.contains(&said) && line.contains(says)).then_some(())
        });
        assert_eq!(srpd.ask(&firm(KEY)).said(), "fleet", "it holds");
    };
    srpd.reload(&crowded);
    refuse(&mut srpd, "at most 2 slots");
    srpd.reload(&smaller);
    refuse(&mut srpd, "at most 2 slots");
    srpd.reload_text(&keyless);
    refuse(&mut srpd, "key: expected the name of a [[key]]");
    // Neither does it start with such a file.
    let started = Command::new(SRPD)
        .args(["serve", "--config", "srpd.toml"])
        .current_dir(srpd.config_path().parent().expect("a directory"))
        .stdin(Stdio::null())
        .output()
        .expect("srpd runs");
    assert_eq!(started.status.code(), Some(1));
    let said = String::from_utf8_lossy(&started.stderr);
    assert!(said.contains(&id), "{said}");
    // Once it is cancelled the file is as good as any.
    assert_eq!(cancel(&srpd, &id).status, 200);
    srpd.reload(&crowded);
    eventually("a reload", || {
        srpd.metric("srpd_config_reloads_total", &[]) == 1.0
    });
    let full = reserve(&srpd, &order(3));
    full.assert_error(409, "capacity_error", Some("overbooked"), Some("slots"));
    booked(&srpd, &order(2));
    srpd.reload(&crowded);
    eventually("another reload", || {
        srpd.metric("srpd_config_reloads_total", &[]) == 2.0
    });
    assert_eq!(
        srpd.ask(&firm(KEY)).said(),
        "fleet",
        "a reload keeps what is booked"
    );
}

fn market(srpd: &Instance, arguments: &[&str]) -> Output {
    let admin = srpd.admin_address().to_string();
    let output = Command::new(SRPD)
        .arg("market")
        .args(arguments)
        .args(["--admin", &admin])
        .output();
    output.expect("srpd runs")
}

fn printed(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(said).expect("text")
}

#[test]
fn the_command_line_books_lists_and_cancels() {
    let fleet = upstream();
    let srpd = setup(&fleet).start();
    let reserve = "reserve buyer --slots 3 --provider fleet --until";
    let with = |until: &str, more: &[&str]| {
        let mut words: Vec<&str> = reserve.split(' ').collect();
        words.push(until);
        market(&srpd, &[&words, more].concat())
    };
    let booked = with("+2h", &[]);
    assert!(booked.status.success(), "{}", printed(&booked));
    let line = printed(&booked);
    let (id, rest) = line.trim_end().split_once(' ').expect("an id");
    let hours = format!("from {} until {}", hour(0), hour(2));
    assert_eq!(rest, format!("buyer 3 slots at fleet {hours}"));
    // The log has enough of it to book it again.
    eventually("a line in the log", || {
        srpd.log().iter().any(|line| {
            let whole = [id, "\"buyer\"", "\"fleet\"", "\"slots\":3", &hour(2)];
            whole.into_iter().all(|text| line.contains(text))
        })
    });
    assert_eq!(srpd.ask(&firm(KEY)).said(), "fleet");
    let full = with(&hour(1), &["--from", &hour(0)]);
    assert_eq!(full.status.code(), Some(1));
    let expected = format!(
        "409: slots: expected at most 1 slots: no more are left at {}",
        hour(0)
    );
    assert!(printed(&full).contains(&expected), "{}", printed(&full));
    assert_eq!(with("soon", &[]).status.code(), Some(64));
    let also = [
        "reserve",
        "buyer",
        "--slots=1",
        "--jurisdiction=nz",
        "--until=+1h",
        "--json",
    ];
    let also: Value = serde_json::from_slice(&market(&srpd, &also).stdout).expect("JSON");
    assert_eq!(also["jurisdiction"], "nz");
    let listed = printed(&market(&srpd, &["list"]));
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert_eq!(listed.lines().next(), Some(line.trim_end()));
    let json: Value =
        serde_json::from_slice(&market(&srpd, &["list", "--json"]).stdout).expect("JSON");
    assert_eq!(json, srpd.admin(PATH).json());
    let cancelled = market(&srpd, &["cancel", id]);
    assert_eq!(printed(&cancelled), format!("cancelled: {line}"));
    let again = market(&srpd, &["cancel", id]);
    assert_eq!(again.status.code(), Some(1));
    assert!(printed(&again).contains(&format!("there is no booking {id}")));
}
