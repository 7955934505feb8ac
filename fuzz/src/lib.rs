//! What the fuzz targets share. See `tests/README.md` for how to run them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod log;

pub(crate) use log::StorageError;
pub(crate) use log::disk::Disk;

use bytes::Bytes;
use prost::Message;
use std::sync::LazyLock;
use whence_otlp_receiver::{Mapper, default_rules};
use whence_schema::tables::events::column;
use whence_schema::{Encoding, MappedRequest, Rows, Signal, TenantId, UnixNanos};

static MAPPER: LazyLock<Mapper> = LazyLock::new(|| Mapper::new(default_rules()));

/// Maps `input` and compares with the way over `prost`: an even first byte says that the rest is protobuf, an odd one
/// JSON.
///
/// # Panics
///
/// When the two disagree on whether `input` is a request, or on its rows.
pub fn decode<M: Message + Default>(signal: Signal, input: &[u8]) {
    let Some((first, body)) = input.split_first() else { return };
    if first % 2 == 1 {
        let _ = map(signal, Encoding::Json, body);
        return;
    }
    match (map(signal, Encoding::Protobuf, body), M::decode(body)) {
        (Ok(mapped), Ok(message)) => {
            let again = map(signal, Encoding::Protobuf, &message.encode_to_vec()).expect("what prost writes is valid");
            assert_eq!((mapped.received, mapped.rejected), (again.received, again.rejected));
            assert_eq!(mapped.assets, again.assets);
            assert_same_rows(&mapped.rows, &again.rows);
        }
        (Err(_), Err(_)) => {}
        (Ok(_), Err(error)) => panic!("accepted, but prost says: {error}"),
        (Err(error), Ok(_)) => panic!("prost accepts what was refused: {error}"),
    }
}

fn map(signal: Signal, encoding: Encoding, body: &[u8]) -> Result<MappedRequest, String> {
    let received_at = UnixNanos(1_700_000_000_000_000_000);
    let body = Bytes::copy_from_slice(body);
    let mapped = MAPPER.map(TenantId::default(), signal, encoding, received_at, body);
    mapped.map(|(mapped, _)| mapped).map_err(|error| error.to_string())
}

/// All columns but the digest, which is of the bytes and so another one.
fn assert_same_rows(rows: &Rows, expected: &Rows) {
    match (rows, expected) {
        (Rows::Events(rows), Rows::Events(expected)) => {
            for (i, (column, expected)) in rows.columns().iter().zip(expected.columns()).enumerate() {
                assert!(i == column::REQUEST_DIGEST || column == expected, "column {i}: {column:?}, not {expected:?}");
            }
        }
        (Rows::Metrics(points), Rows::Metrics(expected)) => {
            assert_eq!(points.series, expected.series);
            assert_eq!(points.points, expected.points);
            assert_eq!(points.exemplars, expected.exemplars);
        }
        _ => panic!("rows of another kind"),
    }
}
