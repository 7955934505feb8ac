//! Whatever arrives as metrics, decoding and mapping end as `prost` says they must.

#![no_main]

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use whence_schema::Signal;

libfuzzer_sys::fuzz_target!(|input: &[u8]| whence_fuzz::decode::<ExportMetricsServiceRequest>(Signal::Metrics, input));
