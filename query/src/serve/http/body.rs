//! Rows as the body of an answer, made batch by batch as the client reads.

use crate::error::QueryError;
use crate::functions::is_json;
use crate::serve::pgwire::type_name;
use crate::serve::text::{plain, value};
use crate::session::QueryStream;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde::de::IgnoredAny;
use std::fmt::Write;

/// Media type of an Arrow IPC stream.
pub(super) const ARROW_TYPE: &str = "application/vnd.apache.arrow.stream";

/// Form of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `{"columns": [...], "rows": [[...], ...], "truncated": false}`.
    Json,
    /// With a header line; NULL is empty, an empty text is `""`.
    Csv,
    /// Arrow IPC.
    Arrow,
}

/// The answer; an error before the first rows is the request's, a later one ends the body.
pub(super) async fn answer(mut rows: QueryStream, format: Format, limit: usize) -> Result<Response, QueryError> {
    let mut writer = Writer::new(format, rows.schema(), limit)?;
    let first = rows.next().await.transpose()?;
    let mut start = writer.start();
    let more = match first {
        Some(batch) => writer.rows(&batch, &mut start)?,
        None => false,
    };
    let body = stream::unfold(Some(Box::new(Open { rows, writer, pending: start, more })), next_part);
    let media = match format {
        Format::Json => "application/json",
        Format::Csv => "text/csv; charset=utf-8",
        Format::Arrow => ARROW_TYPE,
    };
    Ok(([(header::CONTENT_TYPE, media)], Body::from_stream(body)).into_response())
}

/// An answer that has not ended.
struct Open {
    rows: QueryStream,
    writer: Writer,
    pending: Vec<u8>,
    more: bool,
}

type Part = (Result<Bytes, std::io::Error>, Option<Box<Open>>);

async fn next_part(open: Option<Box<Open>>) -> Option<Part> {
    let mut open = open?;
    let mut part = std::mem::take(&mut open.pending);
    // An empty part would end the body.
    while part.is_empty() {
        let next = if open.more { open.rows.next().await } else { None };
        let written = match next {
            Some(batch) => batch.and_then(|batch| open.writer.rows(&batch, &mut part)),
            None => return Some((open.writer.end(None).map_err(std::io::Error::other), None)),
        };
        match written {
            Ok(more) => open.more = more,
            Err(error) => {
                tracing::debug!(%error, "an answer ends early");
                return Some((open.writer.end(Some(error)).map_err(std::io::Error::other), None));
            }
        }
    }
    Some((Ok(part.into()), Some(open)))
}

struct Writer {
    format: Format,
    schema: SchemaRef,
    json: Vec<bool>,
    arrow: Option<StreamWriter<Vec<u8>>>,
    left: usize,
    written: usize,
    truncated: bool,
}

impl Writer {
    fn new(format: Format, schema: SchemaRef, limit: usize) -> Result<Self, QueryError> {
        let arrow = match format {
            Format::Arrow => Some(StreamWriter::try_new(Vec::new(), &schema)?),
            _ => None,
        };
        let json = schema.fields().iter().map(|field| is_json(field)).collect();
        let left = if format == Format::Json { limit } else { usize::MAX };
        Ok(Self { format, schema, json, arrow, left, written: 0, truncated: false })
    }

    fn start(&mut self) -> Vec<u8> {
        let fields = self.schema.fields();
        match self.format {
            Format::Json => {
                let columns =
                    fields.iter().map(|field| serde_json::json!({ "name": field.name(), "type": type_name(field) }));
                format!("{{\"columns\":{},\"rows\":[", serde_json::Value::from_iter(columns)).into_bytes()
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
        if let Some(writer) = &mut self.arrow {
            writer.write(&as_declared(batch, &self.schema)?)?;
            out.append(writer.get_mut());
            return Ok(true);
        }
        let columns = batch.columns().iter().map(plain).collect::<Result<Vec<_>, _>>()?;
        let rows = batch.num_rows().min(self.left);
        self.truncated = rows < batch.num_rows();
        self.left -= rows;
        let mut line = String::new();
        for row in 0..rows {
            line.clear();
            match self.format {
                Format::Json => self.json_row(&columns, row, &mut line)?,
                _ => csv_row(&columns, row, &mut line)?,
            }
            out.extend_from_slice(line.as_bytes());
            self.written += 1;
        }
        Ok(!self.truncated)
    }

    fn json_row(&self, columns: &[ArrayRef], row: usize, out: &mut String) -> Result<(), QueryError> {
        out.push_str(if self.written > 0 { ",[" } else { "[" });
        for (position, column) in columns.iter().enumerate() {
            out.push_str(if position > 0 { "," } else { "" });
            json_value(column, row, self.json.get(position).copied().unwrap_or_default(), out)?;
        }
        out.push(']');
        Ok(())
    }

    fn end(mut self, error: Option<QueryError>) -> Result<Bytes, QueryError> {
        match (self.format, error) {
            (Format::Json, error) => {
                let mut end =
                    format!("],\"row_count\":{},\"truncated\":{}", self.written, self.truncated || error.is_some());
                if let Some(error) = error {
                    let _ = write!(end, ",\"error\":{}", super::described(&error));
                }
                end.push_str("}\n");
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

/// The columns' types as declared: text may have been computed in another of its forms.
fn as_declared(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, QueryError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type())).collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

fn json_value(column: &ArrayRef, row: usize, is_json: bool, out: &mut String) -> Result<(), QueryError> {
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
            let _ = write!(out, "{}", serde_json::Value::from(text));
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
