//! What views have in common: how numbers are written, the first line, the trouble line, the help.

use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Widget};

/// A number as short as it can be read.
pub(in crate::cli) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{} M", trimmed(value / 1e6)),
        size if size >= 1e4 => format!("{} k", trimmed(value / 1e3)),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Milliseconds as a time.
pub(in crate::cli) fn duration(ms: Option<f64>) -> String {
    match ms {
        None => "–".to_owned(),
        Some(ms) if ms >= 1000.0 => format!("{} s", trimmed(ms / 1000.0)),
        Some(ms) => format!("{} ms", trimmed(ms)),
    }
}

/// What stands for trouble.
pub(in crate::cli) fn bad() -> Style {
    Style::new().fg(Color::Red)
}

/// What is said in passing.
pub(in crate::cli) fn quiet() -> Style {
    Style::new().add_modifier(ratatui::style::Modifier::DIM)
}

/// The first line: what this is, and trouble or the keys.
pub(in crate::cli) fn headline(what: &str, trouble: Option<&str>, area: Rect, buffer: &mut Buffer) {
    Line::from(what.to_owned().bold()).render(area, buffer);
    let right = match trouble {
        Some(trouble) => Span::styled(trouble.to_owned(), bad()),
        None => Span::styled("q quit  ? help", quiet()),
    };
    let taken = u16::try_from(what.chars().count() + 2).unwrap_or(u16::MAX);
    let left = area.width.saturating_sub(taken);
    let place = Rect::new(area.right() - left, area.y, left, 1);
    Paragraph::new(Line::from(right))
        .alignment(Alignment::Right)
        .render(place, buffer);
}

/// The keys, over everything else.
pub(in crate::cli) fn help(keys: &[(&str, &str)], area: Rect, buffer: &mut Buffer) {
    let lines: Vec<Line<'_>> = keys
        .iter()
        .map(|(key, does)| Line::from(format!(" {key:<12}{does} ")))
        .collect();
    let width = lines.iter().map(Line::width).max().unwrap_or(0) + 2;
    let width = u16::try_from(width).unwrap_or(u16::MAX).min(area.width);
    let height = u16::try_from(lines.len() + 2)
        .unwrap_or(u16::MAX)
        .min(area.height);
    let place = Rect::new(
        area.x + (area.width - width) / 2,
        area.y + (area.height - height) / 2,
        width,
        height,
    );
    Clear.render(place, buffer);
    let block = Block::bordered().title(" Keys ");
    Paragraph::new(lines).block(block).render(place, buffer);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.2, 9.996, 46.44, 123.4, 9999.0, 12_340.0, 2e6].map(short);
        assert_eq!(
            shown,
            ["0", "0.2", "10", "46.4", "123", "9999", "12.3 k", "2 M"]
        );
        let shown = [None, Some(0.25), Some(196.0), Some(1350.0)].map(duration);
        assert_eq!(shown, ["–", "0.25 ms", "196 ms", "1.35 s"]);
    }
}
