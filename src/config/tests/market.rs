//! What firm and floating calls are called at a provider, and how many may wait.

use super::*;

/// The base with more lines for the vendor.
fn vendor(fixture: &Fixture, lines: &str) -> String {
    let models = "models = { smart = \"frontier-1\" }";
    with(fixture, models, &format!("{models}\n{lines}"))
}

#[test]
fn a_provider_may_have_names_for_tiers() {
    let fixture = Fixture::new();
    let tiers = |lines: &str| {
        fixture.config(&vendor(&fixture, lines)).providers[1]
            .tiers
            .clone()
    };
    assert_eq!(tiers(""), Tiers::default());
    let named = tiers("tiers = { firm = \"priority\", floating = \"flex\" }");
    assert_eq!(named.firm, Some(Tier::Service("priority".to_owned())));
    assert_eq!(named.floating, Some(Tier::Service("flex".to_owned())));
    let numbered = tiers("tiers = { floating = -10 }");
    assert_eq!(
        (numbered.firm, numbered.floating),
        (None, Some(Tier::Priority(-10)))
    );
    let config = fixture.config(&vendor(&fixture, "tiers = { firm = \"scale\" }"));
    let shown = &effective(&config)["provider"][1]["tiers"];
    assert_eq!(
        *shown,
        serde_json::json!({ "firm": "scale", "floating": null })
    );
}

#[test]
fn what_can_be_no_tier_is_named() {
    let fixture = Fixture::new();
    for (lines, expected) in [
        ("tiers = \"flex\"", "tiers: expected a table"),
        ("tiers = {}", "tiers: expected `firm`, `floating` or both"),
        (
            "tiers = { firm = true }",
            "tiers.firm: expected a value of `service_tier`",
        ),
        (
            "tiers = { firm = \"\" }",
            "tiers.firm: expected 1 to 64 letters",
        ),
        (
            "tiers = { firm = \"a b\" }",
            "tiers.firm: expected 1 to 64 letters",
        ),
        (
            "tiers = { floating = 2147483648 }",
            "tiers.floating: expected a `priority` from -2147483648 to 2147483647",
        ),
        (
            "tiers = { firm = \"a\", floating = 1 }",
            "to be both strings, or both whole numbers",
        ),
        (
            "tiers = { firm = 1, flaoting = 2 }",
            "did you mean `floating`",
        ),
    ] {
        let errors = rejected(&fixture, &vendor(&fixture, lines)).to_string();
        assert!(errors.contains(expected), "{lines}: {errors}");
    }
}

#[test]
fn so_many_may_wait() {
    let fixture = Fixture::new();
    let most = |lines: &str| fixture.config(&format!("{}\n{lines}", base(&fixture)));
    assert_eq!(most("").market.waiting_max, 1000);
    let none = most("[market]\nwaiting_max = 0");
    assert_eq!(none.market.waiting_max, 0);
    assert_eq!(effective(&none)["market"]["waiting_max"], 0);
    let text = format!("{}\n[market]\nwaiting_max = 100001", base(&fixture));
    let errors = rejected(&fixture, &text).to_string();
    assert!(errors.contains("market.waiting_max: expected"), "{errors}");
}
