//! An export as Apache Parquet, through the `parquet` crate's own writer of columns.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::super::Failure;
use super::book::{self, Report};
use super::filter::Filter;
use crate::control::ledger::line::{Line, Record};

/// Rows of a row group: what is held in memory at a time.
const ROWS: usize = 128 * 1024;

const SCHEMA: &str = "message entry {
    required binary id (UTF8);
    required binary request_id (UTF8);
    required int64 began (TIMESTAMP(MICROS, true));
    optional binary key (UTF8);
    optional binary capability (UTF8);
    optional binary residency (UTF8);
    optional binary supply (UTF8);
    optional int64 price_millionths;
    optional binary currency (UTF8);
    optional binary cost (UTF8);
    optional binary jurisdiction (UTF8);
    optional binary provider (UTF8);
    required int32 status;
    required binary outcome (UTF8);
    optional binary code (UTF8);
    required boolean stream;
    optional int64 input_tokens;
    optional int64 output_tokens;
    required int64 bytes_in;
    required int64 bytes_out;
    optional int64 ttft_us;
    required int64 total_us;
    required binary attempts (UTF8);
}";

/// The values of one column, and for an optional one which rows have any.
enum Column {
    Text(Vec<ByteArray>, Vec<i16>),
    Long(Vec<i64>, Vec<i16>),
    Int(Vec<i32>),
    Flag(Vec<bool>),
}

impl Column {
    fn text() -> Column {
        Column::Text(Vec::new(), Vec::new())
    }

    fn long() -> Column {
        Column::Long(Vec::new(), Vec::new())
    }

    fn put_text(&mut self, value: Option<&str>) {
        if let Column::Text(values, there) = self {
            there.push(i16::from(value.is_some()));
            values.extend(value.map(|text| ByteArray::from(text.as_bytes().to_vec())));
        }
    }

    fn put_long(&mut self, value: Option<i64>) {
        if let Column::Long(values, there) = self {
            there.push(i16::from(value.is_some()));
            values.extend(value);
        }
    }

    /// Writes them and is empty again. What isn't optional has no levels, and the writer asks for
    /// none.
    fn write(&mut self, to: &mut ColumnWriter<'_>) -> Result<(), ParquetError> {
        match (to, &mut *self) {
            (ColumnWriter::ByteArrayColumnWriter(to), Column::Text(values, there)) => {
                let levels = (to.get_descriptor().max_def_level() > 0).then_some(&there[..]);
                to.write_batch(values, levels, None)?;
                values.clear();
                there.clear();
            }
            (ColumnWriter::Int64ColumnWriter(to), Column::Long(values, there)) => {
                let levels = (to.get_descriptor().max_def_level() > 0).then_some(&there[..]);
                to.write_batch(values, levels, None)?;
                values.clear();
                there.clear();
            }
            (ColumnWriter::Int32ColumnWriter(to), Column::Int(values)) => {
                to.write_batch(values, None, None)?;
                values.clear();
            }
            (ColumnWriter::BoolColumnWriter(to), Column::Flag(values)) => {
                to.write_batch(values, None, None)?;
                values.clear();
            }
            _ => return Err(ParquetError::General("a column of another type".to_owned())),
        }
        Ok(())
    }
}

/// The rows of a group, by column, in the schema's order.
struct Rows {
    columns: [Column; 23],
    count: usize,
}

impl Rows {
    fn new() -> Rows {
        let columns = std::array::from_fn(|at| match at {
            2 | 7 | 16..=21 => Column::long(),
            12 => Column::Int(Vec::new()),
            15 => Column::Flag(Vec::new()),
            _ => Column::text(),
        });
        Rows { columns, count: 0 }
    }

    fn add(&mut self, record: &Record<'_>) {
        let line = Line::of(record);
        let call = &record.entry.call;
        let attempts = line.attempts_text();
        let texts = [
            (0, Some(line.id.as_str())),
            (1, Some(line.request_id)),
            (3, line.key),
            (4, line.capability),
            (5, line.residency),
            (6, line.supply),
            (8, line.currency.as_deref()),
            (9, line.cost.as_deref()),
            (10, line.jurisdiction.as_deref()),
            (11, line.provider),
            (13, Some(line.outcome)),
            (14, line.code),
            (22, Some(attempts.as_str())),
        ];
        for (at, text) in texts {
            self.columns[at].put_text(text);
        }
        let longs = [
            (2, Some(call.began_us)),
            (7, call.price.map(long)),
            (16, line.input_tokens.map(long)),
            (17, line.output_tokens.map(long)),
            (18, Some(long(line.bytes_in))),
            (19, Some(long(line.bytes_out))),
            (20, line.ttft_us.map(long)),
            (21, Some(long(line.total_us))),
        ];
        for (at, number) in longs {
            self.columns[at].put_long(number);
        }
        if let Column::Int(values) = &mut self.columns[12] {
            values.push(line.status.into());
        }
        if let Column::Flag(values) = &mut self.columns[15] {
            values.push(line.stream);
        }
        self.count += 1;
    }

    fn write<W: Write + Send>(
        &mut self,
        file: &mut SerializedFileWriter<W>,
    ) -> Result<(), ParquetError> {
        if std::mem::take(&mut self.count) == 0 {
            return Ok(());
        }
        let mut group = file.next_row_group()?;
        let mut columns = self.columns.iter_mut();
        while let (Some(mut to), Some(column)) = (group.next_column()?, columns.next()) {
            column.write(to.untyped())?;
            to.close()?;
        }
        group.close()?;
        Ok(())
    }
}

/// Parquet's integers are signed. No count gets there.
fn long(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Writes every entry that passes.
pub(super) fn write(
    directory: &Path,
    filter: &Filter,
    out: &mut dyn Write,
) -> Result<Report, Failure> {
    let schema = Arc::new(parse_message_type(SCHEMA).map_err(unwritten)?);
    let properties = Arc::new(WriterProperties::builder().build());
    // The writer wants what could go to another thread: a row group at a time is held instead.
    let mut file = SerializedFileWriter::new(Vec::new(), schema, properties).map_err(unwritten)?;
    let mut rows = Rows::new();
    let report = book::read(directory, filter, |record| {
        rows.add(&record);
        if rows.count == ROWS {
            rows.write(&mut file).map_err(unwritten)?;
            pass_on(&mut file, out)?;
        }
        Ok(true)
    })?;
    rows.write(&mut file).map_err(unwritten)?;
    pass_on(&mut file, out)?;
    file.finish().map_err(unwritten)?;
    pass_on(&mut file, out)?;
    Ok(report)
}

/// Passes on what the writer has written so far.
fn pass_on(file: &mut SerializedFileWriter<Vec<u8>>, out: &mut dyn Write) -> Result<(), Failure> {
    file.flush()?;
    let written = file.inner_mut();
    out.write_all(written)?;
    written.clear();
    Ok(())
}

fn unwritten(error: ParquetError) -> Failure {
    Failure::Output(std::io::Error::other(error))
}
