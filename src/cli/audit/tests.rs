//! The command line of the audit; what it proves is in `tests/e2e/audit.rs`.

use super::super::tests::srpd;

#[test]
fn keys_are_made_and_never_overwritten() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("audit.pem");
    let path = path.to_str().unwrap();
    let public = srpd(&["audit", "keygen", "--out", path]).unwrap();
    assert!(super::public_key(public.trim()).is_ok());
    let refused = srpd(&["audit", "keygen", "--out", path]).unwrap_err();
    assert!(refused.contains("exists"), "{refused}");
}

#[test]
fn senseless_arguments_are_usage_errors() {
    let key = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";
    for (arguments, says) in [
        (&["prove", "01a4"][..], "expected RUN-CORE-CALL"),
        (&["verify", "file"], "--key"),
        (
            &["verify", "file", "--key", "MCow"],
            "expected an Ed25519 public key",
        ),
        (&["report", "--directory", "d"], "--month"),
        (
            &["report", "--month", "November", "--directory", "d"],
            "a month such as 2026-11",
        ),
        (
            &["report", "--month", "2026-13", "--key", key],
            "a month such as 2026-11",
        ),
    ] {
        let refused = srpd(&[&["audit"], arguments].concat()).unwrap_err();
        assert!(refused.contains(says), "{refused}");
    }
}

#[test]
fn what_cannot_be_proven_says_why() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().to_str().unwrap();
    let refused = srpd(&["audit", "head", "--directory", directory]).unwrap_err();
    assert!(refused.contains("there is no tree"), "{refused}");
    let report = [
        "audit",
        "report",
        "--month",
        "2026-11",
        "--directory",
        directory,
    ];
    let refused = srpd(&report).unwrap_err();
    assert!(refused.contains("expected --key"), "{refused}");
    let path = place.path().join("paper.json");
    std::fs::write(&path, "{}").unwrap();
    let key = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";
    let refused = srpd(&["audit", "verify", path.to_str().unwrap(), "--key", key]).unwrap_err();
    assert!(
        refused.contains("expected a head, a proof of a call"),
        "{refused}"
    );
}
