//! The commands that an operator uses before `serve`.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::setup::{SRPD, srpd};
use crate::support::{Ask, Reply, Setup, Upstream, eventually};

fn run(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(SRPD)
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("srpd runs")
}

#[test]
fn a_new_key_opens_the_door_once_its_table_is_in_the_file() {
    let upstream = Upstream::always(Reply::chat("hi"));
    let running = Setup::backstop_only(&upstream.url()).start();
    let directory = running.config_path();
    let printed = srpd(
        directory.parent().expect("a directory"),
        &["key", "new", "fresh"],
    );
    let (key, table) = printed.split_once('\n').expect("a key and a table");
    let ask = Ask::chat("smart").key(key.trim());
    assert_eq!(running.ask(&ask).status, 401);
    let file = std::fs::read_to_string(running.config_path()).expect("the file");
    running.reload_text(&format!("{file}\n{table}"));
    eventually("the key known", || running.ask(&ask).status == 200);
}

#[test]
fn check_says_what_serve_would() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::backstop_only("http://127.0.0.1:9101");
    setup.write(directory.path());
    let valid = run(directory.path(), &["check", "srpd.toml"]);
    assert!(valid.status.success(), "{valid:?}");
    setup
        .section("log", "colour = true")
        .write(directory.path());
    let file = std::fs::read_to_string(directory.path().join("srpd.toml")).expect("the file");
    let line = 1 + file
        .lines()
        .position(|line| line == "colour = true")
        .expect("a line");
    for arguments in [
        &["check", "srpd.toml"][..],
        &["serve", "--config", "srpd.toml"],
    ] {
        let invalid = run(directory.path(), arguments);
        assert!(!invalid.status.success());
        let said = String::from_utf8_lossy(&invalid.stderr);
        for expected in [
            &format!("srpd.toml:{line}"),
            "log.colour",
            "access, format, level",
        ] {
            assert!(said.contains(expected), "{expected} not in {said}");
        }
    }
}

#[test]
fn accreditations_are_verified_against_the_authoritys_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    Setup::backstop_only("http://127.0.0.1:9101").write(directory);
    let public = std::fs::read_to_string(directory.join("authority.public")).expect("a key");
    let file = "aloomu.accreditation.json";
    let verify = |file: &str, key: &str| {
        run(
            directory,
            &["accredit", "verify", file, "--public-key", key],
        )
    };
    assert!(verify(file, &public).status.success());
    let other = srpd(directory, &["accredit", "keygen", "--out", "other.key"]);
    assert!(
        !verify(file, other.trim()).status.success(),
        "another authority"
    );
    let text = std::fs::read_to_string(directory.join(file)).expect("the accreditation");
    for (from, to) in [
        ("\"au\"", "\"us\""),
        ("aloomu", "aloomv"),
        ("127.0.0.1", "127.0.0.2"),
    ] {
        let forged = text.replacen(from, to, 1);
        assert_ne!(forged, text);
        std::fs::write(directory.join("forged.json"), forged).expect("a file");
        assert!(
            !verify("forged.json", &public).status.success(),
            "{from} -> {to}"
        );
    }
}

#[test]
fn an_address_in_use_is_no_start_and_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let directory = tempfile::tempdir().expect("a directory");
    Setup::backstop_only("http://127.0.0.1:9101").write(directory.path());
    let path = directory.path().join("srpd.toml");
    let file = std::fs::read_to_string(&path).expect("the file");
    for key in ["listen = [\"127.0.0.1:0\"]", "admin = \"127.0.0.1:0\""] {
        std::fs::write(
            &path,
            file.replace(key, &key.replace("127.0.0.1:0", &address)),
        )
        .expect("a file");
        let output = run(directory.path(), &["serve", "--config", "srpd.toml"]);
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(&address), "{said}");
    }
}
