//! The log of server and worker: structured, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::Config;
use crate::exit::Trouble;

/// Starts logging, by the settings `log` and `log_format`.
pub(crate) fn start(config: &Config) -> anyhow::Result<()> {
    let levels = config.text("log").unwrap_or("info");
    let filter = EnvFilter::try_new(levels)
        .map_err(|error| Trouble::usage(format!("The setting `log` is `{levels}`, which names no levels: {error}.")))?;
    // A log that cannot be written (a full disk) must not end the process: the complaint about it would go
    // to standard error too, and panic there.
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    match config.text("log_format").unwrap_or("text") {
        "text" => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        "json" => builder.json().flatten_event(true).init(),
        other => {
            return Err(
                Trouble::usage(format!("The setting `log_format` is `{other}`; it is `text` or `json`.")).into()
            );
        }
    }
    Ok(())
}
