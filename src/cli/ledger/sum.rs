//! `srpd ledger sum`

use std::collections::HashMap;
use std::io::Write;

use clap::ValueEnum;
use serde_json::{Map, Value};

use super::super::Failure;
use super::book;
use super::filter::Filter;
use super::{Source, finish};
use crate::control::ledger::line::{Record, letters, supply, time};
use crate::ledger::Amount;

const HOUR_US: i64 = 3_600_000_000;

/// What can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Key,
    Capability,
    Supply,
    Jurisdiction,
    Provider,
    Outcome,
    /// By when calls began
    Hour,
}

impl By {
    fn label(self) -> &'static str {
        match self {
            By::Key => "key",
            By::Capability => "capability",
            By::Supply => "supply",
            By::Jurisdiction => "jurisdiction",
            By::Provider => "provider",
            By::Outcome => "outcome",
            By::Hour => "hour",
        }
    }

    /// What the entry has of it, in a form that sorts; a unit separator can't be in it.
    fn write(self, record: &Record<'_>, to: &mut String) {
        let call = &record.entry.call;
        match self {
            By::Key => to.push_str(call.key),
            By::Capability => to.push_str(call.capability),
            By::Supply => to.push_str(supply(call.price, call.firm).unwrap_or_default()),
            By::Jurisdiction => {
                let code = call.jurisdiction.iter().flatten();
                to.extend(code.map(|letter| char::from(*letter)));
            }
            By::Provider => to.push_str(record.entry.provider().unwrap_or_default()),
            By::Outcome => to.push_str(call.outcome.label()),
            By::Hour => {
                let hour = call.began_us.div_euclid(HOUR_US);
                to.push_str(itoa::Buffer::new().format(hour));
            }
        }
    }

    fn show(self, written: &str) -> String {
        match self {
            By::Hour => {
                let hour: i64 = written.parse().unwrap_or_default();
                let text = time(hour.saturating_mul(HOUR_US));
                format!("{}Z", text.get(..19).unwrap_or(&text))
            }
            _ => written.to_owned(),
        }
    }
}

/// `srpd ledger sum`
#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    filter: Filter,
    /// What is told apart, separated by commas
    #[arg(long, value_name = "WHAT", value_enum, value_delimiter = ',')]
    by: Vec<By>,
    /// JSON lines in place of a table with tabs
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    calls: u64,
    served: u64,
    /// Served with a success, and nobody knows how many tokens.
    unknown: u64,
    input: u128,
    output: u128,
    cost: u128,
}

const SEPARATOR: char = '\u{1f}';

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let directory = arguments.source.directory()?;
    let mut sums: HashMap<String, Totals> = HashMap::new();
    let mut group = String::new();
    let report = book::read(&directory, &arguments.filter, |record| {
        group.clear();
        for by in &arguments.by {
            by.write(&record, &mut group);
            group.push(SEPARATOR);
        }
        // Money of two currencies is never one sum.
        group.extend(record.header.currency.map(char::from));
        match sums.get_mut(&group) {
            Some(totals) => totals.add(&record),
            None => sums.entry(group.clone()).or_default().add(&record),
        }
        Ok(true)
    })?;
    let mut sums: Vec<(String, Totals)> = sums.into_iter().collect();
    sums.sort_by(|a, b| a.0.cmp(&b.0));
    if !arguments.json {
        let heads = arguments.by.iter().map(|by| by.label());
        let heads: Vec<&str> = heads.chain(COLUMNS).collect();
        writeln!(out, "{}", heads.join("\t"))?;
    }
    for (group, totals) in &sums {
        show(arguments, group, totals, out)?;
    }
    finish(report)
}

const COLUMNS: [&str; 7] = [
    "calls",
    "served",
    "unknown",
    "input_tokens",
    "output_tokens",
    "cost",
    "currency",
];

fn show(
    arguments: &Arguments,
    group: &str,
    totals: &Totals,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let parts: Vec<&str> = group.split(SEPARATOR).collect();
    let currency = parts.last().and_then(|code| letters(code.as_bytes()));
    let shown = arguments.by.iter().zip(&parts);
    let shown = shown.map(|(by, written)| (by.label(), by.show(written)));
    let figures = [
        totals.calls.to_string(),
        totals.served.to_string(),
        totals.unknown.to_string(),
        totals.input.to_string(),
        totals.output.to_string(),
        Amount(totals.cost).to_string(),
        currency.unwrap_or_default(),
    ];
    let cells = shown.chain(COLUMNS.into_iter().zip(figures));
    if arguments.json {
        // Numbers as texts: what reads JSON's as binary fractions would round them.
        let cells = cells.map(|(name, cell)| (name.to_owned(), Value::String(cell)));
        let object: Map<String, Value> = cells.collect();
        writeln!(out, "{}", Value::Object(object))?;
    } else {
        let cells: Vec<String> = cells.map(|(_, cell)| cell).collect();
        writeln!(out, "{}", cells.join("\t"))?;
    }
    Ok(())
}

impl Totals {
    fn add(&mut self, record: &Record<'_>) {
        let entry = &record.entry;
        self.calls += 1;
        if !entry.call.served {
            return;
        }
        self.served += 1;
        let Some((input, output)) = entry.call.tokens else {
            // A provider's refusal has none.
            self.unknown += u64::from((200..300).contains(&entry.call.status));
            return;
        };
        self.input += u128::from(input);
        self.output += u128::from(output);
        self.cost = self.cost.saturating_add(entry.cost().unwrap_or_default());
    }
}
