//! A homeserver that takes connections and never answers.

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

pub struct Silent {
    listener: TcpListener,
}

impl Silent {
    pub async fn bind() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    /// The `homeserver` setting that leads here.
    pub fn setting(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    /// Waits for a whole head; the connection stays open as long as the returned one is kept.
    pub async fn head(&self) -> TcpStream {
        let (mut tcp, _) = self.listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tcp.read_u8().await.unwrap());
        }
        tcp
    }
}
