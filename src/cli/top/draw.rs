//! What `srpd top` looks like.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Row as Cells, Sparkline, StatefulWidget, Table, TableState, Widget};

use super::{Order, Row, State, endpoint_state, provider_state};
use crate::cli::view::pages::ProviderHistory;
use crate::cli::view::parts::{bad, duration, headline, help, quiet, short};

const KEYS: [(&str, &str); 10] = [
    ("up, down", "choose a provider"),
    ("enter", "look at its endpoints"),
    ("escape", "back"),
    ("n", "sort by name"),
    ("i", "sort by calls in flight"),
    ("a  f", "sort by attempts, by failures"),
    ("t  p", "sort by tokens, by price"),
    ("r", "turn the order round"),
    ("?", "this"),
    ("q, Ctrl-C", "end"),
];

pub(super) fn all(state: &State, area: Rect, buffer: &mut Buffer) {
    let [head, figures, plots, list] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(4),
        Constraint::Length(if area.height >= 20 { 6 } else { 0 }),
        Constraint::Fill(1),
    ])
    .areas(area);
    let draining = if state.providers.draining {
        ", draining"
    } else {
        ""
    };
    let title = format!("srpd {}{draining}", state.history.version);
    headline(&title, state.trouble.as_deref(), head, buffer);
    numbers(state, figures, buffer);
    sparks(state, plots, buffer);
    match state.chosen_row() {
        Some(at) if state.inside => endpoints(state, at, list, buffer),
        _ => providers(state, list, buffer),
    }
    if state.help {
        help(&KEYS, area, buffer);
    }
}

/// A name and its value.
fn figure(name: &str, value: String, style: Style) -> [Span<'static>; 3] {
    [
        Span::styled(format!("{name} "), quiet()),
        Span::styled(value, style.bold()),
        Span::raw("   "),
    ]
}

fn numbers(state: &State, area: Rect, buffer: &mut Buffer) {
    let history = &state.history;
    let last = history.at.len().saturating_sub(1);
    let count = |column: &[u64]| column.last().copied().unwrap_or(0);
    let rate = |column: &[u64]| history.rate(count(column), last);
    let calls = &history.calls;
    let all = rate(&calls.served) + rate(&calls.refused) + rate(&calls.failed) + rate(&calls.left);
    let failed = rate(&calls.failed);
    let alarm = if failed > 0.0 { bad() } else { Style::new() };
    let plain = Style::new();
    let sum = |column: fn(&ProviderHistory) -> &Vec<Option<u64>>| -> f64 {
        let providers = history.providers.iter();
        providers.map(|it| history.last_rate(column(it))).sum()
    };
    let of = |column: &[Option<f64>]| duration(column.last().copied().flatten());
    let line = |figures: Vec<[Span<'static>; 3]>| Line::from(figures.concat());
    let lines = [
        line(vec![
            figure("calls/s", short(all), plain),
            figure("failed/s", short(failed), alarm),
            figure("refused/s", short(rate(&calls.refused)), plain),
            figure("in flight", count(&history.in_flight).to_string(), plain),
            figure(
                "connections",
                count(&history.connections).to_string(),
                plain,
            ),
        ]),
        line(vec![
            figure("first token p50", of(&history.ttft_ms.p50), plain),
            figure("p90", of(&history.ttft_ms.p90), plain),
            figure("p99", of(&history.ttft_ms.p99), plain),
            figure("tokens/s out", short(sum(|it| &it.output_tokens)), plain),
            figure("in", short(sum(|it| &it.input_tokens)), plain),
        ]),
        line(vec![
            figure("whole call  p50", of(&history.call_ms.p50), plain),
            figure("p90", of(&history.call_ms.p90), plain),
            figure("p99", of(&history.call_ms.p99), plain),
        ]),
        errors(state),
    ];
    for (line, row) in lines.into_iter().zip(area.rows()) {
        line.render(row, buffer);
    }
}

/// Errors that srpd made itself in the last minutes, the most frequent first.
fn errors(state: &State) -> Line<'static> {
    let errors = state.history.errors.iter();
    let sums = errors.map(|(code, counts)| (code, counts.iter().sum::<u64>()));
    let mut sums: Vec<(&String, u64)> = sums.filter(|(_, sum)| *sum > 0).collect();
    sums.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let name = Span::styled("errors of 10 minutes  ", quiet());
    if sums.is_empty() {
        return Line::from(vec![name, Span::raw("none")]);
    }
    let figures = sums
        .iter()
        .map(|(code, sum)| figure(code, sum.to_string(), Style::new()));
    Line::from([vec![name], figures.flatten().collect()].concat())
}

/// The last minutes, the newest at the right.
fn spark(title: &str, mut values: Vec<u64>, style: Style, area: Rect, buffer: &mut Buffer) {
    let block = Block::bordered()
        .border_style(quiet())
        .title(title.to_owned());
    let width = usize::from(block.inner(area).width);
    values.drain(..values.len().saturating_sub(width));
    let most = values.iter().max().copied().unwrap_or(0);
    Sparkline::default()
        .data(&values)
        .max(most.max(1))
        .style(style)
        .block(block)
        .render(area, buffer);
}

fn sparks(state: &State, area: Rect, buffer: &mut Buffer) {
    if area.height < 3 {
        return;
    }
    let history = &state.history;
    let calls = &history.calls;
    let columns = [&calls.served, &calls.refused, &calls.failed, &calls.left];
    let count = |at: usize| columns.iter().filter_map(|it| it.get(at)).sum();
    // Tenths, as a sparkline has whole numbers.
    let tenths = |count: u64, at: usize| (history.rate(count, at) * 10.0) as u64;
    let all: Vec<u64> = (0..history.at.len())
        .map(|at| tenths(count(at), at))
        .collect();
    let failed = calls.failed.iter().enumerate();
    let failed: Vec<u64> = failed.map(|(at, count)| tenths(*count, at)).collect();
    let tail = history.call_ms.p99.iter();
    let tail: Vec<u64> = tail.map(|ms| ms.unwrap_or(0.0) as u64).collect();
    let most = |values: &[u64], scale: f64| {
        let most = values.iter().max().copied().unwrap_or(0);
        most as f64 / scale
    };
    let [left, middle, right] = Layout::horizontal([Constraint::Fill(1); 3]).areas(area);
    let title = format!(" calls/s, up to {} ", short(most(&all, 10.0)));
    spark(&title, all, Style::new().fg(Color::Blue), left, buffer);
    let title = format!(" failed/s, up to {} ", short(most(&failed, 10.0)));
    spark(&title, failed, bad(), middle, buffer);
    let title = format!(" call p99, up to {} ", duration(Some(most(&tail, 1.0))));
    spark(&title, tail, Style::new().fg(Color::Yellow), right, buffer);
}

/// A column's name, marked if the list is sorted by it.
fn column(state: &State, name: &'static str, order: Order) -> String {
    match (state.order == order, state.reversed) {
        (false, _) => name.to_owned(),
        (true, false) => format!("{name}▼"),
        (true, true) => format!("{name}▲"),
    }
}

fn styled((text, trouble): (String, bool)) -> Span<'static> {
    Span::styled(text, if trouble { bad() } else { Style::new() })
}

fn number(text: String) -> Line<'static> {
    Line::from(text).right_aligned()
}

fn providers(state: &State, area: Rect, buffer: &mut Buffer) {
    let cells = |row: &Row<'_>| {
        let it = row.provider;
        let slots = it
            .capacity
            .map_or(String::new(), |slots| format!(" of {slots}"));
        let failures = styled((short(row.failures), row.failures > 0.0));
        Cells::new([
            Line::from(it.name.clone()),
            Line::from(it.jurisdiction.clone()),
            Line::from(styled(provider_state(it))),
            number(format!("{}{slots}", it.in_flight)),
            number(short(row.attempts)),
            Line::from(failures).right_aligned(),
            number(short(row.tokens)),
            number(it.price.clone()),
        ])
    };
    let head = Cells::new([
        Line::from(column(state, "provider", Order::Name)),
        Line::from("where"),
        Line::from("state"),
        number(column(state, "in flight", Order::InFlight)),
        number(column(state, "attempts/s", Order::Attempts)),
        number(column(state, "failed/s", Order::Failures)),
        number(column(state, "tokens/s", Order::Tokens)),
        number(column(state, "price", Order::Price)),
    ]);
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(5),
        Constraint::Length(12),
        Constraint::Length(10),
        Constraint::Length(11),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(7),
    ];
    let rows = state.rows();
    let table = Table::new(rows.iter().map(cells), widths)
        .header(head.style(quiet()))
        .row_highlight_style(Style::new().reversed());
    let mut at = TableState::new().with_selected(state.chosen_row());
    StatefulWidget::render(table, area, buffer, &mut at);
}

fn endpoints(state: &State, at: usize, area: Rect, buffer: &mut Buffer) {
    let rows = state.rows();
    let Some(row) = rows.get(at) else { return };
    let provider = row.provider;
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    let cells = provider.endpoints.iter().map(|it| {
        let waiting = it.health.as_ref().and_then(|health| health.waiting);
        Cells::new([
            Line::from(it.url.clone()),
            Line::from(styled(endpoint_state(it))),
            number(or_none(it.in_flight.map(|count| count.to_string()))),
            number(or_none(waiting.map(|count| count.to_string()))),
            number(or_none(it.successes.map(|count| short(count as f64)))),
            number(or_none(it.failures.map(|count| short(count as f64)))),
            Line::from(it.addresses.join(" ")),
        ])
    });
    let head = Cells::new([
        Line::from("endpoint"),
        Line::from("state"),
        number("in flight".to_owned()),
        number("waiting".to_owned()),
        number("successes".to_owned()),
        number("failures".to_owned()),
        Line::from("addresses"),
    ]);
    let widths = [
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Fill(2),
    ];
    let [title, list] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let (says, _) = provider_state(provider);
    let backstop = if provider.backstop { ", backstop" } else { "" };
    let what = format!(
        "{} ({}{backstop}): {says}, {} failovers to the next",
        provider.name, provider.jurisdiction, provider.failovers
    );
    Line::from(what.bold()).render(title, buffer);
    let table = Table::new(cells, widths).header(head.style(quiet()));
    Widget::render(table, list, buffer);
}
