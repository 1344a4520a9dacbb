//! Compressed clusters, packed byte after byte into clusters of the file (section "Compressed Clusters Descriptor").

use fmt_core::{Error, Output, Source, StepSink};

use crate::refcount::{Counts, Inline};
use crate::space::Space;

/// Where compressed data goes.
#[derive(Debug)]
pub(crate) struct Packer {
    inline: Inline,
    /// The refcounts of the clusters before the one that is being filled.
    counts: Counts,
    filling: Option<Filling>,
}

/// A cluster of the file that is being filled.
#[derive(Clone, Copy, Debug)]
struct Filling {
    cluster: u64,
    /// How many of its bytes have been written.
    used: u64,
    /// How many pieces of compressed data it has a part of: its refcount.
    users: u64,
}

impl Packer {
    /// Takes a cluster for the first refcount block that cannot wait until the end.
    pub(crate) fn begin<S: StepSink>(output: &Output<'_, S>, space: &mut Space) -> Result<Self, Error> {
        let inline = space.begin_inline(output)?;
        Ok(Self { inline, counts: inline.counts(), filling: None })
    }

    /// Writes the compressed data of a cluster, `len` bytes of `source`, fewer than a cluster has. Returns its byte offset.
    pub(crate) fn pack<S: StepSink>(
        &mut self,
        output: &Output<'_, S>,
        space: &mut Space,
        source: Source,
        len: u32,
    ) -> Result<u64, Error> {
        let (size, len) = (space.cluster_size(), u64::from(len));
        let Filling { cluster, used, users } = match self.filling.filter(|filling| filling.takes(space, len))
        {
            Some(filling) => filling,
            None => {
                self.close(output, space)?;
                Filling { cluster: space.take(output)?, used: 0, users: 0 }
            }
        };
        let at = cluster * size + used;
        self.filling = Some(Filling { cluster, used: (used + len).min(size), users: users + 1 });
        if used + len > size {
            self.close(output, space)?;
            self.filling = Some(Filling { cluster: space.take(output)?, used: used + len - size, users: 1 });
        }
        output.fill(at, len, source)?;
        Ok(at)
    }

    /// Fills what is left of the cluster, and puts its refcount behind those of the clusters before it. They are ones: a
    /// cluster that is taken for anything else is used once.
    fn close<S: StepSink>(&mut self, output: &Output<'_, S>, space: &Space) -> Result<(), Error> {
        let Some(Filling { cluster, used, users }) = self.filling.take() else { return Ok(()) };
        let size = space.cluster_size();
        output.zero(cluster * size + used, size - used)?;
        let place = |block| self.inline.cluster_of(block);
        self.counts.ones(output, place, cluster)?;
        self.counts.push(output, place, users)
    }

    /// Ends the last cluster, and returns the refcounts of all up to that.
    pub(crate) fn finish<S: StepSink>(
        mut self,
        output: &Output<'_, S>,
        space: &Space,
    ) -> Result<Counts, Error> {
        self.close(output, space)?;
        Ok(self.counts)
    }
}

impl Filling {
    /// Whether `len` bytes can follow: all in this cluster, or going on in the next of the file.
    fn takes(&self, space: &Space, len: u64) -> bool {
        let left = space.cluster_size() - self.used;
        left > 0 && self.users < space.width().max() && (len <= left || space.follows(self.cluster))
    }
}
