//! `[[authority]]`, and the accreditation files that they signed.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::Surroundings;
use super::model::{Accredited, Endpoint, Sources};
use super::reader::{Table, Value};
use super::values::Names;
use crate::policy::accreditation::{Accreditation, AccreditationError, PublicKey, Statement};
use crate::policy::residency::Jurisdiction;

/// Bytes of an accreditation file.
const FILE_BYTES_MAX: u64 = 512 * 1024;

/// From when on an accreditation that expires is worth a warning (SRP section 4).
pub const EXPIRES_SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Somebody who may accredit backstops.
pub(super) struct Authority {
    name: String,
    public_key: PublicKey,
}

/// Who presents an accreditation.
pub(super) struct Subject<'s> {
    pub(super) name: &'s str,
    pub(super) jurisdiction: Jurisdiction,
    pub(super) endpoints: &'s [Endpoint],
    pub(super) sources: &'s Sources,
}

pub(super) fn authorities(tables: Vec<Table<'_>>) -> Vec<Authority> {
    let mut names = Names::new("authority");
    let mut authorities = Vec::new();
    for (position, table) in tables.into_iter().enumerate() {
        let name = names.read(&table, position);
        let public_key = public_key(&table);
        table.finish();
        if let (Some(name), Some(public_key)) = (name, public_key) {
            let name = name.to_owned();
            authorities.push(Authority { name, public_key });
        }
    }
    authorities
}

fn public_key(table: &Table<'_>) -> Option<PublicKey> {
    const EXPECTED: &str = "an Ed25519 public key, as `srpd accredit keygen` prints it";
    let value = table.required("public_key", EXPECTED)?;
    let parsed = PublicKey::parse(value.text(EXPECTED)?.text);
    parsed.map_err(|error| value.fail(error.to_string())).ok()
}

/// What the accreditation file says, if it holds for the provider that presents it.
pub(super) fn read(
    at: &Value<'_>,
    subject: &Subject<'_>,
    authorities: &[Authority],
    surroundings: &Surroundings<'_>,
) -> Option<Accredited> {
    let path = at.text("the path of an accreditation file")?.text;
    let path = surroundings.directory.join(path);
    let verified = file(&path)
        .map_err(|error| {
            let path = path.display();
            format!("expected a readable accreditation file at {path}: {error}")
        })
        .and_then(|text| {
            verify(&text, subject, authorities, surroundings.now).map_err(|error| error.to_string())
        });
    let accredited = verified.map_err(|message| at.fail(message)).ok()?;
    let left = accredited.valid_until.duration_since(surroundings.now);
    if left < EXPIRES_SOON {
        at.warn(format!(
            "the accreditation of {:?} expires at {}, in {} days",
            subject.name,
            accredited.valid_until,
            left.as_hours() / 24
        ));
    }
    Some(accredited)
}

fn file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

fn verify(
    text: &str,
    subject: &Subject<'_>,
    authorities: &[Authority],
    now: Timestamp,
) -> Result<Accredited, AccreditationError> {
    let accreditation = Accreditation::parse(text)?;
    let (authority, statement) = signed_by(&accreditation, authorities, now)?;
    statement.is_about(subject.name, subject.jurisdiction)?;
    // Those that are found in files and services are judged when they are.
    let listed = subject.endpoints.iter().map(|endpoint| &endpoint.host);
    let names = subject.sources.names.iter().map(|named| &named.url.host);
    for host in listed.chain(names) {
        statement.covers(host)?;
    }
    Ok(Accredited {
        authority: authority.name.clone(),
        hosts: statement.hosts.clone(),
        valid_until: statement.not_after,
    })
}

/// The authority whose signature it is: the file doesn't say, one of the keys must fit.
fn signed_by<'a>(
    accreditation: &'a Accreditation,
    authorities: &'a [Authority],
    now: Timestamp,
) -> Result<(&'a Authority, &'a Statement), AccreditationError> {
    for authority in authorities {
        let verified = accreditation.verify(&authority.public_key, now);
        if !matches!(verified, Err(AccreditationError::Signature)) {
            return verified.map(|statement| (authority, statement));
        }
    }
    Err(AccreditationError::Signature)
}
