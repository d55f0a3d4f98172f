//! `/metrics`: scrapes, rendered off the server's task.
//!
//! Those who ask while a rendering waits for its turn share that one: however many ask, one waits.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use axum::response::{IntoResponse, Response};
use tokio::sync::{Semaphore, watch};

use super::HttpState;
use super::answer::problem;
use crate::export::prometheus::{ExpositionFormat, PrometheusExporter};

/// Most scrapes rendered at the same time; of each format one more may wait.
pub(super) const MAX_RENDERING: usize = 2;

/// The exposition in the format that the `Accept` header asks for. It is rendered whole before the
/// first byte is sent, so a slow reader holds text and no lock.
pub(super) async fn metrics(State(state): State<HttpState>, headers: HeaderMap) -> Response {
    let accept = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let format = ExpositionFormat::of_accept(accept);
    let mut coming = state.renderings.next(format);
    let text = coming.wait_for(Option::is_some).await;
    match text.ok().and_then(|text| text.clone()) {
        Some(text) => ([(CONTENT_TYPE, format.content_type())], text).into_response(),
        None => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics could not be rendered; the log of the manager says why",
        ),
    }
}

/// A text that is to come. It fails if it does not.
type Coming = watch::Receiver<Option<Bytes>>;

/// The renderings of one exporter. Clones share them.
#[derive(Clone)]
pub(super) struct Renderings {
    exporter: PrometheusExporter,
    turns: Arc<Semaphore>,
    /// Those that wait for their turn.
    waiting: Arc<Mutex<Vec<(ExpositionFormat, Coming)>>>,
}

impl Renderings {
    pub(super) fn of(exporter: PrometheusExporter) -> Self {
        Self {
            exporter,
            turns: Arc::new(Semaphore::new(MAX_RENDERING)),
            waiting: Arc::default(),
        }
    }

    /// The next text that begins after this. It is rendered whether or not somebody still waits for it.
    fn next(&self, format: ExpositionFormat) -> Coming {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let known = waiting.iter().find(|(of, _)| *of == format);
        if let Some((_, coming)) = known {
            return coming.clone();
        }
        let (text, coming) = watch::channel(None);
        waiting.push((format, coming.clone()));
        drop(waiting);
        let this = self.clone();
        tokio::spawn(async move {
            // Never closed, so it never fails.
            let turn = Arc::clone(&this.turns).acquire_owned().await;
            // Nothing else can fail but by a defect, of which those that wait are told.
            let _rendered = tokio::task::spawn_blocking(move || {
                // A client that hangs up ends its request and not the work, so the turn goes with the work.
                let _turn = turn;
                this.begin(format);
                text.send_replace(Some(this.exporter.render_as(format).into()));
            })
            .await;
        });
        coming
    }

    /// Whoever asks from now on wants to see more than this rendering does.
    fn begin(&self, format: ExpositionFormat) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|(of, _)| *of != format);
    }
}

impl fmt::Debug for Renderings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renderings").finish_non_exhaustive()
    }
}
