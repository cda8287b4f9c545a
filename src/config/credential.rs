//! `api_key`: where a provider's credential is kept. No message here shows what was found, nor
//! the name it was looked for under, which may be the credential in the wrong place.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Surroundings;
use super::reader::Table;
use super::values::is_name;
use crate::base::Secret;

/// Bytes of a credential, white space around it included.
const CREDENTIAL_BYTES_MAX: u64 = 16 * 1024;

/// Where systemd puts credentials (systemd.exec(5), `LoadCredential=`).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Reads the credential that a table points at.
pub(super) fn read(table: Table<'_>, surroundings: &Surroundings<'_>) -> Option<Secret> {
    read_as(table, surroundings, checked)
}

/// Reads what a table points at as the whole value of a header field: with spaces in it, too
/// (`Bearer KEY`).
pub(super) fn read_field(table: Table<'_>, surroundings: &Surroundings<'_>) -> Option<Secret> {
    read_as(table, surroundings, |content| {
        let of = "visible ASCII characters and spaces";
        made_of(content, |byte| matches!(byte, b' '..=b'~'), of)
    })
}

/// Reads what a table points at, and makes of it what is wanted.
pub(super) fn read_as<T>(
    table: Table<'_>,
    surroundings: &Surroundings<'_>,
    make: impl Fn(&[u8]) -> Result<T, String>,
) -> Option<T> {
    const EXPECTED: &str =
        "exactly one of { env = \"NAME\" }, { file = \"PATH\" } or { credential = \"NAME\" }";
    let places = ["env", "file", "credential"].map(|kind| (kind, table.get(kind)));
    let mut given = places
        .into_iter()
        .filter_map(|(kind, value)| Some((kind, value?)));
    let found = match (given.next(), given.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    };
    if found.is_none() || table.has_more() {
        table.fail(format!("expected {EXPECTED}"));
        return None;
    }
    let (kind, value) = found?;
    let name = value.text("a string")?.text;
    let content = match kind {
        "env" => from_environment(name, surroundings),
        "file" => {
            let path = surroundings.directory.join(name);
            if is_readable_by_all(&path) {
                value.warn("every user of this machine can read that file: expected mode 0600");
            }
            from_file(&path)
        }
        _ => credential_path(name, surroundings).and_then(|path| from_file(&path)),
    };
    let made = content.and_then(|content| make(&content));
    made.map_err(|message| value.fail(message)).ok()
}

type Content = Zeroizing<Vec<u8>>;

fn from_environment(name: &str, surroundings: &Surroundings<'_>) -> Result<Content, String> {
    let content = (surroundings.env)(name).map(String::into_bytes);
    let content = content.ok_or("expected the name of an environment variable that is set")?;
    bounded(Zeroizing::new(content))
}

fn credential_path(name: &str, surroundings: &Surroundings<'_>) -> Result<PathBuf, String> {
    // One path component, and not `..`: a credential lies in the directory itself.
    if !is_name(name) || name.starts_with('.') {
        return Err("expected the name of a credential of the unit (LoadCredential=)".into());
    }
    let directory = (surroundings.env)(CREDENTIALS_DIRECTORY).ok_or(format!(
        "expected ${CREDENTIALS_DIRECTORY}, which systemd sets for a unit with LoadCredential="
    ))?;
    Ok(Path::new(&directory).join(name))
}

/// Whether any user of this machine can read the file.
pub(super) fn is_readable_by_all(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.mode() & 0o004 != 0)
}

fn from_file(path: &Path) -> Result<Content, String> {
    let refused = |error: io::Error| format!("expected a readable file: {error}");
    let file = File::open(path).map_err(refused)?;
    // Room for all of it from the start: a vector that grows leaves copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(CREDENTIAL_BYTES_MAX as usize + 1));
    file.take(CREDENTIAL_BYTES_MAX + 1)
        .read_to_end(&mut content)
        .map_err(refused)?;
    bounded(content)
}

fn bounded(content: Content) -> Result<Content, String> {
    if content.len() as u64 > CREDENTIAL_BYTES_MAX {
        return Err(format!(
            "expected at most {CREDENTIAL_BYTES_MAX} bytes there"
        ));
    }
    Ok(content)
}

/// What can stand in a header field: visible ASCII, in one piece.
fn checked(content: &[u8]) -> Result<Secret, String> {
    made_of(
        content,
        |byte| byte.is_ascii_graphic(),
        "visible ASCII characters",
    )
}

fn made_of(content: &[u8], is_one: fn(u8) -> bool, of: &str) -> Result<Secret, String> {
    let trimmed = content.trim_ascii();
    if trimmed.is_empty() {
        return Err("expected a credential there, found nothing".into());
    }
    if !trimmed.iter().all(|byte| is_one(*byte)) {
        return Err(format!("expected {of} only, in one line"));
    }
    Ok(Secret::new(trimmed.to_vec()))
}
