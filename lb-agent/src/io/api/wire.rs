//! How answers, bodies and parameters are read and written; every failure leaves as a `Problem`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::io::message::Failure;

/// What a route answers.
pub(super) struct Answer<T>(Result<T, Failure>);

impl<T> From<Result<T, Failure>> for Answer<T> {
    fn from(result: Result<T, Failure>) -> Self {
        Self(result)
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match self.0 {
            Ok(value) => Json(value).into_response(),
            Err(failure) => failure.into_response(),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self.problem)).into_response()
    }
}

/// A body of JSON, whatever its content type is called: `curl -d` calls everything a form.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Failure::new(rejection.status(), rejection.body_text()))?;
        let value = serde_json::from_slice::<Value>(&body)
            .map_err(|error| Failure::invalid(format!("the body is not JSON: {error}")))?;
        read(&value).map(Self)
    }
}

/// Reads a value; where that fails, the error names the field at fault.
fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    serde_json::from_value::<T>(value.clone()).map_err(|error| {
        let error = error.to_string();
        match field_at_fault::<T>(value, &error) {
            Some(field) => Failure::invalid(format!("field `{field}`: {error}")),
            None => Failure::invalid(error),
        }
    })
}

/// The field without which all would be well, or else the one whose value the error shows. serde loses the
/// path inside flattened and tagged types, which is what a change of a backend is; a field that is missing
/// is in the error's text already.
fn field_at_fault<T: DeserializeOwned>(value: &Value, error: &str) -> Option<String> {
    let fields = value.as_object()?;
    let well_without = |field: &&String| {
        let mut without = fields.clone();
        without.remove(*field);
        serde_json::from_value::<T>(Value::Object(without)).is_ok()
    };
    let shown = || fields.iter().find(|(_, value)| shows(error, value)).map(|(field, _)| field);
    fields.keys().find(well_without).or_else(shown).cloned()
}

/// Whether an error of serde speaks of this value: ``integer `5` ``, ``string "x"``, ``variant `x` ``.
fn shows(error: &str, value: &Value) -> bool {
    match value {
        Value::Null => error.contains("type: null,"),
        Value::Bool(_) | Value::Number(_) => error.contains(&format!("`{value}`")),
        Value::String(text) => {
            error.contains(&value.to_string()) || error.contains(&format!("variant `{text}`"))
        }
        Value::Array(_) => error.contains("type: sequence"),
        Value::Object(_) => error.contains("type: map"),
    }
}

/// The parameters behind the question mark.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Query(params) =
            Query::<T>::from_request_parts(parts, state).await.map_err(|rejection| {
                let text = rejection.body_text();
                let reason = text.trim_start_matches("Failed to deserialize query string: ");
                Failure::invalid(format!("parameters: {reason}"))
            })?;
        Ok(Self(params))
    }
}
