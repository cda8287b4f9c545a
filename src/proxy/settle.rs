//! Closing the books, exactly once. A [`Settlement`] is made with a call and consumed with it;
//! an [`Attempt`] is made with a candidate and consumed by its verdict. Neither can be copied,
//! and one that is dropped on the way, by a panic or because the client left, settles itself.

use std::cell::Cell;

use super::admission::Admission;
use super::conclude::Tried;
use super::core::{Core, HttpDate};
use super::leases::{Allowance, Exhausted};
use super::targets::Permit;
use super::verdict::Verdict;
use crate::base::{Moment, ProviderId};
use crate::ledger::entry::RESIDENCY_BYTES_MAX;
use crate::ledger::frame::Kind;
use crate::ledger::{EntryId, Kept};
use crate::market::Supply;
use crate::openai::{ErrorCode, Usage};
use crate::policy::chain::Candidate;
use crate::policy::residency::{Jurisdiction, Residency};
use crate::tables::routes::{Endpoint, Provider};
use crate::tables::{MeterId, Routes};
use crate::telemetry::otlp::Trace;
use crate::telemetry::{AccessRecord, InlineText, Outcome};

mod entry;
mod observed;
mod tries;

use entry::Entered;
use tries::{Tries, Try};

/// A client left before it was sent a status (nginx's number for it).
const CLIENT_GONE: u16 = 499;

/// The books of one call.
#[must_use = "a call is settled exactly once"]
pub struct Settlement<'c> {
    core: &'c Core,
    record: AccessRecord,
    started: Moment,
    /// The provider of the attempt before this one, for counting failovers.
    previous: Option<ProviderId>,
    /// Where the key's limits are, if it has one.
    meter: Option<MeterId>,
    /// What the ledger calls it, if there is one.
    id: Option<EntryId>,
    /// The ledger is sure to have room for it.
    admitted: bool,
    /// What its entry says, once it has one.
    entered: Option<Entered>,
    tries: Tries,
    /// The effective residency as a field value, if the access log's is cut.
    residency: InlineText<RESIDENCY_BYTES_MAX>,
    /// What is asked for, as OpenTelemetry calls it, once that is known.
    operation: Option<&'static str>,
    /// If the call is recorded as spans.
    trace: Option<Trace>,
    settled: bool,
    access_log: bool,
}

impl<'c> Settlement<'c> {
    /// Opens the books of a call that begins now.
    pub fn open(core: &'c Core, request_id: InlineText<128>, access_log: bool) -> Settlement<'c> {
        let started = core.now();
        core.metrics.call_started();
        core.calls.set(core.calls.get() + 1);
        let id = core.ledger.as_ref().map(|it| it.borrow_mut().begin());
        let record = AccessRecord {
            at: started,
            request_id,
            residency: InlineText::EMPTY,
            capability: None,
            key: None,
            provider: None,
            jurisdiction: None,
            status: CLIENT_GONE,
            code: None,
            attempts: 0,
            ttft_us: None,
            total_us: 0,
            waited_us: 0,
            bytes_in: 0,
            bytes_out: 0,
            input_tokens: None,
            output_tokens: None,
            firm: false,
            price: None,
            stream: false,
            outcome: Outcome::ClientGone,
        };
        Settlement {
            core,
            record,
            started,
            previous: None,
            meter: None,
            id,
            admitted: false,
            entered: None,
            tries: Tries::default(),
            residency: InlineText::EMPTY,
            operation: None,
            trace: None,
            settled: false,
            access_log,
        }
    }

    /// What is known so far.
    pub fn record(&self) -> &AccessRecord {
        &self.record
    }

    /// What is known so far, to be added to.
    pub fn record_mut(&mut self) -> &mut AccessRecord {
        &mut self.record
    }

    /// When the call began.
    pub fn started(&self) -> Moment {
        self.started
    }

    /// Since when its time counts: what it has waited for a slot is its client's own.
    pub fn counts_from(&self) -> Moment {
        Moment(self.started.0 + self.record.waited_us)
    }

    /// The call has waited for a slot, so much longer.
    pub fn has_waited(&mut self, us: u64) {
        self.record.waited_us += us;
    }

    /// Writes `x-sovereign-receipt`: what its entry in the ledger is called, if there is a ledger.
    pub fn receipt(&self, out: &mut Vec<u8>) {
        if let Some(ledger) = &self.core.ledger
            && let (Some(id), Ok(ledger)) = (self.id, ledger.try_borrow())
        {
            ledger.receipt(id, out);
        }
    }

    /// Milliseconds since then, for `openai-processing-ms`.
    pub fn took_ms(&self) -> u64 {
        self.core.recently().micros_since(self.started) / 1000
    }

    /// The day and time, for `date`.
    pub fn date(&self) -> HttpDate {
        self.core.date()
    }

    /// Lets the call in, and counts it, if its key's limits have room for it.
    ///
    /// # Errors
    /// The limit that has none.
    pub fn admit(&mut self, meter: MeterId) -> Result<(), Exhausted> {
        self.meter = Some(meter);
        self.core.admit(meter)
    }

    /// How the key's limits stand, if it has one.
    pub fn allowance(&self) -> Option<Allowance> {
        self.core.allowance(self.meter?)
    }

    /// Notes where the call may go.
    pub fn within(&mut self, residency: &Residency) {
        let mut text = self.core.scratch.borrow_mut();
        text.clear();
        residency.write_field_value(&mut text);
        self.record.residency = InlineText::new(&text);
        if text.len() > self.record.residency.as_bytes().len() {
            self.residency = InlineText::new(&text);
        }
    }

    /// Notes an error of our own.
    pub fn rejected(&mut self, code: ErrorCode, body_bytes: usize) {
        self.core.metrics.rejected(code.index());
        self.record.code = u8::try_from(code.index()).ok();
        self.record.status = code.status();
        self.record.bytes_out = body_bytes as u64;
    }

    /// Notes who serves the call, with which status, at the commit point.
    pub fn committed(&mut self, attempt: &Attempt<'_>, status: u16, now: Moment) {
        self.record.provider = Some(attempt.provider.id);
        let code = attempt.jurisdiction.code().as_bytes();
        self.record.jurisdiction = code.first_chunk::<2>().copied();
        self.record.status = status;
        self.record.ttft_us = Some(now.micros_since(self.started));
        if (200..300).contains(&status) {
            attempt.permit.served(now);
        }
    }

    /// Notes the tokens that the provider counted, or that it didn't.
    pub fn used(&mut self, provider: &Provider, usage: Option<Usage>) {
        match usage {
            Some(Usage { input, output }) => {
                self.core.metrics.tokens(provider.id, input, output);
                if let Some(meter) = self.meter {
                    self.core.charge(meter, input.saturating_add(output));
                }
                self.record.input_tokens = Some(input);
                self.record.output_tokens = Some(output);
            }
            None => self.core.metrics.usage_missing(provider.id),
        }
    }

    /// Closes the books.
    pub fn settle(mut self, outcome: Outcome) {
        self.close(outcome);
    }

    fn close(&mut self, outcome: Outcome) {
        self.settled = true;
        let now = self.core.now();
        self.record.at = now;
        self.record.outcome = outcome;
        self.record.total_us = now.micros_since(self.started);
        match &self.entered {
            None => self.write(Kind::Entry),
            Some(entered) if *entered != self.entered_now() => self.write(Kind::Amendment),
            Some(_) => {}
        }
        self.core.calls.set(self.core.calls.get() - 1);
        self.core
            .metrics
            .call_finished(self.record.capability, self.record.status);
        self.core.record_times(&self.record);
        if self.access_log {
            self.core.log(self.record);
        }
        if let Some(tracing) = &self.core.tracing {
            self.observe(tracing);
        }
    }
}

impl Drop for Settlement<'_> {
    fn drop(&mut self) {
        if !self.settled {
            if std::thread::panicking() {
                self.record.status = 500;
                self.close(Outcome::Cut);
            } else {
                self.close(Outcome::ClientGone);
            }
        }
    }
}

/// One attempt under way. To open one takes a candidate, which only the residency filter makes
/// and which is used up by it, a permit, which only breakers and gates give, an admission, which
/// only the market gives, and the call's settlement. The provider is the candidate's: there is no other way to name one.
///
/// ```
/// use srpd::policy::chain::Candidate;
/// use srpd::proxy::{Core, admission::Admission, settle::{Attempt, Settlement}, targets::Permit, verdict::Verdict};
/// use srpd::tables::Routes;
///
/// fn one<'c>(
///     core: &'c Core,
///     routes: &'c Routes,
///     it: Candidate,
///     permit: Permit,
///     market: &Admission<'c>,
///     of: &mut Settlement<'c>,
/// ) {
///     let attempt = Attempt::open(core, routes, it, permit, market, of);
///     attempt.map(|attempt| attempt.end(Verdict::Succeeded, of));
/// }
/// ```
///
/// Without a candidate there is none, for whatever provider:
///
/// ```compile_fail,E0308
/// use srpd::policy::chain::Candidate;
/// use srpd::proxy::{Core, admission::Admission, settle::{Attempt, Settlement}, targets::Permit, verdict::Verdict};
/// use srpd::tables::Routes;
///
/// fn one<'c>(
///     core: &'c Core,
///     routes: &'c Routes,
///     permit: Permit,
///     market: &Admission<'c>,
///     of: &mut Settlement<'c>,
/// ) {
///     let attempt = Attempt::open(core, routes, routes.providers[0].clone(), permit, market, of);
///     attempt.map(|attempt| attempt.end(Verdict::Succeeded, of));
/// }
/// ```
///
/// A candidate is for one attempt:
///
/// ```compile_fail,E0382
/// use srpd::policy::chain::Candidate;
/// use srpd::proxy::{Core, admission::Admission, settle::{Attempt, Settlement}, targets::Permit, verdict::Verdict};
/// use srpd::tables::Routes;
///
/// fn one<'c>(
///     core: &'c Core,
///     routes: &'c Routes,
///     it: Candidate,
///     permit: [Permit; 2],
///     market: &Admission<'c>,
///     of: &mut Settlement<'c>,
/// ) {
///     for permit in permit {
///         Attempt::open(core, routes, it, permit, market, of).map(|attempt| attempt.end(Verdict::Succeeded, of));
///     }
/// }
/// ```
///
/// And an attempt ends once:
///
/// ```compile_fail,E0382
/// use srpd::policy::chain::Candidate;
/// use srpd::proxy::{Core, admission::Admission, settle::{Attempt, Settlement}, targets::Permit, verdict::Verdict};
/// use srpd::tables::Routes;
///
/// fn one<'c>(
///     core: &'c Core,
///     routes: &'c Routes,
///     it: Candidate,
///     permit: Permit,
///     market: &Admission<'c>,
///     of: &mut Settlement<'c>,
/// ) {
///     let attempt = Attempt::open(core, routes, it, permit, market, of);
///     attempt.map(|attempt| attempt.end(Verdict::Succeeded, of));
///     attempt.map(|attempt| attempt.end(Verdict::Succeeded, of));
/// }
/// ```
#[must_use = "an attempt ends with a verdict"]
pub struct Attempt<'c> {
    core: &'c Core,
    provider: &'c Provider,
    endpoint: &'c Endpoint,
    permit: Permit,
    /// What the provider answered with; 0 until it does.
    status: Cell<u16>,
    /// How many the call had before it.
    number: usize,
    /// None once it has ended.
    candidate: Option<Candidate>,
    link: usize,
    jurisdiction: Jurisdiction,
    firm: bool,
}

impl<'c> Attempt<'c> {
    /// Opens an attempt, and counts it. None if the tables don't know the candidate's provider,
    /// or the permit's endpoint, or the admission is for somebody else: a defect.
    pub fn open(
        core: &'c Core,
        routes: &'c Routes,
        candidate: Candidate,
        permit: Permit,
        admission: &Admission<'c>,
        settlement: &mut Settlement<'_>,
    ) -> Option<Attempt<'c>> {
        let provider = routes.providers.get(usize::from(candidate.provider()))?;
        if provider.id != admission.provider() {
            return None;
        }
        let endpoint = provider.endpoints.get(permit.endpoint)?;
        settlement.record.attempts = settlement.record.attempts.saturating_add(1);
        settlement.record.firm = admission.supply() == Supply::Firm;
        settlement.record.price = Some(admission.price().micros());
        core.metrics
            .attempt_started(provider.id, candidate.is_repeat());
        if let Some(previous) = settlement.previous.replace(provider.id)
            && previous != provider.id
        {
            core.metrics.failover(previous);
        }
        let number = settlement.tries.len();
        settlement.tries.push(Try {
            provider: Kept::new(&provider.name),
            endpoint: Kept::new(&endpoint.authority),
            ids: (provider.id, endpoint.id),
            jurisdiction: provider.jurisdiction,
            began: core.recently(),
            took_us: 0,
            status: 0,
            result: None,
        });
        Some(Attempt {
            core,
            provider,
            endpoint,
            permit,
            status: Cell::new(0),
            number,
            link: candidate.link(),
            jurisdiction: candidate.jurisdiction(),
            firm: admission.supply() == Supply::Firm,
            candidate: Some(candidate),
        })
    }

    /// Who is tried.
    pub fn provider(&self) -> &'c Provider {
        self.provider
    }

    /// Where.
    pub fn endpoint(&self) -> &'c Endpoint {
        self.endpoint
    }

    /// How many the call had before it.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Whether the connection must be a new one.
    pub fn fresh(&self) -> bool {
        self.permit.fresh
    }

    /// Position of the provider's link in the chain.
    pub fn link(&self) -> usize {
        self.link
    }

    /// What it is about.
    pub fn tried(&self) -> Tried<'c> {
        Tried {
            provider: self.provider,
            endpoint: self.endpoint.id,
            firm: self.firm,
        }
    }

    /// The provider has answered with this status.
    pub fn answered(&self, status: u16) {
        self.status.set(status);
    }

    /// Ends it, notes in the call's books how, and gives the candidate back: the provider may be
    /// asked once more for it.
    pub fn end(mut self, verdict: Verdict, of: &mut Settlement<'_>) -> Option<Candidate> {
        let now = self.conclude(verdict);
        of.tried(self.status.get(), verdict, now);
        self.candidate.take()
    }

    fn conclude(&self, verdict: Verdict) -> Moment {
        self.core
            .metrics
            .attempt(self.provider.id, self.endpoint.id, verdict.result());
        if verdict.is_our_fault() {
            self.core.metrics.credential_alarm(self.provider.id);
        }
        // A pause or an open interval is counted from now; a success can do with less.
        let now = match verdict {
            Verdict::Succeeded => self.core.recently(),
            _ => self.core.now(),
        };
        self.core.conclude(self.tried(), &self.permit, verdict, now);
        now
    }
}

/// A jurisdiction's code, as an entry has it.
fn letters(jurisdiction: Jurisdiction) -> [u8; 2] {
    let code = jurisdiction.code().as_bytes().first_chunk();
    code.copied().unwrap_or_default()
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.candidate.is_some() {
            self.conclude(Verdict::Cancelled);
        }
    }
}

#[cfg(test)]
mod tests;
