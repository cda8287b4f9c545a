//! `srpd top`: what a running instance does, live: calls, times, tokens, and each provider.

mod draw;
#[cfg(test)]
mod tests;

use std::io::Write;

use ratatui::buffer::Buffer;
use ratatui::crossterm::event::KeyCode;
use ratatui::layout::Rect;
use serde::Deserialize;
use serde_json::Value;

use super::Failure;
use super::view::pages::{Endpoint, History, Provider, ProviderHistory, Providers};
use super::view::{Look, Then, View, show};

/// Behind the help of `srpd top`.
pub(super) const MORE: &str = "\
Examples:
  srpd top
  srpd top --admin 127.0.0.1:9091 --once

Keys:
  up, down, enter        choose a provider, and look at its endpoints; escape goes back
  n i a f t p            sort by name, in flight, attempts, failures, tokens or price; r turns it round
  ?                      says all of this
  q, Ctrl-C              ends it

Exit status:
  0   ended by a key, or --once has printed
  1   the instance hasn't answered, or standard output is no terminal
  64  arguments that make no sense (EX_USAGE)";

/// How far back the small plots go: seconds.
const PLOTTED_SECONDS: i64 = 600;

/// Watch a running instance: calls, times, tokens, and how each provider is
///
/// Breakers and what is in flight are those of the last second; rates and percentiles are over five.
#[derive(clap::Args)]
pub(super) struct Top {
    #[command(flatten)]
    look: Look,
}

pub(super) fn run(arguments: &Top, out: &mut dyn Write) -> Result<(), Failure> {
    show(State::default(), &arguments.look, out)
}

/// What the list of providers is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    #[default]
    File,
    Name,
    InFlight,
    Attempts,
    Failures,
    Tokens,
    Price,
}

/// All that is drawn.
#[derive(Default)]
struct State {
    history: History,
    providers: Providers,
    trouble: Option<String>,
    order: Order,
    reversed: bool,
    /// By name: the list is in another order at the next look.
    chosen: Option<String>,
    /// The chosen one is looked into.
    inside: bool,
    help: bool,
}

/// A provider with its rates.
struct Row<'s> {
    provider: &'s Provider,
    attempts: f64,
    failures: f64,
    tokens: f64,
}

impl View for State {
    fn pages(now: i64) -> Vec<String> {
        let since = now - PLOTTED_SECONDS;
        vec![
            format!("/srp/v1/history?since={since}"),
            "/srp/v1/providers".to_owned(),
        ]
    }

    fn take_in(&mut self, pages: Vec<Value>) -> Result<(), serde_json::Error> {
        let [history, providers] = <[Value; 2]>::try_from(pages).unwrap_or_default();
        self.history = History::deserialize(history)?;
        self.providers = Providers::deserialize(providers)?;
        self.trouble = None;
        Ok(())
    }

    fn note_trouble(&mut self, trouble: String) {
        self.trouble = Some(trouble);
    }

    fn press(&mut self, key: KeyCode) -> Then {
        if std::mem::take(&mut self.help) {
            return Then::Stay;
        }
        match key {
            KeyCode::Char('q') => return Then::Leave,
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char(letter) => self.sort(letter),
            KeyCode::Down => self.step(1),
            KeyCode::Up => self.step(-1),
            KeyCode::Enter | KeyCode::Right => self.inside = self.chosen_row().is_some(),
            KeyCode::Esc | KeyCode::Left | KeyCode::Backspace => self.inside = false,
            _ => {}
        }
        Then::Stay
    }

    fn draw(&self, area: Rect, buffer: &mut Buffer) {
        draw::all(self, area, buffer);
    }
}

impl State {
    fn sort(&mut self, letter: char) {
        let order = match letter {
            'n' => Order::Name,
            'i' => Order::InFlight,
            'a' => Order::Attempts,
            'f' => Order::Failures,
            't' => Order::Tokens,
            'p' => Order::Price,
            _ => return,
        };
        // A second time turns it round.
        self.reversed = self.order == order && !self.reversed;
        self.order = order;
    }

    fn row<'s>(&self, provider: &'s Provider) -> Row<'s> {
        let mut histories = self.history.providers.iter();
        let history = histories.find(|it| it.name == provider.name);
        let rate = |column: fn(&ProviderHistory) -> &Vec<Option<u64>>| {
            history.map_or(0.0, |it| self.history.last_rate(column(it)))
        };
        Row {
            provider,
            attempts: rate(|it| &it.ended),
            failures: rate(|it| &it.failed),
            tokens: rate(|it| &it.output_tokens),
        }
    }

    /// The providers in their order; numbers begin with the largest.
    fn rows(&self) -> Vec<Row<'_>> {
        let providers = self.providers.providers.iter();
        let mut rows: Vec<Row<'_>> = providers.map(|it| self.row(it)).collect();
        let price = |row: &Row<'_>| row.provider.price.parse().unwrap_or(0.0);
        rows.sort_by(|a, b| match self.order {
            Order::File => std::cmp::Ordering::Equal,
            Order::Name => a.provider.name.cmp(&b.provider.name),
            Order::InFlight => b.provider.in_flight.cmp(&a.provider.in_flight),
            Order::Attempts => b.attempts.total_cmp(&a.attempts),
            Order::Failures => b.failures.total_cmp(&a.failures),
            Order::Tokens => b.tokens.total_cmp(&a.tokens),
            Order::Price => f64::total_cmp(&price(b), &price(a)),
        });
        if self.reversed {
            rows.reverse();
        }
        rows
    }

    /// Where the chosen provider is in the list.
    fn chosen_row(&self) -> Option<usize> {
        let rows = self.rows();
        let chosen = self.chosen.as_ref();
        let at = chosen.and_then(|name| rows.iter().position(|it| it.provider.name == *name));
        at.or((!rows.is_empty()).then_some(0))
    }

    fn step(&mut self, by: isize) {
        let Some(at) = self.chosen_row() else { return };
        let rows = self.rows();
        let next = at.saturating_add_signed(by).min(rows.len() - 1);
        let name = rows[next].provider.name.clone();
        self.chosen = Some(name);
    }
}

/// How a provider is, in a word, and whether that is trouble.
fn provider_state(provider: &Provider) -> (String, bool) {
    let usable = |endpoint: &&Endpoint| !endpoint_state(endpoint).1;
    let endpoints = provider.endpoints.len();
    let up = provider.endpoints.iter().filter(usable).count();
    match target_state(Some(&provider.breaker), provider.gated_ms) {
        ("up", _) if up < endpoints => (format!("{up} of {endpoints} up"), true),
        (state, trouble) => (state.to_owned(), trouble),
    }
}

/// The same of an endpoint.
fn endpoint_state(endpoint: &Endpoint) -> (String, bool) {
    if endpoint.draining {
        return ("draining".to_owned(), false);
    }
    if endpoint.addresses.is_empty() {
        return ("without an address".to_owned(), true);
    }
    let unready = endpoint.health.as_ref().filter(|health| !health.ready);
    if let Some(health) = unready {
        let trouble = health.trouble.as_deref().unwrap_or("not checked yet");
        return (format!("not ready: {trouble}"), true);
    }
    let (state, trouble) = target_state(endpoint.breaker.as_deref(), endpoint.gated_ms);
    (state.to_owned(), trouble)
}

fn target_state(breaker: Option<&str>, gated_ms: Option<u64>) -> (&'static str, bool) {
    match breaker {
        Some("open") => ("breaker open", true),
        Some("half_open") => ("half-open", true),
        _ if gated_ms.is_some() => ("paused", true),
        _ => ("up", false),
    }
}
