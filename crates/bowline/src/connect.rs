//! Which server a command uses, and with which token.
//!
//! What is said counts first (`--server`, `BOWLINE_SERVER`, the file). Else the live local server of
//! this user: the one on the data folder `./.bowline`, the one at the usual address, or the only one
//! there is. A local server's token is found by itself, see [`crate::runtime`]; the current folder is
//! never asked for an address or a token, because anybody's checkout may hold such files.

use std::path::{Path, PathBuf};

use anyhow::Context;
use bowline_api::{Submit, Submitted};
use bowline_client::{Client, ClientError, Write};

use crate::commands::Setting;
use crate::config::{Config, Origin};
use crate::exit::{Exit, Trouble};
use crate::runtime::{self, LocalServer};

/// Where a local server listens where nothing else is said.
pub(crate) const URL_DEFAULT: &str = "http://127.0.0.1:7420";
/// Largest token file, in bytes.
const TOKEN_BYTES_MAX: u64 = 4 << 10;

/// Between several token files in one setting.
pub(crate) const BETWEEN_FILES: &str = "\n";

/// A server, before anybody has asked whether it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located {
    /// Its address.
    pub(crate) url: String,
    /// Its token's file, where one is known.
    pub(crate) token_file: Option<PathBuf>,
    /// How it was found, for people.
    pub(crate) how: String,
}

/// Finds the server that commands use. Where several are said it is the first of them.
pub(crate) fn locate(config: &Config) -> Located {
    locate_all(config).swap_remove(0)
}

/// Finds all servers that are said, at least one: each may have a token file of its own, in the same order.
pub(crate) fn locate_all(config: &Config) -> Vec<Located> {
    let live = runtime::live(config.environment());
    let files = config.text("token_file").unwrap_or_default();
    let mut files = files.split(BETWEEN_FILES).filter(|file| !file.is_empty()).map(PathBuf::from);
    if let Some(said) = config.get("server") {
        let located = said.text.split_whitespace().map(|url| {
            let url = url.trim_end_matches('/').to_owned();
            let local = live.iter().find(|server| server.url == url).map(|server| server.token_file.clone());
            Located { url, token_file: files.next().or(local), how: said.origin.to_string() }
        });
        let located: Vec<_> = located.collect();
        if !located.is_empty() {
            return located;
        }
    }
    vec![locate_live(config, &live, files.next())]
}

fn locate_live(config: &Config, live: &[LocalServer], named: Option<PathBuf>) -> Located {
    match pick(live, config.text("data").map(Path::new)) {
        Some(server) => Located {
            url: server.url.clone(),
            token_file: named.or_else(|| Some(server.token_file.clone())),
            how: format!("live local server, process {}", server.pid),
        },
        None => Located { url: URL_DEFAULT.to_owned(), token_file: named, how: Origin::Default.to_string() },
    }
}

fn pick<'a>(live: &'a [LocalServer], data: Option<&Path>) -> Option<&'a LocalServer> {
    let data = data.and_then(|data| std::fs::canonicalize(data).ok());
    live.iter()
        .find(|server| Some(&server.data) == data.as_ref())
        .or_else(|| live.iter().find(|server| server.url == URL_DEFAULT))
        .or_else(|| live.first().filter(|_| live.len() == 1))
}

/// Reads a token file.
pub(crate) fn read_token(path: &Path) -> anyhow::Result<String> {
    let unusable = || Trouble::usage(format!("The token file `{}` cannot be read.", path.display()));
    let metadata = std::fs::metadata(path).with_context(unusable)?;
    if metadata.len() > TOKEN_BYTES_MAX {
        return Err(anyhow::anyhow!("it is larger than {TOKEN_BYTES_MAX} bytes")).with_context(unusable);
    }
    let text = std::fs::read_to_string(path).with_context(unusable)?;
    Ok(text.trim().to_owned())
}

/// A client of a server that was located.
pub(crate) fn client_of(on: &Setting, located: &Located) -> anyhow::Result<Client> {
    // A job's own token: commands in it need no file, unless they name one.
    let own = on.config.environment().text("BOWLINE_TOKEN").filter(|_| on.config.get("token_file").is_none());
    let token = match own {
        Some(token) => Some(token),
        None => located.token_file.as_deref().map(read_token).transpose()?,
    };
    Ok(Client::new(&located.url, token.as_deref())?.with_namespace(on.namespace.as_str()))
}

impl Setting {
    /// A client of the server that this command uses. Nothing is sent yet.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let located = locate_all(&self.config);
        let [one] = located.as_slice() else {
            let what = "Several servers are named, and this command goes to one: name it with --server.";
            return Err(Trouble::usage(what).into());
        };
        client_of(self, one)
    }
}

/// Submits one task or many.
pub(crate) async fn submit(client: &Client, submit: Submit, write: &Write) -> Result<Submitted, ClientError> {
    // A single task comes back as one.
    match submit.tasks.as_slice() {
        [task] if submit.gang.is_none() => client.submit(task, write).await,
        _ => client.submit_all(&submit, write).await,
    }
}

/// The exit status that goes with a client's error.
pub(crate) fn exit_of(error: &ClientError) -> Exit {
    match error {
        ClientError::Unreachable { .. } | ClientError::NoAnswer { .. } => Exit::UNREACHABLE,
        ClientError::Api(error) => match error.status {
            400 | 413 | 415 | 422 => Exit::USAGE,
            404 | 410 => Exit::MISSING,
            401 | 403 | 405 | 409 | 429 => Exit::REFUSED,
            502..=504 => Exit::UNREACHABLE,
            _ => Exit::FAILED,
        },
        ClientError::WaitedOut { .. } => Exit::WAITED_OUT,
        ClientError::Setup { .. } => Exit::USAGE,
        ClientError::Answer { .. } => Exit::FAILED,
    }
}

/// What to do about a client's error, where its own words do not say it.
pub(crate) fn advice(error: &ClientError) -> Option<&'static str> {
    match error {
        ClientError::Unreachable { .. } => {
            Some("Start one here with `bowline up`, or name another with --server or BOWLINE_SERVER.")
        }
        ClientError::NoAnswer { .. } => Some(
            "Look what became of it (`bowline task list`, `bowline runs list`) before you ask for it again; \
             with the same --idempotency-key it is done once however often it is sent.",
        ),
        ClientError::Api(error) if error.status == 401 => Some(
            "Give the server's token with --token-file or BOWLINE_TOKEN_FILE; it lies in the server's data folder.",
        ),
        ClientError::Api(_)
        | ClientError::Answer { .. }
        | ClientError::WaitedOut { .. }
        | ClientError::Setup { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str, data: &Path) -> LocalServer {
        LocalServer {
            url: url.to_owned(),
            token_file: data.join("token"),
            data: data.to_owned(),
            pid: 1,
            began: 1,
            keeper: None,
        }
    }

    #[test]
    fn the_nearest_live_server_is_picked() {
        let here = tempfile::tempdir().unwrap();
        let data = std::fs::canonicalize(here.path()).unwrap();
        let own = server("http://127.0.0.1:1", &data);
        let usual = server(URL_DEFAULT, Path::new("/elsewhere"));
        let other = server("http://127.0.0.1:2", Path::new("/other"));
        let all = [usual.clone(), other.clone(), own.clone()];
        assert_eq!(pick(&all, Some(here.path())), Some(&own));
        assert_eq!(pick(&all, Some(Path::new("/nowhere"))), Some(&usual));
        assert_eq!(pick(std::slice::from_ref(&other), None), Some(&other));
        assert_eq!(pick(&[other, own], None), None);
        assert_eq!(pick(&[], None), None);
    }
}
