//! Questions and changes that a person or a deployment asks for: awaited, not cached, not limited by the budget.

use reqwest::Method;
use schema_registry_converter::async_impl::schema_registry as src;
use schema_registry_converter::schema_registry_common::SrCall;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{RequestError, escape, from_src};
use crate::{Compatibility, Reference, Registered, Registry};

impl Registry {
    /// Registers a schema under a subject, or finds it there, and returns its id.
    pub async fn register(
        &self,
        subject: &str,
        schema: &str,
        references: &[Reference],
    ) -> Result<Registered, RequestError> {
        let body = request_body(schema, references).to_string();
        let answer = src::perform_sr_call(&self.client().settings, SrCall::PostNew(&escape(subject), &body))
            .await
            .map_err(|e| from_src(&e))?;
        let id = answer.id.ok_or_else(|| RequestError::Unavailable("its answer has no id".to_owned()))?;
        Ok(Registered { id, version: answer.version, schema: schema.to_owned(), references: references.to_vec() })
    }

    /// The newest version of a subject, or none where there is no such subject.
    pub async fn latest(&self, subject: &str) -> Result<Option<Registered>, RequestError> {
        let found = src::get_schema_by_subject_and_version(&self.client().settings, &escape(subject), None).await;
        absent(found.as_ref().map(Registered::from).map_err(from_src), &[40401, 40402])
    }

    /// All versions of a subject, oldest first; none where there is no such subject.
    ///
    /// Not through schema_registry_converter: it has no call for the list.
    pub async fn versions(&self, subject: &str) -> Result<Vec<Registered>, RequestError> {
        let path = format!("/subjects/{}/versions", escape(subject));
        let numbers = self.client().call::<Vec<u32>>(Method::GET, &path, None).await;
        let mut versions = Vec::new();
        for number in absent(numbers, &[40401])?.unwrap_or_default() {
            let found =
                src::get_schema_by_subject_and_version(&self.client().settings, &escape(subject), Some(number)).await;
            // One that is deleted in between is none any more.
            versions.extend(absent(found.as_ref().map(Registered::from).map_err(from_src), &[40401, 40402])?);
        }
        Ok(versions)
    }

    /// The version of a subject that holds exactly this schema, or none.
    pub async fn look_up(
        &self,
        subject: &str,
        schema: &str,
        references: &[Reference],
    ) -> Result<Option<Registered>, RequestError> {
        let body = request_body(schema, references).to_string();
        let answer =
            src::perform_sr_call(&self.client().settings, SrCall::PostForVersion(&escape(subject), &body)).await;
        let found = answer.map_err(|e| from_src(&e)).and_then(|found| match (found.id, found.schema) {
            (Some(id), Some(schema)) => {
                Ok(Registered { id, version: found.version, schema, references: references.to_vec() })
            }
            _ => Err(RequestError::Unavailable("its answer has no id or no schema".to_owned())),
        });
        absent(found, &[40401, 40403])
    }

    /// All subjects that have a version.
    pub async fn subjects(&self) -> Result<Vec<String>, RequestError> {
        src::get_all_subjects(&self.client().settings).await.map_err(|e| from_src(&e))
    }

    /// What would break if the schema were registered now; empty where nothing would.
    ///
    /// Not through schema_registry_converter: it drops the reasons.
    pub async fn check_compatibility(
        &self,
        subject: &str,
        schema: &str,
        references: &[Reference],
    ) -> Result<Vec<String>, RequestError> {
        #[derive(Deserialize)]
        struct Verdict {
            is_compatible: bool,
            #[serde(default)]
            messages: Option<Vec<String>>,
        }
        let path = format!("/compatibility/subjects/{}/versions?verbose=true", escape(subject));
        let body = request_body(schema, references);
        let verdict: Verdict = self.client().call(Method::POST, &path, Some(&body)).await?;
        let mut messages = verdict.messages.unwrap_or_default();
        if verdict.is_compatible {
            messages.clear();
        } else if messages.is_empty() {
            messages.push("the registry says that it is not compatible and gives no reason".to_owned());
        }
        Ok(messages)
    }

    /// The subject's own compatibility level, or none where the global one holds; the global one for `None`.
    ///
    /// Not through schema_registry_converter: it has no calls for `/config`.
    pub async fn compatibility(&self, subject: Option<&str>) -> Result<Option<Compatibility>, RequestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            compatibility_level: Compatibility,
        }
        let answer = self.client().call::<Answer>(Method::GET, &config_path(subject), None).await;
        absent(answer.map(|a| a.compatibility_level), &[40401, 40408])
    }

    /// Sets the compatibility level of a subject, or the global one for `None`.
    pub async fn set_compatibility(&self, subject: Option<&str>, level: Compatibility) -> Result<(), RequestError> {
        let body = json!({ "compatibility": level });
        self.client().call::<Value>(Method::PUT, &config_path(subject), Some(&body)).await.map(drop)
    }
}

fn config_path(subject: Option<&str>) -> String {
    subject.map_or_else(|| "/config".to_owned(), |subject| format!("/config/{}", escape(subject)))
}

fn request_body(schema: &str, references: &[Reference]) -> Value {
    let mut body = json!({ "schema": schema, "schemaType": "AVRO" });
    if !references.is_empty() {
        body["references"] = json!(references);
    }
    body
}

/// Turns the registry's "not found" codes into none.
fn absent<T>(answer: Result<T, RequestError>, codes: &[u32]) -> Result<Option<T>, RequestError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(RequestError::Refused { code, .. }) if codes.contains(&code) => Ok(None),
        Err(error) => Err(error),
    }
}
