//! The rest of the federation, as the gate's key fetches see it: scripted answers, counted.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use fedgate::net::transport::{FederationRequest, FederationResponse};
use fedgate::net::{FederationTransport, NetError};
use fedgate::proto::ServerName;

#[derive(Default)]
pub struct FakeFederation {
    documents: Mutex<HashMap<String, Bytes>>,
    fetches: AtomicUsize,
    silent: Mutex<Option<String>>,
}

impl FakeFederation {
    /// Has `server` answer key requests with `document`.
    pub fn publish(&self, server: &ServerName, document: Bytes) {
        self.documents.lock().unwrap().insert(server.to_string(), document);
    }

    /// Has `server` take questions and never answer.
    pub fn silence(&self, server: &str) {
        *self.silent.lock().unwrap() = Some(server.to_owned());
    }

    /// Has `server` answer no more.
    pub fn withdraw(&self, server: &ServerName) {
        self.documents.lock().unwrap().remove(server.as_str());
    }

    pub fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl FederationTransport for FakeFederation {
    async fn send(
        &self,
        server: &ServerName,
        request: FederationRequest,
    ) -> Result<FederationResponse, NetError> {
        assert_eq!(request.target, "/_matrix/key/v2/server");
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let is_silent = self.silent.lock().unwrap().as_deref() == Some(server.as_str());
        if is_silent {
            std::future::pending::<()>().await;
        }
        match self.documents.lock().unwrap().get(server.as_str()) {
            Some(document) => Ok(FederationResponse { status: 200, body: document.clone() }),
            None => Err(NetError::Connect(format!("{server} is not there"))),
        }
    }
}
