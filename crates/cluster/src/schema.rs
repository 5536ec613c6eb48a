//! The schemas of the journal and of the projection, brought to this program's version by their owner before what needs
//! them starts, at every start of the cluster: so an older cluster gets new migrations.
//!
//! It is done by `shanraq journal migrate` and `shanraq projection migrate` on the primary's host. A commit of them waits
//! for the synchronous standbys like any other, for as long as it takes.

use crate::{ClusterError, Host, Local, Role, address, http};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(300);
const ANSWER_WITHIN: Duration = Duration::from_millis(200);

/// Whose schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The journal's, which nodes need.
    Journal,
    /// The projection's, in the same database.
    Projection,
}

impl Of {
    fn as_str(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Projection => "projection",
        }
    }
}

/// How far it is.
#[derive(Debug)]
pub struct Schema {
    of: Of,
    step: Step,
    /// Why it is not ready.
    problem: String,
}

#[derive(Debug)]
enum Step {
    /// Until there is a primary, or after a failure.
    Waiting(Instant),
    /// The migration runs.
    Running(Child),
    /// It is as this program needs it.
    Ready,
}

impl Schema {
    /// To be looked after, where something needs it.
    pub fn new(local: &Local, of: Of) -> Self {
        let topology = local.topology();
        let is_needed = match of {
            Of::Journal => topology.nodes,
            Of::Projection => topology.nodes && topology.projection,
        };
        let step = match is_needed {
            true => Step::Waiting(Instant::now()),
            false => Step::Ready,
        };
        let problem = "PostgreSQL has no primary yet".to_owned();
        Self { of, step, problem }
    }

    /// Takes the next step, if it is time for one; true once the schema is ready.
    pub fn advance(&mut self, local: &Local, now: Instant) -> bool {
        match &mut self.step {
            Step::Ready => {}
            Step::Waiting(until) if now < *until => {}
            Step::Waiting(_) => match start(local, self.of) {
                Ok(Some(child)) => self.step = Step::Running(child),
                Ok(None) => self.step = Step::Waiting(now + PAUSE),
                Err(error) => self.fail(now, error.to_string()),
            },
            Step::Running(child) => match child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) if status.success() => self.step = Step::Ready,
                Ok(Some(status)) => {
                    let said = fs::read_to_string(log(local, self.of)).unwrap_or_default();
                    self.fail(now, format!("{} ({status})", said.trim()));
                }
                Err(error) => self.fail(now, error.to_string()),
            },
        }
        self.is_ready()
    }

    /// Whether the schema is as this program needs it.
    pub fn is_ready(&self) -> bool {
        matches!(self.step, Step::Ready)
    }

    fn fail(&mut self, now: Instant, problem: String) {
        self.problem = problem;
        self.step = Step::Waiting(now + PAUSE);
    }

    /// Why those who need it wait.
    pub fn problem(&self) -> String {
        format!("waits for the {}'s schema: {}", self.of.as_str(), self.problem)
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        if let Step::Running(child) = &mut self.step {
            // Of one transaction; what is cut short has done nothing.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn log(local: &Local, of: Of) -> PathBuf {
    let name = format!("{}-schema.log", of.as_str());
    local.directory().join("run").join(name)
}

/// The migration on the primary's host; none while there is no primary.
fn start(local: &Local, of: Of) -> Result<Option<Child>, ClusterError> {
    let topology = local.topology();
    let is_primary = |host: &&Host| {
        let endpoint = address::at(host, topology.ports.patroni);
        http::get(endpoint, "/primary", ANSWER_WITHIN).is_ok_and(|answer| answer.status == 200)
    };
    let Some(host) = topology.hosts_with(Role::Postgres).find(is_primary) else {
        return Ok(None);
    };
    let server = address::at(host, topology.ports.postgres);
    let password = local.directory().join("secrets").join("owner");
    let arguments = [
        of.as_str().to_owned(),
        "migrate".to_owned(),
        "--url".to_owned(),
        format!("postgresql://shanraq_owner@{server}/shanraq"),
        "--password-file".to_owned(),
        password.to_string_lossy().into_owned(),
    ];
    let path = log(local, of);
    let output = File::create(&path).map_err(|e| ClusterError::io("create", &path, e))?;
    let errors = output
        .try_clone()
        .map_err(|e| ClusterError::io("create", &path, e))?;
    let program = &topology.programs.shanraq;
    let mut command = local.command_on(host, "root", program, &arguments);
    let child = command.stdout(output).stderr(errors).spawn();
    child.map(Some).map_err(|e| ClusterError::io("run", program, e))
}
