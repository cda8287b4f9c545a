//! Certificates and keys: `[instance.tls]`, and what providers' certificates are verified by. No
//! message here shows what a key's file holds, nor where it lies: the key itself may stand there.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read};

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode;
use x509_cert::time::Time;
use zeroize::Zeroizing;

use super::Surroundings;
use super::credential::is_readable_by_all;
use super::model::{CaFile, Tls};
use super::reader::{Table, Value};
use crate::net::{BadTls, Roots, ServerTls};

/// Bytes of a file of certificates: a system's whole bundle has a quarter of it.
const CERTIFICATES_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a private key's file.
const KEY_BYTES_MAX: usize = 64 * 1024;

/// A file that a key names.
struct Named<'t> {
    at: Value<'t>,
    path: &'t str,
    content: Zeroizing<Vec<u8>>,
}

/// Reads `[instance.tls]`. None only after a complaint.
pub(super) fn server(table: Table<'_>, surroundings: &Surroundings<'_>) -> Option<Tls> {
    let certificate = table.required("certificate", CERTIFICATE_EXPECTED);
    let private_key = table.required("private_key", KEY_EXPECTED);
    let client_ca = table.get("client_ca");
    table.finish();
    let certificate =
        certificate.and_then(|at| certificates(at, CERTIFICATE_EXPECTED, surroundings));
    let private_key = private_key.and_then(|at| key(at, surroundings));
    let client_ca = match client_ca {
        Some(at) => Some(certificates(at, CA_EXPECTED, surroundings)?),
        None => None,
    };
    let (certificate, private_key) = (certificate?, private_key?);
    let built = ServerTls::new(
        &certificate.content,
        &private_key.content,
        client_ca.as_ref().map(|file| file.content.as_slice()),
    );
    let server = match built {
        Ok(server) => server,
        Err(error) => {
            let culprit = match error {
                BadTls::Certificate(_) => &certificate,
                BadTls::ClientAuthorities(_) => client_ca.as_ref().unwrap_or(&certificate),
                _ => &private_key,
            };
            culprit.at.fail(error.to_string());
            return None;
        }
    };
    let (not_before, not_after) = validity(&certificate)?;
    let tls = Tls {
        certificate: certificate.path.to_owned(),
        private_key: private_key.path.to_owned(),
        client_ca: client_ca.map(|file| file.path.to_owned()),
        not_after,
        server,
    };
    // Worth a warning and no more: to refuse it would take an instance down that some clients may
    // still accept.
    if tls.has_expired(surroundings.now) {
        let message = format!("the certificate expired at {not_after}: clients will refuse it");
        certificate.at.warn(message);
    } else if surroundings.now < not_before {
        let message = format!("the certificate is not valid before {not_before}");
        certificate.at.warn(message);
    }
    Some(tls)
}

const CERTIFICATE_EXPECTED: &str =
    "the path of a PEM file: the server's certificate, behind it those that vouch for it";
const KEY_EXPECTED: &str = "the path of a PEM file: the private key of the certificate";
const CA_EXPECTED: &str = "the path of a PEM file of certificates that others are verified by";

/// From when to when the certificate that clients are shown is valid.
fn validity(file: &Named<'_>) -> Option<(Timestamp, Timestamp)> {
    let first = CertificateDer::from_pem_slice(&file.content).ok();
    // Raw: what browsers accept of serial numbers is more than RFC 5280 allows.
    let parsed = first.and_then(|der| CertificateInner::<Raw>::from_der(&der).ok());
    let Some(certificate) = parsed else {
        file.at
            .fail("expected an X.509 certificate, found one that can't be read");
        return None;
    };
    let moment = |time: Time| {
        let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
        // RFC 5280's "never" is a day beyond what a timestamp can hold.
        Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
    };
    let validity = certificate.tbs_certificate().validity();
    Some((moment(validity.not_before), moment(validity.not_after)))
}

/// What one provider's certificates are verified by.
pub(super) enum Trust<'s> {
    /// `ca`
    File(CaFile, Roots),
    /// The system's roots, read when they are first needed.
    System(&'s SystemRoots),
    /// A `ca` that has been complained about.
    Unknown,
}

impl<'s> Trust<'s> {
    /// Reads a provider's `ca`.
    pub(super) fn read(
        ca: Option<&Value<'_>>,
        system: &'s SystemRoots,
        surroundings: &Surroundings<'_>,
    ) -> Trust<'s> {
        let Some(at) = ca else {
            return Trust::System(system);
        };
        let Some(file) = certificates(at.clone(), CA_EXPECTED, surroundings) else {
            return Trust::Unknown;
        };
        match Roots::from_pem(&file.content) {
            Ok(roots) => Trust::File(file.path.to_owned(), roots),
            Err(error) => {
                at.fail(error.to_string());
                Trust::Unknown
            }
        }
    }

    /// The roots, for an endpoint that stands at `at`.
    pub(super) fn roots(&self, at: &Value<'_>) -> Option<&Roots> {
        match self {
            Trust::File(_, roots) => Some(roots),
            Trust::Unknown => None,
            Trust::System(system) => match system.0.get_or_init(Roots::system) {
                Ok(roots) => Some(roots),
                Err(error) => {
                    at.fail(format!("{error}; `ca` names a file of others"));
                    None
                }
            },
        }
    }

    /// The roots, for endpoints that nobody knows yet: without them those can't be `https://`.
    pub(super) fn any_roots(&self) -> Option<Roots> {
        match self {
            Trust::File(_, roots) => Some(roots.clone()),
            Trust::Unknown => None,
            Trust::System(system) => system.0.get_or_init(Roots::system).as_ref().ok().cloned(),
        }
    }

    /// The file, if it is one.
    pub(super) fn into_file(self) -> Option<CaFile> {
        match self {
            Trust::File(file, _) => Some(file),
            Trust::System(_) | Trust::Unknown => None,
        }
    }
}

/// The system's trust anchors: read at most once for a file, and only for an endpoint that is
/// verified by them.
#[derive(Default)]
pub(super) struct SystemRoots(OnceCell<Result<Roots, BadTls>>);

fn certificates<'t>(
    at: Value<'t>,
    expected: &str,
    surroundings: &Surroundings<'_>,
) -> Option<Named<'t>> {
    let path = at.text(expected)?.text;
    let whole = surroundings.directory.join(path);
    let content = File::open(&whole).and_then(|file| bounded(file, CERTIFICATES_BYTES_MAX));
    let refused = |error| {
        // A line of its own has a path; several have what lies there, perhaps with its key.
        let place = match path.contains('\n') {
            true => String::new(),
            false => format!(" at {}", whole.display()),
        };
        at.fail(format!("expected a readable file{place}: {error}"));
    };
    let content = content.map_err(refused).ok()?;
    Some(Named { at, path, content })
}

fn key<'t>(at: Value<'t>, surroundings: &Surroundings<'_>) -> Option<Named<'t>> {
    let path = at.text(KEY_EXPECTED)?.text;
    let whole = surroundings.directory.join(path);
    if is_readable_by_all(&whole) {
        at.warn("every user of this machine can read that file: expected mode 0600");
    }
    let content = File::open(whole).and_then(|file| bounded(file, KEY_BYTES_MAX));
    let refused = |error| at.fail(format!("expected a readable file: {error}"));
    let content = content.map_err(refused).ok()?;
    Some(Named { at, path, content })
}

fn bounded(file: File, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it from the start: a vector that grows leaves copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(most + 1));
    file.take(most as u64 + 1).read_to_end(&mut content)?;
    if content.len() > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}

#[cfg(test)]
mod tests;
