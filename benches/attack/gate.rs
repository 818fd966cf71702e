//! The fedgate under attack, what it takes of the machine, and the homeserver behind it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::wire::{LONG_ANSWER_TARGET, OWN_NAME, pin};

/// Ticks of processor time in a second, as /proc counts them on every Linux there is.
const TICKS_PER_SECOND: f64 = 100.0;

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

    /// Processor time it has used, in seconds (proc(5), utime and stime).
    pub fn cpu_seconds(&self) -> f64 {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
        (ticks(11) + ticks(12)) / TICKS_PER_SECOND
    }

    /// Memory it holds (`VmRSS`), or has held at most (`VmHWM`), in MiB.
    pub fn memory_mib(&self, line: &str) -> f64 {
        let status = self.proc("status");
        let found = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':')).unwrap();
        found.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1_024.0
    }

    /// Begins to look for the most memory anew.
    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
    }

    fn proc(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.process.id()))
            .expect("fedgate is gone")
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

async fn answer(mut tcp: TcpStream) -> std::io::Result<()> {
    let piece = [b' '; 65_536];
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|part| part == b"\r\n\r\n") {
                break at + 4;
            }
            if tcp.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let end = end + length.map_or(0, |length| length.parse().unwrap());
        while buffer.len() < end {
            tcp.read_buf(&mut buffer).await?;
        }
        buffer.drain(..end);
        if !head.starts_with(&format!("get {LONG_ANSWER_TARGET} ")) {
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
