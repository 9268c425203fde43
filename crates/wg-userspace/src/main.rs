//! `wg-userspace`: a WireGuard interface for a host whose kernel has none.

mod background;
mod clients;
mod daemon;
mod device;
mod inherited;
mod logger;
mod memory;
mod options;
mod privileges;
mod uapi_socket;

use std::process::ExitCode;

use options::Options;

fn main() -> ExitCode {
    let options = match Options::read() {
        Ok(options) => options,
        Err(code) => return code,
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wg-userspace: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    let inherited = inherited::Inherited::from_env()?;
    logger::start(&options.interface, options.log_level);
    // The parent, if there is one, leaves here and tells the shell how it went.
    let background = background::enter(options.foreground)?;
    daemon::run(options, inherited, || background.ready(options.keep_output))
}
