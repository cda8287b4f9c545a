//! The ledger's directory.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::ledger::RunId;
use crate::ledger::segment::{LIVE, parts};

/// How a segment is called that is being made ready.
pub const NEW: &str = "new";

/// Who may enter the directory: its owner.
const DIRECTORY_MODE: u32 = 0o700;

/// Makes the directory, and those above it.
///
/// # Errors
/// What the kernel says.
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)
}

/// Has the names in the directory survive the machine.
///
/// # Errors
/// What the kernel says.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A segment's file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name without the ending.
    pub stem: String,
    /// Where it is.
    pub path: PathBuf,
    /// Somebody writes it, or has died.
    pub live: bool,
}

impl Listed {
    /// Run, core and number, as its name says.
    pub fn place(&self) -> Option<(RunId, u16, u32)> {
        let mut parts = self.stem.split('-');
        let run = parts.next()?.parse().ok()?;
        Some((
            run,
            parts.next()?.parse().ok()?,
            parts.next()?.parse().ok()?,
        ))
    }
}

/// The segments of a directory, in the order of their names: by run, core and number.
///
/// # Errors
/// What the kernel says.
pub fn segments(directory: &Path) -> io::Result<Vec<Listed>> {
    let mut found = Vec::new();
    for entry in directory.read_dir()? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some((stem, ending)) = name.and_then(parts) {
            found.push(Listed {
                stem: stem.to_owned(),
                live: ending == LIVE,
                path,
            });
        }
    }
    found.sort();
    Ok(found)
}

/// Files that somebody began to make ready.
///
/// # Errors
/// What the kernel says.
pub fn unfinished(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let is_new = |path: &PathBuf| path.extension().is_some_and(|ending| ending == NEW);
    let paths = directory.read_dir()?.map(|entry| Ok(entry?.path()));
    let paths: io::Result<Vec<PathBuf>> = paths.collect();
    Ok(paths?.into_iter().filter(is_new).collect())
}
