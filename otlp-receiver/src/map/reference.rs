//! The views against `prost`: what it accepts is accepted, and gives the rows of the request as `prost` writes it anew.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::decode::Messages;
use crate::otlp::samples::{damaged, delimited, key, request};
use whence_schema::Rows;

/// Maps with a digest that does not depend on the bytes, so that two ways of writing one request can be compared.
fn mapped(mapper: &Mapper, signal: Signal, body: &[u8]) -> Result<(Mapped, Rejections), WireError> {
    let tenant = TenantId::default();
    let received_at = UnixNanos(1_700_000_000_000_000_000);
    map_body(&Request { tenant: &tenant, received_at, digest: RequestDigest(7), rules: &mapper.rules }, signal, body)
}

fn assert_as_prost(signal: Signal, body: &[u8]) {
    let mapper = Mapper::new(default_rules());
    match (mapped(&mapper, signal, body), Messages::from_protobuf(signal, body)) {
        (Ok((rows, rejections)), Ok(messages)) => {
            let (expected, expected_rejections) = mapped(&mapper, signal, &messages.to_protobuf()).unwrap();
            assert_eq!(rejections, expected_rejections);
            assert_eq!((rows.received, &rows.assets), (expected.received, &expected.assets));
            match (&rows.rows, &expected.rows) {
                (Rows::Events(rows), Rows::Events(expected)) => assert_eq!(rows, expected),
                (Rows::Metrics(rows), Rows::Metrics(expected)) => {
                    assert_eq!(format!("{rows:?}"), format!("{expected:?}"))
                }
                _ => panic!("rows of another kind"),
            }
        }
        (Err(_), Err(_)) => {}
        (Ok(_), Err(error)) => panic!("accepted, but prost says: {error}"),
        (Err(error), Ok(_)) => panic!("prost accepts what was refused: {error}"),
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

    #[test]
    fn requests_however_written_give_the_rows_that_prost_gives(seed: u64) {
        for signal in Signal::ALL {
            assert_as_prost(*signal, &request(*signal, seed));
        }
    }

    #[test]
    fn damaged_requests_are_refused_exactly_when_prost_refuses_them(seed: u64, damage: u64) {
        for signal in Signal::ALL {
            assert_as_prost(*signal, &damaged(request(*signal, seed), damage));
        }
    }

    #[test]
    fn any_bytes_are_refused_exactly_when_prost_refuses_them(body in proptest::collection::vec(0u8..40, 0..64)) {
        for signal in Signal::ALL {
            assert_as_prost(*signal, &body);
        }
    }
}

/// A resource attribute whose value is nested `levels` deep, in arrays, then in what `innermost` writes.
fn nested(levels: usize, innermost: &[u8]) -> Vec<u8> {
    let mut bytes = innermost.to_vec();
    let wrap = |bytes: &mut Vec<u8>, number| {
        let inner = std::mem::take(bytes);
        delimited(bytes, number, &inner);
    };
    for level in 0..levels {
        wrap(&mut bytes, if level % 2 == 0 { 1 } else { 5 });
    }
    // Out of the array: value of the attribute, of the resource, of its spans.
    for number in [2, 1, 1, 1] {
        wrap(&mut bytes, number);
    }
    bytes
}

#[test]
fn nesting_ends_where_prost_ends_it() {
    let mut group = Vec::new();
    key(&mut group, 99, 3);
    key(&mut group, 99, 4);
    let mut unknown = Vec::new();
    key(&mut unknown, 99, 0);
    unknown.push(1);
    let group_with_field = [&group[..group.len() / 2], &unknown, &group[group.len() / 2..]].concat();
    let mut refused = 0;
    for levels in 80..=104 {
        for innermost in [&[][..], &group, &unknown, &group_with_field, &[0x10, 0x01]] {
            let body = nested(levels, innermost);
            assert_as_prost(Signal::Traces, &body);
            refused += usize::from(mapped(&Mapper::new(Vec::new()), Signal::Traces, &body).is_err());
        }
    }
    assert!(refused > 0);
}

#[test]
fn an_error_says_what_is_wrong_where() {
    let mapper = Mapper::new(Vec::new());
    let map = |body: &'static [u8]| {
        let mapped =
            mapper.map(TenantId::default(), Signal::Traces, Encoding::Protobuf, UnixNanos(0), Bytes::from_static(body));
        mapped.unwrap_err().to_string()
    };
    // A resource's length says 5, two bytes follow.
    let message = map(&[0x0a, 0x04, 0x0a, 0x05, 0x0a, 0x01]);
    assert!(message.contains("traces request in protobuf") && message.contains("ends too early"), "{message}");
    assert!(message.contains("before byte 4 of the body, in field 1 of ResourceSpans"), "{message}");
    // A span's name of one byte that is no UTF-8.
    let message = map(&[0x0a, 0x07, 0x12, 0x05, 0x12, 0x03, 0x2a, 0x01, 0xff]);
    assert!(message.contains("not UTF-8") && message.contains("field 5 of Span"), "{message}");
}
