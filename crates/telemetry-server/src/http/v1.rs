//! `/api/v1`: the typed API.
//!
//! One way in for all of it: the table of routes says what a path is and what may be asked there, and a question
//! that the table does not know is refused with what it knows. What is answered is made in `api`.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use super::HttpState;
use super::answer::{Problem, json};
use super::arrival::Arrival;
use super::policy;
use super::query::Query;
use super::routes::{self, What};
use super::tap;
use crate::api::{self, Accounts, CatalogEntry, Event, Fleet, Handler, Quarantined, Row, page};
use crate::manager::Manager;

/// The OpenAPI document of this API.
const OPENAPI: &str = include_str!("../generated/openapi.json");

/// Answers whatever is asked below `/api/v1`.
pub(super) async fn serve(State(state): State<HttpState>, request: Request) -> Response {
    let answer = answer(&state, request).await;
    answer.unwrap_or_else(Problem::into_response)
}

async fn answer(state: &HttpState, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let Some((route, id)) = routes::find(path, &head.method) else {
        let what = format!("{path} is not here; there are {}", routes::paths());
        return Err(Problem(StatusCode::NOT_FOUND, what));
    };
    let query = Query::parse(head.uri.query().unwrap_or_default(), route.parameters)?;
    let source = &*state.source;
    let manager = source.manager().ok_or_else(|| {
        let what = "this server knows no manager; it has /api only".to_owned();
        Problem(StatusCode::NOT_FOUND, what)
    })?;
    let value = match route.what {
        What::Openapi => {
            return Ok(([(CONTENT_TYPE, "application/json")], OPENAPI).into_response());
        }
        What::Tap => return tap::open_v1(state, &head.headers, &query),
        What::Policy => return Ok(policy::show(manager)),
        What::PolicyStatus => return policy::status(manager, &query).await,
        What::PolicyHistory => json(&state.changes.list()),
        What::CheckPolicy => return policy::check(manager, body).await,
        What::SetPolicy => {
            let by = head.extensions.get::<Arrival>();
            let by = by.map_or_else(String::new, ToString::to_string);
            return policy::set(manager, &state.changes, by, &head.headers, body).await;
        }
        What::Fleet => json(&Fleet::of(manager)),
        What::Ledger => json(&Accounts::of(manager)),
        What::Workers => {
            let pools = query.pattern("pool")?;
            json(&api::workers(
                source,
                manager,
                pools.as_ref(),
                &query.asked()?,
            )?)
        }
        What::Worker => match api::worker(source, manager, &id) {
            Some(worker) => json(&worker),
            None => {
                let what =
                    format!("there is no worker {id:?}; /api/v1/workers lists those there are");
                return Err(Problem(StatusCode::NOT_FOUND, what));
            }
        },
        What::Pools => list(api::pools(source, manager), &query)?,
        What::Events => list(events(state, manager), &query)?,
        What::Catalog => {
            let catalog = manager.catalog();
            let entries = catalog.events().iter();
            let entries = entries.map(|event| CatalogEntry::of(event, catalog));
            list(entries.collect(), &query)?
        }
        What::Quarantine => {
            let names = manager.quarantine().list().into_iter();
            list(names.map(Quarantined::from).collect(), &query)?
        }
        What::Handlers => {
            let handlers = state.dispatcher.list_handlers("").into_iter();
            list(handlers.map(Handler::from).collect(), &query)?
        }
    };
    Ok(Json(value).into_response())
}

/// The events that were seen, by name.
fn events(state: &HttpState, manager: &Manager) -> Vec<Event> {
    let counts = state.prometheus.counts().into_iter();
    let event = |(id, count)| Some(Event::new(manager.catalog().get(id)?, count));
    let mut events: Vec<Event> = counts.filter_map(event).collect();
    Event::add_learned(&mut events, manager.learned().list());
    events
}

/// The page of a list that a query asks for.
fn list<T: Row + Serialize>(rows: Vec<T>, query: &Query) -> Result<Value, Problem> {
    Ok(json(&page(rows, &query.asked()?)?))
}
