//! What `srpd market` looks like.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Axis, Block, Chart, Dataset, GraphType, LegendPosition, Row, Table, Widget,
};

use super::State;
use crate::cli::view::pages::{Location, Market, Slots};
use crate::cli::view::parts::{bad, headline, help, quiet, short};

const FIRM: Color = Color::Blue;
const FLOATING: Color = Color::Yellow;

const KEYS: [(&str, &str); 3] = [
    ("left, right", "another location"),
    ("?", "this"),
    ("q, Ctrl-C", "end"),
];

/// Cells of a bar of slots, where there is room and where there is less.
const BAR: u32 = 24;
const BAR_SHORT: u32 = 12;

/// From this width on there is room.
const ROOMY: u16 = 100;

pub(super) fn all(state: &State, area: Rect, buffer: &mut Buffer) {
    let market = &state.market;
    let [head, tabs, rest] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
    ])
    .areas(area);
    let title = format!("srpd market at {}", clock(&market.at, "%H:%M:%S UTC"));
    headline(&title, state.trouble.as_deref(), head, buffer);
    match market.locations.get(state.at()) {
        Some(location) => {
            names(state, tabs, buffer);
            one(market, location, rest, buffer);
        }
        None => {
            let says = "No provider has a capacity, so nothing is sold by the slot.";
            Line::from(says).render(tabs, buffer);
        }
    }
    if state.help {
        help(&KEYS, area, buffer);
    }
}

fn names(state: &State, area: Rect, buffer: &mut Buffer) {
    let locations = state.market.locations.iter().enumerate();
    let spans = locations.flat_map(|(at, location)| {
        let text = format!(" {} {} ", location.location, location.price);
        let style = match at == state.at() {
            true => Style::new().reversed(),
            false => Style::new(),
        };
        [Span::styled(text, style), Span::raw(" ")]
    });
    Line::from(spans.collect::<Vec<_>>()).render(area, buffer);
}

fn one(market: &Market, location: &Location, area: Rect, buffer: &mut Buffer) {
    let rows = u16::try_from(location.providers.len()).unwrap_or(u16::MAX);
    let [plots, slots] = Layout::vertical([
        Constraint::Fill(1),
        Constraint::Length(rows.saturating_add(2).min(area.height / 2)),
    ])
    .areas(area);
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(plots);
    stack(market, location, left, buffer);
    prices(market, location, right, buffer);
    occupancy(location, slots, buffer);
}

fn price_of(text: &str) -> f64 {
    text.parse().unwrap_or(0.0)
}

/// Corners of a curve: so many slots at each price, one step after the other.
pub(super) fn corners(steps: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut slots = 0.0;
    let mut corners: Vec<(f64, f64)> = Vec::new();
    for (price, more) in steps {
        corners.push((slots, price));
        slots += more;
        corners.push((slots, price));
    }
    corners
}

fn stack(market: &Market, location: &Location, area: Rect, buffer: &mut Buffer) {
    let cap = price_of(&market.price_cap);
    let price = price_of(&location.price);
    let offers = location.supply.iter();
    let supply = corners(offers.map(|it| (price_of(&it.price), it.slots)));
    let bids = location.demand.iter();
    let mut demand = corners(bids.map(|it| (price_of(&it.limit), it.slots)));
    if let Some(&(slots, _)) = demand.last() {
        demand.push((slots, 0.0));
    }
    // Who names no limit bids the cap: far above everything else, and cut off here.
    let both = supply.iter().chain(&demand);
    let below = both.clone().map(|it| it.1).filter(|it| *it < cap);
    let top = below.fold(price, f64::max) * 1.3;
    let wide = both.map(|it| it.0).fold(1.0, f64::max);
    for (_, height) in &mut demand {
        *height = height.min(top);
    }
    let line = [(0.0, price), (wide, price)];
    let sets = vec![
        dataset("price", &line, Color::Gray).marker(Marker::Dot),
        dataset("demand", &demand, FLOATING),
        dataset("supply", &supply, FIRM),
    ];
    let slots = [0.0, wide / 2.0, wide].map(short);
    let title = " Supply and demand: price by slots ";
    chart(title, sets, (0.0, wide), slots, top, area, buffer);
}

fn prices(market: &Market, location: &Location, area: Rect, buffer: &mut Buffer) {
    let now = second(&market.at);
    let points = location.history.iter();
    let points: Vec<(f64, f64)> = points
        .map(|it| (second(&it.at), price_of(&it.price)))
        .collect();
    // A price holds until the next.
    let until = points.iter().skip(1).map(|it| it.0).chain([now]);
    let steps: Vec<(f64, f64)> = points
        .iter()
        .zip(until)
        .flat_map(|(&(at, price), until)| [(at, price), (until, price)])
        .collect();
    let from = points.first().map_or(now, |first| first.0);
    let top = points.iter().map(|it| it.1).fold(0.0, f64::max) * 1.3;
    let sets = vec![dataset("", &steps, FIRM)];
    let time = |at: f64| {
        let time = Timestamp::from_second(at as i64).map(|it| it.to_string());
        clock(&time.unwrap_or_default(), "%H:%M")
    };
    let times = [from, (from + now) / 2.0, now].map(time);
    let title = format!(
        " Price: now {}{}, the last 24 h ",
        location.price,
        market
            .currency
            .as_ref()
            .map_or(String::new(), |it| format!(" {it}"))
    );
    chart(&title, sets, (from, now), times, top, area, buffer);
}

fn dataset<'d>(name: &'static str, points: &'d [(f64, f64)], color: Color) -> Dataset<'d> {
    let set = Dataset::default()
        .data(points)
        .graph_type(GraphType::Line)
        .marker(Marker::Braille)
        .style(Style::new().fg(color));
    match name {
        "" => set,
        name => set.name(name),
    }
}

fn chart(
    title: &str,
    sets: Vec<Dataset<'_>>,
    (from, to): (f64, f64),
    along: [String; 3],
    top: f64,
    area: Rect,
    buffer: &mut Buffer,
) {
    let top = if top > 0.0 { top } else { 1.0 };
    let up = [0.0, top / 2.0, top].map(|price| format!("{price:.2}"));
    let x = Axis::default()
        .bounds([from, to.max(from + 1.0)])
        .labels(along);
    let y = Axis::default().bounds([0.0, top]).labels(up);
    Chart::new(sets)
        .x_axis(x.style(quiet()))
        .y_axis(y.style(quiet()))
        .legend_position(Some(LegendPosition::TopRight))
        .hidden_legend_constraints((Constraint::Fill(1), Constraint::Fill(1)))
        .block(
            Block::bordered()
                .border_style(quiet())
                .title(title.to_owned()),
        )
        .render(area, buffer);
}

/// Slots by who has them, in so many cells; somebody who has any has one at least.
pub(super) fn bar(slots: &Slots, width: u32) -> [u32; 3] {
    let whole = slots.capacity.max(slots.firm + slots.floating).max(1);
    let cells = |count: u32| {
        let cells = u64::from(count) * u64::from(width) / u64::from(whole);
        u32::try_from(cells).unwrap_or(width).max(count.min(1))
    };
    let firm = cells(slots.firm).min(width);
    let floating = cells(slots.floating).min(width - firm);
    [firm, floating, width - firm - floating]
}

fn occupancy(location: &Location, area: Rect, buffer: &mut Buffer) {
    let number = |count: u64| Line::from(count.to_string()).right_aligned();
    let width = if area.width < ROOMY { BAR_SHORT } else { BAR };
    let row = |it: &Slots| {
        let parts = bar(it, width);
        let cells = |text: &str, at: usize, color: Color| {
            let text = text.repeat(parts[at] as usize);
            Span::styled(text, Style::new().fg(color))
        };
        let drawn = [
            cells("█", 0, FIRM),
            cells("▓", 1, FLOATING),
            cells("░", 2, Color::DarkGray),
        ];
        let idle = it.capacity.saturating_sub(it.firm + it.floating);
        Row::new([
            Line::from(it.provider.clone()),
            Line::from(drawn.to_vec()),
            number(it.firm.into()),
            number(it.floating.into()),
            number(idle.into()),
            number(it.capacity.into()),
            number(it.reserved.into()),
            number(it.curtailed),
        ])
    };
    let right = |name: &str| Line::from(name.to_owned()).right_aligned();
    let head = Row::new([
        Line::from("provider"),
        Line::from("slots"),
        right("█ firm"),
        right("▓ floating"),
        right("░ idle"),
        right("capacity"),
        right("reserved"),
        right("curtailed"),
    ]);
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(width as u16),
        Constraint::Length(6),
        Constraint::Length(10),
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(9),
    ];
    let [table, foot] = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    let rows = location.providers.iter().map(row);
    Widget::render(
        Table::new(rows, widths).header(head.style(quiet())),
        table,
        buffer,
    );
    let last = location.history.last();
    let [sold, before] = last.map_or([0.0; 2], |it| [it.sold, it.curtailed as f64]);
    let mut spans = vec![Span::raw(format!(
        "waiting: {}; in the last interval {} slots were sold, {} calls curtailed",
        location.waiting,
        short(sold),
        short(before)
    ))];
    if location.curtailed > 0 {
        spans.push(Span::styled(
            format!("; {} curtailed since", location.curtailed),
            bad(),
        ));
    }
    Line::from(spans).render(foot, buffer);
}

fn second(text: &str) -> f64 {
    let time: Option<Timestamp> = text.parse().ok();
    time.map_or(0.0, |time| time.as_second() as f64)
}

/// A moment as a clock shows it, in UTC.
fn clock(text: &str, format: &str) -> String {
    let time: Option<Timestamp> = text.parse().ok();
    let shown = time.map(|time| time.to_zoned(TimeZone::UTC).strftime(format).to_string());
    shown.unwrap_or_default()
}
