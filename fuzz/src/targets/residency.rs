//! The residency field: read as its grammar says, or refused; and no value widens a floor.

use srpd::policy::residency::{
    Groups, Jurisdiction, JurisdictionSet, Residency, parse_field, parse_rules,
};

use crate::plain::rules::{self, Codes, GROUPS};

/// Reads each line of the input as a field's value, and all of them as one field sent so often.
pub fn run(bytes: &[u8]) {
    let groups = groups();
    let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').take(8).collect();
    for line in &lines {
        let ours = parse_rules(line, &groups);
        match (rules::rules(line), &ours) {
            (Some(codes), Ok(set)) => assert_same(&codes, set),
            (None, Err(_)) => {}
            (plain, ours) => panic!("{plain:?}, but srpd: {ours:?}"),
        }
        let alone = parse_field([*line], false, &groups);
        assert_eq!(alone, ours.clone().map(Some));
        assert!(parse_field([*line], true, &groups).is_err(), "nominated");
        assert_narrow(ours.ok());
    }
    let all = parse_field(lines.iter().copied(), false, &groups);
    assert!(lines.len() == 1 || all.is_err(), "sent twice");
    assert_narrow(None);
}

fn groups() -> Groups {
    let mut groups = Groups::new();
    for (name, codes) in GROUPS {
        groups.insert(name, set(codes));
    }
    groups
}

fn set(codes: &[&str]) -> JurisdictionSet {
    let known = codes.iter().filter_map(|code| Jurisdiction::parse(code));
    known.collect()
}

fn assert_same(codes: &Codes, set: &JurisdictionSet) {
    match codes {
        Codes::All => assert!(set.is_all()),
        Codes::These(codes) => {
            let ours: Vec<&str> = set.iter().map(Jurisdiction::code).collect();
            assert_eq!(ours, codes.iter().collect::<Vec<_>>());
        }
    }
}

/// Whatever the header says, both floors hold, and the provider is told so.
fn assert_narrow(header: Option<JurisdictionSet>) {
    let floors = [JurisdictionSet::ALL, set(&["au", "nz"]), set(&["au"])];
    for key in floors {
        for capability in floors {
            let residency = Residency::effective(header, key, capability);
            for jurisdiction in JurisdictionSet::ALL.iter() {
                let allowed = key.contains(jurisdiction)
                    && capability.contains(jurisdiction)
                    && header.is_none_or(|header| header.contains(jurisdiction));
                assert_eq!(residency.allows(jurisdiction), allowed);
            }
            let mut written = Vec::new();
            residency.write_field_value(&mut written);
            let read = parse_rules(&written, &Groups::new());
            match read {
                Ok(read) => {
                    let again = Residency::effective(Some(read), key, capability);
                    assert_eq!(again, residency);
                    assert!(read.iter().all(|it| residency.allows(it)));
                }
                // 249 codes don't fit the bound for what clients send; an empty set is no rule.
                Err(_) => assert!(written.is_empty() || written.len() > 256),
            }
        }
    }
}
