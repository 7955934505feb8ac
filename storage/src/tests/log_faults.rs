//! The log on a disk that fails, fills and forgets: what was acknowledged is there, at its place, once.

use super::cases;
use super::faulty_disk::{Fault, FaultyDisk};
use crate::log::{Counts, LogOffset, LogWriter, Record, scan};
use crate::{Disk, Durability, StorageError};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use whence_schema::{Signal, TenantId, UnixNanos};

#[derive(Debug, Clone)]
enum Operation {
    /// A group of so many records.
    Append(u64),
    Fault(Fault),
    Space(Option<u64>),
    /// Segments up to so many records before the end are not needed any more.
    Cut(u64),
    Restart,
    PowerLoss,
}

pub(super) fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => (0u64..12).prop_map(Fault::Once),
        1 => (0u64..12).prop_map(Fault::From),
        1 => Just(Fault::Sync),
        2 => Just(Fault::None),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        12 => (1u64..5).prop_map(Operation::Append),
        3 => fault().prop_map(Operation::Fault),
        1 => proptest::option::of(0u64..400).prop_map(Operation::Space),
        2 => (0u64..20).prop_map(Operation::Cut),
        1 => Just(Operation::Restart),
        2 => Just(Operation::PowerLoss),
    ]
}

fn record(value: u64) -> Record {
    let tenant = TenantId::default();
    Record::Counts(Counts {
        tenant,
        signal: Signal::Logs,
        at: UnixNanos(0),
        received: value,
        duplicate: 0,
        rejected: value,
    })
}

struct Run<'a> {
    folder: &'a Path,
    disk: FaultyDisk,
    writer: Option<LogWriter>,
    /// Acknowledged values by offset.
    acknowledged: BTreeMap<u64, u64>,
    attempted: u64,
    cut: u64,
    poisoned: bool,
}

impl Run<'_> {
    fn open(&mut self) {
        self.writer = None;
        self.poisoned = false;
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        loop {
            // A start that fails changes nothing, whatever it got to.
            match LogWriter::open(&disk, self.folder, Durability::Fsync, 300, LogOffset(self.cut + 1)) {
                Ok((writer, segments, _)) => {
                    let mut read = BTreeMap::new();
                    let mut all = true;
                    let mut values = BTreeSet::new();
                    for segment in &segments {
                        let failed = scan(disk.as_ref(), segment, |offset, record, _| {
                            let Record::Counts(counts) = record else { panic!("{record:?}") };
                            assert!(values.insert(counts.received), "{} twice", counts.received);
                            assert_eq!(read.insert(offset.0, counts.received), None);
                            ControlFlow::Continue(())
                        });
                        all &= failed.is_ok();
                    }
                    if all {
                        self.check(&read);
                        self.writer = Some(writer);
                        return;
                    }
                }
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
            self.disk.set_fault(Fault::None);
            self.disk.set_space(None);
        }
    }

    fn check(&self, read: &BTreeMap<u64, u64>) {
        for (offset, value) in self.acknowledged.range(self.cut + 1..) {
            assert_eq!(read.get(offset), Some(value), "record {offset} of {read:?}");
        }
        assert!(read.values().all(|value| *value < self.attempted));
    }

    fn append(&mut self, records: u64) {
        let Some(writer) = &mut self.writer else { return };
        let group: Vec<(u64, u64)> = (0..records)
            .map(|_| {
                let value = self.attempted;
                self.attempted += 1;
                (writer.push(&record(value)).0, value)
            })
            .collect();
        match writer.commit() {
            Ok(()) => {
                assert!(!self.poisoned, "a poisoned log acknowledges nothing");
                self.acknowledged.extend(group);
            }
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                self.poisoned |= matches!(error, StorageError::LogPoisoned(_));
                assert!(!self.poisoned || writer.poisoned());
            }
        }
    }
}

fn run(operations: Vec<Operation>, seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(folder.path(), seed);
    let log = folder.path().join("log");
    let mut run =
        Run { folder: &log, disk, writer: None, acknowledged: BTreeMap::new(), attempted: 0, cut: 0, poisoned: false };
    run.open();
    for operation in operations {
        match operation {
            Operation::Append(records) => run.append(records),
            Operation::Fault(fault) => run.disk.set_fault(fault),
            Operation::Space(space) => run.disk.set_space(space),
            Operation::Cut(behind) => {
                let newest = run.acknowledged.last_key_value().map_or(0, |(offset, _)| *offset);
                run.cut = run.cut.max(newest.saturating_sub(behind));
                let up_to = LogOffset(run.cut);
                let _ = run.writer.as_mut().map(|writer| writer.cut(up_to));
            }
            Operation::Restart => run.open(),
            Operation::PowerLoss => {
                run.writer = None;
                run.disk.crash();
                run.open();
            }
        }
    }
    run.disk.set_fault(Fault::None);
    run.disk.set_space(None);
    if run.writer.as_ref().is_some_and(LogWriter::poisoned) {
        run.open();
    }
    let before = run.acknowledged.len();
    run.append(1);
    assert!(run.acknowledged.len() > before, "service returns with the disk");
    run.writer = None;
    run.disk.crash();
    run.open();
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn the_log_keeps_what_it_acknowledged_on_a_disk_that_fails_fills_and_forgets(
        operations in vec(operation(), 1..60),
        seed: u64,
    ) {
        run(operations, seed);
    }
}
