//! An instance starts with a valid accreditation for its own jurisdiction, or not at all.

use std::process::{Command, Stdio};

use jiff::{SignedDuration, Timestamp};
use srpd::policy::accreditation::{AuthorityKey, Statement};
use srpd::policy::residency::Jurisdiction;
use zeroize::Zeroizing;

use crate::support::setup::SRPD;
use crate::support::{Reply, Setup, Upstream};

/// The file that [`Setup`] has `aloomu` accredited by.
const FILE: &str = "aloomu.accreditation.json";

/// A statement about `aloomu` that holds from `from` to `until` days from now.
fn statement(from: i64, until: i64) -> Statement {
    let now = Timestamp::from_second(Timestamp::now().as_second()).expect("a time");
    let day = |days: i64| now + SignedDuration::from_hours(24 * days);
    Statement {
        provider: "aloomu".into(),
        jurisdiction: Jurisdiction::parse("au").expect("Australia"),
        hosts: ["127.0.0.1".into()].into(),
        not_before: day(from),
        not_after: day(until),
    }
}

/// Why `srpd serve` doesn't start with this in the place of the accreditation; `None`: the file
/// isn't there.
fn refusal(accreditation: impl FnOnce(&AuthorityKey) -> Option<String>) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    Setup::backstop_only("http://127.0.0.1:9101").write(directory);
    let pem = std::fs::read_to_string(directory.join("authority.key")).expect("a key");
    let key = AuthorityKey::from_pem(&pem).expect("a key");
    std::fs::remove_file(directory.join(FILE)).expect("an accreditation");
    if let Some(text) = accreditation(&key) {
        std::fs::write(directory.join(FILE), text).expect("a file");
    }
    let output = Command::new(SRPD)
        .args(["serve", "--config", "srpd.toml"])
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("srpd runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn without_a_valid_accreditation_it_does_not_start_and_says_why() {
    let expected = "provider[0].accreditation: ";
    let cases: [(&str, String); 6] = [
        ("expected a readable accreditation file", refusal(|_| None)),
        (
            "expired at",
            refusal(|key| Some(statement(-9, -1).sign(key).to_string())),
        ),
        (
            "not valid before",
            refusal(|key| Some(statement(1, 9).sign(key).to_string())),
        ),
        (
            "the signature is not that of the given authority",
            refusal(|_| {
                let stranger = AuthorityKey::from_seed(&Zeroizing::new([7; 32]));
                Some(statement(0, 90).sign(&stranger).to_string())
            }),
        ),
        (
            "the signature is not that of the given authority",
            refusal(|key| {
                let text = statement(-9, -1).sign(key).to_string();
                let until = statement(-9, -1).not_after.to_string();
                Some(text.replace(&until, &statement(0, 90).not_after.to_string()))
            }),
        ),
        (
            "made out for jurisdiction \"nz\", expected \"au\"",
            refusal(|key| {
                let mut abroad = statement(0, 90);
                abroad.jurisdiction = Jurisdiction::parse("nz").expect("New Zealand");
                Some(abroad.sign(key).to_string())
            }),
        ),
    ];
    for (says, said) in cases {
        assert!(said.contains(says) && said.contains(expected), "{said}");
    }
}

#[test]
fn without_a_backstop_in_its_own_jurisdiction_it_does_not_start() {
    let directory = tempfile::tempdir().expect("a directory");
    Setup::backstop_only("http://127.0.0.1:9101").write(directory.path());
    let path = directory.path().join("srpd.toml");
    let file = std::fs::read_to_string(&path).expect("the file");
    for (from, to) in [
        // It lists nobody who is accredited, or stands where nobody is.
        ("accreditation = ", "# accreditation = "),
        (
            "[instance]\njurisdiction = \"au\"",
            "[instance]\njurisdiction = \"nz\"",
        ),
    ] {
        let changed = file.replace(from, to);
        assert_ne!(changed, file, "{from}");
        std::fs::write(&path, changed).expect("the file");
        let output = Command::new(SRPD)
            .args(["serve", "--config", "srpd.toml"])
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .output()
            .expect("srpd runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("with an accredited backstop"), "{said}");
    }
}

#[test]
fn one_that_ends_within_30_days_is_a_warning_and_a_metric() {
    let upstream = Upstream::always(Reply::chat("hi"));
    for (days, warned) in [(29, true), (31, false)] {
        let mut running = Setup::backstop_only(&upstream.url()).start_by(|command| {
            let directory = command.get_current_dir().expect("a directory").to_owned();
            let pem = std::fs::read_to_string(directory.join("authority.key")).expect("a key");
            let key = AuthorityKey::from_pem(&pem).expect("a key");
            let text = statement(0, days).sign(&key).to_string();
            std::fs::write(directory.join(FILE), text).expect("a file");
            command.spawn().expect("srpd starts")
        });
        let left = running.metric("srpd_accreditation_expires_seconds", &["aloomu"]);
        let expected = days as f64 * 86_400.0;
        assert!((expected - 120.0..=expected).contains(&left), "{left}");
        running.signal("TERM");
        running.wait_exit(std::time::Duration::from_secs(10));
        let log = running.whole_log().join("\n");
        let line = "the accreditation of \\\"aloomu\\\" expires at";
        assert_eq!(log.contains(line), warned, "{log}");
        assert_eq!(log.contains("in 28 days"), warned, "{log}");
    }
}
