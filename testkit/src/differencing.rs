//! VHD and VHDX images with parents, made by hand from the specifications, because QEMU neither makes nor follows them.
//!
//! Nothing here is shared with the crates that read and write images: a mistake that both sides make would not show.

mod vhd;
mod vhdx;

use core::ops::Range;

/// The length of a sector in bytes.
const SECTOR: usize = 512;

/// The two formats that have differencing images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// VHD, in blocks of eight sectors.
    Vhd,
    /// VHDX, in blocks of 1 MiB.
    Vhdx,
}

impl Format {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Vhd, Self::Vhdx];

    /// The name by which commands know it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vhd => "vpc",
            Self::Vhdx => "vhdx",
        }
    }

    /// The length of a block in sectors.
    pub const fn block_sectors(self) -> u64 {
        match self {
            Self::Vhd => 8,
            Self::Vhdx => 2048,
        }
    }
}

/// An image, dynamic or differencing. Its disk has as many whole blocks as are described.
#[derive(Clone, Debug)]
pub struct Image {
    /// The unique id of a VHD, the data write GUID of a VHDX: by this its children know it.
    pub id: [u8; 16],
    /// What it is a difference to.
    pub parent: Option<Parent>,
    /// Its data tell which image they are of.
    pub tag: u8,
    /// All of the disk.
    pub blocks: Vec<Block>,
}

/// What an image says about its parent. Paths are in UTF-16, or what poses as it.
#[derive(Clone, Debug, Default)]
pub struct Parent {
    /// Who it has to be.
    pub id: [u8; 16],
    /// The path from the child to the parent.
    pub relative: Option<Vec<u16>>,
    /// The path from a volume.
    pub absolute: Option<Vec<u16>>,
    /// What the header of a VHD says besides. A VHDX has no such place.
    pub name: Vec<u16>,
}

/// What an image has of a block.
#[derive(Clone, Debug)]
pub enum Block {
    /// Nothing.
    Absent,
    /// Nothing, but it is known to be zeros: one of the states 1 to 3 of a VHDX. A VHD has none.
    Zeros(u64),
    /// All of it.
    Full,
    /// These sectors, counted from the block's first.
    Sectors(Vec<Range<u64>>),
}

impl Image {
    /// The bytes of the file.
    pub fn bytes(&self, format: Format) -> Vec<u8> {
        match format {
            Format::Vhd => vhd::bytes(self),
            Format::Vhdx => vhdx::bytes(self),
        }
    }

    /// The disk that the image shows in front of a disk that shows `behind`, by the specifications.
    pub fn in_front_of(&self, behind: &[u8], format: Format) -> Vec<u8> {
        let mut disk = behind.to_vec();
        disk.resize(self.sectors(format) * SECTOR, 0);
        for (number, sector) in disk.chunks_exact_mut(SECTOR).enumerate() {
            let number = number as u64;
            let within = number % format.block_sectors();
            match &self.blocks[index(number / format.block_sectors())] {
                Block::Zeros(_) => sector.fill(0),
                Block::Full => sector.copy_from_slice(&self.sector(number)),
                Block::Sectors(ranges) if ranges.iter().any(|range| range.contains(&within)) => {
                    sector.copy_from_slice(&self.sector(number));
                }
                Block::Absent | Block::Sectors(_) => {}
            }
        }
        disk
    }

    fn sectors(&self, format: Format) -> usize {
        self.blocks.len() * index(format.block_sectors())
    }

    /// What the file has for block `number`. Sectors that are not present are rubbish, so that it shows if they are read.
    fn block(&self, number: usize, format: Format) -> Vec<u8> {
        let present = |within| match &self.blocks[number] {
            Block::Sectors(ranges) => ranges.iter().any(|range| range.contains(&within)),
            _ => true,
        };
        let first = number as u64 * format.block_sectors();
        let sector = |at| if present(at) { self.sector(first + at) } else { [0xdb; SECTOR] };
        (0..format.block_sectors()).flat_map(sector).collect()
    }

    fn sector(&self, number: u64) -> [u8; SECTOR] {
        let mut sector = [self.tag; SECTOR];
        sector[..8].copy_from_slice(&number.to_le_bytes());
        sector
    }
}

/// A fixed VHD, whose disk is `disk`.
pub fn fixed_vhd(disk: &[u8], id: [u8; 16]) -> Vec<u8> {
    vhd::fixed(disk, id)
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("these images are small")
}

/// `bytes` at byte `at` of `file`, which becomes longer if it must.
fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    file.resize(file.len().max(at + bytes.len()), 0);
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn little_endian(path: &[u16]) -> Vec<u8> {
    path.iter().flat_map(|unit| unit.to_le_bytes()).collect()
}
