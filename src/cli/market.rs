//! `srpd market`: a running instance's market live, and what is reserved there, booked and
//! cancelled by its admin plane.

mod watch;

use std::io::Write;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Failure;
use super::operator::{Instance, ask};
use super::view::Look;

const HOUR: i64 = 3600;

/// Behind the help of `srpd market`.
pub(super) const MORE: &str = "\
Examples:
  srpd market
  srpd market --once
  srpd market list

Keys:
  left, right   another location
  ?             says all of this
  q, Ctrl-C     ends it

Exit status:
  0   ended by a key, or --once has printed
  1   the instance hasn't answered, or standard output is no terminal
  64  arguments that make no sense (EX_USAGE)";

/// Behind the help of `srpd market reserve`.
const RESERVE: &str = "\
Examples:
  srpd market reserve bank --slots 6 --provider aloomu --from +1h --until +3h
  srpd market reserve hospital --slots 4 --jurisdiction au --until +2h --json

Times:
  Whole hours of the next 48, as RFC 3339 has them: 2026-11-26T10:00:00Z. +2h is two hours after the
  beginning of this hour.

Exit status:
  0   booked: it is on disk, and holds
  1   it can't be booked, or the instance hasn't answered: standard error says why
  64  arguments that make no sense (EX_USAGE)";

/// Behind the help of `srpd market list`.
const LIST: &str = "\
Examples:
  srpd market list
  srpd market list --json

Exit status:
  0   the instance has answered
  1   it hasn't
  64  arguments that make no sense (EX_USAGE)";

/// Behind the help of `srpd market cancel`.
const CANCEL: &str = "\
Examples:
  srpd market cancel res_00000000000000ff

Exit status:
  0   cancelled: its slots can be booked again
  1   there is no such booking, or the instance hasn't answered
  64  arguments that make no sense (EX_USAGE)";

/// Watch a running instance's market; book slots, list what is reserved, and cancel
///
/// Alone it shows each location live: supply against demand, prices, and slots by firm, floating and
/// idle.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Market {
    #[command(flatten)]
    look: Look,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    #[command(after_long_help = RESERVE)]
    Reserve(Reserve),
    #[command(after_long_help = LIST)]
    List(List),
    #[command(after_long_help = CANCEL)]
    Cancel(Cancel),
}

/// Book slots for a key: nobody else's calls can take them
///
/// Prints the booking's id. It holds until its end, across reloads and restarts, or until it is
/// cancelled.
#[derive(clap::Args)]
struct Reserve {
    /// The key's name
    key: String,
    /// How many calls at the same time
    #[arg(long)]
    slots: u32,
    /// At this provider
    #[arg(long, value_name = "NAME", required_unless_present = "jurisdiction")]
    provider: Option<String>,
    /// Or anywhere in this jurisdiction: an ISO 3166-1 alpha-2 code
    #[arg(long, value_name = "CODE", conflicts_with = "provider")]
    jurisdiction: Option<String>,
    /// The first hour
    #[arg(long, value_name = "TIME", default_value = "+0h", value_parser = time)]
    from: Timestamp,
    /// The end: the first hour without it
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Timestamp,
    #[command(flatten)]
    answer: Answer,
}

/// List what is reserved, in the configuration and by booking
#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    answer: Answer,
}

/// Cancel a booking: its slots can be booked again at once
///
/// Calls that are under way on it go on.
#[derive(clap::Args)]
struct Cancel {
    /// The booking, as `srpd market list` has it
    #[arg(value_parser = id)]
    id: String,
    #[command(flatten)]
    answer: Answer,
}

/// Who answers, and how that is shown.
#[derive(clap::Args)]
struct Answer {
    #[command(flatten)]
    instance: Instance,
    /// Print the instance's answer as it is, in JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(market: &Market, out: &mut dyn Write) -> Result<(), Failure> {
    match &market.command {
        None => watch::run(&market.look, out),
        Some(Command::Reserve(arguments)) => reserve(arguments, out),
        Some(Command::List(arguments)) => list(arguments, out),
        Some(Command::Cancel(arguments)) => cancel(arguments, out),
    }
}

fn reserve(arguments: &Reserve, out: &mut dyn Write) -> Result<(), Failure> {
    let mut order = json!({
        "key": arguments.key,
        "slots": arguments.slots,
        "from": arguments.from.to_string(),
        "until": arguments.until.to_string(),
    });
    let places = [
        ("provider", &arguments.provider),
        ("jurisdiction", &arguments.jurisdiction),
    ];
    for (member, place) in places {
        if let Some(place) = place {
            order[member] = place.as_str().into();
        }
    }
    let Answer { instance, json } = &arguments.answer;
    let booked = ask(instance, "POST", "/srp/v1/reservations", Some(&order))?;
    match json {
        true => writeln!(out, "{booked}")?,
        false => writeln!(out, "{}", line(&booked))?,
    }
    Ok(())
}

fn list(arguments: &List, out: &mut dyn Write) -> Result<(), Failure> {
    let Answer { instance, json } = &arguments.answer;
    let page = ask(instance, "GET", "/srp/v1/reservations", None)?;
    if *json {
        writeln!(out, "{page}")?;
        return Ok(());
    }
    for reservation in page["reservations"].as_array().into_iter().flatten() {
        writeln!(out, "{}", line(reservation))?;
    }
    Ok(())
}

fn cancel(arguments: &Cancel, out: &mut dyn Write) -> Result<(), Failure> {
    let Answer { instance, json } = &arguments.answer;
    let path = format!("/srp/v1/reservations/{}", arguments.id);
    let cancelled = ask(instance, "DELETE", &path, None)?;
    match json {
        true => writeln!(out, "{cancelled}")?,
        false => writeln!(out, "cancelled: {}", line(&cancelled))?,
    }
    Ok(())
}

/// A reservation in a line; where others have an id, one of the configuration has `file`.
fn line(reservation: &Value) -> String {
    let text = |member: &str| reservation[member].as_str().unwrap_or_default();
    let place = match reservation["provider"].as_str() {
        Some(provider) => format!("at {provider}"),
        None => format!("anywhere in {}", text("jurisdiction")),
    };
    let id = reservation["id"].as_str().unwrap_or("file");
    let (slots, key) = (&reservation["slots"], text("key"));
    let (from, until) = (text("from"), text("until"));
    format!("{id} {key} {slots} slots {place} from {from} until {until}")
}

/// A whole hour: RFC 3339, or so many hours after the beginning of this one.
fn time(text: &str) -> Result<Timestamp, String> {
    time_at(text, Timestamp::now())
}

fn time_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    const EXPECTED: &str = "expected a whole hour, such as 2026-11-26T10:00:00Z, or +2h for two \
                            hours after the beginning of this one";
    let parsed = match text.strip_prefix('+') {
        Some(ahead) => {
            let ahead: Option<SignedDuration> = ahead.parse().ok();
            let second = now.as_second() - now.as_second().rem_euclid(HOUR);
            let hour = Timestamp::from_second(second).ok();
            hour.zip(ahead)
                .and_then(|(hour, ahead)| hour.checked_add(ahead).ok())
        }
        None => text.parse().ok(),
    };
    let whole = |it: &Timestamp| it.as_second() % HOUR == 0 && it.subsec_nanosecond() == 0;
    parsed.filter(whole).ok_or_else(|| EXPECTED.to_owned())
}

/// A booking's id goes into a path as it is.
fn id(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix("res_").unwrap_or_default();
    let is_id = digits.len() == 16 && digits.bytes().all(|it| it.is_ascii_hexdigit());
    match is_id {
        true => Ok(text.to_owned()),
        false => Err("expected a booking's id, such as res_00000000000000ff".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::srpd;
    use super::*;

    #[test]
    fn times_are_whole_hours_absolute_or_from_this_hour_on() {
        let now: Timestamp = "2026-11-26T10:59:59Z".parse().expect("a time");
        let shown = |text| time_at(text, now).map(|time| time.to_string());
        for (text, expected) in [
            ("+0h", "2026-11-26T10:00:00Z"),
            ("+2h", "2026-11-26T12:00:00Z"),
            ("+120m", "2026-11-26T12:00:00Z"),
            ("2026-11-27T00:00:00Z", "2026-11-27T00:00:00Z"),
            ("2026-11-27T00:00:00+11:00", "2026-11-26T13:00:00Z"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "+",
            "2h",
            "+90m",
            "+2h 1s",
            "+x",
            "tomorrow",
            "2026-11-27T00:30:00Z",
        ] {
            let error = shown(text).expect_err(text);
            assert!(error.contains("expected a whole hour"), "{error}");
        }
    }

    #[test]
    fn arguments_that_make_no_sense_never_reach_the_instance() {
        let reserve = "market reserve acme --slots 1 --until +1h";
        for (line, says) in [
            (reserve.to_owned(), "--provider"),
            (
                format!("{reserve} --provider a --jurisdiction au"),
                "cannot be used with",
            ),
            (format!("{reserve} --provider a --from 10"), "a whole hour"),
            ("market cancel res_1".to_owned(), "a booking's id"),
            (
                "market cancel res_00000000000000f/".to_owned(),
                "a booking's id",
            ),
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let error = srpd(&words).expect_err("refused");
            assert!(error.contains(says), "{line}: {error}");
        }
    }

    #[test]
    fn a_reservation_is_a_line() {
        let mut shown = json!({
            "id": "res_00000000000000ff", "origin": "booked", "key": "bank", "provider": "aloomu",
            "slots": 6, "from": "2026-11-26T10:00:00Z", "until": "2026-11-26T11:00:00Z",
        });
        let hours = "from 2026-11-26T10:00:00Z until 2026-11-26T11:00:00Z";
        let expected = format!("res_00000000000000ff bank 6 slots at aloomu {hours}");
        assert_eq!(line(&shown), expected);
        shown["id"] = Value::Null;
        shown["provider"] = Value::Null;
        shown["jurisdiction"] = "au".into();
        let expected = format!("file bank 6 slots anywhere in au {hours}");
        assert_eq!(line(&shown), expected);
    }
}
