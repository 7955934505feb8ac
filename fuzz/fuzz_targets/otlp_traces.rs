//! Whatever arrives as traces, decoding and mapping end as `prost` says they must.

#![no_main]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use whence_schema::Signal;

libfuzzer_sys::fuzz_target!(|input: &[u8]| whence_fuzz::decode::<ExportTraceServiceRequest>(Signal::Traces, input));
