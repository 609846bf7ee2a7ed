//! Asks the daemon for what the screen shows, and for no more: of endpoints only those of one service, and of many
//! services how they are only when that has changed, or was long ago.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::reading::{Endpoint, Endpoints, Reading, Service, Stats};
use crate::cli::session::{AskError, Session};
use crate::cli::status::problems;

/// So many services are asked for each time.
const FEW_SERVICES: usize = 1_000;
/// More of them, where the generation stays the same, so often.
const SELDOM: Duration = Duration::from_secs(10);

/// Asks over one connection for as long as that lasts.
pub struct Asker {
    socket: PathBuf,
    session: Option<Session>,
    connections: u64,
    known: Option<Known>,
}

/// The services as they were last answered.
struct Known {
    at: Instant,
    generation: Value,
    services: Arc<[Service]>,
    problems: Vec<String>,
}

impl Known {
    fn is_fresh(&self, now: Instant) -> bool {
        self.services.len() > FEW_SERVICES && now.duration_since(self.at) < SELDOM
    }
}

impl Asker {
    /// One that asks at this socket.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), session: None, connections: 0, known: None }
    }

    /// Asks how all is, and how the endpoints of this service are. Connects if need be.
    pub fn ask(&mut self, service: Option<&str>) -> Result<Reading, AskError> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => {
                self.known = None;
                self.connections += 1;
                Session::open(&self.socket)?
            }
        };
        let reading = self.read(&mut session, service)?;
        self.session = Some(session);
        Ok(reading)
    }

    fn read(&mut self, session: &mut Session, service: Option<&str>) -> Result<Reading, AskError> {
        let (mut node, mut services) = self.status(session, !self.has_many_services())?;
        let generation = &node["generation"];
        let is_fresh = |known: &Known| known.generation == *generation && known.is_fresh(Instant::now());
        if !self.known.as_ref().is_some_and(is_fresh) {
            if services.is_none() {
                (node, services) = self.status(session, true)?;
            }
            self.known = Some(self.learn(services.unwrap_or_default(), &node["generation"])?);
        }
        let endpoints = service.map(|service| self.endpoints(session, service)).transpose()?.flatten();
        let answer = session.ask("stats", &json!({ "endpoints": false }))?;
        let at = Instant::now();
        let mut said = problems(&node);
        said.extend(self.known.iter().flat_map(|known| known.problems.clone()));
        Ok(Reading {
            at,
            connection: self.connections,
            node,
            problems: said,
            stats: self.typed::<Stats>(answer)?,
            services: self.known.as_ref().map(|known| known.services.clone()).unwrap_or_default(),
            endpoints,
        })
    }

    fn has_many_services(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.services.len() > FEW_SERVICES)
    }

    /// How the node is, and its services. An older daemon says them in any case.
    fn status(&self, session: &mut Session, services: bool) -> Result<(Value, Option<Value>), AskError> {
        let mut node = session.ask("status", &json!({ "services": services }))?;
        let services = node.as_object_mut().and_then(|node| node.remove("services"));
        Ok((node, services))
    }

    fn learn(&self, services: Value, generation: &Value) -> Result<Known, AskError> {
        let mut status = json!({ "services": services });
        let problems = problems(&status);
        let services: Vec<Service> = self.typed(status["services"].take())?;
        Ok(Known { at: Instant::now(), generation: generation.clone(), services: services.into(), problems })
    }

    /// None where the service has gone.
    fn endpoints(&self, session: &mut Session, service: &str) -> Result<Option<Endpoints>, AskError> {
        let mut answer = match session.ask("endpoints", &json!({ "service": service })) {
            Err(AskError::Refused(_)) => return Ok(None),
            answer => answer?,
        };
        let all: Vec<Endpoint> = self.typed(answer["endpoints"].take())?;
        Ok(Some(Endpoints { at: Instant::now(), service: service.to_owned(), all }))
    }

    fn typed<T: DeserializeOwned>(&self, value: Value) -> Result<T, AskError> {
        serde_json::from_value(value).map_err(|_| AskError::NotOurs(self.socket.clone()))
    }
}
