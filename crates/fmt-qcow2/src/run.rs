//! From the entries of an L2 table to extents.

use fmt_core::{Codec, Compressed, Error, ErrorKind, Extent, FileId, Source};

use crate::entry::{Cluster, Kind, Rules, alike};
use crate::geometry::SUBCLUSTERS;

/// What is needed besides the entries to say where a disk's bytes are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    pub(crate) rules: Rules,
    pub(crate) codec: Codec,
    /// The image and its length in bytes.
    pub(crate) image: (FileId, u64),
    /// The file that has the data, and its length in bytes; `None` as long as it was not given.
    pub(crate) data: Option<(FileId, u64)>,
}

impl Places {
    /// The extent that holds byte `at` of the disk. `entries` are those of the L2 table from the cluster of that byte
    /// on, as many as are at hand; the first lies at byte `entry_at` of the file.
    ///
    /// The extent ends early where an entry is invalid, which is then told when it is asked for itself.
    pub(crate) fn run(&self, entries: &[u8], at: u64, entry_at: u64) -> Result<Extent, Error> {
        let geometry = self.rules.geometry;
        let (size, within) = (geometry.cluster_size(), at % geometry.cluster_size());
        // A cluster has thirty-two subclusters.
        let first = u32::try_from(within / geometry.subcluster_size()).unwrap_or(0);
        let mut entries = entries.chunks_exact(geometry.l2_entry_len());
        let mut extent = self.piece(entries.next().unwrap_or_default(), at - within, first, entry_at)?;
        let clusters = (1..).map(|number| at - within + number * size);
        for (entry, start) in entries.zip(clusters) {
            if extent.end() < start {
                break;
            }
            match self.piece(entry, start, 0, entry_at) {
                Ok(next) if next.source == extent.source.after(extent.len) => extent.len += next.len,
                _ => break,
            }
        }
        Ok(extent)
    }

    /// The extent that begins with subcluster `first` of the cluster at byte `start` of the disk, and ends in that
    /// cluster. Compressed clusters are one extent.
    fn piece(&self, entry: &[u8], start: u64, first: u32, entry_at: u64) -> Result<Extent, Error> {
        let geometry = self.rules.geometry;
        let cluster = self.rules.cluster(entry, start);
        match cluster.map_err(|what| Error::new(ErrorKind::Corrupt, entry_at, what))? {
            Cluster::Compressed { offset, len } => {
                let source = self.compressed(offset, len, entry_at)?;
                Ok(Extent { start, len: geometry.cluster_size(), source })
            }
            Cluster::Plain { offset, data, zero } => {
                let (kind, count) = alike(data, zero, first);
                let before = u64::from(first) * geometry.subcluster_size();
                let source = match kind {
                    Kind::Unallocated => Source::Unallocated,
                    Kind::Zero => Source::Zero,
                    Kind::Data => Source::Data { file: self.data(entry_at)?.0, offset: offset + before },
                };
                Ok(Extent {
                    start: start + before,
                    len: u64::from(count) * geometry.subcluster_size(),
                    source,
                })
            }
        }
    }

    fn compressed(&self, offset: u64, len: u32, entry_at: u64) -> Result<Source, Error> {
        let (file, file_len) = self.image;
        let left = file_len.saturating_sub(offset);
        // The last sectors of a unit need not be there.
        let len = u32::try_from(left).map_or(len, |left| len.min(left));
        if len == 0 {
            return Err(Error::new(
                ErrorKind::Corrupt,
                entry_at,
                "a compressed cluster is beyond the end of the file",
            ));
        }
        // Clusters have at most 2 MiB.
        let unit_len = 1 << self.rules.geometry.cluster_bits();
        let unit = Compressed { file, offset, len, unit_len, codec: self.codec };
        Ok(Source::Compressed { unit, skip: 0 })
    }

    fn data(&self, entry_at: u64) -> Result<(FileId, u64), Error> {
        let missing = "an external data file, which was not given";
        self.data.ok_or(Error::new(ErrorKind::UnsupportedFeature, entry_at, missing))
    }

    /// `extent` as far as its bytes are in the file, or the zeros past the file's end: whichever holds byte `at`.
    pub(crate) fn clip_to_file(&self, extent: Extent, at: u64) -> Extent {
        let (Source::Data { offset, .. }, Some((_, file_len))) = (extent.source, self.data) else {
            return extent;
        };
        let present = file_len.saturating_sub(offset);
        if present >= extent.len {
            return extent;
        }
        let end = extent.start + present;
        if at < end {
            Extent { len: present, ..extent }
        } else {
            Extent { start: end, len: extent.len - present, source: Source::Zero }
        }
    }
}

const _: () = assert!(SUBCLUSTERS == 32);
