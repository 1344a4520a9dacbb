//! Reading tables that the file may end within.

use fmt_core::{Error, ReadAt, Window};

/// The `N` bytes at byte `at` of `source`, through `window`: zeros where the file has ended, as `qemu-img` reads
/// them.
///
/// `N` must be a power of two, and `at` a multiple of it.
pub(crate) fn read<S: ReadAt + ?Sized, const N: usize>(
    window: &mut Window,
    source: &S,
    at: u64,
) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    let left = source.file_len().saturating_sub(at);
    if left < N as u64 {
        source.read_up_to(at, &mut bytes)?;
    } else if let Some(found) = window.look(source, at, N)?.first_chunk() {
        bytes = *found;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_does_not_have_is_zeros() {
        let file: &[u8] = &[7; 13];
        let mut window = Window::new(16);
        assert_eq!(read(&mut window, file, 0), Ok([7; 8]));
        assert_eq!(read(&mut window, file, 8), Ok([7, 7, 7, 7, 7, 0, 0, 0]));
        assert_eq!(read(&mut window, file, 16), Ok([0; 8]));
        assert_eq!(read(&mut window, file, u64::MAX - 7), Ok([0; 8]));
    }
}
