//! The log: lines on standard error.

use std::io::Write;

use log::{LevelFilter, Log, Metadata, Record};

struct Logger {
    interface: String,
}

/// Logs what is at least as important as `level`, each line with the interface's name.
pub(crate) fn start(interface: &str, level: LevelFilter) {
    let logger = Logger { interface: interface.to_owned() };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("{}: ({}) {}\n", record.level(), self.interface, record.args());
            // There is nobody left to tell that the log cannot be written.
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}
