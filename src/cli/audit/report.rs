//! `srpd audit report --month 2026-11`

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;

use clap::ValueHint;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::json;

use super::super::Failure;
use super::super::ledger::Source;
use super::cover::Cover;
use super::papers::{shown, signer};
use super::public_key;
use super::tree::Tree;
use crate::control::ledger::line::Record;
use crate::ledger::Border;
use crate::ledger::tree::{Signed, hex};
use crate::policy::accreditation::PublicKey;

/// How calls are called that nobody served.
const NOBODY: &str = "none";

/// Heads are signed by the same machine's clock, which is looked at once a second by those who write
/// entries.
const SLACK_MS: i64 = 5_000;

/// `srpd audit report`
#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Which month, in UTC, such as 2026-11
    #[arg(long, value_name = "MONTH", value_parser = month)]
    month: Month,
    /// Who must have signed (base64 SubjectPublicKeyInfo); else the key of the configuration's [audit]
    #[arg(long = "key", value_name = "KEY", value_parser = public_key)]
    keys: Vec<PublicKey>,
    /// A head that the tree must continue, as `srpd audit head` wrote it earlier
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    since: Vec<PathBuf>,
    /// As a JSON object
    #[arg(long)]
    json: bool,
}

/// A month, and its microseconds since 1970.
#[derive(Clone, Debug)]
struct Month {
    name: String,
    us: Range<i64>,
}

fn month(text: &str) -> Result<Month, String> {
    let read = || {
        let first: Date = format!("{text}-01").parse().ok()?;
        let next = first.checked_add(1.month()).ok()?;
        let us = |date: Date| {
            Some(
                date.to_zoned(TimeZone::UTC)
                    .ok()?
                    .timestamp()
                    .as_microsecond(),
            )
        };
        Some(us(first)?..us(next)?)
    };
    let us = read().filter(|_| text.len() == "2026-11".len());
    let us = us.ok_or("expected a month such as 2026-11")?;
    Ok(Month {
        name: text.to_owned(),
        us,
    })
}

/// A call that the border says something about.
struct Case {
    id: String,
    residency: String,
    place: Option<[u8; 2]>,
}

/// What is counted.
#[derive(Default)]
struct Count {
    calls: BTreeMap<String, u64>,
    outside: Vec<Case>,
    unknown: Vec<Case>,
}

impl Count {
    fn add(&mut self, record: &Record<'_>) {
        let call = &record.entry.call;
        let served = call.jurisdiction.filter(|_| call.served);
        let place = served.map(|code| String::from_utf8_lossy(&code).into_owned());
        let place = place.unwrap_or_else(|| NOBODY.to_owned());
        *self.calls.entry(place).or_default() += 1;
        let case = |place| Case {
            id: record.id().to_string(),
            residency: call.residency.to_owned(),
            place,
        };
        match record.entry.border() {
            Border::Inside => {}
            Border::Outside(place) => self.outside.push(case(Some(place))),
            Border::Unknown => self.unknown.push(case(None)),
        }
    }

    fn total(&self) -> u64 {
        self.calls.values().sum()
    }
}

fn checked(signed: &Signed, keys: &[PublicKey]) -> Result<String, Failure> {
    let signer = signer(signed, keys).and_then(|key| key.encode().ok());
    signer.ok_or_else(|| {
        let time = shown(signed.head.at_ms);
        Failure::Unproven(format!("the head of {time} is not signed by the given key"))
    })
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let (directory, own) = arguments.source.open()?;
    let keys: Vec<PublicKey> = match &arguments.keys[..] {
        [] => own.into_iter().collect(),
        given => given.to_vec(),
    };
    if keys.is_empty() {
        let what = "expected --key, or a configuration with a table [audit]";
        return Err(Failure::Unproven(what.to_owned()));
    }
    let mut known = Vec::new();
    for path in &arguments.since {
        let (_, signed) = super::head::read(path)?;
        checked(&signed, &keys)?;
        known.push(signed);
    }
    let tree = Tree::read(&directory, &known)?;
    let key = checked(&tree.newest, &keys)?;
    let month = &arguments.month;
    let mut count = Count::default();
    let now_ms = Timestamp::now().as_millisecond();
    let since_ms = month.us.start / 1000 - SLACK_MS;
    let cover = Cover::of(&directory, &tree, since_ms, now_ms, |record| {
        if month.us.contains(&record.entry.call.began_us) {
            count.add(record);
        }
    })?;
    let proven = cover.flaws.is_empty() && count.outside.is_empty() && count.unknown.is_empty();
    let report = Report {
        month,
        newest: &tree.newest,
        key: &key,
        count: &count,
        cover: &cover,
        proven,
    };
    if arguments.json {
        report.json(out)?;
    } else {
        report.text(out)?;
    }
    match proven {
        true => Ok(()),
        false => Err(Failure::Unproven(report.why_not())),
    }
}

struct Report<'r> {
    month: &'r Month,
    newest: &'r Signed,
    key: &'r str,
    count: &'r Count,
    cover: &'r Cover<'r>,
    proven: bool,
}

fn code(place: Option<[u8; 2]>) -> Option<String> {
    place.map(|place| String::from_utf8_lossy(&place).into_owned())
}

impl Report<'_> {
    fn why_not(&self) -> String {
        let (count, flaws) = (self.count, self.cover.flaws.len());
        let parts = [
            (
                count.outside.len(),
                "left the jurisdictions that they were allowed",
            ),
            (count.unknown.len(), "don't say where they were"),
            (flaws, "places differ from what was signed"),
        ];
        let said = parts.iter().filter(|(count, _)| *count > 0);
        let said: Vec<String> = said
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        format!("{} is not proven: {}", self.month.name, said.join("; "))
    }

    fn json(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let head = &self.newest.head;
        let case = |case: &Case| {
            json!({
                "id": case.id,
                "residency": case.residency,
                "jurisdiction": code(case.place),
            })
        };
        let flaws = self.cover.flaws.iter().map(ToString::to_string);
        let said = json!({
            "month": self.month.name,
            "proven": self.proven,
            "tree": hex(&head.tree.0),
            "size": head.size,
            "signed_at": shown(head.at_ms),
            "key": self.key,
            "calls": self.count.calls,
            "outside": self.count.outside.iter().map(case).collect::<Vec<_>>(),
            "unknown": self.count.unknown.iter().map(case).collect::<Vec<_>>(),
            "covered": self.cover.covered,
            "pending": self.cover.pending,
            "flaws": flaws.collect::<Vec<_>>(),
        });
        Ok(writeln!(out, "{said}")?)
    }

    fn text(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let (head, count, cover) = (&self.newest.head, self.count, self.cover);
        writeln!(out, "month         {}", self.month.name)?;
        writeln!(out, "tree          {}", hex(&head.tree.0))?;
        writeln!(
            out,
            "head          {} leaves, signed at {}",
            head.size,
            shown(head.at_ms)
        )?;
        writeln!(out, "key           {}", self.key)?;
        writeln!(out, "calls         {}", count.total())?;
        for (place, calls) in &count.calls {
            writeln!(out, "  {place:<11} {calls}")?;
        }
        writeln!(
            out,
            "entries       {} as they were signed, {} too new to be",
            cover.covered, cover.pending
        )?;
        for flaw in &cover.flaws {
            writeln!(out, "  {flaw}")?;
        }
        writeln!(
            out,
            "border        {} calls outside, {} unknown",
            count.outside.len(),
            count.unknown.len()
        )?;
        for case in &count.outside {
            let place = code(case.place).unwrap_or_default();
            writeln!(
                out,
                "  {} allowed {}, was in {place}",
                case.id, case.residency
            )?;
        }
        for case in &count.unknown {
            writeln!(
                out,
                "  {} allowed {:?}: can't be decided",
                case.id, case.residency
            )?;
        }
        if self.proven {
            writeln!(
                out,
                "proven: no call of {} left the jurisdictions that it was allowed",
                self.month.name
            )?;
        }
        Ok(())
    }
}
