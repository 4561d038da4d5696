//! /v1/openapi.json: what there is to ask, for programs that want to know beforehand (`OpenAPI` 3.1).

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use utoipa::{
    OpenApi, ToSchema,
    openapi::{
        ContentBuilder, Ref, RefOr, ResponseBuilder,
        path::{Operation, PathItem, Paths},
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::router::OpenApiRouter;

use crate::http::answer::ErrorBody;

/// The security scheme's name in the document.
const TOKEN: &str = "token";

#[derive(OpenApi)]
#[openapi(
    paths(document),
    components(schemas(ErrorBody)),
    tags(
        (name = "appliance", description = "The appliance itself"),
        (name = "changes", description = "What has changed, and when"),
        (name = "differences", description = "Where the network is not as it should be"),
        (name = "expected", description = "What should be"),
        (name = "runs", description = "Scans under way: start, watch, stop"),
        (name = "hosts", description = "Who is there, and what is known of each"),
        (name = "scans", description = "What was looked at, and what was found"),
        (name = "lanscan", description = "lanscan's two paths, answered where [feed] discover is set"),
        (name = "portscan", description = "The original portscan's three paths"),
    ),
)]
struct Document;

/// These routes and the description of them all.
pub(super) fn served(routes: OpenApiRouter) -> Router {
    let (router, described) = routes.split_for_parts();
    let mut document = Document::openapi();
    document.merge(described);
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        refuse(operation, "421", "The Host header names somebody else; `names` under [http] would help");
        refuse(operation, "503", "Not now; try again later");
    }
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("What `portscan token` prints; clients in [auth] `trust` need none"))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(TOKEN, SecurityScheme::Http(token));
    // Only maps with keys that are no strings cannot be written, and it has none.
    let text = document.to_pretty_json().unwrap_or_default() + "\n";
    let own = Router::new().route("/v1/openapi.json", get(self::document)).with_state(Bytes::from(text));
    router.merge(own)
}

/// This description.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "appliance", responses((status = 200, content_type = "application/json")))]
async fn document(State(text): State<Bytes>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

/// Says of these operations that not everybody may have them done.
pub(super) fn with_authority(mut paths: Paths) -> Paths {
    for operation in paths.paths.values_mut().flat_map(operations) {
        let token = SecurityRequirement::new::<_, _, String>(TOKEN, []);
        operation.security.get_or_insert_default().extend([token, SecurityRequirement::default()]);
        refuse(operation, "401", "It changes something, and the token is missing or wrong");
        refuse(operation, "403", "Another site's page asks for it");
    }
    paths
}

/// Adds an error to what an operation may answer.
fn refuse(operation: &mut Operation, status: &str, why: &str) {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorBody::name()))).build();
    let response = ResponseBuilder::new().description(why).content("application/json", body).build();
    operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, options, head, patch, trace, .. } = path;
    [get, put, post, delete, options, head, patch, trace].into_iter().flatten()
}
