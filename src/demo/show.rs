//! What the demo prints while it runs: a line for each call, and a line for each thing that the
//! office decides.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::telemetry::AccessLine;

/// How lines look on a terminal; in a file they are plain.
#[derive(Clone, Copy)]
pub struct Style {
    /// Whether the reader understands ANSI colours (ECMA-48 SGR).
    pub colour: bool,
}

const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;
const FAINT: u8 = 2;

impl Style {
    fn paint(self, code: u8, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// One call: when, what it asked for, how it ended and where, after how many attempts, and
    /// how soon.
    pub fn call(self, line: &AccessLine<'_>) -> String {
        let time = self.paint(FAINT, clock(&line.time.to_text()));
        let capability = line.capability.unwrap_or("-");
        let (colour, end) = match (line.outcome, line.code) {
            ("completed", None) => (GREEN, String::new()),
            ("client_gone", _) => (YELLOW, "  the client left".into()),
            ("cut", _) => (RED, "  cut off in mid-answer".into()),
            _ => (RED, String::new()),
        };
        let status = self.paint(colour, &line.status.to_string());
        let whom = match (line.provider, &line.jurisdiction, line.code) {
            (Some(provider), Some(jurisdiction), _) => format!("{provider} ({jurisdiction})"),
            (_, _, Some(code)) => code.to_owned(),
            _ => "-".to_owned(),
        };
        let plural = if line.attempts == 1 { " " } else { "s" };
        let attempts = format!("{} attempt{plural}", line.attempts);
        let attempts = match line.attempts {
            0 | 1 => attempts,
            _ => self.paint(YELLOW, &attempts),
        };
        let ttft = line.ttft_ms.map_or_else(
            || " ".repeat("ttft  1234 ms".len()),
            |ttft| format!("ttft {ttft:>5.0} ms"),
        );
        let total = format!("total {:>6.0} ms", line.total_ms);
        let residency = match &*line.residency {
            "" | "any" => String::new(),
            narrowed => format!("  {narrowed}"),
        };
        let stream = if line.stream { "  stream" } else { "" };
        format!(
            "{time}  {capability:<10} {status}  {whom:<24} {attempts}  {ttft}  {total}\
             {stream}{residency}{end}"
        )
    }
}

/// `HH:MM:SS` of an RFC 3339 instant.
fn clock(time: &str) -> &str {
    time.get(11..19).unwrap_or(time)
}

/// Shows what the office says about providers, and whatever anyone warns of.
pub struct News {
    /// How.
    pub style: Style,
}

impl<S: Subscriber> Layer<S> for News {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut told = Told::default();
        event.record(&mut told);
        let level = *event.metadata().level();
        let about_providers = told.provider.is_some() && level <= Level::INFO;
        if !about_providers && level > Level::WARN {
            return;
        }
        let colour = if level <= Level::WARN { RED } else { GREEN };
        println!("          {}", self.style.paint(colour, &told.line()));
    }
}

/// An event's fields.
#[derive(Default)]
struct Told {
    message: String,
    provider: Option<String>,
    others: String,
}

impl Told {
    fn line(&self) -> String {
        let provider = self.provider.as_deref().unwrap_or_default();
        let colon = if provider.is_empty() { "" } else { ": " };
        format!("{}{colon}{provider}{}", self.message, self.others)
    }
}

impl Visit for Told {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "provider" => self.provider = Some(format!("{value:?}")),
            name => {
                // Writing to a string can't fail.
                let _ = write!(self.others, "  {name} {value:?}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::InlineText;

    fn line() -> AccessLine<'static> {
        AccessLine {
            time: InlineText::new(b"2026-11-22T10:20:30.456Z"),
            request_id: "r".into(),
            key: Some("demo"),
            capability: Some("smart"),
            provider: Some("vendor-de"),
            jurisdiction: Some(InlineText::new(b"de")),
            residency: "any".into(),
            status: 200,
            code: None,
            attempts: 2,
            ttft_ms: Some(212.4),
            total_ms: 1803.0,
            waited_ms: None,
            bytes_in: 1,
            bytes_out: 2,
            input_tokens: None,
            output_tokens: None,
            supply: "floating",
            price: None,
            stream: true,
            outcome: "completed",
        }
    }

    const PLAIN: Style = Style { colour: false };

    #[test]
    fn a_call_is_one_line() {
        assert_eq!(
            PLAIN.call(&line()),
            "10:20:30  smart      200  vendor-de (de)           2 attempts  ttft   212 ms  \
             total   1803 ms  stream"
        );
    }

    #[test]
    fn a_rejection_names_its_code_and_the_border() {
        let rejected = AccessLine {
            provider: None,
            jurisdiction: None,
            residency: "au-only".into(),
            status: 503,
            code: Some("residency_unavailable"),
            attempts: 0,
            ttft_ms: None,
            total_ms: 0.2,
            stream: false,
            outcome: "failed",
            ..line()
        };
        assert_eq!(
            PLAIN.call(&rejected),
            "10:20:30  smart      503  residency_unavailable    0 attempts                 \
             total      0 ms  au-only"
        );
    }

    #[test]
    fn an_answer_that_was_cut_says_so() {
        let cut = AccessLine {
            outcome: "cut",
            ..line()
        };
        assert!(PLAIN.call(&cut).ends_with("cut off in mid-answer"));
    }

    #[test]
    fn only_a_terminal_gets_colours() {
        assert!(!PLAIN.call(&line()).contains('\x1b'));
        assert!(Style { colour: true }.call(&line()).contains("\x1b[32m200"));
    }
}
