//! The wire stays readable for every peer that was ever released.
//!
//! Compares the current descriptor set with `released/descriptor.bin`, proves that the comparison
//! sees each kind of breakage, and pins the part of the wire that belongs to Snakepit.

mod breakage;

use breakage::breakages;
use prost::Message;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto, field_descriptor_proto::Type,
};
use telemetry_proto::{
    FILE_DESCRIPTOR_SET, HEARTBEAT_PATH, PING_PATH, SERVICE_NAME, STREAM_TELEMETRY_PATH,
};

/// The wire of the last release.
const RELEASED: &[u8] = include_bytes!("../../released/descriptor.bin");

fn decode(bytes: &[u8]) -> FileDescriptorSet {
    FileDescriptorSet::decode(bytes).expect("a descriptor set decodes")
}

/// Our own file of the set.
fn bridge(set: &mut FileDescriptorSet) -> &mut FileDescriptorProto {
    set.file
        .iter_mut()
        .find(|file| file.package() == "snakepit.bridge")
        .expect("the set has the package snakepit.bridge")
}

fn message<'a>(file: &'a mut FileDescriptorProto, name: &str) -> &'a mut DescriptorProto {
    file.message_type
        .iter_mut()
        .find(|message| message.name() == name)
        .unwrap_or_else(|| panic!("the file has a message {name}"))
}

fn field<'a>(message: &'a mut DescriptorProto, name: &str) -> &'a mut FieldDescriptorProto {
    message
        .field
        .iter_mut()
        .find(|field| field.name() == name)
        .unwrap_or_else(|| panic!("the message has a field {name}"))
}

fn service(file: &mut FileDescriptorProto) -> &mut ServiceDescriptorProto {
    file.service.first_mut().expect("the file has a service")
}

/// Applies `change` to the current wire and expects exactly the breakages `expected`.
fn check(change: impl FnOnce(&mut FileDescriptorProto), expected: &[&str]) {
    let before = decode(FILE_DESCRIPTOR_SET);
    let mut after = before.clone();
    change(bridge(&mut after));
    assert_eq!(breakages(&before, &after), expected);
}

#[test]
fn nothing_released_was_removed_renumbered_or_retyped() {
    let found = breakages(&decode(RELEASED), &decode(FILE_DESCRIPTOR_SET));
    assert_eq!(found, [""; 0], "a released peer would misread the wire");
}

#[test]
fn a_removed_field_is_refused() {
    check(
        |file| {
            message(file, "TelemetryEvent")
                .field
                .retain(|field| field.name() != "sequence");
        },
        &["field .snakepit.bridge.TelemetryEvent.sequence was removed, it was uint64 = 1001"],
    );
}

#[test]
fn a_renumbered_field_is_refused() {
    check(
        |file| field(message(file, "WorkerHello"), "pid").number = Some(8),
        &["field .snakepit.bridge.WorkerHello.pid was uint32 = 4 and is uint32 = 8"],
    );
}

#[test]
fn a_retyped_field_is_refused() {
    check(
        |file| field(message(file, "NameCount"), "emitted").set_type(Type::Int64),
        &["field .snakepit.bridge.NameCount.emitted was uint64 = 2 and is int64 = 2"],
    );
}

#[test]
fn a_renamed_field_is_refused() {
    check(
        |file| field(message(file, "NameCount"), "name").name = Some("label".to_owned()),
        &["field .snakepit.bridge.NameCount.name was removed, it was string = 1"],
    );
}

#[test]
fn a_field_of_another_message_type_is_refused() {
    check(
        |file| {
            field(message(file, "TelemetryEvent"), "hello").type_name =
                Some(".snakepit.bridge.ManagerHello".to_owned());
        },
        &[
            "field .snakepit.bridge.TelemetryEvent.hello was .snakepit.bridge.WorkerHello = 1003 \
           and is .snakepit.bridge.ManagerHello = 1003",
        ],
    );
}

#[test]
fn a_retyped_map_value_is_refused() {
    check(
        |file| {
            let entry = message(file, "TelemetryEvent")
                .nested_type
                .iter_mut()
                .find(|nested| nested.name() == "MetadataEntry")
                .expect("a map is a nested message");
            field(entry, "value").set_type(Type::Bytes);
        },
        &[
            "field .snakepit.bridge.TelemetryEvent.MetadataEntry.value was string = 2 \
           and is bytes = 2",
        ],
    );
}

#[test]
fn a_field_that_leaves_its_oneof_is_refused() {
    check(
        |file| field(message(file, "TelemetryControl"), "policy").oneof_index = None,
        &[
            "field .snakepit.bridge.TelemetryControl.policy was .snakepit.bridge.TelemetryPolicy = \
           1002 in oneof control and is .snakepit.bridge.TelemetryPolicy = 1002",
        ],
    );
}

#[test]
fn a_removed_message_is_refused() {
    check(
        |file| {
            file.message_type
                .retain(|message| message.name() != "TelemetryToggle");
        },
        &[
            "message .snakepit.bridge.TelemetryToggle was removed, it was a message",
            "field .snakepit.bridge.TelemetryToggle.enabled was removed, it was bool = 1",
        ],
    );
}

#[test]
fn a_removed_method_is_refused() {
    check(
        |file| {
            service(file)
                .method
                .retain(|method| method.name() != "Ping");
        },
        &[
            "method .snakepit.bridge.BridgeService/Ping was removed, it was \
           (.snakepit.bridge.PingRequest) -> (.snakepit.bridge.PingResponse)",
        ],
    );
}

#[test]
fn a_method_that_stops_streaming_is_refused() {
    check(
        |file| {
            for method in &mut service(file).method {
                method.client_streaming = Some(false);
            }
        },
        &["method .snakepit.bridge.BridgeService/StreamTelemetry was \
           (stream .snakepit.bridge.TelemetryControl) -> (stream .snakepit.bridge.TelemetryEvent) \
           and is (.snakepit.bridge.TelemetryControl) -> (stream .snakepit.bridge.TelemetryEvent)"],
    );
}

#[test]
fn an_added_field_message_or_method_is_accepted() {
    check(
        |file| {
            let mut added = field(message(file, "TelemetryEvent"), "sequence").clone();
            (added.name, added.number) = (Some("later".to_owned()), Some(1005));
            message(file, "TelemetryEvent").field.push(added);
            let mut added = message(file, "ManagerHello").clone();
            added.name = Some("ManagerGoodbye".to_owned());
            file.message_type.push(added);
            let mut added = service(file).method[0].clone();
            added.name = Some("Pong".to_owned());
            service(file).method.push(added);
        },
        &[],
    );
}

#[test]
fn messages_of_snakepit_have_its_fields_and_extensions_from_1001() {
    let stock: [(&str, &[(i32, &str)]); 10] = [
        ("PingRequest", &[(1, "message")]),
        ("PingResponse", &[(1, "message"), (2, "server_time")]),
        ("HeartbeatRequest", &[(1, "session_id"), (2, "client_time")]),
        (
            "HeartbeatResponse",
            &[(1, "server_time"), (2, "session_valid")],
        ),
        (
            "TelemetryEvent",
            &[
                (1, "event_parts"),
                (2, "measurements"),
                (3, "metadata"),
                (4, "timestamp_ns"),
                (5, "correlation_id"),
            ],
        ),
        (
            "TelemetryValue",
            &[(1, "int_value"), (2, "float_value"), (3, "string_value")],
        ),
        (
            "TelemetryControl",
            &[(1, "toggle"), (2, "sampling"), (3, "filter")],
        ),
        ("TelemetryToggle", &[(1, "enabled")]),
        (
            "TelemetrySamplingUpdate",
            &[(1, "sampling_rate"), (2, "event_patterns")],
        ),
        ("TelemetryEventFilter", &[(1, "allow"), (2, "deny")]),
    ];
    let mut set = decode(FILE_DESCRIPTOR_SET);
    for (name, expected) in stock {
        let fields: Vec<(i32, &str)> = message(bridge(&mut set), name)
            .field
            .iter()
            .filter(|field| field.number() < 1001)
            .map(|field| (field.number(), field.name()))
            .collect();
        assert_eq!(fields, expected, "fields of {name} below 1001");
    }
}

#[test]
fn names_of_the_service_are_those_of_the_description() {
    let mut set = decode(FILE_DESCRIPTOR_SET);
    let file = bridge(&mut set);
    let package = file.package().to_owned();
    let name = format!("{package}.{}", service(file).name());
    assert_eq!(SERVICE_NAME, name);
    let paths: Vec<String> = service(file)
        .method
        .iter()
        .map(|method| format!("/{name}/{}", method.name()))
        .collect();
    assert_eq!(paths, [PING_PATH, HEARTBEAT_PATH, STREAM_TELEMETRY_PATH]);
}
