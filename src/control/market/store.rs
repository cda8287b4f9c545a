//! Bookings on disk: what was answered with 201 is there after a kill -9 and a power cut.
//!
//! The file is opened for each change and closed after it: bookings are rare, and the next process
//! of a live upgrade reads it while this one is still there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use thiserror::Error;

use super::book::{Order, Origin};
use crate::config::BookingsFile;
use crate::market::calendar::Second;

/// By number, as JSON.
const RESERVATIONS: TableDefinition<'_, u64, &str> = TableDefinition::new("reservations");

/// Another process may just be at it: tries, and the pause between two.
const OPEN_TRIES: u32 = 40;
const OPEN_PAUSE: Duration = Duration::from_millis(25);

/// Why bookings can't be read or kept.
#[derive(Debug, Error)]
#[error("the bookings' file {}: {what}", path.display())]
pub struct StoreError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: Fault,
}

/// What is wrong with the bookings' file.
#[derive(Debug, Error)]
pub enum Fault {
    /// It can't be opened or made.
    #[error("{0}")]
    File(#[from] io::Error),
    /// It is not what was written, or can't be written.
    #[error("{0}")]
    Database(Box<redb::Error>),
    /// The disk failed while a change was committed: it may be on disk all the same.
    #[error("{0}; whether the change is on disk is not known")]
    Unsure(Box<redb::Error>),
    /// A booking in it can't be read.
    #[error("{}: {error}", Origin::Booked(*.number))]
    Booking {
        /// Which one.
        number: u64,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// A booking in it was made by nobody that this instance knows: there are two of them.
    #[error(
        "{} in it was not booked here: another instance uses the file, too",
        Origin::Booked(*.0)
    )]
    Foreign(u64),
}

impl Fault {
    fn database(error: impl Into<redb::Error>) -> Fault {
        Fault::Database(Box::new(error.into()))
    }
}

/// Where bookings are kept.
#[derive(Clone, Debug)]
pub struct Store {
    file: BookingsFile,
}

impl Store {
    /// A store in that file, which need not exist yet.
    pub fn new(file: BookingsFile) -> Store {
        Store { file }
    }

    /// Every booking with its number, in order. Blocks. No file is no bookings.
    ///
    /// # Errors
    /// The file is there and can't be read.
    pub fn all(&self) -> Result<Vec<(u64, Order)>, StoreError> {
        let read = || {
            if !self.is_there()? {
                return Ok(Vec::new());
            }
            let database = self.open(&self.file.path)?;
            let reading = database.begin_read().map_err(Fault::database)?;
            match reading.open_table(RESERVATIONS) {
                Ok(table) => orders(&table),
                Err(redb::TableError::TableDoesNotExist(_)) => Ok(Vec::new()),
                Err(error) => Err(Fault::database(error)),
            }
        };
        read().map_err(|what| self.error(what))
    }

    /// Keeps a booking, and forgets those that are over by then. `known` are the numbers of all
    /// that may be in the file. Blocks until it is on disk.
    ///
    /// # Errors
    /// It is not kept then, but for [`Fault::Unsure`].
    pub fn add(
        &self,
        number: u64,
        order: &Order,
        known: &[u64],
        now: Second,
    ) -> Result<(), StoreError> {
        let add = || {
            let text = serde_json::to_string(order);
            let text = text.map_err(|error| Fault::Booking { number, error })?;
            self.create()?;
            self.change(known, now, |table| {
                table.insert(number, text.as_str())?;
                Ok(())
            })
        };
        add().map_err(|what| self.error(what))
    }

    /// Forgets a booking, and those that are over by then; `known` as for [`add`](Store::add).
    /// Blocks until that is on disk.
    ///
    /// # Errors
    /// It is kept then, but for [`Fault::Unsure`].
    pub fn remove(&self, number: u64, known: &[u64], now: Second) -> Result<(), StoreError> {
        let removed = self.change(known, now, |table| {
            table.remove(number)?;
            Ok(())
        });
        removed.map_err(|what| self.error(what))
    }

    fn change(
        &self,
        known: &[u64],
        now: Second,
        change: impl FnOnce(&mut redb::Table<'_, u64, &str>) -> Result<(), redb::StorageError>,
    ) -> Result<(), Fault> {
        let database = self.open(&self.file.path)?;
        let writing = database.begin_write().map_err(Fault::database)?;
        {
            let table = writing.open_table(RESERVATIONS);
            let mut table = table.map_err(Fault::database)?;
            for (number, order) in orders(&table)? {
                if order.until.as_second() <= now {
                    table.remove(number).map_err(Fault::database)?;
                } else if !known.contains(&number) {
                    return Err(Fault::Foreign(number));
                }
            }
            change(&mut table).map_err(Fault::database)?;
        }
        let committed = writing.commit();
        committed.map_err(|error| Fault::Unsure(Box::new(error.into())))
    }

    /// Whether the file exists. In its usual place it doesn't for whoever may not look there.
    fn is_there(&self) -> Result<bool, Fault> {
        match self.file.path.try_exists() {
            Err(error) if error.kind() == ErrorKind::PermissionDenied && !self.file.named => {
                Ok(false)
            }
            there => Ok(there?),
        }
    }

    /// Makes an empty file where there is none: whole, or not at all.
    fn create(&self) -> Result<(), Fault> {
        if self.is_there()? {
            return Ok(());
        }
        let mut new = self.file.path.clone().into_os_string();
        new.push(".new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        drop(self.open(Path::new(&new))?);
        fs::rename(&new, &self.file.path)?;
        let directory = self.file.path.parent();
        let directory = directory.filter(|it| !it.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(())
    }

    /// Opens the database, readable by its owner only, once nobody else has it open.
    fn open(&self, path: &Path) -> Result<Database, Fault> {
        let mut tries = 1;
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let file = options.mode(0o600).open(path)?;
            let opened = FileBackend::new(file)
                .and_then(|backend| Database::builder().create_with_backend(backend));
            match opened {
                Err(DatabaseError::DatabaseAlreadyOpen) if tries < OPEN_TRIES => {
                    tries += 1;
                    std::thread::sleep(OPEN_PAUSE);
                }
                opened => return opened.map_err(Fault::database),
            }
        }
    }

    /// The error of a change that wasn't seen to its end.
    pub fn unsure(&self, error: io::Error) -> StoreError {
        self.error(Fault::Unsure(Box::new(error.into())))
    }

    fn error(&self, what: Fault) -> StoreError {
        let path = self.file.path.clone();
        StoreError { path, what }
    }
}

fn orders(table: &impl ReadableTable<u64, &'static str>) -> Result<Vec<(u64, Order)>, Fault> {
    let mut orders = Vec::new();
    for entry in table.iter().map_err(Fault::database)? {
        let (number, text) = entry.map_err(Fault::database)?;
        let number = number.value();
        let order = serde_json::from_str(text.value());
        let order = order.map_err(|error| Fault::Booking { number, error })?;
        orders.push((number, order));
    }
    Ok(orders)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: Second = 0;

    fn order(slots: u32) -> Order {
        Order {
            key: "acme".into(),
            provider: None,
            jurisdiction: Some("au".into()),
            slots,
            from: "2026-11-25T10:00:00Z".parse().expect("a time"),
            until: "2026-11-25T11:00:00Z".parse().expect("a time"),
        }
    }

    fn at(path: &Path) -> Store {
        Store::new(BookingsFile {
            path: path.to_owned(),
            named: true,
        })
    }

    #[test]
    fn what_is_kept_is_there_for_the_next_process() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("reservations.redb");
        let store = at(&path);
        assert_eq!(store.all().expect("none"), []);
        assert!(!path.exists(), "to look makes no file");
        for number in [7, 3, 9] {
            let kept = store.add(number, &order(number as u32), &[3, 7, 9], NOW);
            kept.expect("kept");
        }
        for number in [7, 1] {
            store.remove(number, &[3, 7, 9], NOW).expect("removed");
        }
        let kept = at(&path).all().expect("read");
        assert_eq!(kept, [(3, order(3)), (9, order(9))]);
        let mode = path.metadata().expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let files = directory.path().read_dir().expect("a directory");
        assert_eq!(files.count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_first_booking_that_was_cut_short_leaves_no_file_that_can_not_be_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("reservations.redb");
        fs::write(directory.path().join("reservations.redb.new"), b"redb half").expect("written");
        let store = at(&path);
        assert_eq!(store.all().expect("none"), []);
        store.add(1, &order(1), &[1], NOW).expect("kept");
        assert_eq!(store.all().expect("read"), [(1, order(1))]);
    }

    #[test]
    fn what_is_over_is_forgotten_with_the_next_change() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = at(&directory.path().join("reservations.redb"));
        store.add(1, &order(1), &[1], NOW).expect("kept");
        let later = Order {
            until: "2026-11-25T12:00:00Z".parse().expect("a time"),
            ..order(2)
        };
        let end = order(1).until.as_second();
        store.add(2, &later, &[1, 2], end - 1).expect("kept");
        assert_eq!(store.all().expect("read").len(), 2);
        store.remove(9, &[2], end).expect("removed");
        assert_eq!(store.all().expect("read"), [(2, later)]);
    }

    #[test]
    fn two_instances_with_one_file_are_found_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let (one, other) = (directory.path().join("a"), directory.path().join("a"));
        at(&one).add(1, &order(1), &[1], NOW).expect("kept");
        let refused = at(&other).add(2, &order(2), &[2], NOW);
        let error = refused.expect_err("refused").to_string();
        assert!(error.contains("res_0000000000000001"), "{error}");
        assert!(at(&other).remove(2, &[2], NOW).is_err());
        assert_eq!(at(&one).all().expect("read"), [(1, order(1))]);
    }

    #[test]
    fn two_processes_take_turns() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("reservations.redb");
        let store = at(&path);
        store.add(1, &order(1), &[1], NOW).expect("kept");
        let held = store.open(&path).expect("opened");
        std::thread::scope(|scope| {
            let adding = scope.spawn(|| store.add(2, &order(2), &[1, 2], NOW));
            std::thread::sleep(OPEN_PAUSE * 2);
            assert!(!adding.is_finished());
            drop(held);
            adding.join().expect("no panic").expect("kept");
        });
    }

    #[test]
    fn what_can_not_be_read_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("reservations.redb");
        fs::write(&path, b"not a database").expect("written");
        let error = at(&path).all().expect_err("refused").to_string();
        assert!(error.contains("reservations.redb: "), "{error}");
        let nowhere = at(&directory.path().join("no/such/place"));
        assert_eq!(nowhere.all().expect("none"), []);
        assert!(nowhere.add(1, &order(1), &[1], NOW).is_err());
    }
}
