//! What is read from certificates' files, and what is said about it.

use std::os::unix::fs::PermissionsExt;

use jiff::Timestamp;

use super::super::fixture::{Fixture, Pair};
use super::super::{Config, effective};

/// A file that loads with an `https://` backstop, `instance` lines and `provider` lines.
fn text(fixture: &Fixture, instance: &str, endpoints: &str, provider: &str) -> String {
    format!(
        "[instance]\njurisdiction = \"au\"\n{instance}\n{}\
         [[provider]]\nname = \"aloomu\"\njurisdiction = \"au\"\n\
         accreditation = \"aloomu.accreditation.json\"\nendpoints = {endpoints}\n\
         models = {{ \"*\" = \"m\" }}\n{provider}\n\
         [[capability]]\nname = \"smart\"\nchain = []\n\
         [[key]]\nname = \"acme\"\nsha256 = \"{}\"\ncapabilities = [\"*\"]\n",
        fixture.authority_table(),
        "0".repeat(64)
    )
}

const HOME: &str = "[\"https://127.0.0.1\"]";
const CA: &str = "ca = \"tls/cert.pem\"";

const TLS: &str = "[instance.tls]\ncertificate = \"tls/cert.pem\"\nprivate_key = \"tls/key.pem\"\n";

fn load(fixture: &Fixture, instance: &str) -> Config {
    fixture.config(&text(fixture, instance, HOME, CA))
}

#[test]
fn without_the_table_there_is_no_tls() {
    let fixture = Fixture::new();
    assert!(load(&fixture, "").instance.tls.is_none());
    let tls = load(&fixture, TLS).instance.tls.expect("TLS");
    assert_eq!(tls.certificate, "tls/cert.pem");
    assert_eq!(tls.not_after, "2028-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(tls.client_ca, None);
    let with_clients = format!("{TLS}client_ca = \"tls/cert.pem\"\n");
    let tls = load(&fixture, &with_clients).instance.tls.expect("TLS");
    assert_eq!(tls.client_ca.as_deref(), Some("tls/cert.pem"));
}

#[test]
fn an_expired_certificate_is_a_warning_at_its_line() {
    let mut fixture = Fixture::new();
    let mut warned = |now: &str| {
        fixture.now = now.parse().unwrap();
        let statement = fixture.statement("aloomu", "au", &["127.0.0.1"], 365);
        fixture.accredit("aloomu", statement);
        load(&fixture, TLS).warnings
    };
    assert_eq!(warned("2026-01-01T00:00:00Z"), Vec::<String>::new());
    assert_eq!(warned("2028-01-01T00:00:00Z"), Vec::<String>::new());
    for (now, says) in [
        (
            "2025-12-31T23:59:59Z",
            "is not valid before 2026-01-01T00:00:00Z",
        ),
        ("2028-01-01T00:00:01Z", "expired at 2028-01-01T00:00:00Z"),
    ] {
        let warnings = warned(now);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let place = "srpd.toml:4: instance.tls.certificate: ";
        assert!(
            warnings[0].contains(place) && warnings[0].contains(says),
            "{warnings:?}"
        );
    }
}

#[test]
fn a_key_that_every_user_can_read_is_a_warning() {
    let fixture = Fixture::new();
    let key = std::fs::read_to_string(fixture.directory.path().join("tls/key.pem")).unwrap();
    assert_eq!(load(&fixture, TLS).warnings, Vec::<String>::new());
    let shared = fixture.write("tls/shared.pem", &key);
    std::fs::set_permissions(shared, std::fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = load(&fixture, &TLS.replace("key.pem", "shared.pem")).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let place = "srpd.toml:5: instance.tls.private_key: every user";
    assert!(warnings[0].contains(place), "{warnings:?}");
}

#[test]
fn a_certificate_that_never_ends_has_an_end_all_the_same() {
    let fixture = Fixture::new();
    let pair = Pair::new(2026..9999);
    fixture.write("tls/cert.pem", &pair.certificate);
    fixture.write("tls/key.pem", &pair.key);
    let tls = load(&fixture, TLS).instance.tls.expect("TLS");
    assert!(tls.not_after > "9998-12-31T00:00:00Z".parse::<Timestamp>().unwrap());
}

#[test]
fn an_accreditation_covers_https_endpoints_by_their_host() {
    let fixture = Fixture::new();
    let endpoints = |text: &str| -> Vec<_> {
        let config = fixture.config(text);
        let endpoints = config.providers[0].endpoints.iter();
        endpoints
            .map(|it| (it.authority(), it.port, it.tls.is_some()))
            .collect()
    };
    let both = "[\"https://127.0.0.1\", \"http://127.0.0.1/x\", \"https://127.0.0.1:80\"]";
    let home = |port: u16, tls, shown: &str| (shown.to_owned(), port, tls);
    assert_eq!(
        endpoints(&text(&fixture, "", both, CA)),
        [
            home(443, true, "127.0.0.1"),
            home(80, false, "127.0.0.1"),
            home(80, true, "127.0.0.1:80"),
        ]
    );
    let elsewhere = text(&fixture, "", "[\"https://127.0.0.2\"]", CA);
    let errors = fixture
        .parse(&elsewhere)
        .err()
        .expect("not covered")
        .to_string();
    assert!(
        errors.contains("endpoint host \"127.0.0.2\" is not"),
        "{errors}"
    );
}

#[test]
fn a_key_that_is_written_where_its_path_belongs_is_not_repeated() {
    let fixture = Fixture::new();
    let pair = Pair::new(2026..2028);
    let secret = pair.key.lines().nth(1).unwrap();
    let text_of_it = format!("\"\"\"{}\"\"\"", pair.key);
    let certificate = TLS.replace("\"tls/cert.pem\"", &text_of_it);
    let written = TLS.replace("\"tls/key.pem\"", &text_of_it);
    let broken = pair.key.replace("END", "NED");
    fixture.write("broken.pem", &broken);
    for (instance, key) in [
        (written, "private_key"),
        (TLS.replace("tls/key.pem", "broken.pem"), "private_key"),
        (certificate, "certificate"),
    ] {
        let refused = fixture.parse(&text(&fixture, &instance, HOME, CA));
        let errors = refused.err().expect("no key").to_string();
        assert!(errors.contains(&format!("instance.tls.{key}")), "{errors}");
        assert!(!errors.contains(&secret[..8]), "{errors}");
    }
}

#[test]
fn the_effective_configuration_has_the_paths_and_nothing_that_lies_there() {
    let fixture = Fixture::new();
    let shown = effective(&load(&fixture, TLS));
    let tls = &shown["instance"]["tls"];
    assert_eq!(tls["certificate"], "tls/cert.pem");
    assert_eq!(tls["private_key"], "tls/key.pem");
    assert_eq!(tls["not_after"], "2028-01-01T00:00:00Z");
    assert_eq!(shown["provider"][0]["ca"], "tls/cert.pem");
    let key = std::fs::read_to_string(fixture.directory.path().join("tls/key.pem")).unwrap();
    let text = shown.to_string();
    for line in key.lines().filter(|line| !line.starts_with('-')) {
        assert!(!text.contains(line), "{text}");
    }
    assert!(effective(&load(&fixture, ""))["instance"]["tls"].is_null());
}

#[test]
fn files_have_a_bound_and_are_refused_beyond_it() {
    for (file, most) in [
        ("tls/cert.pem", 1024 * 1024),
        ("tls/key.pem", 64 * 1024),
        ("aloomu.accreditation.json", 512 * 1024),
    ] {
        let fixture = Fixture::new();
        let content = std::fs::read_to_string(fixture.directory.path().join(file)).unwrap();
        // White space, which says nothing in any of them.
        let filled = |length: usize| content.clone() + &"\n".repeat(length - content.len());
        fixture.write_secret(file, &filled(most));
        load(&fixture, TLS);
        fixture.write_secret(file, &filled(most + 1));
        let refused = fixture.parse(&text(&fixture, TLS, HOME, CA)).err();
        let errors = refused.expect("too long");
        assert!(errors.to_string().contains("too large"), "{file}: {errors}");
    }
}
