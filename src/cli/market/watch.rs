//! `srpd market` alone: each location's market, live.

mod draw;
#[cfg(test)]
mod tests;

use std::io::Write;

use ratatui::buffer::Buffer;
use ratatui::crossterm::event::KeyCode;
use ratatui::layout::Rect;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::Failure;
use crate::cli::view::pages::Market;
use crate::cli::view::{Look, Then, View, show};

pub(super) fn run(look: &Look, out: &mut dyn Write) -> Result<(), Failure> {
    show(State::default(), look, out)
}

/// All that is drawn.
#[derive(Default)]
struct State {
    market: Market,
    trouble: Option<String>,
    /// By name: locations come and go.
    chosen: Option<String>,
    help: bool,
}

impl View for State {
    fn pages(_: i64) -> Vec<String> {
        vec!["/srp/v1/market".to_owned()]
    }

    fn take_in(&mut self, pages: Vec<Value>) -> Result<(), serde_json::Error> {
        let [market] = <[Value; 1]>::try_from(pages).unwrap_or_default();
        self.market = Market::deserialize(market)?;
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
            KeyCode::Right | KeyCode::Down | KeyCode::Tab => self.step(1),
            KeyCode::Left | KeyCode::Up | KeyCode::BackTab => self.step(-1),
            _ => {}
        }
        Then::Stay
    }

    fn draw(&self, area: Rect, buffer: &mut Buffer) {
        draw::all(self, area, buffer);
    }
}

impl State {
    /// Which of the locations is shown.
    fn at(&self) -> usize {
        let mut locations = self.market.locations.iter();
        let chosen = self.chosen.as_deref();
        let at = locations.position(|it| Some(it.location.as_str()) == chosen);
        at.unwrap_or(0)
    }

    /// The next one, or the one before; behind the last comes the first.
    fn step(&mut self, by: isize) {
        let count = self.market.locations.len();
        if count > 0 {
            let at = (self.at() + count).saturating_add_signed(by) % count;
            self.chosen = Some(self.market.locations[at].location.clone());
        }
    }
}
