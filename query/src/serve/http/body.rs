//! Rows as the body of an answer, made batch by batch as the client reads.

use crate::error::QueryError;
use crate::functions::is_json;
use crate::serve::pgwire::type_name;
use crate::serve::portable::{portable_batch, portable_schema};
use crate::serve::text::{plain, value};
use crate::stream::QueryStream;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Media type of an Arrow IPC stream.
pub(super) const ARROW_TYPE: &str = "application/vnd.apache.arrow.stream";

/// Says how many rows the answer has at most, where there is such a limit.
const LIMIT_HEADER: HeaderName = HeaderName::from_static("whence-row-limit");
/// Trailer of the forms that cannot say it in their body: whether the limit cut rows off. Clients that want it say
/// `TE: trailers`.
const TRUNCATED_TRAILER: HeaderName = HeaderName::from_static("whence-truncated");
/// Time between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Form of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `{"columns": [...], "rows": [[...], ...], "row_count": 2, "truncated": false}`.
    Json,
    /// One JSON object a line: `{"columns": [...]}`; then, as they come, `{"rows": [[...], ...]}` and, each half second
    /// and once at the end, `{"progress": {"rows_read", "rows_expected", "elapsed_ms"}}`; at last
    /// `{"end": {"row_count", "truncated"}}` or `{"error": {...}}`.
    Lines,
    /// With a header line; NULL is empty, an empty text is `""`.
    Csv,
    /// Arrow IPC.
    Arrow,
}

impl Format {
    /// By the name in a request.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "json" => Self::Json,
            "ndjson" => Self::Lines,
            "csv" => Self::Csv,
            "arrow" => Self::Arrow,
            _ => return None,
        })
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Lines => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => ARROW_TYPE,
        }
    }
}

/// The answer; an error before the first rows is the request's (unless progress is told meanwhile), a later one ends the
/// body.
pub(super) async fn answer(
    mut rows: QueryStream,
    format: Format,
    limit: Option<usize>,
    sql: &str,
) -> Result<Response, QueryError> {
    let mut writer = Writer::new(format, rows.schema(), limit, sql)?;
    let mut pending = writer.start();
    let mut more = true;
    if format != Format::Lines {
        more = match rows.next().await.transpose()? {
            Some(batch) => writer.rows(&batch, &mut pending)?,
            None => false,
        };
    }
    let open = Open { rows, writer, pending, more, began: Instant::now() };
    let body = StreamBody::new(stream::unfold(Some(Stage::Rows(Box::new(open))), next_part));
    let mut response = Body::new(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    if let Some(limit) = limit {
        headers.insert(LIMIT_HEADER, HeaderValue::from(limit));
    }
    if matches!(format, Format::Csv | Format::Arrow) {
        headers.insert(header::TRAILER, HeaderValue::from(TRUNCATED_TRAILER));
    }
    Ok(response)
}

/// What is left of an answer.
enum Stage {
    Rows(Box<Open>),
    Trailers(HeaderMap),
}

/// An answer that has not ended.
struct Open {
    rows: QueryStream,
    writer: Writer,
    pending: Vec<u8>,
    more: bool,
    began: Instant,
}

type Part = (Result<Frame<Bytes>, std::io::Error>, Option<Stage>);

async fn next_part(stage: Option<Stage>) -> Option<Part> {
    let mut open = match stage? {
        Stage::Rows(open) => open,
        Stage::Trailers(trailers) => return Some((Ok(Frame::trailers(trailers)), None)),
    };
    let mut part = std::mem::take(&mut open.pending);
    // An empty part would end the body.
    while part.is_empty() {
        match open.next_batch().await {
            Next::Progress => open.write_progress(&mut part),
            Next::Batch(batch) => match batch.and_then(|batch| open.writer.rows(&batch, &mut part)) {
                Ok(more) => open.more = more,
                Err(error) => {
                    tracing::debug!(%error, "an answer ends early");
                    return Some(last_part(open.writer, Some(error)));
                }
            },
            Next::End => {
                open.write_progress(&mut part);
                let (end, stage) = last_part(open.writer, None);
                let end = end.map(|frame| {
                    part.extend_from_slice(&frame.into_data().unwrap_or_default());
                    Frame::data(part.into())
                });
                return Some((end, stage));
            }
        }
    }
    Some((Ok(Frame::data(part.into())), Some(Stage::Rows(open))))
}

fn last_part(writer: Writer, error: Option<QueryError>) -> Part {
    let truncated = writer.truncated;
    let has_trailers = matches!(writer.format, Format::Csv | Format::Arrow);
    let end = writer.end(error).map(Frame::data).map_err(std::io::Error::other);
    let trailers = (has_trailers && end.is_ok()).then(|| {
        let truncated = HeaderValue::from_static(if truncated { "true" } else { "false" });
        Stage::Trailers(HeaderMap::from_iter([(TRUNCATED_TRAILER, truncated)]))
    });
    (end, trailers)
}

enum Next {
    Batch(Result<RecordBatch, QueryError>),
    /// Nothing came for a while.
    Progress,
    End,
}

impl Open {
    async fn next_batch(&mut self) -> Next {
        if !self.more {
            return Next::End;
        }
        let next = if self.writer.format == Format::Lines {
            match tokio::time::timeout(PROGRESS_EVERY, self.rows.next()).await {
                Ok(next) => next,
                Err(_) => return Next::Progress,
            }
        } else {
            self.rows.next().await
        };
        next.map_or(Next::End, Next::Batch)
    }

    fn write_progress(&self, out: &mut Vec<u8>) {
        if self.writer.format == Format::Lines {
            let progress = self.rows.progress();
            let milliseconds = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            line(
                out,
                &json!({ "progress": {
                    "rows_read": progress.rows_read,
                    "rows_expected": progress.rows_expected,
                    "elapsed_ms": milliseconds,
                } }),
            );
        }
    }
}

fn line(out: &mut Vec<u8>, value: &Value) {
    out.extend_from_slice(value.to_string().as_bytes());
    out.push(b'\n');
}

struct Writer {
    format: Format,
    schema: SchemaRef,
    json: Vec<bool>,
    arrow: Option<StreamWriter<Vec<u8>>>,
    limit: usize,
    written: usize,
    truncated: bool,
    /// To say where in it an error is.
    sql: String,
}

impl Writer {
    fn new(format: Format, schema: SchemaRef, limit: Option<usize>, sql: &str) -> Result<Self, QueryError> {
        let schema = if format == Format::Arrow { portable_schema(&schema) } else { schema };
        let arrow = match format {
            Format::Arrow => Some(StreamWriter::try_new(Vec::new(), &schema)?),
            _ => None,
        };
        let json = schema.fields().iter().map(|field| is_json(field)).collect();
        let limit = limit.unwrap_or(usize::MAX);
        Ok(Self { format, schema, json, arrow, limit, written: 0, truncated: false, sql: sql.to_owned() })
    }

    fn start(&mut self) -> Vec<u8> {
        let fields = self.schema.fields();
        let columns =
            || Value::from_iter(fields.iter().map(|field| json!({ "name": field.name(), "type": type_name(field) })));
        match self.format {
            Format::Json => format!("{{\"columns\":{},\"rows\":[", columns()).into_bytes(),
            Format::Lines => {
                let mut out = Vec::new();
                line(&mut out, &json!({ "columns": columns() }));
                out
            }
            Format::Csv => {
                let mut line = String::new();
                for (position, field) in fields.iter().enumerate() {
                    line.push_str(if position > 0 { "," } else { "" });
                    csv_text(&mut line, field.name());
                }
                line.push_str("\r\n");
                line.into_bytes()
            }
            Format::Arrow => self.arrow.as_mut().map(|writer| std::mem::take(writer.get_mut())).unwrap_or_default(),
        }
    }

    /// Appends rows; false if no more are wanted.
    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<bool, QueryError> {
        let count = batch.num_rows().min(self.limit - self.written);
        self.truncated = count < batch.num_rows();
        if count > 0 {
            let batch = batch.slice(0, count);
            match &mut self.arrow {
                Some(writer) => {
                    writer.write(&portable_batch(&batch, &self.schema)?)?;
                    out.append(writer.get_mut());
                }
                None => self.text_rows(&batch, out)?,
            }
            self.written += count;
        }
        Ok(!self.truncated)
    }

    fn text_rows(&self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), QueryError> {
        let columns = batch.columns().iter().map(plain).collect::<Result<Vec<_>, _>>()?;
        let mut line = String::new();
        for row in 0..batch.num_rows() {
            line.clear();
            match self.format {
                Format::Json => {
                    line.push_str(if self.written + row > 0 { "," } else { "" });
                    self.json_row(&columns, row, &mut line)?;
                }
                Format::Lines => {
                    line.push_str(if row > 0 { "," } else { "{\"rows\":[" });
                    self.json_row(&columns, row, &mut line)?;
                }
                _ => csv_row(&columns, row, &mut line)?,
            }
            out.extend_from_slice(line.as_bytes());
        }
        if self.format == Format::Lines {
            out.extend_from_slice(b"]}\n");
        }
        Ok(())
    }

    fn json_row(&self, columns: &[ArrayRef], row: usize, out: &mut String) -> Result<(), QueryError> {
        out.push('[');
        for (position, column) in columns.iter().enumerate() {
            out.push_str(if position > 0 { "," } else { "" });
            json_value(column, row, self.json.get(position).copied().unwrap_or_default(), out)?;
        }
        out.push(']');
        Ok(())
    }

    /// `"row_count": ..., "truncated": ...`, with a note if rows were cut off.
    fn summary(&self, failed: bool) -> Value {
        let mut summary = json!({ "row_count": self.written, "truncated": self.truncated || failed });
        if self.truncated {
            let note =
                format!("there are more than these {} rows: narrow the question, or raise \"limit\"", self.limit);
            summary["note"] = note.into();
        }
        summary
    }

    fn end(mut self, error: Option<QueryError>) -> Result<Bytes, QueryError> {
        let summary = self.summary(error.is_some());
        match (self.format, error) {
            (Format::Json, error) => {
                let summary = summary.to_string();
                let mut end = format!("],{}", summary.trim_start_matches('{').trim_end_matches('}'));
                if let Some(error) = error {
                    let _ = write!(end, ",\"error\":{}", super::described(&error, error.position(&self.sql)));
                }
                end.push_str("}\n");
                Ok(end.into())
            }
            (Format::Lines, error) => {
                let mut end = Vec::new();
                line(
                    &mut end,
                    &match error {
                        Some(error) => json!({ "error": super::described(&error, error.position(&self.sql)) }),
                        None => json!({ "end": summary }),
                    },
                );
                Ok(end.into())
            }
            // A body that breaks off is the only way to say so here.
            (_, Some(error)) => Err(error),
            (Format::Csv, None) => Ok(Bytes::new()),
            (Format::Arrow, None) => match &mut self.arrow {
                Some(writer) => {
                    writer.finish()?;
                    Ok(std::mem::take(writer.get_mut()).into())
                }
                None => Ok(Bytes::new()),
            },
        }
    }
}

/// The value at `row` of a [`plain`] column, as JSON.
pub(super) fn json_value(column: &ArrayRef, row: usize, is_json: bool, out: &mut String) -> Result<(), QueryError> {
    if column.is_null(row) {
        out.push_str("null");
        return Ok(());
    }
    let mut text = String::new();
    if !value(&mut text, column, row) {
        text = shown(column, row)?;
    }
    match column.data_type() {
        DataType::Boolean => out.push_str(if column.as_boolean().value(row) { "true" } else { "false" }),
        numeric if numeric.is_integer() => out.push_str(&text),
        DataType::Float32 if column.as_primitive::<Float32Type>().value(row).is_finite() => out.push_str(&text),
        DataType::Float64 if column.as_primitive::<Float64Type>().value(row).is_finite() => out.push_str(&text),
        _ if is_json && serde_json::from_str::<IgnoredAny>(&text).is_ok() => out.push_str(&text),
        DataType::Timestamp(_, Some(_)) => {
            let _ = write!(out, "\"{}Z\"", text.trim_end_matches("+00").replacen(' ', "T", 1));
        }
        _ => {
            let _ = write!(out, "{}", Value::from(text));
        }
    }
    Ok(())
}

fn csv_row(columns: &[ArrayRef], row: usize, out: &mut String) -> Result<(), QueryError> {
    for (position, column) in columns.iter().enumerate() {
        out.push_str(if position > 0 { "," } else { "" });
        if column.is_null(row) {
            continue;
        }
        let mut text = String::new();
        if !value(&mut text, column, row) {
            text = shown(column, row)?;
        }
        csv_text(out, &text);
    }
    out.push_str("\r\n");
    Ok(())
}

fn csv_text(out: &mut String, text: &str) {
    if text.is_empty() || text.contains([',', '"', '\n', '\r']) {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}

fn shown(column: &ArrayRef, row: usize) -> Result<String, QueryError> {
    let options = FormatOptions::default();
    Ok(ArrayFormatter::try_new(column.as_ref(), &options)?.value(row).to_string())
}
