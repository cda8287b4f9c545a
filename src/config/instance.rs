//! `[instance]`.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use super::model::{Cores, Driver, Instance, Tls};
use super::reader::{Table, Text, Value};
use super::{Surroundings, tls};
use crate::policy::residency::{Groups, Jurisdiction, JurisdictionSet};

/// Core threads of one process.
const CORES_MAX: u32 = 1024;

/// Data-plane listeners.
const LISTEN_MAX: usize = 64;

const LISTEN_DEFAULT: SocketAddr = loopback(8080);
const ADMIN_DEFAULT: SocketAddr = loopback(9090);

/// An instance without a jurisdiction has been complained about.
pub(super) struct Read<'t> {
    pub(super) listen: Vec<SocketAddr>,
    pub(super) admin: SocketAddr,
    pub(super) cores: Cores,
    pub(super) driver: Driver,
    currency: Option<String>,
    pub(super) expose_providers: bool,
    pub(super) groups: Groups,
    pub(super) jurisdiction: Option<(Jurisdiction, Value<'t>)>,
    pub(super) tls: Option<Tls>,
}

impl Read<'_> {
    pub(super) fn finish(self) -> Option<Instance> {
        Some(Instance {
            jurisdiction: self.jurisdiction?.0,
            listen: self.listen,
            admin: self.admin,
            cores: self.cores,
            driver: self.driver,
            currency: self.currency,
            expose_providers: self.expose_providers,
            groups: self.groups,
            tls: self.tls,
        })
    }
}

pub(super) fn read<'t>(table: Table<'t>, surroundings: &Surroundings<'_>) -> Read<'t> {
    let listen = listen(&table);
    let read = Read {
        jurisdiction: jurisdiction(&table),
        admin: admin(&table, &listen),
        listen,
        cores: cores(&table),
        driver: table.choice(
            "driver",
            [
                ("auto", Driver::Auto),
                ("io_uring", Driver::IoUring),
                ("epoll", Driver::Epoll),
            ],
        ),
        currency: currency(&table),
        expose_providers: table.flag("expose_providers", false),
        groups: groups(table.table("groups")),
        tls: table
            .get("tls")
            .and_then(|value| tls::server(value.table()?, surroundings)),
    };
    table.finish();
    read
}

/// The `currency`, if there is one.
fn currency(table: &Table<'_>) -> Option<String> {
    const EXPECTED: &str = "an ISO 4217 code of three capital letters, such as \"AUD\"";
    let value = table.get("currency")?;
    let text = value.text(EXPECTED)?.text;
    if text.len() != 3 || !text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        value.fail(format!("expected {EXPECTED}, found {text:?}"));
        return None;
    }
    Some(text.to_owned())
}

/// The `jurisdiction` of a table, and where it stands.
pub(super) fn jurisdiction<'t>(table: &Table<'t>) -> Option<(Jurisdiction, Value<'t>)> {
    let value = table.required("jurisdiction", JURISDICTION_EXPECTED)?;
    let jurisdiction = code(&value.text(JURISDICTION_EXPECTED)?)?;
    Some((jurisdiction, value))
}

const JURISDICTION_EXPECTED: &str = "an ISO 3166-1 alpha-2 code, such as \"au\"";

/// A jurisdiction by its code.
pub(super) fn code(text: &Text<'_>) -> Option<Jurisdiction> {
    let jurisdiction = Jurisdiction::parse(text.text);
    if jurisdiction.is_none() {
        let found = text.text;
        text.at
            .fail(format!("expected {JURISDICTION_EXPECTED}, found {found:?}"));
    }
    jurisdiction
}

fn listen(table: &Table<'_>) -> Vec<SocketAddr> {
    let Some(value) = table.get("listen") else {
        return vec![LISTEN_DEFAULT];
    };
    let elements = value.array().unwrap_or_default();
    if value.is_array() && !(1..=LISTEN_MAX).contains(&elements.len()) {
        value.fail(format!("expected 1 to {LISTEN_MAX} addresses"));
    }
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for element in elements {
        let Some(address) = socket_address(&element) else {
            continue;
        };
        // Port 0 asks for any free one: two of them are two listeners.
        if address.port() != 0 && addresses.contains(&address) {
            element.fail(format!("expected each address once, found {address} again"));
        }
        addresses.push(address);
    }
    addresses
}

fn admin(table: &Table<'_>, listen: &[SocketAddr]) -> SocketAddr {
    let Some(value) = table.get("admin") else {
        return ADMIN_DEFAULT;
    };
    let Some(address) = socket_address(&value) else {
        return ADMIN_DEFAULT;
    };
    if address.port() != 0 && listen.contains(&address) {
        value.fail("expected an address of its own: the data plane listens here already");
    }
    address
}

fn socket_address(value: &Value<'_>) -> Option<SocketAddr> {
    const EXPECTED: &str = "an IP address and port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
    let text = value.text(EXPECTED)?.text;
    let address = text.parse().ok();
    if address.is_none() {
        value.fail(format!("expected {EXPECTED}, found {text:?}"));
    }
    address
}

fn cores(table: &Table<'_>) -> Cores {
    const EXPECTED: &str = "\"auto\", a number of threads or a list of CPUs";
    let Some(value) = table.get("cores") else {
        return Cores::Auto;
    };
    if value.is_text() {
        table.choice("cores", [("auto", ())]);
        return Cores::Auto;
    }
    if value.is_array() {
        return Cores::Cpus(cpus(&value));
    }
    let Some(number) = value.integer(EXPECTED) else {
        return Cores::Auto;
    };
    let count = u32::try_from(number).ok().and_then(NonZeroU32::new);
    match count.filter(|count| count.get() <= CORES_MAX) {
        Some(count) => Cores::Count(count),
        None => {
            value.fail(format!("expected 1 to {CORES_MAX} threads, found {number}"));
            Cores::Auto
        }
    }
}

fn cpus(value: &Value<'_>) -> Vec<usize> {
    let elements = value.array().unwrap_or_default();
    if !(1..=CORES_MAX as usize).contains(&elements.len()) {
        value.fail(format!("expected 1 to {CORES_MAX} CPUs"));
    }
    let mut cpus = Vec::new();
    for element in elements {
        let Some(number) = element.integer("the number of a CPU, from 0") else {
            continue;
        };
        match usize::try_from(number) {
            Ok(cpu) if cpu < libc::CPU_SETSIZE as usize && !cpus.contains(&cpu) => cpus.push(cpu),
            _ => element.fail(format!(
                "expected CPU numbers below {}, each once, found {number}",
                libc::CPU_SETSIZE
            )),
        }
    }
    cpus
}

fn groups(table: Table<'_>) -> Groups {
    let mut groups = Groups::new();
    for (name, value) in table.named() {
        if !Groups::is_valid_name(name.text) {
            name.at.fail(
                "expected as a group's name 1 to 64 letters, digits, - or _; \
                 neither \"any\" nor an ISO code",
            );
        }
        let members = value.texts("an ISO 3166-1 alpha-2 code");
        if value.is_array() && members.is_empty() {
            value.fail("expected at least one ISO 3166-1 alpha-2 code");
        }
        let set: JurisdictionSet = members.iter().filter_map(code).collect();
        if groups.insert(name.text, set).is_some() {
            name.at
                .fail("expected a unique name: groups' names are alike in either case");
        }
    }
    groups
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}
