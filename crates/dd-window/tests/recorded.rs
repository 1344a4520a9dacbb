//! What qemu-img was seen to do, done again: every spelling of a number, and every window.

#![expect(clippy::unwrap_used, reason = "in a test, to panic is to report")]

use dd_window::{BlockCount, BlockSize, Blocks, OperandError, Window};

const NUMBERS: &str = include_str!("../../../testdata/dd-numbers.tsv");
const WINDOWS: &str = include_str!("../../../testdata/dd-windows.tsv");

/// The lines of a recording, without the comment at its head.
fn lines(recording: &str) -> impl Iterator<Item = &str> {
    recording.lines().filter(|line| !line.starts_with('#'))
}

/// Sets the operand `name` as `dd` would.
fn set(blocks: &mut Blocks, name: &str, value: &str) -> Result<(), OperandError> {
    let value = value.as_bytes();
    match name {
        "bs" => blocks.block_size = BlockSize::parse(value)?,
        "count" => blocks.count = Some(BlockCount::parse(value)?),
        "skip" => blocks.skip = BlockCount::parse(value)?,
        _ => panic!("unknown operand {name}"),
    }
    Ok(())
}

/// The window that `operands` select, or the name of the first that is wrong and why.
fn window<'a>(operands: &[(&'a str, &str)], size: u64) -> Result<Window, (&'a str, OperandError)> {
    let mut blocks = Blocks::default();
    for (name, value) in operands {
        set(&mut blocks, name, value).map_err(|error| (*name, error))?;
    }
    Ok(blocks.window(size))
}

/// The outcome of a command in the words of the recordings.
fn outcome(operands: &[(&str, &str)], size: u64) -> String {
    match window(operands, size) {
        Ok(window) if window.skip_past_end() => {
            assert_eq!(window.output_len(), Some(0));
            "past".into()
        }
        Ok(window) => window.output_len().unwrap().to_string(),
        Err((_, OperandError::Invalid)) => "invalid".into(),
        Err((name, OperandError::OutOfRange { min, max })) => {
            let limits = if name == "bs" { (1, (1 << 31) - 1) } else { (0, (1 << 63) - 1) };
            assert_eq!((min, max), limits, "{name}");
            "range".into()
        }
    }
}

#[test]
fn numbers_are_read_as_recorded() {
    let mut seen = 0;
    for line in lines(NUMBERS) {
        let [quoted, bs, count, skip] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let quoted = quoted.strip_prefix('\'').and_then(|quoted| quoted.strip_suffix('\'')).unwrap();
        let value = &quoted.replace("\\t", "\t").replace("\\n", "\n");
        assert_eq!(outcome(&[("bs", value), ("count", "1")], 1_048_576), bs, "bs={value:?}");
        assert_eq!(outcome(&[("bs", "1"), ("count", value)], 1024), count, "count={value:?}");
        assert_eq!(outcome(&[("bs", "1"), ("skip", value)], 1024), skip, "skip={value:?}");
        seen += 3;
    }
    assert_eq!(seen, 378);
}

#[test]
fn windows_are_as_recorded() {
    let mut seen = 0;
    for line in lines(WINDOWS) {
        let (recorded, operands) = line.split_once('\t').unwrap();
        let operands: Vec<_> = operands.split('\t').map(|operand| operand.split_once('=').unwrap()).collect();
        assert_eq!(outcome(&operands, 1_000_448), recorded, "{operands:?}");
        seen += 1;
    }
    assert_eq!(seen, 120);
}
