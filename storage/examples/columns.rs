//! What the columns of a chunk cost under every encoding: bytes a row and nanoseconds of CPU a row to encode and compress.
//!
//! ```text
//! cargo run --release --workspace --example columns -- CHUNK.parquet [--columns a,b] [--sort a,b] [--page-rows N]
//! ```
//!
//! The choices in `src/chunk/layout.rs` were made by it, on chunks of the load generator's spans, logs and metrics.
//! `--sort` puts the rows into another order first.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use std::error::Error;
use std::fs::File;
use std::sync::Arc;

struct Settings {
    chunk: String,
    columns: Vec<String>,
    sort: Vec<String>,
    page_rows: usize,
}

impl Settings {
    fn read() -> Result<Self, Box<dyn Error>> {
        let mut settings = Self { chunk: String::new(), columns: Vec::new(), sort: Vec::new(), page_rows: 4_096 };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            let list = |text: String| text.split(',').map(str::to_owned).collect();
            match argument.as_str() {
                "--columns" => settings.columns = list(value()?),
                "--sort" => settings.sort = list(value()?),
                "--page-rows" => settings.page_rows = value()?.parse()?,
                _ => settings.chunk = argument,
            }
        }
        Ok(settings)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let settings = Settings::read()?;
    let rows = sorted(&read(&settings.chunk)?, &settings.sort)?;
    println!("{} rows of {}", rows.num_rows(), settings.chunk);
    println!("{:18} {:24} {:>12} {:>12} {:>12} {:>12}", "column", "encoding", "raw", "zstd 1", "zstd 3", "zstd 9");
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        if !settings.columns.is_empty() && !settings.columns.contains(field.name()) {
            continue;
        }
        for (dictionary, encoding) in encodings(field.data_type()) {
            let name = format!("{}{encoding}", if dictionary { "dictionary, then " } else { "" }).to_lowercase();
            print!("{:18} {name:24}", field.name());
            for level in [0, 1, 3, 9] {
                let (bytes, nanos) = written(field, column, dictionary, encoding, level, settings.page_rows)?;
                let count = rows.num_rows() as f64;
                print!(" {:6.2} {:4.0}ns", bytes as f64 / count, nanos as f64 / count);
            }
            println!();
        }
    }
    Ok(())
}

fn read(path: &str) -> Result<RecordBatch, Box<dyn Error>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    let schema = builder.schema().clone();
    let batches = builder.build()?.collect::<Result<Vec<_>, _>>()?;
    Ok(concat_batches(&schema, &batches)?)
}

fn sorted(rows: &RecordBatch, by: &[String]) -> Result<RecordBatch, Box<dyn Error>> {
    if by.is_empty() {
        return Ok(rows.clone());
    }
    let column = |name: &String| rows.column_by_name(name).ok_or(format!("no column {name}"));
    let columns = by.iter().map(|name| Ok(SortColumn { values: column(name)?.clone(), options: None }));
    let order = lexsort_to_indices(&columns.collect::<Result<Vec<_>, String>>()?, None)?;
    let taken = rows.columns().iter().map(|values| take(values, &order, None)).collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(rows.schema(), taken)?)
}

/// With a dictionary (and the encoding it falls back to), or without.
fn encodings(kind: &DataType) -> Vec<(bool, Encoding)> {
    let without: &[Encoding] = match kind {
        DataType::Utf8View | DataType::Binary => {
            &[Encoding::PLAIN, Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY]
        }
        DataType::Float32 | DataType::Float64 => &[Encoding::PLAIN, Encoding::BYTE_STREAM_SPLIT],
        DataType::FixedSizeBinary(_) => &[Encoding::PLAIN, Encoding::BYTE_STREAM_SPLIT, Encoding::DELTA_BYTE_ARRAY],
        _ => &[Encoding::PLAIN, Encoding::BYTE_STREAM_SPLIT, Encoding::DELTA_BINARY_PACKED],
    };
    std::iter::once((true, Encoding::PLAIN)).chain(without.iter().map(|encoding| (false, *encoding))).collect()
}

/// Bytes of the column chunks, and nanoseconds of CPU, of writing one column.
fn written(
    field: &Field,
    column: &ArrayRef,
    dictionary: bool,
    encoding: Encoding,
    level: i32,
    page_rows: usize,
) -> Result<(i64, u64), Box<dyn Error>> {
    let compression =
        if level == 0 { Compression::UNCOMPRESSED } else { Compression::ZSTD(ZstdLevel::try_new(level)?) };
    let properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_max_row_group_row_count(Some(262_144))
        .set_data_page_row_count_limit(page_rows)
        .set_write_batch_size((page_rows / 4).clamp(64, 4_096))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_dictionary_enabled(dictionary)
        .set_encoding(encoding)
        .set_compression(compression);
    let schema = Arc::new(Schema::new(vec![field.clone()]));
    let batch = RecordBatch::try_new(schema.clone(), vec![column.clone()])?;
    let mut writer = ArrowWriter::try_new(std::io::sink(), schema, Some(properties.build()))?;
    let before = cpu_nanos()?;
    for start in (0..batch.num_rows()).step_by(16_384) {
        writer.write(&batch.slice(start, (batch.num_rows() - start).min(16_384)))?;
    }
    let metadata = writer.finish()?;
    let bytes = metadata.row_groups().iter().map(|group| group.column(0).compressed_size()).sum();
    Ok((bytes, cpu_nanos()? - before))
}

/// CPU time of this thread.
fn cpu_nanos() -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split_whitespace().next().ok_or("an empty schedstat")?.parse()?)
}
