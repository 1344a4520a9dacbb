//! Images as descriptions, and the shell commands that make them.

use core::fmt::{self, Write};

/// Two files of [`PIECES_LEN`] bytes that data is cut from, and no byte of which tells less than where it came from:
/// lines of text, which compress well, and noise, which does not.
pub(super) const PIECES: &str =
    "seq -f %015.0f 65536 | head -c 1048576 >text\nseq 6000000 | xz -0c | head -c 1048576 >noise\n";

/// How long the files of [`PIECES`] are.
pub(super) const PIECES_LEN: u64 = 1 << 20;

/// The names of the files of [`PIECES`].
pub(super) const PIECES_NAMES: [&str; 2] = ["text", "noise"];

/// The file that commands read.
pub(super) const TOP: &str = "in.img";

/// An image and those that it stands on, itself first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) layers: Vec<Layer>,
}

/// One image of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) format: Format,
    /// Options of the format, as `-o` takes them.
    pub(super) options: Vec<String>,
    /// In bytes, before the format rounds it.
    pub(super) size: u64,
    pub(super) origin: Origin,
    /// What is done to the image once it is there.
    pub(super) ops: Vec<Op>,
}

/// How an image comes to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// By `qemu-img create`.
    Created,
    /// By `qemu-img convert`, from a raw disk to which this was done.
    Converted { ops: Vec<Op>, compressed: bool },
}

/// The formats of inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Format {
    Raw,
    Qcow2,
    Vmdk,
    Vpc,
    Vhdx,
    /// One that instar refuses by name.
    Foreign(&'static str),
}

/// One thing that is done to a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Write { at: u64, len: u64, piece: Piece, compressed: bool },
    Zero { at: u64, len: u64, unmap: bool },
    Discard { at: u64, len: u64 },
    Snapshot,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text or noise, from an offset in its file on.
    Cut(&'static str, u64),
    Constant(u8),
}

impl Image {
    /// What the command sees first.
    pub(super) fn top(&self) -> &Layer {
        &self.layers[0]
    }

    /// A script that makes the image in the directory beside which the [`PIECES`] are.
    pub(super) fn script(&self) -> String {
        let mut script = String::new();
        let mut below: Option<(String, Format)> = None;
        for (depth, layer) in self.layers.iter().enumerate().rev() {
            let name = if depth == 0 { TOP.into() } else { format!("base{depth}.img") };
            layer.append_to(&mut script, &name, below.as_ref());
            below = Some((name, layer.format));
        }
        script
    }
}

impl Layer {
    /// The value of an option.
    pub(super) fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }

    fn append_to(&self, script: &mut String, name: &str, below: Option<&(String, Format)>) {
        let (format, size) = (self.format, self.size);
        let options = match self.options.join(",") {
            none if none.is_empty() => none,
            some => format!(" -o {some}"),
        };
        match &self.origin {
            Origin::Created if format == Format::Raw => line(script, &format!("truncate -s {size} {name}")),
            Origin::Created => {
                let backing =
                    below.map_or_else(String::new, |(name, format)| format!(" -b {name} -F {format}"));
                line(script, &format!("qemu-img create -q -f {format}{options}{backing} {name} {size}"));
            }
            Origin::Converted { ops, compressed } => {
                line(script, &format!("truncate -s {size} source"));
                append_ops(script, ops, "source", Format::Raw);
                let compress = if *compressed { " -c" } else { "" };
                line(
                    script,
                    &format!("qemu-img convert -f raw -O {format}{compress}{options} source {name}"),
                );
                line(script, "rm source");
            }
        }
        append_ops(script, &self.ops, name, format);
    }
}

/// Everything between two snapshots is done by one `qemu-io`.
fn append_ops(script: &mut String, ops: &[Op], image: &str, format: Format) {
    for (number, run) in ops.split(|op| *op == Op::Snapshot).enumerate() {
        if number > 0 {
            line(script, &format!("qemu-img snapshot -c {number} {image}"));
        }
        if run.is_empty() {
            continue;
        }
        let mut commands = String::new();
        for (number, op) in run.iter().enumerate() {
            if let Op::Write { piece: Piece::Cut(file, from), len, .. } = op {
                line(script, &format!("tail -c +{} ../{file} | head -c {len} >piece{number}", from + 1));
            }
            let _ = write!(commands, " -c '{}'", op.command(number));
        }
        line(script, &format!("qemu-io -f {format}{commands} {image} >/dev/null"));
        line(script, "rm -f piece*");
    }
}

fn line(script: &mut String, line: &str) {
    script.push_str(line);
    script.push('\n');
}

impl Op {
    /// Where it begins on the disk.
    pub(super) fn start(&self) -> u64 {
        match self {
            Self::Write { at, .. } | Self::Zero { at, .. } | Self::Discard { at, .. } => *at,
            Self::Snapshot => 0,
        }
    }

    /// Where it ends on the disk.
    pub(super) fn end(&self) -> u64 {
        match self {
            Self::Write { at, len, .. } | Self::Zero { at, len, .. } | Self::Discard { at, len } => at + len,
            Self::Snapshot => 0,
        }
    }

    /// As `qemu-io` takes it.
    fn command(&self, number: usize) -> String {
        match self {
            Self::Write { at, len, piece, compressed } => {
                let compress = if *compressed { "-c " } else { "" };
                match piece {
                    Piece::Cut(..) => format!("write {compress}-s piece{number} {at} {len}"),
                    Piece::Constant(byte) => format!("write {compress}-P {byte} {at} {len}"),
                }
            }
            Self::Zero { at, len, unmap: false } => format!("write -z {at} {len}"),
            Self::Zero { at, len, unmap: true } => format!("write -z -u {at} {len}"),
            Self::Discard { at, len } => format!("discard {at} {len}"),
            Self::Snapshot => unreachable!("snapshots are not made by qemu-io"),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vpc => "vpc",
            Self::Vhdx => "vhdx",
            Self::Foreign(name) => name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_made_from_its_end() {
        let base = Layer {
            format: Format::Raw,
            options: vec![],
            size: 1000,
            origin: Origin::Created,
            ops: vec![Op::Write { at: 5, len: 7, piece: Piece::Constant(9), compressed: false }],
        };
        let top = Layer {
            format: Format::Qcow2,
            options: vec!["cluster_size=512".into()],
            size: 2048,
            origin: Origin::Created,
            ops: vec![
                Op::Write { at: 0, len: 3, piece: Piece::Cut("text", 40), compressed: true },
                Op::Snapshot,
                Op::Zero { at: 512, len: 1, unmap: true },
                Op::Discard { at: 0, len: 512 },
            ],
        };
        let script = Image { layers: vec![top, base] }.script();
        let expected = "\
truncate -s 1000 base1.img
qemu-io -f raw -c 'write -P 9 5 7' base1.img >/dev/null
rm -f piece*
qemu-img create -q -f qcow2 -o cluster_size=512 -b base1.img -F raw in.img 2048
tail -c +41 ../text | head -c 3 >piece0
qemu-io -f qcow2 -c 'write -c -s piece0 0 3' in.img >/dev/null
rm -f piece*
qemu-img snapshot -c 1 in.img
qemu-io -f qcow2 -c 'write -z -u 512 1' -c 'discard 0 512' in.img >/dev/null
rm -f piece*
";
        assert_eq!(script, expected);
    }
}
