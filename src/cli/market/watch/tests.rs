//! What is drawn of a market.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::draw::{bar, corners};
use super::*;
use crate::cli::view::pages::Slots;
use crate::cli::view::text;

fn state() -> State {
    let clearing = |minute: u32, price: &str| {
        let at = format!("2026-11-26T10:{minute:02}:00Z");
        json!({"at": at, "price": price, "sold": 5.0, "curtailed": 2})
    };
    let sydney = json!({
        "location": "au-syd", "price": "2.40", "curtailed": 1, "waiting": 4,
        "supply": [{"price": "0.90", "slots": 4.0}, {"price": "2.40", "slots": 4.0}],
        "demand": [
            {"limit": "20.00", "slots": 3.0}, {"limit": "3.00", "slots": 2.0},
            {"limit": "2.00", "slots": 2.0},
        ],
        "providers": [
            {"provider": "fleet-syd", "capacity": 8, "reserved": 4, "firm": 2, "floating": 6,
             "curtailed": 3},
            {"provider": "aloomu", "capacity": 12, "reserved": 6, "firm": 3, "floating": 6,
             "curtailed": 0},
        ],
        "history": [clearing(0, "0.90"), clearing(5, "2.40")],
    });
    let perth = json!({
        "location": "au-per", "price": "1.00", "curtailed": 0, "waiting": 0, "supply": [], "demand": [],
        "providers": [], "history": [],
    });
    let mut state = State::default();
    let page = json!({
        "at": "2026-11-26T10:10:00Z", "currency": "AUD", "price_cap": "20.00",
        "locations": [sydney, perth],
    });
    state.take_in(vec![page]).expect("taken in");
    state
}

fn shown(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    let draw = |frame: &mut ratatui::Frame<'_>| state.draw(frame.area(), frame.buffer_mut());
    terminal.draw(draw).expect("drawn");
    text(terminal.backend().buffer())
}

const WHOLE: &str = "\
srpd market at 10:10:00 UTC                                                           q quit  ? help
 au-syd 2.40   au-per 1.00
┌ Supply and demand: price by slots ─────────────┐┌ Price: now 2.40 AUD, the last 24 h ────────────┐
│3.90│⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⡇                  ┌──────┐││3.12│                                           │
│    │                ⡇                  │price │││    │                                           │
│    │                ⡇                  │demand│││    │                                           │
│    │                ⠓⠒⠒⠒⠒⠒⠒⠒⠒⠒⢲        │supply│││    │                     ⢰⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒│
│    │                          ⢸        └──────┘││    │                     ⢸                     │
│    │•••••••••••••••••••••⢰⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒││    │                     ⢸                     │
│    │                     ⢸    ⢸⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⡀     ││    │                     ⢸                     │
│1.95│                     ⢸               ⡇     ││1.56│                     ⢸                     │
│    │                     ⢸               ⡇     ││    │                     ⢸                     │
│    │                     ⢸               ⡇     ││    │⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣸                     │
│    │⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠼               ⡇     ││    │                                           │
│    │                                     ⡇     ││    │                                           │
│    │                                     ⡇     ││    │                                           │
│0.00│                                     ⡇     ││0.00│                                           │
│    └───────────────────────────────────────────││    └───────────────────────────────────────────│
│    0                     4                    8││10:00                   10:05              10:10│
└────────────────────────────────────────────────┘└────────────────────────────────────────────────┘
provider               slots                    █ firm ▓ floating ░ idle capacity reserved curtailed
fleet-syd              ██████▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓      2          6      0        8        4         3
aloomu                 ██████▓▓▓▓▓▓▓▓▓▓▓▓░░░░░░      3          6      3       12        6         0
waiting: 4; in the last interval 5 slots were sold, 2 calls curtailed; 1 curtailed since
";

#[test]
fn a_location_is_drawn() {
    assert_eq!(shown(&state(), 100, 24), WHOLE);
}

#[test]
fn eighty_columns_are_enough() {
    let shown = shown(&state(), 80, 24);
    assert!(
        shown.contains("\nfleet-syd ") && shown.contains("█ firm"),
        "{shown}"
    );
}

#[test]
fn a_curve_is_made_of_steps() {
    let steps = [(0.9, 4.0), (2.4, 2.0)].into_iter();
    let expected = [(0.0, 0.9), (4.0, 0.9), (4.0, 2.4), (6.0, 2.4)];
    assert_eq!(corners(steps), expected);
    assert_eq!(corners(std::iter::empty()), []);
}

#[test]
fn a_bar_shows_everybody_who_has_a_slot_and_is_never_too_long() {
    let of = |capacity, firm, floating| {
        let slots = Slots {
            capacity,
            firm,
            floating,
            ..Slots::default()
        };
        bar(&slots, 24)
    };
    assert_eq!(of(24, 6, 10), [6, 10, 8]);
    assert_eq!(of(8, 0, 0), [0, 0, 24]);
    assert_eq!(of(1000, 1, 1), [1, 1, 22]);
    // A firm call doesn't wait for the floating one that it displaces.
    assert_eq!(of(2, 1, 2), [8, 16, 0]);
    assert_eq!(of(1000, 1000, 1), [23, 1, 0]);
    assert_eq!(of(0, 0, 0), [0, 0, 24]);
    assert_eq!(of(2_097_151, 2_097_151, 0), [24, 0, 0]);
}

#[test]
fn keys_choose_a_location_and_the_last_is_before_the_first() {
    let mut state = state();
    let mut press = |key| {
        assert_eq!(state.press(key), Then::Stay);
        state.at()
    };
    assert_eq!(press(KeyCode::Right), 1);
    assert_eq!(press(KeyCode::Right), 0);
    assert_eq!(press(KeyCode::Left), 1);
    assert_eq!(state.press(KeyCode::Char('q')), Then::Leave);
    assert!(shown(&state, 80, 24).contains("1.00 AUD"));
}

#[test]
fn what_is_missing_is_said() {
    let mut state = State::default();
    assert!(shown(&state, 80, 24).contains("nothing is sold by the slot"));
    state.note_trouble("connection refused".to_owned());
    assert!(shown(&state, 80, 24).contains("connection refused"));
    assert!(state.take_in(vec![json!({"locations": 3})]).is_err());
}

#[test]
fn no_size_is_too_small() {
    let mut state = state();
    for (width, height) in [(1, 1), (9, 4), (30, 8), (60, 50), (300, 3)] {
        shown(&state, width, height);
        state.help = !state.help;
        state.step(1);
    }
}
