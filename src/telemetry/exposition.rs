//! The Prometheus text format, version 0.0.4.

use std::fmt::Write;

/// The `Content-Type` of what [`Exposition::finish`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets, a sum and a count.
    Histogram,
}

/// A label's name and its value.
pub type Label<'a> = (&'a str, &'a str);

/// A page of metrics in the making. A family is opened once, and its samples follow it.
#[derive(Debug, Default)]
pub struct Exposition {
    out: String,
    family: &'static str,
}

impl Exposition {
    /// An empty page.
    pub fn new() -> Exposition {
        Exposition::default()
    }

    /// Opens a family.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.family = name;
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// A sample of the open family.
    pub fn sample(&mut self, labels: &[Label<'_>], value: u64) {
        self.named("", labels, format_args!("{value}"));
    }

    /// A sample of the open family that is not a whole number.
    pub fn sample_float(&mut self, labels: &[Label<'_>], value: f64) {
        self.named("", labels, format_args!("{value}"));
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: u64) {
        self.family(name, kind, help);
        self.sample(&[], value);
    }

    /// A histogram of the open family: for each bound (its text) how many lie at or below it,
    /// then all of them, and their sum.
    pub fn histogram(
        &mut self,
        labels: &[Label<'_>],
        buckets: &[(&str, u64)],
        count: u64,
        sum: f64,
    ) {
        let mut with_bound = labels.to_vec();
        for (bound, below) in buckets.iter().copied().chain([("+Inf", count)]) {
            with_bound.truncate(labels.len());
            with_bound.push(("le", bound));
            self.named("_bucket", &with_bound, format_args!("{below}"));
        }
        self.named("_sum", labels, format_args!("{sum}"));
        self.named("_count", labels, format_args!("{count}"));
    }

    /// The page.
    pub fn finish(self) -> String {
        self.out
    }

    fn named(&mut self, suffix: &str, labels: &[Label<'_>], value: std::fmt::Arguments<'_>) {
        self.out.push_str(self.family);
        self.out.push_str(suffix);
        for (position, (name, value)) in labels.iter().enumerate() {
            self.out.push(if position == 0 { '{' } else { ',' });
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(value, &mut self.out);
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        self.line(format_args!(" {value}"));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String can't fail.
        let _ = writeln!(self.out, "{text}");
    }
}

fn escape(value: &str, out: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    type Labels = BTreeMap<String, String>;

    /// A page read back as a scraper would.
    #[derive(Debug, Default)]
    pub struct Page {
        kinds: BTreeMap<String, String>,
        samples: BTreeMap<(String, Labels), f64>,
    }

    impl Page {
        /// Reads a page, and insists on what the format asks for: samples follow their TYPE, no
        /// family twice, no sample twice, names and numbers well formed.
        pub fn parse(text: &str) -> Page {
            let mut page = Page::default();
            let mut open = String::new();
            let mut helped = BTreeSet::new();
            assert!(text.ends_with('\n'));
            for line in text.lines() {
                if let Some(help) = line.strip_prefix("# HELP ") {
                    let name = help.split(' ').next().expect("a name");
                    assert!(helped.insert(name.to_owned()), "{name} twice");
                } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                    let (name, kind) = kind.split_once(' ').expect("a kind");
                    open = name.to_owned();
                    assert!(page.kinds.insert(open.clone(), kind.to_owned()).is_none());
                } else {
                    let (name, labels, value) = sample(line);
                    let histogram = page.kinds[&open] == "histogram";
                    let suffix = name
                        .strip_prefix(&open)
                        .expect("belongs to the open family");
                    let suffixes: &[&str] = match histogram {
                        true => &["_bucket", "_sum", "_count"],
                        false => &[""],
                    };
                    assert!(suffixes.contains(&suffix), "{line}");
                    let twice = page.samples.insert((name, labels), value);
                    assert!(twice.is_none(), "{line} twice");
                }
            }
            page
        }

        /// The value of a sample.
        pub fn get(&self, name: &str, labels: &[Label<'_>]) -> Option<f64> {
            let labels = labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            self.samples.get(&(name.to_owned(), labels)).copied()
        }

        /// The sum over a family's samples.
        pub fn sum(&self, name: &str) -> f64 {
            let named = |((sample, _), value): (&(String, Labels), &f64)| {
                (sample == name).then_some(*value)
            };
            self.samples.iter().filter_map(named).sum()
        }
    }

    fn sample(line: &str) -> (String, Labels, f64) {
        let name_ends = line.find(['{', ' ']).expect("a value");
        let (name, rest) = line.split_at(name_ends);
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
        assert!(name.chars().all(valid), "{line}");
        let mut labels = Labels::new();
        let mut rest = rest;
        while let Some(label) = rest.strip_prefix(['{', ',']) {
            let (key, quoted) = label.split_once("=\"").expect("a quoted value");
            let mut value = String::new();
            let mut characters = quoted.char_indices();
            let ends = loop {
                match characters.next().expect("a closing quote") {
                    (at, '"') => break at + 1,
                    (_, '\\') => match characters.next().expect("an escaped character").1 {
                        'n' => value.push('\n'),
                        other => value.push(other),
                    },
                    (_, other) => value.push(other),
                }
            };
            assert!(labels.insert(key.to_owned(), value).is_none(), "{line}");
            rest = &quoted[ends..];
        }
        let value = rest.strip_prefix('}').unwrap_or(rest);
        let value = value.strip_prefix(' ').expect("a space").parse();
        (name.to_owned(), labels, value.expect("a number"))
    }

    #[test]
    fn what_is_written_can_be_read_back() {
        let mut page = Exposition::new();
        page.family("srpd_calls_total", Kind::Counter, "Calls.");
        page.sample(&[("capability", "sm\"a\\r\nt"), ("status", "200")], 7);
        page.sample(
            &[("capability", "fast"), ("status", "200")],
            u64::from(u32::MAX),
        );
        page.single("srpd_up", Kind::Gauge, "Up.", 1);
        page.family("srpd_call_seconds", Kind::Histogram, "Times.");
        let labels = [("capability", "smart")];
        page.histogram(&labels, &[("0.1", 2), ("1", 5)], 6, 4.5);
        let page = Page::parse(&page.finish());
        let odd = [("capability", "sm\"a\\r\nt"), ("status", "200")];
        assert_eq!(page.get("srpd_calls_total", &odd), Some(7.0));
        assert_eq!(page.get("srpd_up", &[]), Some(1.0));
        let below = |bound| {
            page.get(
                "srpd_call_seconds_bucket",
                &[("capability", "smart"), ("le", bound)],
            )
        };
        assert_eq!(
            [below("0.1"), below("1"), below("+Inf")],
            [2.0, 5.0, 6.0].map(Some)
        );
        assert_eq!(page.get("srpd_call_seconds_sum", &labels), Some(4.5));
        assert_eq!(page.get("srpd_call_seconds_count", &labels), Some(6.0));
        assert_eq!(page.sum("srpd_calls_total"), 7.0 + f64::from(u32::MAX));
    }
}
