//! Whatever arrives as logs, decoding and mapping end as `prost` says they must.

#![no_main]

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use whence_schema::Signal;

libfuzzer_sys::fuzz_target!(|input: &[u8]| whence_fuzz::decode::<ExportLogsServiceRequest>(Signal::Logs, input));
