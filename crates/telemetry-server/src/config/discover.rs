//! `[[discover]]`: lists of workers that are dialled.

use std::path::PathBuf;

use telemetry_tls::TlsConfig;

use super::error::ConfigError;
use super::pool_name;
use super::section::Section;
use super::tls::dialled;
use crate::discover::{DEFAULT_DNS_INTERVAL, DiscoveryConfig, ListSource};

/// Port numbers that can be dialled.
const PORTS: std::ops::RangeInclusive<usize> = 1..=65_535;

/// One section; `earlier`: those before it in the file.
pub(super) fn read(
    section: &Section<'_>,
    earlier: &[DiscoveryConfig],
    otherwise: &TlsConfig,
) -> Result<DiscoveryConfig, ConfigError> {
    let kind = section.required("kind")?;
    let source = match kind.as_str() {
        "file" => ListSource::File {
            path: PathBuf::from(section.required("path")?),
        },
        "dns" => ListSource::Dns {
            name: name(section)?,
            port: port(section)?,
            interval: section
                .duration("interval")?
                .unwrap_or(DEFAULT_DNS_INTERVAL),
        },
        _ => {
            return Err(section.invalid(
                "kind",
                format!("{kind:?} is not allowed; it must be \"file\" or \"dns\""),
            ));
        }
    };
    let mut config = DiscoveryConfig::new(source);
    config.pool = pool_name(section)?;
    config.tls = dialled(section, otherwise)?;
    config.insecure = section.flag("insecure")?.unwrap_or(false);
    section.finish()?;
    if config.insecure && config.tls.is_some() {
        return Err(section.invalid(
            "insecure",
            "workers are dialled with TLS; remove one of both",
        ));
    }
    let list = config.source.to_string();
    if earlier.iter().any(|other| other.source.to_string() == list) {
        return Err(section.refuse(format!("{list} is followed twice; name each list once")));
    }
    Ok(config)
}

/// A name to be resolved.
fn name(section: &Section<'_>) -> Result<String, ConfigError> {
    let name = section.required("name")?;
    // What can be dialled with a port is a name or an address.
    let is_name = |name: &str| {
        format!("{name}:1")
            .parse::<telemetry_core::Address>()
            .is_ok()
    };
    if !is_name(&name) || name.contains(['/', ':']) {
        return Err(section.invalid(
            "name",
            format!("{name:?} is no name of a host, such as \"workers.example\"; the port is a key of its own"),
        ));
    }
    Ok(name)
}

fn port(section: &Section<'_>) -> Result<u16, ConfigError> {
    let port = section.whole_number("port", PORTS)?;
    let port = port.and_then(|port| u16::try_from(port).ok());
    port.ok_or_else(|| section.missing("port"))
}
