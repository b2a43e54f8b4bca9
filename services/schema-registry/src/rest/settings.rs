//! Routes of what holds for subjects and contexts: compatibility and other settings, modes, and the contexts themselves.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::request::{Context, Params, Scope, Sent};
use super::{Answer, Api, answered};
use crate::decide;
use crate::fault::Fault;
use crate::record::ConfigValue;
use crate::store::{Mode, Store};
use crate::subject;

/// Whether the settings of this scope are there even if nobody has set them.
fn is_always_there(scope: Option<&str>) -> bool {
    scope.is_none_or(|scope| subject::context(scope) == subject::GLOBAL)
}

/// Settings as they are answered, the level under the name that getting or setting them has for it.
fn config_view(config: &ConfigValue, level: &str) -> Value {
    let mut view = config.others.clone();
    view.extend(config.normalize.map(|value| ("normalize".to_owned(), json!(value))));
    view.extend(config.compatibility_level.as_ref().map(|value| (level.to_owned(), json!(value))));
    Value::Object(view)
}

fn mode_view(mode: Option<Mode>) -> Value {
    mode.map_or_else(|| json!({}), |mode| json!({ "mode": mode.name() }))
}

pub(super) async fn get_config(State(api): State<Api>, params: Params, Scope(scope): Scope) -> Answer {
    let scope = scope.as_deref();
    api.log.read(|store| match store.config(scope) {
        Some(config) if !params.is("defaultToGlobal") && config.compatibility_level.is_some() => {
            Ok(Json(config_view(config, "compatibilityLevel")))
        }
        None if !params.is("defaultToGlobal") && !is_always_there(scope) => {
            Err(Fault::ConfigNotSet(scope.unwrap_or_default().to_owned()))
        }
        _ => Ok(Json(config_view(&store.config_in_scope(scope), "compatibilityLevel"))),
    })
}

pub(super) async fn put_config(
    State(api): State<Api>,
    Scope(scope): Scope,
    Sent(changes): Sent<Map<String, Value>>,
) -> Answer {
    let decide = move |store: &Store| {
        let decision = decide::set_config(store, scope.as_deref(), &changes)?;
        Ok(answered(decision, |config| config_view(config, "compatibility")))
    };
    api.log.write(decide).await.map(Json)
}

pub(super) async fn delete_config(State(api): State<Api>, Scope(scope): Scope) -> Answer {
    let decide = move |store: &Store| {
        let decision = decide::delete_config(store, scope.as_deref())?;
        Ok(answered(decision, |config| config_view(config, "compatibilityLevel")))
    };
    api.log.write(decide).await.map(Json)
}

pub(super) async fn get_mode(State(api): State<Api>, params: Params, Scope(scope): Scope) -> Answer {
    let scope = scope.as_deref();
    api.log.read(|store| match store.mode(scope) {
        Some(mode) => Ok(Json(mode_view(Some(mode)))),
        None if !params.is("defaultToGlobal") && !is_always_there(scope) => {
            Err(Fault::ModeNotSet(scope.unwrap_or_default().to_owned()))
        }
        None => Ok(Json(mode_view(Some(store.mode_in_scope(scope))))),
    })
}

#[derive(Deserialize)]
pub(super) struct ModeRequest {
    #[serde(default)]
    mode: Option<String>,
}

pub(super) async fn put_mode(
    State(api): State<Api>,
    params: Params,
    Scope(scope): Scope,
    Sent(request): Sent<ModeRequest>,
) -> Answer {
    let (mode, force) = (request.mode.unwrap_or_default(), params.is("force"));
    let decide = move |store: &Store| {
        let decision = decide::set_mode(store, scope.as_deref(), &mode, force)?;
        Ok(answered(decision, |mode| mode_view(Some(*mode))))
    };
    api.log.write(decide).await.map(Json)
}

pub(super) async fn delete_mode(State(api): State<Api>, params: Params, Scope(scope): Scope) -> Answer {
    let recursive = params.is("recursive");
    let decide = move |store: &Store| {
        let decision = decide::delete_mode(store, scope.as_deref(), recursive)?;
        Ok(answered(decision, |mode| mode_view(*mode)))
    };
    api.log.write(decide).await.map(Json)
}

pub(super) async fn list_contexts(State(api): State<Api>, params: Params) -> Answer {
    api.log.read(|store| {
        let contexts = store.contexts().into_iter().filter(|name| name.starts_with(params.text("contextPrefix")));
        Ok(Json(json!(params.page(contexts))))
    })
}

pub(super) async fn delete_context(State(api): State<Api>, Context(context): Context) -> Result<StatusCode, Fault> {
    let decide = move |store: &Store| {
        decide::delete_context(store, &context).map(|decision| answered(decision, |()| Value::Null))
    };
    api.log.write(decide).await.map(|_| StatusCode::NO_CONTENT)
}
