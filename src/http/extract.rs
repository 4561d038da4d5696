//! Parses a request's path and query. If they are malformed, the error is this project's own, not that of the libraries
//! that parse them.

use axum::extract::{FromRequestParts, Path as AxumPath, Query as AxumQuery};
use hyper::{Uri, http::request::Parts};
use serde::{
    Deserializer,
    de::{self, DeserializeOwned, Visitor},
    forward_to_deserialize_any,
};

use super::answer::Refusal;

/// The variable parts of a path, without their escapes.
pub(super) struct Path<T>(pub(super) T);

/// The parameters of a query. They are texts; the handler that knows their meaning reports what is wrong with one.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let read = AxumPath::from_request_parts(parts, state).await;
        let refused = |_| Refusal::bad_request("the path has escapes that are not UTF-8; write é as %C3%A9");
        read.map(|AxumPath(path)| Self(path)).map_err(refused)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let read = AxumQuery::try_from_uri(&parts.uri);
        read.map(|AxumQuery(query)| Self(query))
            .map_err(|_| Refusal::bad_request(fault(&parts.uri, names::<T>())))
    }
}

/// What is wrong with a malformed query.
fn fault(uri: &Uri, known: &[&str]) -> String {
    let there = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let pairs = AxumQuery::<Vec<(String, String)>>::try_from_uri(uri).map(|AxumQuery(pairs)| pairs);
    let pairs = pairs.unwrap_or_default();
    let times = |name: &str| pairs.iter().filter(|(key, _)| key == name).count();
    if let Some(twice) = known.iter().find(|name| times(name) > 1) {
        return format!("`{twice}` is there twice; write it once");
    }
    match pairs.iter().find(|(key, _)| !known.contains(&key.as_str())) {
        Some((unknown, _)) => {
            let unknown: String = unknown.chars().take(40).collect();
            format!("there is no parameter `{unknown}` here; there is {there}")
        }
        None => {
            format!("the query is malformed; write it as ?NAME=VALUE, with & between two; there is {there}")
        }
    }
}

/// The names of a query's parameters.
fn names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names = [].as_slice();
    // It ends as soon as it has the names: they are all that it is for.
    let _ = T::deserialize(Names(&mut names));
    names
}

/// Takes the names of a structure's fields, and has no values for them.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("no values"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// A parameter that is a number.
pub(super) fn number(name: &str, text: &str) -> Result<u32, Refusal> {
    // The standard library parses `+5`, too.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| {
        Refusal::bad_request(format!("`{name}` is not a number from 0 to {}; write {name}=50", u32::MAX))
    })
}
