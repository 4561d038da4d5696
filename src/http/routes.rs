//! Routes that are registered together with their description.
//!
//! A handler's path and methods stand in its description ([`utoipa::path`]) alone: there is no second list of routes, and
//! none without a description. Whatever else a description says is compiled for the tests only. They compare it with
//! `v1/openapi.json`, the file that clients get; the code that writes it would be a twentieth of the program.

#[cfg(test)]
mod description;

use axum::{
    Router,
    handler::Handler,
    routing::{MethodFilter, MethodRouter},
};
use utoipa::openapi::HttpMethod;
#[cfg(test)]
use utoipa_axum::router::UtoipaMethodRouter;

#[cfg(test)]
pub(super) use self::description::Description;

/// A handler with its path and methods, by the name of its function.
macro_rules! route {
    ($handler:ident) => {
        $crate::http::routes::Route::new(
            ::pastey::paste!(<[<__path_ $handler>] as ::utoipa::Path>::path()),
            ::pastey::paste!(<[<__path_ $handler>] as ::utoipa::Path>::methods()),
            $handler,
            #[cfg(test)]
            ::utoipa_axum::routes!($handler),
        )
    };
}

pub(super) use route;

/// A path with its handler.
pub(super) struct Route<S> {
    path: String,
    handlers: MethodRouter<S>,
    #[cfg(test)]
    description: Description,
}

impl<S: Clone + Send + Sync + 'static> Route<S> {
    /// For [`route!`].
    pub(super) fn new<H: Handler<T, S>, T: 'static>(
        path: String,
        methods: Vec<HttpMethod>,
        handler: H,
        #[cfg(test)] described: UtoipaMethodRouter<S>,
    ) -> Self {
        let filter = methods.into_iter().map(filter).reduce(MethodFilter::or);
        Self {
            path,
            handlers: filter.map_or_else(MethodRouter::new, |filter| MethodRouter::new().on(filter, handler)),
            #[cfg(test)]
            description: Description::of(described),
        }
    }

    /// Replaces the handler, or adds a layer to it.
    pub(super) fn map(self, change: impl FnOnce(MethodRouter<S>) -> MethodRouter<S>) -> Self {
        Self { handlers: change(self.handlers), ..self }
    }

    /// Describes that it needs the token.
    #[cfg(test)]
    pub(super) fn with_authority(self) -> Self {
        Self { description: self.description.with_authority(), ..self }
    }
}

fn filter(method: HttpMethod) -> MethodFilter {
    match method {
        HttpMethod::Get => MethodFilter::GET,
        HttpMethod::Put => MethodFilter::PUT,
        HttpMethod::Post => MethodFilter::POST,
        HttpMethod::Delete => MethodFilter::DELETE,
        HttpMethod::Options => MethodFilter::OPTIONS,
        HttpMethod::Head => MethodFilter::HEAD,
        HttpMethod::Patch => MethodFilter::PATCH,
        HttpMethod::Trace => MethodFilter::TRACE,
    }
}

/// Many routes.
pub(super) struct Routes<S = ()> {
    router: Router<S>,
    #[cfg(test)]
    description: Description,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    pub(super) fn new() -> Self {
        Self {
            router: Router::new(),
            #[cfg(test)]
            description: Description::default(),
        }
    }

    /// Adds a route.
    pub(super) fn with(self, route: Route<S>) -> Self {
        Self {
            router: self.router.route(&route.path, route.handlers),
            #[cfg(test)]
            description: self.description.merge(route.description),
        }
    }

    /// Adds routes that belong to no API, and are not described.
    pub(super) fn beside(mut self, others: Router<S>) -> Self {
        self.router = self.router.merge(others);
        self
    }

    pub(super) fn merge(self, others: Self) -> Self {
        Self {
            router: self.router.merge(others.router),
            #[cfg(test)]
            description: self.description.merge(others.description),
        }
    }

    /// Puts these routes below a path.
    pub(super) fn below(self, path: &str) -> Self {
        Self {
            router: Router::new().nest(path, self.router),
            #[cfg(test)]
            description: self.description.below(path),
        }
    }

    pub(super) fn with_state<T>(self, state: S) -> Routes<T> {
        Routes {
            router: self.router.with_state(state),
            #[cfg(test)]
            description: self.description,
        }
    }

    pub(super) fn into_router(self) -> Router<S> {
        self.router
    }

    #[cfg(test)]
    pub(super) fn into_description(self) -> Description {
        self.description
    }
}
