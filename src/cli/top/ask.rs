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
    /// Whether it need not be asked again: there are many, nothing has changed, and it was answered not long ago.
    fn is_fresh(&self, generation: &Value, now: Instant) -> bool {
        self.are_many() && self.generation == *generation && now.duration_since(self.at) < SELDOM
    }

    fn are_many(&self) -> bool {
        self.services.len() > FEW_SERVICES
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
        if !self.known.as_ref().is_some_and(|known| known.is_fresh(generation, Instant::now())) {
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
        self.known.as_ref().is_some_and(Known::are_many)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_services_are_asked_for_when_they_have_changed_or_seldom() {
        let (at, generation) = (Instant::now(), json!(7));
        let known = |services| Known {
            at,
            generation: generation.clone(),
            services: vec![Service::default(); services].into(),
            problems: Vec::new(),
        };
        let many = known(FEW_SERVICES + 1);
        assert!(many.is_fresh(&generation, at) && many.is_fresh(&generation, at + SELDOM / 2));
        assert!(!many.is_fresh(&json!(8), at), "a set has come into force");
        assert!(!many.is_fresh(&generation, at + SELDOM));
        assert!(!known(FEW_SERVICES).is_fresh(&generation, at), "few are no burden");
    }
}
