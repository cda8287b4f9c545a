//! The report as CSV: a row for each target, class, stretch of time and metric.

use super::Report;
use crate::scenario::STATISTICS;

/// The report. The whole run comes first, by class, then each interval.
///
/// # Errors
/// None that a string in memory gives.
pub fn render(report: &Report) -> Result<String, Box<dyn std::error::Error>> {
    let mut out = csv::Writer::from_writer(Vec::new());
    let mut header = vec![
        "url", "class", "from_s", "seconds", "calls", "failed", "metric",
    ];
    let units: Vec<String> = STATISTICS
        .iter()
        .map(|(name, _)| format!("{name}_ms"))
        .collect();
    header.extend(units.iter().map(String::as_str));
    out.write_record(&header)?;
    for target in &report.targets {
        let all = std::iter::once(("", &target.all));
        let classes = target
            .classes
            .iter()
            .map(|(name, class)| (name.as_str(), class));
        for (class, figures) in all.chain(classes) {
            for (metric, times) in &figures.times {
                let mut row = vec![
                    target.url.clone(),
                    class.to_owned(),
                    "0".to_owned(),
                    target.seconds.to_string(),
                    figures.calls.to_string(),
                    figures.failed.to_string(),
                    (*metric).to_owned(),
                ];
                row.extend(STATISTICS.map(|(name, _)| times.statistics[name].to_string()));
                out.write_record(&row)?;
            }
        }
        for point in &target.series {
            for (metric, statistics) in &point.times {
                let mut row = vec![
                    target.url.clone(),
                    String::new(),
                    point.from.to_string(),
                    point.seconds.to_string(),
                    point.calls.to_string(),
                    point.failed.to_string(),
                    (*metric).to_owned(),
                ];
                row.extend(STATISTICS.map(|(name, _)| statistics[name].to_string()));
                out.write_record(&row)?;
            }
        }
    }
    Ok(String::from_utf8(out.into_inner()?)?)
}
