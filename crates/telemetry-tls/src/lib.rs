//! TLS between telemetry workers and managers, the same for both: which files, when they are read again,
//! whose name is in a certificate, and what went wrong in words for people.
//!
//! [`ServerTls`] listens, [`ClientTls`] connects; whoever serves gRPC on the connection afterwards is not
//! their business. Both are made of a [`TlsConfig`]. Certificates are verified by `rustls`, with the
//! primitives of `ring`. There is no trust but in the authorities that a file names.
//!
//! ```no_run
//! use telemetry_tls::{ClientTls, TlsConfig};
//!
//! # async fn example(socket: tokio::io::DuplexStream) -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = TlsConfig::default();
//! config.ca = Some("/etc/telemetry/ca.pem".into());
//! config.cert = Some("/etc/telemetry/web-1.pem".into());
//! config.key = Some("/etc/telemetry/web-1.key".into());
//! let tls = ClientTls::new(&config, &[])?;
//! tls.look();
//! let stream = tls.connect(socket, "telemetry.example").await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Rotation
//!
//! [`ServerTls::look`] and [`ClientTls::look`] look at the files, at most once a second, and read them again when
//! they have changed. What cannot be used is said once, and what was read last stays in use. Connections that are open stay.
//! Nothing is resumed: each connection shows its certificate anew, so one that is not to be trusted any
//! more ends with its connections.
//!
//! # Floors
//!
//! From the ground up; a module uses only modules of floors below its own, which a test checks.
//!
//! 1. `authority`, `config`, `name`, `words`
//! 2. `material`, `stream`
//! 3. `rotating`
//! 4. `client`, `server`

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "authority")]
mod authority;
mod client;
mod config;
mod material;
#[cfg(feature = "names")]
mod name;
mod rotating;
mod server;
mod stream;
#[cfg(all(test, feature = "authority", feature = "names"))]
mod tests;
mod words;

#[cfg(feature = "authority")]
pub use authority::{Authority, AuthorityError, Holder, Issued};
pub use client::ClientTls;
pub use config::{TlsConfig, TlsError, TlsVersion, TlsVersionError};
#[cfg(feature = "names")]
pub use name::{CertificateName, NameError};
pub use server::{FirstBytes, ServerTls};
pub use stream::ClientStream;
#[doc(no_inline)]
pub use tokio_rustls::server::TlsStream as ServerStream;
pub use words::explain;
#[doc(no_inline)]
pub use {rustls, tokio};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
