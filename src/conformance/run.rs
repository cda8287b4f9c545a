//! The run: one check after the other, and what is told meanwhile.

use std::time::Instant;

use jiff::Timestamp;

use super::ask::Ask;
use super::checks::{self, Item};
use super::plan::{Plan, Unreachable};
use super::probe::{Bench, Not, Probe};
use super::report::{Checked, Report, Verdict};

/// What is told while the suite runs.
pub enum Progress<'a> {
    /// A check begins: its number from 1, how many there are.
    Begins(usize, usize, &'a Item),
    /// It has ended.
    Ended(&'a Checked),
}

/// Runs all checks.
///
/// # Errors
/// There is nobody to be tested: nothing has been checked.
pub fn run(plan: &Plan, mut tell: impl FnMut(Progress<'_>)) -> Result<Report, Unreachable> {
    let address = plan.locate()?;
    let bench = Bench::new(plan, address);
    greet(&bench)?;
    let (started, begun) = (Timestamp::now(), Instant::now());
    let items: Vec<&Item> = checks::all()
        .filter(|item| plan.only.is_empty() || plan.only.iter().any(|name| item.is(name)))
        .collect();
    let mut checked = Vec::new();
    for (index, item) in items.iter().enumerate() {
        tell(Progress::Begins(index + 1, items.len(), item));
        let one = check(&bench, item);
        tell(Progress::Ended(&one));
        checked.push(one);
    }
    Ok(Report::new(plan, started, begun.elapsed(), checked))
}

/// Whether anybody who speaks HTTP is there, whatever they say: a wrong port isn't a server that
/// fails forty checks.
fn greet(bench: &Bench<'_>) -> Result<(), Unreachable> {
    let answer = Probe::new(bench).ask(&Ask::get("/models"));
    answer.map(drop).map_err(|trouble| Unreachable::Protocol {
        address: bench.address,
        why: trouble.to_string(),
    })
}

fn check(bench: &Bench<'_>, item: &Item) -> Checked {
    let probe = Probe::new(bench);
    let begun = Instant::now();
    let found = (item.check)(&probe);
    let took = begun.elapsed();
    let (verdict, detail) = match found {
        Ok(seen) => (Verdict::Pass, seen),
        Err(Not::Passed(why)) => (Verdict::Fail, why),
        Err(Not::Applicable(why)) => (Verdict::Skipped, why),
    };
    Checked::new(item, verdict, detail, probe.into_evidence(), took)
}
