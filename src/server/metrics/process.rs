//! The process as the system sees it, under the names that all Prometheus clients use.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{Counter, Gauge, IntGauge};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::register::{Register, set};

/// The metrics of the process. What the system does not tell keeps its last number.
pub(super) struct ProcessMetrics {
    cpu_seconds: Counter,
    resident_bytes: IntGauge,
    virtual_bytes: IntGauge,
    open_files: IntGauge,
    max_files: IntGauge,
}

impl ProcessMetrics {
    pub(super) fn new(register: &Register) -> ProcessMetrics {
        let gauge = |name, help| register.gauge(name, help);
        let start: Gauge = register
            .real("process_start_time_seconds", "When the process started, in Unix seconds");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        start.set(now.as_secs_f64());
        ProcessMetrics {
            cpu_seconds: register
                .real_counter("process_cpu_seconds_total", "CPU time used, of user and system"),
            resident_bytes: gauge("process_resident_memory_bytes", "Memory that is resident"),
            virtual_bytes: gauge("process_virtual_memory_bytes", "Memory that is mapped"),
            open_files: gauge("process_open_fds", "Open file descriptors"),
            max_files: gauge("process_max_fds", "The most file descriptors it may have"),
        }
    }

    /// Asks the system.
    pub(super) fn measure(&self) {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        self.cpu_seconds.inc_by((seconds - self.cpu_seconds.get()).max(0.0));
        if let Some([mapped, resident]) = pages() {
            let page_bytes = rustix::param::page_size() as u64;
            set(&self.virtual_bytes, mapped * page_bytes);
            set(&self.resident_bytes, resident * page_bytes);
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            set(&self.open_files, files.count() as u64);
        }
        if let Some(most) = getrlimit(Resource::Nofile).current {
            set(&self.max_files, most);
        }
    }
}

/// Pages that are mapped, and that are resident.
fn pages() -> Option<[u64; 2]> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut fields = text.split_whitespace();
    let mut next = || fields.next()?.parse().ok();
    Some([next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_used_memory_files_and_time() {
        let metrics = ProcessMetrics::new(&Register::default());
        metrics.measure();
        let before = metrics.cpu_seconds.get();
        metrics.measure();
        assert!(metrics.cpu_seconds.get() >= before && before > 0.0);
        assert!(metrics.resident_bytes.get() > 0);
        assert!(metrics.resident_bytes.get() < metrics.virtual_bytes.get());
        assert!(
            metrics.open_files.get() > 0 && metrics.max_files.get() >= metrics.open_files.get()
        );
    }
}
