//! `srpd ledger tail`

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::super::Failure;
use super::Source;
use super::filter::Filter;
use crate::control::ledger::files::{Listed, segments};
use crate::control::ledger::line::{Line, Record};
use crate::ledger::segment::{HEADER_BYTES, SEALED};
use crate::ledger::{Entry, Found, Header, Scan, scan};

/// Between two looks at what is new.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Segments that are looked through for the newest calls, beside those that are being written.
const SEALED_MAX: usize = 8;

/// Bytes that are read at a time: many frames.
const PART: usize = 1024 * 1024;

/// `srpd ledger tail`
#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    filter: Filter,
    /// How many of the newest; older ones than in the newest segments aren't looked for
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 10)]
    lines: usize,
    /// Go on with those to come, until it is interrupted. What amends an entry is shown as one more line
    #[arg(long, short = 'f')]
    follow: bool,
}

/// How far each segment has been read.
type Read = HashMap<String, usize>;

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let directory = arguments.source.directory()?;
    let mut read = Read::new();
    let mut newest = Newest::of(arguments.lines);
    for listed in latest(&directory, &mut read)? {
        look(&listed, &arguments.filter, &mut read, &mut newest)?;
    }
    newest.show(out)?;
    if arguments.follow {
        return follow(&directory, &arguments.filter, read, out);
    }
    Ok(())
}

/// Goes on with what comes, until it is interrupted.
fn follow(
    directory: &Path,
    filter: &Filter,
    mut read: Read,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut newest = Newest::of(usize::MAX);
    loop {
        std::thread::sleep(LOOK_EVERY);
        let all = segments(directory).map_err(Failure::file(directory))?;
        for listed in all {
            look(&listed, filter, &mut read, &mut newest)?;
        }
        newest.show(out)?;
    }
}

/// Those that are being written, and the newest of the others; the rest counts as read.
fn latest(directory: &Path, read: &mut Read) -> Result<Vec<Listed>, Failure> {
    let all = segments(directory).map_err(Failure::file(directory))?;
    let (live, mut sealed): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| it.live);
    let changed = |listed: &Listed| {
        listed
            .path
            .metadata()
            .and_then(|it| Metadata::modified(&it))
    };
    sealed.sort_by_cached_key(|listed| changed(listed).unwrap_or(SystemTime::UNIX_EPOCH));
    let old = sealed.len().saturating_sub(SEALED_MAX);
    for listed in sealed.drain(..old) {
        read.insert(listed.stem, usize::MAX);
    }
    sealed.extend(live);
    Ok(sealed)
}

/// The calls that ended last, and no more of them than are wanted: a segment has hundreds of thousands.
struct Newest {
    most: usize,
    /// When each ended, in microseconds since 1970, and its entry's payload.
    kept: Vec<(i64, Header, Vec<u8>)>,
}

/// So many more than are wanted are kept before they are sorted out.
const SPARE: usize = 4096;

impl Newest {
    fn of(most: usize) -> Newest {
        Newest {
            most,
            kept: Vec::new(),
        }
    }

    fn see(&mut self, header: Header, entry: &Entry<'_>, payload: &[u8]) {
        let began = entry.call.began_us;
        let ended = began.saturating_add_unsigned(entry.call.total_us);
        self.kept.push((ended, header, payload.to_owned()));
        if self.kept.len() > self.most.saturating_add(SPARE) {
            self.sort_out();
        }
    }

    fn sort_out(&mut self) {
        self.kept.sort_by_key(|(ended, ..)| *ended);
        self.kept.drain(..self.kept.len().saturating_sub(self.most));
    }

    fn show(&mut self, out: &mut dyn Write) -> Result<(), Failure> {
        self.sort_out();
        for (_, header, payload) in self.kept.drain(..) {
            if let Some(entry) = Entry::decode(&payload) {
                Line::of(&Record { header, entry }).write(&mut *out)?;
            }
        }
        Ok(out.flush()?)
    }
}

/// Takes what is new in a segment.
fn look(
    listed: &Listed,
    filter: &Filter,
    read: &mut Read,
    newest: &mut Newest,
) -> Result<(), Failure> {
    let mut from = read.get(&listed.stem).copied().unwrap_or(HEADER_BYTES);
    if from == usize::MAX {
        return Ok(());
    }
    let Some((file, header)) = open(listed)? else {
        return Ok(());
    };
    let mut part = vec![0; PART];
    loop {
        let count = file.read_at(&mut part, from as u64);
        let count = count.map_err(Failure::file(&listed.path))?;
        scan::settle(&mut part[..count], 0, |bytes, at| {
            file.read_exact_at(bytes, (from + at) as u64)
        })
        .map_err(Failure::file(&listed.path))?;
        let mut scan = Scan::new(&part[..count], 0);
        for found in scan.by_ref() {
            let Found::Frame(_, frame) = found else {
                continue;
            };
            let Some(entry) = Entry::decode(frame.payload) else {
                continue;
            };
            if filter.passes(header, &entry) {
                newest.see(header, &entry, frame.payload);
            }
        }
        if scan.end() == 0 {
            break;
        }
        from += scan.end();
    }
    let done = if listed.live { from } else { usize::MAX };
    read.insert(listed.stem.clone(), done);
    Ok(())
}

/// A segment's file and header. None if it is gone, or none.
fn open(listed: &Listed) -> Result<Option<(File, Header)>, Failure> {
    let sealed = listed.path.with_extension(SEALED);
    let mut head = [0; HEADER_BYTES];
    for path in [&listed.path, &sealed] {
        match File::open(path) {
            Ok(file) => {
                file.read_exact_at(&mut head, 0)
                    .map_err(Failure::file(path))?;
                return Ok(Header::decode(&head).ok().map(|header| (file, header)));
            }
            // Sealed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::file(path)(error)),
        }
    }
    Ok(None)
}
