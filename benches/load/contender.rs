//! The proxies, each a process of its own that is held to one processor.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::known::{OWN_NAME, pin};
use crate::process;

/// The processor they run on, by its number.
const PROCESSOR: &str = "0";

/// A server that may not federate, and one whose keys nobody has.
pub const DENIED: &str = "denied.example";
pub const GONE: &str = "gone.example";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Pingora,
    Fedgate,
}

impl Kind {
    pub fn named(name: &str) -> Option<Self> {
        KINDS.into_iter().find(|kind| format!("{kind:?}").eq_ignore_ascii_case(name))
    }
}

pub const KINDS: [Kind; 3] = [Kind::Nginx, Kind::Pingora, Kind::Fedgate];

pub struct Contender {
    pub address: SocketAddr,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Contender {
    pub async fn start(kind: Kind, fedgate: &Path, homeserver: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", PROCESSOR]);
        match kind {
            Kind::Nginx => {
                let file = folder.path().join("nginx.conf");
                std::fs::write(&file, nginx_settings(address, homeserver)).unwrap();
                command.args(["nginx", "-p"]).arg(folder.path()).arg("-c").arg(&file);
            }
            Kind::Pingora => {
                let own = std::env::current_exe().unwrap();
                command.arg(own).args([
                    "passthrough",
                    &address.to_string(),
                    &homeserver.to_string(),
                ]);
            }
            Kind::Fedgate => {
                let file = folder.path().join("fedgate.toml");
                std::fs::write(&file, fedgate_settings(address, homeserver)).unwrap();
                command.arg(fedgate).args(["run", "--config"]).arg(&file);
            }
        }
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while TcpStream::connect(address).await.is_err() {
            assert!(process.try_wait().unwrap().is_none(), "{kind:?} did not start");
            sleep(Duration::from_millis(50)).await;
        }
        Self { address, process, _folder: folder }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its processes: nginx has a worker.
    fn ids(&self) -> Vec<u32> {
        let own = self.id();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
        children.split_whitespace().map(|id| id.parse().unwrap()).chain([own]).collect()
    }

    /// Processor time it has used.
    pub fn cpu_seconds(&self) -> f64 {
        self.ids().into_iter().map(process::cpu_seconds).sum()
    }

    /// As [`process::memory_mib`].
    pub fn memory_mib(&self, line: &str) -> f64 {
        self.ids().into_iter().map(|id| process::memory_mib(id, line)).sum()
    }

    pub fn forget_peak(&self) {
        self.ids().into_iter().for_each(process::forget_peak);
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        for id in self.ids() {
            let _gone = Command::new("kill").args(["-KILL", &id.to_string()]).status();
        }
        let _gone = self.process.wait();
    }
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A plain proxy that holds a body in memory until it is there, as it does by default with small ones.
fn nginx_settings(address: SocketAddr, homeserver: SocketAddr) -> String {
    format!(
        "user root;\nworker_processes 1;\ndaemon off;\npid nginx.pid;\nerror_log stderr crit;\n\
         events {{ worker_connections 20000; }}\n\
         http {{\n  access_log off;\n  client_max_body_size 20m;\n  client_body_buffer_size 1m;\n  \
         keepalive_requests 1000000000;\n  client_body_temp_path body;\n  proxy_temp_path proxy;\n  \
         fastcgi_temp_path fastcgi;\n  uwsgi_temp_path uwsgi;\n  scgi_temp_path scgi;\n  \
         upstream homeserver {{ server {homeserver}; keepalive 128; keepalive_requests 1000000000; }}\n  \
         server {{\n    listen {address} backlog=8192;\n    location / {{\n      proxy_pass http://homeserver;\n      \
         proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      \
         proxy_set_header Host $host;\n    }}\n  }}\n}}\n"
    )
}

/// Every check of the request itself, nothing of the events in it, and no bound that one client who is all
/// servers would reach. Names lead nowhere, at once.
fn fedgate_settings(address: SocketAddr, homeserver: SocketAddr) -> String {
    format!(
        "server_name = \"{OWN_NAME}\"\nhomeserver = \"http://{homeserver}\"\n\
         [listen]\naddress = \"{address}\"\n\
         [admin]\naddress = \"{}\"\n\
         [keys]\nsources = [\"origin\"]\nstore = \"\"\n\
         [outbound]\ndns_servers = [\"127.0.0.1:9\"]\n\
         [policy]\ndeny = [\"{DENIED}\"]\n\
         [events]\nmode = \"off\"\n\
         [limits]\nbuffered_bytes_max = \"1 GiB\"\nbuffered_bytes_max_per_network = \"1 GiB\"\n\
         connections_max = 8192\norigin_per_second = 100000\norigin_concurrent = 10000\n\
         origin_queue = 10000\nbad_signatures_per_second = 10000\n\
         {}",
        free_address(),
        pin()
    )
}
