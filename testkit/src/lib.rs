//! What the tests and the campaigns that run whole commands share.
//!
//! A test gives [`scene::outcome`] a tool, its arguments and the files to find; it gets an [`outcome::Outcome`]
//! back, and that is the same type whether it was recorded, or seen of `qemu-img`, or seen of `instar`.
//! [`cases::assert_all`] runs many such checks and reports every one that fails.
//!
//! | module | what |
//! |---|---|
//! | [`tool`] | a command under test or one to compare with, and a single run of it |
//! | [`running`] | a command that runs, and the signals that it gets |
//! | [`scene`] | one command in a fresh directory: lay files out, run, see what changed |
//! | [`stage`] | files that are made once, for many scenes |
//! | [`outcome`] | what a command did |
//! | [`disk`] | raw disks described by their data |
//! | [`device`] | loop devices |
//! | [`differencing`] | VHD and VHDX images with parents, which QEMU does not make |
//! | [`qemu`] | QEMU's tools, to make images with and to look at images with |
//! | [`baseline`], [`fixtures`] | what released versions of `qemu-img` did, and with which inputs |
//! | [`recorded`] | instar beside that |
//! | [`messages`] | what a command says, word for word |
//! | [`cases`] | many independent checks at once |

pub mod baseline;
pub mod cases;
pub mod device;
pub mod differencing;
pub mod disk;
pub mod fixtures;
pub mod messages;
pub mod outcome;
pub mod qemu;
pub mod recorded;
pub mod running;
pub mod scene;
pub mod stage;
pub mod tool;
