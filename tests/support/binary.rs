//! Which executable is run.

use std::env;
use std::ffi::OsString;

/// The executable that `MOKV_BINARY` names, or else the one that was built with this program.
/// `make` names the released one: what users run is what is tested and measured.
pub(crate) fn mokv() -> OsString {
    env::var_os("MOKV_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_mokv").into())
}
