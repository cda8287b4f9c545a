//! `srpd audit prove ID`

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueHint;

use super::super::Failure;
use super::super::ledger::{Source, book};
use super::hand_out;
use super::papers::{HeadPaper, LeafPaper, ProofPaper};
use super::tree::Tree;
use crate::control::ledger::files::segments;
use crate::ledger::merkle::inclusion;
use crate::ledger::segment::HEADER_BYTES;
use crate::ledger::{Entry, EntryId, Found, Header, Leaf, Scan};

/// `srpd audit prove`
#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The call: what x-sovereign-receipt said, or the ledger shows as its id
    #[arg(value_name = "ID")]
    id: EntryId,
    #[command(flatten)]
    source: Source,
    /// Into this file, which must not be there yet; else to standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    out: Option<PathBuf>,
}

/// What is to be proven of a call: its entry and what amends it, with their serial numbers.
fn frames(directory: &Path, id: EntryId) -> Result<Vec<(u64, Vec<u8>)>, Failure> {
    let mut found = Vec::new();
    let prefix = format!("{}-{:03}-", id.run, id.core);
    let all = segments(directory).map_err(Failure::file(directory))?;
    for listed in all.iter().filter(|it| it.stem.starts_with(&prefix)) {
        let Some(bytes) = book::load(listed)? else {
            continue;
        };
        let Ok(header) = Header::decode(&bytes) else {
            continue;
        };
        for frame in Scan::new(&bytes, HEADER_BYTES) {
            if let Found::Frame(_, frame) = frame
                && Entry::decode(frame.payload).is_some_and(|it| it.call.number == id.call)
            {
                let leaf = Leaf::new(&header, frame.serial, frame.payload);
                found.push((frame.serial, leaf.bytes()));
            }
        }
    }
    Ok(found)
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let (directory, id) = (arguments.source.directory()?, arguments.id);
    let tree = Tree::read(&directory, &[])?;
    let frames = frames(&directory, id)?;
    let place = directory.display();
    if frames.is_empty() {
        return Err(Failure::Unproven(format!("{id}: no entry in {place}")));
    }
    let size = tree.newest.head.size;
    let mut leaves = Vec::new();
    for (serial, bytes) in frames {
        let Some(spot) = tree.spot((id.run, id.core), serial) else {
            return Err(Failure::Unproven(format!(
                "{id}: not in the tree, whose newest head is of {}; entries are signed within \
                 audit.interval",
                super::papers::shown(tree.newest.head.at_ms)
            )));
        };
        let at = (serial - spot.first) as usize;
        let leaf = Leaf::decode(&bytes).map(|leaf| leaf.hash());
        if tree.leaves(spot)?.get(at).copied() != leaf {
            return Err(Failure::Unproven(format!(
                "{id}: the entry in {place} is not the one that was signed: it has been changed"
            )));
        }
        let index = spot.index + at as u64;
        let path = tree.roots(inclusion(index, size))?;
        leaves.push(LeafPaper::new(index, &bytes, &path));
    }
    let proof = ProofPaper {
        id: id.to_string(),
        leaves,
        head: HeadPaper::new(&tree.newest),
    };
    let text = serde_json::to_string_pretty(&proof).map_err(std::io::Error::from)?;
    hand_out(&text, arguments.out.as_deref(), out)
}
