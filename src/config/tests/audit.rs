//! `[audit]`

use super::*;
use crate::policy::accreditation::RFC_8410;

#[test]
fn the_audits_table_has_a_key_and_needs_a_ledger() {
    let fixture = Fixture::new();
    fixture.write_secret("audit.pem", RFC_8410);
    let text = |tables: &str| format!("{}\n{tables}\n", base(&fixture));
    let audit = "[audit]\nkey = { file = \"audit.pem\" }";
    let config = fixture.config(&text(&format!("[ledger]\n{audit}")));
    let found = config.audit.as_ref().unwrap();
    let key = AuthorityKey::from_pem(RFC_8410).unwrap();
    assert_eq!(found.key.public_key(), key.public_key());
    assert_eq!(found.interval, Duration::from_secs(1));
    let shown = effective(&config).to_string();
    assert!(!shown.contains("MC4CAQAw"), "{shown}");
    let faster = fixture.config(&text(&format!("[ledger]\n{audit}\ninterval = \"250ms\"")));
    assert_eq!(faster.audit.unwrap().interval, Duration::from_millis(250));
    assert!(fixture.config(&text("[ledger]")).audit.is_none());
    for (tables, says) in [
        (audit, "audit: expected a table [ledger]"),
        ("[ledger]\n[audit]", "audit.key: missing: expected { file"),
        (
            "[ledger]\n[audit]\nkey = { file = \"tls/key.pem\" }",
            "audit.key.file: expected an Ed25519 private key as PKCS#8 PEM",
        ),
        (
            "[ledger]\n[audit]\nkey = { env = \"SET\" }",
            "audit.key.env: expected an Ed25519 private key as PKCS#8 PEM",
        ),
    ] {
        let errors = rejected(&fixture, &text(tables));
        assert!(errors.to_string().contains(says), "{errors}");
    }
}
