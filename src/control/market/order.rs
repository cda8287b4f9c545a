//! What is ordered: read from what an operator sends, checked against the configuration.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;

use super::book::{Booking, BookingError, Order, Origin, Where, invalid};
use crate::config::Config;
use crate::control::registry::{Registry, RegistryFull};
use crate::market::occupancy::SLOTS_MAX;
use crate::market::{Place, Reservation};
use crate::policy::residency::Jurisdiction;

/// The members of an order, of whatever type.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    key: Option<Value>,
    provider: Option<Value>,
    jurisdiction: Option<Value>,
    slots: Option<Value>,
    from: Option<Value>,
    until: Option<Value>,
}

impl Order {
    /// An order as an operator sends it: a JSON object. Nothing that is in it is shown.
    ///
    /// # Errors
    /// The first member that is missing or of another kind.
    pub fn parse(body: &[u8]) -> Result<Order, BookingError> {
        const OBJECT: &str = "expected one JSON object";
        const MEMBERS: &str = "expected a JSON object with `key`, `provider` or `jurisdiction`, \
                               `slots`, `from` and `until`, each once, and nothing else";
        // serde would take the members from an array, too, in their order.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(invalid("body", OBJECT));
        }
        let asked: Asked = serde_json::from_slice(body).map_err(|error| {
            let is_object = error.classify() == Category::Data;
            invalid("body", if is_object { MEMBERS } else { OBJECT })
        })?;
        let place = (
            optional("provider", asked.provider)?,
            optional("jurisdiction", asked.jurisdiction)?,
        );
        let (provider, jurisdiction) = match place {
            (Some(_), Some(_)) => {
                let message = "expected either `provider` or `jurisdiction`, not both";
                return Err(invalid("jurisdiction", message));
            }
            (None, None) => {
                let message = "expected either `provider` or `jurisdiction`";
                return Err(invalid("provider", message));
            }
            place => place,
        };
        let expected = format!("expected a number of slots from 1 to {SLOTS_MAX}");
        let slots = asked.slots.as_ref().and_then(Value::as_u64);
        let slots = slots.and_then(|slots| u32::try_from(slots).ok());
        let slots = slots.filter(|slots| (1..=SLOTS_MAX).contains(slots));
        Ok(Order {
            key: text("key", asked.key, "the name of a [[key]]")?,
            provider,
            jurisdiction,
            slots: slots.ok_or_else(|| invalid("slots", expected))?,
            from: time("from", asked.from)?,
            until: time("until", asked.until)?,
        })
    }

    /// The booking of this order at the configuration's providers, of its keys.
    ///
    /// # Errors
    /// It names what the configuration doesn't have.
    pub fn booking(
        &self,
        number: u64,
        config: &Config,
        registry: &mut Registry,
    ) -> Result<Booking, BookingError> {
        if !config.keys.iter().any(|key| key.name == self.key) {
            return Err(invalid("key", "expected the name of a [[key]]"));
        }
        let full = |error: RegistryFull| invalid("key", error.to_string());
        let key = registry.key(&self.key).map_err(full)?;
        Ok(Booking {
            origin: Origin::Booked(number),
            key,
            reservation: Reservation {
                place: self.place(config, registry)?,
                slots: self.slots,
                from: self.from.as_second(),
                until: self.until.as_second(),
            },
        })
    }

    fn place(&self, config: &Config, registry: &mut Registry) -> Result<Where, BookingError> {
        let mut bounded = config.providers.iter().filter(|it| it.capacity.is_some());
        if let Some(name) = &self.provider {
            if !bounded.any(|provider| provider.name == *name) {
                let message = "expected the name of a [[provider]] with a `capacity`";
                return Err(invalid("provider", message));
            }
            let full = |error: RegistryFull| invalid("provider", error.to_string());
            return Ok(Place::Provider(registry.provider(name).map_err(full)?));
        }
        let zone = Jurisdiction::parse(self.jurisdiction.as_deref().unwrap_or_default());
        let bounded = zone.filter(|zone| bounded.any(|it| it.jurisdiction == *zone));
        bounded.map(Place::Zone).ok_or_else(|| {
            let message = "expected an ISO 3166-1 alpha-2 code, of a jurisdiction where a \
                           provider has a `capacity`";
            invalid("jurisdiction", message)
        })
    }
}

fn optional(member: &'static str, value: Option<Value>) -> Result<Option<String>, BookingError> {
    let expected = match member {
        "provider" => "a provider's name",
        _ => "an ISO 3166-1 alpha-2 code",
    };
    value
        .map(|value| text(member, Some(value), expected))
        .transpose()
}

fn text(
    member: &'static str,
    value: Option<Value>,
    expected: &str,
) -> Result<String, BookingError> {
    match value {
        Some(Value::String(text)) => Ok(text),
        None => Err(invalid(member, format!("missing: expected {expected}"))),
        _ => Err(invalid(member, format!("expected {expected}"))),
    }
}

fn time(member: &'static str, value: Option<Value>) -> Result<Timestamp, BookingError> {
    const EXPECTED: &str = "a whole hour, such as \"2026-01-01T00:00:00Z\"";
    let text = text(member, value, EXPECTED)?;
    let parsed = text.parse();
    parsed.map_err(|_| invalid(member, format!("expected {EXPECTED}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::base::{KeyId, ProviderId};
    use crate::control::testing::{config, jurisdiction};
    use crate::telemetry::Names;

    /// `aloomu` in au has a capacity, `vendor-us` has none.
    fn with_capacity() -> (Config, Registry) {
        let mut config = config();
        config.providers[0].capacity = std::num::NonZeroU32::new(8);
        let mut registry = Registry::new(std::sync::Arc::new(Names::new()));
        for provider in &config.providers {
            registry.provider(&provider.name).expect("an id");
        }
        for key in &config.keys {
            registry.key(&key.name).expect("an id");
        }
        (config, registry)
    }

    fn sent() -> Value {
        json!({
            "key": "all", "provider": "aloomu", "slots": 2,
            "from": "2026-11-25T10:00:00Z", "until": "2026-11-25T22:00:00+11:00",
        })
    }

    #[test]
    fn an_order_is_a_booking_of_what_the_configuration_has() {
        let (config, mut registry) = with_capacity();
        let order = Order::parse(sent().to_string().as_bytes()).expect("an order");
        let booking = order.booking(7, &config, &mut registry).expect("a booking");
        assert_eq!(booking.key, KeyId(1));
        assert_eq!(booking.origin, Origin::Booked(7));
        let reservation = booking.reservation;
        assert_eq!(reservation.place, Place::Provider(ProviderId(0)));
        assert_eq!(reservation.until - reservation.from, 3600);
        let anywhere = Order {
            provider: None,
            jurisdiction: Some("AU".into()),
            ..order.clone()
        };
        let booking = anywhere.booking(7, &config, &mut registry);
        let place = booking.expect("a booking").reservation.place;
        assert_eq!(place, Place::Zone(jurisdiction("au")));
        // As it is kept.
        let kept = serde_json::to_vec(&order).expect("JSON");
        assert_eq!(Order::parse(&kept), Ok(order));
    }

    /// What is wrong with an order in which `member` is `value`.
    fn wrong(member: &str, value: Value) -> BookingError {
        let (config, mut registry) = with_capacity();
        let mut sent = sent();
        sent[member] = value;
        let order = Order::parse(sent.to_string().as_bytes());
        let booked = order.and_then(|order| order.booking(7, &config, &mut registry));
        booked.expect_err("refused")
    }

    #[test]
    fn each_member_that_is_wrong_is_named_and_never_shown() {
        for (member, value, expected) in [
            (
                "key",
                json!(null),
                "key: missing: expected the name of a [[key]]",
            ),
            ("key", json!(7), "key: expected the name of a [[key]]"),
            (
                "key",
                json!("sk-secret"),
                "key: expected the name of a [[key]]",
            ),
            (
                "provider",
                json!(["a"]),
                "provider: expected a provider's name",
            ),
            (
                "provider",
                json!("sk-secret"),
                "provider: expected the name of a [[provider]]",
            ),
            ("provider", json!("vendor-us"), "with a `capacity`"),
            (
                "provider",
                json!(null),
                "provider: expected either `provider` or `jurisdiction`",
            ),
            ("jurisdiction", json!("au"), "jurisdiction: expected either"),
            (
                "slots",
                json!(null),
                "slots: expected a number of slots from 1 to 2097151",
            ),
            ("slots", json!(0), "slots: expected a number"),
            ("slots", json!(1.5), "slots: expected a number"),
            ("slots", json!("2"), "slots: expected a number"),
            ("slots", json!(2_097_152), "slots: expected a number"),
            ("slots", json!(u64::MAX), "slots: expected a number"),
            ("from", json!(null), "from: missing: expected a whole hour"),
            ("from", json!("sk-secret"), "from: expected a whole hour"),
            (
                "until",
                json!(1_800_000_000),
                "until: expected a whole hour",
            ),
            ("until", json!("2026-11-25"), "until: expected a whole hour"),
            (
                "sk-secret",
                json!(1),
                "body: expected a JSON object with `key`",
            ),
        ] {
            let error = wrong(member, value.clone());
            let said = error.to_string();
            assert!(said.contains(expected), "{member} = {value}: {said}");
            assert!(!said.contains("sk-secret"), "{said}");
            let blamed = said.split(':').next();
            assert_eq!(error.member(), blamed, "{said}");
        }
        let (config, mut registry) = with_capacity();
        for code in ["us", "nz", "eu", "", "australia"] {
            let order = Order {
                provider: None,
                jurisdiction: Some(code.into()),
                ..Order::parse(sent().to_string().as_bytes()).expect("an order")
            };
            let error = order.booking(7, &config, &mut registry).expect_err(code);
            assert_eq!(error.member(), Some("jurisdiction"), "{error}");
        }
    }

    #[test]
    fn what_is_no_object_or_says_something_twice_is_refused() {
        let twice = sent().to_string().replacen('{', r#"{"slots":9,"#, 1);
        let times = r#""2026-11-25T10:00:00Z","2026-11-25T11:00:00Z""#;
        let listed = format!(r#"["all","aloomu",null,2,{times}]"#);
        for body in ["", "{", "[]", "7", "{} {}", "\u{0}", &twice, &listed] {
            let error = Order::parse(body.as_bytes()).expect_err(body);
            assert_eq!(error.member(), Some("body"), "{body}: {error}");
        }
    }
}
