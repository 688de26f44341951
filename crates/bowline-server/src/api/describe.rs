//! The description of the REST interface, made true where the attributes of handlers cannot say it: how errors look,
//! paths that end in a name with slashes, and the bounds of parameters that stand in many places.

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi as Description;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};

use bowline_api::PAGE_MAX;

/// What answers by pages. Everything else takes `limit` and `cursor` too, has no use for them, and is not described with them.
const PAGED: [&str; 6] = [
    "/api/v1/tasks",
    "/api/v1/tasks/{id}/history",
    "/api/v1/tasks/{id}/elements",
    "/api/v1/runs",
    "/api/v1/runs/{id}/history",
    "/api/v1/runs/{id}/tasks",
];

/// Whose body may be left out.
const MAY_BE_EMPTY: [&str; 5] = [
    "/api/v1/pause",
    "/api/v1/resume",
    "/api/v1/tasks/{id}/complete",
    "/api/v1/tasks/{id}/resolve",
    "/api/v1/workers/{name}/drain",
];
/// What may be asked without the header's token: it has one in its document.
const OPEN: &str = "/api/v1/workers/enrol";

/// With the token that everything under `/api/v1` wants, and what else holds for many routes at once.
pub(super) fn described(mut description: Description) -> Value {
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    description.components.get_or_insert_default().add_security_scheme("token", bearer);
    description.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    let mut document = json!(description);
    if let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) {
        *paths = std::mem::take(paths).into_iter().map(|(path, item)| (plain(&path), item)).collect();
        for (path, item) in paths.iter_mut() {
            item.as_object_mut().into_iter().flatten().for_each(|(method, of)| operation(path, method, of));
        }
    }
    document
}

/// The router's `{*name}`, which takes slashes, is `{name}` in a description.
fn plain(path: &str) -> String {
    path.replace("{*", "{")
}

fn operation(path: &str, method: &str, operation: &mut Value) {
    let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
    for response in responses.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
        if method == "head" {
            // What is asked for its head alone has no document in its answer.
            response.remove("content");
        }
        problem(response);
    }
    if let Some(body) = operation.get_mut("requestBody").filter(|_| MAY_BE_EMPTY.contains(&path)) {
        body["required"] = Value::Bool(false);
    }
    if path == OPEN {
        operation["security"] = json!([{}, {"token": []}]);
    }
    let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) else { return };
    if !PAGED.contains(&path) {
        parameters.retain(|parameter| !["limit", "cursor"].iter().any(|name| parameter["name"] == *name));
    }
    parameters.iter_mut().for_each(bounds);
}

/// Every answer with a problem in it says so by its content type.
fn problem(response: &mut Map<String, Value>) {
    let Some(content) = response.get_mut("content").and_then(Value::as_object_mut) else { return };
    let is_problem = |body: &Value| body["schema"]["$ref"] == "#/components/schemas/Problem";
    if content.get("application/json").is_some_and(is_problem)
        && let Some(body) = content.remove("application/json")
    {
        content.insert("application/problem+json".to_owned(), body);
    }
}

/// Bounds that a parameter of this name has wherever it stands.
fn bounds(parameter: &mut Value) {
    let Some(name) = parameter["name"].as_str() else { return };
    let bounds = match name {
        "limit" => json!({"minimum": 1, "maximum": PAGE_MAX}),
        "digest" => json!({"pattern": "^[0-9a-f]{64}$"}),
        _ => return,
    };
    let (Some(schema), Value::Object(bounds)) = (parameter["schema"].as_object_mut(), bounds) else { return };
    schema.extend(bounds);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_described_as_they_are_sent_and_paths_as_they_can_be_written() {
        let document = crate::api::description();
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.len() > 30 && paths.keys().all(|path| !path.contains('*')));
        let mut problems = 0;
        for operation in paths.values().flat_map(|item| item.as_object().unwrap().values()) {
            for response in operation["responses"].as_object().unwrap().values() {
                let of =
                    |kind: &str| response["content"][kind]["schema"]["$ref"].as_str().unwrap_or_default().to_owned();
                assert!(!of("application/json").ends_with("/Problem"), "{response}");
                problems += usize::from(of("application/problem+json").ends_with("/Problem"));
            }
        }
        assert!(problems > 30, "{problems}");
        let limit = paths["/api/v1/tasks"]["get"]["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .find(|parameter| parameter["name"] == "limit")
            .unwrap();
        assert!(PAGED.iter().chain(&MAY_BE_EMPTY).chain([&OPEN]).all(|path| paths.contains_key(*path)));
        assert!(MAY_BE_EMPTY.iter().all(|path| paths[*path]["post"]["requestBody"]["required"] == false));
        assert_eq!(paths[OPEN]["post"]["security"], json!([{}, {"token": []}]));
        assert!(paths["/api/v1/blobs/{digest}"]["head"]["responses"]["default"]["content"].is_null());
        let says_limit = |path: &str| paths[path]["get"]["parameters"].to_string().contains("\"limit\"");
        assert!(says_limit("/api/v1/runs") && !says_limit("/api/v1/version"));
        assert_eq!((limit["schema"]["minimum"].as_u64(), limit["schema"]["maximum"].as_u64()), (Some(1), Some(1_000)));
    }
}
