//! What is wrong with a configuration: every error found, each with its place.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Line in the file, from 1; none if the file could not be read.
    pub line: Option<usize>,
    /// Dotted path of the key, from 0 in arrays: `provider[2].endpoints[0]`. Empty where the
    /// file isn't TOML.
    pub key: String,
    /// What was expected.
    pub message: String,
}

/// Everything that is wrong with one file, in the file's order; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    file: PathBuf,
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// The errors, by line.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.errors.iter()
    }

    /// A file that could not be read.
    pub(super) fn unreadable(file: &Path, message: String) -> ConfigErrors {
        ConfigErrors::of_file(file, None, message)
    }

    /// A file that is not UTF-8 from `offset` on.
    pub(super) fn not_utf8(file: &Path, content: &[u8], offset: usize) -> ConfigErrors {
        let line = line(content, offset);
        ConfigErrors::of_file(file, Some(line), "expected UTF-8".to_owned())
    }

    fn of_file(file: &Path, line: Option<usize>, message: String) -> ConfigErrors {
        let error = ConfigError {
            line,
            key: String::new(),
            message,
        };
        ConfigErrors {
            file: file.to_owned(),
            errors: vec![error],
        }
    }
}

/// One error a line: `srpd.toml:12: limits.headers: expected …`.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.errors.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&error.located_in(&self.file))?;
        }
        Ok(())
    }
}

impl ConfigError {
    fn located_in(&self, file: &Path) -> String {
        let mut text = format!("{}:", file.display());
        if let Some(line) = self.line {
            text.push_str(&format!("{line}:"));
        }
        if !self.key.is_empty() {
            text.push_str(&format!(" {}:", self.key));
        }
        text.push(' ');
        text.push_str(&self.message);
        text
    }
}

/// Collects errors and warnings while a file is read.
pub(super) struct Problems<'t> {
    text: &'t str,
    errors: RefCell<Vec<ConfigError>>,
    warnings: RefCell<Vec<ConfigError>>,
}

impl<'t> Problems<'t> {
    pub(super) fn new(text: &'t str) -> Problems<'t> {
        Problems {
            text,
            errors: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    pub(super) fn error(&self, span: &Range<usize>, key: &str, message: impl Into<String>) {
        let error = self.located(span, key, message.into());
        self.errors.borrow_mut().push(error);
    }

    /// Valid, but worth a word.
    pub(super) fn warn(&self, span: &Range<usize>, key: &str, message: impl Into<String>) {
        let warning = self.located(span, key, message.into());
        self.warnings.borrow_mut().push(warning);
    }

    /// The value that was read and the warnings, unless there were errors. A value is missing
    /// only after an error.
    pub(super) fn conclude<T>(
        self,
        file: &Path,
        value: Option<T>,
    ) -> Result<(T, Vec<String>), ConfigErrors> {
        let mut errors = self.errors.into_inner();
        match value {
            Some(value) if errors.is_empty() => {
                let mut warnings = self.warnings.into_inner();
                warnings.sort_by_key(|warning| warning.line);
                let warnings = warnings.iter().map(|w| w.located_in(file)).collect();
                Ok((value, warnings))
            }
            _ => {
                debug_assert!(!errors.is_empty(), "a value is missing without an error");
                errors.sort_by_key(|error| error.line);
                let file = file.to_owned();
                Err(ConfigErrors { file, errors })
            }
        }
    }

    fn located(&self, span: &Range<usize>, key: &str, message: String) -> ConfigError {
        ConfigError {
            line: Some(line(self.text.as_bytes(), span.start)),
            key: key.to_owned(),
            message,
        }
    }
}

fn line(text: &[u8], offset: usize) -> usize {
    let before = text.iter().take(offset);
    before.filter(|&&byte| byte == b'\n').count() + 1
}
