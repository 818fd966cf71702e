//! The fedgate under attack, what it takes of the machine, and the homeserver behind it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::wire::LONG_ANSWER_TARGET;
use crate::http1::read_message;
use crate::known::{OWN_NAME, pin};

pub struct Gate {
    pub address: SocketAddr,
    pub ca_file: PathBuf,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Gate {
    pub async fn start(program: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca_file = write_certificate(folder.path());
        let homeserver = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, admin) = (free_address(), free_address());
        let dir = folder.path().display();
        // Names lead nowhere, at once. Nobody is a trusted proxy: all are strangers.
        let settings = format!(
            "server_name = \"{OWN_NAME}\"\nhomeserver = \"http://{}\"\n\
             [listen]\naddress = \"{address}\"\ntrusted_proxies = []\n\
             tls_certificate = \"{dir}/chain.pem\"\ntls_private_key = \"{dir}/key.pem\"\n\
             [admin]\naddress = \"{admin}\"\n[keys]\nsources = [\"origin\"]\nstore = \"\"\n\
             [outbound]\ndns_servers = [\"127.0.0.1:9\"]\n{}",
            homeserver.local_addr().unwrap(),
            pin()
        );
        let file = folder.path().join("fedgate.toml");
        std::fs::write(&file, settings).unwrap();
        tokio::spawn(serve(homeserver));
        let process = Command::new(program)
            .args(["run", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while TcpStream::connect(address).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
        Self { address, ca_file, process, _folder: folder }
    }

    /// Of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn write_certificate(dir: &Path) -> PathBuf {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![OWN_NAME.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    std::fs::write(dir.join("chain.pem"), leaf.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    let ca_file = dir.join("ca.der");
    std::fs::write(&ca_file, issuer.der()).unwrap();
    ca_file
}

/// More than sockets hold on their way.
const LONG_ANSWER_BYTES: usize = 16 << 20;

/// A homeserver that has a short answer to everything, and a long one to one thing.
async fn serve(listener: TcpListener) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        tokio::spawn(answer(tcp));
    }
}

async fn answer(mut tcp: TcpStream) -> io::Result<()> {
    let piece = [b' '; 65_536];
    let long = format!("get {LONG_ANSWER_TARGET} ");
    let mut buffer = Vec::new();
    loop {
        if !read_message(&mut tcp, &mut buffer).await?.holds(&long) {
            tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await?;
            continue;
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG_ANSWER_BYTES}\r\n\r\n");
        tcp.write_all(head.as_bytes()).await?;
        for _ in 0..LONG_ANSWER_BYTES / piece.len() {
            tcp.write_all(&piece).await?;
        }
    }
}
