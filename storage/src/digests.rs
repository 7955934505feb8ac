//! The duplicate journal: digests of the requests of the last half hour of serving time.
//!
//! Digests of requests still in the log come from the log. Before log segments are deleted, their digests are appended
//! here and fsynced.
//!
//! # Layout, version 1
//!
//! `digests/<serving second of the first block>.digests` holds blocks, all numbers little-endian:
//!
//! ```text
//! block   length of payload (4) | CRC-32 of payload (4) | payload
//! payload version (1 byte, = 1) | serving second (8) | digests, 16 bytes each
//! ```
//!
//! Serving time stands still while the server is down: a client that kept a request while the server was away finds it
//! recognised afterwards.

use crate::files::make_folder;
use crate::log::record::Fields;
use crate::{Disk, DiskFile, StorageError};
use hashbrown::HashSet;
use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use whence_schema::RequestDigest;

const VERSION: u8 = 1;
/// Serving seconds after which a new file is begun, so that old ones can be deleted whole.
const FILE_SECONDS: u64 = 600;

/// Seconds the server has been serving, over all its runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct ServingSeconds(pub(crate) u64);

/// Digests in memory, bounded in age and number: beyond either the oldest go.
#[derive(Debug)]
pub(crate) struct Digests {
    known: HashSet<u128>,
    by_age: VecDeque<(ServingSeconds, Vec<u128>)>,
    window_seconds: u64,
    limit: usize,
}

impl Digests {
    pub(crate) fn new(window_seconds: u64, limit: usize) -> Self {
        Self { known: HashSet::new(), by_age: VecDeque::new(), window_seconds, limit: limit.max(1) }
    }

    pub(crate) fn contains(&self, digest: RequestDigest) -> bool {
        self.known.contains(&digest.0)
    }

    pub(crate) fn insert(&mut self, digest: RequestDigest, now: ServingSeconds) {
        if !self.known.insert(digest.0) {
            return;
        }
        match self.by_age.back_mut() {
            // Groups of 10 s: few enough to scan, fine enough for a window of minutes.
            Some((second, group)) if now.0 < second.0 + 10 && group.len() < 65_536 => group.push(digest.0),
            _ => self.by_age.push_back((now, vec![digest.0])),
        }
        while self.by_age.front().is_some_and(|(second, _)| second.0 + self.window_seconds + 10 < now.0)
            || self.known.len() > self.limit
        {
            let Some((_, group)) = self.by_age.pop_front() else { break };
            group.iter().for_each(|digest| {
                self.known.remove(digest);
            });
        }
    }
}

/// The files of the journal.
#[derive(Debug)]
pub(crate) struct DigestJournal {
    folder: PathBuf,
    window_seconds: u64,
    /// Oldest first, with the serving second they begin with.
    files: VecDeque<(ServingSeconds, PathBuf)>,
    current: Option<Box<dyn DiskFile>>,
    disk: Arc<dyn Disk>,
}

impl DigestJournal {
    /// Reads the journal into `digests`; returns the serving second at which it ends. Blocks.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        window_seconds: u64,
        digests: &mut Digests,
    ) -> Result<(Self, ServingSeconds), StorageError> {
        make_folder(folder)?;
        let mut files = Vec::new();
        for (path, _) in disk.list(folder).map_err(StorageError::file("list", folder))? {
            let first = path.file_name().and_then(|n| n.to_str()?.strip_suffix(".digests")?.parse().ok());
            files.extend(first.map(|first| (ServingSeconds(first), path)));
        }
        files.sort();
        let mut end = ServingSeconds::default();
        for (_, path) in &files {
            let mut bytes = Vec::new();
            disk.open(path)
                .and_then(|mut file| file.read_to_end(&mut bytes))
                .map_err(StorageError::file("read", path))?;
            let mut rest = Fields(&bytes);
            while let Some(block) = next_block(&mut rest) {
                let Some((second, block)) = block else {
                    tracing::warn!(path = %path.display(), "a damaged block of the duplicate journal is left out");
                    continue;
                };
                end = end.max(second);
                block.for_each(|digest| digests.insert(digest, second));
            }
            if !rest.0.is_empty() {
                tracing::warn!(path = %path.display(), bytes = rest.0.len(), "torn end of duplicate journal ignored");
            }
        }
        let journal =
            Self { folder: folder.to_owned(), window_seconds, files: files.into(), current: None, disk: disk.clone() };
        Ok((journal, end))
    }

    /// Appends digests and waits for the disk; deletes files that are out of the window. Blocks.
    pub(crate) fn append(&mut self, digests: &[RequestDigest], now: ServingSeconds) -> Result<(), StorageError> {
        if digests.is_empty() {
            return Ok(());
        }
        let mut payload = Vec::with_capacity(9 + digests.len() * 16);
        payload.push(VERSION);
        payload.extend_from_slice(&now.0.to_le_bytes());
        digests.iter().for_each(|digest| payload.extend_from_slice(&digest.0.to_le_bytes()));
        let mut block = Vec::with_capacity(payload.len() + 8);
        block.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        block.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
        block.extend_from_slice(&payload);

        let too_old = self.files.back().is_none_or(|(first, _)| first.0 + FILE_SECONDS <= now.0);
        // After a restart the last file may end in a torn block, which would hide what is appended behind it.
        if too_old || self.current.is_none() {
            self.begin_file(now)?;
        }
        let Some((file, (_, path))) = self.current.as_mut().zip(self.files.back()) else { return Ok(()) };
        let written = file.write_all(&block).and_then(|()| file.sync()).map_err(StorageError::file("write", path));
        if written.is_err() {
            self.current = None;
        }
        written?;
        while let (Some((_, oldest)), Some((next, _))) = (self.files.front(), self.files.get(1)) {
            if next.0 + self.window_seconds >= now.0 {
                break;
            }
            self.disk.remove(oldest).map_err(StorageError::file("delete", oldest))?;
            self.files.pop_front();
        }
        Ok(())
    }

    fn begin_file(&mut self, now: ServingSeconds) -> Result<(), StorageError> {
        let mut first = now;
        while self.files.iter().any(|(taken, _)| *taken == first) {
            first.0 += 1;
        }
        let path = self.folder.join(format!("{:012}.digests", first.0));
        let file = self.disk.create(&path).map_err(StorageError::file("create", &path))?;
        self.disk.sync_folder(&self.folder).map_err(StorageError::file("fsync", &self.folder))?;
        self.files.push_back((first, path));
        self.current = Some(file);
        Ok(())
    }
}

/// The next block, or `None` in its place when it is damaged; nothing at all where the file is torn.
#[allow(clippy::type_complexity)] // the one place where this type is written
fn next_block<'a>(
    rest: &mut Fields<'a>,
) -> Option<Option<(ServingSeconds, impl Iterator<Item = RequestDigest> + use<'a>)>> {
    let mut ahead = Fields(rest.0);
    let (length, checksum) = (ahead.u32()?, ahead.u32()?);
    let payload = ahead.take(length as usize).filter(|payload| !payload.is_empty())?;
    rest.0 = ahead.0;
    let mut fields = Fields(payload);
    if crc32fast::hash(payload) != checksum || fields.u8() != Some(VERSION) {
        return Some(None);
    }
    let Some(second) = fields.u64() else { return Some(None) };
    let digests = fields.0.chunks_exact(16).filter_map(|bytes| bytes.try_into().ok());
    Some(Some((ServingSeconds(second), digests.map(|bytes| RequestDigest(u128::from_le_bytes(bytes))))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn digests_are_forgotten_by_age_and_by_number() {
        let mut digests = Digests::new(1_800, 4);
        digests.insert(RequestDigest(1), ServingSeconds(0));
        digests.insert(RequestDigest(2), ServingSeconds(1_700));
        assert!(digests.contains(RequestDigest(1)));
        digests.insert(RequestDigest(3), ServingSeconds(1_900));
        assert!(!digests.contains(RequestDigest(1)) && digests.contains(RequestDigest(2)));
        (10..14).for_each(|n| digests.insert(RequestDigest(n), ServingSeconds(1_950 + 20 * n as u64)));
        assert!(!digests.contains(RequestDigest(2)) && digests.contains(RequestDigest(13)));
    }

    #[test]
    fn the_journal_reads_back_without_its_torn_end_and_drops_old_files() {
        let folder = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(crate::RealDisk);
        let open = || {
            let mut digests = Digests::new(1_800, 100);
            let (journal, end) = DigestJournal::open(&disk, folder.path(), 1_800, &mut digests).unwrap();
            (journal, digests, end)
        };
        let (mut journal, _, _) = open();
        journal.append(&[RequestDigest(1), RequestDigest(2)], ServingSeconds(5)).unwrap();
        journal.append(&[RequestDigest(3)], ServingSeconds(6)).unwrap();
        let path = journal.files[0].1.clone();
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
        let (mut journal, digests, end) = open();
        assert_eq!(end, ServingSeconds(5));
        assert!(digests.contains(RequestDigest(2)) && !digests.contains(RequestDigest(3)));
        journal.append(&[RequestDigest(4)], ServingSeconds(5)).unwrap();
        journal.append(&[RequestDigest(5)], ServingSeconds(900)).unwrap();
        journal.append(&[RequestDigest(6)], ServingSeconds(4_000)).unwrap();
        let (_, digests, end) = open();
        assert_eq!(end, ServingSeconds(4_000));
        assert!(digests.contains(RequestDigest(6)) && !digests.contains(RequestDigest(1)));
        assert!(!path.exists());
    }
}
