//! Residency rules as SRP section 3 has them, and that no input widens what is allowed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn jurisdiction(code: &str) -> Jurisdiction {
    Jurisdiction::parse(code).expect(code)
}

fn set(codes: &[&str]) -> JurisdictionSet {
    codes.iter().map(|code| jurisdiction(code)).collect()
}

fn groups() -> Groups {
    let mut groups = Groups::new();
    groups.insert("anz", set(&["au", "nz"]));
    groups.insert("Five-Eyes", set(&["au", "ca", "gb", "nz", "us"]));
    groups.insert("eu", set(&["de", "fr"]));
    groups.insert("nowhere", JurisdictionSet::EMPTY);
    groups
}

fn parse(value: &str) -> Result<JurisdictionSet, RuleError> {
    parse_rules(value.as_bytes(), &groups())
}

fn unparsable(rule: &str) -> RuleError {
    RuleError::Unparsable { rule: rule.into() }
}

fn unknown(name: &str) -> RuleError {
    RuleError::UnknownJurisdiction { name: name.into() }
}

#[test]
fn every_code_is_found_in_either_case_and_nothing_else_is() {
    let mut found = BTreeSet::new();
    for first in 'a'..='z' {
        for second in 'a'..='z' {
            let code = format!("{first}{second}");
            let parsed = Jurisdiction::parse(&code);
            assert_eq!(parsed, Jurisdiction::parse(&code.to_uppercase()));
            assert_eq!(parsed.is_some(), CODES.contains(&code.as_str()));
            if let Some(parsed) = parsed {
                assert_eq!(parsed.code(), code);
                assert_eq!(parsed.to_string(), code);
                assert!(found.last() < Some(&parsed), "order is alphabetical");
                found.insert(parsed);
            }
        }
    }
    assert_eq!(found.len(), 249);
    for other in [
        "", "a", "aus", "uk", "xx", "a1", "é", "  ", "a\0", "au ", "@u", "[a",
    ] {
        assert_eq!(Jurisdiction::parse(other), None, "{other:?}");
    }
}

#[test]
fn all_is_every_code_and_nothing_more() {
    let all: JurisdictionSet = CODES.iter().map(|code| jurisdiction(code)).collect();
    assert_eq!(all, JurisdictionSet::ALL);
    assert_eq!(JurisdictionSet::ALL.iter().count(), 249);
    assert!(JurisdictionSet::ALL.is_all() && !JurisdictionSet::ALL.is_empty());
    assert!(JurisdictionSet::EMPTY.is_empty() && !JurisdictionSet::EMPTY.is_all());
    assert_eq!(JurisdictionSet::EMPTY.iter().count(), 0);
}

#[test]
fn groups_are_found_in_either_case_and_replaced_by_name() {
    let mut groups = groups();
    assert_eq!(groups.get("ANZ"), Some(set(&["au", "nz"])));
    assert_eq!(groups.get("five-eyes"), groups.get("FIVE-EYES"));
    assert_eq!(groups.get("an"), None);
    assert_eq!(groups.insert("Anz", set(&["nz"])), Some(set(&["au", "nz"])));
    assert_eq!(groups.get("anz"), Some(set(&["nz"])));
    let names: Vec<&str> = groups.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["anz", "eu", "Five-Eyes", "nowhere"]);
}

#[test]
fn a_group_name_is_one_that_a_rule_can_say() {
    for name in [
        "anz",
        "eu",
        "five-eyes",
        "G_7",
        "only",
        "x",
        &"g".repeat(64),
    ] {
        assert!(Groups::is_valid_name(name), "{name}");
    }
    for name in [
        "",
        "au",
        "AU",
        "any",
        "Any",
        "a b",
        "a,b",
        "é",
        &"g".repeat(65),
    ] {
        assert!(!Groups::is_valid_name(name), "{name}");
    }
}

#[test]
fn rules_unite() {
    assert_eq!(parse("au-only"), Ok(set(&["au"])));
    assert_eq!(parse("AU-Only,nz-ONLY"), Ok(set(&["au", "nz"])));
    assert_eq!(parse("au-only,au-only"), Ok(set(&["au"])));
    assert_eq!(parse("ANZ-only,fr-only"), Ok(set(&["au", "fr", "nz"])));
    assert_eq!(
        parse("five-eyes-only"),
        Ok(set(&["au", "ca", "gb", "nz", "us"]))
    );
    assert_eq!(parse("eu-only"), Ok(set(&["de", "fr"])));
    assert_eq!(parse("nowhere-only"), Ok(JurisdictionSet::EMPTY));
    assert_eq!(parse("any"), Ok(JurisdictionSet::ALL));
    assert_eq!(parse("ANY"), Ok(JurisdictionSet::ALL));
}

#[test]
fn what_does_not_parse_is_an_error_and_never_a_default() {
    let cases = [
        ("", RuleError::Empty),
        (" ", unparsable(" ")),
        (",", unparsable("")),
        ("au-only,", unparsable("")),
        (",au-only", unparsable("")),
        ("au-only,,nz-only", unparsable("")),
        ("au", unparsable("au")),
        ("only", unparsable("only")),
        ("-only", unparsable("-only")),
        ("au-onl", unparsable("au-onl")),
        ("au_only", unparsable("au_only")),
        ("au-only ", unparsable("au-only ")),
        (" au-only", unparsable(" au-only")),
        ("au-only, nz-only", unparsable(" nz-only")),
        ("au-only;nz-only", unparsable("au-only;nz-only")),
        ("au-only nz-only", unparsable("au-only nz-only")),
        ("au -only", unparsable("au -only")),
        ("\"au-only\"", unparsable("\\\"au-only\\\"")),
        ("au-only\0", unparsable("au-only\\u{0}")),
        ("*", unparsable("*")),
        ("any-only", unknown("any")),
        ("xx-only", unknown("xx")),
        ("uk-only", unknown("uk")),
        ("aus-only", unknown("aus")),
        ("au-only-only", unknown("au-only")),
        ("au-only,atlantis-only", unknown("atlantis")),
        ("any,au-only", RuleError::AnyNotAlone),
        ("au-only,any", RuleError::AnyNotAlone),
        ("any,any", RuleError::AnyNotAlone),
        ("any,", RuleError::AnyNotAlone),
        ("äu-only", RuleError::NotAscii),
        ("au-only\u{a0}", RuleError::NotAscii),
    ];
    for (value, error) in cases {
        assert_eq!(parse(value), Err(error), "{value:?}");
    }
    assert_eq!(
        parse_rules(b"au-only\xff", &groups()),
        Err(RuleError::NotAscii)
    );
}

#[test]
fn the_length_is_bounded() {
    let longest = ["au-only"; 32].join(",") + "x";
    assert_eq!(longest.len(), FIELD_VALUE_BYTES_MAX);
    assert_eq!(parse(&longest[..255]), Ok(set(&["au"])));
    assert!(matches!(parse(&longest), Err(RuleError::Unparsable { .. })));
    let too_long = ["au-only"; 32].join(",") + ",x";
    assert_eq!(parse(&too_long), Err(RuleError::TooLong));
    let group = "g".repeat(FIELD_VALUE_BYTES_MAX - ONLY.len());
    let mut groups = Groups::new();
    groups.insert(group.as_str(), set(&["nz"]));
    let exact = format!("{group}-only");
    assert_eq!(parse_rules(exact.as_bytes(), &groups), Ok(set(&["nz"])));
}

#[test]
fn a_group_can_not_redefine_a_code_or_any() {
    let mut groups = Groups::new();
    groups.insert("au", JurisdictionSet::ALL);
    groups.insert("any", set(&["us"]));
    assert_eq!(parse_rules(b"au-only", &groups), Ok(set(&["au"])));
    assert_eq!(parse_rules(b"any", &groups), Ok(JurisdictionSet::ALL));
}

#[test]
fn the_field_is_sent_once_and_end_to_end() {
    let field = |lines: &[&'static str], listed| {
        parse_field(lines.iter().map(|line| line.as_bytes()), listed, &groups())
    };
    assert_eq!(field(&[], false), Ok(None));
    assert_eq!(field(&["au-only"], false), Ok(Some(set(&["au"]))));
    assert_eq!(field(&[""], false), Err(RuleError::Empty));
    assert_eq!(
        field(&["au-only", "au-only"], false),
        Err(RuleError::SentTwice)
    );
    assert_eq!(field(&["any", ""], false), Err(RuleError::SentTwice));
    assert_eq!(field(&["au-only"], true), Err(RuleError::HopByHop));
    assert_eq!(field(&[], true), Err(RuleError::HopByHop));
}

#[test]
fn an_error_says_what_was_expected() {
    let message = parse("au").unwrap_err().to_string();
    assert!(message.starts_with("`au` is not a residency rule: expected `<jurisdiction>-only`"));
    let message = parse("uk-only").unwrap_err().to_string();
    assert!(message.starts_with("`uk` is not a jurisdiction: expected an ISO 3166-1"));
}

#[test]
fn the_provider_is_told_the_effective_set() {
    let written = |header, key, capability| {
        let mut out = b"x: ".to_vec();
        Residency::effective(header, key, capability).write_field_value(&mut out);
        String::from_utf8(out).unwrap()
    };
    let all = JurisdictionSet::ALL;
    assert_eq!(written(None, all, all), "x: any");
    assert_eq!(
        written(Some(all), all, set(&["nz", "au"])),
        "x: au-only,nz-only"
    );
    assert_eq!(
        written(Some(set(&["au", "us"])), set(&["nz", "au"]), all),
        "x: au-only"
    );
    assert_eq!(written(Some(set(&["us"])), set(&["au"]), all), "x: ");
}

fn any_jurisdiction() -> impl Strategy<Value = Jurisdiction> {
    select(CODES.as_slice()).prop_map(jurisdiction)
}

/// Small sets, large ones, and the two ends.
fn any_set() -> impl Strategy<Value = JurisdictionSet> {
    let few = btree_set(any_jurisdiction(), 0..6);
    let many = btree_set(any_jurisdiction(), 0..249);
    prop_oneof![
        1 => Just(JurisdictionSet::ALL),
        1 => Just(JurisdictionSet::EMPTY),
        4 => few.prop_map(|few| few.into_iter().collect()),
        2 => many.prop_map(|many| many.into_iter().collect()),
    ]
}

fn any_groups() -> impl Strategy<Value = Groups> {
    let name = select(vec!["anz", "EU", "au", "any", "g-7", "only", "x_y"]);
    vec((name, any_set()), 0..5).prop_map(|pairs| {
        let mut groups = Groups::new();
        for (name, set) in pairs {
            groups.insert(name, set);
        }
        groups
    })
}

/// Field values from the grammar's neighbourhood: pieces of rules in any order, some bytes
/// changed; and plain noise.
fn any_value() -> impl Strategy<Value = Vec<u8>> {
    let code = select(CODES.as_slice()).prop_map(str::to_owned);
    let piece = prop_oneof![
        6 => (code, select(vec!["-only", "-ONLY", "-only,", ","])).prop_map(|(a, b)| a + b),
        4 => select(vec!["any", "Any", "anz-only", "eu-only", "g-7-only", "x_y-Only", "zz-only"])
            .prop_map(str::to_owned),
        6 => Just(",".to_owned()),
        1 => select(vec!["", " ", "-", "only", "-only", "\t", "\0", "é", "\"", ";"])
            .prop_map(str::to_owned),
    ];
    let near = vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes());
    let changed = (near.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(mut value, at, byte)| {
            if !value.is_empty() {
                let at = at.index(value.len());
                value[at] = byte;
            }
            value
        },
    );
    prop_oneof![4 => near, 1 => changed, 1 => vec(any::<u8>(), 0..300)]
}

/// The grammar again, in the plainest words: no bits, no borrowed slices.
fn reference(value: &[u8], groups: &Groups) -> Option<BTreeSet<String>> {
    let named: BTreeMap<String, JurisdictionSet> = groups
        .iter()
        .map(|(name, set)| (name.to_ascii_lowercase(), set))
        .collect();
    if value.is_empty() || value.len() > 256 || value.iter().any(|&byte| byte > 127) {
        return None;
    }
    let text = String::from_utf8(value.to_vec()).ok()?.to_ascii_lowercase();
    if text == "any" {
        return Some(CODES.iter().map(|code| (*code).to_owned()).collect());
    }
    let mut allowed = BTreeSet::new();
    for rule in text.split(',') {
        let name = rule.strip_suffix("-only")?;
        if CODES.contains(&name) {
            allowed.insert(name.to_owned());
        } else {
            allowed.extend(named.get(name)?.iter().map(|one| one.code().to_owned()));
        }
    }
    Some(allowed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn sets_agree_with_ordinary_sets(a in any_set(), b in any_set(), one in any_jurisdiction()) {
        let plain = |set: JurisdictionSet| set.iter().collect::<BTreeSet<_>>();
        let (pa, pb) = (plain(a), plain(b));
        prop_assert_eq!(plain(a.union(b)), &pa | &pb);
        prop_assert_eq!(plain(a.intersection(b)), &pa & &pb);
        prop_assert_eq!(a.contains(one), pa.contains(&one));
        prop_assert_eq!(a.is_subset(&b), pa.is_subset(&pb));
        prop_assert_eq!(a.is_empty(), pa.is_empty());
        prop_assert_eq!(a.is_all(), pa.len() == 249);
        prop_assert_eq!(a.iter().collect::<JurisdictionSet>(), a);
        prop_assert!(a.iter().is_sorted());
        prop_assert_eq!(plain(JurisdictionSet::of(one)), BTreeSet::from([one]));
    }

    #[test]
    fn a_call_may_go_exactly_where_all_three_allow(
        header in proptest::option::of(any_set()),
        key in any_set(),
        capability in any_set(),
    ) {
        let residency = Residency::effective(header, key, capability);
        for one in JurisdictionSet::ALL.iter() {
            let allowed = header.is_none_or(|header| header.contains(one))
                && key.contains(one)
                && capability.contains(one);
            prop_assert_eq!(residency.allows(one), allowed);
        }
        let everywhere = JurisdictionSet::ALL.iter().all(|one| residency.allows(one));
        prop_assert_eq!(residency.is_restricted(), !everywhere);
    }

    #[test]
    fn no_input_whatsoever_widens_the_set(
        lines in vec(any_value(), 0..3),
        listed in proptest::bool::weighted(0.1),
        groups in any_groups(),
        key in any_set(),
        capability in any_set(),
    ) {
        let lines = lines.iter().map(Vec::as_slice);
        if let Ok(header) = parse_field(lines, listed, &groups) {
            let floors = Residency::effective(None, key, capability);
            let effective = Residency::effective(header, key, capability);
            prop_assert!(effective.0.is_subset(&floors.0));
            prop_assert!(effective.0.is_subset(&key));
            prop_assert!(effective.0.is_subset(&capability));
        }
    }

    #[test]
    fn the_parser_agrees_with_the_grammar(value in any_value(), groups in any_groups()) {
        let parsed = parse_rules(&value, &groups).ok();
        let codes = parsed.map(|set| set.iter().map(|one| one.code().to_owned()).collect());
        prop_assert_eq!(codes, reference(&value, &groups));
    }

    #[test]
    fn noise_never_panics(value in vec(any::<u8>(), 0..400), groups in any_groups()) {
        if let Err(error) = parse_rules(&value, &groups) {
            prop_assert!(error.to_string().is_ascii());
        }
    }

    #[test]
    fn what_is_written_means_the_same_to_the_next_reader(
        few in btree_set(any_jurisdiction(), 1..=32),
        header in proptest::option::of(any_set()),
    ) {
        let floor: JurisdictionSet = few.into_iter().collect();
        let residency = Residency::effective(header, floor, JurisdictionSet::ALL);
        let mut value = Vec::new();
        residency.write_field_value(&mut value);
        match parse_rules(&value, &Groups::new()) {
            Ok(read) => prop_assert_eq!(Residency(read), residency),
            Err(error) => {
                prop_assert_eq!(error, RuleError::Empty);
                prop_assert!(residency.0.is_empty());
            }
        }
    }
}
