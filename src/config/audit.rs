//! `[audit]`: who signs what the ledger says, and how often.

use std::time::Duration;

use super::Surroundings;
use super::credential;
use super::model::Audit;
use super::reader::Table;
use crate::policy::accreditation::AuthorityKey;

const INTERVAL: Duration = Duration::from_secs(1);

/// None if there is no such table. `has_ledger`: there is something to sign.
pub(super) fn read(
    root: &Table<'_>,
    surroundings: &Surroundings<'_>,
    has_ledger: bool,
) -> Option<Audit> {
    const EXPECTED: &str =
        "an Ed25519 private key as PKCS#8 PEM (RFC 8410), as `srpd audit keygen` makes it";
    let table = root.get("audit")?.table()?;
    if !has_ledger {
        table.fail("expected a table [ledger], whose entries it signs");
    }
    let interval = table.duration("interval", INTERVAL);
    let key = table.required(
        "key",
        "{ file = \"PATH\" }, { env = \"NAME\" } or { credential = \"NAME\" }",
    );
    let key = key.and_then(|key| key.table()).and_then(|key| {
        credential::read_as(key, surroundings, |pem| {
            let pem = str::from_utf8(pem).map_err(|_| format!("expected {EXPECTED} there"))?;
            // As keygen writes it: with a line feed behind the last line, whatever was kept of it.
            let pem = zeroize::Zeroizing::new(format!("{}\n", pem.trim()));
            AuthorityKey::from_pem(&pem).map_err(|_| format!("expected {EXPECTED} there"))
        })
    });
    table.finish();
    Some(Audit {
        key: key?,
        interval,
    })
}
