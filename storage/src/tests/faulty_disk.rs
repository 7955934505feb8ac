//! A disk that fails, fills up, tears writes, and forgets in a crash what was not synced.
//!
//! Files are real ones, so that Parquet and Delta Lake read them as ever; beside its name every file has a second one
//! (a hard link) in a hidden folder, from which a crash brings back what a removal or a renaming had taken away.
//! Folders are durable at once, and so is whatever is written past this disk (Delta log, control database).

use crate::{Disk, DiskFile, RealDisk};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::{self, Error, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// What goes wrong, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::tests) enum Fault {
    #[default]
    None,
    /// One operation fails, this many from now.
    Once(u64),
    /// All operations fail, from this many from now on: what a crash between two of them leaves.
    From(u64),
    /// The next sync of a file fails, and what it was to make durable never is (as on Linux).
    Sync,
}

#[derive(Debug, Clone, Copy, Default)]
struct Content {
    bytes: u64,
    /// Bytes that a crash leaves alone.
    synced: u64,
    /// A sync failed: later ones claim to work and do nothing.
    broken: bool,
}

#[derive(Debug)]
struct Inner {
    kept: TempDir,
    random: u64,
    fault: Fault,
    /// Bytes that can still be written, if that is limited.
    space: Option<u64>,
    contents: Vec<Content>,
    /// Which content a name stands for: as it looks, and as it would after a crash.
    names: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
}

/// The disk. Clones share it.
#[derive(Debug, Clone)]
pub(in crate::tests) struct FaultyDisk(Arc<Mutex<Inner>>);

impl FaultyDisk {
    /// Below `folder`, which must be on the same file system as the files.
    pub(in crate::tests) fn new(folder: &Path, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            kept: TempDir::with_prefix_in(".kept", folder).unwrap(),
            random: seed,
            fault: Fault::None,
            space: None,
            contents: Vec::new(),
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
        })))
    }

    pub(in crate::tests) fn set_fault(&self, fault: Fault) {
        self.0.lock().fault = fault;
    }

    /// Leaves room for so many more bytes; `None` for any number.
    pub(in crate::tests) fn set_space(&self, bytes: Option<u64>) {
        self.0.lock().space = bytes;
    }

    /// As if power was lost: nobody may be using the files. Afterwards the disk works.
    pub(in crate::tests) fn crash(&self) {
        let mut inner = self.0.lock();
        inner.fault = Fault::None;
        for index in 0..inner.contents.len() {
            inner.forget_content(index);
        }
        inner.forget_names();
    }
}

impl Inner {
    /// A number below `limit` (SplitMix64).
    fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }

    fn kept(&self, index: usize) -> PathBuf {
        self.kept.path().join(index.to_string())
    }

    fn operation(&mut self) -> io::Result<()> {
        match self.fault {
            Fault::Once(0) => {
                self.fault = Fault::None;
                Err(Error::from_raw_os_error(5))
            }
            Fault::From(0) => Err(Error::from_raw_os_error(5)),
            Fault::Once(left) => {
                self.fault = Fault::Once(left - 1);
                Ok(())
            }
            Fault::From(left) => {
                self.fault = Fault::From(left - 1);
                Ok(())
            }
            Fault::None | Fault::Sync => Ok(()),
        }
    }

    /// The content of a file that this disk may not have seen yet.
    fn content(&mut self, path: &Path) -> io::Result<usize> {
        if let Some(index) = self.names.get(path) {
            return Ok(*index);
        }
        let bytes = std::fs::metadata(path)?.len();
        let index = self.contents.len();
        std::fs::hard_link(path, self.kept(index))?;
        self.contents.push(Content { bytes, synced: bytes, broken: false });
        self.names.insert(path.to_owned(), index);
        self.durable.insert(path.to_owned(), index);
        Ok(index)
    }

    /// Of what was not synced nothing survives, or all, or its beginning, or some of it in any order.
    fn forget_content(&mut self, index: usize) {
        let Content { bytes, synced, .. } = self.contents[index];
        let path = self.kept(index);
        if bytes > synced {
            let left = match self.below(4) {
                0 => synced,
                1 => synced + self.below(bytes - synced + 1),
                _ => bytes,
            };
            let mut content = std::fs::read(&path).unwrap();
            content.truncate(left as usize);
            if left == bytes && self.below(2) == 0 {
                let grain = 1 + self.below(200) as usize;
                let mut at = synced as usize;
                while at < content.len() {
                    let end = content.len().min(at + grain);
                    if self.below(2) == 0 {
                        content[at..end].fill(0);
                    }
                    at = end;
                }
            }
            // Not `fs::write`, which is for another file when the link was broken.
            let mut file = std::fs::File::options().write(true).truncate(true).open(&path).unwrap();
            file.write_all(&content).unwrap();
            self.contents[index].bytes = content.len() as u64;
        }
        self.contents[index].synced = self.contents[index].bytes;
        self.contents[index].broken = false;
    }

    /// Each name that was changed and not synced is as before or as after, independently of the others.
    fn forget_names(&mut self) {
        let paths: Vec<PathBuf> = self.names.keys().chain(self.durable.keys()).cloned().collect();
        for path in paths {
            let (now, before) = (self.names.get(&path).copied(), self.durable.get(&path).copied());
            if now == before {
                continue;
            }
            let survivor = if self.below(2) == 0 { now } else { before };
            let _ = std::fs::remove_file(&path);
            match survivor {
                Some(index) => {
                    std::fs::hard_link(self.kept(index), &path).unwrap();
                    self.names.insert(path.clone(), index);
                    self.durable.insert(path, index);
                }
                None => {
                    self.names.remove(&path);
                    self.durable.remove(&path);
                }
            }
        }
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.0.lock();
        inner.operation()?;
        if inner.space == Some(0) {
            return Err(Error::from(ErrorKind::StorageFull));
        }
        let _ = std::fs::remove_file(path);
        let index = inner.contents.len();
        let file = RealDisk.create(path)?;
        std::fs::hard_link(path, inner.kept(index))?;
        inner.contents.push(Content::default());
        inner.names.insert(path.to_owned(), index);
        Ok(Box::new(FaultyFile { disk: self.clone(), index, file }))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.0.lock();
        inner.operation()?;
        let index = inner.content(path)?;
        Ok(Box::new(FaultyFile { disk: self.clone(), index, file: RealDisk.append(path)? }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        self.0.lock().operation()?;
        RealDisk.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.operation()?;
        let index = inner.content(from)?;
        RealDisk.rename(from, to)?;
        inner.names.remove(from);
        inner.names.insert(to.to_owned(), index);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.operation()?;
        let index = inner.content(path)?;
        RealDisk.remove(path)?;
        inner.names.remove(path);
        let freed = inner.contents[index].bytes;
        inner.space = inner.space.map(|space| space + freed);
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        self.0.lock().operation()?;
        RealDisk.list(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.operation()?;
        let inside = |path: &Path| path.parent() == Some(folder);
        inner.durable.retain(|path, _| !inside(path));
        let now: Vec<_> = inner.names.iter().filter(|(path, _)| inside(path)).map(|(p, i)| (p.clone(), *i)).collect();
        inner.durable.extend(now);
        Ok(())
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    index: usize,
    file: Box<dyn DiskFile>,
}

impl Write for FaultyFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut inner = self.disk.0.lock();
        let failed = inner.operation();
        // Half of a write that fails is there; others are short now and then.
        let mut length = if failed.is_err() { buffer.len() / 2 } else { buffer.len() };
        if failed.is_ok() && length > 1 && inner.below(4) == 0 {
            length = 1 + inner.below(length as u64 - 1) as usize;
        }
        if let Some(space) = inner.space {
            length = length.min(space as usize);
            if length == 0 && !buffer.is_empty() && failed.is_ok() {
                return Err(Error::from(ErrorKind::StorageFull));
            }
            inner.space = Some(space - length as u64);
        }
        self.file.write_all(&buffer[..length])?;
        inner.contents[self.index].bytes += length as u64;
        failed.map(|()| length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for FaultyFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut inner = self.disk.0.lock();
        let failing = inner.fault == Fault::Sync;
        if let Some(error) = inner.operation().err().or(failing.then(|| Error::from_raw_os_error(5))) {
            inner.contents[self.index].broken = true;
            if failing {
                inner.fault = Fault::None;
            }
            return Err(error);
        }
        let content = &mut inner.contents[self.index];
        if !content.broken {
            content.synced = content.bytes;
        }
        Ok(())
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        let mut inner = self.disk.0.lock();
        inner.operation()?;
        self.file.truncate(bytes)?;
        let content = &mut inner.contents[self.index];
        let freed = content.bytes.saturating_sub(bytes);
        (content.bytes, content.synced) = (bytes, content.synced.min(bytes));
        inner.space = inner.space.map(|space| space + freed);
        Ok(())
    }
}

#[test]
fn a_crash_forgets_what_was_not_synced_and_only_that() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let folder = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::new(folder.path(), seed);
        let (kept, new, gone) = (folder.path().join("kept"), folder.path().join("new"), folder.path().join("gone"));
        let mut file = disk.create(&kept).unwrap();
        disk.create(&gone).unwrap();
        file.write_all(b"durable").unwrap();
        file.sync().unwrap();
        disk.sync_folder(folder.path()).unwrap();
        file.write_all(b", not").unwrap();
        disk.create(&new).unwrap();
        disk.remove(&gone).unwrap();
        drop(file);
        disk.crash();
        let content = std::fs::read(&kept).unwrap();
        assert!(content.starts_with(b"durable") && content.len() <= 12);
        seen.insert((content, new.exists(), gone.exists()));
    }
    assert!(seen.len() > 16, "{seen:?}");
}
