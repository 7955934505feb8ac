#![allow(clippy::unwrap_used)]
use super::super::Counts;
use super::*;
use crate::RealDisk;
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

fn real() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn open(folder: &Path) -> (LogWriter, Vec<u64>, Vec<String>) {
    let (writer, segments, mut damage) =
        LogWriter::open(&real(), folder, Durability::Fsync, 200, LogOffset(1)).unwrap();
    let mut read = Vec::new();
    for segment in segments {
        let found = scan(&RealDisk, &segment, |_, record, _| {
            if let Record::Counts(counts) = record {
                read.push(counts.received);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        for range in &found.damage {
            damage.push(range.sentence(&segment));
            keep_damaged(&RealDisk, &segment, range);
        }
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
fn a_flipped_bit_costs_one_record_or_the_end_of_its_segment_and_is_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _, _) = open(folder.path());
    write(&mut writer, 1..14);
    assert!(writer.finished.len() >= 2);
    let (first, second) = (writer.finished[0].clone(), writer.finished[1].first.0);
    drop(writer);
    let whole = std::fs::read(&first.path).unwrap();
    let record_bytes = (whole.len() - HEADER_BYTES) / (second as usize - 1);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&first.path, &bytes).unwrap();
        let (writer, read, damage) = open(folder.path());
        drop(writer);
        assert_eq!(damage.len(), 1, "flip at {at}");
        assert!(read.ends_with(&(second..14).collect::<Vec<_>>()), "flip at {at}: {read:?}");
        let in_record = at.checked_sub(HEADER_BYTES).map(|at| (at / record_bytes, at % record_bytes));
        let lost = 13 - read.len() as u64;
        match in_record {
            None => assert_eq!(lost, 0, "the header, flip at {at}"),
            // In the length: where the next record begins is not known.
            Some((record, 0..4)) => assert!(lost <= second - 1 - record as u64, "flip at {at}"),
            Some(_) => assert_eq!(lost, 1, "flip at {at}: {damage:?}"),
        }
        let kept: Vec<PathBuf> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "damaged"))
            .collect();
        assert_eq!(kept.len(), 1, "flip at {at}");
        let kept_bytes = std::fs::read(&kept[0]).unwrap();
        assert!(bytes.windows(kept_bytes.len()).any(|window| window == kept_bytes) && !kept_bytes.is_empty());
        std::fs::remove_file(&kept[0]).unwrap();
    }
}

#[test]
fn a_segment_of_a_newer_version_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _, _) = open(folder.path());
    write(&mut writer, 1..3);
    let path = writer.current.path.clone();
    drop(writer);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[7] += 1;
    let checksum = crc32fast::hash(&bytes[..16]);
    bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let refused = LogWriter::open(&real(), folder.path(), Durability::Fsync, 200, LogOffset(1)).unwrap_err();
    assert!(matches!(&refused, StorageError::Incompatible { reason, .. } if reason.contains("newer")), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
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
    let (writer, segments, _) = LogWriter::open(&real(), folder.path(), Durability::Fsync, 200, LogOffset(14)).unwrap();
    assert_eq!((writer.next, segments.len()), (LogOffset(14), 0));
}

#[test]
fn a_segment_left_empty_by_a_failed_rotation_does_not_cut_the_one_before_it_short() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _, _) = open(folder.path());
    write(&mut writer, 1..3);
    // The rotation at offset 3 made its file and failed; record 3 went to the segment before.
    std::fs::write(folder.path().join(format!("{:020}.log", 3)), record::header(LogOffset(3))).unwrap();
    write(&mut writer, 3..4);
    writer.rotate().unwrap();
    write(&mut writer, 4..5);
    drop(writer);
    let (mut writer, read, _) = open(folder.path());
    assert_eq!(read, [1, 2, 3, 4]);
    writer.cut(LogOffset(2)).unwrap();
    drop(writer);
    assert_eq!(open(folder.path()).1, [1, 2, 3, 4], "record 3 is needed still, and with it its segment");
}
