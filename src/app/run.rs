//! The program while it runs: its signals, and what it tells the service manager.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::handover::{Incumbent, Takeover, start_successor};
use super::reload::{Reloader, SetLogFilter};
use super::{App, Outside, Sockets, StartError, panics};
use crate::config::{Config, Settings, Sources};
use crate::proxy::listener::Ending;

/// How often the settings file is looked at. A change counts once it has been the same twice.
const SETTINGS_INTERVAL: Duration = Duration::from_secs(2);

/// How long the file of keys may still be locked after the process that serves has let go of it: it
/// may be reading.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// What the program begins with.
pub(crate) struct Startup {
    /// The settings.
    pub(crate) config: Config,
    /// The same as they were written.
    pub(crate) settings: Settings,
    /// Where they come from.
    pub(crate) sources: Sources,
    /// Changes what is logged.
    pub(crate) set_log_filter: SetLogFilter,
}

/// Runs the program: real clock, real network, until SIGTERM or SIGINT, or until another process has
/// taken over.
pub(crate) fn run(startup: Startup) -> Result<(), StartError> {
    panics::install();
    let keys = &startup.config.key_server;
    if keys.signing_key_file.is_some() || keys.notary_key_file.is_some() {
        forbid_core_files();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(begin(startup))
}

async fn begin(startup: Startup) -> Result<(), StartError> {
    let Startup { config, settings, sources, set_log_filter } = startup;
    // First of all: until then, SIGHUP and SIGUSR2 would end the process.
    let signals = Signals::new()?;
    let outside = Outside::real(&config)?;
    let clock = Arc::clone(&outside.clock);
    let handover = config.listen.handover.clone();
    let (listen, admin) = (config.listen.address, config.admin.address);
    let takeover = match &handover {
        Some(path) => Takeover::ask(path).await?,
        None => None,
    };
    let (sockets, takeover, patience) = match takeover {
        Some(takeover) => {
            let (sockets, takeover) = takeover.sockets(&config).await?;
            (sockets, Some(takeover), STORE_PATIENCE)
        }
        None => (Sockets::default(), None, Duration::ZERO),
    };
    let app = App::bind_on(config, outside, sockets, patience).await?;
    let incumbent = match &handover {
        Some(path) => Some(Incumbent::new(path, &app, (listen, admin), clock)?),
        None => None,
    };
    if let Some(takeover) = takeover {
        takeover.finish().await?;
    }
    let ending = app.stopper();
    if let Some(incumbent) = incumbent {
        let incumbent = incumbent.publish()?;
        tokio::spawn(incumbent.serve(ending.clone()));
    }
    let reloader = Arc::new(Reloader::new(app.live(), sources, settings, set_log_filter));
    tokio::spawn(obey(signals, reloader, ending, handover.is_some()));
    info!(address = %app.address(), admin = %app.admin_address(), "ready");
    notify(&[NotifyState::Ready]);
    app.serve().await;
    info!("stopped");
    Ok(())
}

/// What may be asked of the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user2: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }
}

async fn watch_settings(reloader: Arc<Reloader>, mut ending: watch::Receiver<Ending>) {
    tokio::select! {
        () = reloader.watch(SETTINGS_INTERVAL) => {}
        () = Ending::reached(&mut ending, |ending| *ending != Ending::None) => {}
    }
}

/// Does what signals ask for, until the end.
async fn obey(
    mut signals: Signals,
    reloader: Arc<Reloader>,
    ending: watch::Sender<Ending>,
    can_hand_over: bool,
) {
    tokio::spawn(watch_settings(Arc::clone(&reloader), ending.subscribe()));
    let mut ended = ending.subscribe();
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            () = Ending::reached(&mut ended, |ending| *ending != Ending::None) => {
                // Only the last order is left to be given.
                tokio::select! {
                    _ = signals.terminate.recv() => {}
                    _ = signals.interrupt.recv() => {}
                }
                break;
            }
            _ = signals.hangup.recv() => {
                let now = NotifyState::monotonic_usec_now();
                let begun = now.map(|now| notify(&[NotifyState::Reloading, now]));
                let status = reloader.reload().await;
                if begun.is_ok() {
                    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
                }
            }
            _ = signals.user2.recv() => {
                if can_hand_over {
                    start_successor(&ending);
                } else {
                    error!("SIGUSR2 starts a new fedgate that takes over: set listen.handover");
                }
            }
        }
    }
    info!("stopping: no new connections, requests in flight end");
    if *ending.borrow() == Ending::None {
        notify(&[NotifyState::Stopping]);
    }
    ending.send_replace(Ending::Stop);
}

/// Keeps signing keys out of core files, and out of the sight of other processes of the same user. A
/// limit on core files would not do: where they go to a program, as they do under systemd, it does not
/// count.
fn forbid_core_files() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!(%error, "signing keys may end up in a core file");
    }
}

/// Tells systemd, where it asked to be told.
pub(super) fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "cannot notify the service manager");
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn k13_a_process_with_signing_keys_leaves_no_core_file() {
        forbid_core_files();
        assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
    }
}
