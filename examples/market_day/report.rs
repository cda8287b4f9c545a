//! What the day came to: tables for a terminal, and a page with plots.

use std::fmt::Write;

use srpd::market::Price;

use crate::world::{Day, LOCATIONS, Point};

const HOUR: i64 = 3600;

fn money(micros: u64) -> String {
    Price::from_micros(micros).map_or_else(|| "-".into(), |sum| format!("{:.2}", value(sum)))
}

fn value(price: Price) -> f64 {
    price.micros() as f64 / 1e6
}

fn share(part: u64, whole: u64) -> String {
    match whole {
        0 => "out".into(),
        _ => format!("{:.0}%", part as f64 / whole as f64 / 10.0),
    }
}

/// Prices and use by the hour, and who paid what.
pub fn text(day: &Day) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "The market's day, seed {}\n", day.seed);
    let _ = write!(out, "hour ");
    for location in LOCATIONS {
        let _ = write!(out, "| {location:^6}  price  firm  all  cut ");
    }
    let _ = writeln!(out, "| waiting");
    for hour in 0..24 {
        let _ = write!(out, "{hour:02}   ");
        let mut waiting = 0;
        for points in &day.points {
            let within: Vec<&Point> = points.iter().filter(|it| it.at / HOUR == hour).collect();
            let sum = |read: fn(&Point) -> u64| within.iter().map(|it| read(it)).sum::<u64>();
            let highest = within.iter().map(|it| it.cleared.price).max();
            let capacity = sum(|it| it.capacity);
            let firm = share(sum(|it| it.firm), capacity);
            let all = share(sum(|it| it.firm + it.floating), capacity);
            let price = highest.unwrap_or_default();
            let curtailed = sum(|it| it.curtailed);
            let _ = write!(out, "|       {price:>7} {firm:>5} {all:>4} {curtailed:>4} ");
            waiting = within.iter().map(|it| it.waiting).max().unwrap_or(0);
        }
        let _ = writeln!(out, "| {waiting:>7}");
    }
    let _ = writeln!(
        out,
        "\n{:<11} {:>7} {:>7} {:>7} {:>8} {:>9} {:>11} {:>9} {:>8}",
        "who", "calls", "served", "firm", "refused", "curtailed", "tokens", "paid", "per 1M"
    );
    for (name, account) in &day.customers {
        let per_million = (account.paid as f64 / account.tokens.max(1) as f64 * 1e6) as u64;
        let _ = writeln!(
            out,
            "{name:<11} {:>7} {:>7} {:>7} {:>8} {:>9} {:>11} {:>9} {:>8}",
            account.calls,
            account.served,
            account.firm,
            account.refused,
            account.curtailed,
            account.tokens,
            money(account.paid),
            money(per_million),
        );
    }
    out
}

const STYLE: &str = "body{font:15px system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
padding:0 1rem;color:#1c2430;background:#fff}svg{width:100%;height:auto}pre{overflow:auto}\
text{font-size:11px;fill:currentColor}.grid{stroke:#8884}\
@media(prefers-color-scheme:dark){body{color:#dfe5ee;background:#12161d}}";

const COLOURS: [&str; 3] = ["#d1495b", "#2e86ab", "#5b8e4b"];

/// A page that needs nothing else.
pub fn html(day: &Day) -> String {
    let plots = [
        (
            "Price per million tokens",
            plot(day, |it| value(it.cleared.price)),
        ),
        (
            "Slots in use",
            plot(day, |it| (it.firm + it.floating) as f64 / 1000.0),
        ),
        ("Firm slots in use", plot(day, |it| it.firm as f64 / 1000.0)),
        (
            "Calls curtailed per interval",
            plot(day, |it| it.curtailed as f64),
        ),
        ("Calls waiting", plot(day, |it| it.waiting as f64)),
    ];
    let mut out = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport \
         content=\"width=device-width\"><title>A day on the market</title><style>{STYLE}</style>\
         <h1>A day on the market</h1><p>Seed {}. ",
        day.seed
    );
    for (location, colour) in LOCATIONS.iter().zip(COLOURS) {
        let _ = write!(out, "<b style=\"color:{colour}\">&#9632;</b> {location} ");
    }
    for (title, plot) in plots {
        let _ = write!(out, "<h2>{title}</h2>{plot}");
    }
    let _ = write!(out, "<h2>In figures</h2><pre>{}</pre></html>", text(day));
    out
}

fn plot(day: &Day, read: impl Fn(&Point) -> f64) -> String {
    const WIDTH: f64 = 900.0;
    const HEIGHT: f64 = 180.0;
    let all = day.points.iter().flatten();
    let most = all.map(&read).fold(1e-9, f64::max);
    let x = |at: i64| 40.0 + at as f64 / (24 * HOUR) as f64 * (WIDTH - 50.0);
    let y = |value: f64| HEIGHT - 20.0 - value / most * (HEIGHT - 35.0);
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    for hour in (0..=24).step_by(3) {
        let at = x(hour * HOUR);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{at}\" x2=\"{at}\" y1=\"10\" y2=\"{}\"/><text x=\"{at}\" \
             y=\"{HEIGHT}\" text-anchor=\"middle\">{hour}:00</text>",
            HEIGHT - 20.0
        );
    }
    let _ = write!(
        out,
        "<text x=\"0\" y=\"18\">{most:.1}</text><text x=\"0\" y=\"{}\">0</text>",
        HEIGHT - 20.0
    );
    for (points, colour) in day.points.iter().zip(COLOURS) {
        let mut path = String::new();
        for point in points {
            // Steps: what was cleared holds until the next clearing.
            let verb = if path.is_empty() { 'M' } else { 'H' };
            let _ = match verb {
                'M' => write!(path, "M{:.1} {:.1}", x(point.at), y(read(point))),
                _ => write!(path, "H{:.1}V{:.1}", x(point.at), y(read(point))),
            };
        }
        let _ = write!(
            out,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
        );
    }
    out + "</svg>"
}
