//! What `/metrics` shows: what this crate counts itself, and what the leader knows, read at the
//! moment of the scrape. For Prometheus, in the text format of `OpenMetrics`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bowline_core::answer::{Connection, Overview};
use bowline_core::name::Actor;
use bowline_leader::{COMMIT_SECONDS, LeaderStats, LeaderStatus};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::api::fault::Fault;
use crate::api::shell::Shell;
use crate::clock;
use crate::session::SessionCounts;

/// Requests by where they went and how they ended. Paths are those of the routes, so that their
/// number has a bound.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    path: String,
    status: u16,
}

/// What is counted of requests.
#[derive(Debug)]
pub(crate) struct HttpMetrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Histogram,
}

impl HttpMetrics {
    /// Counts from now on, and shows it in this registry.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let requests = Family::<RequestLabels, Counter>::default();
        let seconds = Histogram::new([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0]);
        registry.register("bowline_http_requests", "Requests answered", requests.clone());
        registry.register("bowline_http_seconds", "Time until the head of an answer", seconds.clone());
        Self { requests, seconds }
    }

    fn count(&self, labels: &RequestLabels, took: Duration) {
        self.requests.get_or_create(labels).inc();
        self.seconds.observe(took.as_secs_f64());
    }
}

/// Counts a request.
pub(crate) async fn count(State(metrics): State<Arc<HttpMetrics>>, request: Request, next: Next) -> Response {
    let begun = clock::monotonic();
    let method = match request.method().as_str() {
        known @ ("GET" | "POST" | "PUT" | "DELETE" | "HEAD" | "OPTIONS") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let path = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    metrics.count(&RequestLabels { method, path, status: response.status().as_u16() }, begun.elapsed());
    response
}

/// All metrics as text.
pub(crate) async fn scrape(shell: &Shell) -> Result<String, Fault> {
    let overview = shell.overview(Actor::new("metrics")).await.ok();
    let mut text = String::new();
    let leading = match &*shell.app.leader.status().borrow() {
        LeaderStatus::Leading { commit_no, .. } => Some(commit_no.0),
        LeaderStatus::Loading(_) | LeaderStatus::RolledBack { .. } => None,
    };
    let mut gauges = Gauges { text: &mut text };
    gauges.family("bowline_leading", "Whether this server leads");
    gauges.value("", f64::from(u8::from(leading.is_some())));
    gauges.leader(&shell.app.leader.stats());
    gauges.sessions(&shell.app.sessions);
    gauges.fleet(&shell.app.sessions);
    if let Some(overview) = overview {
        gauges.overview(&overview);
    }
    encode(&mut text, &shell.app.metrics.lock()).map_err(|error| Fault::internal("write the metrics", &error))?;
    Ok(text)
}

/// Gauges that are read at the moment of the scrape.
struct Gauges<'a> {
    text: &'a mut String,
}

impl Gauges<'_> {
    fn family(&mut self, name: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.text, "# HELP {name} {help}.\n# TYPE {name} gauge\n{name}");
    }

    /// The first value of a family that has only one.
    fn value(&mut self, labels: &str, value: f64) {
        let _ = writeln!(self.text, "{labels} {value}");
    }

    /// A family with one label.
    fn by(&mut self, name: &str, help: &str, label: &str, values: &[(String, f64)]) {
        let _ = write!(self.text, "# HELP {name} {help}.\n# TYPE {name} gauge\n");
        for (of, value) in values {
            let of = of.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = writeln!(self.text, "{name}{{{label}=\"{of}\"}} {value}");
        }
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        let _ = writeln!(self.text, "# HELP {name} {help}.\n# TYPE {name} counter\n{name}_total {value}");
    }

    fn leader(&mut self, stats: &LeaderStats) {
        for (name, help, value) in [
            ("bowline_leaderships", "Leaderships taken", stats.leaderships),
            ("bowline_leadership_failures", "Leaderships that ended by a failure", stats.failures),
            ("bowline_inputs", "Inputs applied", stats.inputs),
            ("bowline_commits", "Batches committed", stats.batches),
            ("bowline_rowless_batches", "Batches released without a commit", stats.rowless_batches),
            ("bowline_rows", "Rows and lines of history committed", stats.rows),
            ("bowline_effects", "Effects released", stats.effects),
            ("bowline_swept_tasks", "Tasks removed by retention", stats.swept_tasks),
            ("bowline_evaluations", "Evaluations done", stats.evaluations),
            ("bowline_sessions_overrun", "Sessions closed because their queues were full", stats.sessions_overrun),
        ] {
            self.counter(name, help, value);
        }
        let name = "bowline_commit_seconds";
        let _ = writeln!(self.text, "# HELP {name} Time of a commit.\n# TYPE {name} histogram");
        let mut all = 0;
        let bounds = COMMIT_SECONDS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(stats.commit_buckets) {
            all += count;
            let _ = writeln!(self.text, "{name}_bucket{{le=\"{bound}\"}} {all}");
        }
        let _ = writeln!(self.text, "{name}_count {all}\n{name}_sum {}", stats.commit_seconds);
    }

    /// Messages by kind and class; which way they go follows from the kind.
    #[expect(clippy::cast_precision_loss, reason = "a number of connections")]
    fn sessions(&mut self, counts: &SessionCounts) {
        self.family("bowline_sessions", "Sessions that are open");
        self.value("", counts.open() as f64);
        let name = "bowline_messages";
        let _ = writeln!(self.text, "# HELP {name} Messages of sessions.\n# TYPE {name} counter");
        for of in counts.snapshot() {
            let labels = format!("kind=\"{}\",class=\"{}\"", of.kind.name(), of.kind.class().name());
            for (what, value) in [("passed", of.passed), ("dropped", of.dropped), ("stale", of.stale)] {
                let _ = writeln!(self.text, "{name}_total{{{labels},what=\"{what}\"}} {value}");
            }
        }
    }

    /// What connected workers tell of themselves, together.
    #[expect(clippy::cast_precision_loss, reason = "counts shown, not counted with")]
    fn fleet(&mut self, counts: &SessionCounts) {
        let fleet = counts.fleet();
        let name = "bowline_worker_messages";
        let _ = writeln!(self.text, "# HELP {name} Messages as connected workers count them.\n# TYPE {name} gauge");
        for (kind, of) in &fleet.messages {
            let labels = format!("kind=\"{}\",class=\"{}\"", kind.name(), kind.class().name());
            let values = [("sent", of.sent), ("retried", of.retried), ("dropped", of.dropped), ("refused", of.refused)];
            for (what, value) in values {
                let _ = writeln!(self.text, "{name}{{{labels},what=\"{what}\"}} {value}");
            }
        }
        let oldest = fleet.outbox.oldest.unwrap_or_default();
        for (name, help, value) in [
            ("bowline_worker_outbox_messages", "Unacknowledged messages of all workers", fleet.outbox.messages as f64),
            ("bowline_worker_outbox_bytes", "Their bytes, with the room kept for what runs", fleet.outbox.bytes as f64),
            ("bowline_worker_oldest_seconds", "Age of the oldest unacknowledged message", oldest.as_secs_f64()),
            ("bowline_worker_loop_lag_seconds", "The worst lag of a worker's event loop", fleet.loop_lag.as_secs_f64()),
        ] {
            self.family(name, help);
            self.value("", value);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts shown, not counted with")]
    fn overview(&mut self, overview: &Overview) {
        let states: Vec<_> =
            overview.states.iter().map(|(state, count)| (state.name().to_owned(), *count as f64)).collect();
        self.by("bowline_tasks", "Unfinished tasks and elements by state", "state", &states);
        let lanes: Vec<_> = overview.lanes.iter().map(|lane| (lane.name.clone(), lane.ready as f64)).collect();
        self.by("bowline_lane_ready", "Ready tasks by lane", "lane", &lanes);
        let connections =
            [("connected", Connection::Connected), ("suspect", Connection::Suspect), ("away", Connection::Away)];
        let count =
            |connection| overview.workers.iter().filter(|worker| worker.connection == connection).count() as f64;
        let workers: Vec<_> = connections.into_iter().map(|(name, of)| (name.to_owned(), count(of))).collect();
        self.by("bowline_workers", "Workers by connection", "connection", &workers);
        self.family("bowline_runs", "Runs that have not ended");
        self.value("", overview.runs as f64);
    }
}
