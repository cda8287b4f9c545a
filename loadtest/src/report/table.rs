//! The report as a table, for a terminal.

use std::fmt::Write;

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

use super::{Comparison, Figures, Objective, Report};
use crate::measure::Metric;
use crate::scenario::STATISTICS;

/// The report.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    for target in &report.targets {
        let _ = writeln!(out, "\n{}", target.url);
        figures(
            &mut out,
            &target.all,
            target.seconds,
            !report.goals.is_empty(),
        );
        if target.classes.len() > 1 {
            for (name, class) in &target.classes {
                let _ = writeln!(out, "\nclass {name}");
                figures(&mut out, class, target.seconds, !report.goals.is_empty());
            }
        }
    }
    for comparison in &report.comparisons {
        compare(&mut out, comparison);
    }
    objectives(&mut out, &report.objectives);
    if report.stopped {
        let cut = report.cut_short;
        let _ = writeln!(
            out,
            "\nstopped early; {cut} calls in flight were cut short and count nowhere"
        );
    }
    out
}

/// A time as people read it: three digits and a unit.
pub fn time(millis: f64) -> String {
    let (value, unit) = match millis {
        ms if ms < 1.0 => (ms * 1e3, "µs"),
        ms if ms < 1e3 => (ms, "ms"),
        ms => (ms / 1e3, "s"),
    };
    let digits = match value {
        value if value < 10.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// A line below the header, and no other.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_header(header.to_vec());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn figures(out: &mut String, figures: &Figures, seconds: f64, goals: bool) {
    let _ = writeln!(
        out,
        "{} calls in {seconds:.1} s, {} failed ({:.2}%); {:.1} calls/s, {:.0} tokens/s",
        figures.calls,
        figures.failed,
        figures.error_rate * 100.0,
        figures.calls_per_second,
        figures.tokens_per_second,
    );
    if goals {
        let _ = writeln!(
            out,
            "{:.2}% good, {:.1} good calls/s",
            figures.goodput * 100.0,
            figures.good_calls_per_second
        );
    }
    if figures.failovers + figures.stalls > 0 {
        let _ = writeln!(
            out,
            "{} calls took more than one attempt; {} stalls in {} calls",
            figures.failovers, figures.stalls, figures.stalled_calls
        );
    }
    if figures.foreign_stamps > 0 {
        let _ = writeln!(
            out,
            "{} stamps are of another system's clock: what was added per token can't be said",
            figures.foreign_stamps
        );
    }
    let header = [
        "", "", "count", "p50", "p90", "p95", "p99", "p99.9", "mean", "max",
    ];
    let mut rows = table(&header);
    if let Some(column) = rows.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Left);
    }
    for metric in Metric::ALL {
        let Some(times) = figures.times.get(metric.name()) else {
            continue;
        };
        let mut row = vec![
            metric.name().to_owned(),
            metric.title().to_owned(),
            times.count.to_string(),
        ];
        row.extend(STATISTICS.map(|(name, _)| time(times.statistics[name])));
        rows.add_row(row);
    }
    if !figures.times.is_empty() {
        let _ = writeln!(out, "{}", rows.trim_fmt());
    }
    if !figures.failures.is_empty() {
        let mut rows = table(&["failed with", "status", "calls"]);
        for failure in &figures.failures {
            let status = match failure.status {
                0 => "none".to_owned(),
                status => status.to_string(),
            };
            rows.add_row([failure.code.clone(), status, failure.calls.to_string()]);
        }
        let _ = writeln!(out, "{}", rows.trim_fmt());
    }
}

fn compare(out: &mut String, comparison: &Comparison) {
    let _ = writeln!(
        out,
        "\n{} compared with {}",
        comparison.url, comparison.base
    );
    let mut rows = table(&["", "ratio", "95% interval", "rounds", ""]);
    for (name, ratio) in &comparison.ratios {
        let interval = match (ratio.low, ratio.high) {
            (Some(low), Some(high)) => format!("{low:.3} to {high:.3}"),
            _ => "too few rounds".to_owned(),
        };
        let verdict = if ratio.is_significant() {
            "differs"
        } else {
            ""
        };
        rows.add_row([
            name.clone(),
            format!("{:.3}", ratio.ratio),
            interval,
            format!("{} of {}", ratio.rounds, comparison.rounds),
            verdict.to_owned(),
        ]);
    }
    let _ = writeln!(out, "{}", rows.trim_fmt());
}

fn objectives(out: &mut String, objectives: &[Objective]) {
    if objectives.is_empty() {
        return;
    }
    let mut rows = table(&["objective", "measured", "", "target"]);
    for objective in objectives {
        let measured = match objective.measured {
            None => "nothing".to_owned(),
            Some(value) if objective.is_time => time(value),
            Some(value) => format!("{:.3}%", value * 100.0),
        };
        let kept = if objective.kept { "kept" } else { "MISSED" };
        rows.add_row([&objective.objective, &measured, kept, &objective.url]);
    }
    let _ = writeln!(out, "\n{}", rows.trim_fmt());
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_have_three_digits() {
        assert_eq!(time(0.00123), "1.23 µs");
        assert_eq!(time(0.0454), "45.4 µs");
        assert_eq!(time(12.34), "12.3 ms");
        assert_eq!(time(512.0), "512 ms");
        assert_eq!(time(61_000.0), "61.0 s");
    }
}
