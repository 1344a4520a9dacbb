//! Outputs of several files, and files that are written in place.

use super::*;

/// An output in `dir` that may consist of `most` files more.
fn series(files: &mut Files, path: &Path, most: u32) -> FileId {
    let id = files.add_output(path).unwrap();
    files.add_series(id, most, |name, number| [b"part", number.to_string().as_bytes(), b"-", name].concat());
    id
}

#[test]
fn further_files_lie_beside_the_output_and_have_the_names_that_were_given() {
    let dir = dir();
    let mut files = Files::new();
    let first = series(&mut files, &dir.path().join("out.img"), 2);
    assert_eq!(files.roles(), [Role::Output { further: 2 }]);
    for number in 0..2 {
        let id = files.add_further(first).unwrap();
        let name = format!("part{number}-out.img");
        assert_eq!(files.path(id), Some(&*dir.path().join(name)));
    }
    let none = Role::Output { further: 0 };
    assert_eq!(files.roles(), [none; 3]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_further_file_that_is_an_input_is_refused() {
    let dir = dir();
    let input = file(&dir, "part0-out.img", b"precious");
    let mut files = Files::new();
    files.add_input(&input).unwrap();
    let first = series(&mut files, &dir.path().join("out.img"), 2);
    assert_same_file(files.add_further(first));
    assert_eq!(fs::read(&input).unwrap(), b"precious");
}

#[test]
fn a_further_file_that_is_a_link_is_refused() {
    let dir = dir();
    let victim = file(&dir, "victim", b"precious");
    std::os::unix::fs::symlink(&victim, dir.path().join("part0-out.img")).unwrap();
    let mut files = Files::new();
    let first = series(&mut files, &dir.path().join("out.img"), 2);
    let error = files.add_further(first).unwrap_err();
    assert!(matches!(error.kind, FileErrorKind::Link), "{error}");

    // Nor is it followed if it comes later.
    let second = files.add_further(first).unwrap();
    std::os::unix::fs::symlink(&victim, dir.path().join("part1-out.img")).unwrap();
    files.size_output(first, 1).unwrap();
    files.size_output(second, 1).unwrap_err();
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}

#[test]
fn all_outputs_are_made_when_the_last_has_a_length() {
    let dir = dir();
    let old = file(&dir, "part0-out.img", b"old content");
    let mut files = Files::new();
    let first = series(&mut files, &dir.path().join("out.img"), 1);
    let second = files.add_further(first).unwrap();
    files.size_output(first, 3).unwrap();
    assert_eq!(files.outputs_touched().count(), 0);
    assert!(!dir.path().join("out.img").exists());
    files.size_output(second, 2).unwrap();
    assert!(files.are_outputs_made());
    assert_eq!(
        (fs::read(dir.path().join("out.img")).unwrap(), fs::read(&old).unwrap()),
        (vec![0; 3], vec![0; 2])
    );
}

#[test]
fn nothing_is_emptied_if_one_of_them_is_in_use() {
    let dir = dir();
    let old = file(&dir, "out.img", b"old content");
    let used = file(&dir, "part1-out.img", b"in use");
    let mut others = Files::new();
    others.add_input(&used).unwrap();

    let mut files = Files::new();
    let first = series(&mut files, &old, 2);
    let further: Vec<_> = (0..2).map(|_| files.add_further(first).unwrap()).collect();
    files.size_output(first, 1).unwrap();
    files.size_output(further[0], 1).unwrap();
    let error = files.size_output(further[1], 1).unwrap_err();
    assert!(matches!(error.kind, FileErrorKind::Locked(Conflict::User)), "{error}");
    assert_eq!(
        (fs::read(&old).unwrap(), fs::read(&used).unwrap()),
        (b"old content".into(), b"in use".into())
    );
    // Nor has the one that was to be new been made.
    assert_eq!(files.outputs_touched().count(), 0);
    assert!(!dir.path().join("part0-out.img").exists());
}

#[test]
fn the_bound_is_for_all_files_together() {
    let dir = dir();
    let mut files = Files::new().max_output(Some(100));
    let first = series(&mut files, &dir.path().join("out.img"), 1);
    let second = files.add_further(first).unwrap();
    files.size_output(first, 60).unwrap();
    let error = files.size_output(second, 41).unwrap_err();
    assert!(matches!(error.kind, FileErrorKind::TooLarge { len: 101, allowed: 100 }), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    files.size_output(second, 40).unwrap();
    files.size_output(first, 10).unwrap();
    files.size_output(second, 90).unwrap();
    files.size_output(second, 91).unwrap_err();
}

#[test]
fn a_file_in_place_is_as_it_was_until_it_is_written() {
    let dir = dir();
    let image = file(&dir, "image.img", b"content");
    let mut files = Files::new();
    let id = files.add_in_place(&image).unwrap();
    assert_eq!(files.entry(id), FileEntry { role: ROLE_IN_PLACE, hints: 0, len: 7 });
    assert!(files.are_outputs_made());
    assert_eq!((fs::read(&image).unwrap(), files.outputs_touched().count()), (b"content".into(), 0));

    assert!(files.touch_in_place(id));
    files.output(id).write_all_at(b"CON", 0).unwrap();
    files.size_output(id, 9).unwrap();
    let mut all = [7; 9];
    files.input(id).read_exact_at(&mut all, 0).unwrap();
    assert_eq!(&all, b"CONtent\0\0");
    assert_eq!(files.outputs_touched().collect::<Vec<_>>(), [&image]);
}

#[test]
fn a_file_in_place_has_to_be_there_and_nobody_elses() {
    let dir = dir();
    let image = file(&dir, "image.img", b"content");
    let missing = dir.path().join("missing.img");
    let error = Files::new().add_in_place(&missing).unwrap_err();
    assert_eq!(error.to_string(), format!("opening '{}': No such file or directory", missing.display()));
    assert!(!missing.exists());
    let error = Files::new().add_in_place(dir.path()).unwrap_err();
    assert!(matches!(error.kind, FileErrorKind::Unusable(FileKind::Directory)), "{error}");

    let mut files = Files::new();
    files.add_output(&image).unwrap();
    assert_same_file(files.add_in_place(&image));
    drop(files);
    let mut files = Files::new();
    files.add_in_place(&image).unwrap();
    assert_same_file(files.add_output(&image));
    let error = files.add_input(&image).unwrap_err();
    assert!(matches!(error.kind, FileErrorKind::SameFile { .. }), "{error}");
    let error = Files::new().add_in_place(&image).unwrap_err();
    assert!(matches!(error.kind, FileErrorKind::Locked(Conflict::User)), "{error}");
    drop(files);

    let mut files = Files::new();
    files.add_input(&image).unwrap();
    let error = files.add_in_place(&image).unwrap_err();
    assert!(matches!(error.kind, FileErrorKind::SameFile { .. }), "{error}");
}

#[test]
fn a_device_in_place_does_not_grow() {
    let mut files = Files::new();
    let null = files.add_in_place(Path::new("/dev/null")).unwrap();
    let error = files.size_output(null, 1).unwrap_err();
    assert_eq!(error.to_string(), "resizing '/dev/null': cannot grow a device of 0 bytes to 1");
}
