use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;

/// A web with some pages, by `host:port/path`.
#[derive(Default)]
struct Web {
    pages: BTreeMap<String, HttpsAnswer>,
    asked: Mutex<Vec<(String, String)>>,
}

impl Web {
    fn with(mut self, url: &str, status: u16, location: Option<&str>, body: &str) -> Self {
        let location = location.map(|text| Bytes::copy_from_slice(text.as_bytes()));
        let body = Bytes::copy_from_slice(body.as_bytes());
        self.pages
            .insert(url.to_owned(), HttpsAnswer { status, location, cache_control: None, body });
        self
    }

    fn redirect(self, from: &str, location: &str) -> Self {
        self.with(from, 302, Some(location), "")
    }

    fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().expect("unpoisoned").clone()
    }

    async fn fetch(&self) -> Result<ServerName, NetError> {
        fetch("example.org", 443, self).await.map(|delegation| delegation.server)
    }
}

#[async_trait]
impl HttpsGet for Web {
    async fn get(
        &self,
        endpoint: &Endpoint,
        target: &str,
        body_bytes_max: usize,
    ) -> Result<HttpsAnswer, NetError> {
        assert_eq!(body_bytes_max, 51_200);
        let url = format!("{endpoint}{target}");
        self.asked.lock().expect("unpoisoned").push((url.clone(), endpoint.host_header.clone()));
        self.pages.get(&url).cloned().ok_or_else(|| NetError::Connect(format!("{url}: no page")))
    }
}

const START: &str = "example.org:443/.well-known/matrix/server";
const DOCUMENT: &str = r#"{"m.server":"matrix.example.net:8443"}"#;

#[test]
fn documents_are_read_strictly() {
    let valid = [
        (DOCUMENT, "matrix.example.net:8443"),
        (r#" { "m.server" : "1.2.3.4", "other": {"m.server": 1} } "#, "1.2.3.4"),
        (r#"{"m.server":"matrix.\u0065xample.net"}"#, "matrix.example.net"),
        ("{\"m.server\":\"[::1]:1\"}\n", "[::1]:1"),
    ];
    for (body, expected) in valid {
        let parsed = delegated_name(body.as_bytes());
        assert_eq!(parsed.as_ref().map(ServerName::as_str), Ok(expected), "{body}");
    }
    let invalid: [&[u8]; 16] = [
        b"",
        b"{}",
        b"null",
        b"\"matrix.example.net\"",
        br#"["matrix.example.net"]"#,
        br#"{"m.server":null}"#,
        br#"{"m.server":8448}"#,
        br#"{"m.server":["matrix.example.net"]}"#,
        br#"{"m.server":""}"#,
        br#"{"m.server":"matrix.example.net "}"#,
        br#"{"m.server":"https://matrix.example.net"}"#,
        br#"{"m.server":"matrix.example.net:port"}"#,
        br#"{"m.server":"a.example","m.server":"b.example"}"#,
        br#"{"m.server":"a.example"} trailing"#,
        b"\xef\xbb\xbf{\"m.server\":\"a.example\"}",
        b"{\"m.server\":\"a.example\xff\"}",
    ];
    for body in invalid {
        assert!(delegated_name(body).is_err(), "{}", body.escape_ascii());
    }
}

#[tokio::test]
async fn the_document_is_asked_for_at_its_place() {
    let web = Web::default().with(START, 200, None, DOCUMENT);
    assert_eq!(web.fetch().await.expect("a name").as_str(), "matrix.example.net:8443");
    assert_eq!(web.asked(), [(START.to_owned(), "example.org".to_owned())]);
}

#[tokio::test]
async fn any_other_status_is_no_document() {
    for status in [201, 204, 206, 300, 304, 404, 410, 500, 503] {
        let web = Web::default().with(START, status, Some("https://b.example/"), DOCUMENT);
        let error = web.fetch().await.expect_err("no document");
        assert_eq!(error, NetError::Http(format!("https://example.org: status {status}")));
        assert_eq!(web.asked().len(), 1);
    }
}

#[tokio::test]
async fn r78_redirects_are_followed() {
    let table = [
        ("/other?a=b", "example.org:443/other?a=b", "example.org"),
        ("https://b.example", "b.example:443/", "b.example"),
        ("https://b.example/x#part", "b.example:443/x", "b.example"),
        ("HTTPS://b.example/x", "b.example:443/x", "b.example"),
        ("https://b.example:8443/x", "b.example:8443/x", "b.example:8443"),
        ("//b.example/x", "b.example:443/x", "b.example"),
        ("https://1.2.3.4/x", "1.2.3.4:443/x", "1.2.3.4"),
        ("https://[2A01:4f8::1]:9/x", "[2a01:4f8::1]:9/x", "[2a01:4f8::1]:9"),
    ];
    for (location, url, host_header) in table {
        for status in [301, 302, 303, 307, 308] {
            let web = Web::default()
                .with(START, status, Some(location), "")
                .with(url, 200, None, DOCUMENT);
            web.fetch().await.unwrap_or_else(|error| panic!("{location}: {error}"));
            assert_eq!(web.asked()[1], (url.to_owned(), host_header.to_owned()), "{location}");
        }
    }
}

#[tokio::test]
async fn r78_redirects_elsewhere_are_refused() {
    let long = format!("https://b.example/{}", "x".repeat(2_048));
    let table = [
        "http://b.example/",
        "http://example.org/.well-known/matrix/server",
        "ftp://b.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_x",
        "https://user:password@b.example/",
        "https://user@b.example/",
        "https:///x",
        "https://b_c.example/",
        "https://b.example:0/",
        "https://b.example:99999/",
        "https://[fe80::1%25eth0]/",
        "https://0x7f000001:/",
        "relative",
        "?query",
        "",
        "/a b",
        long.as_str(),
    ];
    for location in table {
        let web = Web::default().redirect(START, location);
        let error = web.fetch().await.expect_err(location);
        assert_eq!(error.kind(), "http", "{location}: {error}");
        assert_eq!(web.asked().len(), 1, "{location}");
    }
    let web = Web::default().with(START, 302, None, "");
    let error = web.fetch().await.expect_err("no Location");
    assert!(error.text().contains("without a Location"), "{error}");
}

#[tokio::test]
async fn r78_redirects_in_a_circle_are_seen() {
    let web = Web::default().redirect(START, "https://example.org/.well-known/matrix/server");
    let error = web.fetch().await.expect_err("a circle");
    assert!(error.text().contains("circle"), "{error}");
    assert_eq!(web.asked().len(), 1);
    let web = Web::default()
        .redirect(START, "/b")
        .redirect("example.org:443/b", "https://c.example/")
        .redirect("c.example:443/", "https://example.org/b");
    let error = web.fetch().await.expect_err("a circle");
    assert!(error.text().contains("circle"), "{error}");
    assert_eq!(web.asked().len(), 3);
}

#[tokio::test]
async fn r78_five_redirects_are_followed_and_no_sixth() {
    let chain = |length: usize| {
        (0..length).fold(Web::default(), |web, n| {
            let from = if n == 0 { START.to_owned() } else { format!("example.org:443/{n}") };
            web.redirect(&from, &format!("/{}", n + 1))
        })
    };
    let web = chain(5).with("example.org:443/5", 200, None, DOCUMENT);
    assert!(web.fetch().await.is_ok());
    let web = chain(6).with("example.org:443/6", 200, None, DOCUMENT);
    let error = web.fetch().await.expect_err("too many");
    assert!(error.text().contains("more than 5 redirects"), "{error}");
    assert_eq!(web.asked().len(), 6);
}
