//! What can go wrong, told apart by what the caller can do about it.

use bowline_api::{Mistake, Problem};

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there, or the connection broke.
    #[error("the server at {url} cannot be reached")]
    Unreachable {
        /// The server's address.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It was asked, and did not answer.
    #[error("the server at {url} has not answered for {seconds} s; whether it did what it was asked is not known")]
    NoAnswer {
        /// The server's address.
        url: String,
        /// How long it was waited, in seconds.
        seconds: u64,
    },
    /// The server answered with a problem.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// What answered is no Bowline server, or one of another version.
    #[error("the answer to {operation} cannot be read; is a Bowline server of this version listening at {url}?")]
    Answer {
        /// What was asked.
        operation: String,
        /// The server's address.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The time for waiting ran out before what was waited for had ended.
    #[error("{what} has not ended within the time given")]
    WaitedOut {
        /// What was waited for.
        what: String,
    },
    /// The client cannot be made from what it was given.
    #[error("{what}: {problem}")]
    Setup {
        /// What: the address, the token, the TLS roots.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl ClientError {
    /// Whether the server could not be reached.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NoAnswer { .. })
    }

    /// Whether there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.api().is_some_and(|error| error.status == 404)
    }

    /// The server's problem, where it answered with one.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Api(error) => Some(error),
            Self::Unreachable { .. }
            | Self::NoAnswer { .. }
            | Self::Answer { .. }
            | Self::WaitedOut { .. }
            | Self::Setup { .. } => None,
        }
    }

    /// Whether the same call may succeed in a moment: nobody answers, or the server is loading or
    /// busy.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NoAnswer { .. } => true,
            // Somebody must act first.
            Self::Api(error) if error.code == "rolled_back" => false,
            Self::Api(error) => matches!(error.status, 429 | 502..=504),
            Self::Answer { .. } | Self::WaitedOut { .. } | Self::Setup { .. } => false,
        }
    }
}

/// The server's problem document.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{detail}")]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// Stable, for programs. See [`Problem::code`].
    pub code: String,
    /// Whole sentences for people.
    pub detail: String,
    /// Every mistake found.
    pub mistakes: Vec<Mistake>,
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self { status: problem.status, code: problem.code, detail: problem.detail, mistakes: problem.mistakes }
    }
}
