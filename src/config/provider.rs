//! `[[provider]]`.

use std::net::IpAddr;
use std::num::NonZeroU32;

use ipnet::IpNet;

use super::accreditation::{self, Authority};
use super::instance::{self, jurisdiction};
use super::model::{Accredited, CaFile, Endpoint, Health, Models, Provider, Sources, Tier, Tiers};
use super::reader::{Table, Value};
use super::sources;
use super::tls::{SystemRoots, Trust};
use super::values::{Names, is_name};
use super::{Surroundings, credential};
use super::{figures, health};
use crate::base::Secret;
use crate::base::ids::ENDPOINTS_MAX;
use crate::market::Price;
use crate::market::occupancy::SLOTS_MAX;
use crate::net::Roots;
use crate::policy::balance::Balance;
use crate::policy::breaker::BreakerConfig;
use crate::policy::limits::Timeouts;
use crate::policy::residency::Jurisdiction;

/// Address ranges of one provider.
const ADDRESSES_MAX: usize = 256;

/// Bytes of a provider's model name.
const MODEL_BYTES_MAX: usize = 256;

/// Bytes of a provider's name for a tier.
const TIER_BYTES_MAX: usize = 64;

/// What every provider is read against.
pub(super) struct Context<'c> {
    pub(super) surroundings: &'c Surroundings<'c>,
    pub(super) system_roots: &'c SystemRoots,
    pub(super) authorities: &'c [Authority],
    pub(super) timeouts: &'c Timeouts,
    pub(super) breaker: &'c BreakerConfig,
}

/// A provider as far as it could be read: what is missing has been complained about.
pub(super) struct Draft<'t> {
    pub(super) name: Option<&'t str>,
    pub(super) jurisdiction: Option<Jurisdiction>,
    /// Where it says that it is accredited, whether that is true or not.
    pub(super) accreditation_at: Option<Value<'t>>,
    pub(super) models: Models,
    /// Where its models stand, and its endpoints.
    pub(super) models_at: Option<Value<'t>>,
    pub(super) endpoints_at: Option<Value<'t>>,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) capacity: Option<NonZeroU32>,
    pub(super) price: Option<Price>,
    pub(super) price_at: Option<Value<'t>>,
    location: Option<&'t str>,
    sources: Sources,
    roots: Option<Roots>,
    accredited: Option<Accredited>,
    ca: Option<CaFile>,
    addresses: Vec<IpNet>,
    api_key: Option<Secret>,
    timeouts: Timeouts,
    breaker: BreakerConfig,
    balance: Balance,
    tiers: Tiers,
    health: Option<Health>,
}

impl Draft<'_> {
    /// Where its work lands: its jurisdiction, if it doesn't say.
    pub(super) fn location(&self) -> &str {
        let jurisdiction = self.jurisdiction.as_ref().map(|it| it.code());
        self.location.or(jurisdiction).unwrap_or_default()
    }

    pub(super) fn finish(self) -> Option<Provider> {
        Some(Provider {
            location: self.location().to_owned(),
            capacity: self.capacity,
            price: self.price.unwrap_or_default(),
            name: self.name?.to_owned(),
            jurisdiction: self.jurisdiction?,
            accreditation: self.accredited,
            endpoints: self.endpoints,
            sources: self.sources,
            ca: self.ca,
            roots: self.roots,
            addresses: self.addresses,
            models: self.models,
            api_key: self.api_key,
            timeouts: self.timeouts,
            breaker: self.breaker,
            balance: self.balance,
            tiers: self.tiers,
            health: self.health,
        })
    }
}

/// Reads one `[[provider]]`. Which capabilities its models are for is looked up in
/// `capabilities`.
pub(super) fn read<'t>(
    table: Table<'t>,
    name: Option<&'t str>,
    capabilities: &Names<'_>,
    context: &Context<'_>,
) -> Draft<'t> {
    let jurisdiction = jurisdiction(&table).map(|(jurisdiction, _)| jurisdiction);
    let addresses = addresses(&table);
    let endpoints_at = table.required("endpoints", sources::EXPECTED);
    let ca = table.get("ca");
    let trust = Trust::read(ca.as_ref(), context.system_roots, context.surroundings);
    let found = sources::read(
        endpoints_at.as_ref(),
        &addresses,
        &trust,
        context.surroundings,
    );
    if let Some(ca) = ca
        && !found.may_be_https
    {
        ca.fail("expected an https:// endpoint beside it: nothing else is verified");
    }
    let models_at = table.required("models", MODELS_EXPECTED);
    let api_key = table.get("api_key").and_then(|value| value.table());
    let accreditation_at = table.get("accreditation");
    let accredited = accreditation_at.as_ref().and_then(|at| {
        let subject = accreditation::Subject {
            name: name?,
            jurisdiction: jurisdiction?,
            endpoints: &found.listed,
            sources: &found.sources,
        };
        accreditation::read(at, &subject, context.authorities, context.surroundings)
    });
    let draft = Draft {
        name,
        jurisdiction,
        accreditation_at,
        models: models(models_at.as_ref(), capabilities),
        models_at,
        endpoints_at,
        capacity: capacity(&table),
        price: table.price("price"),
        price_at: table.get("price"),
        location: table
            .get("location")
            .and_then(|value| Some(value.name()?.text)),
        roots: (found.may_be_https && !found.sources.is_empty())
            .then(|| trust.any_roots())
            .flatten(),
        endpoints: found.listed,
        sources: found.sources,
        accredited,
        ca: trust.into_file(),
        addresses,
        api_key: api_key.and_then(|table| credential::read(table, context.surroundings)),
        timeouts: figures::provider_timeouts(table.table("timeouts"), context.timeouts),
        breaker: figures::breaker(table.table("breaker"), context.breaker),
        balance: table.choice(
            "balance",
            [
                ("least_loaded", Balance::LeastLoaded),
                ("prefix", Balance::Prefix),
            ],
        ),
        tiers: table
            .get("tiers")
            .and_then(|value| Some(tiers(value.table()?)))
            .unwrap_or_default(),
        health: table
            .get("health")
            .and_then(|value| health::read(value.table()?)),
    };
    table.finish();
    draft
}

/// What concerns several providers: SRP section 4's backstop, and the bounds of the whole file.
pub(super) fn check_together(providers: &[Draft<'_>], instance: &instance::Read<'_>) {
    let mut backstops: Vec<Jurisdiction> = Vec::new();
    let mut endpoints = 0;
    for provider in providers {
        if let (Some(at), Some(jurisdiction)) = (&provider.accreditation_at, provider.jurisdiction)
        {
            if backstops.contains(&jurisdiction) {
                at.fail(format!(
                    "expected one backstop in \"{jurisdiction}\": an earlier provider has an \
                     accreditation for it"
                ));
            }
            backstops.push(jurisdiction);
        }
        let before = endpoints;
        endpoints += provider.endpoints.len();
        if let Some(at) = &provider.endpoints_at
            && before <= ENDPOINTS_MAX
            && endpoints > ENDPOINTS_MAX
        {
            at.fail(format!(
                "expected at most {ENDPOINTS_MAX} endpoints of all providers"
            ));
        }
    }
    if let Some((home, at)) = &instance.jurisdiction
        && !backstops.contains(home)
    {
        at.fail(format!(
            "expected a jurisdiction with an accredited backstop: no [[provider]] in \"{home}\" \
             has an `accreditation`"
        ));
    }
}

fn addresses(table: &Table<'_>) -> Vec<IpNet> {
    const EXPECTED: &str = "an address range such as \"10.0.0.0/8\" or \"2001:db8::/32\"";
    let Some(value) = table.get("addresses") else {
        return Vec::new();
    };
    let Some(elements) = value.array() else {
        return Vec::new();
    };
    if !(1..=ADDRESSES_MAX).contains(&elements.len()) {
        value.fail(format!("expected 1 to {ADDRESSES_MAX} address ranges"));
    }
    let range = |element: Value<'_>| {
        let text = element.text(EXPECTED)?.text;
        let address = text.parse::<IpAddr>().map(IpNet::from);
        let range = text.parse::<IpNet>().ok().or(address.ok());
        if range.is_none() {
            element.fail(format!("expected {EXPECTED}, found {text:?}"));
        }
        range
    };
    elements.into_iter().filter_map(range).collect()
}

/// Slots; none if the key is left out.
fn capacity(table: &Table<'_>) -> Option<NonZeroU32> {
    table.get("capacity")?;
    NonZeroU32::new(table.whole("capacity", 1, 1..=SLOTS_MAX))
}

const TIER_EXPECTED: &str =
    "a value of `service_tier`, such as \"flex\", or a `priority`, such as 10";

/// What firm and floating calls are called there.
fn tiers(table: Table<'_>) -> Tiers {
    let tiers = Tiers {
        firm: table.get("firm").and_then(|value| tier(&value)),
        floating: table.get("floating").and_then(|value| tier(&value)),
    };
    let is_name = |tier: &Tier| matches!(tier, Tier::Service(_));
    match (&tiers.firm, &tiers.floating) {
        (Some(firm), Some(floating)) if is_name(firm) != is_name(floating) => {
            table.fail("expected `firm` and `floating` to be both strings, or both whole numbers");
        }
        (None, None) if table.get("firm").is_none() && table.get("floating").is_none() => {
            table.fail("expected `firm`, `floating` or both");
        }
        _ => {}
    }
    table.finish();
    tiers
}

fn tier(value: &Value<'_>) -> Option<Tier> {
    if !value.is_text() {
        let number = value.integer(TIER_EXPECTED)?;
        if i32::try_from(number).is_err() {
            value.fail(format!(
                "expected a `priority` from {} to {}, found {number}",
                i32::MIN,
                i32::MAX
            ));
            return None;
        }
        return Some(Tier::Priority(number));
    }
    let name = value.text(TIER_EXPECTED)?.text;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if !(1..=TIER_BYTES_MAX).contains(&name.len()) || !name.bytes().all(plain) {
        value.fail(format!(
            "expected 1 to {TIER_BYTES_MAX} letters, digits, `-`, `_` or `.`, found {name:?}"
        ));
        return None;
    }
    Some(Tier::Service(name.to_owned()))
}

const MODELS_EXPECTED: &str =
    "a table from capabilities to this provider's model names, such as { smart = \"model-1\" }";

fn models(at: Option<&Value<'_>>, capabilities: &Names<'_>) -> Models {
    const EXPECTED: &str = "a model's name: 1 to 256 bytes without control characters";
    let mut models = Models::default();
    let Some(table) = at.and_then(|at| at.table()) else {
        return models;
    };
    let named = table.named();
    if named.is_empty() {
        table.fail(format!("expected {MODELS_EXPECTED}"));
    }
    for (capability, value) in named {
        let Some(model) = value.text(EXPECTED) else {
            continue;
        };
        let length = model.text.len();
        if !(1..=MODEL_BYTES_MAX).contains(&length) || model.text.chars().any(char::is_control) {
            value.fail(format!("expected {EXPECTED}, found {:?}", model.text));
        }
        let model = model.text.to_owned();
        if capability.text == "*" {
            models.fallback = Some(model);
        } else if is_name(capability.text) && capabilities.find(&capability).is_some() {
            models.named.insert(capability.text.to_owned(), model);
        } else if !is_name(capability.text) {
            capability.at.fail("expected a capability's name or \"*\"");
        }
    }
    models
}
