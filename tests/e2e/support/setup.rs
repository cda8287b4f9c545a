//! A configuration, written down as an operator would, with a backstop that is really
//! accredited: by `srpd accredit` itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};

use super::client::KEY;
use super::tls::{Authority, Identity};

/// The binary under test.
pub const SRPD: &str = env!("CARGO_BIN_EXE_srpd");

/// Names the driver for instances whose test doesn't care.
const DRIVER: &str = "SRPD_E2E_DRIVER";

/// A configuration in the making. It starts as an instance in `au` with two cores, one key that
/// may do everything, and what each test adds.
#[derive(Clone)]
pub struct Setup {
    sections: BTreeMap<String, String>,
    providers: Vec<Provider>,
    capabilities: String,
    keys: String,
    files: Vec<(String, String)>,
}

#[derive(Clone)]
struct Provider {
    name: String,
    jurisdiction: String,
    endpoints: Vec<String>,
    /// What `endpoints` is in place of a list of these.
    found: Option<String>,
    accredited: bool,
    models: String,
    more: String,
}

impl Setup {
    /// An instance in `au` with the backstop `aloomu` at `backstop`, and the capability `smart`
    /// whose chain lists nothing: only the backstop serves it.
    pub fn backstop_only(backstop: &str) -> Setup {
        Setup::bare(backstop).capability("smart", &[], "")
    }

    /// An instance in `au` with the backstop `aloomu` at `backstop`, the provider `vendor-us`
    /// (in `us`) at `vendor`, and the capability `smart` that lists the vendor.
    pub fn vendor_and_backstop(vendor: &str, backstop: &str) -> Setup {
        Setup::bare(backstop)
            .provider("vendor-us", "us", &[vendor], "")
            .capability("smart", &["vendor-us"], "")
    }

    /// An instance in `au` with the backstop `aloomu` at `backstop`, and no capability.
    pub fn bare(backstop: &str) -> Setup {
        let setup = Setup {
            sections: BTreeMap::new(),
            providers: Vec::new(),
            capabilities: String::new(),
            keys: String::new(),
            files: Vec::new(),
        };
        setup
            .section("instance", "jurisdiction = \"au\"")
            .section("instance", "listen = [\"127.0.0.1:0\"]")
            .section("instance", "admin = \"127.0.0.1:0\"")
            .section("log", "format = \"json\"")
            .accredited("aloomu", "au", &[backstop])
    }

    /// Adds lines to a table such as `timeouts` or `instance.groups`.
    pub fn section(mut self, name: &str, lines: &str) -> Setup {
        let section = self.sections.entry(name.to_owned()).or_default();
        section.push_str(lines);
        section.push('\n');
        self
    }

    /// Listens on this address instead of a free port.
    pub fn listening_at(mut self, address: &str) -> Setup {
        for lines in self.sections.values_mut() {
            *lines = lines.replace(
                "listen = [\"127.0.0.1:0\"]",
                &format!("listen = [\"{address}\"]"),
            );
        }
        self
    }

    /// No trip, whatever fails: for tests that look at single calls.
    pub fn patient_breakers(self) -> Setup {
        self.section("breaker", "consecutive_failures = 100000")
            .section("breaker", "ratio_min_calls = 100000")
    }

    /// Adds an ordinary provider; its model for every capability is `<name>-model`. `more` is
    /// lines for its table.
    pub fn provider(self, name: &str, jurisdiction: &str, endpoints: &[&str], more: &str) -> Setup {
        self.any_provider(name, jurisdiction, endpoints, false, more)
    }

    /// Adds an accredited provider: its jurisdiction's backstop.
    pub fn accredited(self, name: &str, jurisdiction: &str, endpoints: &[&str]) -> Setup {
        self.any_provider(name, jurisdiction, endpoints, true, "")
    }

    fn any_provider(
        mut self,
        name: &str,
        jurisdiction: &str,
        endpoints: &[&str],
        accredited: bool,
        more: &str,
    ) -> Setup {
        self.providers.push(Provider {
            name: name.to_owned(),
            jurisdiction: jurisdiction.to_owned(),
            endpoints: endpoints.iter().map(|url| (*url).to_owned()).collect(),
            found: None,
            accredited,
            models: format!("{{ \"*\" = \"{name}-model\" }}"),
            more: more.to_owned(),
        });
        self
    }

    /// Other models for a provider, as an inline table.
    pub fn models(mut self, provider: &str, models: &str) -> Setup {
        for candidate in &mut self.providers {
            if candidate.name == provider {
                candidate.models = models.to_owned();
            }
        }
        self
    }

    /// Has a provider's endpoints found as `table` says; it stays accredited for those that it has.
    pub fn found(mut self, provider: &str, table: &str) -> Setup {
        for candidate in &mut self.providers {
            if candidate.name == provider {
                candidate.found = Some(table.to_owned());
            }
        }
        self
    }

    /// Adds lines to a provider's table.
    pub fn more(mut self, provider: &str, lines: &str) -> Setup {
        for candidate in &mut self.providers {
            if candidate.name == provider {
                candidate.more.push_str(&format!("\n{lines}"));
            }
        }
        self
    }

    /// Speaks TLS to clients, and shows them this.
    pub fn over_tls(self, identity: &Identity) -> Setup {
        self.section("instance.tls", "certificate = \"cert.pem\"")
            .section("instance.tls", "private_key = \"key.pem\"")
            .shows(identity)
    }

    /// Puts another certificate in the place of the one that clients are shown.
    pub fn shows(self, identity: &Identity) -> Setup {
        self.file("cert.pem", &identity.certificate)
            .file("key.pem", &identity.key)
    }

    /// Has a provider's certificates verified by an authority.
    pub fn trusting(self, provider: &str, authority: &Authority) -> Setup {
        let file = format!("{provider}-ca.pem");
        self.file(&file, &authority.pem())
            .more(provider, &format!("ca = \"{file}\""))
    }

    /// Adds a capability; `more` is lines for its table.
    pub fn capability(mut self, name: &str, chain: &[&str], more: &str) -> Setup {
        self.capabilities.push_str(&format!(
            "[[capability]]\nname = \"{name}\"\nchain = {chain:?}\n{more}\n"
        ));
        self
    }

    /// Adds a client key; the default one is gone then. `more` is lines for its table, such as
    /// `capabilities`.
    pub fn key(mut self, name: &str, key: &str, more: &str) -> Setup {
        let digest = digest(key);
        self.keys.push_str(&format!(
            "[[key]]\nname = \"{name}\"\nsha256 = \"{digest}\"\n{more}\n"
        ));
        self
    }

    /// Adds whole tables, whatever they are.
    pub fn raw(mut self, tables: &str) -> Setup {
        self.capabilities.push_str(tables);
        self
    }

    /// A file next to the configuration.
    pub fn file(mut self, name: &str, content: &str) -> Setup {
        self.files.push((name.to_owned(), content.to_owned()));
        self
    }

    /// Writes `srpd.toml` and what it names into a directory.
    pub fn write(&self, directory: &Path) {
        for (name, content) in &self.files {
            std::fs::write(directory.join(name), content).expect("a file");
        }
        let authority = authority(directory);
        let mut text = String::new();
        let mut sections = self.sections.clone();
        // A machine that is busy with something else is no reason to end an instance.
        let timeouts = sections.entry("timeouts".to_owned()).or_default();
        if !timeouts.contains("stall =") {
            timeouts.push_str("stall = \"20s\"\n");
        }
        let instance = sections.entry("instance".to_owned()).or_default();
        if !instance.contains("cores =") {
            instance.push_str("cores = 2\n");
        }
        // The whole suite can be run over the other driver.
        if let (Ok(driver), false) = (std::env::var(DRIVER), instance.contains("driver =")) {
            instance.push_str(&format!("driver = \"{driver}\"\n"));
        }
        for (name, lines) in sections {
            text.push_str(&format!("[{name}]\n{lines}\n"));
        }
        text.push_str(&format!(
            "[[authority]]\nname = \"accreditor\"\npublic_key = \"{authority}\"\n\n"
        ));
        for provider in &self.providers {
            text.push_str(&provider.write(directory));
        }
        text.push_str(&self.capabilities);
        if self.keys.is_empty() {
            let default = self.clone().key("acme", KEY, "capabilities = [\"*\"]");
            text.push_str(&default.keys);
        } else {
            text.push_str(&self.keys);
        }
        std::fs::write(directory.join("srpd.toml"), text).expect("srpd.toml");
    }
}

impl Provider {
    fn write(&self, directory: &Path) -> String {
        let Provider {
            name,
            jurisdiction,
            endpoints,
            models,
            more,
            ..
        } = self;
        let mut text = format!(
            "[[provider]]\nname = \"{name}\"\njurisdiction = \"{jurisdiction}\"\n\
             models = {models}\n"
        );
        match &self.found {
            Some(table) => text.push_str(&format!("endpoints = {table}\n")),
            // Without any, `more` says where they are.
            None if endpoints.is_empty() => {}
            None => text.push_str(&format!("endpoints = {endpoints:?}\n")),
        }
        if self.accredited {
            let file = format!("{name}.accreditation.json");
            self.accredit(directory, &file);
            text.push_str(&format!("accreditation = \"{file}\"\n"));
        }
        text.push_str(more);
        text.push_str("\n\n");
        text
    }

    fn accredit(&self, directory: &Path, file: &str) {
        let mut arguments = vec!["accredit", "sign", "--key", "authority.key"];
        arguments.extend(["--provider", &self.name]);
        arguments.extend(["--jurisdiction", &self.jurisdiction]);
        arguments.extend(["--days", "90", "--out", file]);
        for endpoint in &self.endpoints {
            arguments.extend(["--endpoint", endpoint]);
        }
        // Signed again when a test reloads.
        let _ = std::fs::remove_file(directory.join(file));
        srpd(directory, &arguments);
    }
}

/// The public key of the directory's authority, which is made when it is first asked for.
fn authority(directory: &Path) -> String {
    let public = directory.join("authority.public");
    if let Ok(key) = std::fs::read_to_string(&public) {
        return key;
    }
    let printed = srpd(directory, &["accredit", "keygen", "--out", "authority.key"]);
    let key = printed
        .split_whitespace()
        .find(|word| word.starts_with("MCowBQYDK2VwAyEA"))
        .unwrap_or_else(|| panic!("no SubjectPublicKeyInfo in {printed:?}"));
    std::fs::write(&public, key).expect("a file");
    key.to_owned()
}

/// SHA-256 in lower-case hexadecimal.
pub fn digest(text: &str) -> String {
    let digest = Sha256::digest(text);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs a short command of srpd and returns what it printed.
pub fn srpd(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new(SRPD)
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("srpd runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "srpd {arguments:?}: {printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    printed
}
