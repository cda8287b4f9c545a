//! `provider.endpoints`: a list of URLs, or a table that says where they are found: in files, as
//! the addresses of a name, as the servers of a service. And what an endpoint that was found must
//! be like: a source can add replicas, never a place that the configuration doesn't allow.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Surroundings;
use super::endpoint::{EndpointUrl, parse_endpoint};
use super::model::{DnsName, Endpoint, Provider, Service, Sources};
use super::reader::{Table, Value};
use super::targets::{self, Pattern};
use super::tls::Trust;
use crate::net::{BadTls, ClientTls};

/// Sources of one kind that a provider may have.
const SOURCES_MAX: usize = 64;

pub(super) const EXPECTED: &str =
    "an array of URLs, or a table with `urls`, `files`, `dns` or `srv`";

/// What `endpoints` says.
#[derive(Default)]
pub(super) struct Read {
    pub(super) listed: Vec<Endpoint>,
    pub(super) sources: Sources,
    /// Whether anything in it is `https://`, or may turn out to be, however far it could be read.
    pub(super) may_be_https: bool,
}

/// Reads the value of `endpoints`.
pub(super) fn read(
    at: Option<&Value<'_>>,
    addresses: &[IpNet],
    trust: &Trust<'_>,
    surroundings: &Surroundings<'_>,
) -> Read {
    let mut read = Read::default();
    let Some(at) = at else {
        return read;
    };
    if at.is_array() {
        if at.array().is_some_and(|elements| elements.is_empty()) {
            at.fail("expected at least one URL");
        }
        read.list(at, addresses, trust);
        return read;
    }
    if !at.is_table() {
        at.fail_kind(EXPECTED);
        return read;
    }
    let Some(table) = at.table() else {
        return read;
    };
    read.table(&table, addresses, trust, surroundings);
    table.finish();
    read
}

impl Read {
    fn table(
        &mut self,
        table: &Table<'_>,
        addresses: &[IpNet],
        trust: &Trust<'_>,
        surroundings: &Surroundings<'_>,
    ) {
        let mut elements = 0;
        if let Some(urls) = table.get("urls") {
            elements += urls.array().unwrap_or_default().len();
            self.list(&urls, addresses, trust);
        }
        let mut each = |key, read: &mut dyn FnMut(&Value<'_>)| {
            let values = table.get(key).and_then(|value| {
                let values = value.array()?;
                if values.len() > SOURCES_MAX {
                    value.fail(format!("expected at most {SOURCES_MAX} of them"));
                }
                Some(values)
            });
            let values = values.unwrap_or_default();
            elements += values.len();
            values.iter().for_each(read);
        };
        each("files", &mut |at| self.file(at, surroundings));
        each("dns", &mut |at| self.name(at, trust));
        each("srv", &mut |at| self.service(at, trust));
        if elements == 0 {
            table.fail(format!("expected {EXPECTED}, with one element at least"));
        }
    }

    fn list(&mut self, at: &Value<'_>, addresses: &[IpNet], trust: &Trust<'_>) {
        for element in at.array().unwrap_or_default() {
            let Some(url) = element.text("a URL") else {
                continue;
            };
            let parsed = match parse_endpoint(url.text) {
                Ok(parsed) => parsed,
                Err(error) => {
                    element.fail(error.to_string());
                    continue;
                }
            };
            let address = parsed.host.parse::<IpAddr>();
            if let Ok(address) = address.map(|address| address.to_canonical())
                && !addresses.is_empty()
                && !addresses.iter().any(|range| range.contains(&address))
            {
                element.fail(format!(
                    "expected an address inside the provider's `addresses`, found {address}"
                ));
            }
            let place = |host: &str, port, prefix: &str| (host.to_owned(), port, prefix.to_owned());
            let mine = place(&parsed.host, parsed.port, &parsed.prefix);
            let known = self.listed.iter();
            let mut known = known.map(|it| place(&it.host, it.port, &it.prefix));
            if known.any(|known| known == mine) {
                element.fail("expected each endpoint once");
            }
            self.may_be_https |= parsed.https;
            let tls = parsed
                .https
                .then(|| client_tls(&element, trust, &parsed.host));
            self.listed.push(Endpoint {
                url: url.text.to_owned(),
                tls: tls.flatten(),
                name: parsed.host.clone(),
                host: parsed.host,
                port: parsed.port,
                prefix: parsed.prefix,
                metrics: None,
            });
        }
    }

    fn file(&mut self, at: &Value<'_>, surroundings: &Surroundings<'_>) {
        const EXPECTED: &str = "the path of a JSON file of targets, such as \"fleet/*.json\"";
        let Some(text) = at.text(EXPECTED) else {
            return;
        };
        let Some(pattern) = Pattern::new(text.text, surroundings.directory) else {
            at.fail(format!(
                "expected {EXPECTED}: its last part ends in .json, and has at most one *"
            ));
            return;
        };
        // What is in it may change at any time: it is looked at here so that `check` can tell.
        match targets::read(&pattern) {
            Ok(files) => {
                for (path, error) in files.into_iter().filter_map(|(p, it)| Some((p, it.err()?))) {
                    at.warn(format!("{}: {error}", path.display()));
                }
            }
            Err(error) => at.warn(error.to_string()),
        }
        self.may_be_https = true;
        self.sources.files.push(pattern);
    }

    fn name(&mut self, at: &Value<'_>, trust: &Trust<'_>) {
        let Some(text) = at.text("a URL") else {
            return;
        };
        match parse_endpoint(text.text) {
            Ok(url) if url.host.parse::<IpAddr>().is_ok() => {
                at.fail("expected a name: an address is an endpoint already, in `urls`");
            }
            Ok(url) => {
                if url.https {
                    self.may_be_https = true;
                    client_tls(at, trust, &url.host);
                }
                let written = text.text.to_owned();
                self.sources.names.push(DnsName { written, url });
            }
            Err(error) => at.fail(error.to_string()),
        }
    }

    fn service(&mut self, at: &Value<'_>, trust: &Trust<'_>) {
        const EXPECTED: &str = "a service such as \"http://_vllm._tcp.fleet.example\"";
        let Some(text) = at.text(EXPECTED) else {
            return;
        };
        let url = match parse_endpoint(text.text) {
            Ok(url) => url,
            Err(error) => return at.fail(error.to_string()),
        };
        let Some(domain) = domain(&url.host) else {
            return at.fail(format!("expected {EXPECTED}"));
        };
        if text.text.matches(':').count() > 1 {
            return at.fail("expected no port: DNS says which");
        }
        if url.https {
            self.may_be_https = true;
            client_tls(at, trust, domain);
        }
        self.sources.services.push(Service {
            written: text.text.to_owned(),
            https: url.https,
            domain: domain.to_owned(),
            prefix: url.prefix,
            name: url.host,
        });
    }
}

/// The domain of a service's name.
fn domain(name: &str) -> Option<&str> {
    let (service, rest) = name.split_once('.')?;
    let (protocol, domain) = rest.split_once('.')?;
    let is_service = service.len() > 1 && service.starts_with('_') && protocol == "_tcp";
    (is_service && !domain.starts_with('_')).then_some(domain)
}

/// None only after a complaint.
fn client_tls(at: &Value<'_>, trust: &Trust<'_>, host: &str) -> Option<ClientTls> {
    ClientTls::new(trust.roots(at)?, host)
        .map_err(|error| at.fail(error.to_string()))
        .ok()
}

/// An endpoint that was found.
pub struct Found {
    /// Where it is.
    pub url: EndpointUrl,
    /// What it is addressed as, and what its certificate must bear.
    pub name: String,
    /// The host that an accreditation must cover.
    pub vouched: String,
    /// Where its metrics are.
    pub metrics: Option<String>,
}

/// Why an endpoint that was found is not used.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// The provider is a backstop, and this host is none of those that it is accredited for.
    #[error("host {0:?} is not among the accredited ones")]
    Unaccredited(String),
    /// It is an address outside the pinned ranges.
    #[error("address {0} is outside the provider's `addresses`")]
    Outside(IpAddr),
    /// It is `https://`, and there is nothing to verify it by.
    #[error("the system trusts no authority that could vouch for it, and there is no `ca`")]
    NoRoots,
    /// What it is called can't be in a certificate.
    #[error(transparent)]
    Tls(#[from] BadTls),
}

impl Provider {
    /// Takes an endpoint that was found, if the provider may have it.
    ///
    /// # Errors
    /// See [`NotAdmitted`]. An address that a name resolves to is judged later, when it does.
    pub fn admit(&self, found: Found) -> Result<Endpoint, NotAdmitted> {
        let Found {
            url,
            name,
            vouched,
            metrics,
        } = found;
        if let Some(accredited) = &self.accreditation
            && !accredited.hosts.contains(&vouched)
        {
            return Err(NotAdmitted::Unaccredited(vouched));
        }
        if let Ok(address) = url.host.parse::<IpAddr>()
            && !self.admits(address)
        {
            return Err(NotAdmitted::Outside(address));
        }
        let tls = match (&self.roots, url.https) {
            (_, false) => None,
            (None, true) => return Err(NotAdmitted::NoRoots),
            (Some(roots), true) => Some(ClientTls::new(roots, &name)?),
        };
        Ok(Endpoint {
            url: url.canonical(),
            host: url.host,
            name,
            port: url.port,
            prefix: url.prefix,
            metrics,
            tls,
        })
    }
}
