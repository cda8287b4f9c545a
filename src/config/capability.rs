//! `[[capability]]`, and the chains: what the file lists, closed by the backstops (SRP section 4).

use super::model::{Capability, Order};
use super::provider::Draft;
use super::reader::{Table, Value};
use super::values::Names;
use crate::policy::chain::CHAIN_LINKS_MAX;
use crate::policy::residency::{Groups, Jurisdiction, JurisdictionSet, parse_rules};

/// The capability that never leaves the instance's jurisdiction, by definition (SRP section 3).
pub const SOVEREIGN: &str = "sovereign";

/// What every capability is read against.
pub(super) struct Context<'c, 't> {
    /// The instance's jurisdiction, if it could be read.
    pub(super) jurisdiction: Option<Jurisdiction>,
    pub(super) groups: &'c Groups,
    pub(super) providers: &'c [Draft<'t>],
    pub(super) provider_names: &'c Names<'t>,
}

pub(super) fn read<'t>(
    table: Table<'t>,
    name: Option<&'t str>,
    context: &Context<'_, 't>,
) -> Option<Capability> {
    let residency = floor(&table, name, context);
    let chain_at = table.required("chain", "an array of providers' names; it may be empty");
    let order = table.choice(
        "order",
        [("listed", Order::Listed), ("merit", Order::Merit)],
    );
    table.finish();
    let (name, residency, chain_at) = (name?, residency?, chain_at?);
    let listed = listed(&chain_at, name, residency, context);
    let chain = with_backstops(listed, name, residency, context);
    if chain.len() > CHAIN_LINKS_MAX {
        let found = chain.len();
        chain_at.fail(format!(
            "expected at most {CHAIN_LINKS_MAX} providers with the backstops, found {found}"
        ));
    }
    // Inside, the instance's own backstop serves: whether there is one is asked elsewhere.
    let home_serves = context
        .jurisdiction
        .is_none_or(|home| residency.contains(home));
    let outside = |position: &usize| {
        let jurisdiction = context.providers[*position].jurisdiction;
        jurisdiction.is_some_and(|jurisdiction| !residency.contains(jurisdiction))
    };
    if !home_serves && chain.iter().all(outside) {
        chain_at.fail("expected at least one provider or backstop inside the residency floor");
    }
    Some(Capability {
        name: name.to_owned(),
        chain,
        order,
        residency,
    })
}

/// The floor that a `residency` key asks for; everywhere, if there is none.
pub(super) fn residency(table: &Table<'_>, groups: &Groups) -> Option<JurisdictionSet> {
    let Some(value) = table.get("residency") else {
        return Some(JurisdictionSet::ALL);
    };
    let rules = value.text("residency rules, such as \"au-only\"")?.text;
    parse_rules(rules.as_bytes(), groups)
        .map_err(|error| value.fail(error.to_string()))
        .ok()
}

fn floor(
    table: &Table<'_>,
    name: Option<&str>,
    context: &Context<'_, '_>,
) -> Option<JurisdictionSet> {
    let residency = residency(table, context.groups)?;
    if name != Some(SOVEREIGN) {
        return Some(residency);
    }
    let home = context.jurisdiction?;
    let floor = residency.intersection(JurisdictionSet::of(home));
    if floor.is_empty()
        && let Some(value) = table.get("residency")
    {
        value.fail(format!(
            "expected rules that allow \"{home}\": the capability \"{SOVEREIGN}\" is served there \
             and nowhere else"
        ));
        return None;
    }
    Some(floor)
}

/// The chain as written.
fn listed(
    chain_at: &Value<'_>,
    capability: &str,
    residency: JurisdictionSet,
    context: &Context<'_, '_>,
) -> Vec<usize> {
    let mut chain = Vec::new();
    for name in chain_at.texts("a provider's name") {
        let Some(position) = context.provider_names.find(&name) else {
            continue;
        };
        let provider = &context.providers[position];
        if chain.contains(&position) {
            name.at.fail(format!(
                "expected each provider once, found {:?} again",
                name.text
            ));
            continue;
        }
        if provider.models_at.is_some() && provider.models.get(capability).is_none() {
            name.at.fail(format!(
                "expected a provider with a model for \"{capability}\": {:?} has none in its \
                 `models`",
                name.text
            ));
        }
        if let Some(jurisdiction) = provider.jurisdiction
            && !residency.contains(jurisdiction)
        {
            name.at.warn(format!(
                "no call gets here: {:?} in \"{jurisdiction}\" lies outside the residency floor",
                name.text
            ));
        }
        chain.push(position);
    }
    chain
}

/// Every accredited provider inside the floor closes the chain, that of the instance's own
/// jurisdiction last; one that is listed keeps its place.
fn with_backstops(
    mut chain: Vec<usize>,
    capability: &str,
    residency: JurisdictionSet,
    context: &Context<'_, '_>,
) -> Vec<usize> {
    let mut backstops: Vec<(usize, Jurisdiction)> = Vec::new();
    for (position, provider) in context.providers.iter().enumerate() {
        if let (Some(_), Some(jurisdiction)) = (&provider.accreditation_at, provider.jurisdiction)
            && residency.contains(jurisdiction)
            && !chain.contains(&position)
        {
            backstops.push((position, jurisdiction));
        }
    }
    backstops.sort_by_key(|&(_, jurisdiction)| Some(jurisdiction) == context.jurisdiction);
    for (position, jurisdiction) in backstops {
        let provider = &context.providers[position];
        if let Some(at) = &provider.models_at
            && provider.models.get(capability).is_none()
        {
            at.fail(format!(
                "expected a model for \"{capability}\" (or for \"*\"): as the backstop of \
                 \"{jurisdiction}\" this provider is in its chain"
            ));
        }
        chain.push(position);
    }
    chain
}
