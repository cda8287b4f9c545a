//! Files of targets, in the form of Prometheus' `file_sd`: whoever writes such a file for a
//! Prometheus writes it for srpd too.
//!
//! ```json
//! [{"targets": ["10.0.0.1:8000", "10.0.0.2:8000"], "labels": {"__scheme__": "https"}}]
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::endpoint::{EndpointError, EndpointUrl, parse_endpoint};
use crate::base::ids::ENDPOINTS_MAX;

/// Bytes of a file of targets: room for more endpoints than there can be.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Files that one pattern stands for.
pub const FILES_MAX: usize = 256;

/// Bytes of the path of an endpoint's metrics.
const METRICS_BYTES_MAX: usize = 256;

/// A path whose last part may have one `*`, which stands for any characters but none of its own
/// directory's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    /// As written in the configuration.
    pub written: String,
    directory: PathBuf,
    name: String,
}

impl Pattern {
    /// Reads a path, which is relative to `directory`. None if it can't be one.
    pub fn new(written: &str, directory: &Path) -> Option<Pattern> {
        let path = directory.join(written);
        let name = path.file_name()?.to_str()?.to_owned();
        // A bare name lies in the working directory.
        let parent = path.parent().filter(|it| *it != Path::new(""));
        let parent = parent.unwrap_or(Path::new("."));
        let sound = name.ends_with(".json") && name.matches('*').count() <= 1;
        (sound && !parent.to_str()?.contains('*')).then(|| Pattern {
            written: written.to_owned(),
            directory: parent.to_owned(),
            name,
        })
    }

    /// The files that it stands for now, in order. A path without `*` stands for itself, whether
    /// it is there or not.
    fn paths(&self) -> io::Result<BTreeSet<PathBuf>> {
        let Some((before, after)) = self.name.split_once('*') else {
            return Ok([self.directory.join(&self.name)].into());
        };
        let mut paths = BTreeSet::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let fits = name.to_str().is_some_and(|name| {
                let long_enough = name.len() >= before.len() + after.len();
                // Hidden ones are somebody's unfinished work.
                let shown = before.starts_with('.') || !name.starts_with('.');
                long_enough && shown && name.starts_with(before) && name.ends_with(after)
            });
            if fits {
                paths.insert(self.directory.join(name));
            }
            if paths.len() > FILES_MAX {
                let message = format!("more than {FILES_MAX} files fit");
                return Err(io::Error::other(message));
            }
        }
        Ok(paths)
    }
}

/// One target of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it is.
    pub url: EndpointUrl,
    /// `__metrics_path__`
    pub metrics: Option<String>,
}

/// Why a file says nothing.
#[derive(Debug, thiserror::Error)]
pub enum TargetsError {
    /// It can't be read.
    #[error("expected a readable file: {0}")]
    Unreadable(#[from] io::Error),
    /// It isn't what it should be.
    #[error("expected an array of objects with `targets` and `labels`: {0}")]
    Json(#[from] serde_json::Error),
    /// One of its targets is none.
    #[error("target {target:?}: {error}")]
    Target {
        /// As it stands in the file.
        target: String,
        /// What is wrong with it.
        error: EndpointError,
    },
    /// A label has no such value.
    #[error("label {name:?}: expected {expected}, found {found:?}")]
    Label {
        /// Which label.
        name: &'static str,
        /// What is expected.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// There are too many targets.
    #[error("expected at most {ENDPOINTS_MAX} targets")]
    Many,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Reads a file's content. Labels that srpd has no use for are somebody else's, and passed over;
/// everything else that it can't read makes the whole file invalid: half a fleet is not what
/// anybody meant.
///
/// # Errors
/// What is wrong with it.
pub fn parse(content: &[u8]) -> Result<Vec<Target>, TargetsError> {
    let groups: Vec<Group> = serde_json::from_slice(content)?;
    let mut targets = Vec::new();
    for group in groups {
        let label = |name| group.labels.get(name).map(String::as_str);
        let scheme = match label("__scheme__") {
            None | Some("http") => "http",
            Some("https") => "https",
            Some(found) => {
                return Err(TargetsError::Label {
                    name: "__scheme__",
                    expected: "\"http\" or \"https\"",
                    found: found.to_owned(),
                });
            }
        };
        let metrics = label("__metrics_path__").map(metrics_path).transpose()?;
        let prefix = label("prefix").map_or(Ok(""), prefix)?;
        for target in group.targets {
            if targets.len() == ENDPOINTS_MAX {
                return Err(TargetsError::Many);
            }
            let url = url(scheme, &target, prefix)
                .map_err(|error| TargetsError::Target { target, error })?;
            let metrics = metrics.clone();
            targets.push(Target { url, metrics });
        }
    }
    Ok(targets)
}

/// `HOST:PORT`, as Prometheus has it: with a port, and nothing behind it.
fn url(scheme: &str, target: &str, prefix: &str) -> Result<EndpointUrl, EndpointError> {
    let host = target.rsplit_once(':').map(|(host, _)| host);
    if host.is_none_or(|host| host.ends_with(':')) || target.contains('/') {
        return Err(EndpointError("a target is HOST:PORT"));
    }
    parse_endpoint(&format!("{scheme}://{target}{prefix}"))
}

fn prefix(found: &str) -> Result<&str, TargetsError> {
    let url = format!("http://host{found}");
    if found.is_empty() || (found.starts_with('/') && parse_endpoint(&url).is_ok()) {
        return Ok(found);
    }
    Err(TargetsError::Label {
        name: "prefix",
        expected: "a path such as \"/openai/v1\"",
        found: found.to_owned(),
    })
}

fn metrics_path(found: &str) -> Result<String, TargetsError> {
    if is_path(found) {
        return Ok(found.to_owned());
    }
    Err(TargetsError::Label {
        name: "__metrics_path__",
        expected: "a path such as \"/metrics\"",
        found: found.to_owned(),
    })
}

/// Whether a text can stand in a request line as it is: visible ASCII behind a slash.
pub(super) fn is_path(text: &str) -> bool {
    text.len() <= METRICS_BYTES_MAX
        && text.starts_with('/')
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !text.contains('#')
}

/// What each file of a pattern says.
pub type Files = Vec<(PathBuf, Result<Vec<Target>, TargetsError>)>;

/// Reads each file that a pattern stands for.
///
/// # Errors
/// The files can't be told: their directory can't be read, or there are too many.
pub fn read(pattern: &Pattern) -> Result<Files, TargetsError> {
    let read = |path: PathBuf| {
        let targets = content(&path).and_then(|content| parse(&content));
        (path, targets)
    };
    Ok(pattern.paths()?.into_iter().map(read).collect())
}

fn content(path: &Path) -> Result<Vec<u8>, TargetsError> {
    let mut content = Vec::new();
    File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut content)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
    }
    Ok(content)
}
