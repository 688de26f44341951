//! Does what a dispatcher says: one arm an action.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bowline_core::id::AttemptRef;
use bowline_core::message::{Hello, JobEnd};
use bowline_core::spec::HttpRequest;
use bowline_supervisor::wire::{Request, Start};
use tokio::sync::mpsc;

use super::{Shell, Wire};
use crate::collect;
use crate::dispatcher::{Action, Enrolled, Event, LinkNo, Parcel, Plan, ToUploads, Unprepared};
use crate::error::is_for_want_of_room;
use crate::prepare::spares::Fate;
use crate::session::{self, Says, Target};

/// So much of what a probe said is told, in bytes: its last.
const PROBE_SAID_BYTES: u64 = 300;

impl Shell {
    pub(super) fn act_on(&mut self, action: Action) {
        match action {
            Action::Persist(batch) => self.journal.put(batch),
            Action::Job(request) => self.jobs.send(request),
            Action::Probe(start) => self.start_probe(start),
            Action::ReadProbe(key) => self.read_probe(key),
            Action::Open(link, hello) => self.open(link, hello),
            Action::Send(link, parcels) => self.send(link, parcels),
            Action::LastWords(link, parcels) => self.send_last(link, parcels),
            Action::Drop(link) => {
                if let Some(wire) = self.wire.take_if(|wire| wire.no == link) {
                    wire.task.abort();
                }
            }
            Action::Prepare(attempt, plan) => self.prepare(attempt, plan),
            Action::Collect(attempt, plan, how) => self.collect(attempt, plan, how),
            Action::Perform(attempt, request, limit) => self.perform(attempt, *request, limit),
            Action::Abort(attempt) => {
                if let Some(request) = self.requests.remove(&attempt) {
                    request.abort();
                }
            }
            Action::Ship(what) => self.bulk.tell_shipper(what),
            Action::Upload(what) => self.bulk.tell_uploads(what),
            Action::UploadAgain { attempt, names, folders } => self.upload_again(attempt, names, &folders),
            Action::Check => {
                let (checks, folder) = (self.config.checks.clone(), self.place.folder().to_owned());
                self.pool.submit(move || Some(Event::Checked(checks.look(&folder))));
            }
            Action::EnrolAgain => self.enrol_again(),
            Action::NoteName(name) => {
                let place = self.place.clone();
                self.pool.submit(move || {
                    place.note_given(&name);
                    None
                });
            }
            Action::Sweep(kept) => self.sweep(kept),
            Action::Remove(folder) => {
                let spares = Arc::clone(&self.spares);
                self.pool.submit(move || {
                    if spares.put(&folder) == Fate::Refused {
                        remove(&folder);
                    }
                    None
                });
            }
            Action::Exit(how) => tracing::debug!(?how, "nothing is left to be done"),
        }
    }

    fn start_probe(&mut self, start: Box<Start>) {
        // What it says is short-lived: only the last one's is kept.
        match std::fs::remove_file(&start.stdout) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "what the last probe said cannot be removed");
            }
            Ok(()) | Err(_) => {}
        }
        self.jobs.send(Request::Start(start));
    }

    fn read_probe(&mut self, key: String) {
        let log = self.place.probe_log();
        self.pool.submit(move || {
            let said = last_bytes(&log).unwrap_or_default();
            Some(Event::ProbeSaid(key, String::from_utf8_lossy(&said).into_owned()))
        });
    }

    fn open(&mut self, no: LinkNo, hello: Box<Hello>) {
        let target = Target { server: self.config.server.clone(), caller: self.caller.clone() };
        let (outgoing, parcels) = mpsc::unbounded_channel();
        let says = Says { link: no, events: self.link_says.clone(), room: self.room_says.clone() };
        let task = self.pool.spawn(async move {
            session::carry(target, hello, parcels, says).await;
            None
        });
        self.wire = Some(Wire { no, outgoing: Some(outgoing), task });
    }

    fn send(&mut self, link: LinkNo, parcels: Vec<Parcel>) {
        let outgoing = self.wire.as_ref().filter(|wire| wire.no == link).and_then(|wire| wire.outgoing.as_ref());
        if let Some(outgoing) = outgoing {
            // A connection that is over says so itself.
            let _over = outgoing.send(parcels);
        }
    }

    fn send_last(&mut self, link: LinkNo, parcels: Vec<Parcel>) {
        self.send(link, parcels);
        if let Some(wire) = &mut self.wire {
            wire.outgoing = None;
        }
    }

    fn prepare(&mut self, attempt: AttemptRef, plan: Box<Plan>) {
        let spares = Arc::clone(&self.spares);
        self.pool.submit(move || {
            let prepared = plan.prepare(&spares).map(|start| start.map(Box::new));
            let prepared = prepared.map_err(|error| {
                let why = error.to_string();
                if is_for_want_of_room(&error) { Unprepared::NoRoom(why) } else { Unprepared::Failed(why) }
            });
            Some(Event::Prepared(attempt, prepared))
        });
    }

    fn collect(&mut self, attempt: AttemptRef, plan: Box<Plan>, how: JobEnd) {
        self.pool.submit(move || {
            let (collected, files) = collect::collect(&plan, how);
            Some(Event::Collected(attempt, Box::new(collected), files))
        });
    }

    fn perform(&mut self, attempt: AttemptRef, request: HttpRequest, limit: Option<Duration>) {
        let client = self.client.clone();
        let handle = self.pool.spawn(async move {
            Some(Event::Answered(attempt, Box::new(crate::http_action::perform(client, request, limit).await)))
        });
        self.requests.insert(attempt, handle);
    }

    fn upload_again(&self, attempt: AttemptRef, names: Vec<String>, [first, second]: &[PathBuf; 2]) {
        let place = |name: String| {
            let path = first.join(&name);
            let path = if path.is_file() { path } else { second.join(&name) };
            (name, path)
        };
        let files = names.into_iter().map(place).collect();
        self.bulk.tell_uploads(ToUploads::Again { attempt, files });
    }

    /// Asks the server to take the key anew, where there is a token for it.
    fn enrol_again(&mut self) {
        let Some(token) = self.config.enrol_token.clone() else { return };
        let (client, server, name) = (self.client.clone(), self.config.server.clone(), self.config.identity.clone());
        let (key, pool) = (self.caller.key.clone(), self.config.pool.clone());
        self.pool.spawn(async move {
            let taken = crate::identity::enrol_again(client, server, (name, pool), token, key).await;
            Some(Event::EnrolledAgain(if taken { Enrolled::Yes } else { Enrolled::No }))
        });
    }

    /// Removes folders of attempts that nobody knows any more.
    fn sweep(&mut self, kept: BTreeSet<String>) {
        let jobs = self.place.jobs();
        self.pool.submit(move || {
            // Listed before anything is removed, which may take long: what is made meanwhile is an attempt's.
            let found: Vec<_> = std::fs::read_dir(&jobs).into_iter().flatten().flatten().collect();
            for entry in found {
                let is_kept = entry.file_name().to_str().is_some_and(|name| kept.contains(name));
                if !is_kept {
                    remove(&entry.path());
                }
            }
            None
        });
    }
}

fn last_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let from = file.metadata()?.len().saturating_sub(PROBE_SAID_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut said = Vec::new();
    file.take(PROBE_SAID_BYTES).read_to_end(&mut said)?;
    Ok(said)
}

fn remove(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(folder = %folder.display(), %error, "a job's folder cannot be removed"),
    }
}
