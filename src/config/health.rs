//! `provider.health`.

use std::time::Duration;

use super::model::Health;
use super::reader::Table;
use super::targets::is_path;

/// The shortest interval between two checks: the office looks at what is due that often.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Checks in a row that can be asked for.
const ROW_MAX: u32 = 1000;

const EXPECTED: &str = "a path such as \"/health\": at most 256 visible ASCII characters";

/// Reads a provider's `health`. None only after a complaint.
pub(super) fn read(table: Table<'_>) -> Option<Health> {
    let path = path(&table, "path", "/health");
    let metrics = path_or_none(&table);
    let interval = table.duration("interval", Duration::from_secs(5));
    if interval < INTERVAL_MIN
        && let Some(value) = table.get("interval")
    {
        value.fail(format!("expected at least \"100ms\", found {interval:?}"));
    }
    let health = Health {
        path: path?,
        metrics,
        interval,
        timeout: table.duration("timeout", Duration::from_secs(2)),
        healthy_after: table.whole("healthy_after", 2, 1..=ROW_MAX),
        unhealthy_after: table.whole("unhealthy_after", 3, 1..=ROW_MAX),
    };
    table.finish();
    Some(health)
}

fn path(table: &Table<'_>, key: &'static str, default: &str) -> Option<String> {
    let Some(value) = table.get(key) else {
        return Some(default.to_owned());
    };
    let text = value.text(EXPECTED)?.text;
    if is_path(text) {
        return Some(text.to_owned());
    }
    value.fail(format!("expected {EXPECTED}, found {text:?}"));
    None
}

/// `metrics`: a path, or `false`.
fn path_or_none(table: &Table<'_>) -> Option<String> {
    match table.get("metrics") {
        Some(value) if !value.is_text() => {
            if value.flag() == Some(true) {
                value.fail(format!("expected false, or {EXPECTED}"));
            }
            None
        }
        _ => path(table, "metrics", "/metrics"),
    }
}
