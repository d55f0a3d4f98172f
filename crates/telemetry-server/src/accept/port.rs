//! A port at which workers of other machines dial in: TLS first, then the introduction as everywhere.
//!
//! Who does not speak TLS is told so in its own words, where it has some. What a certificate says of its
//! holder outweighs what that says of itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use telemetry_core::{
    Token,
    wire::{Introduction, IntroductionAnswer},
};
use telemetry_tls::{CertificateName, FirstBytes, ServerStream, ServerTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::answer::refused;
use super::certifies::Certifies;
use super::frame::INTRODUCTION_TIMEOUT;
use super::hall::{Hall, TurnedAway};
use super::lobby::{Lobby, Pause};
use crate::manager::{Caller, Manager, Refusal, origin};
use crate::session::{Accepted, Ancestry, Carrier, Life, Peer};

/// Time for the handshake; then the introduction has its own.
pub const TLS_TIMEOUT: Duration = INTRODUCTION_TIMEOUT;

/// Time for the last word to somebody without TLS, and to read what that had to say.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);
/// Most bytes that are read of it.
const MAX_UNREAD_BYTES: u64 = 8 * 1024;
/// What a client of HTTP is told.
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\r\n\
    This port speaks TLS, and workers dial in here.\n";

/// What is asked of those who dial in.
#[derive(Debug)]
pub(super) struct Checks {
    pub(super) tls: ServerTls,
    pub(super) certifies: Certifies,
    pub(super) token: Option<Token>,
}

/// Accepts at a port until it is stopped.
pub(super) async fn keep(
    manager: Manager,
    listener: TcpListener,
    checks: Checks,
    mut stopped: watch::Receiver<bool>,
) {
    let (hall, checks) = (Arc::new(Hall::of(manager, Vec::new())), Arc::new(checks));
    let mut lobby = Lobby::default();
    let mut visits = JoinSet::new();
    let mut pause = Pause::default();
    loop {
        let accepted = async {
            pause.over().await;
            listener.accept().await
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            // A visit that panicked has been told of.
            Some(_over) = visits.join_next() => continue,
            // A handle that was dropped stops it as well.
            _stop = stopped.changed() => break,
        };
        match accepted {
            Ok((stream, address)) => {
                pause.forget();
                let visit = Visit {
                    hall: Arc::clone(&hall),
                    checks: Arc::clone(&checks),
                    address,
                    accepted: Accepted::now(),
                };
                visits.spawn(visit.begin(stream, lobby.enter(origin(address))));
            }
            Err(error) => pause.begin(&error),
        }
    }
    drop(listener);
    lobby.close();
    while visits.join_next().await.is_some() {}
}

/// One connection, until its session has it or it is sent off.
struct Visit {
    hall: Arc<Hall>,
    checks: Arc<Checks>,
    address: SocketAddr,
    accepted: Accepted,
}

impl Visit {
    async fn begin(self, stream: TcpStream, mut ended: oneshot::Receiver<Refusal>) {
        let shaken = tokio::select! {
            biased;
            shaken = timeout(TLS_TIMEOUT, self.shake_hands(stream)) => shaken,
            Ok(why) = &mut ended => {
                return self.note(why, None, "others waited for their turn");
            }
        };
        let (mut stream, certificate) = match shaken {
            Ok(Some(shaken)) => shaken,
            Ok(None) => return,
            Err(_elapsed) => {
                let limit = TLS_TIMEOUT.as_secs();
                return self.note(Refusal::Slow, None, &format!("no TLS within {limit} s"));
            }
        };
        let peer = Peer::Remote {
            address: self.address,
            certificate: certificate.as_ref().map(ToString::to_string),
        };
        let introduced = self.hall.introduction(&mut stream, ended).await;
        let stream = Carrier::Tls(Box::new(stream));
        let introduction = match introduced {
            Ok(introduction) => introduction,
            Err(None) => return,
            Err(Some(no)) => return self.hall.turn_away(stream, &peer, &no).await,
        };
        match self.check(introduction, certificate.as_ref()) {
            Err(no) => self.hall.turn_away(stream, &peer, &no).await,
            Ok(introduction) => {
                let caller = Caller {
                    introduction,
                    peer,
                    pid: None,
                    life: Life::default(),
                    ancestry: Ancestry::default(),
                };
                let _served = self
                    .hall
                    .let_in(stream, caller, Ok(None), self.accepted)
                    .await;
            }
        }
    }

    /// Speaks TLS, and reads who the peer is; none if it was sent off.
    async fn shake_hands(
        &self,
        stream: TcpStream,
    ) -> Option<(ServerStream<TcpStream>, Option<CertificateName>)> {
        // What is sent is small and waited for.
        let _as_it_is = stream.set_nodelay(true);
        let mut first = [0; FirstBytes::ENOUGH];
        let seen = stream.peek(&mut first).await.unwrap_or(0);
        match FirstBytes::of(&first[..seen]) {
            FirstBytes::Tls => {}
            other => {
                self.without_tls(stream, other).await;
                return None;
            }
        }
        let checks = Arc::clone(&self.checks);
        // It fails only together with the runtime.
        let _looked = spawn_blocking(move || checks.tls.look()).await;
        let stream = match self.checks.tls.accept(stream).await {
            Ok(stream) => stream,
            Err(error) => {
                self.note(Refusal::Tls, None, &error.to_string());
                return None;
            }
        };
        let shown = stream.get_ref().1.peer_certificates();
        let name = shown.and_then(<[_]>::first).map(CertificateName::of);
        match name.transpose() {
            Ok(name) => Some((stream, name)),
            // The authority signs what it wants; only who is to be told apart needs a name.
            Err(_) if self.checks.certifies == Certifies::Nobody => Some((stream, None)),
            Err(error) => {
                let no = (Refusal::Certificate, refused(error.to_string()));
                let stream = Carrier::Tls(Box::new(stream));
                self.hall.turn_away(stream, &self.peer(None), &no).await;
                None
            }
        }
    }

    /// Whether a worker may be who it says it is; and who it is then.
    fn check(
        &self,
        introduction: Introduction,
        certificate: Option<&CertificateName>,
    ) -> Result<Introduction, TurnedAway> {
        if let Some(token) = &self.checks.token {
            let problem = match &introduction.token {
                None => "no token was shown; set TELEMETRY_TOKEN_FILE",
                Some(shown) if !token.is(shown.reveal().as_bytes()) => {
                    "the token that was shown is not the manager's; see TELEMETRY_TOKEN_FILE"
                }
                Some(_) => "",
            };
            if !problem.is_empty() {
                return Err((Refusal::Token, refused(problem)));
            }
        }
        let introduction = match certificate {
            Some(name) => self.checks.certifies.outweigh(introduction, name.id()),
            None => introduction,
        };
        Ok(introduction)
    }

    /// Says in plain words, to whom understands them, that this is a port for TLS.
    async fn without_tls(&self, mut stream: TcpStream, what: FirstBytes) {
        let reason = match what {
            FirstBytes::Introduction => {
                "this port speaks TLS, and the worker does not; set TELEMETRY_TLS_CA, and what else the manager \
                 asks for"
            }
            FirstBytes::Http => "it speaks HTTP without TLS; workers dial in here",
            _ => "it does not speak TLS",
        };
        self.note(Refusal::Tls, None, reason);
        let word = match what {
            FirstBytes::Introduction => refused(reason).to_frame(),
            FirstBytes::Http => PLAIN_HTTP.to_vec(),
            _ => return,
        };
        let said = async {
            stream.write_all(&word).await?;
            stream.shutdown().await?;
            // What is left unread would cut the word off.
            let rest = &mut stream.take(MAX_UNREAD_BYTES);
            tokio::io::copy(rest, &mut tokio::io::sink()).await
        };
        // Who does not listen has chosen so.
        let _heard = timeout(LAST_WORD_TIMEOUT, said).await;
    }

    fn peer(&self, certificate: Option<&CertificateName>) -> Peer {
        Peer::Remote {
            address: self.address,
            certificate: certificate.map(ToString::to_string),
        }
    }

    fn note(&self, why: Refusal, certificate: Option<&CertificateName>, reason: &str) {
        let answer = IntroductionAnswer::Refused {
            reason: reason.to_owned(),
        };
        self.hall.note(why, &self.peer(certificate), &answer);
    }
}
