//! One module per subcommand: its operands, its request to the guest, its report to the user.

pub(crate) mod dd;
