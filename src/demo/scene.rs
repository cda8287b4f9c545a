//! The demo's configuration, written out as anyone would write it: a directory with a file for
//! srpd and an accreditation for the backstop, signed by an authority made up for the occasion.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{DemoError, Upstreams};
use crate::config::{self, Config};
use crate::policy::accreditation::{AuthorityKey, PublicKey, Statement};
use crate::policy::residency::Jurisdiction;

/// The demo's only key. No secret: what it opens listens on loopback and says nothing true.
pub const KEY: &str = "sk-srp-demo";

const DATA_PORT: u16 = 8080;
const ADMIN_PORT: u16 = 9090;

/// How long the accreditation holds: longer than the 30 days under which srpd warns.
const ACCREDITED: SignedDuration = SignedDuration::from_hours(24 * 365);

/// A directory with the configuration; gone when this is dropped.
pub struct Scene {
    directory: PathBuf,
}

impl Scene {
    /// Writes the configuration that has these upstreams behind it.
    pub fn set(upstreams: &Upstreams) -> Result<Scene, DemoError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let name = format!("srpd-demo-{:016x}", u64::from_ne_bytes(random));
        let directory = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&directory)?;
        let scene = Scene { directory };
        let authority = scene.accredit("aloomu")?.encode()?;
        let hash: String = Sha256::digest(KEY)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let endpoints = |name| -> String {
            let urls = upstreams.endpoints(name).into_iter();
            let urls: Vec<String> = urls.map(|at| format!("\"http://{at}\"")).collect();
            urls.join(", ")
        };
        let text = TEMPLATE
            .replace("<LISTEN>", &free_or_any(DATA_PORT).to_string())
            .replace("<ADMIN>", &free_or_any(ADMIN_PORT).to_string())
            .replace("<AUTHORITY>", &authority)
            .replace("<KEY>", &hash)
            .replace("<VENDOR-US>", &endpoints("vendor-us"))
            .replace("<VENDOR-DE>", &endpoints("vendor-de"))
            .replace("<FLEET-PER>", &endpoints("fleet-per"))
            .replace("<ALOOMU>", &endpoints("aloomu"));
        fs::write(scene.file(), text)?;
        Ok(scene)
    }

    /// Where the configuration lies.
    pub fn file(&self) -> PathBuf {
        self.directory.join("srpd.toml")
    }

    /// The configuration as srpd reads it.
    pub fn config(&self) -> Result<Config, DemoError> {
        Ok(config::load(&self.file(), Timestamp::now())?)
    }

    /// Signs the backstop's accreditation with a key that nobody keeps; gives its public half.
    fn accredit(&self, provider: &str) -> Result<PublicKey, DemoError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed)?;
        let authority = AuthorityKey::from_seed(&seed);
        let now = Timestamp::from_second(Timestamp::now().as_second())?;
        let statement = Statement {
            provider: provider.to_owned(),
            jurisdiction: Jurisdiction::parse("au").ok_or(DemoError::NoAustralia)?,
            hosts: [Ipv4Addr::LOCALHOST.to_string()].into(),
            not_before: now,
            not_after: now + ACCREDITED,
        };
        let file = self.directory.join("aloomu.accreditation.json");
        fs::write(file, statement.sign(&authority).to_string())?;
        Ok(authority.public_key())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        remove(&self.directory);
    }
}

fn remove(directory: &Path) {
    if let Err(error) = fs::remove_dir_all(directory) {
        eprintln!("{} stays behind: {error}", directory.display());
    }
}

/// That port of loopback if nobody listens there, else port 0: the system picks one.
fn free_or_any(port: u16) -> SocketAddr {
    let free = |port| -> io::Result<SocketAddr> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        Ok((Ipv4Addr::LOCALHOST, port).into())
    };
    free(port).unwrap_or_else(|_| (Ipv4Addr::LOCALHOST, 0).into())
}

const TEMPLATE: &str = r#"# srpd demo: rewritten at each start, removed at its end.

[instance]
jurisdiction = "au"
listen = ["<LISTEN>"]
admin = "<ADMIN>"

[instance.groups]
anz = ["au", "nz"]

[timeouts]
connect = "1s"
first_byte = "5s"
drain = "2s"
stall = "10s"                            # a laptop may have better things to do

[breaker]                                # quick to open, for those who watch
consecutive_failures = 3

[[authority]]
name = "demo"
public_key = "<AUTHORITY>"

[[provider]]
name = "aloomu"
jurisdiction = "au"
accreditation = "aloomu.accreditation.json"
endpoints = [<ALOOMU>]
models = { "*" = "aloomu-70b" }

[[provider]]
name = "fleet-per"
jurisdiction = "au"
endpoints = [<FLEET-PER>]
models = { fast = "qwen3-8b" }

[[provider]]
name = "vendor-us"
jurisdiction = "us"
endpoints = [<VENDOR-US>]
models = { smart = "frontier-1", fast = "frontier-1-mini" }

[[provider]]
name = "vendor-de"
jurisdiction = "de"
endpoints = [<VENDOR-DE>]
models = { smart = "grenze-2" }

[[capability]]
name = "smart"
chain = ["vendor-us", "vendor-de"]

[[capability]]
name = "fast"
chain = ["fleet-per", "vendor-us"]

[[capability]]
name = "sovereign"
chain = []

[[key]]
name = "demo"
sha256 = "<KEY>"
capabilities = ["*"]
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scene_is_a_valid_configuration_and_leaves_nothing_behind() {
        let upstreams = Upstreams::start(0).unwrap();
        let scene = Scene::set(&upstreams).unwrap();
        let config = scene.config().unwrap();
        assert_eq!(config.warnings, Vec::<String>::new());
        let chains: Vec<Vec<&str>> = config
            .capabilities
            .iter()
            .map(|capability| {
                let chain = capability.chain.iter();
                chain
                    .map(|at| config.providers[*at].name.as_str())
                    .collect()
            })
            .collect();
        assert_eq!(
            chains,
            [
                vec!["vendor-us", "vendor-de", "aloomu"],
                vec!["fleet-per", "vendor-us", "aloomu"],
                vec!["aloomu"],
            ]
        );
        let file = scene.file();
        drop(scene);
        assert!(!file.parent().unwrap().exists());
    }

    #[test]
    fn a_port_in_use_is_left_alone() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(free_or_any(port).port(), 0);
    }
}
