//! The content of /v1/openapi.json.

use std::{env, fs, path::Path};

use axum::body::{Body, to_bytes};
use serde_json::{Value, from_slice, from_str, json};
use tower::ServiceExt;

use super::{
    portscan::{ResolverTable, appliance},
    *,
};
use crate::{
    http::{StoredParts, appliance::routes, routes::Routes},
    service::runner::runs,
    store::{DiskPace, Store},
};

/// Returns what these functions make of an appliance's routes.
fn of_routes<T>(base: &str, make: impl FnOnce(Routes) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock::start());
    let file = dir.path().join("portscan.db");
    let (store, _threads) = Store::open_at_pace(&file, clock.clone(), DiskPace::default()).unwrap();
    let config = watch::channel(Arc::new(Config { base_url: base.to_owned(), ..config() })).1;
    let parts = StoredParts {
        store,
        config,
        token: token(),
        resolver: Arc::new(ResolverTable),
        runs: runs().0,
        clock,
    };
    make(routes(ApplianceParts::of_store(parts, dir.path())))
}

fn described(base: &str) -> String {
    let document = of_routes(base, |routes| routes.into_description().document());
    // utoipa keeps a bound as an `isize`, so on a 32-bit system it writes 4294967295 so.
    document.replace("\"maximum\":-1,", "\"maximum\":4294967295,")
}

#[test]
fn the_file_is_what_the_code_describes() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/v1/openapi.json");
    let described = described("portscan");
    if env::var_os("INSTA_UPDATE").is_some_and(|how| how == "always") {
        fs::write(&file, &described).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap();
    for (kept, described) in kept.lines().zip(described.lines()) {
        assert_eq!(kept, described, "INSTA_UPDATE=always renews {}", file.display());
    }
    assert_eq!(kept.len(), described.len(), "INSTA_UPDATE=always renews {}", file.display());
}

#[tokio::test]
async fn the_paths_are_below_the_configured_base_url() {
    let request = hyper::Request::get("/v1/openapi.json").body(Body::empty()).unwrap();
    let response = of_routes("ports", |routes| routes.into_router().oneshot(request)).await.unwrap();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert_eq!(from_slice::<Value>(&body).unwrap(), from_str::<Value>(&described("ports")).unwrap());
}

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
