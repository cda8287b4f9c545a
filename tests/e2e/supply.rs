//! Endpoints that come and go while calls flow: files of targets, names, services, drains.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::names::Names;
use crate::support::{
    Ask, Client, Instance, Reply, Request, Setup, Upstream, delta, eventually, ms, within,
};

/// Says who it is.
fn replica(name: &'static str) -> Upstream {
    Upstream::always(Reply::chat(name))
}

/// A file of targets, put in its place at once as a careful writer does.
fn write(directory: &Path, file: &str, targets: &[&Upstream]) {
    let targets: Vec<String> = targets.iter().map(|it| it.address().to_string()).collect();
    write_text(
        directory,
        file,
        &serde_json::json!([{ "targets": targets }]).to_string(),
    );
}

fn write_text(directory: &Path, file: &str, text: &str) {
    let unfinished = directory.join("unfinished");
    std::fs::write(&unfinished, text).expect("a file");
    std::fs::rename(unfinished, directory.join(file)).expect("its place");
}

fn directory(srpd: &Instance) -> std::path::PathBuf {
    srpd.config_path().parent().expect("a directory").to_owned()
}

/// Callers that go on until they are stopped, and fail if any of their calls does.
struct Callers {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Callers {
    fn start(srpd: &Instance, count: usize) -> Callers {
        let (stop, calls) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let threads = (0..count).map(|_| {
            let mut client = Client::connect(srpd.data());
            let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    client.ask(&Ask::chat("smart")).said();
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let threads = threads.collect();
        Callers {
            stop,
            calls,
            threads,
        }
    }

    /// Waits for some more calls.
    fn go_on(&self) {
        let before = self.calls.load(Ordering::Relaxed);
        eventually("more calls", || {
            self.calls.load(Ordering::Relaxed) > before + 30
        });
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("no call failed");
        }
        self.calls.load(Ordering::Relaxed)
    }
}

/// A fleet in `au` of which the backstop has no part.
fn fleet(backstop: &Upstream, endpoints: &str) -> Setup {
    Setup::bare(&backstop.url())
        .provider("fleet", "au", &[], &format!("endpoints = {endpoints}"))
        .capability("smart", &["fleet"], "")
}

#[test]
fn a_file_changes_under_load_and_no_call_fails() {
    let replicas = ["a", "b", "c"].map(replica);
    let [a, b, c] = &replicas;
    let backstop = Upstream::always(Reply::chat("from home"));
    let content = serde_json::json!([{ "targets": [a.address(), b.address()] }]).to_string();
    let srpd = fleet(&backstop, "{ files = [\"fleet-*.json\"] }")
        .file("fleet-1.json", &content)
        .start();
    let directory = directory(&srpd);
    let callers = Callers::start(&srpd, 6);
    callers.go_on();
    assert_eq!(c.count(), 0);
    assert!(a.count() > 0 && b.count() > 0);

    write(&directory, "fleet-1.json", &[b, c]);
    eventually("calls at c", || c.count() > 20);
    // Its idle connections are closed, and it is asked no more.
    eventually("a let go of", || a.closed() == a.connections());
    let asked = a.count();

    let second = serde_json::json!([{ "targets": [a.address()], "labels": { "job": "x" } }]);
    let torn = &second.to_string()[..20];
    write_text(&directory, "fleet-1.json", torn);
    eventually("the alarm", || {
        srpd.metric("srpd_source_failing", &["fleet-1.json"]) == 1.0
    });
    callers.go_on();
    assert_eq!(a.count(), asked);
    write_text(&directory, "fleet-2.json", &second.to_string());
    eventually("calls at a", || a.count() > asked + 10);
    std::fs::remove_file(directory.join("fleet-1.json")).expect("it was there");
    eventually("c let go of", || c.closed() == c.connections());
    assert_eq!(srpd.metric("srpd_source_failing", &[]), 0.0);
    assert_eq!(srpd.metric("srpd_endpoints", &["\"fleet\""]), 1.0);
    callers.go_on();
    let calls = callers.end();
    let asked: usize = replicas.iter().map(Upstream::count).sum();
    assert!(asked >= calls, "{asked} for {calls}");
    assert_eq!(backstop.count(), 0, "nothing failed over");
    // A call is counted after its answer's last byte went, so a moment after the client has it.
    eventually("each counted once", || {
        srpd.metric("srpd_attempts_total", &["\"fleet\"", "\"ok\""]) == calls as f64
    });
}

#[test]
fn an_empty_file_means_no_endpoints_and_a_missing_one_waits() {
    let a = replica("a");
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = fleet(&backstop, "{ files = [\"fleet.json\"] }").start();
    let said = |wanted: &str| {
        eventually(wanted, || srpd.ask(&Ask::chat("smart")).said() == wanted);
    };
    said("from home");
    assert_eq!(srpd.metric("srpd_source_failing", &["fleet.json"]), 1.0);
    let directory = directory(&srpd);
    write(&directory, "fleet.json", &[&a]);
    said("a");
    write_text(&directory, "fleet.json", "[]");
    said("from home");
    write(&directory, "fleet.json", &[&a]);
    said("a");
    // Truncated and not written yet: nobody meant that.
    std::fs::write(directory.join("fleet.json"), "").expect("a file");
    eventually("the alarm", || {
        srpd.metric("srpd_source_failing", &["fleet.json"]) == 1.0
    });
    said("a");
    srpd.signal("HUP");
    eventually("a reload", || {
        srpd.metric("srpd_config_reloads_total", &[]) == 1.0
    });
    said("a");
}

#[test]
fn a_backstop_uses_nothing_that_is_not_accredited() {
    let (home, stranger) = (replica("home"), replica("stranger"));
    // The accreditation is for 127.0.0.1, the stranger is another name for the same machine.
    let port = stranger.address().port();
    let targets = [home.address().to_string(), format!("127.0.0.2:{port}")];
    let content = serde_json::json!([{ "targets": targets }]).to_string();
    let srpd = Setup::bare(&home.url())
        .found("aloomu", "{ files = [\"home.json\"] }")
        .file("home.json", &content)
        .capability("smart", &[], "")
        .start();
    for _ in 0..20 {
        assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "home");
    }
    assert_eq!(srpd.metric("srpd_endpoints_refused", &["aloomu"]), 1.0);
    let log = srpd.log().join("\n");
    assert!(log.contains("is not among the accredited ones"), "{log}");
    write_text(
        &directory(&srpd),
        "home.json",
        &serde_json::json!([{ "targets": [format!("127.0.0.2:{port}")] }]).to_string(),
    );
    let sovereign = Ask::chat("smart").field("x-sovereign-residency", "au-only");
    eventually("nobody", || srpd.ask(&sovereign).status == 503);
    srpd.ask(&sovereign).assert_error(
        503,
        "service_unavailable_error",
        Some("residency_unavailable"),
        None,
    );
    assert_eq!(srpd.admin("/readyz").status, 503);
    assert_eq!(stranger.count(), 0);
}

#[test]
fn a_names_addresses_follow_its_ttl_inside_the_pinned_ranges() {
    let upstream = replica("a");
    let backstop = Upstream::always(Reply::chat("from home"));
    let names = Names::start();
    let [inside, outside] = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 9, 9, 9)];
    names.resolve("fleet.example", 1, &[inside]);
    names.resolve("slow.example", 3600, &[inside]);
    let url = upstream.url_by_name("fleet.example");
    let slow = upstream.url_by_name("slow.example");
    let pinned = format!("[{url:?}]\naddresses = [\"127.0.0.0/16\"]");
    let srpd = fleet(&backstop, &pinned)
        .section("dns", &names.section())
        .provider("slow", "nz", &[&slow], "")
        .start();
    assert_eq!(
        srpd.ask(&Ask::chat("smart")).said(),
        "a",
        "known at the start"
    );
    assert_eq!(upstream.last().field("host"), Some(url[7..].to_owned()));
    let moved = |address, said: &str| {
        names.resolve("fleet.example", 1, &[address]);
        eventually(said, || srpd.ask(&Ask::chat("smart")).said() == said);
    };
    moved(outside, "from home");
    eventually("its idle connections closed", || {
        upstream.closed() == upstream.connections()
    });
    assert!(srpd.metric("srpd_address_refused_total", &["\"fleet\""]) >= 1.0);
    assert_eq!(srpd.metric("srpd_endpoints_refused", &["\"fleet\""]), 1.0);
    moved(inside, "a");
    // A name server that is away takes nothing out.
    names.mute(true);
    within(Duration::from_secs(15), "an alarm", || {
        srpd.metric("srpd_source_failing", &["fleet.example"]) == 1.0
    });
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "a");
    assert!(names.asked("fleet.example") >= 8, "A and AAAA, each second");
    assert!(
        names.asked("slow.example") <= 4,
        "{}",
        names.asked("slow.example")
    );
}

#[test]
fn each_server_of_a_service_is_an_endpoint() {
    let replicas = ["a", "b", "c"].map(replica);
    let [a, b, c] = &replicas;
    let backstop = Upstream::always(Reply::chat("from home"));
    let names = Names::start();
    const SERVICE: &str = "_vllm._tcp.fleet.example";
    let port = |upstream: &Upstream| upstream.address().port();
    for host in ["gpu-1.fleet.example", "gpu-2.fleet.example"] {
        names.resolve(host, 60, &[Ipv4Addr::LOCALHOST]);
    }
    let one = (1, port(a), "gpu-1.fleet.example");
    let spare = (2, port(c), "gpu-2.fleet.example");
    names.serve(SERVICE, 1, &[one, spare]);
    let srpd = fleet(&backstop, &format!("{{ srv = [\"http://{SERVICE}\"] }}"))
        .section("dns", &names.section())
        .start();
    let callers = Callers::start(&srpd, 4);
    callers.go_on();
    let host = a.last().field("host");
    assert_eq!(host, Some(format!("fleet.example:{}", port(a))));
    names.serve(
        SERVICE,
        1,
        &[one, (1, port(b), "gpu-2.fleet.example"), spare],
    );
    eventually("calls at b", || b.count() > 20);
    names.serve(SERVICE, 1, &[(1, port(b), "gpu-2.fleet.example"), spare]);
    eventually("a let go of", || a.closed() == a.connections());
    callers.end();
    assert_eq!((c.count(), backstop.count()), (0, 0));
    names.serve(SERVICE, 1, &[(0, 0, "")]);
    eventually("no server", || {
        srpd.ask(&Ask::chat("smart")).said() == "from home"
    });
}

#[test]
fn each_address_of_a_name_can_be_an_endpoint() {
    let upstream = replica("a");
    let backstop = Upstream::always(Reply::chat("from home"));
    let names = Names::start();
    let addresses = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)];
    names.resolve("fleet.example", 1, &addresses);
    let url = upstream.url_by_name("fleet.example");
    let srpd = fleet(&backstop, &format!("{{ dns = [{url:?}] }}"))
        .section("dns", &names.section())
        .start();
    assert_eq!(srpd.metric("srpd_endpoints", &["\"fleet\""]), 2.0);
    let page = srpd.admin("/srp/v1/providers").text();
    assert!(
        page.contains(&format!("http://{}", upstream.address())),
        "{page}"
    );
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "a");
    assert_eq!(upstream.last().field("host"), Some(url[7..].to_owned()));
    names.resolve("fleet.example", 1, &addresses[..1]);
    eventually("one endpoint", || {
        srpd.metric("srpd_endpoints", &["\"fleet\""]) == 1.0
    });
}

/// Runs `srpd drain` or `srpd endpoints` against an instance.
pub fn operator(srpd: &Instance, arguments: &[&str]) -> (bool, String) {
    let admin = srpd.admin_address().to_string();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_srpd"))
        .args(arguments)
        .args(["--admin", &admin])
        .output()
        .expect("srpd runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[test]
fn a_drain_under_load_finishes_what_is_under_way_and_fails_no_call() {
    let stream = (0..20).fold(Reply::events(), |r, _| r.event(&delta("a")).pause(ms(100)));
    let a = Upstream::start(
        move |request: &Request| match request.json()["stream"] == true {
            true => stream.clone().done(),
            false => Reply::chat("a"),
        },
    );
    let b = replica("b");
    let backstop = Upstream::always(Reply::chat("from home"));
    let setup = Setup::bare(&backstop.url())
        .provider("fleet", "au", &[&a.url(), &b.url()], "")
        .capability("smart", &["fleet"], "");
    let srpd = setup.start();
    // A stream at a, whichever comes first.
    let mut streams: Vec<Client> = (0..4).map(|_| srpd.connect()).collect();
    for client in &mut streams {
        client.send(Ask::stream("smart").bytes());
    }
    a.wait_requests(1);
    let callers = Callers::start(&srpd, 4);
    callers.go_on();
    let (done, text) = operator(&srpd, &["drain", "fleet", &a.url()]);
    assert!(done && text.contains("draining"), "{text}");
    callers.go_on();
    let asked = a.count();
    callers.go_on();
    assert_eq!(a.count(), asked, "it gets no new calls");
    let (_, text) = operator(&srpd, &["endpoints"]);
    assert!(
        text.contains(&format!("fleet {} draining", a.url())),
        "{text}"
    );
    assert!(text.contains(&format!("fleet {} up", b.url())), "{text}");
    srpd.reload(&setup);
    eventually("a reload", || {
        srpd.metric("srpd_config_reloads_total", &[]) == 1.0
    });
    callers.go_on();
    assert_eq!(a.count(), asked, "a reload changes nothing about it");
    let whole = streams.iter_mut().map(Client::response);
    let whole: Vec<usize> = whole
        .map(|it| it.text().matches("data: ").count())
        .collect();
    assert!(whole.contains(&21), "{whole:?}");
    within(Duration::from_secs(5), "every connection closed", || {
        a.closed() == a.connections()
    });
    let (done, text) = operator(&srpd, &["drain", "fleet", &a.url(), "--undo"]);
    assert!(done && text.contains("gets calls again"), "{text}");
    eventually("calls at a", || a.count() > asked);
    callers.end();
    assert_eq!(backstop.count(), 0);

    for (arguments, says) in [
        (
            ["drain", "fleet", "http://nowhere.example"],
            "404: the provider has no such endpoint",
        ),
        (
            ["drain", "fleets", "http://nowhere.example"],
            "404: no such provider",
        ),
    ] {
        let (done, text) = operator(&srpd, &arguments);
        assert!(!done && text.contains(says), "{text}");
    }
}

#[test]
fn an_endpoint_is_drained_by_a_post_that_no_web_page_could_send() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let srpd = Setup::backstop_only(&upstream.url()).start();
    let target = |action: &str, endpoint: &str| {
        format!("/srp/v1/{action}?provider=aloomu&endpoint={endpoint}")
    };
    let encoded = upstream.url().replace(':', "%3A").replace('/', "%2F");
    let ask = |ask: Ask| Client::connect(srpd.admin_address()).ask(&ask.without("authorization"));
    let post = |target: String| Ask::get(&target).method("POST");
    let page = ask(post(target("drain", &encoded)).field("origin", "http://evil.example"));
    assert_eq!(page.status, 400);
    assert_eq!(ask(Ask::get(&target("drain", &encoded))).status, 405);
    assert_eq!(ask(post("/srp/v1/drain".into())).status, 400);
    assert_eq!(ask(post(target("drain", &encoded)).body("x")).status, 413);
    assert_eq!(ask(post(target("drain", "http%3A%2F%2Fh"))).status, 404);
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "hi");
    let drained = ask(post(target("drain", &encoded)));
    assert_eq!(drained.json()["changed"], true, "{}", drained.text());
    srpd.ask(&Ask::chat("smart")).assert_error(
        503,
        "service_unavailable_error",
        Some("no_provider_available"),
        None,
    );
    assert_eq!(
        ask(post(target("drain", &encoded))).json()["changed"],
        false
    );
    assert_eq!(
        ask(post(target("undrain", &encoded))).json()["changed"],
        true
    );
    assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "hi");
}
