//! Images made by hand: six clusters, one of data, and whatever a test wants to be wrong.
//!
//! ```text
//! cluster 0  header, extensions, the backing file's name
//!         1  refcount table: one entry
//!         2  refcount block
//!         3  L1 table
//!         4  L2 table
//!         5  data: all bytes 'D'
//! ```

use fmt_qcow2::raw::{COPIED, RawHeader};
use zerocopy::{FromZeros, IntoBytes};

pub(crate) struct Image {
    pub(crate) header: RawHeader,
    /// What follows the header.
    pub(crate) extensions: Vec<u8>,
    pub(crate) l1: Vec<u64>,
    pub(crate) l2: Vec<u64>,
    pub(crate) data: Vec<u8>,
    /// Bytes to lay over the rest, which may reach beyond it.
    pub(crate) patches: Vec<(u64, Vec<u8>)>,
    /// Where the file ends, if not with its last byte.
    pub(crate) file_len: Option<u64>,
}

impl Image {
    /// An image of 1 MiB in version 3, whose first cluster is there.
    pub(crate) fn new(cluster_bits: u32) -> Self {
        let size = 1 << cluster_bits;
        let mut header = RawHeader::new_zeroed();
        header.magic = *b"QFI\xfb";
        header.version = 3.into();
        header.cluster_bits = cluster_bits.into();
        header.size = (16 * size).into();
        header.l1_entries = 1.into();
        header.l1_offset = (3 * size).into();
        header.refcount_table_offset = size.into();
        header.refcount_table_clusters = 1.into();
        header.refcount_order = 4.into();
        header.header_len = 112.into();
        Self {
            header,
            extensions: Vec::new(),
            l1: vec![4 * size + COPIED],
            l2: vec![5 * size + COPIED],
            data: vec![b'D'; usize::try_from(size).unwrap()],
            patches: Vec::new(),
            file_len: None,
        }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn extension(&mut self, kind: u32, body: &[u8]) {
        self.extensions.extend(kind.to_be_bytes());
        self.extensions.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        self.extensions.extend(body);
        self.extensions.resize(self.extensions.len().next_multiple_of(8), 0);
    }

    pub(crate) fn backing(&mut self, offset: u64, name: &[u8]) {
        self.header.backing_file_offset = offset.into();
        self.header.backing_file_len = u32::try_from(name.len()).unwrap().into();
        self.patches.push((offset, name.to_vec()));
    }

    pub(crate) fn snapshots(&mut self, count: u32, table: Vec<u8>) {
        let at = 6_u64 << self.header.cluster_bits.get();
        self.header.snapshot_count = count.into();
        self.header.snapshots_offset = at.into();
        self.patches.push((at, table));
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let size = self.data.len();
        let mut file = vec![0; 6 * size];
        let header_len = match self.header.version.get() {
            2 => 72,
            _ => usize::try_from(self.header.header_len.get()).unwrap().min(size),
        };
        lay(&mut file, 0, &self.header.as_bytes()[..header_len.min(112)]);
        lay(&mut file, header_len, &self.extensions);
        lay(&mut file, size, &(2 * size as u64).to_be_bytes());
        lay(&mut file, 2 * size, &[0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
        lay(&mut file, 3 * size, &entries(&self.l1));
        lay(&mut file, 4 * size, &entries(&self.l2));
        lay(&mut file, 5 * size, &self.data);
        for (at, bytes) in &self.patches {
            lay(&mut file, usize::try_from(*at).unwrap(), bytes);
        }
        file.truncate(self.file_len.map_or(usize::MAX, |len| usize::try_from(len).unwrap()));
        file
    }
}

fn entries(entries: &[u64]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_be_bytes()).collect()
}

fn lay(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[at..end].copy_from_slice(bytes);
}

/// A snapshot table's entry with an L1 table that is nowhere: opening an image does not look at it.
pub(crate) fn snapshot(id_len: u16, name_len: u16, extra_len: u32) -> Vec<u8> {
    let mut entry = Vec::new();
    entry.extend(77u64.to_be_bytes());
    entry.extend(u32::MAX.to_be_bytes());
    entry.extend(id_len.to_be_bytes());
    entry.extend(name_len.to_be_bytes());
    entry.extend([0; 20]);
    entry.extend(extra_len.to_be_bytes());
    let len = entry.len() + extra_len as usize + usize::from(id_len) + usize::from(name_len);
    entry.resize(len.next_multiple_of(8), b'x');
    entry
}
