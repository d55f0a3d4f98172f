//! The OpenAPI document: made of the table of routes and of the structures of `api`, and compared with the file that
//! the server sends.
//!
//! `GOLDEN=write` writes it anew. It is part of no program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::super::routes::{ROOT, ROUTES, Route, What};
use crate::api;

/// A structure by its name, and those it is made of.
fn add<T: ToSchema>(schemas: &mut BTreeMap<String, Value>) -> Value {
    let name = T::name().into_owned();
    let mut all: Vec<(String, RefOr<Schema>)> = Vec::new();
    T::schemas(&mut all);
    all.push((name.clone(), T::schema()));
    for (name, schema) in all {
        schemas.insert(name, serde_json::to_value(schema).expect("plain data"));
    }
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// A page of rows.
fn list<T: ToSchema>(schemas: &mut BTreeMap<String, Value>) -> Value {
    let items = add::<T>(schemas);
    json!({
        "type": "object",
        "required": ["items", "total"],
        "properties": {
            "items": { "type": "array", "items": items },
            "total": { "type": "integer", "minimum": 0 },
            "next": { "type": "string" },
        },
    })
}

/// What a route is for, and what it answers.
fn about(route: &Route, schemas: &mut BTreeMap<String, Value>) -> (&'static str, Value) {
    match route.what {
        What::Fleet => (
            "The manager and all its workers.",
            add::<api::Fleet>(schemas),
        ),
        What::Workers => ("The workers.", list::<api::Worker>(schemas)),
        What::Worker => (
            "One worker, with its incarnations.",
            add::<api::Worker>(schemas),
        ),
        What::Pools => ("The pools.", list::<api::Pool>(schemas)),
        What::Ledger => ("What became of all events.", add::<api::Accounts>(schemas)),
        What::Events => ("The events that were seen.", list::<api::Event>(schemas)),
        What::Catalog => (
            "The events that are known.",
            list::<api::CatalogEntry>(schemas),
        ),
        What::Quarantine => (
            "Names that nobody knows.",
            list::<api::Quarantined>(schemas),
        ),
        What::Handlers => ("Where events go.", list::<api::Handler>(schemas)),
        What::Policy => ("The rules that are desired.", add::<api::Policy>(schemas)),
        What::SetPolicy => ("Replaces the live rules.", add::<api::PolicyTaken>(schemas)),
        What::CheckPolicy => (
            "What rules would change.",
            add::<api::PolicyChecked>(schemas),
        ),
        What::PolicyStatus => (
            "How far the workers are.",
            add::<api::PolicyStatus>(schemas),
        ),
        What::PolicyHistory => (
            "How the live rules were changed.",
            list::<api::PolicyChange>(schemas),
        ),
        What::Tap => ("Events as they come, until the client goes.", json!(true)),
        What::Openapi => ("This document.", json!({ "type": "object" })),
    }
}

/// What a parameter is for.
fn parameter(name: &str) -> Value {
    let integer = json!({ "type": "integer", "minimum": 1, "maximum": api::MAX_LIMIT });
    let text = json!({ "type": "string" });
    let (about, schema) = match name {
        "limit" => ("Rows of a page; 200 by default.", integer),
        "after" => ("`next` of the page before.", text),
        "sort" => (
            "What to sort by, with a - in front for the largest first.",
            text,
        ),
        "match" => ("A glob of names.", text),
        "pool" => ("A glob of pools.", text),
        "worker" => ("A glob of workers.", text),
        "where" => (
            "key=value, which an event must have.",
            json!({ "type": "array", "items": text }),
        ),
        "wait" => (
            "Seconds to wait for the workers, at most 60.",
            json!({ "type": "integer" }),
        ),
        other => panic!("say what {other} is for"),
    };
    json!({ "name": name, "in": "query", "description": about, "schema": schema })
}

fn operation(route: &Route, schemas: &mut BTreeMap<String, Value>) -> Value {
    let (about, answer) = about(route, schemas);
    let kinds: &[&str] = match route.what {
        What::Tap => &["application/x-ndjson", "text/event-stream"],
        _ => &["application/json"],
    };
    let content: Map<String, Value> = kinds
        .iter()
        .map(|kind| ((*kind).to_owned(), json!({ "schema": answer })))
        .collect();
    let known = route.parameters.iter();
    let known = known.map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }));
    let mut parameters: Vec<Value> = known.collect();
    if route.path.ends_with("{id}") {
        let schema = json!({ "type": "string" });
        parameters.push(json!({ "name": "id", "in": "path", "required": true, "schema": schema }));
    }
    let mut operation = json!({
        "summary": about,
        "responses": {
            "200": { "description": "OK", "content": content },
            "default": { "$ref": "#/components/responses/Refused" },
        },
    });
    if route.method != "GET" {
        let rules = json!({
            "type": "object",
            "required": ["rules"],
            "properties": { "rules": { "type": "array", "items": { "type": "object" } } },
        });
        let content = json!({ "application/json": { "schema": rules } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    if matches!(route.what, What::SetPolicy) {
        let schema = json!({ "type": "string" });
        parameters.push(json!({
            "name": "If-Match", "in": "header", "required": true, "schema": schema,
            "description": "The revision that is to be changed, or *.",
        }));
    }
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    operation
}

fn document() -> Value {
    let mut schemas = BTreeMap::new();
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let path = paths
            .entry(format!("{ROOT}{}", route.path))
            .or_insert(json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route, &mut schemas);
    }
    let refused = add::<api::Refused>(&mut schemas);
    for schema in schemas.values_mut() {
        shorten(schema);
    }
    let names = ROUTES.iter().flat_map(|route| route.parameters);
    let parameters = names.map(|name| ((*name).to_owned(), parameter(name)));
    let parameters: Map<String, Value> = parameters.collect();
    let refused = json!({
        "description": "Refused",
        "content": { "application/json": { "schema": refused } },
    });
    json!({
        "openapi": "3.1.0",
        "info": { "title": "telemetry manager", "version": "1" },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": parameters,
            "responses": { "Refused": refused },
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{}, { "token": [] }],
    })
}

/// Leaves out what a program does not need: numbers are numbers, what is not known is left out and not null, and what a
/// field means is said in the manual of `api`.
fn shorten(schema: &mut Value) {
    match schema {
        Value::Object(entries) => {
            entries.remove("format");
            if entries.get("minimum") == Some(&json!(0)) {
                entries.remove("minimum");
            }
            if entries.get("description").is_some_and(Value::is_string) {
                entries.remove("description");
            }
            if let Some(Value::Array(kinds)) = entries.get_mut("type") {
                kinds.retain(|kind| kind != "null");
                entries["type"] = kinds[0].take();
            }
            if let Some(Value::Array(one_of)) = entries.get_mut("oneOf") {
                one_of.retain(|one| one["type"] != "null");
                if let [one] = &mut one_of[..] {
                    *schema = one.take();
                    return;
                }
            }
            entries.values_mut().for_each(shorten);
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        _ => {}
    }
}

#[test]
fn the_document_is_that_of_the_router_and_the_structures() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated/openapi.json");
    let made = document();
    if std::env::var("GOLDEN").is_ok_and(|it| it == "write") {
        fs::write(&file, made.to_string() + "\n").unwrap();
    }
    let sent: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(sent, made, "GOLDEN=write writes it anew");
}

/// What is in a golden file must be what the document says it is, key by key.
#[test]
fn golden_files_have_the_keys_of_the_document() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/tests/golden");
    let read = |name: &str| -> Value {
        let text = fs::read_to_string(golden.join(format!("{name}.json"))).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let mut compared = 0;
    for (name, schema) in [
        ("workers", "Worker"),
        ("worker", "Worker"),
        ("fleet", "Fleet"),
        ("pools", "Pool"),
        ("ledger", "Accounts"),
        ("events", "Event"),
        ("catalog", "CatalogEntry"),
        ("quarantine", "Quarantined"),
        ("handlers", "Handler"),
        ("refused", "Refused"),
        ("policy", "Policy"),
        ("policy_taken", "PolicyTaken"),
        ("policy_checked", "PolicyChecked"),
        ("policy_status", "PolicyStatus"),
        ("policy_history", "PolicyChange"),
    ] {
        let said = read(name);
        let said = said.get("items").map_or(&said, |items| &items[0]);
        let said: BTreeSet<_> = said.as_object().unwrap().keys().cloned().collect();
        let known = schemas[schema]["properties"].as_object().unwrap();
        let known: BTreeSet<_> = known.keys().cloned().collect();
        assert!(said.is_subset(&known), "{name}: {said:?} and {known:?}");
        compared += said.len();
    }
    assert!(compared > 60, "{compared}");
}
