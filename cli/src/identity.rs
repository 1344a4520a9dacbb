//! What a new image is called and when it was made.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use guest_abi::identity::{Identity, NAME_LEN};
use uuid::Uuid;

use crate::failure::Failure;

/// The variable that says when something that is built was made, so that it can be built again:
/// <https://reproducible-builds.org/specs/source-date-epoch/>.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The identity of the image at `output`: `uuid`, or a random one, and the time.
pub(crate) fn of(output: &Path, uuid: Option<Uuid>) -> Result<Identity, Failure> {
    let uuid = uuid.unwrap_or_else(Uuid::new_v4).into_bytes();
    Ok(Identity { uuid, unix_time: unix_time()?, name: name(output) })
}

fn unix_time() -> Result<u64, Failure> {
    let Some(epoch) = std::env::var_os(EPOCH) else {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        return Ok(since.unwrap_or_default().as_secs());
    };
    let seconds = seconds(&epoch);
    seconds.ok_or(Failure::NotASecond(EPOCH, epoch))
}

/// The number of seconds that `text` is: digits and nothing else, although Rust's own numbers may have a sign.
fn seconds(text: &OsStr) -> Option<u64> {
    let text = text.to_str()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then_some(text)?.parse().ok()
}

/// The name without directories, as far as there is room for it.
fn name(output: &Path) -> [u8; NAME_LEN] {
    let bytes = output.file_name().map(OsStr::as_bytes).unwrap_or_default();
    let mut name = [0; NAME_LEN];
    let len = bytes.len().min(NAME_LEN);
    name[..len].copy_from_slice(&bytes[..len]);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_that_is_given_is_taken() {
        let uuid = Uuid::from_bytes([7; 16]);
        let identity = of(Path::new("dir/disk.vmdk"), Some(uuid)).unwrap();
        assert_eq!(identity.uuid, [7; 16]);
        assert_eq!(identity.name(), b"disk.vmdk");
    }

    #[test]
    fn without_one_each_image_has_its_own() {
        let uuid = || of(Path::new("x"), None).unwrap().uuid;
        assert_ne!(uuid(), uuid());
    }

    #[test]
    fn seconds_are_digits() {
        assert_eq!(seconds(OsStr::new("1700000000")), Some(1_700_000_000));
        assert_eq!(seconds(OsStr::new("007")), Some(7));
        for text in ["", "+5", "-5", " 5", "5 ", "5s", "0x5", "1e3", "18446744073709551616"] {
            assert_eq!(seconds(OsStr::new(text)), None, "{text}");
        }
    }

    #[test]
    fn a_long_name_is_cut() {
        let long = "x".repeat(400);
        assert_eq!(name(Path::new(&long)), [b'x'; NAME_LEN]);
        assert_eq!(name(Path::new("..")), [0; NAME_LEN]);
    }
}
