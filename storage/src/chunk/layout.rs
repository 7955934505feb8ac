//! How each column is encoded, and by what a chunk is sorted.
//!
//! Chosen with `examples/columns.rs` on chunks of the load generator, 130,000 rows each in pages of 16,384. Bytes a row on
//! disk:
//!
//! | `events`, spans | | `events`, logs | | `correlations` | |
//! |---|---|---|---|---|---|
//! | `payload` | 13.7 | `payload` | 12.3 | `primary_low` | 8.0 |
//! | `span_id` | 8.0 | `body` | 10.3 | `related_low` | 8.0 |
//! | `parent_span_id` | 6.0 | `span_id` | 6.2 | `primary_timestamp` | 2.0 |
//! | `duration_ns` | 3.5 | `trace_id` | 3.6 | `timestamp` | 1.9 |
//! | `trace_id` | 2.6 | `timestamp` | 2.2 | `related_high` | 1.8 |
//! | `timestamp` | 2.1 | `timestamp_nanos` | 1.3 | `strength` | 0.9 |
//! | `timestamp_nanos` | 1.3 | `position` | 1.0 | all others | 0.1 |
//! | `name` | 0.4 | `resource` | 0.4 | | |
//! | `resource` | 0.3 | `severity` | 0.2 | | |
//! | all others | 0.3 | all others | 0.3 | | |
//! | bloom filters, indexes | 1.2 | | 1.2 | | 2.1 |
//! | together | 39.4 | | 38.9 | | 24.9 |
//!
//! Sorting by asset, name and time would take 4.4 bytes off a span's payload and put as many on its ids and times.
//! Sorting by time alone would save 3.4 on ids and times and cost 6.5 on payloads. Splitting the bytes of `duration_ns`
//! (byte stream split) would save 0.3, but readers of before 2025 do not know that encoding for integers.

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::schema::types::ColumnPath;
use whence_schema::Table;
use whence_schema::tables::{events, metrics};

/// Rows of a row group at most: one unit of parallel reading.
pub(crate) const ROW_GROUP_ROWS: usize = 262_144;
/// Rows of a page at most: the unit that the page index lets a reader skip. Beside pages of 16,384 rows, the newest rows of
/// one asset take 30% less CPU, and a span 0.2 bytes more; pages of 2,048 rows save no more of either and take 1.4 bytes.
const PAGE_ROWS: usize = 4_096;
/// zstd level of chunks that will be written again. Level 3 takes 2 to 5% off spans' payloads and puts as much on log
/// bodies, for a third more CPU; and its context, one per column and row group, is megabytes that are cleared first.
const ZSTD_WARM: i32 = 1;
/// zstd level of chunks that will not.
const ZSTD_COLD: i32 = 9;
/// False positives of a full bloom filter at most. Their sizes are powers of two: 7 to 14 bits a row, 8 in a full row
/// group, where it is 2.5%.
const BLOOM_FALSE_POSITIVES: f64 = 0.05;

/// Text columns by which a table's chunks are sorted, before `timestamp`.
pub(crate) fn sort_texts(table: Table) -> &'static [usize] {
    match table {
        Table::Events => &[events::column::ASSET_ID],
        Table::Metrics => &[metrics::column::METRIC_NAME, metrics::column::ASSET_ID],
        Table::Correlations => &[],
    }
}

/// Columns looked up by single values.
fn bloom_columns(table: Table) -> &'static [&'static str] {
    match table {
        Table::Events => &["trace_id", "span_id"],
        Table::Metrics => &[],
        Table::Correlations => &["primary_low", "related_low"],
    }
}

/// Ids that hardly repeat, or repeat next to each other only, and texts that begin like others at any distance: a
/// dictionary would only add to them.
fn plain_columns(table: Table) -> &'static [&'static str] {
    match table {
        Table::Events => &["span_id", "parent_span_id", "body"],
        Table::Metrics => &["value_sum", "value_m2", "sketch"],
        Table::Correlations => &["primary_low", "related_high", "related_low"],
    }
}

/// Numbers that grow or stay near each other. (`created_at` of events is one value for a whole request.)
fn delta_columns(table: Table) -> &'static [&'static str] {
    match table {
        Table::Events => &["timestamp", "duration_ns", "position"],
        Table::Metrics => &["timestamp", "created_at", "point_count", "value_count"],
        Table::Correlations => &["timestamp", "primary_timestamp"],
    }
}

/// Ids, which bloom filters find and whose extremes say nothing, and long texts, of which only equality of whole values
/// could be pruned, which nobody asks for.
fn unordered_columns(table: Table) -> &'static [&'static str] {
    match table {
        Table::Events => &["trace_id", "span_id", "parent_span_id", "body", "payload", "resource", "metadata"],
        Table::Metrics => &["sketch", "dimensions", "series"],
        Table::Correlations => &["primary_high", "primary_low", "related_high", "related_low", "metadata"],
    }
}

/// Long texts that are all different: their lengths apart from their characters.
fn length_columns(table: Table) -> &'static [&'static str] {
    match table {
        Table::Events => &["payload"],
        Table::Metrics | Table::Correlations => &[],
    }
}

/// Nothing is left to compress in them.
fn uncompressed_columns(table: Table) -> &'static [&'static str] {
    match table {
        Table::Events => &["duration_ns", "timestamp_nanos"],
        Table::Metrics => &[],
        Table::Correlations => &["primary_low", "related_low", "primary_timestamp"],
    }
}

/// zstd level for chunks of a compaction level.
pub(crate) fn compression_of(level: u8) -> ZstdLevel {
    let level = if level >= super::COLD_LEVEL { ZSTD_COLD } else { ZSTD_WARM };
    ZstdLevel::try_new(level).unwrap_or_default()
}

/// Properties for a chunk of `rows` rows.
pub(crate) fn properties(table: Table, rows: usize, level: ZstdLevel) -> WriterProperties {
    let column = |name: &str| ColumnPath::from(name);
    let mut builder: WriterPropertiesBuilder = WriterProperties::builder()
        .set_created_by(format!("whence {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(level))
        // Version 1 has no dictionary for trace ids, which repeat with every span of a trace.
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_column_index_truncate_length(Some(32))
        .set_statistics_truncate_length(Some(32))
        .set_statistics_enabled(EnabledStatistics::Page);
    for name in bloom_columns(table) {
        builder = builder
            .set_column_bloom_filter_enabled(column(name), true)
            .set_column_bloom_filter_fpp(column(name), BLOOM_FALSE_POSITIVES)
            .set_column_bloom_filter_max_ndv(column(name), rows.clamp(64, ROW_GROUP_ROWS) as u64);
    }
    for name in plain_columns(table) {
        builder = builder
            .set_column_dictionary_enabled(column(name), false)
            .set_column_encoding(column(name), Encoding::PLAIN);
    }
    for name in delta_columns(table) {
        builder = builder
            .set_column_dictionary_enabled(column(name), false)
            .set_column_encoding(column(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in unordered_columns(table) {
        builder = builder.set_column_statistics_enabled(column(name), EnabledStatistics::None);
    }
    for name in length_columns(table) {
        builder = builder
            .set_column_dictionary_enabled(column(name), false)
            .set_column_encoding(column(name), Encoding::DELTA_LENGTH_BYTE_ARRAY);
    }
    for name in uncompressed_columns(table) {
        builder = builder.set_column_compression(column(name), Compression::UNCOMPRESSED);
    }
    builder.build()
}
