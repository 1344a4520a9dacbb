//! Clusters of the image file, taken one after the other.

use fmt_core::{Error, ErrorKind, Output, StepSink};

use crate::limits::MAX_FILE_LEN;
use crate::refcount::{Inline, Refcounts, Width};

/// The clusters of the image file that are taken so far: all before the next.
#[derive(Debug)]
pub(crate) struct Space {
    width: Width,
    /// The number of the next cluster.
    next: u64,
    /// The refcount blocks among the clusters.
    inline: Option<Inline>,
}

impl Space {
    /// The clusters behind the first `taken` ones.
    pub(crate) fn new(width: Width, taken: u64) -> Self {
        Self { width, next: taken, inline: None }
    }

    pub(crate) fn width(&self) -> Width {
        self.width
    }

    pub(crate) fn cluster_size(&self) -> u64 {
        self.width.geometry().cluster_size()
    }

    /// Takes the next cluster, and returns its number. It has a byte offset that fits the image's tables.
    pub(crate) fn take<S: StepSink>(&mut self, output: &Output<'_, S>) -> Result<u64, Error> {
        let cluster = self.next + u64::from(self.is_block_next());
        let end = cluster.checked_add(1).and_then(|next| next.checked_mul(self.cluster_size()));
        let end = end.filter(|&end| end <= MAX_FILE_LEN).ok_or(too_large("the file"))?;
        self.next = cluster + 1;
        output.reserve(end)?;
        Ok(cluster)
    }

    /// Whether the cluster that will be taken next comes right behind `cluster`.
    pub(crate) fn follows(&self, cluster: u64) -> bool {
        cluster + 1 == self.next && !self.is_block_next()
    }

    /// Whether the next cluster is where a refcount block has its place.
    fn is_block_next(&self) -> bool {
        self.inline.is_some() && self.width.begins_block(self.next)
    }

    /// Takes a cluster for the refcount block that counts it: it and all that follow lie among the other clusters.
    pub(crate) fn begin_inline<S: StepSink>(&mut self, output: &Output<'_, S>) -> Result<Inline, Error> {
        let inline = Inline::new(self.width, self.take(output)?);
        self.inline = Some(inline);
        Ok(inline)
    }

    /// The refcounts of what has been taken so far, if a reader allows as many.
    pub(crate) fn refcounts(&self) -> Result<Refcounts, Error> {
        let refcounts = Refcounts::after(self.width, self.inline, self.next).ok_or(too_large("the file"))?;
        refcounts.check()?;
        Ok(refcounts)
    }
}

const fn too_large(what: &'static str) -> Error {
    Error::new(ErrorKind::TooLarge, 0, what)
}
