//! What breaks a peer: the difference between two descriptor sets that an old reader would notice.
//!
//! Pure functions over descriptors. Additions are fine and not reported; everything else is, one
//! sentence each. Knows nothing of this project's messages.

use std::collections::BTreeMap;

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

/// Everything of `released` that `current` no longer has in the same form, one sentence each.
pub(crate) fn breakages(released: &FileDescriptorSet, current: &FileDescriptorSet) -> Vec<String> {
    let (released, current) = (Wire::of(released), Wire::of(current));
    let mut found = Vec::new();
    compare("message", &released.messages, &current.messages, &mut found);
    compare("field", &released.fields, &current.fields, &mut found);
    compare(
        "enum value",
        &released.enum_values,
        &current.enum_values,
        &mut found,
    );
    compare("method", &released.methods, &current.methods, &mut found);
    found
}

/// A descriptor set as flat tables: what an old peer relies on, by full name.
#[derive(Default)]
struct Wire {
    messages: BTreeMap<String, String>,
    fields: BTreeMap<String, String>,
    enum_values: BTreeMap<String, String>,
    methods: BTreeMap<String, String>,
}

/// Reports what is gone and what has another form; the form is a readable description.
fn compare(
    kind: &str,
    released: &BTreeMap<String, String>,
    current: &BTreeMap<String, String>,
    found: &mut Vec<String>,
) {
    for (name, form) in released {
        match current.get(name) {
            None => found.push(format!("{kind} {name} was removed, it was {form}")),
            Some(now) if now != form => {
                found.push(format!("{kind} {name} was {form} and is {now}"));
            }
            Some(_) => {}
        }
    }
}

impl Wire {
    fn of(set: &FileDescriptorSet) -> Self {
        let mut wire = Self::default();
        for file in &set.file {
            let package = format!(".{}", file.package());
            for message in &file.message_type {
                wire.add_message(&package, message);
            }
            for enumeration in &file.enum_type {
                wire.add_enum(&package, enumeration);
            }
            for service in &file.service {
                for method in &service.method {
                    let name = format!("{package}.{}/{}", service.name(), method.name());
                    wire.methods.insert(name, method_form(method));
                }
            }
        }
        wire
    }

    fn add_message(&mut self, scope: &str, message: &DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        self.messages.insert(name.clone(), "a message".to_owned());
        for field in &message.field {
            self.fields.insert(
                format!("{name}.{}", field.name()),
                field_form(message, field),
            );
        }
        for nested in &message.nested_type {
            self.add_message(&name, nested);
        }
        for enumeration in &message.enum_type {
            self.add_enum(&name, enumeration);
        }
    }

    fn add_enum(&mut self, scope: &str, enumeration: &EnumDescriptorProto) {
        for value in &enumeration.value {
            let name = format!("{scope}.{}.{}", enumeration.name(), value.name());
            self.enum_values.insert(name, value.number().to_string());
        }
    }
}

/// Number, type and presence of a field: all that its encoding and its generated code depend on.
fn field_form(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let of_type = match field.r#type() {
        Type::Message | Type::Enum | Type::Group => field.type_name().to_owned(),
        scalar => scalar
            .as_str_name()
            .trim_start_matches("TYPE_")
            .to_lowercase(),
    };
    let presence = match field.label() {
        Label::Repeated => "repeated ",
        Label::Required => "required ",
        Label::Optional if field.proto3_optional() => "optional ",
        Label::Optional => "",
    };
    // A proto3 `optional` is described by a oneof of its own, which says nothing more.
    let oneof = match field.oneof_index {
        Some(index) if !field.proto3_optional() => usize::try_from(index)
            .ok()
            .and_then(|index| message.oneof_decl.get(index))
            .map_or_else(String::new, |oneof| format!(" in oneof {}", oneof.name())),
        _ => String::new(),
    };
    format!("{presence}{of_type} = {}{oneof}", field.number())
}

fn method_form(method: &MethodDescriptorProto) -> String {
    let stream = |streaming: bool| if streaming { "stream " } else { "" };
    format!(
        "({}{}) -> ({}{})",
        stream(method.client_streaming()),
        method.input_type(),
        stream(method.server_streaming()),
        method.output_type()
    )
}
