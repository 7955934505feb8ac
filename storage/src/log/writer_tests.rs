#![allow(clippy::unwrap_used)]
use super::super::Counts;
use super::*;
use whence_schema::{Signal, TenantId, UnixNanos};

fn record(received: u64) -> Record {
    Record::Counts(Counts {
        tenant: TenantId::default(),
        signal: Signal::Logs,
        at: UnixNanos(0),
        received,
        duplicate: 0,
        rejected: received,
    })
}

fn open(folder: &Path) -> (LogWriter, Vec<u64>, Vec<String>) {
    let (writer, segments, mut damage) = LogWriter::open(folder, Durability::Fsync, 200, LogOffset(1)).unwrap();
    let mut read = Vec::new();
    for segment in segments {
        let found = scan(&segment, |_, record| {
            if let Record::Counts(counts) = record {
                read.push(counts.received);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        damage.extend(damaged(&segment, &found));
    }
    (writer, read, damage)
}

fn write(writer: &mut LogWriter, records: std::ops::Range<u64>) {
    for received in records {
        assert_eq!(writer.push(&record(received)).0, received);
        writer.commit().unwrap();
    }
}

#[test]
fn every_cut_of_the_last_segment_keeps_the_records_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _, _) = open(folder.path());
    write(&mut writer, 1..4);
    let path = writer.current.path.clone();
    drop(writer);
    let whole = std::fs::read(&path).unwrap();
    let record_bytes = (whole.len() - HEADER_BYTES) / 3;
    for end in 0..whole.len() {
        let copy = tempfile::tempdir().unwrap();
        std::fs::write(copy.path().join(path.file_name().unwrap()), &whole[..end]).unwrap();
        let (mut writer, read, damage) = open(copy.path());
        let good = end.saturating_sub(HEADER_BYTES) / record_bytes;
        assert_eq!(read, (1..=good as u64).collect::<Vec<_>>(), "cut at {end}");
        let at_boundary = end >= HEADER_BYTES && (end - HEADER_BYTES).is_multiple_of(record_bytes);
        assert_eq!(damage.is_empty(), at_boundary, "cut at {end}: {damage:?}");
        write(&mut writer, good as u64 + 1..good as u64 + 3);
        drop(writer);
        let (_, read, damage) = open(copy.path());
        assert_eq!(read, (1..=good as u64 + 2).collect::<Vec<_>>());
        assert!(damage.is_empty());
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found_and_later_segments_are_still_read() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _, _) = open(folder.path());
    write(&mut writer, 1..14);
    assert!(writer.finished.len() >= 2);
    let (first, second) = (writer.finished[0].clone(), writer.finished[1].first.0);
    drop(writer);
    let whole = std::fs::read(&first.path).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&first.path, bytes).unwrap();
        let (writer, read, damage) = open(folder.path());
        drop(writer);
        assert_eq!(damage.len(), 1, "flip at {at}");
        assert!(read.len() < 13 && read.ends_with(&(second..14).collect::<Vec<_>>()), "flip at {at}: {read:?}");
    }
}

#[test]
fn a_failed_fsync_poisons_and_a_full_disk_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _, _) = open(folder.path());
    write(&mut writer, 1..2);
    writer.fail = Some(Failure::Write);
    writer.push(&record(2));
    assert!(matches!(writer.commit(), Err(StorageError::File { .. })));
    writer.fail = None;
    write(&mut writer, 2..3);
    writer.fail = Some(Failure::Fsync);
    writer.push(&record(3));
    assert!(matches!(writer.commit(), Err(StorageError::LogPoisoned(_))));
    writer.fail = None;
    writer.push(&record(3));
    assert!(matches!(writer.commit(), Err(StorageError::LogPoisoned(_))));
}

#[test]
fn cutting_deletes_exactly_the_segments_that_are_not_needed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _, _) = open(folder.path());
    write(&mut writer, 1..14);
    let keep = writer.finished[1].first;
    writer.cut(LogOffset(keep.0 - 2)).unwrap();
    assert!(writer.finished.len() >= 2);
    writer.cut(LogOffset(keep.0 - 1)).unwrap();
    assert_eq!(writer.finished.front().map(|segment| segment.first), Some(keep));
    writer.cut(LogOffset(13)).unwrap();
    assert_eq!(writer.numbers().segments, 1);
    drop(writer);
    let (writer, segments, _) = LogWriter::open(folder.path(), Durability::Fsync, 200, LogOffset(14)).unwrap();
    assert_eq!((writer.next, segments.len()), (LogOffset(14), 0));
}
