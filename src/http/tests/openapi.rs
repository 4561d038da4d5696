//! The content of /v1/openapi.json.

use serde_json::{Value, json};

use super::portscan::appliance;

#[tokio::test]
async fn the_description_names_every_path() {
    let appliance = appliance();
    let document = appliance.served.get("/v1/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{document}");
    let paths = document["paths"].as_object().unwrap();
    for path in ["/portscan/json", "/portscan/{mac}/json", "/portscan/{host}/{port}/json", "/v1/scan/{id}"] {
        assert!(paths.contains_key(path), "{path} in {:?}", paths.keys());
    }
    let backup = &document["paths"]["/v1/backup"]["get"];
    assert_eq!(backup["security"], json!([{"token": []}, {}]));
    assert!(backup["responses"]["401"].is_object() && backup["responses"]["421"].is_object(), "{backup}");
    let referred = references(&document);
    assert!(referred.contains(&"#/components/responses/Unauthorized"), "{referred:?}");
    for place in referred {
        assert!(document.pointer(place.trim_start_matches('#')).is_some(), "{place} is missing");
    }
}

/// The targets of all references in a part of the document.
fn references(document: &Value) -> Vec<&str> {
    match document {
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str);
            own.into_iter().chain(members.values().flat_map(references)).collect()
        }
        Value::Array(elements) => elements.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}
