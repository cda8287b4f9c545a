//! Credentials and keys: where they are read from, and that no message shows one.

use std::os::unix::fs::PermissionsExt;

use super::super::fixture::Fixture;
use super::super::{Environment, parse};
use super::{rejected, with};

#[test]
fn credentials_come_from_three_places() {
    let fixture = Fixture::new();
    fixture.write("key", " sk-from-file\r\n");
    let secret = |table: &str| {
        let line = "models = { smart = \"frontier-1\" }";
        let text = with(&fixture, line, &format!("{line}\napi_key = {table}"));
        let config = fixture.config(&text);
        config.providers[1]
            .api_key
            .as_ref()
            .unwrap()
            .expose()
            .to_vec()
    };
    assert_eq!(secret("{ env = \"SET\" }"), b"sk-from-env");
    assert_eq!(secret("{ file = \"key\" }"), b"sk-from-file");
    assert_eq!(secret("{ credential = \"key\" }"), b"sk-from-file");
}

#[test]
fn a_credential_is_looked_for_where_it_is_said_to_be_and_in_one_piece() {
    let fixture = Fixture::new();
    let path = fixture.directory.path().join("srpd.toml");
    let line = "models = { smart = \"frontier-1\" }";
    let read = |table: &str, env: Environment<'_>| {
        let text = with(&fixture, line, &format!("{line}\napi_key = {table}"));
        match parse(&text, &path, fixture.now, env) {
            Ok(config) => Ok(config.providers[1].api_key.clone().unwrap()),
            Err(errors) => Err(errors.to_string()),
        }
    };
    let no_directory = read("{ credential = \"key\" }", &|_| None).err().unwrap();
    assert!(
        no_directory.contains("$CREDENTIALS_DIRECTORY"),
        "{no_directory}"
    );
    let elsewhere = |_: &str| Some("/nowhere".to_owned());
    let absent = read("{ credential = \"key\" }", &elsewhere).err().unwrap();
    assert!(absent.contains("a readable file"), "{absent}");
    for outside in ["../key", "/etc/passwd", "..", ".", "", "a/b"] {
        let table = format!("{{ credential = {outside:?} }}");
        let refused = read(&table, &elsewhere).err().unwrap();
        assert!(refused.contains("LoadCredential="), "{refused}");
    }
    let largest = "k".repeat(16 * 1024);
    let accepted = [" k \n", "k\r\n", "k", "\tk", &largest];
    let refused = [
        "",
        " \n",
        "a b",
        "a\nb",
        "a\r\nx: y",
        "a\0",
        "ä",
        &format!("{largest} "),
    ];
    for (contents, fine) in [(&accepted[..], true), (&refused[..], false)] {
        for content in contents {
            fixture.write("key", content);
            let env = |_: &str| Some((*content).to_owned());
            let directory = |_: &str| fixture.directory.path().to_str().map(str::to_owned);
            for secret in [
                read("{ env = \"K\" }", &env),
                read("{ file = \"key\" }", &env),
                read("{ credential = \"key\" }", &directory),
            ] {
                let secret = secret.map(|secret| secret.expose().to_vec());
                match fine {
                    true => assert_eq!(secret, Ok(content.trim().into())),
                    false => assert!(secret.is_err(), "{content:?}"),
                }
            }
        }
    }
}

#[test]
fn a_file_that_everybody_can_read_is_no_place_for_a_credential() {
    let fixture = Fixture::new();
    let key = fixture.write("key", "sk-1");
    let line = "models = { smart = \"frontier-1\" }";
    let text = with(
        &fixture,
        line,
        &format!("{line}\napi_key = {{ file = \"key\" }}"),
    );
    for (mode, warned) in [(0o600, false), (0o640, false), (0o644, true), (0o604, true)] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let warnings = fixture.config(&text).warnings;
        assert_eq!(
            warnings.len(),
            usize::from(warned),
            "{mode:o}: {warnings:?}"
        );
        let all = warnings.concat();
        assert!(all.is_empty() || all.contains("provider[1].api_key.file: every user"));
    }
    // Nobody but root can read what nobody may.
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o000)).unwrap();
    match std::fs::read(&key) {
        Ok(_) => eprintln!("not tested: root reads every file"),
        Err(_) => {
            let refused = rejected(&fixture, &text).to_string();
            assert!(refused.contains("Permission denied"), "{refused}");
        }
    }
}

#[test]
fn a_key_is_no_name_of_itself() {
    let fixture = Fixture::new();
    let errors = rejected(
        &fixture,
        &with(&fixture, "name = \"acme\"", "name = \"ABC\""),
    );
    assert_eq!(errors.iter().count(), 1, "{errors}");
    let text = errors.to_string();
    assert!(
        text.contains("key[0]: expected a name") && !text.contains("ABC"),
        "{text}"
    );
}

#[test]
fn no_message_shows_what_may_be_a_secret() {
    let fixture = Fixture::new();
    fixture.write("sekret", "sekret sekret");
    let key = "sha256 = \"b5d4045c3f466fa91fe2cc6abe79232a1a57cdf104f7a26e716e0a1e2789df78\"";
    let line = "models = { smart = \"frontier-1\" }";
    let texts = [
        with(&fixture, key, "sha256 = \"sekret\""),
        with(&fixture, line, &format!("{line}\napi_key = \"sekret\"")),
        with(
            &fixture,
            line,
            &format!("{line}\napi_key = {{ env = \"sekret\" }}"),
        ),
        with(
            &fixture,
            line,
            &format!("{line}\napi_key = {{ file = \"sekret\" }}"),
        ),
        with(
            &fixture,
            line,
            &format!("{line}\napi_key = {{ credential = \"sekret\" }}"),
        ),
        with(
            &fixture,
            line,
            &format!("{line}\napi_key = {{ env = \"sekret }}"),
        ),
        with(&fixture, line, &format!("{line}\napi_key = sekret")),
    ];
    for text in texts {
        let errors = rejected(&fixture, &text).to_string();
        assert!(!errors.contains("sekret"), "{errors}");
    }
}
