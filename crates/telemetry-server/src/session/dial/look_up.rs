//! The look-up of a worker's name: one at a time, however long that hangs.
//!
//! The system gives no way to end one. So an attempt that is given up leaves it to the next, which waits for the same.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};

/// What is found.
type Places = io::Result<Vec<SocketAddr>>;

/// That of one session. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct LookUp(Arc<Mutex<Option<JoinHandle<Places>>>>);

impl LookUp {
    /// The addresses of the name.
    pub(super) async fn places(&self, name: &str, port: u16) -> Places {
        let host = (name.to_owned(), port);
        self.answer(move || host.to_socket_addrs().map(Iterator::collect))
            .await
    }

    async fn answer(&self, ask: impl FnOnce() -> Places + Send + 'static) -> Places {
        let mut under_way = self.0.lock().await;
        let found = under_way.get_or_insert_with(|| spawn_blocking(ask)).await;
        *under_way = None;
        found.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn one_that_hangs_is_waited_for_and_not_begun_again() {
        let look_up = LookUp::default();
        let (answer, hangs) = mpsc::channel::<Places>();
        let first = look_up.answer(move || hangs.recv().expect("an answer"));
        timeout(Duration::from_millis(1), first)
            .await
            .expect_err("it hangs");
        let place = SocketAddr::from(([127, 0, 0, 1], 7));
        answer.send(Ok(vec![place])).expect("somebody waits");
        let again = || -> Places { panic!("it was begun again") };
        assert_eq!(look_up.answer(again).await.unwrap(), [place]);
        look_up
            .answer(|| Ok(Vec::new()))
            .await
            .expect("the next one is a new one");
    }
}
