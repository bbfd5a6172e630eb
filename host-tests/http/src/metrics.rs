//! Figures of the service and of the tenants that are loaded, in the text format of
//! Prometheus (its standard form, `OpenMetrics`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use clawdb_session_durable::{HostMetrics, KeyReport, Tenants};
use clawdb_session_host::Statistics;
use futures::future::join_all;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

use crate::error::ApiError;
use crate::protocol::WasHead;
use crate::service::Service;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How long a tenant has to tell its metrics. Who scrapes does not wait for ever.
const STATS_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkspaceLabel {
    workspace: String,
}

/// Counts a request, by its route and not by its path: there are as many paths as sessions.
pub async fn observe(
    State(service): State<Arc<Service>>,
    request: Request,
    next: Next,
) -> Response {
    let begin = Instant::now();
    let method = match request.extensions().get::<WasHead>() {
        Some(WasHead) => "HEAD",
        None => method_label(request.method()),
    };
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("unmatched", MatchedPath::as_str).to_owned();
    let answer = next.run(request).await;
    service
        .metrics
        .count(method, route, answer.status().as_u16(), begin.elapsed());
    answer
}

pub async fn scrape(State(service): State<Arc<Service>>) -> Result<Response, ApiError> {
    let totals = TenantTotals::gather(&service.tenants).await;
    let mut registry = Registry::with_prefix("clawdb_session");
    service.metrics.register(&mut registry);
    totals.register(&mut registry);
    register_keys(&service.tenants.keys(), &mut registry);
    let mut text = String::new();
    encode(&mut text, &registry)
        .map_err(|_| ApiError::unavailable("the figures could not be written"))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

/// The figures of all tenants that are loaded, together: their number has no bound that labels could
/// have.
#[derive(Default)]
struct TenantTotals {
    loaded: u64,
    silent: u64,
    live_sessions: u64,
    prunable_sessions: u64,
    pending_revocations: u64,
    tombstones: u64,
    subscribers: u64,
    state_bytes: u64,
    /// The largest, in milliseconds.
    clock_lag: u64,
    clock_behind: u64,
    restarts: u64,
    losses: u64,
}

impl TenantTotals {
    async fn gather(tenants: &Tenants) -> Self {
        let hosts = tenants.loaded_hosts();
        let asking = hosts.iter().map(async |(_, host)| {
            let stats = tokio::time::timeout(STATS_TIMEOUT, host.stats()).await;
            (stats.ok().and_then(Result::ok), host.metrics())
        });
        let mut totals = Self::default();
        for (stats, metrics) in join_all(asking).await {
            totals.add(stats.as_ref(), &metrics);
        }
        totals
    }

    fn add(&mut self, stats: Option<&Statistics>, metrics: &HostMetrics) {
        self.loaded += 1;
        self.restarts += metrics.restarts;
        self.losses += metrics.losses;
        let Some(stats) = stats else {
            self.silent += 1;
            return;
        };
        self.live_sessions += u64::from(stats.live_sessions);
        self.prunable_sessions += u64::from(stats.prunable_sessions);
        self.pending_revocations += u64::from(stats.pending_revocations);
        self.tombstones += u64::from(stats.tombstones);
        self.subscribers += u64::from(stats.subscribers);
        self.clock_lag = self.clock_lag.max(stats.clock_lag);
        self.clock_behind += u64::from(stats.clock_behind);
        self.state_bytes = self.state_bytes.saturating_add(stats.state_bytes);
    }

    fn register(&self, registry: &mut Registry) {
        let gauges = [
            ("tenants_loaded", "Tenants that are loaded", self.loaded),
            (
                "tenants_silent",
                "Of these, those that did not tell their figures: they are in no sum here",
                self.silent,
            ),
            (
                "live_sessions",
                "Sessions that are live",
                self.live_sessions,
            ),
            (
                "prunable_sessions",
                "Sessions that have expired and that nothing has ended yet",
                self.prunable_sessions,
            ),
            (
                "pending_revocations",
                "Revocations that the guard has not confirmed",
                self.pending_revocations,
            ),
            (
                "tombstones",
                "Records of what has ended and must not come back",
                self.tombstones,
            ),
            ("subscribers", "Readers of events", self.subscribers),
            (
                "clock_behind_tenants",
                "Tenants that grant no time, because the host's clock is behind theirs by more than \
                 clock-tolerance",
                self.clock_behind,
            ),
            (
                "instance_restarts",
                "Instances that ended by themselves and were replaced, since their tenants were loaded",
                self.restarts,
            ),
            (
                "tenant_losses",
                "Times that a tenant was lost to another host, since it was loaded",
                self.losses,
            ),
        ];
        register_gauges(gauges, registry);
        let lag = Duration::from_millis(self.clock_lag).as_secs_f64();
        registry.register_with_unit(
            "clock_lag",
            "How far the host's clock is behind the time of a tenant, at most",
            Unit::Seconds,
            ConstGauge::new(lag),
        );
        registry.register_with_unit(
            "state",
            "What counts against max-state-bytes",
            Unit::Bytes,
            gauge(self.state_bytes),
        );
    }
}

/// What is known of the state keys. Workspaces are named by a label where a key is missing for them, 20 at
/// most.
fn register_keys(keys: &KeyReport, registry: &mut Registry) {
    let gauges = [
        (
            "state_keys_checked",
            "1 when every record of every workspace was held against the state keys, else 0",
            keys.complete.into(),
        ),
        (
            "previous_key_records",
            "Records that are still sealed with a previous state key: keep that key until this is 0 \
             and state_keys_checked is 1",
            keys.previous_records,
        ),
        (
            "previous_key_workspaces",
            "Workspaces with records that are still sealed with a previous state key",
            keys.previous_workspaces,
        ),
        (
            "previous_key_workspaces_held",
            "Of these, those that another host has and has to reseal",
            keys.held_workspaces,
        ),
        (
            "resealed_records",
            "Records that were resealed with the state key since the start",
            keys.resealed_records,
        ),
        (
            "state_key_missing_workspaces",
            "Workspaces that refuse their calls because no state key that was given opens their \
             records: start the service with the key that they are sealed with",
            keys.missing_workspaces,
        ),
        (
            "damaged_records",
            "Records that no key opens because they are damaged: restore them from a backup",
            keys.damaged_records,
        ),
    ];
    register_gauges(gauges, registry);
    let named: Family<WorkspaceLabel, Gauge> = Family::default();
    for missing in &keys.missing {
        let workspace = missing.tenant.to_string();
        let unopened = i64::try_from(missing.unopened).unwrap_or(i64::MAX);
        named
            .get_or_create(&WorkspaceLabel { workspace })
            .set(unopened);
    }
    registry.register(
        "state_key_missing",
        "Records of the workspace that no state key that was given opens; of 20 workspaces at most",
        named,
    );
}

/// Registers metrics, each with its name and what it says.
fn register_gauges<const N: usize>(
    gauges: [(&'static str, &'static str, u64); N],
    registry: &mut Registry,
) {
    for (name, help, value) in gauges {
        registry.register(name, help, gauge(value));
    }
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

/// A client may make methods up, and as many as it likes.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
