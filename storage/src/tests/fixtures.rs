//! Files that the code of each on-disk version wrote, read by the code of today.

use crate::digests::{DigestJournal, Digests, ServingSeconds};
use crate::log::{LogOffset, LogWriter, Record, list_segments, scan};
use crate::{Disk, Durability, RealDisk};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use whence_schema::{RequestDigest, Signal};

/// A copy, since opening cuts and continues what it finds.
fn copy_of(fixture: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(fixture);
    for entry in std::fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

#[test]
fn a_segment_of_version_1_is_read_whole_and_followed_by_a_new_one() {
    let folder = copy_of("log_v1");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut found = Vec::new();
    let mut read = || {
        for segment in list_segments(disk.as_ref(), folder.path()).unwrap() {
            let scanned = scan(disk.as_ref(), &segment, |offset, record, _| {
                let Record::Request(request) = record else { panic!("{record:?}") };
                assert_eq!(request.digest, RequestDigest::of(&request.tenant, request.signal, &request.body));
                found.push((offset.0, request.signal, request.received));
                ControlFlow::Continue(())
            });
            assert_eq!(scanned.unwrap().damage, Vec::new());
        }
        std::mem::take(&mut found)
    };
    use Signal::{Logs, Metrics, Traces};
    let signals = [Traces, Traces, Traces, Logs, Logs, Metrics, Metrics, Metrics, Metrics];
    let expected: Vec<_> =
        (9..).zip(signals).zip([1, 2, 1, 3, 1, 3, 2, 8, 2]).map(|((o, signal), n)| (o, signal, n)).collect();
    assert_eq!(read(), expected);
    let (writer, segments, damage) =
        LogWriter::open(&disk, folder.path(), Durability::Fsync, 1 << 20, LogOffset(1)).unwrap();
    assert_eq!((segments.len(), damage.len(), writer.numbers().segments), (1, 0, 2));
    drop(writer);
    assert_eq!(read(), expected);
}

#[test]
fn a_duplicate_journal_of_version_1_is_read() {
    let folder = copy_of("digests_v1");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut digests = Digests::new(1_800, 100);
    let (_, end) = DigestJournal::open(&disk, folder.path(), 1_800, &mut digests).unwrap();
    assert_eq!(end, ServingSeconds(0));
    let known = [0x9dab_67e4_e281_38e5_2280_e3c0_01af_ad1b, 0xeb82_e647_e797_8029_eda6_4323_e24b_6b83];
    assert!(known.iter().all(|digest| digests.contains(RequestDigest(*digest))));
}
