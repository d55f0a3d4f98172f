//! Names are looked up in threads of their own, which nobody waits for longer than for a connection.
//!
//! The system gives no way to end a look-up. So one that hangs is not begun anew: there is one thread for an address,
//! and whoever tries again waits for what the last attempt asked.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use tokio::sync::oneshot;

use super::spawn::spawn;

/// A name and a port.
type Host = (String, u16);
/// What is found.
type Places = io::Result<Vec<SocketAddr>>;

/// The look-ups under way.
#[derive(Debug)]
pub(super) struct LookUps {
    /// Those that nobody has seen the answer of.
    asked: BTreeMap<Host, oneshot::Receiver<Places>>,
    /// Asks the system.
    ask: fn(&Host) -> Places,
}

impl Default for LookUps {
    fn default() -> Self {
        Self::with(|host| host.to_socket_addrs().map(Iterator::collect))
    }
}

impl LookUps {
    /// Has this one asked.
    fn with(ask: fn(&Host) -> Places) -> Self {
        Self {
            asked: BTreeMap::new(),
            ask,
        }
    }

    /// The addresses of a name. Given up, it goes on, and the next call gets its answer.
    ///
    /// # Errors
    ///
    /// What the system says, or that there is no thread.
    pub(super) async fn places(&mut self, name: &str, port: u16) -> Places {
        let host = (name.to_owned(), port);
        let answer = match self.asked.entry(host.clone()) {
            Entry::Occupied(asked) => asked.into_mut(),
            Entry::Vacant(none) => {
                let (found, answer) = oneshot::channel();
                let (ask, host) = (self.ask, host.clone());
                spawn("telemetry-dns", move || {
                    // Nobody may be left who waits.
                    let _given_up = found.send(ask(&host));
                })?;
                none.insert(answer)
            }
        };
        let places = answer.await;
        self.asked.remove(&host);
        places.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Condvar, Mutex};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    static ASKED: AtomicUsize = AtomicUsize::new(0);
    static IS_ANSWERED: Mutex<bool> = Mutex::new(false);
    static ANSWERED: Condvar = Condvar::new();

    /// A resolver that hangs until it is answered.
    fn hangs(host: &Host) -> Places {
        ASKED.fetch_add(1, Ordering::Relaxed);
        let is_answered = IS_ANSWERED.lock().expect("no panic");
        let waited = ANSWERED.wait_while(is_answered, |it| !*it);
        drop(waited.expect("no panic"));
        Ok(vec![([127, 0, 0, 1], host.1).into()])
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_hangs_is_looked_up_once_however_often_it_is_tried() {
        let mut look_ups = LookUps::with(hangs);
        for _ in 0..20 {
            let tried = timeout(Duration::from_secs(5), look_ups.places("slow", 7)).await;
            assert!(tried.is_err(), "{tried:?}");
        }
        *IS_ANSWERED.lock().expect("no panic") = true;
        ANSWERED.notify_all();
        let found = look_ups.places("slow", 7).await.expect("an answer");
        assert_eq!(found, [([127, 0, 0, 1], 7).into()]);
        assert_eq!(ASKED.load(Ordering::Relaxed), 1);
        look_ups.places("slow", 7).await.expect("an answer");
        assert_eq!(ASKED.load(Ordering::Relaxed), 2, "an answer is used once");
    }
}
