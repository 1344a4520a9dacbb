//! Lists where the bytes of a disk image are: `cargo run -p extents -- FILE`.
//!
//! It uses the format crates as any other program can, without instar's virtual machine: so it is an example, and not
//! for images that you do not trust. Files that an image names are not opened.

use core::error::Error;
use std::fs::File;
use std::process::ExitCode;

use fmt_core::file::StdFile;
use fmt_core::{DiskMap, FileId, Format, ReadAt, Source, probe};
use fmt_qcow2::Qcow2Map;
use fmt_raw::RawMap;
use fmt_vhd::VhdMap;
use fmt_vhdx::VhdxMap;
use fmt_vmdk::VmdkMap;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: extents FILE");
        return ExitCode::FAILURE;
    };
    match File::open(path).map_err(Into::into).and_then(list) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("extents: {error}");
            ExitCode::FAILURE
        }
    }
}

fn list(file: File) -> Result<(), Box<dyn Error>> {
    let file = StdFile::new(file)?;
    let id = FileId(0);
    let mut head = [0; probe::PROBE_LEN];
    match probe(file.read_up_to(0, &mut head)?) {
        Format::Raw => print(RawMap::new(id, file.file_len())?),
        Format::Qcow2 => print(Qcow2Map::new(file, id)?),
        Format::Vmdk => print(VmdkMap::open(file, id)?),
        Format::Vpc => print(VhdMap::open(file, id)?),
        Format::Vhdx => print(VhdxMap::open(file, id)?),
        other => Err(format!("the {other} format is not supported").into()),
    }
}

fn print(mut disk: impl DiskMap) -> Result<(), Box<dyn Error>> {
    let size = disk.virtual_size();
    println!("{size} bytes");
    println!("{:>16} {:>16}  from", "start", "length");
    for extent in disk.extents(0..size) {
        let extent = extent?;
        let from = match extent.source {
            Source::Zero => "zeros".to_owned(),
            Source::Unallocated => "the backing image, or zeros".to_owned(),
            Source::Data { offset, .. } => format!("byte {offset}"),
            Source::Compressed { unit, .. } => format!("{} compressed bytes at {}", unit.len, unit.offset),
        };
        println!("{:>16} {:>16}  {from}", extent.start, extent.len);
    }
    Ok(())
}
