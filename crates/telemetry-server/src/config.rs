//! The manager's TOML file: every section, its defaults, and messages that say file, line, key and
//! what is allowed.
//!
//! Reads and checks; starts nothing. Values become the config types of the rooms they are for.

mod accept;
mod catalog;
mod discover;
mod endpoint;
mod error;
mod found;
mod http;
mod log;
mod manager;
mod policy;
mod section;
#[cfg(test)]
mod tests;
mod tls;
mod tokens;
mod users;
mod watch;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use telemetry_core::catalog::{Catalog, PatternLimits, PatternSet};
use telemetry_tls::TlsConfig;
use toml::de::DeTable;

use crate::discover::DiscoveryConfig;
use crate::identity::{Labels, MAX_LABELS, identity_fault, label_fault};
use crate::pipeline::CatalogMode;
use crate::pool::{MAX_POOL_SIZE, OnManagerExit, PoolConfig, Transport, WorkerTelemetry};

pub use accept::AcceptSection;
pub use endpoint::EndpointSection;
pub use error::{ConfigError, Place};
pub use found::read_found;
pub use http::HttpSection;
pub use log::{LogFilter, LogFilterError, LogFormat, OwnLogSection};
pub use policy::PolicySection;
pub use watch::WatchSection;

use error::Text;
use manager::manager;
use section::Section;

/// Where `/metrics` and the API listen unless the file says otherwise.
pub const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);

/// Most series per metric unless the file says otherwise.
const DEFAULT_SERIES_LIMIT: usize = 2_000;

/// Largest queue a worker may be given, in events.
const MAX_BUFFER: usize = 1_048_576;

/// Everything the file says.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// `[manager] node`: the node name in metadata; the host's name when absent.
    pub node: Option<String>,
    /// `[manager] run_dir`: the manager's own directory, to be held with
    /// [`RunDir::lock`](crate::pool::RunDir::lock); the default is a directory named as the file, below
    /// `$XDG_RUNTIME_DIR/telemetry`, `$RUNTIME_DIRECTORY` itself, or below `/run/telemetry` for root.
    /// Absent where there is no place for it; [`load`](Self::load) refuses pools then.
    pub run_dir: Option<PathBuf>,
    /// `[manager] on_manager_exit`: what becomes of the pools' workers when the manager dies. Whoever
    /// starts the pools tells them, together with the [`exec_shim`](PoolConfig::exec_shim).
    pub on_manager_exit: OnManagerExit,
    /// `[accept]`: where workers dial in; on without being asked for where there is a run_dir, absent if
    /// it is switched off.
    pub accept: Option<AcceptSection>,
    /// `[tls]`: what holds wherever TLS is spoken and nothing else is said.
    pub tls: TlsConfig,
    /// `[manager] dials_per_second`: most dials per second over all workers, first dials apart.
    pub dials_per_second: u32,
    /// `[log]`: what the manager says of itself.
    pub own_log: OwnLogSection,
    /// `[http]`; absent: no HTTP server.
    pub http: Option<HttpSection>,
    /// `[telemetry]`: what spawned workers are told, and the initial desired control of all
    /// workers.
    pub telemetry: WorkerTelemetry,
    /// `[policy]`: rules, and where live ones are kept.
    pub policy: PolicySection,
    /// `[[pool]]`, in the order of the file.
    pub pools: Vec<PoolConfig>,
    /// `[[endpoint]]`: workers that somebody else runs.
    pub endpoints: Vec<EndpointSection>,
    /// `[[discover]]`: lists of workers that somebody else runs.
    pub discover: Vec<DiscoveryConfig>,
    /// `[watch]`: a directory in which workers appear as sockets.
    pub watch: Option<WatchSection>,
    /// `[exporters.log]`; absent: events are not logged.
    pub log: Option<LogSection>,
    /// `[exporters.prometheus] series_limit`: most series per metric, then an overflow series.
    pub series_limit: usize,
    /// The built-in catalog with what `[catalog]` adds.
    pub catalog: Arc<Catalog>,
    /// `[catalog] mode`: what becomes of events that the catalog does not have.
    pub catalog_mode: CatalogMode,
    /// `catalog` of those `[[pool]]` that have it, by the pool's name.
    pub pool_catalog_modes: BTreeMap<String, CatalogMode>,
}

/// `[exporters.log]`
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogSection {
    /// Level the events are logged at.
    pub level: tracing::Level,
    /// Event names that are logged.
    pub patterns: Vec<String>,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`]: the file cannot be read, the first mistake in it, or there is no place for the
    /// directory of its pools.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let content = fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::of(&content, path)
    }

    /// As [`load`](Self::load), of a file that was found in the working directory and not named.
    ///
    /// # Errors
    /// [`ConfigError`]; also if somebody else than we or root could have written it.
    pub fn load_found(path: &Path) -> Result<Self, ConfigError> {
        Self::of(&read_found(path)?, path)
    }

    fn of(content: &str, path: &Path) -> Result<Self, ConfigError> {
        let config = Self::parse(content, &path.to_string_lossy())?;
        if config.run_dir.is_none() && !config.pools.is_empty() {
            return Err(ConfigError::NoRunDir {
                path: path.to_owned(),
            });
        }
        Ok(config)
    }

    /// Checks the content of a file; `file` is what errors call it.
    ///
    /// # Errors
    /// The first mistake found.
    pub fn parse(content: &str, file: &str) -> Result<Self, ConfigError> {
        let text = Text { file, content };
        let parsed = DeTable::parse(content)
            .map_err(|error| text.error(&error.span().unwrap_or(0..0), error.message().trim()))?;
        let whole = Section::whole(text, &parsed);
        let manager = manager(whole.section("manager")?, file)?;
        let own_log = whole.section("log")?;
        let own_log = own_log.as_ref().map(log::read).transpose()?;
        let tls = match whole.section("tls")? {
            Some(section) => tls::tls(&section, &TlsConfig::default())?,
            None => TlsConfig::default(),
        };
        let accept = whole.section("accept")?;
        let accept = accept::accept(accept, manager.run_dir.as_deref(), &tls)?;
        let http = whole.section("http")?;
        let http = http.map(|it| http::http(&it, manager.run_dir.as_deref(), &tls));
        let http = http.transpose()?;
        let telemetry = whole
            .section("telemetry")?
            .map(telemetry)
            .transpose()?
            .unwrap_or_default();
        let policy = policy::policy(whole.section("policy")?, manager.run_dir.as_deref())?;
        let mut pools = Vec::new();
        let mut pool_catalog_modes = BTreeMap::new();
        for section in whole.sections("pool")? {
            let mode = catalog::mode(&section, "catalog")?;
            let run_dir = manager.run_dir.as_deref().unwrap_or(Path::new(""));
            let mut pool = pool(&section, &pools, &telemetry, run_dir)?;
            pool.manager = accept.as_ref().and_then(|accept| accept.socket.clone());
            pool_catalog_modes.extend(mode.map(|mode| (pool.name.clone(), mode)));
            pools.push(pool);
        }
        let mut endpoints = Vec::new();
        for section in whole.sections("endpoint")? {
            endpoints.push(endpoint::read(&section, &endpoints, &pools, &tls)?);
        }
        tokens::check(&whole, accept.as_ref(), http.as_ref(), &endpoints)?;
        let mut discovered = Vec::new();
        for section in whole.sections("discover")? {
            discovered.push(discover::read(&section, &discovered, &tls)?);
        }
        let watch = match whole.section("watch")? {
            Some(section) => {
                let pools_dir = manager.run_dir.as_deref().filter(|_| !pools.is_empty());
                let (accept, http) = (accept.as_ref(), http.as_ref());
                Some(watch::watch(&section, pools_dir, accept, http)?)
            }
            None => None,
        };
        let (log, series_limit) = exporters(whole.section("exporters")?)?;
        let (catalog, catalog_mode) = catalog::read(whole.section("catalog")?.as_ref())?;
        whole.finish()?;
        Ok(Self {
            node: manager.node,
            run_dir: manager.run_dir,
            on_manager_exit: manager.on_exit,
            accept,
            tls,
            dials_per_second: manager.dials_per_second,
            own_log: own_log.unwrap_or_default(),
            http,
            telemetry,
            policy,
            pools,
            endpoints,
            discover: discovered,
            watch,
            log,
            series_limit,
            catalog,
            catalog_mode,
            pool_catalog_modes,
        })
    }
}

fn telemetry(section: Section<'_>) -> Result<WorkerTelemetry, ConfigError> {
    let default = WorkerTelemetry::default();
    let transport = section.parsed("transport", |word| match word {
        "stream" => Ok(Transport::Stream),
        "stderr" => Ok(Transport::Stderr),
        _ => Err(format!(
            "{word:?} is not allowed; it must be \"stream\" or \"stderr\""
        )),
    })?;
    let excluded_events = patterns(&section, "excluded_events")?.unwrap_or_default();
    let telemetry = WorkerTelemetry {
        enabled: section.flag("enabled")?.unwrap_or(default.enabled),
        transport: transport.unwrap_or(default.transport),
        sampling_rate: section
            .number("sampling_rate", 0.0..=1.0)?
            .unwrap_or(default.sampling_rate),
        max_buffer: section.whole_number("max_buffer", 1..=MAX_BUFFER)?,
        excluded_events,
        resource_interval: section.duration("resource_interval")?,
    };
    section.finish()?;
    Ok(telemetry)
}

fn pool(
    section: &Section<'_>,
    earlier: &[PoolConfig],
    telemetry: &WorkerTelemetry,
    run_dir: &Path,
) -> Result<PoolConfig, ConfigError> {
    let name = section.required("name")?;
    if earlier.iter().any(|pool| pool.name == name) {
        return Err(section.invalid(
            "name",
            format!("{name:?} is used twice; name each pool once"),
        ));
    }
    let command = section
        .list("command")?
        .ok_or_else(|| section.missing("command"))?;
    let mut pool = PoolConfig::new(name, command, run_dir);
    pool.telemetry = telemetry.clone();
    pool.size = section
        .whole_number("size", 1..=MAX_POOL_SIZE)?
        .unwrap_or(pool.size);
    pool.env = section.texts("env")?.unwrap_or_default();
    pool.labels = labels(section)?;
    pool.cwd = section.text("cwd")?.map(PathBuf::from);
    pool.grace = section.duration("grace")?.unwrap_or(pool.grace);
    pool.max_lifetime = section.duration("max_lifetime")?;
    pool.status_interval = section
        .duration("status_interval")?
        .unwrap_or(pool.status_interval);
    section.finish()?;
    pool.validate().map_err(|problem| section.refuse(problem))?;
    Ok(pool)
}

/// Labels of a pool.
fn labels(section: &Section<'_>) -> Result<Labels, ConfigError> {
    let labels = section.texts("labels")?.unwrap_or_default();
    if labels.len() > MAX_LABELS {
        let count = labels.len();
        let problem = format!("{count} labels are too many; at most {MAX_LABELS} are allowed");
        return Err(section.invalid("labels", problem));
    }
    for text in labels.iter().flat_map(|(key, value)| [key, value]) {
        if let Some(fault) = label_fault(text) {
            return Err(section.invalid("labels", format!("{text:?} {fault}")));
        }
    }
    Ok(labels.into_iter().collect())
}

/// The pool that workers of others are put into.
fn pool_name(section: &Section<'_>) -> Result<Option<String>, ConfigError> {
    let pool = section.text("pool")?;
    if let Some(pool) = &pool {
        usable(section, "pool", pool)?;
    }
    Ok(pool)
}

/// Refuses a worker id or pool name that the manager would refuse.
fn usable(section: &Section<'_>, key: &'static str, name: &str) -> Result<(), ConfigError> {
    match identity_fault(name) {
        Some(fault) => Err(section.invalid(key, format!("{name:?} {fault}"))),
        None => Ok(()),
    }
}

fn exporters(section: Option<Section<'_>>) -> Result<(Option<LogSection>, usize), ConfigError> {
    let Some(section) = section else {
        return Ok((None, DEFAULT_SERIES_LIMIT));
    };
    let log = section.section("log")?.map(event_log).transpose()?;
    let mut series_limit = DEFAULT_SERIES_LIMIT;
    if let Some(prometheus) = section.section("prometheus")? {
        series_limit = prometheus
            .whole_number("series_limit", 1..=1_000_000)?
            .unwrap_or(series_limit);
        prometheus.finish()?;
    }
    section.finish()?;
    Ok((log, series_limit))
}

fn event_log(section: Section<'_>) -> Result<LogSection, ConfigError> {
    let level = section.parsed("level", |word| {
        word.parse::<tracing::Level>()
            .map_err(|_| format!("{word:?} is not allowed; use error, warn, info, debug or trace"))
    })?;
    let patterns = patterns(&section, "patterns")?.unwrap_or_else(|| vec!["*".to_owned()]);
    section.finish()?;
    Ok(LogSection {
        level: level.unwrap_or(tracing::Level::INFO),
        patterns,
    })
}

/// A list of patterns that compile.
fn patterns(section: &Section<'_>, key: &'static str) -> Result<Option<Vec<String>>, ConfigError> {
    let Some(patterns) = section.list(key)? else {
        return Ok(None);
    };
    PatternSet::new(&patterns, PatternLimits::default())
        .map_err(|problem| section.invalid(key, problem))?;
    Ok(Some(patterns))
}
