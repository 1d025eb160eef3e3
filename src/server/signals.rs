//! Signals to the process: the first one asks it to stop, the second one makes it.

use std::io;
use std::sync::Arc;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::shared::{Phase, Shared};

/// Watches for SIGTERM and SIGINT on a thread of its own.
pub(super) fn watch(shared: Arc<Shared>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let watch = move || {
        let mut told = false;
        for signal in signals.forever() {
            if std::mem::replace(&mut told, true) {
                tracing::warn!("told to stop a second time: stopping at once");
                // What was acknowledged is on disk; the shell's convention for death by a signal.
                std::process::exit(128 + signal);
            }
            tracing::info!("told to stop: handing leadership over and draining");
            shared.enter(Phase::Draining);
        }
    };
    std::thread::Builder::new().name("mokv-signals".to_owned()).spawn(watch)?;
    Ok(())
}
