//! Random operations on a store and on a model of it.

use super::cases;
use super::world::{Sent, World, open, options, request};
use crate::{Appended, StoreOptions, verify};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap, HashSet};

#[derive(Debug, Clone)]
enum Operation {
    Append(Sent, u64),
    Flush,
    Reopen,
    Kill,
}

fn operation() -> impl Strategy<Value = Operation> {
    let seconds = -200i64..200;
    let spans = vec((1u64..400, 0u64..400, seconds.clone()), 1..6).prop_map(Sent::Spans);
    let logs = vec(("[a-z]{0,20}", seconds.clone()), 1..4).prop_map(Sent::Logs);
    let points = vec((0u32..3, 0u32..50, 0i64..400), 1..8)
        .prop_map(|points| Sent::Points(points.into_iter().map(|(s, v, t)| (s, f64::from(v), t)).collect()));
    let append = (prop_oneof![3 => spans, 1 => logs, 3 => points], 0u64..3);
    prop_oneof![
        12 => append.prop_map(|(sent, rejected)| Operation::Append(sent, rejected)),
        2 => Just(Operation::Flush),
        1 => Just(Operation::Reopen),
        1 => Just(Operation::Kill),
    ]
}

#[derive(Debug, Default)]
struct Model {
    seen: HashSet<Vec<u8>>,
    spans: Vec<u64>,
    logs: u64,
    points: u64,
    growth: f64,
    last: HashMap<u32, (i64, f64)>,
    ledger: BTreeMap<String, [i64; 5]>,
}

impl Model {
    fn append(&mut self, sent: &Sent, rejected: u64) -> Appended {
        let mapped = request(sent, rejected);
        let counts = self.ledger.entry(mapped.signal.as_str().to_owned()).or_default();
        counts[0] += mapped.received as i64;
        counts[3] += rejected as i64;
        if !self.seen.insert(mapped.body.to_vec()) {
            counts[2] += sent.items() as i64;
            return Appended::Duplicate;
        }
        counts[1] += sent.items() as i64;
        match sent {
            Sent::Spans(spans) => self.spans.extend(spans.iter().map(|span| span.0)),
            Sent::Logs(logs) => self.logs += logs.len() as u64,
            Sent::Points(points) => points.iter().for_each(|(series, value, time)| self.point(*series, *value, *time)),
        }
        Appended::Stored
    }

    fn point(&mut self, series: u32, value: f64, time: i64) {
        self.points += 1;
        match self.last.get(&series) {
            Some((last, _)) if time <= *last => return,
            Some((_, before)) => self.growth += if value >= *before { value - before } else { value },
            None => {}
        }
        self.last.insert(series, (time, value));
    }
}

async fn check(world: &World, model: &mut Model) {
    let totals = world.totals().await;
    model.spans.sort_unstable();
    assert_eq!(totals.spans, model.spans);
    assert_eq!((totals.logs, totals.points), (model.logs, model.points));
    assert!((totals.growth - model.growth).abs() < 1e-6, "{} against {}", totals.growth, model.growth);
    let ledger: BTreeMap<_, _> = totals.ledger.into_iter().collect();
    assert_eq!(ledger, model.ledger);
    assert!(ledger.values().all(|c| c[0] == c[1] + c[2] + c[3] + c[4]));
}

async fn run(operations: Vec<Operation>) {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions { compaction: true, durability: crate::Durability::Os, ..options(folder.path()) };
    let mut world = open(options.clone()).await.unwrap();
    let mut model = Model::default();
    for operation in operations {
        match operation {
            Operation::Append(sent, rejected) => {
                let appended = world.store.append(request(&sent, rejected)).await.unwrap();
                assert_eq!(appended, model.append(&sent, rejected));
            }
            Operation::Flush => {
                world.store.flush().await.unwrap();
                check(&world, &mut model).await;
            }
            Operation::Reopen => {
                world.close().await;
                world = open(options.clone()).await.unwrap();
                assert_eq!(world.report.requests, 0);
                check(&world, &mut model).await;
            }
            Operation::Kill => {
                world.kill().await;
                world = open(options.clone()).await.unwrap();
                check(&world, &mut model).await;
            }
        }
    }
    check(&world, &mut model).await;
    world.close().await;
    assert_eq!(verify(folder.path(), |_| ()).await.unwrap().problems, Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 40, ..cases(12) })]

    #[test]
    fn the_store_holds_what_the_model_says(operations in vec(operation(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(operations));
    }
}
