//! `srpd audit head`

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueHint;

use super::super::Failure;
use super::super::ledger::Source;
use super::hand_out;
use super::papers::{ConsistencyPaper, HeadPaper, Paper, written};
use super::tree::Tree;
use crate::ledger::merkle::consistency;
use crate::ledger::tree::Signed;

/// `srpd audit head`
#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Prove that the newest head continues the one in this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    since: Option<PathBuf>,
    /// Into this file, which must not be there yet; else to standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    out: Option<PathBuf>,
}

/// Reads a file that has a head.
pub(super) fn read(path: &Path) -> Result<(HeadPaper, Signed), Failure> {
    let text = fs::read_to_string(path).map_err(Failure::file(path))?;
    let paper = match Paper::parse(&text).map_err(Failure::content(path))? {
        Paper::Head(head) => head,
        // Whoever has one of these has a head, too.
        Paper::Consistency(paper) => paper.head,
        Paper::Proof(paper) => paper.head,
    };
    let signed = paper.signed().map_err(Failure::content(path))?;
    Ok((paper, signed))
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let directory = arguments.source.directory()?;
    let older = arguments.since.as_deref().map(read).transpose()?;
    let known: Vec<Signed> = older.iter().map(|(_, signed)| *signed).collect();
    let tree = Tree::read(&directory, &known)?;
    let head = HeadPaper::new(&tree.newest);
    let text = match older {
        None => serde_json::to_string_pretty(&head),
        Some((since, signed)) => {
            let ranges = consistency(signed.head.size, tree.newest.head.size);
            serde_json::to_string_pretty(&ConsistencyPaper {
                since,
                head,
                consistency: written(&tree.roots(ranges)?),
            })
        }
    };
    let text = text.map_err(std::io::Error::from)?;
    hand_out(&text, arguments.out.as_deref(), out)
}
