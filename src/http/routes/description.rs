//! The description of all routes (`OpenAPI` 3.1), as their code states it.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Serializer, ser::Formatter};
use utoipa::{
    OpenApi, ToSchema,
    openapi::{
        self, ContentBuilder, Info, OpenApi as Document, Ref, RefOr, ResponseBuilder,
        path::{Operation, PathItem},
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::http::answer::ErrorBody;

/// The security scheme's name in the document.
const TOKEN: &str = "token";

/// A response of many operations. It is described once, and they refer to it: repeated with each of them it took a
/// sixth of the document.
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

/// What belongs to no route.
#[derive(OpenApi)]
#[openapi(
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
struct Frame;

/// The description of some routes.
#[derive(Default)]
pub(in crate::http) struct Description(Document);

impl Description {
    pub(super) fn of<S>((schemas, paths, _): UtoipaMethodRouter<S>) -> Self {
        let mut document = Document::new(Info::default(), paths);
        document.components.get_or_insert_default().schemas.extend(schemas);
        Self(document)
    }

    pub(super) fn merge(self, other: Self) -> Self {
        Self(self.0.merge_from(other.0))
    }

    pub(super) fn below(self, path: &str) -> Self {
        Self(Document::default().nest(path, self.0))
    }

    pub(super) fn with_authority(mut self) -> Self {
        for operation in self.operations() {
            let token = SecurityRequirement::new::<_, _, String>(TOKEN, []);
            operation.security.get_or_insert_default().extend([token, SecurityRequirement::default()]);
            UNAUTHORIZED.may_answer(operation);
            FORBIDDEN.may_answer(operation);
        }
        self
    }

    fn operations(&mut self) -> impl Iterator<Item = &mut Operation> {
        self.0.paths.paths.values_mut().flat_map(|path| {
            let PathItem { get, put, post, delete, options, head, patch, trace, .. } = path;
            [get, put, post, delete, options, head, patch, trace].into_iter().flatten()
        })
    }

    /// Returns the whole document, as `v1/openapi.json` has it: each operation and each schema is a line, so that a
    /// change of one shows as such.
    pub(in crate::http) fn document(mut self) -> String {
        for operation in self.operations() {
            MISDIRECTED.may_answer(operation);
            UNAVAILABLE.may_answer(operation);
        }
        let mut document = Frame::openapi().merge_from(self.0);
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("What `portscan token` prints; clients in [auth] `trust` need none"))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(TOKEN, SecurityScheme::Http(token));
        for common in [UNAUTHORIZED, FORBIDDEN, MISDIRECTED, UNAVAILABLE] {
            components.responses.insert(common.name.to_owned(), RefOr::T(common.response()));
        }
        let mut text = Vec::new();
        document.serialize(&mut Serializer::with_formatter(&mut text, Lines::default())).unwrap();
        text.push(b'\n');
        String::from_utf8(text).unwrap()
    }
}

/// Writes each element of the outer levels on a line of its own.
#[derive(Default)]
struct Lines {
    level: usize,
}

impl Lines {
    /// The innermost such level. With all of them, and indented, the text is nearly twice as long.
    const INNERMOST: usize = 3;

    fn begin<W: Write + ?Sized>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.level += 1;
        writer.write_all(bracket)
    }

    fn separate<W: Write + ?Sized>(&self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b"," })?;
        self.break_line(writer)
    }

    fn end<W: Write + ?Sized>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.break_line(writer)?;
        self.level -= 1;
        writer.write_all(bracket)
    }

    fn break_line<W: Write + ?Sized>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(if self.level <= Self::INNERMOST { b"\n" } else { b"" })
    }
}

impl Formatter for Lines {
    fn begin_array<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b"[")
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.separate(writer, first)
    }

    fn end_array<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b"]")
    }

    fn begin_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b"{")
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.separate(writer, first)
    }

    fn end_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b"}")
    }
}
