//! The route `/metrics`: metrics of the service and of the loaded tenants, in the text format of
//! Prometheus (its standard form, `OpenMetrics`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use clawdb_session_durable::{HostMetrics, KeyReport};
use clawdb_session_host::Statistics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

use crate::error::ApiError;
use crate::figures::TenantFigures;
use crate::protocol::WasHead;
use crate::service::Service;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkspaceLabel {
    workspace: String,
}

/// Counts a request by its route. A path would give a label for each session.
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
    let figures = service.figures.current(&service.tenants).await;
    let totals = TenantTotals::of(&figures);
    let mut registry = Registry::with_prefix("clawdb_session");
    service.metrics.register(&mut registry);
    totals.register(&mut registry);
    register_keys(&service.tenants.keys(), &mut registry);
    let mut text = String::new();
    encode(&mut text, &registry)
        .map_err(|_| ApiError::unavailable("the metrics could not be written"))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

/// The sums over all loaded tenants. The number of tenants is unbounded, so they are not labels.
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
    /// The largest lag of a tenant, in milliseconds.
    clock_lag: u64,
    clock_behind: u64,
    restarts: u64,
    losses: u64,
}

impl TenantTotals {
    fn of(tenants: &[TenantFigures]) -> Self {
        let mut totals = Self::default();
        for tenant in tenants {
            totals.add(tenant.stats.as_ref(), &tenant.metrics);
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
                "Loaded tenants that returned no statistics in time, which are in no sum here",
                self.silent,
            ),
            (
                "live_sessions",
                "Sessions that are live",
                self.live_sessions,
            ),
            (
                "prunable_sessions",
                "Expired sessions that were not ended yet",
                self.prunable_sessions,
            ),
            (
                "pending_revocations",
                "Revocations that the guard has not confirmed",
                self.pending_revocations,
            ),
            (
                "tombstones",
                "Records of ended sessions that prevent a restore of these",
                self.tombstones,
            ),
            ("subscribers", "Readers of events", self.subscribers),
            (
                "clock_behind_tenants",
                "Tenants that grant no time, because the host's clock is behind their time by more \
                 than clock-tolerance",
                self.clock_behind,
            ),
            (
                "instance_restarts",
                "Instances that failed and were replaced, since their tenants were loaded",
                self.restarts,
            ),
            (
                "tenant_losses",
                "How often a tenant was lost to another host, since it was loaded",
                self.losses,
            ),
        ];
        register_gauges(gauges, registry);
        let lag = Duration::from_millis(self.clock_lag).as_secs_f64();
        registry.register_with_unit(
            "clock_lag",
            "The largest lag of the host's clock behind the time of a tenant",
            Unit::Seconds,
            ConstGauge::new(lag),
        );
        registry.register_with_unit(
            "state",
            "Memory that counts towards max-state-bytes",
            Unit::Bytes,
            gauge(self.state_bytes),
        );
    }
}

/// Registers the metrics of the state keys. A label names each workspace whose key is missing, at
/// most 20.
fn register_keys(keys: &KeyReport, registry: &mut Registry) {
    let gauges = [
        (
            "state_keys_checked",
            "1 when every record of every workspace was checked against the state keys, else 0",
            keys.complete.into(),
        ),
        (
            "previous_key_records",
            "Records that are still sealed with a previous state key: keep that key until this is \
             0 and state_keys_checked is 1",
            keys.previous_records,
        ),
        (
            "previous_key_workspaces",
            "Workspaces with records that are still sealed with a previous state key",
            keys.previous_workspaces,
        ),
        (
            "previous_key_workspaces_held",
            "Of these, the workspaces that another host owns and has to reseal",
            keys.held_workspaces,
        ),
        (
            "resealed_records",
            "Records that were resealed with the state key since the start",
            keys.resealed_records,
        ),
        (
            "state_key_missing_workspaces",
            "Workspaces that refuse all calls because no given state key opens their records: \
             start the service with the key that they are sealed with",
            keys.missing_workspaces,
        ),
        (
            "damaged_records",
            "Damaged records, which no key opens: restore them from a backup",
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
        "Records of the workspace that no given state key opens; of at most 20 workspaces",
        named,
    );
}

/// Registers metrics, each with its name, help and value.
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

/// Returns the label of a method. A client can invent any number of methods, which share a label.
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
