//! One thread: it makes calls when they are due, hands them to connections that are free, and
//! looks after those that are late.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::live::Glance;
use super::{Run, session};
use crate::clock;
use crate::measure::{Failure, Metric, Series, Tally};
use crate::net::Seat;
use crate::request::Template;
use crate::runtime::Timer;
use crate::scenario::{Scenario, Schedule};
use crate::wire::Seen;

/// How often deadlines are looked at.
const SWEEP: Duration = Duration::from_millis(20);
/// The longest that an arrival is waited for in one go, ns: a stop is noticed then.
const NAP: u64 = 50_000_000;
/// Calls that are due at once are made in such groups: in between, answers are read.
const BURST: usize = 64;

/// A call to be made.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Its number in the run.
    pub number: u64,
    /// When it should be sent, on the monotonic clock.
    pub intended: u64,
    /// Its class, by place.
    pub class: usize,
}

/// A target's connections on this thread.
#[derive(Default)]
pub struct Lane {
    /// Those that have nothing to do, the last used one last.
    idle: RefCell<Vec<Rc<Seat<Job>>>>,
    /// All of them.
    seats: RefCell<Vec<Rc<Seat<Job>>>>,
    /// Calls that wait for a connection.
    waiting: RefCell<VecDeque<Job>>,
    /// What requests look like, by class.
    pub templates: Vec<Template>,
}

/// What a thread brings back.
pub struct Part {
    /// Figures by target, then class.
    pub tallies: Vec<Vec<Tally>>,
    /// Figures over time, by target.
    pub series: Vec<Series>,
    /// When the last answer ended.
    pub last: u64,
    /// Calls that were in flight when the run was stopped.
    pub cut_short: u64,
}

/// A thread's state.
pub struct Worker {
    /// What all threads share.
    pub run: Arc<Run>,
    /// By target.
    pub lanes: Vec<Lane>,
    index: usize,
    threads: usize,
    /// Calls made by a closed loop so far.
    made: Cell<u64>,
    in_flight: Cell<u64>,
    sessions: Cell<usize>,
    /// No call is due any more.
    over: Cell<bool>,
    part: RefCell<Part>,
    /// For calls that don't count.
    unmeasured: RefCell<Tally>,
    glance: RefCell<Glance>,
}

/// Does this thread's share of the run.
pub async fn work(run: Arc<Run>, index: usize) -> io::Result<Part> {
    let worker = Rc::new(Worker::new(run, index));
    let making = monoio::spawn({
        let worker = Rc::clone(&worker);
        async move {
            let made = worker.make().await;
            worker.over.set(true);
            made
        }
    });
    worker.look_after().await;
    making.await?;
    Rc::try_unwrap(worker)
        .map(|worker| worker.part.into_inner())
        .map_err(|_| io::Error::other("a connection is left"))
}

impl Worker {
    fn new(run: Arc<Run>, index: usize) -> Worker {
        let scenario = &run.scenario;
        let lane = |target: &crate::scenario::Target| Lane {
            templates: scenario
                .classes
                .iter()
                .map(|class| Template::new(class, &target.authority, &target.base))
                .collect(),
            ..Lane::default()
        };
        let targets = &scenario.targets;
        let counted = scenario.total - scenario.warmup;
        let part = Part {
            tallies: targets
                .iter()
                .map(|_| vec![Tally::default(); scenario.classes.len()])
                .collect(),
            series: targets
                .iter()
                .map(|_| Series::new(scenario.interval, counted))
                .collect(),
            last: 0,
            cut_short: 0,
        };
        Worker {
            lanes: targets.iter().map(lane).collect(),
            threads: run.live.len(),
            index,
            made: Cell::new(0),
            in_flight: Cell::new(0),
            sessions: Cell::new(0),
            over: Cell::new(false),
            part: RefCell::new(part),
            unmeasured: RefCell::new(Tally::default()),
            glance: RefCell::new(Glance::default()),
            run,
        }
    }

    /// The run's scenario.
    pub fn scenario(&self) -> &Scenario {
        &self.run.scenario
    }

    /// Makes this thread's calls when they are due.
    async fn make(self: &Rc<Worker>) -> io::Result<()> {
        let mut timer = Timer::new()?;
        match &self.scenario().schedule {
            Schedule::Open(profile) => {
                let times = profile.arrivals(self.scenario().seed);
                self.make_at(times, &mut timer).await
            }
            Schedule::Trace(calls) => {
                self.make_at(calls.iter().map(|call| call.at), &mut timer)
                    .await
            }
            Schedule::Closed { concurrency, .. } => {
                self.make_in_turn(*concurrency as usize, &mut timer).await
            }
        }
    }

    /// An open loop: calls are due when they are, whatever became of earlier ones.
    async fn make_at(
        self: &Rc<Worker>,
        times: impl Iterator<Item = f64>,
        timer: &mut Timer,
    ) -> io::Result<()> {
        let mut at_once = 0;
        for (number, at) in times.enumerate().skip(self.index).step_by(self.threads) {
            let due = self.run.start + clock::nanos(at);
            let mut now = clock::now();
            if now < due {
                at_once = 0;
            } else {
                at_once += 1;
                if at_once % BURST == 0 {
                    timer.until(now + 1).await?;
                }
            }
            while now < due {
                timer.until(due.min(now + NAP)).await?;
                now = clock::now();
                if self.run.is_stopped() {
                    return Ok(());
                }
            }
            if self.run.is_stopped() {
                return Ok(());
            }
            self.dispatch(number as u64, due);
        }
        Ok(())
    }

    /// Gives a call to a connection: an idle one, a new one, or the next that is free.
    fn dispatch(self: &Rc<Worker>, number: u64, intended: u64) {
        let target = self.scenario().target_at(intended - self.run.start);
        let job = Job {
            number,
            intended,
            class: self.scenario().shape(number).class,
        };
        let lane = &self.lanes[target];
        self.in_flight.set(self.in_flight.get() + 1);
        let idle = lane.idle.borrow_mut().pop();
        if let Some(seat) = idle {
            seat.give(job);
        } else if lane.seats.borrow().len() < self.connections() {
            self.open(target, Some(job));
        } else {
            lane.waiting.borrow_mut().push_back(job);
        }
    }

    /// This thread's part of the connections to a target.
    fn connections(&self) -> usize {
        self.scenario().connections.div_ceil(self.threads)
    }

    fn open(self: &Rc<Worker>, target: usize, job: Option<Job>) {
        let seat = Rc::new(Seat::new(job));
        self.lanes[target].seats.borrow_mut().push(Rc::clone(&seat));
        self.sessions.set(self.sessions.get() + 1);
        monoio::spawn(session::run(Rc::clone(self), target, seat));
    }

    /// A closed loop: so many connections, each with a call at a time, as long as it is their
    /// target's turn.
    async fn make_in_turn(self: &Rc<Worker>, all: usize, timer: &mut Timer) -> io::Result<()> {
        let mine = all / self.threads + usize::from(self.index < all % self.threads);
        let scenario = self.scenario();
        let mut due = self.run.start;
        let end = self.run.start + scenario.total;
        loop {
            while clock::now() < due {
                timer.until(due.min(clock::now() + NAP)).await?;
                if self.run.is_stopped() {
                    return Ok(());
                }
            }
            if due >= end {
                return Ok(());
            }
            let since = due - self.run.start;
            let target = scenario.target_at(since);
            while self.lanes[target].seats.borrow().len() < mine {
                self.open(target, None);
                self.lanes[target]
                    .idle
                    .borrow_mut()
                    .extend(self.lanes[target].seats.borrow().last().cloned());
            }
            let idle = std::mem::take(&mut *self.lanes[target].idle.borrow_mut());
            for seat in idle {
                let job = self.numbered(clock::now());
                self.in_flight.set(self.in_flight.get() + 1);
                seat.give(job);
            }
            let into = since.saturating_sub(scenario.warmup) / scenario.slice;
            due = match scenario.targets.len() {
                1 => end,
                _ => end.min(self.run.start + scenario.warmup + (into + 1) * scenario.slice),
            };
        }
    }

    /// The next call of a closed loop.
    fn numbered(&self, intended: u64) -> Job {
        let made = self.made.get();
        self.made.set(made + 1);
        let number = made * self.threads as u64 + self.index as u64;
        Job {
            number,
            intended,
            class: self.scenario().shape(number).class,
        }
    }

    /// What a connection that has become free does next; if nothing, it counts as idle.
    pub fn next(&self, target: usize, seat: &Rc<Seat<Job>>) -> Option<Job> {
        let lane = &self.lanes[target];
        let now = clock::now();
        let since = now.saturating_sub(self.run.start);
        let job = match self.scenario().schedule {
            _ if self.run.is_stopped() => None,
            Schedule::Closed { nanos, .. } if since < nanos => {
                (self.scenario().target_at(since) == target).then(|| {
                    self.in_flight.set(self.in_flight.get() + 1);
                    self.numbered(now)
                })
            }
            Schedule::Closed { .. } => None,
            _ => lane.waiting.borrow_mut().pop_front(),
        };
        if job.is_none() {
            seat.set_deadline(u64::MAX);
            lane.idle.borrow_mut().push(Rc::clone(seat));
        }
        job
    }

    /// Whether a closed loop makes the calls: then one that failed has to wait a little.
    pub fn is_closed(&self) -> bool {
        matches!(self.scenario().schedule, Schedule::Closed { .. })
    }

    /// Lets `record` add to what the call belongs to: its tally, and its interval if it counts.
    pub fn with_tally<R>(
        &self,
        target: usize,
        job: &Job,
        record: impl FnOnce(&mut Tally, Option<&mut crate::measure::Interval>) -> R,
    ) -> R {
        let counted_from = self.run.start + self.scenario().warmup;
        match job.intended.checked_sub(counted_from) {
            None => record(&mut self.unmeasured.borrow_mut(), None),
            Some(since) => {
                let part = &mut *self.part.borrow_mut();
                let tally = &mut part.tallies[target][job.class];
                record(tally, Some(part.series[target].at(since)))
            }
        }
    }

    /// A call has ended.
    pub fn conclude(
        &self,
        target: usize,
        job: &Job,
        sent: u64,
        seen: &Seen,
        end: Result<(), Failure>,
    ) {
        self.in_flight.set(self.in_flight.get() - 1);
        if self.run.is_stopped() && end.is_err() {
            self.part.borrow_mut().cut_short += 1;
            return;
        }
        let now = clock::now();
        let goals = &self.scenario().goals;
        let first = match seen.first_token {
            0 => now,
            first => first,
        };
        {
            let mut glance = self.glance.borrow_mut();
            glance.calls += 1;
            glance.failed += u64::from(end.is_err());
            glance.tokens += seen.all_tokens();
            glance
                .times
                .saturating_record(first.saturating_sub(job.intended) / 1000);
        }
        self.with_tally(target, job, |tally, interval| {
            tally.record(Metric::Lag, sent.saturating_sub(job.intended));
            let succeeded = end.is_ok();
            match end {
                Ok(()) => tally.success(seen, job.intended, now, goals),
                Err(failure) => tally.failure(seen, failure),
            }
            let Some(interval) = interval else { return };
            interval.calls += 1;
            if succeeded {
                interval.succeeded += 1;
                interval.tokens += seen.all_tokens();
                interval.record(Metric::E2e, now.saturating_sub(job.intended));
                if seen.tokens > 0 {
                    interval.record(Metric::Ttft, first.saturating_sub(job.intended));
                }
            }
        });
        let mut part = self.part.borrow_mut();
        part.last = part.last.max(now);
    }

    /// A connection's task ends.
    pub fn leave(&self) {
        self.sessions.set(self.sessions.get() - 1);
    }

    /// Looks at deadlines and shows how it goes, until all is done.
    async fn look_after(&self) {
        loop {
            monoio::time::sleep(SWEEP).await;
            let stopped = self.run.is_stopped();
            let done = self.over.get() && (stopped || self.in_flight.get() == 0);
            let now = clock::now();
            for lane in &self.lanes {
                if stopped {
                    let dropped = lane.waiting.borrow_mut().drain(..).count() as u64;
                    self.in_flight.set(self.in_flight.get() - dropped);
                    self.part.borrow_mut().cut_short += dropped;
                }
                for seat in lane.seats.borrow().iter() {
                    match done || stopped {
                        true => seat.call(),
                        false => seat.call_if_late(now),
                    }
                }
            }
            let in_flight = self.in_flight.get();
            self.run.live[self.index].put(&mut self.glance.borrow_mut(), in_flight);
            if done && self.sessions.get() == 0 {
                return;
            }
        }
    }
}
