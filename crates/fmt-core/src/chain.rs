//! A disk, and the disks behind it.

use alloc::vec::Vec;

use crate::{DiskMap, Error, ErrorKind, Extent, Source};

/// How many images a chain can have.
pub const MAX_DEPTH: usize = 16;

/// A disk that shows what its backing images have where it has nothing itself.
///
/// A backing image may be shorter than the disk, and reads as zeros behind its end; or longer, and what is behind the
/// disk's end is not seen. What no image has is zeros: no extent is [`Source::Unallocated`].
#[derive(Debug)]
pub struct Chain<D> {
    /// The disk itself, then its backing image, then that one's, and so on.
    layers: Vec<D>,
}

impl<D: DiskMap> Chain<D> {
    /// A disk without a backing image.
    #[must_use]
    pub fn new(top: D) -> Self {
        Self { layers: alloc::vec![top] }
    }

    /// Puts `backing` behind what is there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] for more than [`MAX_DEPTH`] images.
    pub fn push(&mut self, backing: D) -> Result<(), Error> {
        if self.layers.len() == MAX_DEPTH {
            return Err(Error::new(ErrorKind::TooLarge, 0, "the chain of backing images"));
        }
        self.layers.push(backing);
        Ok(())
    }

    /// The extent that holds byte `at` in the disk itself, whatever is behind it.
    ///
    /// # Errors
    ///
    /// As [`extent_at`](DiskMap::extent_at).
    pub fn own_extent_at(&mut self, at: u64) -> Result<Extent, Error> {
        match self.layers.first_mut() {
            Some(top) => top.extent_at(at),
            None => Err(Error::new(ErrorKind::Corrupt, at, "a disk without a layer")),
        }
    }
}

impl<D: DiskMap> DiskMap for Chain<D> {
    fn virtual_size(&self) -> u64 {
        self.layers.first().map_or(0, D::virtual_size)
    }

    fn extent_at(&mut self, at: u64) -> Result<Extent, Error> {
        resolve(&mut self.layers, at)
    }
}

/// The extent that holds byte `at` in the first of `layers` that has it.
fn resolve<D: DiskMap>(layers: &mut [D], at: u64) -> Result<Extent, Error> {
    let (top, behind) = match layers {
        [top, behind @ ..] if at < top.virtual_size() => (top, behind),
        _ => return Ok(Extent { start: at, len: u64::MAX - at, source: Source::Zero }),
    };
    let extent = top.extent_at(at)?;
    if extent.source != Source::Unallocated {
        return Ok(extent);
    }
    let found = resolve(behind, at)?;
    found.clip(&(extent.start..extent.end())).ok_or(Error::new(ErrorKind::Corrupt, at, "an extent elsewhere"))
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;
    use crate::FileId;

    /// A disk of blocks of ten bytes; each is zeros, absent, or data.
    struct Layer(FileId, &'static str);

    impl DiskMap for Layer {
        fn virtual_size(&self) -> u64 {
            self.1.len() as u64 * 10
        }

        fn extent_at(&mut self, at: u64) -> Result<Extent, Error> {
            let start = at / 10 * 10;
            let source = match self.1.chars().nth(usize::try_from(at / 10).unwrap()).unwrap() {
                '0' => Source::Zero,
                '-' => Source::Unallocated,
                _ => Source::Data { file: self.0, offset: start + 1000 },
            };
            Ok(Extent { start, len: 10, source })
        }
    }

    fn chain(layers: &[&'static str]) -> Chain<Layer> {
        let mut layers = (0..).map(FileId).zip(layers).map(|(id, blocks)| Layer(id, blocks));
        let mut chain = Chain::new(layers.next().unwrap());
        layers.for_each(|layer| chain.push(layer).unwrap());
        chain
    }

    /// For each block, the letter of the layer that has it, `a` being the top; or `0` for zeros.
    fn shown(layers: &[&'static str]) -> String {
        let mut chain = chain(layers);
        let size = chain.virtual_size();
        let letter = |extent: Extent| match extent.source {
            Source::Zero => '0',
            Source::Data { file, offset } => {
                assert_eq!(offset, 1000 + extent.start);
                char::from(b'a' + u8::try_from(file.0).unwrap())
            }
            other => panic!("{other:?}"),
        };
        let extents = chain.extents(0..size).map(Result::unwrap);
        extents.flat_map(|extent| (0..extent.len / 10).map(move |_| letter(extent))).collect()
    }

    #[test]
    fn the_first_that_has_a_block_shows_it() {
        assert_eq!(shown(&["x----", "xxx--", "xxxx-"]), "abbc0");
    }

    #[test]
    fn zeros_hide_what_is_behind() {
        assert_eq!(shown(&["0--", "x0x", "xxx"]), "00b");
    }

    #[test]
    fn a_shorter_backing_image_reads_as_zeros_behind_its_end() {
        assert_eq!(shown(&["-----", "xx"]), "bb000");
        assert_eq!(shown(&["-----", "--", "xxxx"]), "cc000");
    }

    #[test]
    fn a_longer_backing_image_is_cut() {
        assert_eq!(shown(&["--", "xxxxx"]), "bb");
    }

    #[test]
    fn without_a_backing_image_what_is_absent_is_zeros() {
        assert_eq!(shown(&["x-x"]), "a0a");
    }

    #[test]
    fn a_chain_has_an_end() {
        let mut chain = chain(&["-"]);
        for _ in 1..MAX_DEPTH {
            chain.push(Layer(FileId(1), "-")).unwrap();
        }
        assert_eq!(chain.push(Layer(FileId(1), "-")).unwrap_err().kind, ErrorKind::TooLarge);
    }
}
