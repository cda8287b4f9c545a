//! SIGHUP: a valid file takes effect without a lost call, an invalid one changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::support::instance::message;
use crate::support::{Ask, KEY, Reply, Setup, Upstream, delta, eventually, ms};

#[test]
fn a_reload_under_load_loses_no_call_and_no_connection() {
    let vendor = Upstream::start(|_| Reply::new().pause(ms(2)).send(""));
    let answering = |request: &crate::support::Request| {
        Reply::chat(request.json()["model"].as_str().expect("a model"))
    };
    vendor.set(answering);
    let backstop = Upstream::always(Reply::chat("from home"));
    let setup = Setup::vendor_and_backstop(&vendor.url(), &backstop.url());
    let srpd = setup.start();
    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..6)
        .map(|_| {
            let mut client = srpd.connect();
            let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
            thread::spawn(move || {
                // One connection throughout: it must outlive the reloads.
                while !stop.load(Ordering::Relaxed) {
                    let said = client.ask(&Ask::chat("smart")).said();
                    assert!(
                        said.starts_with("generation-") || said == "vendor-us-model",
                        "{said}"
                    );
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for generation in 1..=5 {
        let model = format!("generation-{generation}");
        let before = calls.load(Ordering::Relaxed);
        srpd.reload(
            &setup
                .clone()
                .models("vendor-us", &format!("{{ smart = \"{model}\" }}")),
        );
        eventually("the new table in force", || {
            srpd.ask(&Ask::chat("smart")).said() == model
        });
        eventually("more calls", || calls.load(Ordering::Relaxed) > before + 20);
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.join().expect("no call was lost");
    }
    assert_eq!(backstop.count(), 0);
    assert_eq!(srpd.metric("srpd_config_reloads_total", &[]), 5.0);
    assert_eq!(srpd.metric("srpd_config_last_reload_successful", &[]), 1.0);
}

#[test]
fn signals_interrupt_nothing_that_is_in_flight() {
    let stream = (0..8).fold(Reply::events(), |r, _| r.event(&delta("a")).pause(ms(100)));
    let upstream = Upstream::always(stream.done());
    let setup = Setup::backstop_only(&upstream.url());
    let srpd = setup.start();
    let readers: Vec<_> = (0..24)
        .map(|_| {
            let mut client = srpd.connect();
            thread::spawn(move || {
                let response = client.ask(&Ask::stream("smart"));
                assert!(response.complete, "{}", response.text());
                assert_eq!(response.data().len(), 9, "{}", response.text());
            })
        })
        .collect();
    upstream.wait_requests(24);
    for _ in 0..40 {
        srpd.signal("HUP");
        thread::sleep(ms(5));
    }
    for reader in readers {
        reader.join().expect("a whole stream");
    }
}

#[test]
fn a_call_ends_under_the_table_that_it_began_with() {
    let stream = Reply::events()
        .event(&delta("a"))
        .pause(ms(600))
        .event(&delta("b"))
        .done();
    let vendor = Upstream::always(stream);
    let backstop = Upstream::always(Reply::chat("from home"));
    let srpd = Setup::vendor_and_backstop(&vendor.url(), &backstop.url()).start();
    let mut client = srpd.connect();
    client.send(Ask::stream("smart").bytes());
    let mut incoming = client.incoming();
    incoming.until("data:");
    // The vendor is gone from the file, and so is the key.
    let without =
        Setup::backstop_only(&backstop.url()).key("other", "XYZ", "capabilities = [\"*\"]");
    srpd.reload(&without);
    eventually("the key gone", || {
        srpd.ask(&Ask::chat("smart")).status == 401
    });
    let response = incoming.finish();
    assert_eq!(response.data(), [delta("a"), delta("b"), "[DONE]".into()]);
    assert!(response.complete);
    assert_eq!(srpd.ask(&Ask::chat("smart").key("XYZ")).said(), "from home");
    assert_eq!(
        client.ask(&Ask::chat("smart")).status,
        401,
        "the kept connection, the new table"
    );
}

#[test]
fn an_invalid_file_leaves_the_old_one_in_force_and_says_so() {
    let backstop = Upstream::always(Reply::chat("from home"));
    let setup = Setup::backstop_only(&backstop.url());
    let mut srpd = setup.start();
    let mut client = srpd.connect();
    assert_eq!(srpd.metric("srpd_config_reload_failures_total", &[]), 0.0);
    let valid = std::fs::read_to_string(srpd.config_path()).expect("the file");
    let files = [
        "this is no TOML [".to_owned(),
        valid.replace("[log]", "[log]\nunknown_key = 1"),
        valid.replace("jurisdiction = \"au\"", "jurisdiction = \"xx\""),
        // Without its accreditation there is no backstop for au.
        valid.replace("accreditation = ", "# accreditation = "),
    ];
    for (failures, text) in (1..).zip(files) {
        assert_ne!(text, valid);
        srpd.reload_text(&text);
        eventually("the failure in the metrics", || {
            srpd.metric("srpd_config_reload_failures_total", &[]) == f64::from(failures)
        });
        assert_eq!(srpd.metric("srpd_config_last_reload_successful", &[]), 0.0);
        assert_eq!(client.ask(&Ask::chat("smart")).said(), "from home");
        assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "from home");
    }
    srpd.wait_log("why the file was refused", |line| {
        let said = message(line)?;
        (said.contains("srpd.toml") && said.contains("unknown_key")).then_some(())
    });
    let narrower =
        setup
            .capability("other", &[], "")
            .key("acme", KEY, "capabilities = [\"other\"]");
    srpd.reload(&narrower);
    eventually("a valid one taken again", || {
        srpd.metric("srpd_config_last_reload_successful", &[]) == 1.0
    });
    assert_eq!(client.ask(&Ask::chat("smart")).status, 403);
}

#[test]
fn a_file_that_is_too_long_cut_short_or_no_file_leaves_the_old_one_in_force() {
    let backstop = Upstream::always(Reply::chat("from home"));
    let setup = Setup::backstop_only(&backstop.url());
    let srpd = setup.start();
    let path = srpd.config_path();
    let mut client = srpd.connect();
    let valid = std::fs::read(&path).expect("the file");
    let write = |bytes: &[u8]| std::fs::write(&path, bytes).expect("written");
    let steps: [(&dyn Fn(), &str); 6] = [
        (
            // Ten times what it may have; a hole, which costs the disk nothing.
            &|| {
                let file = std::fs::File::options().write(true).open(&path);
                let length = file.expect("the file").set_len(640 << 20);
                length.expect("its length");
            },
            "expected at most 67108864 bytes",
        ),
        (&|| write(&valid[..valid.len() / 2]), ""),
        (&|| write(b""), ""),
        (&|| write(b"\xff\xfe"), "UTF-8"),
        (
            &|| std::fs::remove_file(&path).expect("removed"),
            "expected a readable file",
        ),
        (
            &|| std::fs::create_dir(&path).expect("made"),
            "expected a readable file",
        ),
    ];
    for (failures, (break_it, expected)) in (1..).zip(steps) {
        break_it();
        srpd.signal("HUP");
        eventually("the failure in the metrics", || {
            srpd.metric("srpd_config_reload_failures_total", &[]) == failures as f64
        });
        // What is logged is read a moment later than what is counted.
        let refusals = || -> Vec<String> {
            let log = srpd.log();
            let said = log.iter().filter_map(|line| message(line));
            said.filter(|it| it.starts_with("reload refused")).collect()
        };
        eventually("the refusal in the log", || refusals().len() == failures);
        let said = refusals().pop().expect("a refusal");
        assert!(said.contains(expected), "{said}");
        assert_eq!(client.ask(&Ask::chat("smart")).said(), "from home");
        assert_eq!(srpd.ask(&Ask::chat("smart")).said(), "from home");
    }
    std::fs::remove_dir(&path).expect("removed");
    write(&valid);
    srpd.signal("HUP");
    eventually("a valid one taken again", || {
        srpd.metric("srpd_config_last_reload_successful", &[]) == 1.0
    });
}

#[test]
fn breakers_stay_as_they_are_over_a_reload() {
    let vendor = Upstream::always(Reply::failure(500));
    let backstop = Upstream::always(Reply::chat("from home"));
    let setup = Setup::vendor_and_backstop(&vendor.url(), &backstop.url())
        .section("breaker", "open = \"30s\"\nopen_jitter = 0.0");
    let srpd = setup.start();
    let mut client = srpd.connect();
    for _ in 0..5 {
        client.ask(&Ask::chat("smart"));
    }
    // Another provider in front of it: places in the file are no identities.
    let more = Setup::bare(&backstop.url())
        .section("breaker", "open = \"30s\"\nopen_jitter = 0.0")
        .provider("newcomer", "fr", &["http://127.0.0.1:9"], "")
        .provider("vendor-us", "us", &[&vendor.url()], "")
        .capability("fresh", &["vendor-us"], "")
        .capability("smart", &["vendor-us"], "");
    srpd.reload(&more);
    eventually("the new capability", || {
        srpd.ask(&Ask::chat("fresh")).status == 200
    });
    assert_eq!(client.ask(&Ask::chat("smart")).said(), "from home");
    assert_eq!(vendor.count(), 5);
}
