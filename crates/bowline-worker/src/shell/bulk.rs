//! Logs and artifacts: what goes to the server beside the session, in tasks of their own.

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::WorkerConfig;
use crate::dispatcher::{FromShipper, FromUploads, ToShipper, ToUploads};
use crate::{logs::shipper, uploads};

/// The two tasks. They end with this.
#[derive(Debug)]
pub(super) struct Bulk {
    shipper: mpsc::UnboundedSender<ToShipper>,
    uploads: mpsc::UnboundedSender<ToUploads>,
    _tasks: JoinSet<()>,
}

/// What they say. Bounded by what they are told: a few words for each log and file.
#[derive(Debug)]
pub(super) struct FromBulk {
    pub(super) shipper: mpsc::UnboundedReceiver<FromShipper>,
    pub(super) uploads: mpsc::UnboundedReceiver<FromUploads>,
}

impl Bulk {
    pub(super) fn start(client: reqwest::Client, config: &WorkerConfig) -> (Self, FromBulk) {
        let mut tasks = JoinSet::new();
        let ((shipper, told), (says, shipped)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        tasks.spawn(shipper::run(told, says));
        let ((uploads, told), (says, uploaded)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        tasks.spawn(uploads::run(told, says, (client, config.upload_patience)));
        (Self { shipper, uploads, _tasks: tasks }, FromBulk { shipper: shipped, uploads: uploaded })
    }

    pub(super) fn tell_shipper(&self, what: ToShipper) {
        if self.shipper.send(what).is_err() {
            tracing::error!("the task that ships logs is gone");
        }
    }

    pub(super) fn tell_uploads(&self, what: ToUploads) {
        if self.uploads.send(what).is_err() {
            tracing::error!("the task that uploads artifacts is gone");
        }
    }
}
