//! What an endpoint is doing: slots, a queue in front of them, one prompt being read at a time,
//! the prefix cache, and the figures that its metrics show.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64Mcg;

use super::cache::{BLOCK_TOKENS, Cache};
use super::options::Spec;
use crate::net::Seat;
use crate::random;

/// Upper bounds of the time to the first token, s, as vLLM's metric has them.
pub const TTFT_BOUNDS: [f64; 12] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.08, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Counts since the start.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Calls that were answered to the end.
    pub finished: u64,
    /// Calls whose client left.
    pub aborted: u64,
    /// Prompt tokens read.
    pub prompt_tokens: u64,
    /// Prompt tokens looked up in the cache.
    pub cache_queries: u64,
    /// Prompt tokens found there.
    pub cache_hits: u64,
    /// Tokens produced.
    pub output_tokens: u64,
    /// Times to the first token by bound; the last is for what is above all.
    pub ttft: [u64; TTFT_BOUNDS.len() + 1],
    /// Their sum, s.
    pub ttft_sum: f64,
}

/// An endpoint at work.
pub struct Engine {
    /// What it is like.
    pub spec: Spec,
    /// The monotonic time of the fleet's start.
    pub start: u64,
    /// For its metrics.
    pub counts: RefCell<Counts>,
    running: Cell<u32>,
    queue: RefCell<VecDeque<Rc<Seat<()>>>>,
    prefill_free: Cell<u64>,
    cache: RefCell<Option<Cache>>,
    in_use: Cell<usize>,
    random: RefCell<Pcg64Mcg>,
}

/// A slot. Dropped, it goes to whoever waits.
pub struct Slot {
    engine: Rc<Engine>,
    tokens: Cell<usize>,
}

impl Engine {
    /// Idle.
    pub fn new(spec: Spec, start: u64, seed: u64) -> Engine {
        Engine {
            start,
            counts: RefCell::default(),
            running: Cell::new(0),
            queue: RefCell::default(),
            prefill_free: Cell::new(0),
            cache: RefCell::new(spec.blocks.map(Cache::new)),
            in_use: Cell::new(0),
            random: RefCell::new(random::of(seed, spec.number as u64)),
            spec,
        }
    }

    /// Calls being worked on, and calls that wait.
    pub fn load(&self) -> (u32, usize) {
        (self.running.get(), self.queue.borrow().len())
    }

    /// The share of the cache that calls being worked on take up.
    pub fn cache_usage(&self) -> f64 {
        let room = self
            .spec
            .blocks
            .map_or(0, |blocks| blocks.get() * BLOCK_TOKENS);
        (self.in_use.get() as f64 / room.max(1) as f64).min(1.0)
    }

    /// A slot, if one is free; else a place in the queue, at which it will be given.
    pub fn ask(self: &Rc<Engine>) -> Result<Slot, Rc<Seat<()>>> {
        if self.running.get() < self.spec.slots {
            self.running.set(self.running.get() + 1);
            return Ok(self.slot());
        }
        let seat = Rc::new(Seat::new(None));
        self.queue.borrow_mut().push_back(Rc::clone(&seat));
        Err(seat)
    }

    /// The slot that was given at a place in the queue.
    pub fn slot(self: &Rc<Engine>) -> Slot {
        Slot {
            engine: Rc::clone(self),
            tokens: Cell::new(0),
        }
    }

    /// Gives up a place in the queue.
    pub fn leave(self: &Rc<Engine>, seat: &Rc<Seat<()>>) {
        self.queue
            .borrow_mut()
            .retain(|other| !Rc::ptr_eq(other, seat));
        // It may have been given a slot already, that nobody takes now.
        if seat.take().is_some() {
            drop(self.slot());
        }
    }

    /// When the prompt has been read, if that begins at `now`; prompts come one after the other.
    pub fn prefill(&self, prompt: &[u8], tokens: usize, now: u64) -> u64 {
        let mut cache = self.cache.borrow_mut();
        let hits = cache.as_mut().map(|cache| cache.look_up(prompt));
        let mut counts = self.counts.borrow_mut();
        counts.prompt_tokens += tokens as u64;
        if let Some(hits) = hits {
            counts.cache_queries += tokens as u64;
            counts.cache_hits += hits as u64;
        }
        // The last token is always computed.
        let missing = tokens.saturating_sub(hits.unwrap_or(0)).max(1);
        let begin = self.prefill_free.get().max(now);
        let end = begin + self.varied(self.spec.prefill * missing as f64, now);
        self.prefill_free.set(end);
        end
    }

    /// How long the next token takes, ns.
    pub fn decode(&self, now: u64) -> u64 {
        self.varied(self.spec.decode, now)
    }

    /// How many tokens an answer has.
    pub fn answer_tokens(&self, most: Option<u32>) -> u32 {
        let tokens = self.spec.output.sample(&mut self.random.borrow_mut());
        tokens.min(most.unwrap_or(u32::MAX)).max(1)
    }

    fn varied(&self, nanos: f64, now: u64) -> u64 {
        let slowness = self.spec.faults.slowness(now.saturating_sub(self.start));
        let jitter = match self.spec.jitter {
            0.0 => 1.0,
            jitter => {
                let drawn: f64 = StandardNormal.sample(&mut *self.random.borrow_mut());
                (drawn * jitter).exp()
            }
        };
        (nanos * slowness * jitter) as u64
    }

    /// The first token came so long after the call, ns.
    pub fn first_token(&self, nanos: u64) {
        let seconds = crate::clock::seconds(nanos);
        let mut counts = self.counts.borrow_mut();
        let bucket = TTFT_BOUNDS.iter().position(|bound| seconds <= *bound);
        counts.ttft[bucket.unwrap_or(TTFT_BOUNDS.len())] += 1;
        counts.ttft_sum += seconds;
    }
}

impl Slot {
    /// The call takes up so many more tokens of the cache.
    pub fn hold(&self, tokens: usize) {
        self.tokens.set(self.tokens.get() + tokens);
        self.engine.in_use.set(self.engine.in_use.get() + tokens);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let engine = &self.engine;
        engine.in_use.set(engine.in_use.get() - self.tokens.get());
        let next = engine.queue.borrow_mut().pop_front();
        match next {
            Some(seat) => seat.give(()),
            None => engine.running.set(engine.running.get() - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::Faults;
    use super::*;
    use crate::prompts::Lengths;
    use std::num::NonZeroUsize;

    fn engine(slots: u32, faults: &[&str]) -> Rc<Engine> {
        let faults: Vec<_> = faults.iter().map(|fault| fault.parse().unwrap()).collect();
        let spec = Spec {
            number: 1,
            slots,
            prefill: 1000.0,
            decode: 20_000.0,
            blocks: NonZeroUsize::new(100),
            jitter: 0.0,
            output: Lengths::Fixed(10),
            faults: Faults::of(1, &faults),
        };
        Rc::new(Engine::new(spec, 0, 1))
    }

    #[test]
    fn whoever_waits_longest_gets_the_slot() {
        let engine = engine(1, &[]);
        let slot = engine.ask().unwrap_or_else(|_| panic!("none free"));
        let first = engine.ask().err().unwrap();
        let second = engine.ask().err().unwrap();
        assert_eq!(engine.load(), (1, 2));
        drop(slot);
        assert_eq!((first.take(), second.take()), (Some(()), None));
        engine.leave(&second);
        assert_eq!(engine.load(), (1, 0));
        drop(engine.slot());
        assert_eq!(engine.load(), (0, 0));
    }

    #[test]
    fn a_slot_that_is_given_to_someone_who_left_is_not_lost() {
        let engine = engine(1, &[]);
        let slot = engine.ask().unwrap_or_else(|_| panic!("none free"));
        let gone = engine.ask().err().unwrap();
        drop(slot);
        engine.leave(&gone);
        assert_eq!(engine.load(), (0, 0));
    }

    #[test]
    fn prompts_are_read_one_after_the_other_and_what_is_known_is_not_read_again() {
        let engine = engine(4, &[]);
        let mut prompt = Vec::new();
        crate::prompts::append(&mut prompt, 1, 160);
        assert_eq!(engine.prefill(&prompt, 160, 0), 160_000);
        assert_eq!(engine.prefill(&prompt, 160, 50_000), 161_000);
        assert_eq!(engine.prefill(&prompt, 160, 900_000), 901_000);
        let counts = engine.counts.borrow();
        assert_eq!((counts.cache_queries, counts.cache_hits), (480, 320));
    }

    #[test]
    fn slowness_is_for_its_time() {
        let engine = engine(1, &["1@1s+1s:slow:4"]);
        assert_eq!(engine.decode(0), 20_000);
        assert_eq!(engine.decode(1_500_000_000), 80_000);
        assert_eq!(
            (engine.answer_tokens(None), engine.answer_tokens(Some(3))),
            (10, 3)
        );
    }

    #[test]
    fn calls_take_up_cache_while_they_run() {
        let engine = engine(2, &[]);
        let slot = engine.ask().unwrap_or_else(|_| panic!("none free"));
        slot.hold(800);
        assert_eq!(engine.cache_usage(), 0.5);
        drop(slot);
        assert_eq!(engine.cache_usage(), 0.0);
    }
}
