//! Reading chunk files. What the system has in memory is read at once, by the thread that wants it: handing each read to
//! another thread takes longer than the read, and much longer where all processors are busy. What is not in memory, or
//! not here, is read as any other object.

use crate::cache::split::ScannedChunk;
use bytes::Bytes;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::ParquetMetaData;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use whence_storage::Chunk;

/// Makes readers of chunks.
#[derive(Debug)]
pub(crate) struct ChunkReaders(pub(crate) CachedParquetFileReaderFactory);

impl ParquetFileReaderFactory for ChunkReaders {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let here = file.extension::<ScannedChunk>().map(|scanned| Here::Closed(scanned.chunk.clone()));
        let scanned = MetricBuilder::new(metrics).counter("bytes_scanned", partition_index);
        let anywhere = self.0.create_reader(partition_index, file, metadata_size_hint, metrics)?;
        Ok(Box::new(ChunkReader { here: here.unwrap_or(Here::No), anywhere, scanned }))
    }
}

/// The file on this disk.
enum Here {
    /// Most files that a look-up by id asks are ruled out by what is known of them before anything is read.
    Closed(Arc<Chunk>),
    Open(File),
    /// It is not here, or could not be read at once.
    No,
}

struct ChunkReader {
    here: Here,
    anywhere: Box<dyn AsyncFileReader + Send>,
    scanned: Count,
}

impl ChunkReader {
    fn read_now(&mut self, ranges: &[Range<u64>]) -> Option<Vec<Bytes>> {
        if let Here::Closed(chunk) = &self.here {
            self.here = chunk.open_here().map_or(Here::No, Here::Open);
        }
        let Here::Open(file) = &self.here else { return None };
        let parts: Option<Vec<Bytes>> = ranges.iter().map(|range| in_memory(file, range)).collect();
        match &parts {
            Some(parts) => self.scanned.add(parts.iter().map(Bytes::len).sum()),
            None => self.here = Here::No,
        }
        parts
    }
}

impl AsyncFileReader for ChunkReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        match self.read_now(std::slice::from_ref(&range)).and_then(|mut parts| parts.pop()) {
            Some(bytes) => ready(Ok(bytes)).boxed(),
            None => self.anywhere.get_bytes(range),
        }
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        match self.read_now(&ranges) {
            Some(parts) => ready(Ok(parts)).boxed(),
            None => self.anywhere.get_byte_ranges(ranges),
        }
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        self.anywhere.get_metadata(options)
    }
}

/// Bytes of a file if reading them does not wait for the disk.
#[cfg(target_os = "linux")]
fn in_memory(file: &File, range: &Range<u64>) -> Option<Bytes> {
    use rustix::io::{ReadWriteFlags, preadv2};
    use std::io::IoSliceMut;

    let mut bytes = vec![0; usize::try_from(range.end.checked_sub(range.start)?).ok()?];
    let mut read = 0;
    while read < bytes.len() {
        let rest = &mut [IoSliceMut::new(&mut bytes[read..])];
        match preadv2(file, rest, range.start + read as u64, ReadWriteFlags::NOWAIT) {
            Ok(more) if more > 0 => read += more,
            _ => return None,
        }
    }
    Some(bytes.into())
}

/// Other systems do not say what they have in memory.
#[cfg(not(target_os = "linux"))]
fn in_memory(_: &File, _: &Range<u64>) -> Option<Bytes> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    #[test]
    fn what_was_just_written_is_read_at_once_and_nothing_beyond_the_end_is() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"0123456789").unwrap();
        let file = File::open(file.path()).unwrap();
        assert_eq!(in_memory(&file, &(2..5)).as_deref(), Some(b"234".as_slice()));
        assert_eq!(in_memory(&file, &(4..4)).as_deref(), Some(b"".as_slice()));
        assert_eq!(in_memory(&file, &(8..12)), None);
    }
}
