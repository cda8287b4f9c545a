//! What is drawn of what was heard, and what keys do.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use serde_json::json;

use super::*;
use crate::cli::view::text;

fn state() -> State {
    let provider = |name: &str, at: u64| {
        let breaker = if name == "vendor-us" {
            "open"
        } else {
            "closed"
        };
        let health = match name {
            "fleet-per" => json!({"ready": false, "trouble": "503 \u{1b}[31m", "waiting": 4}),
            _ => json!(null),
        };
        let endpoint = json!({
            "url": format!("http://10.0.0.{at}:8000"), "addresses": ["10.0.0.1:8000"],
            "draining": false, "health": health, "in_flight": null, "breaker": "closed",
            "gated_ms": null, "successes": 12_345, "failures": 2,
        });
        let capacity = (name == "aloomu").then_some(8);
        json!({
            "name": name, "jurisdiction": "au", "backstop": name == "aloomu", "breaker": breaker,
            "gated_ms": null, "in_flight": at, "capacity": capacity, "price": "2.40",
            "failovers": at * 10, "endpoints": [endpoint],
        })
    };
    let history = |name: &str, ended: u64, failed: u64, tokens: u64| {
        json!({
            "name": name, "ended": [null, ended], "failed": [null, failed],
            "input_tokens": [null, 50], "output_tokens": [null, tokens],
        })
    };
    let times = json!({"p50": [null, 196.0], "p90": [null, 560.4], "p99": [null, 1350.0]});
    let mut state = State::default();
    let pages = vec![
        json!({
            "version": "1.2.3", "at": [100, 105], "lasted_ms": [5000, 5000],
            "calls": {"served": [100, 200], "refused": [0, 5], "failed": [0, 10], "left": [0, 0]},
            "errors": {"overloaded": [0, 2], "model_not_found": [4, 1], "invalid_json": [0, 0]},
            "in_flight": [3, 7], "connections": [24, 25], "ttft_ms": times, "call_ms": times,
            "providers": [
                history("aloomu", 50, 0, 5000), history("fleet-per", 100, 10, 60_000),
                history("vendor-us", 0, 0, 0),
            ],
        }),
        json!({
            "draining": false,
            "providers": [provider("aloomu", 1), provider("fleet-per", 3), provider("vendor-us", 2)],
        }),
    ];
    state.take_in(pages).expect("taken in");
    state
}

fn drawn(state: &State, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    let draw = |frame: &mut ratatui::Frame<'_>| state.draw(frame.area(), frame.buffer_mut());
    terminal.draw(draw).expect("drawn");
    terminal
}

fn shown(state: &State, width: u16, height: u16) -> String {
    text(drawn(state, width, height).backend().buffer())
}

fn press(state: &mut State, keys: &str) {
    for key in keys.chars() {
        let key = match key {
            '↓' => KeyCode::Down,
            '↑' => KeyCode::Up,
            '⏎' => KeyCode::Enter,
            '␛' => KeyCode::Esc,
            letter => KeyCode::Char(letter),
        };
        assert_eq!(state.press(key), Then::Stay);
    }
}

fn names(state: &State) -> Vec<&str> {
    let rows = state.rows();
    rows.iter().map(|row| row.provider.name.as_str()).collect()
}

/// The upper part, whatever is below it.
const ABOVE: &str = "\
srpd 1.2.3                                                                            q quit  ? help
calls/s 43   failed/s 2   refused/s 1   in flight 7   connections 25
first token p50 196 ms   p90 560 ms   p99 1.35 s   tokens/s out 13 k   in 30
whole call  p50 196 ms   p90 560 ms   p99 1.35 s
errors of 10 minutes  model_not_found 5   overloaded 2
┌ calls/s, up to 43 ────────────┐┌ failed/s, up to 2 ─────────────┐┌ call p99, up to 1.35 s ───────┐
│ █                             ││ █                              ││ █                             │
│ █                             ││ █                              ││ █                             │
│▆█                             ││ █                              ││ █                             │
│██                             ││ █                              ││ █                             │
└───────────────────────────────┘└────────────────────────────────┘└───────────────────────────────┘
";

const PROVIDERS: &str = "\
provider                       where state         in flight  attempts/s  failed/s  tokens/s   price
aloomu                         au    up               1 of 8          10         0      1000    2.40
fleet-per                      au    0 of 1 up             3          20         2      12 k    2.40
vendor-us                      au    breaker open          2           0         0         0    2.40
";

const ENDPOINTS: &str = "\
fleet-per (au): 0 of 1 up, 30 failovers to the next
endpoint                   state             in flight  waiting successes failures addresses
http://10.0.0.3:8000       not ready: 503 [3         –        4    12.3 k        2 10.0.0.1:8000
";

#[test]
fn figures_and_providers_are_drawn() {
    assert_eq!(shown(&state(), 100, 20), [ABOVE, PROVIDERS].concat());
}

#[test]
fn eighty_columns_are_enough() {
    let shown = shown(&state(), 80, 24);
    assert!(
        shown.contains("\nfleet-per ") && shown.contains(" breaker open "),
        "{shown}"
    );
}

#[test]
fn trouble_is_red_and_nothing_else_of_the_list_is() {
    let state = state();
    let terminal = drawn(&state, 100, 20);
    let buffer = terminal.backend().buffer();
    let red = |row: u16| {
        let cells = (0..100).map(|column| &buffer[(column, row)]);
        let red = cells.filter(|cell| cell.fg == Color::Red);
        red.map(|cell| cell.symbol()).collect::<String>()
    };
    assert_eq!(
        [red(12), red(13), red(14)],
        ["", "0 of 1 up2", "breaker open"]
    );
}

#[test]
fn a_provider_is_looked_into_and_no_control_character_gets_through() {
    let mut state = state();
    press(&mut state, "↓⏎");
    assert_eq!(shown(&state, 100, 20), [ABOVE, ENDPOINTS].concat());
    press(&mut state, "␛");
    assert!(shown(&state, 100, 20).contains("vendor-us"));
}

#[test]
fn keys_sort_and_choose() {
    let mut state = state();
    assert_eq!(names(&state), ["aloomu", "fleet-per", "vendor-us"]);
    for (keys, order) in [
        ("i", ["fleet-per", "vendor-us", "aloomu"]),
        ("i", ["aloomu", "vendor-us", "fleet-per"]),
        ("a", ["fleet-per", "aloomu", "vendor-us"]),
        ("r", ["vendor-us", "aloomu", "fleet-per"]),
        ("f", ["fleet-per", "aloomu", "vendor-us"]),
        ("t", ["fleet-per", "aloomu", "vendor-us"]),
        ("nr", ["vendor-us", "fleet-per", "aloomu"]),
    ] {
        press(&mut state, keys);
        assert_eq!(names(&state), order, "{keys}");
    }
    // Who was chosen stays so in another order, and the list has two ends.
    press(&mut state, "↑↑↓");
    assert_eq!(state.chosen.as_deref(), Some("fleet-per"));
    press(&mut state, "i");
    assert_eq!(state.chosen_row(), Some(0));
    press(&mut state, "↓↓↓↓");
    assert_eq!(state.chosen_row(), Some(2));
    assert_eq!(state.press(KeyCode::Char('q')), Then::Leave);
}

#[test]
fn help_is_shown_until_the_next_key() {
    let mut state = state();
    press(&mut state, "?");
    assert!(shown(&state, 80, 24).contains("sort by calls in flight"));
    press(&mut state, "n");
    assert!(!shown(&state, 80, 24).contains("sort by calls in flight"));
    assert_eq!(state.order, Order::File, "that key did nothing else");
}

#[test]
fn an_instance_that_does_not_answer_is_said_so() {
    let mut state = state();
    state.note_trouble("the admin plane at 127.0.0.1:9090: connection refused".to_owned());
    let shown = shown(&state, 100, 20);
    assert!(shown.contains("connection refused") && shown.contains("aloomu"));
}

#[test]
fn no_size_is_too_small() {
    let mut state = state();
    for (width, height) in [(1, 1), (7, 3), (20, 5), (40, 60), (300, 2)] {
        for keys in ["", "?", "n⏎", "␛"] {
            press(&mut state, keys);
            shown(&state, width, height);
            shown(&State::default(), width, height);
        }
    }
}
