//! Guests that decompress, and what one does at a time.

use std::path::PathBuf;

use guest_abi::decode::{COUNT_AT, PACKED_AT, PLAIN_AT, UNITS_AT};
use vm_memory::{Bytes, VolatileSlice};
use zerocopy::{Immutable, IntoBytes};

use super::batch::{Layout, Run};
use super::mover::{Mover, Stores};
use super::operation::Part;
use super::progress::Stopped;
use crate::error::{Error, ImageFailure};
use crate::files::Input;
use crate::ring::{FailureKind, lengths};
use crate::sandbox::Sandbox;

/// Where decoders come from.
pub trait DecoderSource {
    /// A new decoder: a guest as in [`guest_abi::decode`], which has not run yet.
    ///
    /// # Errors
    ///
    /// When there is no sandbox for it.
    fn start(&self) -> Result<Box<dyn Sandbox>, Error>;

    /// Whether decoders can be started when this process has been confined.
    fn starts_when_confined(&self) -> bool;
}

/// A guest that decompresses.
pub(super) struct Decoder {
    sandbox: Box<dyn Sandbox>,
}

impl Decoder {
    pub(super) fn new(sandbox: Box<dyn Sandbox>) -> Self {
        Self { sandbox }
    }

    /// Carries out the parts of one batch.
    pub(super) fn carry_out(&mut self, parts: &[Part], mover: &mut Mover<'_>) -> Result<(), Stopped> {
        mover.shift.go_on()?;
        let layout = Layout::of(parts);
        give(&self.sandbox.exchange(), &layout, &mover.stores)?;
        self.sandbox.run()?;
        let exchange = self.sandbox.exchange();
        check(parts, &layout, &exchange, &mover.stores)?;
        for strip in layout.strips(parts) {
            mover.deliver(&window(&exchange, PLAIN_AT + strip.at, strip.len), strip.to, strip.dst)?;
        }
        Ok(())
    }
}

/// Puts a batch into a decoder's exchange.
fn give(exchange: &VolatileSlice<'_>, layout: &Layout, stores: &Stores<'_>) -> Result<(), Stopped> {
    for run in &layout.runs {
        let input = stores.files.input(run.file);
        match input.read_exact_into(&window(exchange, PACKED_AT + run.at, run.len), run.src) {
            Err(_) if stores.conduct.salvaged.is_some() => salvage(exchange, layout, run, input),
            read => read?,
        }
    }
    let count = u32::try_from(layout.units.len()).expect("a batch has few units");
    put(exchange, UNITS_AT, layout.units.as_slice());
    put(exchange, COUNT_AT, &count);
    Ok(())
}

/// Puts each unit of `run` into a decoder's exchange that can be read, and zeros, which are no unit, for each that cannot.
fn salvage(exchange: &VolatileSlice<'_>, layout: &Layout, run: &Run, input: &Input) {
    for unit in &layout.units {
        let Some(within) = u64::from(unit.packed_at).checked_sub(run.at).filter(|&at| at < run.len) else {
            continue;
        };
        let place = window(exchange, PACKED_AT + run.at + within, unit.packed_len.into());
        if input.read_exact_into(&place, run.src + within).is_err() {
            clear(&place);
        }
    }
}

/// Whether every part is there. Where things are salvaged, one that is not becomes zeros.
fn check(
    parts: &[Part],
    layout: &Layout,
    exchange: &VolatileSlice<'_>,
    stores: &Stores<'_>,
) -> Result<(), Error> {
    let lengths = lengths(exchange, &layout.units)?;
    for (part, place) in parts.iter().zip(&layout.places) {
        let what = match lengths[place.unit] {
            None => "a compressed cluster cannot be decompressed",
            Some(len) if part.end() > len => "a compressed cluster is shorter than what is in it",
            Some(_) => continue,
        };
        if let Some(salvaged) = &stores.conduct.salvaged {
            clear(&window(exchange, PLAIN_AT + place.at, part.len.into()));
            salvaged.lost_in_unit(part.len.into());
            continue;
        }
        let file = stores.files.path(part.unit.file).map_or_else(PathBuf::new, ToOwned::to_owned);
        let (kind, at, what) = (FailureKind::Corrupt, part.unit.src, what.to_owned());
        return Err(ImageFailure { kind, file, is_input: true, at, what }.into());
    }
    Ok(())
}

fn clear(place: &VolatileSlice<'_>) {
    place.write_slice(&vec![0; place.len()], 0).expect("as long as its place");
}

fn put<T: IntoBytes + Immutable + ?Sized>(exchange: &VolatileSlice<'_>, at: u64, value: &T) {
    let at = usize::try_from(at).expect(INSIDE);
    exchange.write_slice(value.as_bytes(), at).expect(INSIDE);
}

fn window<'e>(exchange: &VolatileSlice<'e>, at: u64, len: u64) -> VolatileSlice<'e> {
    let (at, len) = (usize::try_from(at).expect(INSIDE), usize::try_from(len).expect(INSIDE));
    exchange.subslice(at, len).expect(INSIDE)
}

const INSIDE: &str = "a batch is laid out inside the exchange";
