//! What a reload can't change. A file that asks for it is refused by name: nothing in a
//! configuration is ever silently without effect.

use jiff::Timestamp;

use crate::config::{Config, ConfigErrors};

use super::build::BuildError;
use thiserror::Error;

/// Why a reload did not take effect.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The file is not a valid configuration.
    #[error(transparent)]
    Invalid(#[from] ConfigErrors),
    /// It changes what only a restart can.
    #[error("{}", .0.join("; "))]
    NeedsRestart(Vec<String>),
    /// It would show clients a certificate that none of them accepts, in place of a good one.
    #[error(
        "{certificate}: the certificate expired at {not_after}: the one in force is still good"
    )]
    DeadCertificate {
        /// The file.
        certificate: String,
        /// When it expired.
        not_after: Timestamp,
    },
    /// It can't be put in force.
    #[error(transparent)]
    Unbuildable(#[from] BuildError),
    /// The helper thread that was to read it failed.
    #[error("the file could not be read: {0}")]
    Unread(String),
}

/// Checks that a new configuration can take effect without a restart, and doesn't take away what
/// works.
///
/// # Errors
/// The keys that it changes and can't; a certificate that has expired, unless the one in force has,
/// too.
pub fn check_live(old: &Config, new: &Config, now: Timestamp) -> Result<(), ReloadError> {
    let (before, after) = (&old.instance, &new.instance);
    let fixed = [
        ("instance.listen", before.listen != after.listen),
        ("instance.admin", before.admin != after.admin),
        ("instance.cores", before.cores != after.cores),
        ("instance.driver", before.driver != after.driver),
        (
            "market.bookings",
            old.market.bookings.path != new.market.bookings.path,
        ),
        ("ledger", old.ledger != new.ledger),
        ("otlp", old.otlp != new.otlp),
        ("audit", old.audit != new.audit),
        ("log.format", old.log.format != new.log.format),
        ("log.level", old.log.level != new.log.level),
    ];
    let changed: Vec<String> = fixed
        .iter()
        .filter(|(_, changed)| *changed)
        .map(|(key, _)| format!("{key}: changing it needs a restart"))
        .collect();
    if !changed.is_empty() {
        return Err(ReloadError::NeedsRestart(changed));
    }
    match (&before.tls, &after.tls) {
        (Some(good), Some(dead)) if dead.has_expired(now) && !good.has_expired(now) => {
            Err(ReloadError::DeadCertificate {
                certificate: dead.certificate.clone(),
                not_after: dead.not_after,
            })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use super::*;
    use crate::config::Driver;

    #[test]
    fn what_needs_a_restart_is_refused_by_name() {
        let old = config();
        let mut new = config();
        new.capabilities.pop();
        new.instance.expose_providers = true;
        let now = Timestamp::now();
        assert!(check_live(&old, &new, now).is_ok());
        new.instance.driver = Driver::Epoll;
        new.instance.listen.clear();
        new.market.bookings.path = "/elsewhere".into();
        let error = check_live(&old, &new, now)
            .expect_err("refused")
            .to_string();
        assert_eq!(
            error,
            "instance.listen: changing it needs a restart; \
             instance.driver: changing it needs a restart; \
             market.bookings: changing it needs a restart"
        );
    }
}
