//! The log of server and worker: structured, to standard error. SIGHUP reads the levels again.

use std::convert::Infallible;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::reload;

use crate::commands::Setting;
use crate::config::Config;
use crate::exit::Trouble;
use crate::notify::Notify;
use crate::signals::Reload;

/// The log's levels, which can be changed while it is written.
pub(crate) struct Levels {
    set: Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>,
}

/// Starts logging, by the settings `log` and `log_format`.
pub(crate) fn start(config: &Config) -> anyhow::Result<Levels> {
    // A log that cannot be written (a full disk) must not end the process: the complaint about it would go
    // to standard error too, and panic there.
    let builder = fmt().with_env_filter(filter(config)?).with_writer(std::io::stderr).log_internal_errors(false);
    match config.text("log_format").unwrap_or("text") {
        "text" => {
            let builder = builder.with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Ok(Levels { set: Box::new(move |filter| handle.reload(filter)) })
        }
        "json" => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Ok(Levels { set: Box::new(move |filter| handle.reload(filter)) })
        }
        other => Err(Trouble::usage(format!("The setting `log_format` is `{other}`; it is `text` or `json`.")).into()),
    }
}

fn filter(config: &Config) -> anyhow::Result<EnvFilter> {
    let levels = config.text("log").unwrap_or("info");
    let wrong = |error| Trouble::usage(format!("The setting `log` is `{levels}`, which names no levels: {error}."));
    Ok(EnvFilter::try_new(levels).map_err(wrong)?)
}

impl Levels {
    /// Follows the configuration file at every SIGHUP. Never ends.
    pub(crate) async fn follow(&self, on: &Setting, notify: &Notify) -> Infallible {
        let mut reload = match Reload::new() {
            Ok(reload) => reload,
            Err(error) => {
                tracing::warn!(%error, "SIGHUP cannot be listened for");
                return std::future::pending().await;
            }
        };
        loop {
            reload.asked().await;
            notify.reloading();
            match self.reread(on) {
                Ok(levels) => tracing::info!(log = levels, "settings read again"),
                Err(error) => tracing::error!("settings stay as they were: {error:#}"),
            }
            notify.ready("settings read again");
        }
    }

    fn reread(&self, on: &Setting) -> anyhow::Result<String> {
        let config = on.config.reread()?;
        (self.set)(filter(&config)?)?;
        Ok(config.text("log").unwrap_or("info").to_owned())
    }
}
