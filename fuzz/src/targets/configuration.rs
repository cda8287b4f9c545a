//! Configurations: each is read, or refused with the line of everything that is wrong.

use std::path::PathBuf;
use std::sync::OnceLock;

use jiff::{SignedDuration, Timestamp};
use srpd::config::{
    BODY_BYTES_MAX, Config, ConfigErrors, HEAD_BYTES_MAX, HEADERS_MAX, effective, parse,
};
use srpd::policy::accreditation::{AuthorityKey, Statement};
use srpd::policy::residency::Jurisdiction;
use tempfile::TempDir;

/// The sample key of RFC 8410 section 10.3, whose public half the example configuration has.
const AUTHORITY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";

/// What no output may have.
const SECRET: &str = "sk-canary-5e6f";

/// Where the file is supposed to lie: beside those that the example names.
struct Place {
    _directory: TempDir,
    file: PathBuf,
    now: Timestamp,
}

fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a directory");
        let now: Timestamp = "2026-11-22T00:00:00Z".parse().expect("an instant");
        let key = AuthorityKey::from_pem(AUTHORITY).expect("a key");
        let statement = Statement {
            provider: "aloomu".to_owned(),
            jurisdiction: Jurisdiction::parse("au").expect("a code"),
            hosts: ["127.0.0.1".to_owned()].into(),
            not_before: now,
            not_after: now + SignedDuration::from_hours(24 * 365),
        };
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(path, text).expect("a file");
        };
        write(
            "aloomu.accreditation.json",
            &statement.sign(&key).to_string(),
        );
        std::fs::create_dir(directory.path().join("tls")).expect("a directory");
        let pair = rcgen::generate_simple_self_signed(["srpd.test".to_owned()]).expect("a pair");
        write("tls/cert.pem", &pair.cert.pem());
        write("tls/key.pem", &pair.signing_key.serialize_pem());
        Place {
            file: directory.path().join("srpd.toml"),
            now,
            _directory: directory,
        }
    })
}

/// Reads a configuration that lies there.
pub fn read(text: &str) -> Result<Config, ConfigErrors> {
    let place = place();
    // All are secrets but the place that systemd gives, which the effective configuration names.
    let env = |name: &str| (name != "STATE_DIRECTORY").then(|| SECRET.to_owned());
    parse(text, &place.file, place.now, &env)
}

/// Reads a configuration, and again if it is one.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    // Where reading may not end, or end differently the next time.
    if ["/dev", "/proc", "/sys"]
        .iter()
        .any(|place| text.contains(place))
    {
        return;
    }
    match read(text) {
        Ok(config) => assert_sound(text, &config),
        Err(errors) => {
            let lines = text.bytes().filter(|&byte| byte == b'\n').count() + 1;
            assert!(errors.iter().count() > 0, "refused for nothing");
            let mut last = 0;
            for error in errors.iter() {
                let line = error.line.expect("a line");
                assert!((1..=lines).contains(&line), "{line} of {lines}");
                assert!(line >= last, "in the file's order");
                assert!(!error.message.is_empty());
                last = line;
            }
            assert!(!errors.to_string().contains(SECRET));
        }
    }
}

/// What is accepted keeps the promised bounds, keeps its secrets, and is the same when it is read
/// again with a remark at its end.
fn assert_sound(text: &str, config: &Config) {
    let limits = &config.limits;
    assert!(limits.head_bytes <= HEAD_BYTES_MAX);
    assert!(limits.headers <= HEADERS_MAX);
    assert!(limits.body_bytes <= BODY_BYTES_MAX);
    for capability in &config.capabilities {
        assert!(!capability.chain.is_empty(), "a chain without its backstop");
        for &position in &capability.chain {
            assert!(position < config.providers.len());
        }
    }
    let shown = effective(config).to_string();
    assert!(!shown.contains(SECRET));
    let again = read(&format!("{text}\n# remark")).expect("a remark changes nothing");
    assert_eq!(effective(&again).to_string(), shown);
}
