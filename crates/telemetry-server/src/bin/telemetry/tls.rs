//! `telemetry tls init`: an authority and certificates for a try, or for machines of one's own.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use telemetry_server::telemetry_tls::{Authority, Holder};

use crate::failure::Failure;

/// Hosts that the manager's certificate is for, unless others are named.
const HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// What the worker's certificate is for, unless others are named.
const WORKER: &str = "worker";
/// Mode of a key.
const PRIVATE: u32 = 0o600;
/// Mode of a certificate.
const PUBLIC: u32 = 0o644;

/// Certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum Tls {
    /// Make an authority, and certificates of a manager and of workers; for development, since the authority's key
    /// lies beside them. An authority that is there already is used again, certificates are replaced.
    Init(Init),
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Where the files go; it is made.
    #[arg(value_name = "DIR")]
    into: PathBuf,
    /// A name or IP under which workers reach the manager; may be repeated. Default: localhost, 127.0.0.1, ::1
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// A worker that gets a certificate of its own; may be repeated. Default: worker
    #[arg(long = "worker", value_name = "NAME")]
    workers: Vec<String>,
}

pub(crate) fn run(task: &Tls) -> Result<(), Failure> {
    let Tls::Init(init) = task;
    let hosts: Vec<&str> = match init.hosts.is_empty() {
        true => HOSTS.to_vec(),
        false => init.hosts.iter().map(String::as_str).collect(),
    };
    let workers: Vec<&str> = match init.workers.is_empty() {
        true => vec![WORKER],
        false => init.workers.iter().map(String::as_str).collect(),
    };
    for name in &workers {
        check(name)?;
    }
    let into = std::path::absolute(&init.into).map_err(Failure::of)?;
    let files = Files { into: &into };
    files.make_place()?;
    let authority = files.authority()?;
    let mut out = io::stdout().lock();
    let manager = Holder::new("manager", &hosts);
    for (file, holder) in std::iter::once(("manager", manager))
        .chain(workers.iter().map(|name| (*name, Holder::new(*name, &[]))))
    {
        let issued = authority.issue(&holder).map_err(Failure::of)?;
        files.write(&format!("{file}.key"), &issued.key, PRIVATE)?;
        files.write(&format!("{file}.pem"), &issued.cert, PUBLIC)?;
        writeln!(
            out,
            "wrote {0}/{file}.pem and {0}/{file}.key",
            into.display()
        )?;
    }
    writeln!(
        out,
        "
for the manager's configuration:

[tls]
cert = {cert:?}
key = {key:?}
client_ca = {ca:?}

[accept]
listen = \"0.0.0.0:7443\"

for the environment of worker {worker}:

TELEMETRY_MANAGER={host}:7443
TELEMETRY_TLS_CA={ca}
TELEMETRY_TLS_CERT={dir}/{worker}.pem
TELEMETRY_TLS_KEY={dir}/{worker}.key",
        cert = into.join("manager.pem"),
        key = into.join("manager.key"),
        ca = into.join("ca.pem").display(),
        dir = into.display(),
        worker = workers[0],
        host = hosts[0],
    )?;
    Ok(())
}

/// A name becomes that of a file.
fn check(name: &str) -> Result<(), Failure> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(is_plain) {
        return Err(Failure::Usage(format!(
            "--worker {name:?} is not allowed; letters, digits, '-', '_' and '.' are, and no '.' in front"
        )));
    }
    if ["ca", "manager"].contains(&name) {
        return Err(Failure::Usage(format!(
            "--worker {name:?} is the name of another file; choose another"
        )));
    }
    Ok(())
}

/// The files of one directory.
struct Files<'a> {
    into: &'a Path,
}

impl Files<'_> {
    fn make_place(&self) -> Result<(), Failure> {
        fs::create_dir_all(self.into).map_err(|error| self.failed("", &error))
    }

    /// The authority that is there, or a new one.
    fn authority(&self) -> Result<Authority, Failure> {
        let read = |name: &str| match fs::read_to_string(self.into.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).map_err(|error| self.failed(name, &error)),
        };
        match (read("ca.pem")?, read("ca.key")?) {
            (Some(certificate), Some(key)) => {
                Authority::load(&certificate, &key).map_err(|error| self.failed("ca.key", &error))
            }
            (None, None) => {
                let authority = Authority::new().map_err(Failure::of)?;
                self.write("ca.key", &authority.key(), PRIVATE)?;
                self.write("ca.pem", authority.certificate(), PUBLIC)?;
                Ok(authority)
            }
            (there, _) => {
                let (there, missing) = match there {
                    Some(_) => ("ca.pem", "ca.key"),
                    None => ("ca.key", "ca.pem"),
                };
                Err(Failure::Failed(format!(
                    "{} is there and {missing} is not; put both there, or take it away for a new authority",
                    self.into.join(there).display()
                )))
            }
        }
    }

    /// Writes a file; whoever reads it meanwhile sees the old one or the new one.
    fn write(&self, name: &str, content: &str, mode: u32) -> Result<(), Failure> {
        let draft = self.into.join(format!(".{name}.new"));
        let written = || {
            let _left_by_a_dead_one = fs::remove_file(&draft);
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(mode);
            let mut file = options.open(&draft)?;
            // Whatever the umask says.
            file.set_permissions(Permissions::from_mode(mode))?;
            file.write_all(content.as_bytes())?;
            fs::rename(&draft, self.into.join(name))
        };
        written().map_err(|error| self.failed(name, &error))
    }

    fn failed(&self, name: &str, error: &dyn std::fmt::Display) -> Failure {
        Failure::Failed(format!("{}: {error}", self.into.join(name).display()))
    }
}
