//! Answers gRPC reflection: which services there are, and which files describe them.
//!
//! The messages of v1 and v1alpha are the same on the wire, so one implementation serves both
//! names. `build.rs` embeds the descriptors of every file.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

use super::proto::grpc::reflection::v1 as wire;
use super::status::Code;
use wire::server_reflection_request::MessageRequest;
use wire::server_reflection_response::MessageResponse;

const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Everything that can be asked about.
pub(super) struct Registry {
    files: BTreeMap<String, File>,
    /// The file that defines each service, method, message, field and enum, by full name.
    file_of_symbol: BTreeMap<String, String>,
    /// The full names of all messages.
    messages: BTreeSet<String>,
    /// The full names of all services.
    services: Vec<String>,
}

struct File {
    descriptor: Bytes,
    imports: Vec<String>,
}

impl Registry {
    /// The registry of this server.
    pub(super) fn of_server() -> Registry {
        let set = FileDescriptorSet::decode(DESCRIPTORS)
            .expect("the build embedded what it had just encoded");
        Registry::new(set)
    }

    fn new(set: FileDescriptorSet) -> Registry {
        let mut registry = Registry {
            files: BTreeMap::new(),
            file_of_symbol: BTreeMap::new(),
            messages: BTreeSet::new(),
            services: Vec::new(),
        };
        for file in set.file {
            registry.add_file(&file);
        }
        registry.services.sort_unstable();
        registry
    }

    /// The answer to one request of a stream.
    pub(super) fn answer(
        &self,
        request: wire::ServerReflectionRequest,
    ) -> wire::ServerReflectionResponse {
        let answer = match &request.message_request {
            Some(MessageRequest::ListServices(_)) => Ok(self.list_services()),
            Some(MessageRequest::FileByFilename(name)) => self.file(name),
            Some(MessageRequest::FileContainingSymbol(symbol)) => self.file_of_symbol(symbol),
            Some(MessageRequest::FileContainingExtension(asked)) => Err(not_found(format!(
                "no file extends {} with field {}",
                asked.containing_type, asked.extension_number
            ))),
            Some(MessageRequest::AllExtensionNumbersOfType(name)) => self.extensions(name),
            None => Err(wire::ErrorResponse {
                error_code: Code::InvalidArgument as i32,
                error_message: "the request asks for nothing this server knows".to_owned(),
            }),
        };
        wire::ServerReflectionResponse {
            valid_host: request.host.clone(),
            original_request: Some(request),
            message_response: Some(answer.unwrap_or_else(MessageResponse::ErrorResponse)),
        }
    }

    fn list_services(&self) -> MessageResponse {
        let service =
            self.services.iter().map(|name| wire::ServiceResponse { name: name.clone() }).collect();
        MessageResponse::ListServicesResponse(wire::ListServiceResponse { service })
    }

    fn file_of_symbol(&self, symbol: &str) -> Result<MessageResponse, wire::ErrorResponse> {
        match self.file_of_symbol.get(symbol) {
            Some(file) => self.file(file),
            None => Err(not_found(format!("no file defines {symbol}"))),
        }
    }

    /// A file and all it imports, so that one answer is enough to use it.
    fn file(&self, name: &str) -> Result<MessageResponse, wire::ErrorResponse> {
        if !self.files.contains_key(name) {
            return Err(not_found(format!("there is no file {name}")));
        }
        let mut names = vec![name];
        let mut next = 0;
        while next < names.len() {
            for import in &self.files[names[next]].imports {
                if !names.contains(&import.as_str()) {
                    names.push(import);
                }
            }
            next += 1;
        }
        let file_descriptor_proto =
            names.into_iter().map(|name| self.files[name].descriptor.clone()).collect();
        Ok(MessageResponse::FileDescriptorResponse(wire::FileDescriptorResponse {
            file_descriptor_proto,
        }))
    }

    /// proto3 has no extensions but those of options, and this server defines none.
    fn extensions(&self, name: &str) -> Result<MessageResponse, wire::ErrorResponse> {
        if !self.messages.contains(name) {
            return Err(not_found(format!("there is no message {name}")));
        }
        Ok(MessageResponse::AllExtensionNumbersResponse(wire::ExtensionNumberResponse {
            base_type_name: name.to_owned(),
            extension_number: Vec::new(),
        }))
    }

    fn add_file(&mut self, file: &FileDescriptorProto) {
        let (name, package) = (file.name(), file.package());
        for message in &file.message_type {
            self.add_message(name, package, message);
        }
        for enumeration in &file.enum_type {
            self.add_enum(name, package, enumeration);
        }
        for service in &file.service {
            let full_name = self.add_symbol(name, package, service.name());
            for method in &service.method {
                self.add_symbol(name, &full_name, method.name());
            }
            self.services.push(full_name);
        }
        let descriptor = Bytes::from(file.encode_to_vec());
        self.files.insert(name.to_owned(), File { descriptor, imports: file.dependency.clone() });
    }

    /// Messages nest no deeper than their author wrote them, so recursion is safe.
    fn add_message(&mut self, file: &str, scope: &str, message: &DescriptorProto) {
        let full_name = self.add_symbol(file, scope, message.name());
        for field in &message.field {
            self.add_symbol(file, &full_name, field.name());
        }
        for nested in &message.nested_type {
            self.add_message(file, &full_name, nested);
        }
        for enumeration in &message.enum_type {
            self.add_enum(file, &full_name, enumeration);
        }
        self.messages.insert(full_name);
    }

    /// The values of an enum are its siblings, not its members: protobuf follows C++ there.
    fn add_enum(&mut self, file: &str, scope: &str, enumeration: &EnumDescriptorProto) {
        self.add_symbol(file, scope, enumeration.name());
        for value in &enumeration.value {
            self.add_symbol(file, scope, value.name());
        }
    }

    fn add_symbol(&mut self, file: &str, scope: &str, name: &str) -> String {
        let full_name = format!("{scope}.{name}");
        self.file_of_symbol.insert(full_name.clone(), file.to_owned());
        full_name
    }
}

fn not_found(error_message: String) -> wire::ErrorResponse {
    wire::ErrorResponse { error_code: Code::NotFound as i32, error_message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(request: MessageRequest) -> MessageResponse {
        let request = wire::ServerReflectionRequest {
            host: "here".to_owned(),
            message_request: Some(request),
        };
        let response = Registry::of_server().answer(request.clone());
        assert_eq!(response.original_request, Some(request));
        response.message_response.unwrap()
    }

    fn files(response: MessageResponse) -> Vec<String> {
        let MessageResponse::FileDescriptorResponse(response) = response else {
            panic!("{response:?} holds no files")
        };
        let name =
            |bytes: &Bytes| FileDescriptorProto::decode(bytes.clone()).unwrap().name.unwrap();
        response.file_descriptor_proto.iter().map(name).collect()
    }

    fn error_code(response: MessageResponse) -> i32 {
        let MessageResponse::ErrorResponse(error) = response else { panic!("{response:?}") };
        error.error_code
    }

    #[test]
    fn every_service_is_listed() {
        let MessageResponse::ListServicesResponse(list) =
            ask(MessageRequest::ListServices("*".to_owned()))
        else {
            panic!("no list")
        };
        let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
        assert_eq!(
            names,
            [
                "api.KV",
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
                "mokv.v1.Admin",
            ]
        );
    }

    #[test]
    fn a_symbol_gives_its_file_and_what_that_imports() {
        for symbol in ["api.KV", "api.KV.Set", "api.SetRequest", "api.SetRequest.key"] {
            let found = files(ask(MessageRequest::FileContainingSymbol(symbol.to_owned())));
            assert_eq!(found, ["kv.proto", "google/protobuf/empty.proto"], "{symbol}");
        }
        let status = "grpc.health.v1.HealthCheckResponse.SERVING".to_owned();
        let found = files(ask(MessageRequest::FileContainingSymbol(status)));
        assert_eq!(found, ["grpc/health/v1/health.proto"]);
    }

    #[test]
    fn a_file_is_found_by_its_path() {
        let found = files(ask(MessageRequest::FileByFilename("mokv/v1/admin.proto".to_owned())));
        assert_eq!(found, ["mokv/v1/admin.proto"]);
    }

    #[test]
    fn what_does_not_exist_is_not_found() {
        let name = || "no.Such".to_owned();
        let extension = wire::ExtensionRequest {
            containing_type: "api.GetRequest".into(),
            extension_number: 9,
        };
        for request in [
            MessageRequest::FileByFilename(name()),
            MessageRequest::FileContainingSymbol(name()),
            MessageRequest::AllExtensionNumbersOfType(name()),
            MessageRequest::FileContainingExtension(extension),
        ] {
            assert_eq!(error_code(ask(request)), 5);
        }
    }

    #[test]
    fn a_message_has_no_extensions() {
        let asked = MessageRequest::AllExtensionNumbersOfType("api.GetRequest".to_owned());
        let MessageResponse::AllExtensionNumbersResponse(answer) = ask(asked) else { panic!() };
        assert!(answer.extension_number.is_empty());
    }
}
