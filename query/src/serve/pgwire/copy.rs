//! Rows of `COPY (query) TO STDOUT`, written as they come.

use super::connection::error;
use super::encode::RowEncoder;
use super::types::described;
use crate::statement::{CopyFormat, Separated};
use crate::stream::QueryStream;
use ::pgwire::api::portal::Format;
use ::pgwire::api::results::Tag;
use ::pgwire::error::{PgWireError, PgWireResult};
use ::pgwire::messages::PgWireBackendMessage;
use ::pgwire::messages::copy::{CopyData, CopyDone, CopyOutResponse};
use bytes::{BufMut, BytesMut};
use futures::{Sink, SinkExt, StreamExt};
use std::fmt::Debug;
use std::sync::Arc;

/// Signature, flags and length of the extension of PostgreSQL's binary COPY format.
const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Sends all rows; one message per row, as PostgreSQL does.
pub(super) async fn send<C>(client: &mut C, mut rows: QueryStream, format: &CopyFormat) -> PgWireResult<Tag>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let binary = *format == CopyFormat::Binary;
    let wire = if binary { Format::UnifiedBinary } else { Format::UnifiedText };
    let fields = Arc::new(described(&rows.schema(), &wire));
    let columns = i16::try_from(fields.len()).unwrap_or(i16::MAX);
    let code = i8::from(binary);
    let opening = CopyOutResponse::new(code, columns, vec![i16::from(code); fields.len()]);
    client.feed(PgWireBackendMessage::CopyOutResponse(opening)).await?;
    let mut line = BytesMut::new();
    // The binary header is of one piece with the first row, so that a client never waits between the two.
    let names: Vec<_> = fields.iter().map(|field| Some(field.name().as_bytes())).collect();
    match format {
        CopyFormat::Binary => line.put_slice(BINARY_HEADER),
        CopyFormat::Text(separated) | CopyFormat::Csv { separated, .. } if separated.header => {
            write_row(&mut line, format, names.into_iter());
            client.feed(data(&mut line)).await?;
        }
        _ => {}
    }
    let mut count = 0;
    while let Some(batch) = rows.next().await {
        for row in RowEncoder::new(&batch.map_err(error)?, fields.clone())? {
            let row = row?;
            if binary {
                line.put_i16(columns);
                line.put_slice(&row.data);
            } else {
                write_row(&mut line, format, values(&row.data));
            }
            client.feed(data(&mut line)).await?;
            count += 1;
        }
    }
    if binary {
        line.put_i16(-1);
        client.feed(data(&mut line)).await?;
    }
    client.feed(PgWireBackendMessage::CopyDone(CopyDone::new())).await?;
    Ok(Tag::new("COPY").with_rows(count))
}

fn data(line: &mut BytesMut) -> PgWireBackendMessage {
    PgWireBackendMessage::CopyData(CopyData::new(line.split().freeze()))
}

/// Values of an encoded row: a length, then so many bytes; -1 is NULL.
fn values(row: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = row;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(length) => {
                let (value, after) = after.split_at_checked(length)?;
                rest = after;
                Some(Some(value))
            }
            Err(_) => {
                rest = after;
                Some(None)
            }
        }
    })
}

fn write_row<'a>(line: &mut BytesMut, format: &CopyFormat, values: impl Iterator<Item = Option<&'a [u8]>>) {
    let separated = match format {
        CopyFormat::Text(separated) | CopyFormat::Csv { separated, .. } => separated,
        CopyFormat::Binary => return,
    };
    for (position, value) in values.enumerate() {
        if position > 0 {
            put_char(line, separated.delimiter);
        }
        match (value, format) {
            (None, _) => line.put_slice(separated.null.as_bytes()),
            (Some(value), CopyFormat::Csv { quote, escape, quote_all, .. }) => {
                write_csv(line, value, separated, (*quote, *escape), *quote_all);
            }
            (Some(value), _) => write_text(line, value, separated.delimiter),
        }
    }
    line.put_u8(b'\n');
}

fn put_char(line: &mut BytesMut, character: char) {
    line.put_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// A backslash before what means something.
fn write_text(line: &mut BytesMut, value: &[u8], delimiter: char) {
    for byte in value {
        match byte {
            b'\\' => line.put_slice(b"\\\\"),
            b'\n' => line.put_slice(b"\\n"),
            b'\r' => line.put_slice(b"\\r"),
            b'\t' => line.put_slice(b"\\t"),
            0x08 => line.put_slice(b"\\b"),
            0x0b => line.put_slice(b"\\v"),
            0x0c => line.put_slice(b"\\f"),
            byte if delimiter.is_ascii() && *byte == delimiter as u8 => {
                line.put_u8(b'\\');
                line.put_u8(*byte);
            }
            byte => line.put_u8(*byte),
        }
    }
}

/// Quotes where a reader would take the value for something else.
fn write_csv(line: &mut BytesMut, value: &[u8], separated: &Separated, marks: (char, char), quote_all: bool) {
    let (quote, escape) = marks;
    let text = String::from_utf8_lossy(value);
    let special = |c: char| c == separated.delimiter || c == quote || c == '\n' || c == '\r';
    if !quote_all && *text != *separated.null && *text != *"\\." && !text.contains(special) {
        line.put_slice(value);
        return;
    }
    put_char(line, quote);
    for character in text.chars() {
        if character == quote || character == escape {
            put_char(line, escape);
        }
        put_char(line, character);
    }
    put_char(line, quote);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn written(format: &CopyFormat, values: &[Option<&str>]) -> String {
        let mut line = BytesMut::new();
        write_row(&mut line, format, values.iter().map(|value| value.map(str::as_bytes)));
        String::from_utf8(line.to_vec()).unwrap()
    }

    #[test]
    fn values_are_written_as_postgresql_writes_them() {
        let text = CopyFormat::Text(Separated { delimiter: '\t', null: "\\N".to_owned(), header: false });
        assert_eq!(written(&text, &[Some("a\tb\\c\n"), None, Some("")]), "a\\tb\\\\c\\n\t\\N\t\n");
        let separated = Separated { delimiter: ',', null: String::new(), header: false };
        let csv = CopyFormat::Csv { separated, quote: '"', escape: '"', quote_all: false };
        assert_eq!(
            written(&csv, &[Some("a,b"), None, Some(""), Some("say \"x\"")]),
            "\"a,b\",,\"\",\"say \"\"x\"\"\"\n"
        );
    }

    #[test]
    fn values_of_a_row_are_found_by_their_lengths() {
        let row = [0, 0, 0, 1, b'x', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert_eq!(values(&row).collect::<Vec<_>>(), [Some(&b"x"[..]), None, Some(&b""[..])]);
    }
}
