//! Workers that something else lists: a file as Prometheus reads it (`file_sd`), or the addresses of a name.
//!
//! Each one listed is registered and dialled, and unregistered when it is not listed any more. An answer that is
//! empty, or none at all, changes nothing: the workers of the last good one stay, and how old that is is shown.
//! Uses the manager's public handle only; where a worker may be is the manager's rule.

mod dns;
mod file;
mod file_sd;
mod naming;
mod yaml;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::identity::WorkerTls;
use crate::manager::Manager;
use crate::targets::{Target, Targets, Terms};
use dns::Dns;
use file::ListFile;

/// Most workers of one list; further ones are not dialled, which is said.
pub const MAX_TARGETS: usize = 1_024;
/// How long a worker has to be off its list before it is taken for gone.
pub const UNLISTED_AFTER: Duration = Duration::from_secs(1);
/// Time between two questions for a name unless it is said otherwise.
pub const DEFAULT_DNS_INTERVAL: Duration = Duration::from_secs(30);
/// Longest list in a file, in bytes.
pub const MAX_LIST_BYTES: u64 = 1 << 20;

/// Where workers are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListSource {
    /// A file with a list of `{targets, labels}`: YAML if its name ends with `.yml` or `.yaml`, else JSON. It is read
    /// again when it changes.
    File {
        /// The file; it need not be there yet.
        path: PathBuf,
    },
    /// The addresses of a name, as the system resolves it (A and AAAA).
    Dns {
        /// The name.
        name: String,
        /// The port at all of them.
        port: u16,
        /// Time between two questions; at least a second.
        interval: Duration,
    },
}

/// A list of workers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiscoveryConfig {
    /// Where it is.
    pub source: ListSource,
    /// Pool of the workers on it, unless the list says otherwise. Also the first part of the ids of those that have
    /// none on the list: `{pool}-{host}-{port}`.
    pub pool: Option<String>,
    /// With what TLS its workers are dialled at ports; without any, on this machine only. What must be in a worker's
    /// certificate is the label `__tls_server_name__` of a file, else the name that was given here, else the name that
    /// was resolved, else the host of its address.
    pub tls: Option<WorkerTls>,
    /// Whether its workers may be dialled without TLS beyond this machine, where all that is said can be read and changed
    /// on the way; said aloud, once.
    pub insecure: bool,
}

impl DiscoveryConfig {
    /// A list without a pool, of workers on this machine.
    #[must_use]
    pub fn new(source: ListSource) -> Self {
        Self {
            source,
            pool: None,
            tls: None,
            insecure: false,
        }
    }
}

/// What is known of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiscoveryInfo {
    /// Which one: the path of its file, or name and port.
    pub list: String,
    /// Workers of it that are registered.
    pub workers: usize,
    /// When it last had workers on it, nanoseconds since the Unix epoch.
    pub answered_ns: Option<i64>,
    /// Why what is registered is not what is listed now, if that is so.
    pub fault: Option<String>,
}

impl DiscoveryInfo {
    /// How old the list is that its workers are from, at this time (nanoseconds since the Unix epoch).
    #[must_use]
    pub fn age(&self, now_ns: i64) -> Option<Duration> {
        let nanos = now_ns.saturating_sub(self.answered_ns?);
        Some(Duration::from_nanos(
            u64::try_from(nanos).unwrap_or_default(),
        ))
    }
}

/// Follows a list until it is dropped or stopped. Its workers stay registered when it is dropped.
#[derive(Debug)]
pub struct Discovery {
    stop: watch::Sender<bool>,
    info: watch::Receiver<DiscoveryInfo>,
    task: JoinHandle<()>,
}

impl Discovery {
    /// Starts to follow a list. Needs a tokio runtime with IO and time.
    ///
    /// Never fails: what is wrong with a list may be mended while the manager runs. It is logged, and in
    /// [`info`](Self::info).
    #[must_use]
    pub fn start(manager: &Manager, config: DiscoveryConfig) -> Self {
        let list = config.source.to_string();
        let (stop, stopped) = watch::channel(false);
        let (tell, info) = watch::channel(DiscoveryInfo {
            list: list.clone(),
            workers: 0,
            answered_ns: None,
            fault: None,
        });
        if config.insecure && config.tls.is_none() {
            tracing::warn!(%list, "{}", Terms::INSECURE);
        }
        let tls = match (&config.source, config.tls) {
            (ListSource::Dns { name, .. }, Some(tls)) if !tls.is_named() => Some(tls.named(name)),
            (_, tls) => tls,
        };
        let terms = Terms {
            tls,
            insecure: config.insecure,
        };
        let follower = Follower {
            manager: manager.clone(),
            list: match config.source {
                ListSource::File { path } => {
                    List::File(ListFile::new(manager.dir_events(), path, config.pool))
                }
                ListSource::Dns {
                    name,
                    port,
                    interval,
                } => List::Dns(Dns::new(name, port, interval, config.pool)),
            },
            targets: Targets::dialled(manager, list, terms, UNLISTED_AFTER, MAX_TARGETS),
            tell,
        };
        Self {
            stop,
            info,
            task: tokio::spawn(follower.run(stopped)),
        }
    }

    /// What is known of the list.
    #[must_use]
    pub fn info(&self) -> DiscoveryInfo {
        self.info.borrow().clone()
    }

    /// The same from now on, as long as the list is followed.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<DiscoveryInfo> {
        self.info.clone()
    }

    /// Stops following, and unregisters the workers of the list.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // It can only have been aborted together with the runtime.
        let _ended = self.task.await;
    }
}

impl std::fmt::Display for ListSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { path } => write!(f, "{}", path.display()),
            Self::Dns { name, port, .. } => write!(f, "{name}:{port}"),
        }
    }
}

/// What a list says when it is asked.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// These workers, and what is wrong with others.
    Listed(Vec<Target>, Vec<String>),
    /// Nothing that could be used.
    Fault(String),
}

/// Whom to ask.
enum List {
    File(ListFile),
    Dns(Dns),
}

/// The task behind a [`Discovery`].
struct Follower {
    manager: Manager,
    list: List,
    targets: Targets,
    tell: watch::Sender<DiscoveryInfo>,
}

impl Follower {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            let list = async {
                match &mut self.list {
                    List::File(file) => file.next().await,
                    List::Dns(dns) => dns.next().await,
                }
            };
            tokio::select! {
                answer = list => self.take(answer),
                () = self.targets.due() => {
                    self.targets.attend();
                    let workers = self.targets.len();
                    self.tell.send_modify(|info| info.workers = workers);
                }
                stop = stopped.changed() => match stop {
                    Ok(()) => break,
                    Err(_dropped) => return,
                },
            }
        }
        self.targets.stop().await;
    }

    /// Follows an answer, unless it is of no use.
    fn take(&mut self, answer: Answer) {
        let now_ns = self.manager.dispatcher().clock().unix_nanos();
        let fault = match answer {
            Answer::Listed(targets, faults) if !targets.is_empty() => {
                self.targets.follow(targets, faults);
                let workers = self.targets.len();
                self.tell.send_modify(|info| {
                    info.workers = workers;
                    info.answered_ns = Some(now_ns);
                    info.fault = None;
                });
                return;
            }
            Answer::Listed(_, faults) if faults.is_empty() => "it lists no worker".to_owned(),
            Answer::Listed(_, mut faults) => {
                // The others are like it.
                let first = faults.swap_remove(0);
                format!("it lists no worker that could be dialled: {first}")
            }
            Answer::Fault(fault) => fault,
        };
        let mut is_news = false;
        self.tell.send_modify(|info| {
            is_news = info.fault.as_ref() != Some(&fault);
            info.fault = Some(fault);
        });
        let info = self.tell.borrow();
        if is_news {
            let fault = info.fault.as_deref();
            let age = info.age(now_ns);
            let age = age.map(|age| format!("{:?}", Duration::from_secs(age.as_secs())));
            tracing::warn!(list = %info.list, fault, kept = info.workers, age, "list of workers is of no use");
        }
    }
}

#[cfg(test)]
mod tests;
