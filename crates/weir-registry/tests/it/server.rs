//! A small registry over HTTP whose faults can be chosen.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    None,
    Status(u16),
    Json(u16, &'static str),
    Hang,
    Drip,
    Huge,
}

pub struct Server {
    state: Arc<Mutex<Content>>,
    url: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

struct Content {
    answers: HashMap<String, Value>,
    fault: Fault,
    requests: Vec<(String, String)>,
}

impl Server {
    pub async fn start() -> Server {
        let content = Content { answers: HashMap::new(), fault: Fault::None, requests: Vec::new() };
        let state = Arc::new(Mutex::new(content));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(state.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            tokio::select! {
                result = async { axum::serve(listener, app).await } => result.unwrap(),
                _ = stopped => {}
            }
        });
        Server { state, url, stop, task }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Stops listening; returns when the port is closed.
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }

    pub fn set(&self, fault: Fault) {
        self.state.lock().unwrap().fault = fault;
    }

    pub fn add(&self, id: u32, schema: &str) {
        self.put(format!("GET /schemas/ids/{id}"), json!({ "schema": schema }));
    }

    pub fn add_guid(&self, guid: &str, id: u32, schema: &str, references: &[(&str, &str, u32)]) {
        self.put(format!("GET /schemas/guids/{guid}"), body(schema, references));
        self.put(format!("GET /schemas/guids/{guid}/ids"), json!([{ "context": ".", "id": id }]));
    }

    pub fn add_version(&self, subject: &str, version: u32, schema: &str, references: &[(&str, &str, u32)]) {
        let subject = subject.replace('/', "%2F").replace(' ', "%20");
        self.put(format!("GET /subjects/{subject}/versions/{version}"), body(schema, references));
    }

    pub fn set_members(&self, id: u32, subjects: &[&str]) {
        let members: Vec<Value> = subjects.iter().map(|s| json!({ "subject": s, "version": 1 })).collect();
        self.put(format!("GET /schemas/ids/{id}/versions"), json!(members));
    }

    pub fn requests(&self) -> usize {
        self.state.lock().unwrap().requests.len()
    }

    pub fn last_request(&self) -> String {
        self.state.lock().unwrap().requests.last().unwrap().0.clone()
    }

    pub fn last_body(&self) -> String {
        self.state.lock().unwrap().requests.last().unwrap().1.clone()
    }

    fn put(&self, route: String, answer: Value) {
        self.state.lock().unwrap().answers.insert(route, answer);
    }
}

fn body(schema: &str, references: &[(&str, &str, u32)]) -> Value {
    let references: Vec<Value> = references
        .iter()
        .map(|(name, subject, version)| json!({ "name": name, "subject": subject, "version": version }))
        .collect();
    json!({ "schema": schema, "references": references })
}

async fn answer(State(state): State<Arc<Mutex<Content>>>, request: Request) -> Response {
    let route = format!("{} {}", request.method(), request.uri().path());
    let sent = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let sent = String::from_utf8(sent.to_vec()).unwrap();
    let (fault, found) = {
        let mut content = state.lock().unwrap();
        content.requests.push((route.clone(), sent.clone()));
        if let Some(subject) = route.strip_prefix("PUT /config/") {
            let level = serde_json::from_str::<Value>(&sent).unwrap()["compatibility"].clone();
            content.answers.insert(format!("GET /config/{subject}"), json!({ "compatibilityLevel": level }));
        }
        (content.fault, content.answers.get(&route).cloned())
    };
    let reply = |status: u16, body: Body| Response::builder().status(status).body(body).unwrap();
    match fault {
        Fault::None => {}
        Fault::Status(status) => return reply(status, Body::from("something else")),
        Fault::Json(status, text) => return reply(status, Body::from(text)),
        Fault::Hang => std::future::pending().await,
        Fault::Drip => return reply(200, endless(b" ", Duration::from_millis(50))),
        Fault::Huge => return reply(200, endless(&[b' '; 65536], Duration::ZERO)),
    }
    if let Some(found) = found {
        return reply(200, found.to_string().into());
    }
    let code = match route.split(['/', ' ']).collect::<Vec<_>>().as_slice() {
        ["POST", "", "subjects", _, "versions"] => return reply(200, r#"{"id":42}"#.into()),
        ["POST", "", "compatibility", ..] => {
            return reply(200, r#"{"is_compatible":false,"messages":["it lost a field"]}"#.into());
        }
        ["PUT", "", "config", ..] => return reply(200, "{}".into()),
        [_, "", "config", ..] => 40408,
        [_, "", "subjects", ..] => 40401,
        _ => 40403,
    };
    reply(404, json!({ "error_code": code, "message": "not found" }).to_string().into())
}

/// A body without end: the same chunk again and again, with a pause before each.
fn endless(chunk: &'static [u8], pause: Duration) -> Body {
    Body::from_stream(futures_util::stream::unfold((), move |()| async move {
        tokio::time::sleep(pause).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(chunk)), ()))
    }))
}
