//! A call's entry in the ledger: it is there before the client has the end of its answer, and it is
//! there once. What turns out otherwise after that amends it.

use super::super::verdict::Verdict;
use super::{Settlement, Try};
use crate::base::Moment;
use crate::ledger::frame::Kind;
use crate::ledger::{Attempt, Call, Text};
use crate::openai::ErrorCode;
use crate::tables::Routes;
use crate::telemetry::{AttemptResult, Outcome};

/// What can turn out otherwise than an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered {
    outcome: Outcome,
    status: u16,
    bytes_out: u64,
    tokens: Option<(u64, u64)>,
    last: Option<AttemptResult>,
}

impl Settlement<'_> {
    /// Whether the call is sure of its entry. One that isn't must not be made.
    pub fn will_be_recorded(&mut self, routes: &Routes) -> bool {
        self.admitted = self.core.can_record(routes);
        self.admitted
    }

    /// Writes the call's entry, if it has none yet: what follows is the last that its client gets.
    /// `verdict` is what its attempt counts as, if there is one under way.
    pub fn enter(&mut self, outcome: Outcome, verdict: Option<Verdict>, now: Moment) {
        if self.entered.is_some() || self.id.is_none() {
            return;
        }
        self.record.outcome = outcome;
        self.record.total_us = now.micros_since(self.started);
        if let (Some(verdict), Some(last)) = (verdict, self.tries.last_mut()) {
            last.status = self.record.status;
            last.result = Some(verdict.result());
            last.took_us = now.micros_since(last.began);
        }
        self.entered = Some(self.entered_now());
        self.write(Kind::Entry);
    }

    /// Notes how the attempt that was under way ended.
    pub(super) fn tried(&mut self, status: u16, verdict: Verdict, now: Moment) {
        if let Some(last) = self.tries.last_mut() {
            last.status = status;
            last.result = Some(verdict.result());
            last.took_us = now.micros_since(last.began);
        }
    }

    /// What an entry would say now.
    pub(super) fn entered_now(&self) -> Entered {
        Entered {
            outcome: self.record.outcome,
            status: self.record.status,
            bytes_out: self.record.bytes_out,
            tokens: self.record.input_tokens.zip(self.record.output_tokens),
            last: self.tries.last().and_then(|last| last.result),
        }
    }

    pub(super) fn write(&self, kind: Kind) {
        let (Some(id), Some(ledger)) = (self.id, &self.core.ledger) else {
            return;
        };
        // It is in use only if a panic has begun in it.
        let Ok(mut ledger) = ledger.try_borrow_mut() else {
            return;
        };
        self.core.with_called(|called, max_attempts| {
            let record = &self.record;
            let code = record
                .code
                .and_then(|it| ErrorCode::ALL.get(usize::from(it)));
            let residency = match self.residency.as_bytes() {
                [] => record.residency.as_bytes(),
                whole => whole,
            };
            let call = Call {
                number: id.call,
                began_us: self.core.unix_us(self.started),
                total_us: record.total_us,
                ttft_us: record.ttft_us,
                bytes_in: record.bytes_in,
                bytes_out: record.bytes_out,
                tokens: record.input_tokens.zip(record.output_tokens),
                price: record.price,
                firm: record.firm,
                stream: record.stream,
                served: record.provider.is_some(),
                jurisdiction: record.jurisdiction,
                status: record.status,
                outcome: record.outcome,
                code: code.map_or("", |code| code.label()).into(),
                request_id: Text::of(record.request_id.as_bytes()),
                residency: Text::of(residency),
                key: record.key.map_or("", |id| called.key(id)).into(),
                capability: record
                    .capability
                    .map_or("", |id| called.capability(id))
                    .into(),
            };
            if !self.admitted {
                return ledger.write_refused(kind, &call, self.core.calls.get(), max_attempts);
            }
            let attempts = self.tries.iter();
            let attempts = attempts.map(|tried| line(tried, self.started));
            ledger.write(kind, &call, attempts);
        });
    }
}

fn line(tried: &Try, started: Moment) -> Attempt<Text<'_>> {
    Attempt {
        result: tried.result,
        status: tried.status,
        after_us: tried.began.micros_since(started),
        took_us: tried.took_us,
        provider: tried.provider.text(),
        endpoint: tried.endpoint.text(),
        jurisdiction: Some(super::letters(tried.jurisdiction)),
    }
}
