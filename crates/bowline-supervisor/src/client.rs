//! A worker's end of the socket. Blocking: meant for a thread that does nothing else.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::boottime;
use crate::spawn::Program;
use crate::wire::{DecodeError, Event, Hello, Request, read_frame, version, write_frame};
use crate::{boot, paths, socket, spawn};

/// Between two tries to connect to a supervisor that is just being started.
const RETRY_EVERY: Duration = Duration::from_millis(5);

/// A request that is not taken within so long breaks the connection.
const WRITE_BOUND: Duration = Duration::from_secs(10);

/// Between two tries to start one.
const RESPAWN_EVERY: Duration = Duration::from_secs(1);

/// What can go wrong at a worker's end.
#[derive(Debug)]
pub enum Error {
    /// Nobody answers at the socket within the bound.
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the last try ended with.
        source: io::Error,
    },
    /// The supervisor speaks a version that is no neighbour of this one's. It goes on with the jobs that it has.
    Version {
        /// Its version.
        theirs: u32,
        /// Its process.
        pid: u32,
    },
    /// It sent what nobody understands.
    Decode(DecodeError),
    /// The connection broke: the supervisor died, or a newer client took its place.
    Broken(io::Error),
    /// The supervisor could not be started.
    Spawn(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { path, .. } => write!(f, "the supervisor can't be reached at {}", path.display()),
            Self::Version { theirs, pid } => {
                write!(f, "the supervisor (process {pid}) speaks version {theirs}; this program speaks {}", version())
            }
            Self::Decode(_) => f.write_str("the supervisor sent a message that can't be read"),
            Self::Broken(_) => f.write_str("the connection to the supervisor broke"),
            Self::Spawn(_) => f.write_str("the supervisor could not be started"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable { source, .. } | Self::Broken(source) | Self::Spawn(source) => Some(source),
            Self::Decode(source) => Some(source),
            Self::Version { .. } => None,
        }
    }
}

/// A connection to a supervisor. The newest connection is the one that gets the events.
#[derive(Debug)]
pub struct Supervisor {
    stream: UnixStream,
    pid: u32,
    version: u32,
}

impl Supervisor {
    /// Connects to the supervisor at a socket, if one answers within `bound`.
    pub fn connect(socket: &Path, bound: Duration) -> Result<Self, Error> {
        Self::connect_as(socket, version(), bound)
    }

    /// Connects to every living supervisor of another version in a state folder. Such a one has the jobs
    /// that it was given, and is to be given no more: [`Request::Shutdown`] when idle. What a dead one
    /// left, the supervisor of this version takes over, when it begins and at each `List`.
    pub fn others(state_dir: &Path, bound: Duration) -> Vec<Result<Self, Error>> {
        let alive = |folder: &Path| matches!(socket::lock(&paths::lock_path(folder)), Ok(None));
        let others = paths::others(state_dir).into_iter().filter(|(_, folder)| alive(folder));
        others.map(|(version, folder)| Self::connect_as(&paths::socket_in(&folder), version, bound)).collect()
    }

    /// As a worker of that version would.
    fn connect_as(socket: &Path, version: u32, bound: Duration) -> Result<Self, Error> {
        let unreachable = |source| Error::Unreachable { path: socket.to_owned(), source };
        let mut stream = socket::connect(socket).map_err(unreachable)?;
        stream.set_read_timeout(Some(bound.max(Duration::from_millis(1)))).map_err(unreachable)?;
        let hello = Hello { version, pid: std::process::id(), boot_id: boot::boot_id(None).map_err(unreachable)? };
        write_frame(&mut stream, &hello.encode()).map_err(unreachable)?;
        let body = read_frame(&mut stream).and_then(|body| body.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()));
        let theirs = Hello::decode(&body.map_err(unreachable)?).map_err(Error::Decode)?;
        if theirs.version != version || theirs.version.abs_diff(crate::wire::version()) > 1 {
            return Err(Error::Version { theirs: theirs.version, pid: theirs.pid });
        }
        stream.set_read_timeout(None).map_err(unreachable)?;
        // One that does not read is as good as gone.
        stream.set_write_timeout(Some(WRITE_BOUND)).map_err(unreachable)?;
        Ok(Self { stream, pid: theirs.pid, version })
    }

    /// Connects to the supervisor of a state folder, and starts one where none answers. Gives up
    /// after `bound`.
    pub fn ensure(program: &Program, bound: Duration) -> Result<Self, Error> {
        let socket = paths::socket_path(&program.state_dir);
        let give_up_at = boottime() + bound;
        let mut spawn_at = Duration::ZERO;
        loop {
            match Self::connect(&socket, bound) {
                Err(Error::Unreachable { path, source }) => {
                    if boottime() >= give_up_at {
                        return Err(Error::Unreachable { path, source });
                    }
                }
                other => return other,
            }
            // One that finds the lock taken leaves at once; then the holder answers, or is just leaving.
            if boottime() >= spawn_at {
                spawn::spawn_detached(program).map_err(Error::Spawn)?;
                spawn_at = boottime() + RESPAWN_EVERY;
            }
            spawn::pause(RETRY_EVERY);
        }
    }

    /// The supervisor's process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The version that it speaks.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Sends a request. Its answer comes as an event.
    pub fn send(&self, request: &Request) -> Result<(), Error> {
        write_frame(&mut &self.stream, &request.encode()).map_err(Error::Broken)
    }

    /// Waits for the next event. `None`: none came within `bound` (`None`: no bound).
    ///
    /// An event that has begun to come is read to its end, so a bound never tears one. Events of kinds
    /// that only a later version knows are passed over.
    pub fn receive(&self, bound: Option<Duration>) -> Result<Option<Event>, Error> {
        loop {
            if let Some(bound) = bound
                && !spawn::wait_readable(&self.stream, bound).map_err(Error::Broken)?
            {
                return Ok(None);
            }
            let body = read_frame(&mut &self.stream).map_err(Error::Broken)?;
            let body = body.ok_or_else(|| Error::Broken(io::ErrorKind::UnexpectedEof.into()))?;
            match Event::decode(&body) {
                Err(DecodeError::UnknownMessage(_)) => {}
                other => return other.map(Some).map_err(Error::Decode),
            }
        }
    }

    /// A second handle to the same connection, so that one thread sends while another receives.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { stream: self.stream.try_clone()?, pid: self.pid, version: self.version })
    }

    /// Closes the connection for all its handles: a thread that receives gets [`Error::Broken`].
    pub fn close(&self) {
        // An error says that it is closed already.
        self.stream.shutdown(std::net::Shutdown::Both).ok();
    }
}
