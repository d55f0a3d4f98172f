//! `[[endpoint]]`: workers that somebody else runs, and that are dialled.

use std::path::PathBuf;

use telemetry_core::Address;
use telemetry_tls::TlsConfig;

use super::error::ConfigError;
use super::section::Section;
use super::tls::dialled;
use super::{pool_name, usable};
use crate::identity::{WorkerContext, WorkerTls};
use crate::pool::PoolConfig;
use crate::targets::Terms;
use crate::token::{self, TokenFileError};

/// `[[endpoint]]`
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EndpointSection {
    /// Id of the worker.
    pub worker_id: String,
    /// Where it listens.
    pub address: Address,
    /// Pool it belongs to.
    pub pool: Option<String>,
    /// File with the token that is shown to it, if it listens at a port.
    pub token_file: Option<PathBuf>,
    /// With what TLS it is dialled, if it listens at a port.
    pub tls: Option<WorkerTls>,
    /// Whether the token is shown whoever listens there, and the worker dialled without TLS beyond this machine.
    pub insecure: bool,
}

impl EndpointSection {
    /// As whom it is registered. Reads the file of the token.
    ///
    /// # Errors
    /// [`TokenFileError`].
    pub fn context(&self) -> Result<WorkerContext, TokenFileError> {
        let mut context = WorkerContext::new(self.worker_id.as_str());
        context.pool_name.clone_from(&self.pool);
        context.insecure = self.insecure;
        context.tls.clone_from(&self.tls);
        if self.insecure && !self.address.is_local() {
            tracing::warn!(worker = %self.worker_id, address = %self.address, "{}", Terms::INSECURE);
        }
        if let Some(file) = &self.token_file {
            let (token, owner) = token::read_with_owner(file)?;
            (context.token, context.token_owner) = (Some(token), Some(owner));
        }
        Ok(context)
    }
}

/// One section; `earlier`: those before it in the file.
pub(super) fn read(
    section: &Section<'_>,
    earlier: &[EndpointSection],
    pools: &[PoolConfig],
    otherwise: &TlsConfig,
) -> Result<EndpointSection, ConfigError> {
    let worker_id = section.required("worker_id")?;
    usable(section, "worker_id", &worker_id)?;
    if earlier.iter().any(|other| other.worker_id == worker_id) {
        return Err(section.invalid(
            "worker_id",
            format!("{worker_id:?} is used twice; name each worker once"),
        ));
    }
    if let Some(PoolConfig { name, size, .. }) = pools.iter().find(|pool| pool.has(&worker_id)) {
        return Err(section.invalid(
            "worker_id",
            format!(
                "{worker_id:?} is a worker of pool {name:?} ({name}-1 to {name}-{size}); \
                 use another id"
            ),
        ));
    }
    let address = section.parsed("address", str::parse::<Address>)?;
    let pool = pool_name(section)?;
    let address = address.ok_or_else(|| section.missing("address"))?;
    address
        .check()
        .map_err(|problem| section.invalid("address", problem))?;
    let token_file = section.text("token_file")?.map(PathBuf::from);
    let tls = dialled(section, otherwise)?;
    let insecure = section.flag("insecure")?.unwrap_or(false);
    section.finish()?;
    let endpoint = EndpointSection {
        worker_id,
        address,
        pool,
        token_file,
        tls,
        insecure,
    };
    match endpoint.address.socket_path() {
        Some(_) => check_socket(section, &endpoint)?,
        None => check_port(section, &endpoint)?,
    }
    Ok(endpoint)
}

/// Refuses what is of no use at a unix socket.
fn check_socket(section: &Section<'_>, endpoint: &EndpointSection) -> Result<(), ConfigError> {
    if endpoint.token_file.is_some() {
        return Err(section.invalid(
            "token_file",
            "nothing is shown at a unix socket, where the system tells who connects; remove it",
        ));
    }
    if endpoint.insecure {
        return Err(section.invalid("insecure", "a unix socket is nobody else's; remove it"));
    }
    if endpoint.tls.is_some() {
        return Err(section.invalid("tls", "nobody is on the way to a unix socket; remove it"));
    }
    Ok(())
}

/// Refuses what everybody on the way could read.
fn check_port(section: &Section<'_>, endpoint: &EndpointSection) -> Result<(), ConfigError> {
    let address = &endpoint.address;
    if endpoint.insecure && endpoint.tls.is_some() {
        return Err(section.invalid(
            "insecure",
            "the worker is dialled with TLS; remove one of both",
        ));
    }
    if address.is_local() || endpoint.insecure || endpoint.tls.is_some() {
        return Ok(());
    }
    Err(section.invalid(
        "address",
        format!(
            "{address} is not on this machine, and a stream without TLS is open to everybody on the way; say tls = \
             true, or use a unix socket or a loopback address, such as that of a tunnel; or say insecure = true, and \
             events and token can be read and changed on the way"
        ),
    ))
}
