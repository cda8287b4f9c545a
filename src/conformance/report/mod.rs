//! What the suite found: for a machine (JSON), and for people (Markdown, a page).

mod html;
mod markdown;

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::checks::{Item, Severity};
use super::plan::Plan;
use super::probe::Exchange;
use crate::policy::accreditation::SRP_VERSION;

pub use html::render as html;
pub use markdown::render as markdown;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// What it demands holds.
    Pass,
    /// It doesn't.
    Fail,
    /// It doesn't apply, for a reason.
    Skipped,
}

impl Verdict {
    /// As it stands in reports.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Skipped => "skipped",
        }
    }
}

impl Severity {
    /// As it stands in reports.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Must => "must",
            Severity::Should => "should",
        }
    }
}

/// One check, with how it ended.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// Its name.
    pub id: &'static str,
    /// What must hold.
    pub title: &'static str,
    /// Where the demand comes from.
    pub requirement: &'static str,
    /// What a failure means.
    pub severity: Severity,
    /// How it ended.
    pub verdict: Verdict,
    /// What was seen, or why it failed or doesn't apply.
    pub detail: String,
    /// What was sent and received, shortened.
    pub evidence: Vec<Exchange>,
    /// How long it took.
    pub duration_ms: u64,
}

impl Checked {
    /// A check that has been made.
    pub fn new(
        item: &Item,
        verdict: Verdict,
        detail: String,
        evidence: Vec<Exchange>,
        took: Duration,
    ) -> Checked {
        Checked {
            id: item.id,
            title: item.title,
            requirement: item.requirement,
            severity: item.severity,
            verdict,
            detail,
            evidence,
            duration_ms: took.as_millis() as u64,
        }
    }

    /// Whether it speaks against an accreditation.
    pub fn is_fatal(&self) -> bool {
        self.verdict == Verdict::Fail && self.severity == Severity::Must
    }
}

/// How many ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Passed.
    pub passed: usize,
    /// Failed, of those that must hold.
    pub failed_must: usize,
    /// Failed, of those that should.
    pub failed_should: usize,
    /// Don't apply.
    pub skipped: usize,
}

/// The report of one run. Its JSON has these members, and `format` counts their versions.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// 1.
    pub format: u32,
    /// The version of SRP that is demanded.
    pub srp: &'static str,
    /// Who demands it.
    pub srpd: &'static str,
    /// Whose endpoint it is, as the accreditation will name it.
    pub provider: String,
    /// The endpoint.
    pub endpoint: String,
    /// The model that was asked for.
    pub model: String,
    /// Calls at a time that are claimed.
    pub capacity: usize,
    /// Bytes of a request that are claimed.
    pub body_bytes: usize,
    /// Tokens of a context that are claimed.
    pub context: Option<usize>,
    /// RFC 3339, whole seconds.
    pub started: String,
    /// How long the run took.
    pub duration_ms: u64,
    /// Whether all checks were made, and none that must hold failed.
    pub conforms: bool,
    /// The checks that were made, if not all.
    pub only: Vec<String>,
    /// How many ended how.
    pub summary: Summary,
    /// All of them, in the order in which they were made.
    pub checks: Vec<Checked>,
}

impl Report {
    /// Sums up.
    pub fn new(plan: &Plan, started: Timestamp, took: Duration, checks: Vec<Checked>) -> Report {
        let count = |wanted: fn(&&Checked) -> bool| checks.iter().filter(wanted).count();
        let failed_must = count(|check| check.is_fatal());
        let summary = Summary {
            passed: count(|check| check.verdict == Verdict::Pass),
            failed_must,
            failed_should: count(|check| check.verdict == Verdict::Fail) - failed_must,
            skipped: count(|check| check.verdict == Verdict::Skipped),
        };
        Report {
            format: 1,
            srp: SRP_VERSION,
            srpd: env!("CARGO_PKG_VERSION"),
            provider: plan.provider.clone(),
            endpoint: plan.endpoint.canonical(),
            model: plan.model.clone(),
            capacity: plan.capacity,
            body_bytes: plan.body_bytes,
            context: plan.context,
            started: started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            duration_ms: took.as_millis() as u64,
            conforms: failed_must == 0 && plan.only.is_empty(),
            only: plan.only.clone(),
            summary,
            checks,
        }
    }

    /// In a sentence.
    pub fn sentence(&self) -> String {
        let Summary {
            passed,
            failed_must,
            failed_should,
            skipped,
        } = self.summary;
        let word = match (self.conforms, failed_must) {
            (true, _) => "conforms to",
            (false, 0) => "was held in part against",
            (false, _) => "does not conform to",
        };
        format!(
            "{} {word} SRP {}: {passed} passed, {failed_must} of those that must hold failed, {failed_should} of those that should, {skipped} skipped",
            self.provider, self.srp
        )
    }

    /// What was tested, by name and value.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![
            ("provider", self.provider.clone()),
            ("endpoint", self.endpoint.clone()),
            ("model", self.model.clone()),
            ("date", self.started.clone()),
            ("SRP", self.srp.to_owned()),
            ("srpd", self.srpd.to_owned()),
            (
                "claimed capacity",
                format!("{} calls at a time", self.capacity),
            ),
            ("claimed body", format!("{} bytes", self.body_bytes)),
        ];
        if let Some(context) = self.context {
            facts.push(("claimed context", format!("{context} tokens")));
        }
        if !self.only.is_empty() {
            facts.push(("only these checks", self.only.join(", ")));
        }
        let seconds = self.duration_ms as f64 / 1e3;
        facts.push(("duration", format!("{seconds:.1} s")));
        facts
    }

    /// As a machine reads it.
    ///
    /// # Errors
    /// None that texts and numbers give.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::Secret;
    use crate::config::endpoint::parse_endpoint;
    use crate::conformance::checks;

    pub fn plan() -> Plan {
        Plan {
            provider: "aloomu".into(),
            endpoint: parse_endpoint("http://127.0.0.1:9101").unwrap(),
            tls: None,
            key: Some(Secret::new(b"sk-planted".to_vec())),
            model: "m<b>".into(),
            embedding_model: "m<b>".into(),
            capacity: 4,
            context: None,
            body_bytes: 1024,
            timeout: Duration::from_secs(1),
            stall: Duration::from_secs(1),
            only: Vec::new(),
        }
    }

    /// A report whose checks end by `verdict`, with a text in them that three formats could
    /// stumble over.
    pub fn report(verdict: impl Fn(&Item) -> Verdict) -> Report {
        report_on(&plan(), verdict)
    }

    fn report_on(plan: &Plan, verdict: impl Fn(&Item) -> Verdict) -> Report {
        let odd = "<script> | `x` & \"y\"\nsecond ``` line";
        let checks = checks::all().map(|item| {
            let evidence = vec![Exchange {
                sent: odd.to_owned(),
                received: odd.to_owned(),
            }];
            let took = Duration::from_millis(7);
            Checked::new(item, verdict(item), odd.to_owned(), evidence, took)
        });
        let started = "2026-11-26T01:02:03.9Z".parse().unwrap();
        Report::new(plan, started, Duration::from_secs(9), checks.collect())
    }

    #[test]
    fn a_must_that_fails_is_no_conformance_and_a_should_is() {
        let fails = |severity| {
            report(move |item| match item.severity == severity {
                true => Verdict::Fail,
                false => Verdict::Pass,
            })
        };
        let (must, should) = (fails(Severity::Must), fails(Severity::Should));
        assert!(!must.conforms && should.conforms);
        assert_eq!(must.summary.failed_must, should.summary.passed);
        assert!(must.sentence().contains("does not conform to SRP 1"));
        let skipped = report(|_| Verdict::Skipped);
        assert!(skipped.conforms);
        assert_eq!(skipped.summary.skipped, skipped.checks.len());
    }

    #[test]
    fn a_part_of_the_checks_is_no_conformance() {
        let mut plan = plan();
        plan.only = vec!["chat".into()];
        let report = report_on(&plan, |_| Verdict::Pass);
        assert!(!report.conforms);
        assert!(report.sentence().contains("was held in part against"));
    }

    #[test]
    fn the_json_has_the_subject_and_every_check() {
        let report = report(|_| Verdict::Pass);
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(json["provider"], "aloomu");
        assert_eq!(json["endpoint"], "http://127.0.0.1:9101");
        assert_eq!(json["started"], "2026-11-26T01:02:03Z");
        assert_eq!(json["srpd"], env!("CARGO_PKG_VERSION"));
        let checks = json["checks"].as_array().unwrap();
        assert_eq!(checks.len(), checks::all().count());
        assert_eq!(checks[0]["severity"], "must");
        assert_eq!(checks[0]["verdict"], "pass");
        assert_eq!(checks[0]["duration_ms"], 7);
    }
}
