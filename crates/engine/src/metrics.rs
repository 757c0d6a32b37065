//! What an operator watches: counters of what this process did since it started, and a few gauges read at the moment of the scrape.
//!
//! Labels come from closed sets: doors, routes, kinds of events. Nothing that a person, a target or a caller chose is ever one, because whoever reads
//! metrics is not asked who he is for each line. Nothing here counts rows: a scrape costs the same however much is stored.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::changes::Write;
use countersign_core::decide::Rejection;
use countersign_core::entry::{EntryDraft, EntryKind};
use countersign_core::identity::AccountKind;
use countersign_core::names::{Factor, GroupName};
use countersign_core::principal::Principal;
use countersign_core::time::Micros;
use countersign_store::{LatestCheckpoint, NextOutbox, NextTimer, OldestUnsequenced, PeopleOf, StoreError};
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::{Engine, EngineError};

/// What a token's scopes must cover to read them.
pub const METRICS_SCOPE: &str = "metrics.read";
/// Upper bounds in seconds: from an answer out of memory to the longest held call.
const BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
const METADATA: Metadata<'static> = Metadata::new("countersign", Level::INFO, None);

/// A family of metrics, as it is documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! families {
    ($($id:ident = $kind:literal $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(const $id: Family = Family { name: $name, kind: $kind, labels: &[$($label),*], help: $help };)+

        /// Everything that is served.
        pub const FAMILIES: &[Family] = &[$($id),+];
    };
}

families! {
    BUILD = "gauge" "countersign_build_info" ["version"] "Always 1; the label says which version runs.";
    STARTED = "gauge" "countersign_process_start_time_seconds" [] "When the process started, since 1970.";
    MEMORY = "gauge" "countersign_process_resident_memory_bytes" [] "Memory that the process holds.";
    CPU = "counter" "countersign_process_cpu_milliseconds_total" [] "Processor time that the process used.";
    HTTP = "counter" "countersign_http_requests_total" ["method", "path", "status"] "Calls that were answered, by route.";
    HTTP_TIME = "histogram" "countersign_http_request_duration_seconds" ["method", "path"] "From the headers of a call to those of its answer.";
    HELD = "gauge" "countersign_held_calls" [] "Calls that wait for something to happen.";
    REQUESTS = "counter" "countersign_requests_total" ["door", "event"] "What happened to requests and their grants.";
    ANSWERS = "counter" "countersign_answers_total" ["factor", "result"] "Answers that were counted or rejected.";
    RELEASES = "counter" "countersign_releases_total" ["door", "event"] "What happened to uses of grants.";
    LOGINS = "counter" "countersign_logins_total" ["result"] "Logins and what became of them.";
    COMMITS = "counter" "countersign_commits_total" [] "Commits that were written.";
    TRANSACTIONS = "counter" "countersign_transactions_total" [] "Transactions that wrote; each costs one sync, and commits share them.";
    CONFLICTS = "counter" "countersign_commit_conflicts_total" [] "Commits that found a row changed, and were decided again.";
    DATABASE = "gauge" "countersign_database_up" [] "1 if the database answered this scrape; if not, the gauges below keep their last value.";
    ENTRIES = "counter" "countersign_ledger_entries_total" ["type"] "Ledger entries that this process committed.";
    UNSEQUENCED = "gauge" "countersign_ledger_unsequenced_age_seconds" [] "Age of the oldest entry that waits for its place in the tree; releases stop above 5.";
    CHECKPOINT = "gauge" "countersign_ledger_checkpoint_entries" [] "Entries that the newest checkpoint covers.";
    OUTBOX = "gauge" "countersign_outbox_overdue_seconds" [] "For how long the oldest message has been due.";
    TIMERS = "gauge" "countersign_timers_overdue_seconds" [] "For how long the oldest timer has been due.";
}

/// The metrics of one engine. Clones share them. Not a global: two engines in a process do not count into each other.
#[derive(Clone, Debug)]
pub struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

/// What a commit is about to have happened: the kind of each entry, and the door of the request that it belongs to.
#[derive(Debug)]
pub(crate) struct News(Vec<(EntryKind, String)>);

impl Metrics {
    pub(crate) fn new(started: Micros) -> Self {
        let recorder = PrometheusBuilder::new().set_buckets(BUCKETS).unwrap_or_default().build_recorder();
        for family in FAMILIES {
            let (name, help) = (family.name.into(), family.help.into());
            match family.kind {
                "counter" => recorder.describe_counter(name, None, help),
                "gauge" => recorder.describe_gauge(name, None, help),
                _ => recorder.describe_histogram(name, None, help),
            }
        }
        let metrics = Self { handle: recorder.handle(), recorder: Arc::new(recorder) };
        metrics.gauge(BUILD, &[env!("CARGO_PKG_VERSION")]).set(1.0);
        metrics.gauge(STARTED, &[]).set(seconds(started.since(Micros::from_micros(0))));
        // A rate needs the zero that went before the first one.
        for family in FAMILIES.iter().filter(|family| family.labels.is_empty()) {
            match family.kind {
                "counter" => metrics.counter(*family, &[]).increment(0),
                _ => metrics.gauge(*family, &[]).increment(0.0),
            }
        }
        for result in LOGIN_RESULTS {
            metrics.counter(LOGINS, &[result]).increment(0);
        }
        for result in ANSWER_RESULTS {
            metrics.counter(ANSWERS, &[Factor::Totp.as_str(), result]).increment(0);
        }
        metrics
    }

    /// A call was answered, or its caller went away (`status` is `None`). `path` is the route's template, `None` where there is no route.
    pub fn http(&self, method: &str, path: Option<&str>, status: Option<u16>, took: Duration) {
        let method = known_method(method);
        let path = path.unwrap_or("none");
        let status = match status.map(|status| status / 100) {
            Some(1) => "1xx",
            Some(2) => "2xx",
            Some(3) => "3xx",
            Some(4) => "4xx",
            Some(5) => "5xx",
            _ => "none",
        };
        self.counter(HTTP, &[method, path, status]).increment(1);
        self.histogram(HTTP_TIME, &[method, path]).record(took.as_secs_f64());
    }

    /// What the operating system says of the process.
    pub fn process(&self, resident_bytes: u64, cpu: Duration) {
        self.gauge(MEMORY, &[]).set(float(resident_bytes));
        self.counter(CPU, &[]).absolute(u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX));
    }

    /// Folds what was measured since the last time, which would take memory otherwise; to be called every few seconds.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    pub(crate) fn committed(&self, news: &News) {
        for (kind, door) in &news.0 {
            self.counter(ENTRIES, &[kind.as_str()]).increment(1);
            if let Some((family, event)) = event(*kind) {
                self.counter(family, &[door, event]).increment(1);
            }
        }
    }

    pub(crate) fn conflict(&self) {
        self.counter(CONFLICTS, &[]).increment(1);
    }

    pub(crate) fn answered<T>(&self, outcome: &Result<Result<T, Rejection>, EngineError>) {
        let result = match outcome {
            Ok(Ok(_)) => "counted",
            Ok(Err(Rejection::WrongFactor)) => "wrong",
            Ok(Err(Rejection::UsedCode)) => "used",
            Ok(Err(Rejection::OwnRequest | Rejection::NotEligible | Rejection::Cooling | Rejection::Relayed)) => {
                "not_eligible"
            }
            Ok(Err(Rejection::AlreadyAnswered | Rejection::NotNeeded)) => "not_needed",
            Ok(Err(Rejection::Over(_))) => "over",
            Ok(Err(Rejection::OtherRequest)) => "other_request",
            Err(EngineError::TooManyAttempts { .. } | EngineError::Closed) => "throttled",
            Err(_) => return,
        };
        self.counter(ANSWERS, &[Factor::Totp.as_str(), result]).increment(1);
    }

    pub(crate) fn login<T>(&self, outcome: &Result<T, EngineError>) {
        let result = match outcome {
            Ok(_) => "ok",
            Err(EngineError::LoginRefused) => "failed",
            Err(EngineError::CodeNeeded) => "code_needed",
            Err(EngineError::TooManyAttempts { .. } | EngineError::Closed) => "throttled",
            Err(_) => "error",
        };
        self.counter(LOGINS, &[result]).increment(1);
    }

    fn counter(&self, family: Family, values: &[&str]) -> Counter {
        self.recorder.register_counter(&key(family, values), &METADATA)
    }

    fn gauge(&self, family: Family, values: &[&str]) -> Gauge {
        self.recorder.register_gauge(&key(family, values), &METADATA)
    }

    fn histogram(&self, family: Family, values: &[&str]) -> Histogram {
        self.recorder.register_histogram(&key(family, values), &METADATA)
    }
}

const LOGIN_RESULTS: [&str; 5] = ["ok", "failed", "code_needed", "throttled", "error"];
const ANSWER_RESULTS: [&str; 8] =
    ["counted", "wrong", "used", "not_eligible", "not_needed", "over", "other_request", "throttled"];

impl News {
    pub(crate) fn of(writes: &[Write], entries: &[EntryDraft]) -> Self {
        let door = |entry: &EntryDraft| {
            let request = writes.iter().find_map(|write| match write {
                Write::InsertRequest(request) | Write::UpdateRequest { request, .. }
                    if Some(request.id) == entry.request =>
                {
                    Some(request.operation.door.clone())
                }
                _ => None,
            });
            // What was refused outright became no request; its entry alone tells.
            let told =
                || entry.committed.iter().find(|field| field.field == "door").and_then(|field| field.value.as_str());
            request.or_else(|| told().map(str::to_owned)).unwrap_or_else(|| "none".to_owned())
        };
        Self(entries.iter().map(|entry| (entry.kind, door(entry))).collect())
    }
}

impl Engine {
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Whether a scrape needs no credential.
    pub fn has_public_metrics(&self) -> bool {
        self.inner.config.public_metrics
    }

    /// The metrics in Prometheus' text format, for a caller who may see them: `None` where the operator made them public, an administrator, or a token of
    /// a service or an administrator whose scopes cover [`METRICS_SCOPE`]. A token that anybody made for himself does not do: everybody could.
    pub async fn scrape(&self, principal: Option<&Principal>) -> Result<String, EngineError> {
        if !self.has_public_metrics() {
            self.require_metrics(principal.ok_or(EngineError::Unauthenticated)?).await?;
        }
        let metrics = &self.inner.metrics;
        let stats = self.inner.store.stats();
        metrics.counter(COMMITS, &[]).absolute(stats.commits);
        metrics.counter(TRANSACTIONS, &[]).absolute(stats.transactions);
        metrics.gauge(HELD, &[]).set(self.inner.wakeups.held());
        let up = self
            .look_at_the_database()
            .await
            .inspect_err(|error| tracing::warn!(%error, "metrics without the database"));
        metrics.gauge(DATABASE, &[]).set(if up.is_ok() { 1.0 } else { 0.0 });
        Ok(metrics.handle.render())
    }

    async fn require_metrics(&self, principal: &Principal) -> Result<(), EngineError> {
        let refused = || {
            EngineError::NotPermitted(format!(
                "metrics are for administrators, and for tokens of services with the scope {METRICS_SCOPE}"
            ))
        };
        if !principal.covers(METRICS_SCOPE) {
            return Err(refused());
        }
        if principal.kind == AccountKind::Service {
            return Ok(());
        }
        let person = principal.person.as_ref().ok_or_else(refused)?;
        let rows = self.inner.store.load(PeopleOf { persons: vec![person.id], groups: Vec::new() }).await?;
        let (people, _) = self.judge(&rows);
        if people.may_fill(person.id, &GroupName::administrators()) { Ok(()) } else { Err(refused()) }
    }

    async fn look_at_the_database(&self) -> Result<(), StoreError> {
        let (store, metrics, now) = (&self.inner.store, &self.inner.metrics, self.now());
        let age = |since: Option<Micros>| since.map_or(0.0, |since| seconds(now.since(since)));
        let epoch = self.keys().epoch();
        metrics.gauge(UNSEQUENCED, &[]).set(age(store.load(OldestUnsequenced(epoch)).await?));
        metrics.gauge(OUTBOX, &[]).set(age(store.load(NextOutbox).await?));
        metrics.gauge(TIMERS, &[]).set(age(store.load(NextTimer).await?));
        let size = store.load(LatestCheckpoint(epoch)).await?.map_or(0, |checkpoint| checkpoint.size);
        metrics.gauge(CHECKPOINT, &[]).set(float(size));
        Ok(())
    }
}

fn key(family: Family, values: &[&str]) -> Key {
    let labels = family.labels.iter().zip(values).map(|(name, value)| Label::new(*name, (*value).to_owned()));
    Key::from_parts(family.name, labels.collect::<Vec<_>>())
}

fn event(kind: EntryKind) -> Option<(Family, &'static str)> {
    Some(match kind {
        EntryKind::RequestAsked => (REQUESTS, "asked"),
        EntryKind::RequestGranted => (REQUESTS, "granted"),
        EntryKind::RequestRefused => (REQUESTS, "refused"),
        EntryKind::RequestDenied => (REQUESTS, "denied"),
        EntryKind::RequestExpired => (REQUESTS, "expired"),
        EntryKind::RequestCancelled => (REQUESTS, "cancelled"),
        EntryKind::GrantRevoked => (REQUESTS, "revoked"),
        EntryKind::GrantEnded => (REQUESTS, "ended"),
        EntryKind::ReleaseIntended => (RELEASES, "begun"),
        EntryKind::ReleaseDone => (RELEASES, "done"),
        EntryKind::ReleaseRefused => (RELEASES, "refused"),
        EntryKind::ReleaseFailed => (RELEASES, "failed"),
        EntryKind::ReleaseInDoubt => (RELEASES, "in_doubt"),
        EntryKind::ReleaseClosed => (RELEASES, "closed"),
        _ => return None,
    })
}

/// A method is whatever the caller wrote; each that is not known would be a series for ever.
fn known_method(method: &str) -> &'static str {
    match method {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "the format knows doubles only, which are exact up to 2^53")]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
