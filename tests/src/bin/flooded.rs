//! A process that is flooded, as `flooded worker TOKEN` or `flooded manager DIRECTORY`; alone in it, so that what it
//! spends can be measured.
//!
//! The worker listens at a port of its own and says which. The manager lets workers dial in at `manager.sock` in the
//! directory, dials `dialled.sock`, and says where it answers HTTP. Either ends at the end of stdin.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use telemetry_client::serve::{ServeConfig, Server};
use telemetry_core::{
    Address, SystemClock,
    emit::{Recorder, RecorderConfig},
};
use telemetry_server::{
    Manager, ManagerConfig, WorkerContext,
    accept::{AcceptConfig, Acceptor},
    export::{PrometheusConfig, PrometheusExporter},
    http::{HttpServer, HttpState},
};
use tokio::io::AsyncReadExt;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let role = arguments.next().ok_or("expected a role")?;
    let more = arguments.next().ok_or("expected what belongs to it")?;
    match role.as_str() {
        "worker" => worker(&more).await,
        "manager" => manager(Path::new(&more)).await,
        other => Err(format!("{other} is no role; worker and manager are").into()),
    }
}

async fn worker(token: &str) -> Result<(), Box<dyn Error>> {
    let recorder = Recorder::new(RecorderConfig::default(), Arc::new(SystemClock::new()))?;
    let mut config = ServeConfig::default();
    config.token = Some(token.parse()?);
    let any: Address = "127.0.0.1:0".parse()?;
    let server = Server::start(&any, Arc::new(recorder), config)?;
    until_told(&server.address().to_string()).await
}

async fn manager(directory: &Path) -> Result<(), Box<dyn Error>> {
    let manager = Manager::start(ManagerConfig::new("flooded"))?;
    let at = Address::Unix(directory.join("manager.sock"));
    let _acceptor = Acceptor::start(&manager, AcceptConfig::at(at))?;
    let dialled = Address::Unix(directory.join("dialled.sock"));
    manager.register_worker(dialled, WorkerContext::new("dialled"))?;
    let prometheus =
        PrometheusExporter::new(Arc::clone(manager.catalog()), PrometheusConfig::default());
    let state = HttpState::new(manager.dispatcher().clone(), prometheus, ());
    let http = HttpServer::bind(([127, 0, 0, 1], 0).into(), state).await?;
    let place = http.local_addr().ok_or("it listens at no port")?;
    until_told(&place.to_string()).await
}

/// Says where it listens, and waits for the end of stdin.
async fn until_told(address: &str) -> Result<(), Box<dyn Error>> {
    writeln!(std::io::stdout(), "{address}")?;
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}
