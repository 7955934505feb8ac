//! What decoding and mapping cost, in processor seconds per million items of each signal. Not a test of anything: run it
//! alone, optimised, as `tests/README.md` says.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use bytes::Bytes;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use whence_otlp_receiver::{Mapper, default_rules};
use whence_schema::{Encoding, Rows, Signal, TenantId, UnixNanos};
use whence_simulator::{LoadMix, LoadTemplates};

/// As in the server.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Items mapped for one figure.
const ITEMS: u64 = 1_000_000;

#[test]
#[ignore = "a measurement; it needs an optimised build and an idle machine"]
fn decode_and_map_cost_per_million_items() {
    for (signal, mix) in
        [(Signal::Traces, LoadMix::Traces), (Signal::Logs, LoadMix::Logs), (Signal::Metrics, LoadMix::Metrics)]
    {
        measure(&format!("{signal}, simulated"), signal, &simulated(mix));
        // Requests of another generator: a file per signal, each message behind its length.
        if let Ok(folder) = std::env::var("WHENCE_REQUESTS") {
            measure(&format!("{signal}, recorded"), signal, &recorded(&Path::new(&folder).join(signal.to_string())));
        }
    }
}

fn simulated(mix: LoadMix) -> Vec<Bytes> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let templates = LoadTemplates::new(1, mix, NonZeroUsize::new(1_000).unwrap(), now);
    (0..templates.len() as u64).map(|number| templates.request(number, now).body).collect()
}

fn recorded(file: &Path) -> Vec<Bytes> {
    let mut rest = Bytes::from(std::fs::read(file).unwrap());
    let mut requests = Vec::new();
    while !rest.is_empty() {
        let length = prost::encoding::decode_varint(&mut rest).unwrap() as usize;
        requests.push(rest.split_to(length));
    }
    requests
}

fn measure(title: &str, signal: Signal, requests: &[Bytes]) {
    let mapper = Mapper::new(default_rules());
    let map = |body: &Bytes| {
        mapper.map(TenantId::default(), signal, Encoding::Protobuf, UnixNanos::now(), body.clone()).unwrap().0
    };
    let (mut bytes, mut held, mut items) = (0, 0, 0);
    for request in requests {
        let mapped = map(request);
        assert_eq!(mapped.rejected, 0, "the generator's requests are valid");
        bytes += request.len();
        items += mapped.received;
        held += match &mapped.rows {
            Rows::Events(batch) => batch.get_array_memory_size(),
            Rows::Metrics(_) => 0,
        };
    }
    let (before, mut mapped) = (processor_seconds(), 0);
    for request in requests.iter().cycle() {
        mapped += map(request).received;
        if mapped >= ITEMS {
            break;
        }
    }
    let seconds = (processor_seconds() - before) * 1e6 / mapped as f64;
    let each = |total: usize| total as f64 / items as f64;
    println!("{title}: {seconds:.3} s/million, {:.0} B/item sent, {:.0} B/item held", each(bytes), each(held));
}

/// Processor time of this process, in clock ticks of 1/100 s.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) as f64 / 100.0
}
