//! Outputs that are treated otherwise than those of `dd`.

use core::num::{NonZeroU32, NonZeroU64};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::exec::Salvaged;

const GRAIN: u64 = 4096;

fn with_holes() -> OutputOptions {
    OutputOptions { holes: NonZeroU32::new(4096), reserve: Reserve::Never, ..OutputOptions::default() }
}

fn allocated(fixture: &Fixture, name: &str) -> u64 {
    fs::metadata(fixture.path(name)).unwrap().blocks() * 512
}

#[test]
fn zeros_are_left_out() {
    let mut content = vec![0; 1 << 20];
    for at in [0, 100_000, 500_000, (1 << 20) - 1] {
        content[at] = 1;
    }
    content[300_000..310_000].fill(2);
    let mut fixture = Fixture::new().input("in", &content).output_with("out", with_holes());
    fixture.ring(&[set_len(1, 9 << 20), copy(0, 0, 1, 0, 1 << 20), zero(1, 2 << 20, 7 << 20)]).unwrap();
    content.resize(9 << 20, 0);
    assert!(fixture.content("out") == content);
    // A file system may need one block more to say where they are.
    let blocks = allocated(&fixture, "out") / GRAIN;
    assert!((7..=8).contains(&blocks), "{blocks} blocks");
}

/// What is zeros is decided by pieces of the output, wherever they come from.
#[test]
fn pieces_are_aligned_in_the_output() {
    for (src, dst) in [(0, 0), (1, 0), (0, 1), (4095, 4097), (300, 5000)] {
        let mut content = vec![0; 40_000];
        content[20_000..20_010].fill(3);
        let mut fixture = Fixture::new().input("in", &content).output_with("out", with_holes());
        let len = 40_000 - src;
        fixture.ring(&[set_len(1, 50_000), copy(0, src, 1, dst, len)]).unwrap();
        let at = 20_000 + dst - src;
        let mut expected = vec![0; 50_000];
        expected[usize::try_from(at).unwrap()..][..10].fill(3);
        assert!(fixture.content("out") == expected, "{src} to {dst}");
        assert!(allocated(&fixture, "out") <= 2 * GRAIN);
    }
}

#[test]
fn only_so_many_zeros_are_left_out_between_data() {
    let mut content = vec![7; 60 * 4096];
    content[3 * 4096 + 100..19 * 4096 + 100].fill(0);
    content[30 * 4096..44 * 4096].fill(0);
    content[52 * 4096..].fill(0);
    let options = OutputOptions { holes: NonZeroU32::new(16 * 4096), ..with_holes() };
    let mut fixture = Fixture::new().input("in", &content).output_with("out", options);
    fixture.ring(&[set_len(1, 60 * 4096), copy(0, 0, 1, 0, 60 * 4096)]).unwrap();
    assert!(fixture.content("out") == content);
    assert_eq!(allocated(&fixture, "out"), (60 - 15 - 8) * GRAIN);
}

#[test]
fn what_the_guest_writes_of_its_own_has_holes_too() {
    let mut fixture = Fixture::new().output_with("out", with_holes());
    fixture.run(NO_LIMITS, |executor, window| {
        window.0[10_000] = 5;
        executor.carry_out(&[set_len(0, 65_536), write(0, 0, 0, 65_536)], &window.slice()).unwrap();
        assert_eq!(executor.written(), 65_536);
        executor.finish().unwrap();
    });
    assert_eq!(fixture.content("out")[10_000], 5);
    assert_eq!(allocated(&fixture, "out"), GRAIN);
}

#[test]
fn an_output_that_is_kept_keeps_the_rest_and_gets_zeros() {
    let kept = OutputOptions { keeps_content: true, ..with_holes() };
    let fixture = Fixture::new().input("in", &[[0; 100], [1; 100]].concat());
    fs::write(fixture.path("out"), [9; 1000]).unwrap();
    let mut fixture = fixture.output_with("out", kept);
    fixture.ring(&[set_len(1, 500), copy(0, 0, 1, 0, 200), zero(1, 300, 100)]).unwrap();
    let expected = [[0; 100], [1; 100], [9; 100], [0; 100]].concat();
    assert_eq!(fixture.content("out"), [expected, vec![9; 600]].concat());
}

#[test]
fn what_is_said_to_be_zeros_is_believed() {
    let zeros = OutputOptions { keeps_content: true, is_zero: true, ..with_holes() };
    let fixture = Fixture::new();
    fs::write(fixture.path("out"), [9; 8192]).unwrap();
    let mut fixture = fixture.output_with("out", zeros);
    fixture.ring(&[set_len(0, 8192), zero(0, 0, 8192)]).unwrap();
    assert_eq!(fixture.content("out"), [9; 8192]);
}

#[test]
fn an_output_that_is_kept_has_to_be_there_and_long_enough() {
    let kept = OutputOptions { keeps_content: true, ..with_holes() };
    let mut fixture = Fixture::new();
    let path = fixture.path("out");
    fixture.files.add_output_with(&path, kept).unwrap_err();
    fs::write(&path, [9; 100]).unwrap();
    let mut fixture = fixture.output_with("out", kept);
    let error = fixture.ring(&[set_len(0, 101)]).unwrap_err().to_string();
    assert!(error.ends_with("it has 100 bytes, and 101 are needed"), "{error}");
    assert_eq!(fixture.content("out"), [9; 100]);
}

#[test]
fn a_rate_is_kept() {
    let mut fixture = Fixture::new().input("in", &pattern(1 << 20, 1)).output("out");
    let conduct = Conduct { rate: NonZeroU64::new(4 << 20), ..Conduct::default() };
    let begun = Instant::now();
    fixture.run_as(conduct, &NoDecoders, NO_LIMITS, |executor, window| {
        executor.carry_out(&[set_len(1, 1 << 20), copy(0, 0, 1, 0, 1 << 20)], &window.slice()).unwrap();
    });
    assert!(begun.elapsed().as_millis() >= 250);
}

/// A file that ends early stands for one that cannot be read to its end.
#[test]
fn what_cannot_be_read_is_zeros_where_that_is_wanted() {
    let salvaged = Arc::new(Salvaged::default());
    let mut fixture = Fixture::new().input("in", &[1; 100_000]).output("out");
    fs::File::options().write(true).open(fixture.path("in")).unwrap().set_len(70_000).unwrap();
    let conduct = Conduct { salvaged: Some(Arc::clone(&salvaged)), ..Conduct::default() };
    fixture.run_as(conduct, &NoDecoders, NO_LIMITS, |executor, window| {
        executor.carry_out(&[set_len(1, 69_000), copy(0, 1000, 1, 0, 69_000)], &window.slice()).unwrap();
        assert_eq!(salvaged.bytes(), 0);
        let error = executor.carry_out(&[read(0, 70_000, 0, 1)], &window.slice()).unwrap_err();
        assert!(matches!(error, ExecError::File(_)), "{error}");
    });
    assert_eq!(fixture.content("out"), [1; 69_000]);
}
