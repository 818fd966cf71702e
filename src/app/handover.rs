//! Handing over to a new process without losing a request: the listening sockets go over a unix socket,
//! and are open all the time.
//!
//! 1. The new process connects. The one that serves sends it both listening sockets.
//! 2. The new one says `release`: the other lets go of the file of keys, serves on from memory, and
//!    says `released`. The new one puts its parts together.
//! 3. The new one says `serving`: the other accepts no more connections, lets its own end and says
//!    `yours`.
//!
//! A new process that ends before it says `serving`, or takes too long, changes nothing: the other goes
//! on and opens its file of keys again. Both must be of the same user.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::geteuid;
use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::run::notify;
use super::{App, Sockets, StartError};
use crate::clock::Clock;
use crate::config::Config;
use crate::keys::store::LeasedStore;
use crate::proxy::listener::Ending;

/// The form of what is said.
const VERSION: u32 = 1;

/// How long one waits for the other's next word: the new process may check a large file of keys.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before the file of keys is opened again after a handover came to nothing.
const RECLAIM_PAUSE: Duration = Duration::from_secs(1);

/// How long to wait before accepting again when the system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Longest message, in bytes; the offer has about a hundred.
const MESSAGE_BYTES_MAX: usize = 1_024;

/// Who may connect: the own user. Whoever does gets all requests.
const SOCKET_MODE: u32 = 0o600;

const RELEASE: &str = "release";
const RELEASED: &str = "released";
const SERVING: &str = "serving";
const YOURS: &str = "yours";
const LATE: &str = "late";

/// What comes with the sockets.
#[derive(Debug, Serialize, Deserialize)]
struct Offer {
    version: u32,
    /// The settings that the sockets were bound for.
    listen: SocketAddr,
    admin: SocketAddr,
    /// The network namespace that they are in.
    network: String,
}

/// A new process's side.
pub(super) struct Takeover {
    path: PathBuf,
    stream: UnixStream,
    offer: Offer,
    listen: OwnedFd,
    admin: OwnedFd,
}

impl Takeover {
    /// Asks whoever serves, if there is anybody.
    ///
    /// # Errors
    /// When somebody is there who cannot hand over to this process.
    pub(super) async fn ask(path: &Path) -> Result<Option<Self>, StartError> {
        let refused = |cause: String| StartError::Handover { path: path.to_owned(), cause };
        let stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => {
                return Err(refused(format!("{error}; both processes must be of one user")));
            }
        };
        if !is_of_own_user(&stream) {
            return Err(refused("another user listens there; both must be of one user".to_owned()));
        }
        let received = timeout(PATIENCE, receive(&stream)).await;
        let (offer, [listen, admin]) =
            received.unwrap_or_else(|_elapsed| Err(ErrorKind::TimedOut.into())).map_err(
                |error| refused(format!("the fedgate that serves does not answer: {error}")),
            )?;
        if offer.version != VERSION {
            return Err(refused(format!(
                "the fedgate that serves hands over in another way ({}); stop it first",
                offer.version
            )));
        }
        if offer.network != network() {
            return Err(refused(
                "the fedgate that serves is in another network namespace, so its sockets are of no \
                 use here; stop it first, or share the namespace"
                    .to_owned(),
            ));
        }
        Ok(Some(Self { path: path.to_owned(), stream, offer, listen, admin }))
    }

    /// The sockets that were bound for the addresses of the settings. From now on the file of keys is
    /// free.
    pub(super) async fn sockets(
        mut self,
        config: &Config,
    ) -> Result<(Sockets, ReadyToFinish), StartError> {
        let for_address = |socket: OwnedFd, was: SocketAddr, is: SocketAddr| {
            (was == is).then(|| TcpListener::from_std(socket.into())).transpose()
        };
        let listen = for_address(self.listen, self.offer.listen, config.listen.address)?;
        let admin = for_address(self.admin, self.offer.admin, config.admin.address)?;
        let answer = tell_and_hear(&mut self.stream, RELEASE).await;
        match answer.as_deref() {
            Ok(RELEASED) => {}
            Ok(other) => {
                let cause = format!("the fedgate that serves says {other:?}");
                return Err(StartError::Handover { path: self.path, cause });
            }
            // It has come to its end meanwhile; what it had is free.
            Err(error) => warn!(%error, "the fedgate that served has gone"),
        }
        Ok((Sockets { listen, admin }, ReadyToFinish { path: self.path, stream: self.stream }))
    }
}

/// A new process that has got everything.
pub(super) struct ReadyToFinish {
    path: PathBuf,
    stream: UnixStream,
}

impl ReadyToFinish {
    /// Says that this process serves from now on.
    ///
    /// # Errors
    /// When the other one has lost patience and goes on.
    pub(super) async fn finish(mut self) -> Result<(), StartError> {
        match tell_and_hear(&mut self.stream, SERVING).await.as_deref() {
            Ok(LATE) => {
                let cause = format!("the fedgate that serves goes on, after {PATIENCE:?}");
                Err(StartError::Handover { path: self.path, cause })
            }
            Ok(_) => {
                info!("taken over from the fedgate that served");
                Ok(())
            }
            Err(error) => {
                warn!(%error, "the fedgate that served has gone");
                Ok(())
            }
        }
    }
}

/// The side of the process that serves.
pub(super) struct Incumbent {
    path: PathBuf,
    unpublished: PathBuf,
    socket: UnixListener,
    offer: Offer,
    sockets: [OwnedFd; 2],
    store: Option<Arc<LeasedStore>>,
    clock: Arc<dyn Clock>,
}

impl Incumbent {
    /// Prepares to hand over at `path` what `app` listens on, for `addresses` as they were set.
    pub(super) fn new(
        path: &Path,
        app: &App,
        (listen, admin): (SocketAddr, SocketAddr),
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let sockets = [&app.listener.socket, &app.admin.socket];
        let [a, b] = sockets.map(|socket| socket.as_fd().try_clone_to_owned());
        // Not in the place of another's socket until that one is not needed any more.
        let unpublished = PathBuf::from(format!("{}.{}", path.display(), std::process::id()));
        let socket = bind_private(&unpublished).map_err(|error| StartError::Handover {
            path: path.to_owned(),
            cause: format!("{error}; the folder must exist and belong to fedgate's user"),
        })?;
        let offer = Offer { version: VERSION, listen, admin, network: network() };
        let (path, store) = (path.to_owned(), app.store.clone());
        Ok(Self { path, unpublished, socket, offer, sockets: [a?, b?], store, clock })
    }

    /// From now on new processes find this one.
    pub(super) fn publish(self) -> Result<Self, StartError> {
        std::fs::rename(&self.unpublished, &self.path).map_err(|error| StartError::Handover {
            path: self.path.clone(),
            cause: error.to_string(),
        })?;
        Ok(self)
    }

    /// Hands over to whoever asks, until somebody has taken over or the process is to end.
    pub(super) async fn serve(self, ending: watch::Sender<Ending>) {
        let mut told = ending.subscribe();
        let handing_over = async {
            loop {
                match self.socket.accept().await {
                    Ok((stream, _)) if is_of_own_user(&stream) => {
                        if self.hand_over(stream, &ending).await {
                            return;
                        }
                    }
                    Ok(_) => warn!("another user has asked for the listening sockets"),
                    Err(error) => {
                        warn!(%error, "cannot accept on listen.handover");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = handing_over => {}
            () = Ending::reached(&mut told, |ending| *ending == Ending::Stop) => {}
        }
    }

    /// One conversation; whether the other process has taken over.
    async fn hand_over(&self, mut stream: UnixStream, ending: &watch::Sender<Ending>) -> bool {
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        match self.converse(&mut stream, pid, ending).await {
            Ok(()) => return true,
            Err(error) => {
                warn!(pid, %error, "the new fedgate has not taken over; this one goes on");
                // Whoever comes too late is to know.
                let _gone = tell(&mut stream, LATE).await;
            }
        }
        if let Some(store) = &self.store {
            while let Err(error) = store.reclaim(self.clock.now()).await {
                warn!(%error, "keys are kept in memory only until their file can be opened again");
                sleep(RECLAIM_PAUSE).await;
            }
        }
        false
    }

    async fn converse(
        &self,
        stream: &mut UnixStream,
        pid: Option<i32>,
        ending: &watch::Sender<Ending>,
    ) -> io::Result<()> {
        send(stream, &self.offer, &self.sockets).await?;
        expect(stream, RELEASE).await?;
        info!(pid, "a new fedgate takes over");
        if let Some(store) = &self.store {
            store.release().await;
        }
        tell(stream, RELEASED).await?;
        expect(stream, SERVING).await?;
        // What it says from now on is the service's word, and a notification of ours is not.
        if let Some(pid) = pid.and_then(|pid| u32::try_from(pid).ok()) {
            notify(&[NotifyState::MainPid(pid)]);
        }
        info!(pid, "handed over: no new connections here, requests in flight end");
        ending.send_replace(Ending::HandOver);
        // It serves, whether or not it hears this.
        let _gone = tell(stream, YOURS).await;
        Ok(())
    }
}

/// Starts the program anew, as it was started: the file may be another by now. It will ask this process
/// to hand over.
pub(super) fn start_successor(ending: &watch::Sender<Ending>) {
    let mut arguments = std::env::args_os();
    let Some(program) = arguments.next() else {
        return error!("there is no word of how this program was started");
    };
    let child = Command::new(&program).args(arguments).stdin(Stdio::null()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            return error!(?program, %error, "cannot start a new fedgate; this one goes on");
        }
    };
    info!(?program, pid = child.id(), "a new fedgate has been started");
    let ending = ending.subscribe();
    let waiting = move || {
        let status = child.wait();
        if *ending.borrow() == Ending::None {
            let status = status.map(|status| status.to_string()).unwrap_or_default();
            error!(status, "the new fedgate has ended; this one goes on");
        }
    };
    // Not one of the runtime's threads: its end would wait for this one's.
    if let Err(error) = std::thread::Builder::new().name("successor".to_owned()).spawn(waiting) {
        warn!(%error, "nobody will tell of the new fedgate's end");
    }
}

/// A socket that only the own user may connect to.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    // A process of the same number may have left one.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(socket)
}

fn is_of_own_user(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == geteuid().as_raw())
}

/// What tells network namespaces apart.
fn network() -> String {
    let namespace = std::fs::metadata("/proc/self/ns/net");
    namespace.map(|is| format!("{}:{}", is.dev(), is.ino())).unwrap_or_default()
}

async fn send(stream: &UnixStream, offer: &Offer, sockets: &[OwnedFd; 2]) -> io::Result<()> {
    let text = serde_json::to_vec(offer)?;
    let sent = stream.async_io(Interest::WRITABLE, || {
        let fds = sockets.each_ref().map(|socket| socket.as_fd());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(ErrorKind::OutOfMemory.into());
        }
        Ok(sendmsg(stream, &[IoSlice::new(&text)], &mut control, SendFlags::empty())?)
    });
    // So short a message goes whole.
    if sent.await? == text.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
}

async fn receive(stream: &UnixStream) -> io::Result<(Offer, [OwnedFd; 2])> {
    let mut text = vec![0; MESSAGE_BYTES_MAX];
    let mut sockets = Vec::new();
    let received = stream.async_io(Interest::READABLE, || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(&mut text)];
        let received = recvmsg(stream, into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                sockets.extend(fds);
            }
        }
        Ok(received.bytes)
    });
    let length = received.await?;
    if length == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let offer = serde_json::from_slice(text.get(..length).unwrap_or_default())?;
    let sockets = sockets.try_into().map_err(|_other_number: Vec<_>| ErrorKind::InvalidData)?;
    Ok((offer, sockets))
}

async fn tell(stream: &mut UnixStream, word: &str) -> io::Result<()> {
    stream.write_all(format!("{word}\n").as_bytes()).await
}

/// The other's next word, within [`PATIENCE`].
async fn hear(stream: &mut UnixStream) -> io::Result<String> {
    let word = async {
        let mut word = String::new();
        loop {
            match stream.read_u8().await? {
                b'\n' => return Ok(word),
                byte if word.len() < MESSAGE_BYTES_MAX => word.push(char::from(byte)),
                _ => return Err(ErrorKind::InvalidData.into()),
            }
        }
    };
    timeout(PATIENCE, word).await.unwrap_or_else(|_elapsed| Err(ErrorKind::TimedOut.into()))
}

async fn expect(stream: &mut UnixStream, word: &str) -> io::Result<()> {
    let heard = hear(stream).await?;
    if heard == word { Ok(()) } else { Err(io::Error::other(format!("it says {heard:?}"))) }
}

async fn tell_and_hear(stream: &mut UnixStream, word: &str) -> io::Result<String> {
    tell(stream, word).await?;
    hear(stream).await
}
