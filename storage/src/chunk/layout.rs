//! How each column is encoded, and by what a chunk is sorted.

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::schema::types::ColumnPath;
use whence_schema::Table;
use whence_schema::tables::{events, metrics};

/// Rows of a row group at most: one unit of parallel reading.
pub(crate) const ROW_GROUP_ROWS: usize = 262_144;
/// Rows of a page at most: the unit that the page index lets a reader skip.
const PAGE_ROWS: usize = 16_384;
const ZSTD_LEVEL: i32 = 3;

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

/// Ids that hardly repeat: a dictionary would only add to them.
fn plain_columns(table: Table) -> &'static [&'static str] {
    match table {
        Table::Events => &["span_id", "parent_span_id"],
        Table::Metrics => &["value_sum", "value_m2", "sketch"],
        Table::Correlations => &["primary_low", "related_low"],
    }
}

/// Numbers that grow or stay near each other. (`created_at` of events is one value for a whole request.)
fn delta_columns(table: Table) -> &'static [&'static str] {
    match table {
        Table::Events => &["timestamp", "duration_ns", "position", "timestamp_nanos"],
        Table::Metrics => &["timestamp", "created_at", "point_count", "value_count"],
        Table::Correlations => &["timestamp", "created_at", "primary_timestamp"],
    }
}

/// Long texts of which only equality of whole values could be pruned, which nobody asks for.
fn unordered_columns(table: Table) -> &'static [&'static str] {
    match table {
        Table::Events => &["body", "payload", "resource", "metadata"],
        Table::Metrics => &["sketch", "dimensions", "series"],
        Table::Correlations => &["metadata"],
    }
}

/// Properties for a chunk of `rows` rows.
pub(crate) fn properties(table: Table, rows: usize) -> WriterProperties {
    let column = |name: &str| ColumnPath::from(name);
    let level = ZstdLevel::try_new(ZSTD_LEVEL).unwrap_or_default();
    let mut builder: WriterPropertiesBuilder = WriterProperties::builder()
        .set_created_by(format!("whence {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(level))
        // Version 1 has no dictionary for trace ids, which repeat with every span of a trace.
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS / 4)
        .set_column_index_truncate_length(Some(32))
        .set_statistics_truncate_length(Some(32))
        .set_statistics_enabled(EnabledStatistics::Page);
    for name in bloom_columns(table) {
        builder = builder
            .set_column_bloom_filter_enabled(column(name), true)
            .set_column_bloom_filter_fpp(column(name), 0.01)
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
    builder.build()
}
