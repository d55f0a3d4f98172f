//! `[tls]`, and the same shape wherever TLS is spoken: files, the name of the other side, the lowest version.
//!
//! What a place does not say is as `[tls]` says.

use std::path::{Path, PathBuf};

use telemetry_tls::TlsConfig;

use super::error::ConfigError;
use super::section::Section;
use crate::identity::WorkerTls;

/// Has no certificate be asked for, whatever `[tls]` says.
const OFF: &str = "off";

/// Reads a table over what holds without it.
pub(super) fn tls(section: &Section<'_>, otherwise: &TlsConfig) -> Result<TlsConfig, ConfigError> {
    let mut tls = otherwise.clone();
    let file = |key| section.parsed(key, path);
    if let Some(cert) = file("cert")? {
        // A key belongs to its certificate.
        tls.cert = Some(cert);
        tls.key = None;
    }
    tls.key = file("key")?.or(tls.key);
    tls.ca = file("ca")?.or(tls.ca);
    let client_ca = section.parsed("client_ca", |text| match text {
        OFF => Ok(None),
        _ => path(text).map(Some),
    })?;
    tls.client_ca = client_ca.unwrap_or(tls.client_ca);
    tls.server_name = section.text("server_name")?.or(tls.server_name);
    let lowest = section.parsed("min_version", str::parse)?;
    tls.min_version = lowest.unwrap_or(tls.min_version);
    section.finish()?;
    if tls.cert.is_some() != tls.key.is_some() {
        let missing = if tls.key.is_none() { "key" } else { "cert" };
        return Err(section.missing(missing));
    }
    Ok(tls)
}

/// With what TLS workers are dialled: `tls = true` as `[tls]` says, or a table over that; none without either.
pub(super) fn dialled(
    section: &Section<'_>,
    otherwise: &TlsConfig,
) -> Result<Option<WorkerTls>, ConfigError> {
    let (is_on, own) = section.flag_or_section("tls")?;
    let config = match own {
        Some(own) => tls(&own, otherwise)?,
        None => otherwise.clone(),
    };
    if !is_on {
        return Ok(None);
    }
    if config.ca.is_none() {
        return Err(section.invalid(
            "tls",
            "needs the authorities of the workers' certificates; set ca here or in [tls] (client_ca is for those that \
             connect)",
        ));
    }
    let tls = WorkerTls::new(config);
    tls.map(Some).map_err(|error| section.invalid("tls", error))
}

fn path(text: &str) -> Result<PathBuf, &'static str> {
    if text.is_empty() {
        return Err("is empty; expected the path of a PEM file");
    }
    // It is read again later.
    Ok(std::path::absolute(text).unwrap_or_else(|_| Path::new(text).to_owned()))
}
