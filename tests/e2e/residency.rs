//! SRP section 3: residency fails closed.

use crate::support::{Ask, Instance, KEY, Refusing, Reply, Response, Setup, Upstream};

const HEADER: &str = "x-sovereign-residency";

struct World {
    us: Upstream,
    nz: Upstream,
    au: Upstream,
    srpd: Instance,
}

/// Providers in `us` and `nz`, the backstop in `au`, and a key with `floor`.
fn world(floor: &str) -> World {
    let [us, nz, au] = ["us", "nz", "au"].map(|name| Upstream::always(Reply::chat(name)));
    let srpd = Setup::bare(&au.url())
        .provider("vendor-us", "us", &[&us.url()], "")
        .provider("vendor-nz", "nz", &[&nz.url()], "")
        .capability("smart", &["vendor-us", "vendor-nz"], "")
        .capability(
            "pacific",
            &["vendor-us", "vendor-nz"],
            "residency = \"anz-only\"",
        )
        .capability("abroad", &["vendor-us"], "residency = \"us-only\"")
        .capability("sovereign", &["vendor-us", "vendor-nz"], "")
        .section("instance.groups", "anz = [\"au\", \"nz\"]")
        .key("acme", KEY, &format!("capabilities = [\"*\"]\n{floor}"))
        .start();
    World { us, nz, au, srpd }
}

fn assert_invalid(response: &Response) {
    let kind = "invalid_request_error";
    response.assert_error(
        400,
        kind,
        Some("invalid_residency"),
        Some("X-Sovereign-Residency"),
    );
    response.assert_should_retry(false);
}

#[test]
fn the_header_narrows_and_the_answer_says_where() {
    let World { us, nz, au, srpd } = world("");
    let table = [
        ("any", "us", "any"),
        ("ANY", "us", "any"),
        ("us-only", "us", "us-only"),
        ("nz-only", "nz", "nz-only"),
        ("AU-Only", "au", "au-only"),
        ("au-only,nz-only", "nz", "au-only,nz-only"),
        ("anz-only", "nz", "au-only,nz-only"),
        ("ANZ-only,us-only", "us", "au-only,nz-only,us-only"),
        ("fr-only,au-only", "au", "au-only,fr-only"),
        ("au-only,au-only", "au", "au-only"),
    ];
    for (value, place, effective) in table {
        println!("{value}");
        let response = srpd.ask(&Ask::chat("smart").field(HEADER, value));
        assert_eq!(response.said(), place);
        assert_eq!(response.field("x-sovereign-jurisdiction"), Some(place));
        assert_eq!(response.field("x-sovereign-attempts"), Some("1"));
        let upstream = match place {
            "us" => &us,
            "nz" => &nz,
            _ => &au,
        };
        let sent = upstream.last();
        assert_eq!(sent.field(HEADER).as_deref(), Some(effective));
    }
}

#[test]
fn floors_of_keys_and_capabilities_narrow_too() {
    let World { us, nz, au, srpd } = world("residency = \"anz-only\"");
    let ask = |capability: &str, header: Option<&str>| {
        let ask = Ask::chat(capability);
        srpd.ask(&header.map_or(ask.clone(), |value| ask.field(HEADER, value)))
    };
    for (capability, header, place, effective) in [
        ("smart", None, "nz", "au-only,nz-only"),
        ("smart", Some("any"), "nz", "au-only,nz-only"),
        ("smart", Some("us-only,au-only"), "au", "au-only"),
        ("pacific", None, "nz", "au-only,nz-only"),
        ("sovereign", None, "au", "au-only"),
        ("sovereign", Some("any"), "au", "au-only"),
        ("sovereign", Some("anz-only"), "au", "au-only"),
    ] {
        println!("{capability} {header:?}");
        let response = ask(capability, header);
        assert_eq!(response.said(), place);
        assert_eq!(response.field("x-sovereign-jurisdiction"), Some(place));
        let upstream = if place == "nz" { &nz } else { &au };
        assert_eq!(upstream.last().field(HEADER).as_deref(), Some(effective));
    }
    for (capability, header) in [
        ("smart", Some("us-only")),
        ("smart", Some("fr-only")),
        ("pacific", Some("us-only")),
        ("sovereign", Some("nz-only")),
        ("abroad", None),
        ("abroad", Some("any")),
    ] {
        println!("{capability} {header:?}");
        assert_mismatch(&ask(capability, header));
    }
    assert_eq!((us.connections(), us.bytes_in()), (0, 0));
}

fn assert_mismatch(response: &Response) {
    let error = response.json()["error"].clone();
    let param = error["param"].as_str();
    response.assert_error(
        403,
        "residency_error",
        Some("data_residency_mismatch"),
        param,
    );
    response.assert_should_retry(false);
    assert_ne!(response.field("x-sovereign-attempts"), Some("1"), "{error}");
}

#[test]
fn every_malformed_form_is_400_and_never_a_default() {
    let World { us, nz, au, srpd } = world("");
    let long = format!("{}au-only ", "au-only,".repeat(31));
    let forms: Vec<&[u8]> = vec![
        b"",
        b" ",
        b",",
        b"au",
        b"only",
        b"-only",
        b"au-",
        b"auonly",
        b"au_only",
        b"au only",
        b"au -only",
        b"au- only",
        b"au-only,",
        b"au-only, nz-only",
        b"au-only ,nz-only",
        b",au-only",
        b"au-only,,nz-only",
        b"au-only nz-only",
        b"au-only;nz-only",
        b"xx-only",
        b"uk-only",
        b"aus-only",
        b"a-only",
        b"eu-only",
        b"*",
        b"au-onlyx",
        b"au-only-only",
        b"any,au-only",
        b"au-only,any",
        b"any,any",
        b"any-only",
        b"none",
        b"all",
        b"\"au-only\"",
        b"au-only, anzac-only",
        b"\xc3\xa4u-only",
        b"au-only\xa0",
        b"au-only,\xff",
        b"au%2donly",
        b"!au-only",
        b"au-only=1",
    ];
    for form in forms {
        println!("{:?}", String::from_utf8_lossy(form));
        assert_invalid(&srpd.ask(&Ask::chat("smart").field(HEADER, form)));
    }
    assert_eq!(long.trim_end().len(), 255);
    let longer = format!("{long},au-only");
    assert_invalid(&srpd.ask(&Ask::chat("smart").field(HEADER, longer)));
    let twice = Ask::chat("smart").field(HEADER, "au-only");
    assert_invalid(&srpd.ask(&twice.clone().field(HEADER, "au-only")));
    assert_invalid(&srpd.ask(&twice.clone().field("X-Sovereign-RESIDENCY", "nz-only")));
    for nominated in [
        HEADER,
        "close, X-Sovereign-Residency",
        "keep-alive,x-sovereign-residency ,te",
    ] {
        println!("connection: {nominated}");
        assert_invalid(&srpd.ask(&twice.clone().field("connection", nominated)));
        let alone = Ask::chat("smart").field("connection", nominated);
        assert_invalid(&srpd.ask(&alone));
    }
    for upstream in [&us, &nz, &au] {
        assert_eq!(upstream.connections(), 0);
    }
    let exact = srpd.ask(&Ask::chat("smart").field(HEADER, long.trim_end()));
    assert_eq!(exact.said(), "au");
}

#[test]
fn nothing_goes_abroad_however_much_fails_at_home() {
    let dead = Refusing::new();
    let us = Upstream::always(Reply::chat("us"));
    let au = Upstream::always(Reply::chat("au"));
    let srpd = Setup::bare(&au.url())
        .provider("fleet", "au", &[&dead.url()], "")
        .provider("vendor-us", "us", &[&us.url()], "")
        .capability("smart", &["vendor-us", "fleet"], "")
        .capability("sovereign", &["vendor-us", "fleet"], "")
        .section("timeouts", "first_byte = \"150ms\"")
        .section(
            "breaker",
            "open = \"30s\"\nopen_max = \"30s\"\nopen_jitter = 0.0",
        )
        .start();
    let failures = [
        Reply::failure(500),
        Reply::failure(429),
        Reply::new().reset(),
        Reply::new().close(),
        Reply::new().stall(),
        Reply::json(200, "{not json"),
        Reply::failure(503),
        Reply::failure(401),
    ];
    let (mut seen_502, mut seen_503) = (0, 0);
    let mut client = srpd.connect();
    for failure in failures.iter().cycle().take(16) {
        au.set_always(failure.clone());
        for ask in [
            Ask::chat("smart").field(HEADER, "au-only"),
            Ask::stream("sovereign"),
        ] {
            let response = client.ask(&ask);
            match response.status {
                502 => seen_502 += 1,
                503 => {
                    seen_503 += 1;
                    let kind = "service_unavailable_error";
                    response.assert_error(503, kind, Some("residency_unavailable"), None);
                    assert!(response.field("retry-after").is_some());
                }
                other => panic!("{other}: {}", response.text()),
            }
        }
    }
    assert!(seen_502 > 0 && seen_503 > 0, "{seen_502} {seen_503}");
    assert_eq!((us.connections(), us.bytes_in()), (0, 0));
    // The same breakers stop nobody who may go abroad.
    assert_eq!(client.ask(&Ask::chat("smart")).said(), "us");
}

#[test]
fn no_other_sovereign_header_reaches_a_provider() {
    let World { au, srpd, .. } = world("");
    let ask = Ask::chat("sovereign")
        .field("X-Sovereign-Debug", "1")
        .field("x-sovereign-jurisdiction", "us")
        .field("X-SOVEREIGN-ANYTHING", "else");
    assert_eq!(srpd.ask(&ask).said(), "au");
    let fields = au.last().fields();
    let sovereign: Vec<_> = fields
        .iter()
        .filter(|(name, _)| name.starts_with("x-sovereign-"))
        .collect();
    assert_eq!(sovereign, [&(HEADER.to_owned(), "au-only".to_owned())]);
}

#[test]
fn pinned_addresses_keep_a_provider_at_home() {
    let us = Upstream::always(Reply::chat("pinned"));
    let au = Upstream::always(Reply::chat("au"));
    let url = us.url().replace("127.0.0.1", "localhost");
    for (range, said) in [("127.0.0.0/8", "pinned"), ("10.0.0.0/8", "au")] {
        let srpd = Setup::bare(&au.url())
            .provider(
                "vendor-us",
                "us",
                &[&url],
                &format!("addresses = [\"{range}\"]"),
            )
            .capability("smart", &["vendor-us"], "")
            .start();
        assert_eq!(srpd.ask(&Ask::chat("smart")).said(), said, "{range}");
    }
    assert_eq!(us.count(), 1);
}

#[test]
fn each_jurisdiction_has_its_own_backstop() {
    let [us, nz, au] = ["us", "nz", "au"].map(|name| Upstream::always(Reply::chat(name)));
    us.set_always(Reply::failure(500));
    let srpd = Setup::bare(&au.url())
        .accredited("kiwi", "nz", &[&nz.url()])
        .provider("vendor-us", "us", &[&us.url()], "")
        .capability("smart", &["vendor-us"], "")
        .capability("sovereign", &["vendor-us"], "")
        .patient_breakers()
        .start();
    let ask = |capability: &str, rules: &str| srpd.ask(&Ask::chat(capability).field(HEADER, rules));
    assert_eq!(ask("smart", "nz-only").said(), "nz");
    assert_eq!(ask("smart", "nz-only,us-only").said(), "nz");
    assert_eq!(ask("smart", "au-only").said(), "au");
    assert_eq!(ask("sovereign", "any").said(), "au");
    assert_mismatch(&ask("sovereign", "nz-only"));
    assert_mismatch(&ask("smart", "fr-only"));
    assert_eq!((us.count(), nz.count(), au.count()), (1, 2, 2));
}
