//! The simplest case that still fails.

use core::time::Duration;
use std::time::Instant;

use super::command::Invocation;
use super::image::{Format, Image, Layer, Origin};

/// An image, and what is done with it.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) image: Image,
    pub(super) invocation: Invocation,
}

/// A case may take this long to be made simpler.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes `case` simpler as long as it `fails`.
pub(super) fn shrink(mut case: Case, fails: impl Fn(&Case) -> bool) -> Case {
    let end = Instant::now() + PATIENCE;
    while let Some(simpler) =
        case.simpler().into_iter().find(|simpler| Instant::now() < end && fails(simpler))
    {
        case = simpler;
    }
    case
}

impl Case {
    /// What is one step simpler, the largest steps first. Some of it cannot be made at all.
    fn simpler(&self) -> Vec<Self> {
        let images = simpler_images(&self.image).into_iter();
        let images = images.map(|image| Self { image, invocation: self.invocation.clone() });
        let invocations = self.invocation.simpler();
        images.chain(invocations.map(|invocation| Self { image: self.image.clone(), invocation })).collect()
    }
}

fn simpler_images(image: &Image) -> Vec<Image> {
    let mut simpler = Vec::new();
    for depth in 0..image.layers.len() {
        if image.layers.len() > 1 {
            let mut fewer = image.clone();
            fewer.layers.remove(depth);
            simpler.push(fewer);
        }
    }
    for (depth, layer) in image.layers.iter().enumerate() {
        simpler.extend(simpler_layers(layer).into_iter().map(|layer| {
            let mut other = image.clone();
            other.layers[depth] = layer;
            other
        }));
    }
    simpler
}

fn simpler_layers(layer: &Layer) -> Vec<Layer> {
    let mut simpler = Vec::new();
    let mut with = |change: &dyn Fn(&mut Layer)| {
        let mut other = layer.clone();
        change(&mut other);
        if other != *layer {
            simpler.push(other);
        }
    };
    with(&|layer| layer.origin = Origin::Created);
    with(&|layer| {
        layer.format = Format::Raw;
        layer.options.clear();
    });
    with(&|layer| layer.ops.clear());
    for index in 0..layer.ops.len() {
        with(&|layer| _ = layer.ops.remove(index));
    }
    if let Origin::Converted { ops, .. } = &layer.origin {
        for index in 0..ops.len() {
            with(&|layer| {
                if let Origin::Converted { ops, .. } = &mut layer.origin {
                    ops.remove(index);
                }
            });
        }
    }
    for index in 0..layer.options.len() {
        with(&|layer| _ = layer.options.remove(index));
    }
    with(&|layer| layer.resize(layer.size / 2));
    with(&|layer| layer.resize(layer.size / 4 * 3 / 512 * 512));
    simpler
}

#[cfg(test)]
mod tests {
    use super::super::command::COMMANDS;
    use super::super::image::{Op, Piece};
    use super::*;

    #[test]
    fn what_does_not_matter_is_left_out() {
        let write = |at| Op::Write { at, len: 10, piece: Piece::Constant(1), compressed: false };
        let layer = |format, options: &[&str], ops: &[Op]| Layer {
            format,
            options: options.iter().map(|&option| option.into()).collect(),
            size: 1 << 30,
            origin: Origin::Created,
            ops: ops.to_vec(),
        };
        let image = Image {
            layers: vec![
                layer(Format::Qcow2, &["cluster_size=512", "lazy_refcounts=on"], &[write(5), Op::Snapshot]),
                layer(Format::Raw, &[], &[write(700)]),
            ],
        };
        let arguments = vec![vec!["-f".into(), "qcow2".into()], vec!["bs=7".into()]];
        let case = Case { image, invocation: Invocation { command: &COMMANDS[0], arguments } };

        let shrunk = shrink(case, |case| {
            let top = case.image.top();
            top.option("cluster_size").is_some() && top.ops.contains(&Op::Snapshot) && top.size > 100
        });
        let expected = Layer { size: 128, ..layer(Format::Qcow2, &["cluster_size=512"], &[Op::Snapshot]) };
        assert_eq!(shrunk.image.layers, [expected]);
        assert_eq!(shrunk.invocation.words(), ["dd", "if=in.img", "of=out.img"]);
    }
}
