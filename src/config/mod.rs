//! The configuration: one parser for `check`, `serve` and reload. It reads the file into the
//! domain's own types, reports everything that is wrong with its place, and accepts nothing that
//! it doesn't know.

mod accreditation;
mod audit;
mod capability;
mod credential;
mod dns;
mod effective;
pub mod endpoint;
mod figures;
mod health;
mod instance;
mod key;
mod ledger;
mod market;
pub mod model;
pub mod nats;
mod otlp;
mod problems;
mod provider;
mod reader;
mod sinks;
pub mod sources;
pub mod targets;
mod tls;
mod values;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::Path;

use jiff::Timestamp;
use toml::de::DeTable;

pub use accreditation::EXPIRES_SOON;
pub use capability::SOVEREIGN;
pub use effective::effective;
pub use figures::{BODY_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX};
pub use market::overbooked;
pub use model::*;
pub use problems::{ConfigError, ConfigErrors};
pub use values::{NAME_BYTES_MAX, NAME_EXPECTED, is_name};

use crate::base::ids::{CAPABILITIES_MAX, KEYS_MAX, PROVIDERS_MAX};
use crate::policy::breaker::BreakerConfig;
use problems::Problems;
use provider::Draft;
use reader::Table;
use values::Names;

/// Bytes of a configuration file.
pub const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Looks an environment variable up.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// What a file is read in: where it lies, when, and with which environment.
struct Surroundings<'s> {
    directory: &'s Path,
    now: Timestamp,
    env: Environment<'s>,
}

/// Reads a configuration file, and those that it names, with the process's environment. `now`
/// decides which accreditations are valid.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path, now: Timestamp) -> Result<Config, ConfigErrors> {
    let unreadable = |error: std::io::Error| {
        ConfigErrors::unreadable(path, format!("expected a readable file: {error}"))
    };
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content))
        .map_err(unreadable)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        let message = format!("expected at most {FILE_BYTES_MAX} bytes");
        return Err(ConfigErrors::unreadable(path, message));
    }
    let text = str::from_utf8(&content)
        .map_err(|error| ConfigErrors::not_utf8(path, &content, error.valid_up_to()))?;
    parse(text, path, now, &|name| std::env::var(name).ok())
}

/// Reads a configuration from its text. `path` is where it came from: messages name it, and
/// relative paths inside are relative to its directory.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(
    text: &str,
    path: &Path,
    now: Timestamp,
    env: Environment<'_>,
) -> Result<Config, ConfigErrors> {
    let problems = Problems::new(text);
    let (document, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        problems.error(&error.span().unwrap_or(0..0), "", error.message());
    }
    let surroundings = Surroundings {
        directory: path.parent().unwrap_or(Path::new("")),
        now,
        env,
    };
    // After a syntax error the rest is a guess: nothing more to complain about.
    let config = syntax
        .is_empty()
        .then(|| document_of(Table::root(&document, &problems), &surroundings));
    let (config, warnings) = problems.conclude(path, config.flatten())?;
    Ok(Config { warnings, ..config })
}

/// None only after a complaint.
fn document_of(root: Table<'_>, surroundings: &Surroundings<'_>) -> Option<Config> {
    let instance = instance::read(root.table("instance"), surroundings);
    let timeouts = figures::timeouts(root.table("timeouts"));
    let breaker = figures::breaker(root.table("breaker"), &BreakerConfig::default());
    let authorities = accreditation::authorities(root.tables("authority"));
    let (capability_tables, capability_names) = named(&root, "capability", 1..=CAPABILITIES_MAX);
    let (provider_tables, provider_names) = named(&root, "provider", 1..=PROVIDERS_MAX);
    let (key_tables, key_names) = named(&root, "key", 0..=KEYS_MAX);
    if key_tables.is_empty() {
        root.warn("there is no [[key]]: every call will get 401");
    }

    let system_roots = tls::SystemRoots::default();
    let context = provider::Context {
        surroundings,
        system_roots: &system_roots,
        authorities: &authorities,
        timeouts: &timeouts,
        breaker: &breaker,
    };
    let providers: Vec<Draft<'_>> = provider_tables
        .into_iter()
        .map(|(table, name)| provider::read(table, name, &capability_names, &context))
        .collect();
    provider::check_together(&providers, &instance);

    let context = capability::Context {
        jurisdiction: instance.jurisdiction.as_ref().map(|found| found.0),
        groups: &instance.groups,
        providers: &providers,
        provider_names: &provider_names,
    };
    let capabilities: Vec<Option<Capability>> = capability_tables
        .into_iter()
        .map(|(table, name)| capability::read(table, name, &context))
        .collect();
    let keys = key::read(key_tables, &capability_names, &instance.groups);
    let limits = figures::limits(root.table("limits"));
    let retry = figures::retry(root.table("retry"));
    let otlp = otlp::read(&root, &system_roots, surroundings);
    let log = figures::log(root.table("log"));
    let market = market::read(root.table("market"), &providers, surroundings);
    let context = market::Context {
        keys: &key_names,
        providers: &providers,
        provider_names: &provider_names,
    };
    let reservations = market::reservations(root.tables("reservation"), &context);
    let (ledger, sinks) = ledger::read(&root, surroundings, &system_roots);
    let audit = audit::read(&root, surroundings, ledger.is_some());
    let dns = dns::read(root.table("dns"));
    root.finish();
    Some(Config {
        instance: instance.finish()?,
        limits,
        timeouts,
        retry,
        market,
        ledger,
        otlp,
        audit,
        sinks: sinks.into_iter().collect::<Option<_>>()?,
        log,
        dns,
        providers: providers
            .into_iter()
            .map(Draft::finish)
            .collect::<Option<_>>()?,
        capabilities: capabilities.into_iter().collect::<Option<_>>()?,
        keys: keys.into_iter().collect::<Option<_>>()?,
        reservations: reservations.into_iter().collect::<Option<_>>()?,
        warnings: Vec::new(),
    })
}

type Named<'t> = (Table<'t>, Option<&'t str>);

/// The tables of an array of tables with their names, as many as `counts` allows.
fn named<'t>(
    root: &Table<'t>,
    kind: &'static str,
    counts: RangeInclusive<usize>,
) -> (Vec<Named<'t>>, Names<'t>) {
    let tables = root.tables(kind);
    let (least, most) = (counts.start(), counts.end());
    if tables.len() < *least {
        root.fail(format!("expected at least {least} table [[{kind}]]"));
    }
    if let Some(first_too_many) = tables.get(*most) {
        first_too_many.fail(format!("expected at most {most} tables [[{kind}]]"));
    }
    let mut names = Names::new(kind);
    let name = |(position, table): (usize, Table<'t>)| {
        let name = names.read(&table, position);
        (table, name)
    };
    let tables = tables.into_iter().enumerate().map(name).collect();
    (tables, names)
}
