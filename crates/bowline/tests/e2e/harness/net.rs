//! A bad network: a TCP relay that delays, stalls, resets, half-closes and cuts at any byte.

#![expect(clippy::disallowed_methods, reason = "tests read the clock and wait with a bound")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often a relay looks whether it is to do something else.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Bytes that are passed on at once.
const PIECE_BYTES: usize = 16 << 10;

/// What a relay does to the bytes that pass through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Weather {
    /// Nothing passes; connections stay open.
    pub(crate) is_stalled: bool,
    /// Each piece waits so long.
    pub(crate) delay: Duration,
    /// No piece is larger than this. 0: no limit. With a delay it makes a slow line.
    pub(crate) piece_bytes_max: usize,
    /// New connections are closed at once.
    pub(crate) refuses: bool,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From whoever connected to the target.
    Up,
    /// Back.
    Down,
}

/// A relay: whoever connects to `address` talks to its target.
#[derive(Debug)]
pub(crate) struct Relay {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    target: String,
    weather: Weather,
    /// Every connection that was accepted, with its number.
    open: Vec<Pair>,
    accepted: usize,
    /// Connections are reset when so many bytes more have gone that way.
    cut: Option<(Way, usize)>,
    cuts: usize,
    is_over: bool,
}

/// A connection: the end towards whoever connected, and the one towards the target.
#[derive(Debug)]
struct Pair {
    from: TcpStream,
    to: TcpStream,
    is_stalled: bool,
}

impl Relay {
    /// To a target, `HOST:PORT`.
    pub(crate) fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            target: target.to_owned(),
            weather: Weather::default(),
            open: Vec::new(),
            accepted: 0,
            cut: None,
            cuts: 0,
            is_over: false,
        };
        let state = Arc::new(Mutex::new(state));
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || accept(&listener, &shared));
        Self { address, state }
    }

    /// `http://HOST:PORT`, for a worker.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes what it does, to connections that are open and to those that come.
    pub(crate) fn weather(&self, weather: Weather) {
        self.state.lock().unwrap().weather = weather;
    }

    /// From here on nothing passes through the connections that are open now. Others are not touched.
    pub(crate) fn stall_open(&self) {
        self.state.lock().unwrap().open.iter_mut().for_each(|pair| pair.is_stalled = true);
    }

    /// Resets all connections: both ends get an error.
    pub(crate) fn reset(&self) {
        let mut state = self.state.lock().unwrap();
        state.open.drain(..).for_each(Pair::reset);
    }

    /// Tells the target's side that nothing more will come, or whoever connected; the other direction stays.
    pub(crate) fn half_close(&self, way: Way) {
        for pair in &self.state.lock().unwrap().open {
            let end = match way {
                Way::Up => &pair.to,
                Way::Down => &pair.from,
            };
            // It may be gone already.
            drop(end.shutdown(Shutdown::Write));
        }
    }

    /// Resets all connections when so many bytes more have gone that way, in the middle of whatever it is.
    pub(crate) fn cut_after(&self, way: Way, bytes: usize) {
        self.state.lock().unwrap().cut = Some((way, bytes));
    }

    /// How often a cut was made.
    pub(crate) fn cuts(&self) -> usize {
        self.state.lock().unwrap().cuts
    }

    /// How many connections came so far.
    pub(crate) fn accepted(&self) -> usize {
        self.state.lock().unwrap().accepted
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Ok(mut state) = self.state.lock() {
            state.is_over = true;
            state.open.drain(..).for_each(Pair::reset);
        }
    }
}

impl Pair {
    fn reset(self) {
        for end in [&self.from, &self.to] {
            // No time to linger: whatever is unsent is dropped, and the other end gets a reset.
            rustix::net::sockopt::set_socket_linger(end, Some(Duration::ZERO)).ok();
            drop(end.shutdown(Shutdown::Both));
        }
    }
}

fn accept(listener: &TcpListener, state: &Arc<Mutex<State>>) {
    loop {
        let accepted = listener.accept();
        let mut now = state.lock().unwrap();
        if now.is_over {
            return;
        }
        match accepted {
            Ok((from, _)) if !now.weather.refuses => {
                now.accepted += 1;
                let target = now.target.clone();
                drop(now);
                connect(from, &target, state);
            }
            Ok(_) => {}
            Err(_) => {
                drop(now);
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }
}

fn connect(from: TcpStream, target: &str, state: &Arc<Mutex<State>>) {
    let Ok(to) = TcpStream::connect(target) else { return };
    for end in [&from, &to] {
        end.set_nonblocking(false).unwrap();
        end.set_read_timeout(Some(LOOK_EVERY)).unwrap();
        end.set_nodelay(true).unwrap();
    }
    let own = from.local_addr().and_then(|_| from.peer_addr()).unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
    for (way, read, write) in [(Way::Up, &from, &to), (Way::Down, &to, &from)] {
        let (read, write, state) = (read.try_clone().unwrap(), write.try_clone().unwrap(), Arc::clone(state));
        std::thread::spawn(move || carry(way, own, (read, write), &state));
    }
    state.lock().unwrap().open.push(Pair { from, to, is_stalled: false });
}

/// Passes bytes on, one way, until an end is gone.
fn carry(way: Way, own: SocketAddr, (mut read, mut write): (TcpStream, TcpStream), state: &Arc<Mutex<State>>) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let (weather, is_stalled) = {
            let state = state.lock().unwrap();
            if state.is_over {
                return;
            }
            let pair = state.open.iter().find(|pair| pair.from.peer_addr().is_ok_and(|peer| peer == own));
            (state.weather, state.weather.is_stalled || pair.is_some_and(|pair| pair.is_stalled))
        };
        if is_stalled {
            std::thread::sleep(LOOK_EVERY);
            continue;
        }
        let limit = if weather.piece_bytes_max == 0 { PIECE_BYTES } else { weather.piece_bytes_max.min(PIECE_BYTES) };
        let length = match read.read(&mut piece[..limit]) {
            Ok(0) => {
                drop(write.shutdown(Shutdown::Write));
                return;
            }
            Ok(length) => length,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => {
                drop(write.shutdown(Shutdown::Both));
                return;
            }
        };
        std::thread::sleep(weather.delay);
        let passes = due(way, length, state);
        let is_gone = write.write_all(&piece[..passes]).is_err();
        // A cut is due once: here, though the other end may be gone already.
        if passes < length {
            let mut state = state.lock().unwrap();
            state.cuts += 1;
            state.open.drain(..).for_each(Pair::reset);
            return;
        }
        if is_gone {
            return;
        }
    }
}

/// How many of these bytes pass before a cut.
fn due(way: Way, length: usize, state: &Mutex<State>) -> usize {
    let mut state = state.lock().unwrap();
    match state.cut {
        Some((which, left)) if which == way && left < length => {
            state.cut = None;
            left
        }
        Some((which, left)) if which == way => {
            state.cut = Some((which, left - length));
            length
        }
        Some(_) | None => length,
    }
}

/// How long something takes to come true, at most `bound`.
pub(crate) fn takes(bound: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < bound, "waited {bound:?} in vain until {what}");
        std::thread::sleep(LOOK_EVERY);
    }
    began.elapsed()
}
