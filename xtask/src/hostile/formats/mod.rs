//! What images consist of, format by format.

mod qcow2;
mod vhdx;
mod vmdk;
mod vpc;

use super::field::Format;

pub(super) const FORMATS: &[&Format] = &[&qcow2::FORMAT, &vmdk::FORMAT, &vpc::FORMAT, &vhdx::FORMAT];
