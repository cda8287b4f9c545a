//! `srpd audit verify FILE --key KEY`

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::ValueHint;
use serde_json::{Value, json};

use super::super::Failure;
use super::papers::{
    ConsistencyPaper, HeadPaper, NotAPaper, Paper, ProofPaper, hashes, shown, signer,
};
use super::public_key;
use crate::control::ledger::line::{Line, Record};
use crate::ledger::merkle::{is_consistent, is_included};
use crate::ledger::tree::{Signed, hex};
use crate::ledger::{Border, Entry, EntryId, Header, Leaf};
use crate::policy::accreditation::PublicKey;

/// `srpd audit verify`
#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// A proof of a call, a proof of consistency, or a head
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Who must have signed, as `keygen` printed it (base64 SubjectPublicKeyInfo); several after a rotation
    #[arg(long = "key", value_name = "KEY", value_parser = public_key, required = true)]
    keys: Vec<PublicKey>,
    /// As a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let path = &arguments.file;
    let text = fs::read_to_string(path).map_err(Failure::file(path))?;
    let paper = Paper::parse(&text).map_err(Failure::content(path))?;
    let unproven = |why: Wrong| Failure::Unproven(format!("{}: {why}", path.display()));
    let proven = match verified(&paper, &arguments.keys) {
        Ok(proven) => proven,
        Err(why) => {
            if arguments.json {
                let said = json!({ "proven": false, "wrong": why.to_string() });
                writeln!(out, "{said}")?;
            }
            return Err(unproven(why));
        }
    };
    if arguments.json {
        writeln!(out, "{}", proven.json)?;
    } else {
        writeln!(out, "{}", proven.text)?;
    }
    match proven.left {
        None => Ok(()),
        Some(why) => Err(Failure::Unproven(why)),
    }
}

fn verified(paper: &Paper, keys: &[PublicKey]) -> Result<Proven, Wrong> {
    match paper {
        Paper::Head(paper) => head(paper, keys),
        Paper::Consistency(paper) => consistency(paper, keys),
        Paper::Proof(paper) => proof(paper, keys),
    }
}

/// What a paper proves to who has this key, as `--json` prints it.
///
/// # Errors
/// Why it proves nothing.
pub(in crate::cli) fn proven(text: &str, key: PublicKey) -> Result<Value, String> {
    let paper = Paper::parse(text).map_err(|why| why.to_string())?;
    let proven = verified(&paper, &[key]).map_err(|why| why.to_string())?;
    Ok(proven.json)
}

/// Why nothing is proven.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error(transparent)]
    Paper(#[from] NotAPaper),
    #[error("the head of {0} is not signed by the given key")]
    Signature(String),
    #[error("leaf {0} is not in the tree of the head")]
    Inclusion(u64),
    #[error("it has no entry of {0}")]
    Missing(String),
    #[error("leaf {0} can't be read")]
    Leaf(u64),
    #[error("leaf {0} is of another call")]
    Stranger(u64),
    #[error("the newer tree doesn't begin with the leaves of the older one: history was changed")]
    Forked,
    #[error("the heads are of two trees")]
    Trees,
}

/// What is proven.
struct Proven {
    text: String,
    json: Value,
    /// It is proven, and not good.
    left: Option<String>,
}

fn signed(paper: &HeadPaper, keys: &[PublicKey]) -> Result<Signed, Wrong> {
    let signed = paper.signed()?;
    match signer(&signed, keys) {
        Some(_) => Ok(signed),
        None => Err(Wrong::Signature(paper.time.clone())),
    }
}

fn said(signed: &Signed) -> String {
    let head = &signed.head;
    format!(
        "tree {} of {} leaves, signed at {}",
        hex(&head.tree.0),
        head.size,
        shown(head.at_ms)
    )
}

fn head(paper: &HeadPaper, keys: &[PublicKey]) -> Result<Proven, Wrong> {
    let signed = signed(paper, keys)?;
    Ok(Proven {
        text: format!("proven: {}", said(&signed)),
        json: json!({ "proven": true, "head": paper }),
        left: None,
    })
}

fn consistency(paper: &ConsistencyPaper, keys: &[PublicKey]) -> Result<Proven, Wrong> {
    let (older, newer) = (signed(&paper.since, keys)?, signed(&paper.head, keys)?);
    let path = hashes(&paper.consistency, "consistency")?;
    let (old, new) = (&older.head, &newer.head);
    if old.tree != new.tree {
        return Err(Wrong::Trees);
    }
    if !is_consistent((old.size, old.root), (new.size, new.root), &path) {
        return Err(Wrong::Forked);
    }
    Ok(Proven {
        text: format!(
            "proven: {}, begins with all {} leaves of the head of {}",
            said(&newer),
            old.size,
            shown(old.at_ms)
        ),
        json: json!({ "proven": true, "since": paper.since, "head": paper.head }),
        left: None,
    })
}

fn proof(paper: &ProofPaper, keys: &[PublicKey]) -> Result<Proven, Wrong> {
    let signed = signed(&paper.head, keys)?;
    let id: EntryId = paper
        .id
        .parse()
        .map_err(|_| NotAPaper::Member("id", "RUN-CORE-CALL"))?;
    let mut leaves = Vec::new();
    for leaf in &paper.leaves {
        let bytes = leaf.decoded()?;
        let path = hashes(&leaf.path, "leaves.path")?;
        let index = leaf.index;
        let hash = Leaf::decode(&bytes).ok_or(Wrong::Leaf(index))?.hash();
        let head = &signed.head;
        if !is_included(hash, index, head.size, &path, &head.root) {
            return Err(Wrong::Inclusion(index));
        }
        leaves.push((index, bytes));
    }
    leaves.sort();
    let mut last = None;
    for (index, bytes) in &leaves {
        let leaf = Leaf::decode(bytes).ok_or(Wrong::Leaf(*index))?;
        let entry = Entry::decode(leaf.payload).ok_or(Wrong::Leaf(*index))?;
        if leaf.id(entry.call.number) != id {
            return Err(Wrong::Stranger(*index));
        }
        last = Some((leaf, entry));
    }
    let (leaf, entry) = last.ok_or_else(|| Wrong::Missing(paper.id.clone()))?;
    let header = Header {
        run: leaf.run,
        core: leaf.core,
        number: 0,
        made_us: 0,
        jurisdiction: leaf.jurisdiction,
        currency: leaf.currency,
    };
    let border = entry.border();
    let record = Record { header, entry };
    let line = Line::of(&record);
    Ok(Proven {
        text: format!("proven: {}\n{}", said(&signed), sentence(&line, border)),
        json: json!({
            "proven": true,
            "head": paper.head,
            "border": border_name(border),
            "entry": line,
        }),
        left: match border {
            Border::Inside => None,
            Border::Outside(place) => Some(format!(
                "{id}: it left the jurisdictions that it was allowed, for {}",
                String::from_utf8_lossy(&place)
            )),
            Border::Unknown => Some(format!(
                "{id}: its entry doesn't say whether it stayed inside its jurisdictions"
            )),
        },
    })
}

fn border_name(border: Border) -> &'static str {
    match border {
        Border::Inside => "inside",
        Border::Outside(_) => "outside",
        Border::Unknown => "unknown",
    }
}

/// Who, where, when and within which borders, for people.
fn sentence(line: &Line<'_>, border: Border) -> String {
    let none = "-";
    let tried: Vec<String> = line
        .attempts
        .iter()
        .map(|attempt| {
            let place = attempt.jurisdiction.unwrap_or(*b"??");
            format!(
                "{} in {} ({})",
                attempt.provider,
                String::from_utf8_lossy(&place),
                attempt.result.map_or("unfinished", |result| result.label())
            )
        })
        .collect();
    let rows = [
        ("call", line.id.clone()),
        ("request", line.request_id.to_owned()),
        ("began", line.began.clone()),
        ("key", line.key.unwrap_or(none).to_owned()),
        ("capability", line.capability.unwrap_or(none).to_owned()),
        ("residency", line.residency.unwrap_or(none).to_owned()),
        ("tried", tried.join(", ")),
        ("served by", line.provider.unwrap_or("nobody").to_owned()),
        (
            "served in",
            line.jurisdiction.clone().unwrap_or_else(|| none.to_owned()),
        ),
        ("outcome", format!("{} {}", line.status, line.outcome)),
        ("border", border_name(border).to_owned()),
    ];
    let rows = rows.map(|(name, value)| format!("  {name:<11} {value}"));
    rows.join("\n")
}
