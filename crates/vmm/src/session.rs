//! One command: a guest is started, and what it asks for is done until it has finished.

use core::sync::atomic::AtomicBool;
use core::time::Duration;
use std::path::PathBuf;
use std::sync::Arc;

use guest_abi::boot::{BootPage, MAX_FILES, MAX_REQUEST_LEN};
use zerocopy::{FromBytes, FromZeros};

use crate::choice::Sandboxes;
use crate::confine::ConfineError;
use crate::error::{Error, Failed, ImageFailure};
use crate::exec::{Conduct, DecoderSource, Executor, Limits, Observer};
use crate::files::{FileId, Files};
use crate::image::GuestImage;
use crate::ring::{Ring, Said, data_window};
use crate::sandbox::{GuestFault, Sandbox};

/// What a guest is to do, with what.
#[derive(Debug)]
pub struct Job<'a> {
    /// The guest.
    pub image: &'a GuestImage<'a>,
    /// Its request, in the command's own form.
    pub request: &'a [u8],
    /// The guest that decompresses for it, if there is something to decompress.
    pub decoder: &'a GuestImage<'a>,
    /// What they run in.
    pub sandboxes: &'a Sandboxes,
    /// The bounds of what it may ask for.
    pub limits: Limits,
    /// How it is carried out.
    pub conduct: Conduct,
    /// The processor time that each gets between two doorbells.
    pub guest_time: Duration,
    /// What this process gives up once all files are open: [`enter`](crate::confine::enter), save in tests that have
    /// others beside them in one process.
    pub confine: fn() -> Result<(), ConfineError>,
    /// Set by a signal handler when the command is to end early.
    pub interrupted: Arc<AtomicBool>,
}

impl Job<'_> {
    /// Does it, on `files`. Returns the guest's report, which has the command's own form.
    ///
    /// # Errors
    ///
    /// Every way there is to fail; and which outputs are incomplete then.
    pub fn run<Report: FromBytes>(
        &self,
        files: Files,
        observer: &mut dyn Observer,
    ) -> Result<Report, Failed> {
        let boot = boot_page(&files, self.request);
        let executor = Executor::new(files, self.limits, self.confine, &self.interrupted, observer, self);
        let mut executor = executor.with_conduct(self.conduct.clone());
        self.serve(&boot, &mut executor).map_err(|error| {
            let incomplete = executor.files().outputs_touched().map(ToOwned::to_owned).collect();
            Failed { error, incomplete }
        })
    }

    fn serve<Report: FromBytes>(
        &self,
        boot: &BootPage,
        executor: &mut Executor<'_>,
    ) -> Result<Report, Error> {
        let mut sandbox = self.start(self.image, boot)?;
        let report = serve(sandbox.as_mut(), executor)?;
        let report = Report::read_from_bytes(&report);
        let report = report.map_err(|_| GuestFault::Nonsense("a report of another size"))?;
        executor.finish()?;
        Ok(report)
    }

    fn start(&self, image: &GuestImage<'_>, boot: &BootPage) -> Result<Box<dyn Sandbox>, Error> {
        self.sandboxes.start(image, boot, self.guest_time, &self.interrupted)
    }
}

impl DecoderSource for Job<'_> {
    fn start(&self) -> Result<Box<dyn Sandbox>, Error> {
        self.start(self.decoder, &BootPage::new_zeroed())
    }

    fn starts_when_confined(&self) -> bool {
        self.sandboxes.starts_when_confined()
    }
}

/// What the guest is told.
///
/// # Panics
///
/// With more files, or a longer request, than a command can have.
fn boot_page(files: &Files, request: &[u8]) -> BootPage {
    let mut boot = BootPage::new_zeroed();
    let entries: Vec<_> = files.boot_entries().collect();
    assert!(entries.len() <= MAX_FILES && request.len() <= MAX_REQUEST_LEN, "the command fits the boot page");
    boot.files[..entries.len()].copy_from_slice(&entries);
    boot.request[..request.len()].copy_from_slice(request);
    let fits = "both are below the size of a page";
    boot.header.file_count = u32::try_from(entries.len()).expect(fits);
    boot.header.request_len = u32::try_from(request.len()).expect(fits);
    boot
}

/// Answers the guest's doorbell until it has finished, and returns its report.
fn serve(sandbox: &mut dyn Sandbox, executor: &mut Executor<'_>) -> Result<Vec<u8>, Error> {
    loop {
        sandbox.run()?;
        let ring = Ring::read(&sandbox.exchange())?;
        if let Said::Failed { kind, file, at, what } = ring.said {
            let (file, is_input) = named(executor.files(), file)?;
            return Err(ImageFailure { kind, file, is_input, at, what }.into());
        }
        let exchange = sandbox.exchange();
        executor.carry_out(&ring.records, &data_window(&exchange))?;
        check_totals(&ring, executor)?;
        if let Said::Finished(report) = ring.said {
            return Ok(report);
        }
    }
}

/// The path of the file that a failure is about, and whether it is an input.
fn named(files: &Files, number: u32) -> Result<(PathBuf, bool), GuestFault> {
    let id = FileId(number);
    let path = files.path(id).ok_or(GuestFault::Nonsense("a failure of a file that there is not"))?;
    Ok((path.to_owned(), files.is_input(id)))
}

fn check_totals(ring: &Ring, executor: &Executor<'_>) -> Result<(), GuestFault> {
    let same = |what, claimed, counted| {
        if claimed == counted { Ok(()) } else { Err(GuestFault::Lie { what, claimed, counted }) }
    };
    same("operations", ring.total_operations, executor.operations())?;
    same("bytes written", ring.total_written, executor.written())
}
