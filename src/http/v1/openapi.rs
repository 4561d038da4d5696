//! /v1/openapi.json: the description of all routes (`OpenAPI` 3.1).

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
        self, ContentBuilder, Ref, RefOr, ResponseBuilder,
        path::{Operation, PathItem, Paths},
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::router::OpenApiRouter;

use crate::http::answer::ErrorBody;

/// The security scheme's name in the document.
const TOKEN: &str = "token";

/// A response of many operations. It is described once, and they refer to it: repeated with each of them it took a
/// third of a megabyte of the memory after the start, and a sixth of the document.
struct Common {
    status: &'static str,
    name: &'static str,
    why: &'static str,
}

const UNAUTHORIZED: Common = Common {
    status: "401",
    name: "Unauthorized",
    why: "It changes something, and the token is missing or wrong",
};
const FORBIDDEN: Common =
    Common { status: "403", name: "Forbidden", why: "A page of another site sent the request" };
const MISDIRECTED: Common = Common {
    status: "421",
    name: "Misdirected",
    why: "The Host header names another host; list the name in `names` under [http]",
};
const UNAVAILABLE: Common =
    Common { status: "503", name: "Unavailable", why: "Temporarily unavailable; try again later" };

impl Common {
    fn response(&self) -> openapi::Response {
        let body = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorBody::name()))).build();
        ResponseBuilder::new().description(self.why).content("application/json", body).build()
    }

    /// Adds this response to an operation, unless it is described already.
    fn may_answer(&self, operation: &mut Operation) {
        let described = operation.responses.responses.entry(self.status.to_owned());
        described.or_insert_with(|| RefOr::Ref(Ref::from_response_name(self.name)));
    }
}

#[derive(OpenApi)]
#[openapi(
    paths(document),
    components(schemas(ErrorBody)),
    tags(
        (name = "appliance", description = "The appliance itself"),
        (name = "alerts", description = "Alert channels and their messages"),
        (name = "changes", description = "Changes of devices and ports over time"),
        (name = "differences", description = "Differences from the expected state"),
        (name = "expected", description = "The expected state"),
        (name = "runs", description = "Starting, watching and stopping scans"),
        (name = "hosts", description = "Devices and their open ports"),
        (name = "scans", description = "Stored scans and their results"),
        (name = "lanscan", description = "lanscan's two paths, answered where [feed] discover is set"),
        (name = "portscan", description = "The original portscan's three paths"),
    ),
)]
struct Document;

/// Returns these routes and the route of their description.
pub(super) fn served(routes: OpenApiRouter) -> Router {
    let (router, described) = routes.split_for_parts();
    let mut document = Document::openapi();
    document.merge(described);
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        MISDIRECTED.may_answer(operation);
        UNAVAILABLE.may_answer(operation);
    }
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("What `portscan token` prints; clients in [auth] `trust` need none"))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(TOKEN, SecurityScheme::Http(token));
    for common in [UNAUTHORIZED, FORBIDDEN, MISDIRECTED, UNAVAILABLE] {
        components.responses.insert(common.name.to_owned(), RefOr::T(common.response()));
    }
    // Only maps with keys other than strings cannot be serialized, and it has none.
    let text = document.to_pretty_json().unwrap_or_default() + "\n";
    let own = Router::new().route("/v1/openapi.json", get(self::document)).with_state(Bytes::from(text));
    router.merge(own)
}

/// Returns this description.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "appliance", responses((status = 200, content_type = "application/json")))]
async fn document(State(text): State<Bytes>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

/// Describes that these operations need the token.
pub(super) fn with_authority(mut paths: Paths) -> Paths {
    for operation in paths.paths.values_mut().flat_map(operations) {
        let token = SecurityRequirement::new::<_, _, String>(TOKEN, []);
        operation.security.get_or_insert_default().extend([token, SecurityRequirement::default()]);
        UNAUTHORIZED.may_answer(operation);
        FORBIDDEN.may_answer(operation);
    }
    paths
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, options, head, patch, trace, .. } = path;
    [get, put, post, delete, options, head, patch, trace].into_iter().flatten()
}
