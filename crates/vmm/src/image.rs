//! A guest binary, taken apart: what lies where, and how it may be used.

use guest_abi::layout::{IMAGE_ADDR, IMAGE_MAX_LEN, PAGE_SIZE};
use guest_abi::{ABI_VERSION, NOTE_NAME, NOTE_TYPE};
use object::elf::{FileHeader64, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader};

/// How a guest may use a page. There is no way to say both writable and executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Constants.
    Read,
    /// Code.
    ReadExecute,
    /// Variables, the stack, the exchange.
    ReadWrite,
}

/// A piece of a guest binary in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Its address in the guest, a multiple of the page size.
    pub addr: u64,
    /// Its length in bytes; what is longer than `bytes` is zeros.
    pub len: u64,
    /// What it begins with.
    pub bytes: &'a [u8],
    /// How it may be used.
    pub access: Access,
}

/// A guest binary, ready to be put into memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestImage<'a> {
    /// The address of the first instruction.
    pub entry: u64,
    /// The segments, in order, with whole pages of their own each.
    pub segments: Vec<Segment<'a>>,
}

/// Why a file is not a guest binary. The binaries are instar's own, so each of these is a mistake in how it was built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file is not a 64-bit ELF file.
    #[error("not an ELF file: {0}")]
    Elf(#[from] object::read::Error),
    /// There is no note that says for which host the guest is.
    #[error("no '{NOTE_NAME}' note")]
    NoNote,
    /// The guest is for another version of the host.
    #[error("made for version {0} of the interface, this is {ABI_VERSION}")]
    Version(u32),
    /// A segment is writable and executable, or not even readable.
    #[error("the segment at {0:#x} has flags {1:#x}")]
    Flags(u64, u32),
    /// A segment does not lie where guest binaries lie, or shares a page with another.
    #[error("the segment at {0:#x} is misplaced")]
    Place(u64),
    /// The first instruction is not in a code segment.
    #[error("the entry point {0:#x} is not in a code segment")]
    Entry(u64),
}

type Endian = object::LittleEndian;
type Elf = FileHeader64<Endian>;

impl<'a> GuestImage<'a> {
    /// Takes the ELF file of a guest apart.
    ///
    /// # Errors
    ///
    /// When it is not one that this host can run.
    pub fn parse(elf: &'a [u8]) -> Result<Self, ImageError> {
        let header = Elf::parse(elf)?;
        let endian = header.endian()?;
        let programs = header.program_headers(endian, elf)?;
        check_note(programs, endian, elf)?;

        let loads = programs.iter().filter(|program| program.p_type(endian) == object::elf::PT_LOAD);
        let segments = loads.map(|program| segment(program, endian, elf)).collect::<Result<_, _>>()?;
        let image = Self { entry: header.e_entry(endian), segments };
        image.check()?;
        Ok(image)
    }

    fn check(&self) -> Result<(), ImageError> {
        let mut free = IMAGE_ADDR;
        for segment in &self.segments {
            let end = segment.addr.saturating_add(segment.len);
            let aligned = segment.addr.is_multiple_of(PAGE_SIZE);
            if !aligned || segment.addr < free || end > IMAGE_ADDR + IMAGE_MAX_LEN {
                return Err(ImageError::Place(segment.addr));
            }
            free = end.next_multiple_of(PAGE_SIZE);
        }
        let is_code = |segment: &Segment<'_>| {
            let range = segment.addr..segment.addr + segment.len;
            segment.access == Access::ReadExecute && range.contains(&self.entry)
        };
        if self.segments.iter().any(is_code) { Ok(()) } else { Err(ImageError::Entry(self.entry)) }
    }
}

fn segment<'a>(
    program: &ProgramHeader64<Endian>,
    endian: Endian,
    elf: &'a [u8],
) -> Result<Segment<'a>, ImageError> {
    use object::elf::{PF_R, PF_W, PF_X};
    let addr = program.p_vaddr(endian);
    let flags = program.p_flags(endian);
    let access = match flags {
        _ if flags == PF_R => Access::Read,
        _ if flags == PF_R | PF_X => Access::ReadExecute,
        _ if flags == PF_R | PF_W => Access::ReadWrite,
        _ => return Err(ImageError::Flags(addr, flags.0)),
    };
    let bytes = program.data(endian, elf).map_err(|()| ImageError::Place(addr))?;
    let len = program.p_memsz(endian).max(bytes.len() as u64);
    Ok(Segment { addr, len, bytes, access })
}

fn check_note(programs: &[ProgramHeader64<Endian>], endian: Endian, elf: &[u8]) -> Result<(), ImageError> {
    for program in programs {
        let Some(mut notes) = program.notes(endian, elf)? else { continue };
        while let Some(note) = notes.next()? {
            if note.name() == NOTE_NAME.as_bytes() && note.n_type(endian).0 == NOTE_TYPE {
                let version =
                    note.desc().try_into().map(u32::from_le_bytes).map_err(|_| ImageError::NoNote)?;
                return if version == ABI_VERSION { Ok(()) } else { Err(ImageError::Version(version)) };
            }
        }
    }
    Err(ImageError::NoNote)
}
