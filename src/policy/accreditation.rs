//! Accreditations: which provider is a jurisdiction's backstop, and who says so (SRP section 4).
//!
//! An accreditation is a JSON file:
//!
//! ```json
//! {
//!   "srp": "1",
//!   "provider": "aloomu",
//!   "jurisdiction": "au",
//!   "endpoints": ["silicon.example"],
//!   "not_before": "2026-01-01T00:00:00Z",
//!   "not_after": "2027-01-01T00:00:00Z",
//!   "signature": "…"
//! }
//! ```
//!
//! `signature` is Ed25519 (RFC 8032) in base64 over [`Statement::signed_bytes`]: the line
//! `srp-accreditation\n`, then as netstrings (decimal length in bytes, `:`, the bytes, `,`) the
//! SRP version, the provider, the jurisdiction, both instants as Unix seconds in decimal, and
//! each endpoint's host name, ascending. Lengths come first, so that no two statements have the
//! same bytes; white space and the order of members in the file don't matter.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes,
};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::residency::Jurisdiction;

/// The protocol version that an accreditation of this product speaks for.
pub const SRP_VERSION: &str = "1";

/// Host names in one accreditation; a provider has no more endpoints than that.
pub const HOSTS_MAX: usize = 1024;

/// What an authority vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The provider's name in configurations.
    pub provider: String,
    /// Where it works.
    pub jurisdiction: Jurisdiction,
    /// The host names (or IP literals, without brackets) of its endpoints, lower case.
    pub hosts: BTreeSet<String>,
    /// Before it the statement is not valid yet; whole seconds.
    pub not_before: Timestamp,
    /// From it on the statement is not valid any more; whole seconds.
    pub not_after: Timestamp,
}

/// A statement and its signature, as read from a file: nothing is verified yet.
#[derive(Clone, Debug)]
pub struct Accreditation {
    statement: Statement,
    signature: Signature,
}

/// Why an accreditation is worth nothing.
#[derive(Debug, thiserror::Error)]
pub enum AccreditationError {
    /// Not the JSON object that is expected. What it is instead is not shown: it may be a file of
    /// secrets.
    #[error(
        "expected a JSON object of `srp`, `provider`, `jurisdiction`, `endpoints`, `not_before`, \
         `not_after` and `signature`, and no more: see line {}, column {}",
        .0.line(),
        .0.column()
    )]
    Json(#[from] serde_json::Error),
    /// A member's text can't be read.
    #[error("expected {expected} in `{member}`")]
    Member {
        /// The member of the JSON object.
        member: &'static str,
        /// What should stand there.
        expected: &'static str,
    },
    /// Signed by somebody else, or changed after signing.
    #[error("the signature is not that of the given authority")]
    Signature,
    /// Before `not_before`.
    #[error("not valid before {0}")]
    NotYetValid(Timestamp),
    /// At or after `not_after`.
    #[error("expired at {0}")]
    Expired(Timestamp),
    /// The statement is about another provider.
    #[error("made out to provider \"{stated}\", expected \"{expected}\"")]
    Provider {
        /// The provider in the statement.
        stated: String,
        /// The provider that presents it.
        expected: String,
    },
    /// The statement is about another jurisdiction.
    #[error("made out for jurisdiction \"{stated}\", expected \"{expected}\"")]
    Jurisdiction {
        /// The jurisdiction in the statement.
        stated: Jurisdiction,
        /// The jurisdiction of the provider that presents it.
        expected: Jurisdiction,
    },
    /// An endpoint is not covered.
    #[error("endpoint host \"{0}\" is not among the accredited ones")]
    Host(String),
}

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not a public key.
    #[error("expected an Ed25519 public key as base64 SubjectPublicKeyInfo (RFC 8410)")]
    Public,
    /// Not a private key. What was found instead is nobody's business.
    #[error("expected an Ed25519 private key as PKCS#8 PEM (RFC 8410)")]
    Private,
}

/// An authority's public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads base64 SubjectPublicKeyInfo, as `srpd accredit keygen` prints it.
    pub fn parse(base64: &str) -> Result<PublicKey, KeyError> {
        let der = STANDARD.decode(base64).map_err(|_| KeyError::Public)?;
        let key = VerifyingKey::from_public_key_der(&der).map_err(|_| KeyError::Public)?;
        // Under a key of small order, one signature fits many messages.
        if key.is_weak() {
            return Err(KeyError::Public);
        }
        Ok(PublicKey(key))
    }

    /// The key of 32 bytes, as RFC 8032 has it.
    ///
    /// # Errors
    /// They are none, or of small order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<PublicKey, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Public)?;
        match key.is_weak() {
            true => Err(KeyError::Public),
            false => Ok(PublicKey(key)),
        }
    }

    /// The 32 bytes of RFC 8032.
    pub fn bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Whether its private half has signed these bytes. What they are about has to stand in them: a
    /// key may sign more than one kind of statement.
    pub fn has_signed(&self, bytes: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        self.0.verify_strict(bytes, &signature).is_ok()
    }

    /// Base64 SubjectPublicKeyInfo.
    pub fn encode(&self) -> Result<String, KeyError> {
        let der = self.0.to_public_key_der().map_err(|_| KeyError::Public)?;
        Ok(STANDARD.encode(der.as_bytes()))
    }
}

/// An authority's private key: signs statements. Wiped when dropped.
#[derive(Clone)]
pub struct AuthorityKey(SigningKey);

impl AuthorityKey {
    /// The key of 32 bytes from the operating system's generator.
    pub fn from_seed(seed: &Zeroizing<[u8; 32]>) -> AuthorityKey {
        AuthorityKey(SigningKey::from_bytes(seed))
    }

    /// Reads PKCS#8 PEM.
    pub fn from_pem(pem: &str) -> Result<AuthorityKey, KeyError> {
        SigningKey::from_pkcs8_pem(pem)
            .map(AuthorityKey)
            .map_err(|_| KeyError::Private)
    }

    /// PKCS#8 PEM, without the public half: OpenSSL 3.0 reads no other.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let bytes = KeypairBytes {
            secret_key: self.0.to_bytes(),
            public_key: None,
        };
        bytes
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|_| KeyError::Private)
    }

    /// Ed25519 over these bytes, which say what they are about.
    pub fn sign_bytes(&self, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }
}

impl Statement {
    /// What is signed: see the module's description.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let instants = [self.not_before, self.not_after].map(|at| at.as_second().to_string());
        let mut bytes = b"srp-accreditation\n".to_vec();
        let fields = [
            SRP_VERSION,
            &self.provider,
            self.jurisdiction.code(),
            &instants[0],
            &instants[1],
        ];
        for field in fields
            .into_iter()
            .chain(self.hosts.iter().map(String::as_str))
        {
            bytes.extend_from_slice(field.len().to_string().as_bytes());
            bytes.push(b':');
            bytes.extend_from_slice(field.as_bytes());
            bytes.push(b',');
        }
        bytes
    }

    /// Signs it.
    pub fn sign(self, key: &AuthorityKey) -> Accreditation {
        let signature = key.0.sign(&self.signed_bytes());
        Accreditation {
            statement: self,
            signature,
        }
    }

    /// Whether it is about this provider in this jurisdiction.
    pub fn is_about(
        &self,
        provider: &str,
        jurisdiction: Jurisdiction,
    ) -> Result<(), AccreditationError> {
        if self.provider != provider {
            return Err(AccreditationError::Provider {
                stated: self.provider.clone(),
                expected: provider.to_owned(),
            });
        }
        if self.jurisdiction != jurisdiction {
            return Err(AccreditationError::Jurisdiction {
                stated: self.jurisdiction,
                expected: jurisdiction,
            });
        }
        Ok(())
    }

    /// Whether it covers an endpoint on this host.
    pub fn covers(&self, host: &str) -> Result<(), AccreditationError> {
        if self.hosts.contains(&host.to_ascii_lowercase()) {
            Ok(())
        } else {
            Err(AccreditationError::Host(host.to_owned()))
        }
    }
}

/// For people: `"aloomu" in au on silicon.example, from … until …`.
impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<&str> = self.hosts.iter().map(String::as_str).collect();
        write!(
            f,
            "{:?} in {} on {}, from {} until {}",
            self.provider,
            self.jurisdiction,
            hosts.join(", "),
            self.not_before,
            self.not_after
        )
    }
}

/// The file's members.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    srp: String,
    provider: String,
    jurisdiction: String,
    endpoints: Vec<String>,
    not_before: String,
    not_after: String,
    signature: String,
}

impl Accreditation {
    /// Reads a file's text. The statement can be had from [`Accreditation::verify`] only.
    pub fn parse(text: &str) -> Result<Accreditation, AccreditationError> {
        let file: File = serde_json::from_str(text)?;
        let member = |member, expected| AccreditationError::Member { member, expected };
        if file.srp != SRP_VERSION {
            return Err(member("srp", "\"1\""));
        }
        let jurisdiction = Jurisdiction::parse(&file.jurisdiction)
            .ok_or_else(|| member("jurisdiction", "an ISO 3166-1 alpha-2 code"))?;
        let given = file.endpoints.len();
        let hosts: BTreeSet<String> = file.endpoints.into_iter().collect();
        if hosts.is_empty() || given > HOSTS_MAX || hosts.iter().any(|host| !is_host(host)) {
            return Err(member("endpoints", "1 to 1024 host names in lower case"));
        }
        let signature = STANDARD
            .decode(&file.signature)
            .ok()
            .and_then(|bytes| Signature::from_slice(&bytes).ok())
            .ok_or_else(|| member("signature", "64 bytes in base64"))?;
        Ok(Accreditation {
            statement: Statement {
                provider: file.provider,
                jurisdiction,
                hosts,
                not_before: instant(&file.not_before, "not_before")?,
                not_after: instant(&file.not_after, "not_after")?,
            },
            signature,
        })
    }

    /// The statement, if `key` signed it and it is valid `now`.
    pub fn verify(
        &self,
        key: &PublicKey,
        now: Timestamp,
    ) -> Result<&Statement, AccreditationError> {
        let statement = &self.statement;
        key.0
            .verify_strict(&statement.signed_bytes(), &self.signature)
            .map_err(|_| AccreditationError::Signature)?;
        if now < statement.not_before {
            return Err(AccreditationError::NotYetValid(statement.not_before));
        }
        if now >= statement.not_after {
            return Err(AccreditationError::Expired(statement.not_after));
        }
        Ok(statement)
    }
}

/// The file's text.
impl fmt::Display for Accreditation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statement = &self.statement;
        let file = File {
            srp: SRP_VERSION.to_owned(),
            provider: statement.provider.clone(),
            jurisdiction: statement.jurisdiction.code().to_owned(),
            endpoints: statement.hosts.iter().cloned().collect(),
            not_before: statement.not_before.to_string(),
            not_after: statement.not_after.to_string(),
            signature: STANDARD.encode(self.signature.to_bytes()),
        };
        let text = serde_json::to_string_pretty(&file).map_err(|_| fmt::Error)?;
        writeln!(f, "{text}")
    }
}

/// Lower case already: a signature covers exactly what is compared.
fn is_host(host: &str) -> bool {
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b':')
    };
    (1..=253).contains(&host.len()) && host.bytes().all(allowed)
}

fn instant(text: &str, member: &'static str) -> Result<Timestamp, AccreditationError> {
    text.parse::<Timestamp>()
        .ok()
        .filter(|at| at.subsec_nanosecond() == 0)
        .ok_or(AccreditationError::Member {
            member,
            expected: "an RFC 3339 instant in whole seconds",
        })
}

/// The sample key of RFC 8410 section 10.3, whose public half the example configuration has.
#[cfg(test)]
pub(crate) const RFC_8410: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> AuthorityKey {
        AuthorityKey::from_seed(&Zeroizing::new([byte; 32]))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn statement() -> Statement {
        Statement {
            provider: "aloomu".into(),
            jurisdiction: Jurisdiction::parse("au").unwrap(),
            hosts: ["b.example".into(), "127.0.0.1".into()].into(),
            not_before: at("2026-01-01T00:00:00Z"),
            not_after: at("2027-01-01T00:00:00Z"),
        }
    }

    fn reread(
        change: impl FnOnce(&mut serde_json::Value),
    ) -> Result<Accreditation, AccreditationError> {
        let text = statement().sign(&key(1)).to_string();
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        change(&mut json);
        Accreditation::parse(&json.to_string())
    }

    #[test]
    fn what_is_signed_reads_back_and_verifies() {
        let read = reread(|_| ()).unwrap();
        let verified = read.verify(&key(1).public_key(), at("2026-06-01T00:00:00Z"));
        assert_eq!(verified.unwrap(), &statement());
    }

    #[test]
    fn the_signed_bytes_are_as_documented() {
        let expected = "srp-accreditation\n1:1,6:aloomu,2:au,10:1767225600,10:1798761600,\
                        9:127.0.0.1,9:b.example,";
        assert_eq!(statement().signed_bytes(), expected.as_bytes());
    }

    #[test]
    fn another_authority_is_refused() {
        let refused = reread(|_| ())
            .unwrap()
            .verify(&key(2).public_key(), at("2026-06-01T00:00:00Z"))
            .unwrap_err();
        assert!(
            matches!(refused, AccreditationError::Signature),
            "{refused}"
        );
    }

    #[test]
    fn no_member_can_be_changed_after_signing() {
        let changes: [(&str, serde_json::Value); 6] = [
            ("provider", "other".into()),
            ("jurisdiction", "us".into()),
            ("endpoints", vec!["127.0.0.1"].into()),
            (
                "endpoints",
                vec!["127.0.0.1", "b.example", "c.example"].into(),
            ),
            ("not_before", "2025-01-01T00:00:00Z".into()),
            ("not_after", "2037-01-01T00:00:00Z".into()),
        ];
        for (member, value) in changes {
            let refused = reread(|json| json[member] = value)
                .unwrap()
                .verify(&key(1).public_key(), at("2026-06-01T00:00:00Z"))
                .unwrap_err();
            assert!(matches!(refused, AccreditationError::Signature), "{member}");
        }
    }

    #[test]
    fn valid_from_not_before_until_just_before_not_after() {
        let verify = |now: &str| {
            let read = reread(|_| ()).unwrap();
            read.verify(&key(1).public_key(), at(now)).map(|_| ())
        };
        assert!(matches!(
            verify("2025-12-31T23:59:59Z"),
            Err(AccreditationError::NotYetValid(_))
        ));
        assert!(verify("2026-01-01T00:00:00Z").is_ok());
        assert!(verify("2026-12-31T23:59:59Z").is_ok());
        assert!(matches!(
            verify("2027-01-01T00:00:00Z"),
            Err(AccreditationError::Expired(_))
        ));
    }

    #[test]
    fn a_file_that_says_too_much_or_too_little_is_refused() {
        let changes: [(&str, serde_json::Value, &str); 7] = [
            ("srp", "2".into(), "`srp`"),
            ("jurisdiction", "zz".into(), "`jurisdiction`"),
            ("endpoints", Vec::<String>::new().into(), "`endpoints`"),
            ("endpoints", vec!["UPPER.example"].into(), "`endpoints`"),
            ("not_after", "2027-01-01T00:00:00.5Z".into(), "`not_after`"),
            ("signature", "AAAA".into(), "`signature`"),
            ("also", "this".into(), "and no more: see line 1"),
        ];
        for (member, value, expected) in changes {
            let refused = reread(|json| json[member] = value).unwrap_err().to_string();
            assert!(refused.contains(expected), "{member}: {refused}");
        }
    }

    #[test]
    fn a_statement_speaks_for_one_provider_in_one_place_on_named_hosts() {
        let [au, us] = ["au", "us"].map(|code| Jurisdiction::parse(code).unwrap());
        assert!(statement().is_about("aloomu", au).is_ok());
        assert!(statement().is_about("fleet", au).is_err());
        assert!(statement().is_about("aloomu", us).is_err());
        assert!(statement().covers("B.Example").is_ok());
        assert!(statement().covers("c.example").is_err());
    }

    #[test]
    fn keys_are_those_of_rfc_8410() {
        let key = AuthorityKey::from_pem(RFC_8410).unwrap();
        let public = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";
        assert_eq!(key.public_key().encode().unwrap(), public);
        assert_eq!(*key.to_pem().unwrap(), RFC_8410);
    }

    #[test]
    fn keys_read_back_and_rubbish_is_refused() {
        let read = AuthorityKey::from_pem(&key(3).to_pem().unwrap()).unwrap();
        assert_eq!(read.public_key(), key(3).public_key());
        let encoded = key(3).public_key().encode().unwrap();
        assert_eq!(PublicKey::parse(&encoded).unwrap(), key(3).public_key());
        assert!(PublicKey::parse("MCowBQYDK2Vw").is_err());
        assert!(AuthorityKey::from_pem("secret").is_err());
        // The neutral element: of small order.
        let mut neutral = STANDARD.decode(&encoded).unwrap();
        neutral[12..].fill(0);
        neutral[12] = 1;
        assert!(PublicKey::parse(&STANDARD.encode(neutral)).is_err());
    }
}
