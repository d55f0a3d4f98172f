//! A manager as a process of its own, for faults that only a process can have: it is stopped,
//! killed, started again.
//!
//! It answers on a unix socket, one line of JSON for one line of JSON, every answer with the whole
//! account. It remembers what was dispatched in files, and ends when its standard input does.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_server::{
    Address, Manager, ManagerConfig, WorkerContext, WorkerId,
    accept::{AcceptConfig, Acceptor},
    pool::{Pool, PoolConfig, RunDir, WorkerState},
    stream::StreamState,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::account::{Incarnation, Sums, incarnations, pools};
use super::arrivals::Arrivals;
use crate::patience::PATIENCE;

/// Until a killed worker of the pool is started again: soon, so that there is always one to kill.
const RESTART: Duration = Duration::from_millis(50);

/// What a manager's process is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Role {
    /// Its node.
    pub node: String,
    /// Where it answers.
    pub socket: PathBuf,
    /// Where it remembers what was dispatched.
    pub arrivals: PathBuf,
    /// Where workers dial in, if they may.
    pub accept: Option<PathBuf>,
    /// Workers of its own, if any.
    pub pool: Option<PoolRole>,
}

/// A pool for a manager's process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PoolRole {
    /// Name of the pool.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment of the workers.
    pub env: Vec<(String, String)>,
    /// Number of workers.
    pub size: usize,
    /// Directory of their sockets.
    pub run_dir: PathBuf,
}

/// What may be asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// The account.
    Account,
    /// Dials a worker.
    Register {
        /// Its id.
        id: String,
        /// Its pool.
        pool: String,
        /// Where it listens.
        address: String,
        /// Its process.
        pid: u32,
    },
    /// Forgets a worker; answers when it was read empty.
    Unregister {
        /// Its id.
        id: String,
    },
    /// Replaces a worker of the pool; answers when its successor was started.
    Recycle {
        /// Its id.
        worker: String,
    },
    /// Ends pool and sessions in order; the account stays to be asked for.
    End,
}

/// What is answered.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Answer {
    /// Why the order was not carried out.
    pub error: Option<String>,
    /// All incarnations.
    pub incarnations: Vec<Incarnation>,
    /// All pools.
    pub pools: Vec<Sums>,
    /// Workers of the pool.
    pub workers: Vec<PoolWorker>,
    /// Registered workers.
    pub streams: Vec<StreamOf>,
}

/// A worker of the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolWorker {
    /// Its id.
    pub id: String,
    /// Its process, while one runs.
    pub pid: Option<u32>,
    /// Whether it is streaming.
    pub ready: bool,
}

/// A registered worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamOf {
    /// Its id.
    pub id: String,
    /// Its process, as the manager knows it.
    pub pid: Option<u32>,
    /// Whether its stream is open, the hello heard.
    pub streaming: bool,
}

/// Carries out a role until standard input ends.
///
/// # Errors
///
/// What keeps it from starting.
pub async fn serve_role(role: Role) -> Result<(), Box<dyn Error>> {
    let manager = Manager::start(ManagerConfig::new(role.node))?;
    let arrivals = Arrivals::kept_in(role.arrivals);
    manager
        .dispatcher()
        .attach("arrivals", "snakepit.python.tool.*", arrivals.handler())?;
    let pool = match role.pool {
        Some(pool) => {
            let held = RunDir::lock(&pool.run_dir, "a story")?;
            Some(Pool::start_in(&manager, pool.config(role.accept.clone()), &held).await?)
        }
        None => None,
    };
    let acceptor = match role.accept {
        Some(path) => {
            let at = AcceptConfig::at(Address::Unix(path));
            Some(Acceptor::start(&manager, at)?)
        }
        None => None,
    };
    let acceptor = tokio::sync::Mutex::new(acceptor);
    let desk = Arc::new(Desk {
        manager,
        acceptor,
        pool,
    });
    let listener = UnixListener::bind(&role.socket)?;
    let mut owner = tokio::io::stdin();
    let mut nothing = [0; 1];
    loop {
        tokio::select! {
            connection = listener.accept() => {
                tokio::spawn(answer_all(connection?.0, Arc::clone(&desk)));
            }
            _ended = owner.read(&mut nothing) => return Ok(()),
        }
    }
}

impl PoolRole {
    /// The settings of this pool, wherever it is run. Its workers dial in at `manager`, if there is a socket
    /// for that, and are dialled else.
    #[must_use]
    pub fn config(self, manager: Option<PathBuf>) -> PoolConfig {
        let mut config = PoolConfig::new(self.name, self.command, self.run_dir);
        config.size = self.size;
        config.env = self.env;
        config.manager = manager.map(Address::Unix);
        config.grace = PATIENCE;
        config.restart.base = RESTART;
        config.restart.cap = RESTART;
        config
    }
}

/// What orders are about.
struct Desk {
    manager: Manager,
    acceptor: tokio::sync::Mutex<Option<Acceptor>>,
    pool: Option<Pool>,
}

async fn answer_all(connection: UnixStream, desk: Arc<Desk>) {
    let (orders, mut answers) = connection.into_split();
    let mut orders = BufReader::new(orders).lines();
    while let Ok(Some(line)) = orders.next_line().await {
        let done = match serde_json::from_str(&line) {
            Ok(order) => desk.carry_out(order).await,
            Err(error) => Err(error.to_string()),
        };
        let answer = desk.account(done.err());
        let line = serde_json::to_string(&answer).expect("an answer is JSON");
        let line = format!("{line}\n");
        if answers.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

impl Desk {
    async fn carry_out(&self, order: Order) -> Result<(), String> {
        match order {
            Order::Account => Ok(()),
            Order::Register {
                id,
                pool,
                address,
                pid,
            } => {
                let endpoint: Address = address.parse().map_err(|error| format!("{error}"))?;
                let mut context = WorkerContext::new(id.as_str()).in_pool(pool);
                context.python_pid = Some(pid);
                let registered = self.manager.register_worker(endpoint, context);
                registered.map(drop).map_err(|error| error.to_string())
            }
            Order::Unregister { id } => {
                let id = WorkerId::from(id);
                match self.manager.unregister_worker(&id).await {
                    true => Ok(()),
                    false => Err(format!("no worker {id}")),
                }
            }
            Order::Recycle { worker } => {
                let pool = self.pool.as_ref().ok_or("no pool")?;
                let recycled = pool.recycle(&worker).await;
                recycled.map_err(|error| error.to_string())
            }
            Order::End => {
                if let Some(acceptor) = self.acceptor.lock().await.take() {
                    acceptor.stop().await;
                }
                if let Some(pool) = &self.pool {
                    pool.shutdown(PATIENCE).await;
                }
                match self.manager.shutdown(PATIENCE).await {
                    true => Ok(()),
                    false => Err("not quiet in time".to_owned()),
                }
            }
        }
    }

    fn account(&self, error: Option<String>) -> Answer {
        let workers = self.pool.as_ref().map(Pool::status);
        let workers = workers.into_iter().flat_map(|status| status.workers);
        let streams = self.manager.list_streams().into_iter();
        Answer {
            error,
            incarnations: incarnations(&self.manager),
            pools: pools(&self.manager),
            workers: workers
                .map(|worker| PoolWorker {
                    id: worker.worker_id,
                    pid: worker.pid,
                    ready: worker.state == WorkerState::Ready,
                })
                .collect(),
            streams: streams
                .map(|stream| StreamOf {
                    id: stream.worker_id.to_string(),
                    pid: stream.pid,
                    streaming: stream.state == StreamState::Streaming
                        && !stream.incarnation.is_empty(),
                })
                .collect(),
        }
    }
}
