//! Packets on their way to an operator who has asked to see some.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::Node;
use crate::capture::{Excerpt, Fate, Filter, MOST_BYTES, Sample, Tap};
use crate::control::event::Event;
use crate::control::protocol::{self, Fault};
use crate::document::{Collector, Node as DocumentNode, Problems, Tree};
use crate::endpoint_set::read_prefix;
use crate::snapshot::{Cell, ServiceEntry};

/// One packet in so many at the least.
const RAREST: u64 = 1_000_000;
/// Fewer bytes would not hold the headers.
const LEAST_BYTES: u64 = 64;

/// What is asked for.
struct Wanted {
    verdict: Option<&'static str>,
    service: Option<String>,
    endpoint: Option<String>,
    client: Option<IpNet>,
    every: u32,
    most: usize,
}

impl Wanted {
    fn read(params: &Tree<'_>) -> Result<Self, Problems> {
        let collector = Collector::default();
        let wanted = Self::read_from(&DocumentNode::root(params, &collector));
        collector.finish(wanted)
    }

    fn read_from(root: &DocumentNode<'_>) -> Option<Self> {
        let table = root.table(&["verdict", "service", "endpoint", "client", "sample", "snap"])?;
        let verdicts = ["forwarded", "answered", "dropped"].map(|name| (name, name));
        let text = |key| table.get(key).map_or(Some(None), |node| node.text().map(|text| Some(text.to_owned())));
        let number = |key, range, usual| table.get(key).map_or(Some(usual), |node| node.integer(range));
        let verdict = table.get("verdict").map_or(Some(None), |node| node.choice(&verdicts).map(Some));
        let client = table.get("client").map_or(Some(None), |node| read_prefix(&node).map(Some));
        let (service, endpoint) = (text("service"), text("endpoint"));
        let every = number("sample", 1..=RAREST, 1);
        let most = number("snap", LEAST_BYTES..=MOST_BYTES as u64, MOST_BYTES as u64);
        if let (Some(None), Some(node)) = (&service, table.get("endpoint")) {
            node.refuse("an endpoint's name means something in a service only: name it, too");
        }
        Some(Self {
            verdict: verdict?,
            service: service?,
            endpoint: endpoint?,
            client: client?,
            every: every? as u32,
            most: most? as usize,
        })
    }

    /// Which packets these are, by the services there are.
    fn filter(&self, services: &[Arc<ServiceEntry>]) -> Result<Filter, Fault> {
        let mut filter = Filter { verdict: self.verdict, client: self.client, ..Filter::default() };
        let Some(name) = &self.service else { return Ok(filter) };
        let entry = services.iter().find(|entry| entry.service.name == *name);
        let entry = entry.ok_or_else(|| Fault::invalid_param("service", format!("there is no service \"{name}\"")))?;
        filter.service = Some(entry.cell);
        if let Some(wanted) = &self.endpoint {
            let known = entry.service.endpoints.iter().zip(entry.endpoints.iter());
            let endpoint = known.into_iter().find(|(endpoint, _)| endpoint.name == *wanted);
            let (_, ready) = endpoint
                .ok_or_else(|| Fault::invalid_param("endpoint", format!("\"{name}\" has no endpoint \"{wanted}\"")))?;
            filter.endpoint = Some(ready.cell);
        }
        Ok(filter)
    }
}

/// A capture that goes on.
pub(super) struct Capture {
    wanted: Wanted,
    /// None while what is wanted is not there.
    filter: Option<Filter>,
    /// By worker.
    taps: Vec<Arc<Tap>>,
    /// Packets that taps could not show which are no more.
    missed: u64,
    /// What counts in a cell, as far as it was asked for since services last changed.
    names: HashMap<Cell, Option<String>>,
    /// What is to be told beside packets.
    notices: Vec<Event>,
}

impl Capture {
    fn new(wanted: Wanted, filter: Filter) -> Self {
        let (taps, names, notices) = (Vec::new(), HashMap::new(), Vec::new());
        Self { wanted, filter: Some(filter), taps, missed: 0, names, notices }
    }

    /// Services may have changed: what is wanted may count elsewhere now, be gone, or be there again.
    pub(super) fn follow(&mut self, services: &[Arc<ServiceEntry>]) {
        self.names.clear();
        let filter = self.wanted.filter(services).ok();
        if filter == self.filter {
            return;
        }
        if filter.is_some() != self.filter.is_some() {
            self.notices.push(Event::Capture { present: filter.is_some() });
        }
        self.filter = filter;
        for tap in self.taps.drain(..) {
            self.missed += tap.missed();
            tap.fetch(|_| self.missed += 1);
        }
    }

    /// The tap of a worker; none while there is nothing to show.
    pub(super) fn tap(&mut self, worker: usize) -> Option<Arc<Tap>> {
        let filter = self.filter.as_ref()?;
        while self.taps.len() <= worker {
            self.taps.push(Arc::new(Tap::new(filter.clone(), self.wanted.every, self.wanted.most)));
        }
        self.taps.get(worker).cloned()
    }

    /// The name of what counts in a cell, looked for once.
    fn name(&mut self, cell: Option<Cell>, find: impl FnOnce(Cell) -> Option<String>) -> Option<String> {
        let cell = cell?;
        self.names.entry(cell).or_insert_with(|| find(cell)).clone()
    }
}

impl Node {
    /// Has workers show packets from now on, until [`stop_capture`](Self::stop_capture).
    pub(super) fn start_capture(&mut self, params: &Tree<'_>) -> Result<Value, Fault> {
        let wanted = Wanted::read(params).map_err(Fault::invalid_params)?;
        if self.capture.is_some() {
            return Err(Fault::internal("another capture goes on; there is one at a time"));
        }
        let filter = wanted.filter(self.builder.services())?;
        tracing::info!(
            verdict = wanted.verdict,
            service = wanted.service,
            endpoint = wanted.endpoint,
            client = wanted.client.map(tracing::field::display),
            sample = wanted.every,
            "a capture begins"
        );
        self.capture = Some(Capture::new(wanted, filter));
        self.publish();
        Ok(json!({ "interface": self.config.interface.name, "workers": self.workers.len() }))
    }

    /// Whether workers show packets.
    pub fn is_capturing(&self) -> bool {
        self.capture.is_some()
    }

    /// Has workers show packets no more.
    pub fn stop_capture(&mut self) {
        if self.capture.take().is_some() {
            self.publish();
            tracing::info!("the capture has ended");
        }
    }

    /// The packets that workers have shown since this was last asked, by time, and what else there is to tell; a line each.
    pub fn captured(&mut self) -> String {
        let Some(mut capture) = self.capture.take() else { return String::new() };
        let mut shown = Vec::new();
        let now = Clocks::now();
        for (worker, tap) in capture.taps.clone().iter().enumerate() {
            tap.fetch(|sample| shown.push((sample.at, self.show(sample, worker, &mut capture, &now))));
        }
        shown.sort_by_key(|(at, _)| *at);
        let missed = capture.missed + capture.taps.iter().map(|tap| tap.missed()).sum::<u64>();
        let packets = shown.into_iter().map(|(_, mut packet)| {
            packet["missed"] = json!(missed);
            protocol::show_packet(&packet)
        });
        let lines = packets.chain(capture.notices.drain(..).map(|event| protocol::notify(&event))).collect();
        self.capture = Some(capture);
        lines
    }

    fn show(&self, sample: &Sample, worker: usize, capture: &mut Capture, clocks: &Clocks) -> Value {
        let services = self.builder.services();
        let service = capture.name(sample.service, |cell| {
            services.iter().find(|entry| entry.cell == cell).map(|entry| entry.service.name.clone())
        });
        let endpoint = capture.name(sample.endpoint, |cell| {
            let entry = services.iter().find(|entry| sample.service == Some(entry.cell))?;
            let at = entry.endpoints.iter().position(|endpoint| endpoint.cell == cell)?;
            entry.service.endpoints.get(at).map(|endpoint| endpoint.name.clone())
        });
        let reason = if let Fate::Dropped(reason) = sample.fate { Some(reason.name()) } else { None };
        json!({
            "time": clocks.since_1970(sample.at.0),
            "worker": worker,
            "queue": self.workers.get(worker).and_then(|worker| worker.queue),
            "verdict": sample.fate.name(),
            "reason": reason,
            "service": service,
            "endpoint": endpoint,
            "came": shown(&sample.came),
            "left": reason.is_none().then(|| shown(&sample.left)),
        })
    }
}

fn shown(packet: &Excerpt) -> Value {
    json!({ "length": packet.packet_len(), "bytes": STANDARD.encode(packet.bytes()) })
}

/// The monotonic clock and that of the day at one moment.
struct Clocks {
    monotonic: Duration,
    of_day: Duration,
}

impl Clocks {
    fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        let monotonic = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
        Self { monotonic, of_day: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }

    /// A moment of the monotonic clock, in nanoseconds, as nanoseconds since 1970.
    fn since_1970(&self, at: u64) -> u64 {
        let ago = self.monotonic.saturating_sub(Duration::from_nanos(at));
        u64::try_from(self.of_day.saturating_sub(ago).as_nanos()).unwrap_or(u64::MAX)
    }
}
