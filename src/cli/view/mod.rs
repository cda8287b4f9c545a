//! Live views of a running instance in a terminal: who asks, who draws, and what keys do. What is
//! drawn is a function of what was heard.

pub(super) mod pages;
pub(super) mod parts;

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::Rect;
use serde_json::Value;

use super::Failure;
use super::operator::{Instance, ask};

/// From one look at the instance to the next.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a key may go unnoticed.
const KEY_WITHIN: Duration = Duration::from_millis(50);

/// What one look prints.
const ONCE: Rect = Rect::new(0, 0, 100, 40);

/// How a view is asked for.
#[derive(clap::Args)]
pub(super) struct Look {
    /// Print one look as plain text, and end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    instance: Instance,
}

/// What a key asks the loop for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Stay,
    Leave,
}

/// Something to look at.
pub(super) trait View {
    /// The pages of the admin plane that it is made of.
    fn pages(now: i64) -> Vec<String>;

    /// Takes them in.
    ///
    /// # Errors
    /// What is wrong with them.
    fn take_in(&mut self, pages: Vec<Value>) -> Result<(), serde_json::Error>;

    /// The instance hasn't answered: what is shown is from before.
    fn note_trouble(&mut self, trouble: String);

    /// A key was pressed.
    fn press(&mut self, key: KeyCode) -> Then;

    /// Draws all of it.
    fn draw(&self, area: Rect, buffer: &mut Buffer);
}

type Heard = Result<Vec<Value>, String>;

/// Shows a view until a key ends it, or once.
pub(super) fn show<V: View>(mut view: V, look: &Look, out: &mut dyn Write) -> Result<(), Failure> {
    // An instance that isn't there is said before the screen is taken.
    let first = hear::<V>(&look.instance)?;
    view.take_in(first).map_err(unreadable)?;
    if look.once {
        let mut buffer = Buffer::empty(ONCE);
        view.draw(ONCE, &mut buffer);
        return Ok(write!(out, "{}", text(&buffer))?);
    }
    if !io::stdout().is_terminal() {
        let message = "standard output is no terminal: --once prints one look as plain text";
        return Err(Failure::Instance(message.to_owned()));
    }
    let (says, heard) = sync_channel::<Heard>(1);
    let instance = look.instance.clone();
    // Ends with the process, or when nobody listens.
    thread::spawn(move || {
        loop {
            thread::sleep(LOOK_EVERY);
            let heard = hear::<V>(&instance).map_err(|failure| failure.to_string());
            if says.send(heard).is_err() {
                return;
            }
        }
    });
    // A panic gives the terminal back, too.
    let mut terminal = ratatui::try_init()?;
    let ended = stay(&mut view, &heard, &mut terminal);
    ratatui::restore();
    Ok(ended?)
}

fn hear<V: View>(instance: &Instance) -> Result<Vec<Value>, Failure> {
    let now = jiff::Timestamp::now().as_second();
    let pages = V::pages(now);
    let pages = pages.iter().map(|page| ask(instance, "GET", page, None));
    pages.collect()
}

fn unreadable(error: serde_json::Error) -> Failure {
    Failure::Instance(format!("an answer of another version: {error}"))
}

fn stay<V: View>(
    view: &mut V,
    heard: &Receiver<Heard>,
    terminal: &mut ratatui::DefaultTerminal,
) -> io::Result<()> {
    loop {
        match heard.try_recv() {
            Ok(Ok(pages)) => {
                if let Err(error) = view.take_in(pages) {
                    view.note_trouble(unreadable(error).to_string());
                }
            }
            Ok(Err(trouble)) => view.note_trouble(trouble),
            Err(TryRecvError::Empty) => {}
            // It would have to have panicked: its message is worth more than a picture.
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
        terminal.draw(|frame| view.draw(frame.area(), frame.buffer_mut()))?;
        if event::poll(KEY_WITHIN)?
            && let Event::Key(key) = event::read()?
            && pressed(view, key) == Then::Leave
        {
            return Ok(());
        }
    }
}

fn pressed(view: &mut impl View, key: KeyEvent) -> Then {
    let held = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        _ if key.kind == KeyEventKind::Release => Then::Stay,
        // A terminal in raw mode sends no SIGINT.
        KeyCode::Char('c') if held => Then::Leave,
        code => view.press(code),
    }
}

/// What is drawn, without colours and without what is empty.
pub(super) fn text(buffer: &Buffer) -> String {
    let cells = buffer.content().chunks(buffer.area().width.into());
    let line = |cells: &[ratatui::buffer::Cell]| {
        let line: String = cells.iter().map(|cell| cell.symbol()).collect();
        format!("{}\n", line.trim_end())
    };
    let whole: String = cells.map(line).collect();
    format!("{}\n", whole.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl View for Nothing {
        fn pages(_: i64) -> Vec<String> {
            Vec::new()
        }

        fn take_in(&mut self, _: Vec<Value>) -> Result<(), serde_json::Error> {
            Ok(())
        }

        fn note_trouble(&mut self, _: String) {}

        fn press(&mut self, key: KeyCode) -> Then {
            match key {
                KeyCode::Char('q') => Then::Leave,
                _ => Then::Stay,
            }
        }

        fn draw(&self, _: Rect, _: &mut Buffer) {}
    }

    #[test]
    fn ctrl_c_ends_a_view_that_knows_no_such_key() {
        let press = |code, modifiers| pressed(&mut Nothing, KeyEvent::new(code, modifiers));
        let letter = KeyCode::Char('c');
        assert_eq!(press(letter, KeyModifiers::CONTROL), Then::Leave);
        assert_eq!(press(letter, KeyModifiers::NONE), Then::Stay);
        assert_eq!(press(KeyCode::Char('q'), KeyModifiers::NONE), Then::Leave);
    }

    #[test]
    fn text_is_what_is_drawn_without_what_is_empty() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 10, 5));
        buffer.set_string(1, 1, "hi \u{1b}[31m", ratatui::style::Style::new().red());
        assert_eq!(text(&buffer), "\n hi [31m\n");
    }
}
