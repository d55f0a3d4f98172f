//! The addresses of a name, asked for again and again.
//!
//! The system resolves, as it does for every other program here: its hosts file, its search list, its servers. It
//! knows A and AAAA; who wants SRV records has a file written.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use telemetry_core::Address;
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep_until};

use super::Answer;
use super::naming::target;

/// Shortest time between two questions.
const SHORTEST: Duration = Duration::from_secs(1);

type Question = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// See the module.
pub(super) struct Dns {
    name: String,
    port: u16,
    interval: Duration,
    pool: Option<String>,
    /// When to ask next.
    due: Instant,
    /// A question under way; there is one at a time, however long the system takes.
    asked: Option<Question>,
}

impl Dns {
    pub(super) fn new(name: String, port: u16, interval: Duration, pool: Option<String>) -> Self {
        Self {
            name,
            port,
            interval: interval.max(SHORTEST),
            pool,
            due: Instant::now(),
            asked: None,
        }
    }

    /// The next answer. May be dropped and called again without loss.
    pub(super) async fn next(&mut self) -> Answer {
        let question = match &mut self.asked {
            Some(question) => question,
            None => {
                sleep_until(self.due).await;
                let place = (self.name.clone(), self.port);
                let ask = async move { Ok(lookup_host(place).await?.collect()) };
                self.asked.insert(Box::pin(ask))
            }
        };
        let answer = question.await;
        self.asked = None;
        self.due = Instant::now() + self.interval;
        match answer {
            Ok(addresses) => self.listed(addresses),
            Err(error) => Answer::Fault(format!("{:?} could not be resolved: {error}", self.name)),
        }
    }

    /// One worker for each address.
    fn listed(&self, mut addresses: Vec<SocketAddr>) -> Answer {
        addresses.sort_unstable();
        addresses.dedup();
        let pool = self.pool.as_deref();
        let targets = addresses
            .into_iter()
            .map(|address| target(Address::Tcp(address), None, pool));
        Answer::Listed(targets.collect(), Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(answer: &Answer) -> Vec<(&str, String)> {
        let Answer::Listed(targets, _) = answer else {
            return Vec::new();
        };
        let pair = |it: &'_ _| {
            let it: &crate::targets::Target = it;
            it.address.to_string()
        };
        targets
            .iter()
            .map(|it| (it.worker.as_str(), pair(it)))
            .collect()
    }

    #[tokio::test]
    async fn each_address_of_a_name_is_a_worker() {
        let mut dns = Dns::new("localhost".into(), 7, SHORTEST, Some("web".into()));
        let answer = dns.next().await;
        let found = workers(&answer);
        let v4 = ("web-127.0.0.1-7", "127.0.0.1:7".to_owned());
        assert!(found.contains(&v4), "{answer:?}");
        assert!(
            dns.due > Instant::now(),
            "it is asked again, and not at once"
        );
    }

    #[tokio::test]
    async fn addresses_are_listed_once_and_in_order() {
        let dns = Dns::new("name".into(), 7, SHORTEST, None);
        let addresses = ["127.0.0.2:7", "127.0.0.1:7", "127.0.0.2:7", "[::1]:7"];
        let addresses = addresses.map(|it| it.parse().expect("an address"));
        let answer = dns.listed(addresses.into());
        let ids: Vec<_> = workers(&answer).into_iter().map(|it| it.0).collect();
        assert_eq!(ids, ["127.0.0.1-7", "127.0.0.2-7", "--1-7"]);
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_is_a_fault() {
        let mut dns = Dns::new("no.such.name.invalid".into(), 7, SHORTEST, None);
        let Answer::Fault(fault) = dns.next().await else {
            panic!("there is no such name");
        };
        assert!(fault.contains("\"no.such.name.invalid\""), "{fault}");
    }
}
