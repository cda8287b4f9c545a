//! Configurations for tests: a directory with a valid accreditation and a certificate, and a file
//! that loads.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::{Config, ConfigErrors, parse};
use crate::policy::accreditation::{AuthorityKey, RFC_8410, Statement};
use crate::policy::residency::Jurisdiction;

/// A certificate for `srpd.test` and its key, in PEM.
pub struct Pair {
    /// The certificate, signed with its own key.
    pub certificate: String,
    /// PKCS#8
    pub key: String,
}

impl Pair {
    /// One that is valid in these years, their first days included.
    pub fn new(years: std::ops::Range<i32>) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["srpd.test".to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.start, 1, 1);
        params.not_after = date_time_ymd(years.end, 1, 1);
        let certificate = params.self_signed(&key).unwrap().pem();
        let key = key.serialize_pem();
        Pair { certificate, key }
    }
}

/// What is in every fixture's `tls/`.
static PAIR: LazyLock<Pair> = LazyLock::new(|| Pair::new(2026..2028));

/// A directory where `aloomu.accreditation.json` makes the provider "aloomu" on `127.0.0.1` the
/// backstop of `au`, signed by [`Fixture::authority`], and `tls/cert.pem` is a certificate until
/// 2028 whose key is `tls/key.pem`.
pub struct Fixture {
    /// Where the files are.
    pub directory: TempDir,
    /// Signs accreditations.
    pub authority: AuthorityKey,
    /// What the tests take for now.
    pub now: Timestamp,
}

impl Fixture {
    /// A directory with one accreditation that is valid for a year.
    pub fn new() -> Fixture {
        let fixture = Fixture {
            directory: tempfile::tempdir().unwrap(),
            authority: AuthorityKey::from_pem(RFC_8410).unwrap(),
            now: "2026-11-22T00:00:00Z".parse().unwrap(),
        };
        let statement = fixture.statement("aloomu", "au", &["127.0.0.1"], 365);
        fixture.accredit("aloomu", statement);
        std::fs::create_dir(fixture.directory.path().join("tls")).unwrap();
        fixture.write("tls/cert.pem", &PAIR.certificate);
        fixture.write_secret("tls/key.pem", &PAIR.key);
        fixture
    }

    /// A statement that is valid from now on for so many days; a negative number ended it as
    /// many days ago.
    pub fn statement(
        &self,
        provider: &str,
        jurisdiction: &str,
        hosts: &[&str],
        days: i64,
    ) -> Statement {
        let days = SignedDuration::from_hours(24 * days);
        Statement {
            provider: provider.into(),
            jurisdiction: Jurisdiction::parse(jurisdiction).unwrap(),
            hosts: hosts.iter().map(ToString::to_string).collect(),
            not_before: self.now.min(self.now + days * 2),
            not_after: self.now + days,
        }
    }

    /// Writes `FILE.accreditation.json`, signed by [`Fixture::authority`].
    pub fn accredit(&self, file: &str, statement: Statement) {
        let text = statement.sign(&self.authority).to_string();
        self.write(&format!("{file}.accreditation.json"), &text);
    }

    /// Writes a file into the directory.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Writes a file that only its owner can read.
    pub fn write_secret(&self, name: &str, content: &str) -> PathBuf {
        let path = self.write(name, content);
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The `[[authority]]` of this fixture.
    pub fn authority_table(&self) -> String {
        let public_key = self.authority.public_key().encode().unwrap();
        format!("[[authority]]\nname = \"test\"\npublic_key = \"{public_key}\"\n")
    }

    /// Reads a configuration as if it lay in the directory as `srpd.toml`. `SET` and
    /// `VENDOR_US_KEY` are in the environment.
    pub fn parse(&self, text: &str) -> Result<Config, ConfigErrors> {
        let path = self.directory.path().join("srpd.toml");
        let directory = self.directory.path().to_str().unwrap().to_owned();
        let env = move |name: &str| match name {
            "SET" | "VENDOR_US_KEY" => Some(" sk-from-env \n".to_owned()),
            "CREDENTIALS_DIRECTORY" => Some(directory.clone()),
            _ => None,
        };
        parse(text, &path, self.now, &env)
    }

    /// Reads a configuration that must be valid.
    pub fn config(&self, text: &str) -> Config {
        match self.parse(text) {
            Ok(config) => config,
            Err(errors) => panic!("{errors}"),
        }
    }
}
