//! What a reload can't change. A file that asks for it is refused by name: nothing in a
//! configuration is ever silently without effect.

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
    /// It can't be put in force.
    #[error(transparent)]
    Unbuildable(#[from] BuildError),
    /// The helper thread that was to read it failed.
    #[error("the file could not be read: {0}")]
    Unread(String),
}

/// Checks that a new configuration can take effect without a restart.
///
/// # Errors
/// The keys that it changes and can't.
pub fn check_live(old: &Config, new: &Config) -> Result<(), ReloadError> {
    let (before, after) = (&old.instance, &new.instance);
    let fixed = [
        ("instance.listen", before.listen != after.listen),
        ("instance.admin", before.admin != after.admin),
        ("instance.cores", before.cores != after.cores),
        ("instance.driver", before.driver != after.driver),
        ("log.format", old.log.format != new.log.format),
        ("log.level", old.log.level != new.log.level),
    ];
    let changed: Vec<String> = fixed
        .iter()
        .filter(|(_, changed)| *changed)
        .map(|(key, _)| format!("{key}: changing it needs a restart"))
        .collect();
    if changed.is_empty() {
        Ok(())
    } else {
        Err(ReloadError::NeedsRestart(changed))
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
        assert!(check_live(&old, &new).is_ok());
        new.instance.driver = Driver::Epoll;
        new.instance.listen.clear();
        let error = check_live(&old, &new).expect_err("refused").to_string();
        assert_eq!(
            error,
            "instance.listen: changing it needs a restart; \
             instance.driver: changing it needs a restart"
        );
    }
}
