//! Which files an image may name, and what is told about the others.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use std::thread;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::stat::{SFlag, makedev, mknod};

use super::super::dir::Miss;
use super::*;

/// How long a race may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A place to be hostile in: a directory with an image, one beside it that the image has no business in.
struct Scene {
    dir: TempDir,
    files: Files,
    image: FileId,
}

impl Scene {
    fn new() -> Self {
        let dir = dir();
        for name in ["images/sub", "secret"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let path = file(&dir, "images/overlay.img", b"overlay");
        file(&dir, "images/base.img", b"a base of 24 bytes......");
        file(&dir, "images/sub/mid.img", b"mid");
        file(&dir, "secret/key", b"secret");
        let mut files = Files::new();
        let image = files.add_input(&path).unwrap();
        Self { dir, files, image }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// An absolute name.
    fn absolute(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn link(&self, target: &str, link: &str) {
        symlink(target, self.path(link)).unwrap();
    }

    fn allow(&mut self, name: &str) {
        self.files.allow(&self.dir.path().join(name)).unwrap();
    }

    fn open(&mut self, name: &str) -> Result<FileId, NameError> {
        self.files.open_named(self.image, name.as_bytes())
    }

    #[track_caller]
    fn opens(&mut self, name: &str, content: &[u8]) -> FileId {
        let id = self.open(name).unwrap_or_else(|error| panic!("{error}"));
        let mut found = vec![0; content.len()];
        self.files.input(id).read_exact_at(&mut found, 0).unwrap();
        assert_eq!(found, content, "{name}");
        id
    }

    #[track_caller]
    fn error(&mut self, name: &str) -> NameErrorKind {
        match self.open(name) {
            Err(error) => error.kind,
            Ok(_) => panic!("'{name}' was opened"),
        }
    }

    #[track_caller]
    fn is_not_allowed(&mut self, name: &str) {
        let kind = self.error(name);
        assert!(matches!(kind, NameErrorKind::NotAllowed), "'{name}'{kind}");
    }
}

#[test]
fn a_file_beside_the_image_is_opened() {
    let mut scene = Scene::new();
    let id = scene.opens("base.img", b"a base of 24 bytes......");
    assert_eq!(id, FileId(1));
    assert_eq!(scene.files.path(id), Some(&*scene.path("images/base.img")));
    assert_eq!(scene.files.entry(id), FileEntry { role: ROLE_INPUT, hints: 0, len: 24 });
    for name in ["./base.img", "sub/../base.img", ".//sub/./../base.img"] {
        scene.opens(name, b"a base");
    }
    scene.opens("sub/mid.img", b"mid");
}

#[test]
fn the_hint_comes_from_the_name() {
    let mut scene = Scene::new();
    file(&scene.dir, "images/apple.dmg", b"");
    let id = scene.opens("apple.dmg", b"");
    assert_eq!(scene.files.entry(id).hints, NAMED_DMG);
}

#[test]
fn an_absolute_name_may_lead_into_the_directory_of_the_image() {
    let mut scene = Scene::new();
    for name in ["images/base.img", "images/sub/../base.img", "images/./base.img"] {
        let name = scene.absolute(name);
        scene.opens(&name, b"a base");
    }
}

#[test]
fn a_directory_may_be_called_as_the_user_calls_it() {
    let mut scene = Scene::new();
    scene.link("images", "link");
    scene.image = scene.files.add_input(&scene.path("link/overlay.img")).unwrap();
    for name in ["link/base.img", "images/base.img"] {
        let name = scene.absolute(name);
        scene.opens(&name, b"a base");
    }
}

#[test]
fn names_in_a_named_image_are_looked_up_beside_that() {
    let mut scene = Scene::new();
    file(&scene.dir, "images/sub/base.img", b"another base");
    scene.image = scene.opens("sub/mid.img", b"mid");
    let id = scene.opens("base.img", b"another base");
    assert_eq!(scene.files.path(id), Some(&*scene.path("images/sub/base.img")));
    scene.is_not_allowed("../base.img");
    scene.allow("images");
    scene.opens("../base.img", b"a base");
}

#[test]
fn the_directory_of_a_named_image_is_found_as_the_image_was() {
    let mut scene = Scene::new();
    scene.image = scene.opens("sub/mid.img", b"mid");
    fs::rename(scene.path("images/sub"), scene.path("images/gone")).unwrap();
    scene.link("../secret", "images/sub");
    scene.is_not_allowed("key");
}

#[test]
fn protocols_are_refused() {
    let mut scene = Scene::new();
    let names = [
        "nbd://localhost/x",
        "nbd:unix:/run/socket",
        "json:{\"driver\":\"file\"}",
        "fd:0",
        "file:base.img",
        "file:///etc/shadow",
        "https://host/x",
        ":",
        ":base.img",
        "C:\\disk.vmdk",
    ];
    for name in names {
        let kind = scene.error(name);
        assert!(matches!(kind, NameErrorKind::Protocol), "'{name}'{kind}");
    }
    file(&scene.dir, "images/sub/a:b", b"colon");
    scene.opens("sub/a:b", b"colon");
    file(&scene.dir, "images/a:b", b"colon");
    scene.opens("./a:b", b"colon");
}

#[test]
fn names_that_are_none_are_refused() {
    let mut scene = Scene::new();
    assert!(matches!(scene.error(""), NameErrorKind::Empty));
    assert!(matches!(scene.error("base.img\0"), NameErrorKind::Nul));
    assert!(matches!(scene.error("\0"), NameErrorKind::Nul));
    assert!(matches!(scene.error(&"x/".repeat(2049)), NameErrorKind::TooLong));
    let kind = scene.error(&"x".repeat(4096));
    assert_eq!(kind.to_string(), ": File name too long");
}

#[test]
fn names_that_lead_out_of_the_directory_are_refused() {
    let mut scene = Scene::new();
    scene.link("../secret/key", "images/link");
    scene.link("../secret", "images/dir");
    scene.link(&scene.absolute("secret/key"), "images/absolute");
    scene.link("link", "images/link-to-link");
    scene.link("loop", "images/loop");
    let absolute = ["secret/key", "images/../secret/key", "images/sub/../../secret/key", "imagesque"];
    let absolute = absolute.map(|name| scene.absolute(name));
    let relative =
        ["..", "../secret/key", "sub/../../secret/key", "../images/../secret/key", "/", "/etc/shadow"];
    let links = ["link", "dir/key", "absolute", "link-to-link", "loop"];
    for name in absolute.iter().map(String::as_str).chain(relative).chain(links) {
        scene.is_not_allowed(name);
    }
}

#[test]
fn magic_links_are_refused() {
    let mut scene = Scene::new();
    scene.files.allow(Path::new("/proc/self")).unwrap();
    let fd = File::open(scene.path("secret/key")).unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&fd);
    scene.is_not_allowed(&format!("/proc/self/fd/{number}"));
    scene.is_not_allowed("/proc/self/root/etc/passwd");
}

/// Exchanges `names` of the scene's for each other until `lookups` return.
fn with_exchanges(scene: &Scene, names: [&str; 2], lookups: impl FnOnce()) {
    let [one, other] = names.map(|name| scene.path(name));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE).unwrap();
            }
        });
        // It ends the other thread if an assertion fails, too.
        let _over = Over(&over);
        lookups();
    });
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Looks `name` up while `names` are exchanged for each other: it is the file that has this content, or it is refused as
/// `may_be`. Each must have happened.
#[track_caller]
fn race(
    prepare: impl FnOnce(&Scene),
    names: [&str; 2],
    name: &str,
    content: &[u8],
    may_be: impl Fn(&NameErrorKind) -> bool,
) {
    let scene = Scene::new();
    prepare(&scene);
    let (mut opened, mut refused) = (0, 0);
    with_exchanges(&scene, names, || {
        let began = Instant::now();
        while (opened < 1000 || refused < 1000) && began.elapsed() < PATIENCE {
            let mut files = Files::new();
            let image = files.add_input(&scene.path("images/overlay.img")).unwrap();
            match files.open_named(image, name.as_bytes()) {
                Ok(id) => {
                    let mut found = vec![0; content.len()];
                    files.input(id).read_exact_at(&mut found, 0).unwrap();
                    assert_eq!(found, content);
                    opened += 1;
                }
                Err(error) => {
                    assert!(may_be(&error.kind), "{error}");
                    refused += 1;
                }
            }
        }
    });
    assert!(opened > 0 && refused > 0, "opened {opened} times, refused {refused} times");
}

fn leads_out(kind: &NameErrorKind) -> bool {
    matches!(kind, NameErrorKind::NotAllowed)
}

#[test]
fn a_link_that_is_swapped_in_meanwhile_leads_nowhere() {
    let link = |scene: &Scene| scene.link("../secret/key", "images/link");
    race(link, ["images/base.img", "images/link"], "base.img", b"a base", leads_out);
}

#[test]
fn a_directory_that_is_swapped_for_a_link_leads_nowhere() {
    let link = |scene: &Scene| {
        scene.link("../secret", "images/link");
        file(&scene.dir, "secret/mid.img", b"secret");
    };
    race(link, ["images/sub", "images/link"], "sub/mid.img", b"mid", leads_out);
}

/// Its `..` is another directory then.
#[test]
fn a_directory_that_is_moved_out_meanwhile_opens_nothing_there() {
    let elsewhere = |scene: &Scene| {
        fs::create_dir_all(scene.path("elsewhere")).unwrap();
        file(&scene.dir, "elsewhere/sub", b"no directory");
        file(&scene.dir, "elsewhere/base.img", b"secret");
    };
    let no_directory = |kind: &NameErrorKind| matches!(kind, NameErrorKind::File(FileErrorKind::Io(_)));
    let may_be = |kind: &NameErrorKind| leads_out(kind) || no_directory(kind);
    race(elsewhere, ["images/sub", "elsewhere/sub"], "sub/../base.img", b"a base", may_be);
}

#[test]
fn a_fifo_that_is_swapped_in_meanwhile_holds_nobody_up() {
    let fifo = |scene: &Scene| mkfifo(&scene.path("images/fifo"), Mode::S_IRWXU).unwrap();
    let is_fifo =
        |kind: &NameErrorKind| matches!(kind, NameErrorKind::File(FileErrorKind::Unusable(FileKind::Fifo)));
    race(fifo, ["images/base.img", "images/fifo"], "base.img", b"a base", is_fifo);
}

#[test]
fn nothing_is_told_about_what_is_not_allowed() {
    let mut scene = Scene::new();
    fs::create_dir(scene.path("secret/dir")).unwrap();
    mkfifo(&scene.path("secret/fifo"), Mode::S_IRWXU).unwrap();
    scene.link("../secret/missing", "images/dangling");
    scene.link("../secret/key", "images/leading");
    let mut told = |name: &str| scene.open(name).unwrap_err().to_string().replace(name, "NAME");
    let of_a_file = told("../secret/key");
    assert!(of_a_file.ends_with("/images/overlay.img' names 'NAME', which is not a file in its directory"));
    for name in ["missing", "key/x", "missing/x", "dir", "dir/", "dir/..", "fifo"] {
        assert_eq!(told(&format!("../secret/{name}")), of_a_file);
    }
    assert_eq!(told("dangling"), told("leading"));
}

#[test]
fn what_is_missing_at_an_allowed_place_is_told() {
    let mut scene = Scene::new();
    let image = scene.absolute("images/overlay.img");
    for name in ["missing.img", "missing/x", "sub/missing"] {
        let error = scene.open(name).unwrap_err();
        assert_eq!(error.to_string(), format!("'{image}' names '{name}': No such file or directory"));
    }
    let error = scene.open("base.img/x").unwrap_err();
    assert_eq!(error.to_string(), format!("'{image}' names 'base.img/x': Not a directory"));
}

#[test]
fn links_that_stay_beneath_the_directory_are_followed() {
    let mut scene = Scene::new();
    scene.link("sub/mid.img", "images/link");
    scene.link("../base.img", "images/sub/link");
    scene.opens("link", b"mid");
    scene.opens("sub/link", b"a base");
    scene.link(&scene.absolute("images/base.img"), "images/absolute");
    scene.opens("absolute", b"a base");
}

#[test]
fn links_from_one_allowed_directory_to_another_are_followed() {
    let mut scene = Scene::new();
    scene.link("../secret/key", "images/relative");
    scene.link(&scene.absolute("secret/key"), "images/absolute");
    scene.link(&scene.absolute("secret"), "images/dir");
    scene.link(&scene.absolute("images/base.img"), "secret/back");
    scene.link("../images/absolute", "secret/relative");
    let names = ["relative", "absolute", "dir/key", "sub/../sub/../absolute", "dir/relative"];
    for name in names {
        scene.is_not_allowed(name);
    }
    scene.allow("secret");
    for name in names {
        scene.opens(name, b"secret");
    }
    scene.opens("dir/back", b"a base");
    // Where it leads depends on what is before the dots, which is not looked at outside.
    scene.is_not_allowed("dir/../secret/key");
}

#[test]
fn too_many_links_are_not_followed() {
    let mut scene = Scene::new();
    scene.allow("secret");
    scene.link(&scene.absolute("secret/1"), "images/0");
    for number in 1..50 {
        let (dir, next) = if number % 2 == 0 { ("images", "secret") } else { ("secret", "images") };
        scene.link(&scene.absolute(&format!("{next}/{}", number + 1)), &format!("{dir}/{number}"));
    }
    file(&scene.dir, "images/50", b"the end");
    scene.is_not_allowed("0");
    scene.opens("10", b"the end");
}

#[test]
fn an_image_found_by_a_link_out_of_its_directory_is_where_the_link_is() {
    let mut scene = Scene::new();
    scene.link(&scene.absolute("secret/key"), "images/link");
    scene.allow("secret");
    scene.image = scene.opens("link", b"secret");
    scene.opens("base.img", b"a base");
    scene.is_not_allowed("../key");
}

#[test]
fn allowed_directories_are_for_names_of_all_kinds() {
    let mut scene = Scene::new();
    let name = scene.absolute("secret/key");
    scene.allow("secret");
    scene.opens(&name, b"secret");
    scene.opens("../secret/key", b"secret");
    scene.opens("./.././secret/key", b"secret");
    scene.is_not_allowed("../secret/../images/base.img");
    scene.is_not_allowed("../secretive");
    // Where such a name leads depends on what is before the dots.
    scene.is_not_allowed("sub/../../secret/key");
}

#[test]
fn a_link_out_of_the_directory_may_stay_in_an_allowed_one() {
    let mut scene = Scene::new();
    scene.link("../secret/key", "images/link");
    scene.is_not_allowed("link");
    scene.allow("");
    scene.opens("link", b"secret");
}

#[test]
fn an_allowed_directory_may_be_called_by_a_link_to_it() {
    let mut scene = Scene::new();
    scene.link("secret", "alias");
    scene.allow("alias");
    for name in ["alias/key", "secret/key"] {
        let name = scene.absolute(name);
        scene.opens(&name, b"secret");
    }
}

#[test]
fn what_is_allowed_must_be_a_directory() {
    let mut scene = Scene::new();
    for (name, why) in [("missing", "No such file or directory"), ("secret/key", "Not a directory")] {
        let path = scene.path(name);
        let error = scene.files.allow(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("opening '{}': {why}", path.display()));
    }
}

#[test]
fn only_files_are_opened() {
    let mut scene = Scene::new();
    mkfifo(&scene.path("images/fifo"), Mode::S_IRWXU).unwrap();
    let _listener = UnixListener::bind(scene.path("images/socket")).unwrap();
    scene.files.allow(Path::new("/dev")).unwrap();
    let cases = [
        (".", FileKind::Directory),
        ("sub", FileKind::Directory),
        ("fifo", FileKind::Fifo),
        ("socket", FileKind::Socket),
        ("/dev/null", FileKind::CharacterDevice),
    ];
    for (name, expected) in cases {
        let kind = scene.error(name);
        assert_eq!(kind.to_string(), format!(": it is {expected}"), "{name}");
    }
}

#[test]
fn block_devices_are_opened_in_allowed_directories_only() {
    let mut scene = Scene::new();
    let node = scene.path("images/device");
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    // The first loop device, used or not.
    match mknod(&node, SFlag::S_IFBLK, mode, makedev(7, 0)) {
        Ok(()) => {}
        Err(errno) => return skipped(&format!("no device could be made: {errno}")),
    }
    scene.is_not_allowed("device");
    scene.allow("images");
    match scene.open("device").map(|id| scene.files.kind(id)) {
        Ok(kind) => assert_eq!(kind, Some(FileKind::BlockDevice)),
        Err(error) => skipped(&error.to_string()),
    }
}

#[test]
fn an_output_cannot_be_named() {
    let mut scene = Scene::new();
    let same = |kind| matches!(kind, NameErrorKind::File(FileErrorKind::SameFile { .. }));
    let fresh = scene.files.add_output(&scene.path("images/fresh.img")).unwrap();
    scene.files.size_output(fresh, 5).unwrap();
    assert!(same(scene.error("fresh.img")));

    fs::hard_link(scene.path("images/base.img"), scene.path("out.img")).unwrap();
    let output = scene.files.add_output(&scene.path("out.img")).unwrap();
    assert!(same(scene.error("base.img")));

    scene.opens("sub/mid.img", b"mid");
    fs::remove_file(scene.path("out.img")).unwrap();
    fs::hard_link(scene.path("images/sub/mid.img"), scene.path("out.img")).unwrap();
    assert_same_file(scene.files.size_output(output, 0).map(|()| output));
    assert_eq!(fs::read(scene.path("images/sub/mid.img")).unwrap(), b"mid");
}

#[test]
fn cycles_are_refused() {
    let mut scene = Scene::new();
    scene.link("overlay.img", "images/link");
    fs::hard_link(scene.path("images/overlay.img"), scene.path("images/hard")).unwrap();
    let is_cycle = |kind| matches!(kind, NameErrorKind::Cycle);
    for name in ["overlay.img", "link", "hard"] {
        assert!(is_cycle(scene.error(name)), "{name}");
    }
    scene.image = scene.opens("base.img", b"a base");
    assert!(is_cycle(scene.error("base.img")));
    assert!(is_cycle(scene.error("hard")));
    scene.image = scene.opens("sub/mid.img", b"mid");
    scene.allow("images");
    assert!(is_cycle(scene.error("../base.img")));
    assert!(is_cycle(scene.error("../overlay.img")));
}

#[test]
fn the_same_file_may_be_named_twice() {
    let mut scene = Scene::new();
    let overlay = scene.image;
    scene.image = scene.opens("base.img", b"a base");
    scene.opens("sub/mid.img", b"mid");
    scene.image = overlay;
    scene.opens("sub/mid.img", b"mid");
}

#[test]
fn a_chain_has_an_end() {
    let mut scene = Scene::new();
    for n in 1..=MAX_DEPTH + 1 {
        file(&scene.dir, &format!("images/{n}"), b"");
    }
    for n in 1..=MAX_DEPTH {
        scene.image = scene.opens(&n.to_string(), b"");
    }
    let kind = scene.error(&(MAX_DEPTH + 1).to_string());
    assert_eq!(kind.to_string(), ", and is itself the last of 16 that name each other");
    // Not even whether there is something is told.
    assert!(matches!(scene.error("missing"), NameErrorKind::TooDeep));
}

#[test]
fn there_are_not_endlessly_many() {
    let mut scene = Scene::new();
    for _ in 1..MAX_FILES {
        scene.opens("base.img", b"");
    }
    let kind = scene.error("base.img");
    assert_eq!(kind.to_string(), ", and there are 1024 files already");
}

#[test]
fn names_are_harmless_for_terminals() {
    let mut scene = Scene::new();
    let error = scene.open("\x1b[2J\r\u{202e}").unwrap_err().to_string();
    assert!(error.ends_with(" names '\\u{1b}[2J\\r\\u{202e}': No such file or directory"), "{error}");
    let error = scene.files.open_named(scene.image, b"../\xff\n").unwrap_err().to_string();
    assert!(error.ends_with(" names '../\u{fffd}\\n', which is not a file in its directory"), "{error}");

    let path = file(&scene.dir, "images/\x1b[2J", b"content");
    scene.image = scene.opens("\x1b[2J", b"content");
    let error = scene.open("missing").unwrap_err().to_string();
    assert!(error.contains("/images/\\u{1b}[2J' names 'missing'"), "{error}");
    File::options().write(true).open(path).unwrap().set_len(0).unwrap();
    let error = scene.files.input(scene.image).read_exact_at(&mut [0; 7], 0).unwrap_err().to_string();
    assert!(error.contains("/images/\\u{1b}[2J' at byte 0"), "{error}");
}

#[test]
fn a_system_without_openat2_is_told() {
    let kind = NameErrorKind::from(Miss::from(Errno::ENOSYS));
    assert!(matches!(kind, NameErrorKind::Unsupported));
    assert!(kind.to_string().contains("openat2 (Linux 5.6"), "{kind}");
}
