//! New settings for a gate that serves: put together beside those in force, and swapped in whole, or
//! not at all.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::StartError;
use super::assembly::{Assembly, Foundation, door_rules};
use super::keys::renewed;
use super::metrics::ReloadOutcome;
use crate::admin::Served;
use crate::config::{Changes, Config, ConfigErrors, Mode, RefusalLines, Settings, Sources};
use crate::proxy::door::Door;
use crate::proxy::gateway::CurrentGateway;
use crate::proxy::tls::{Certificate, Loaded};
use crate::stamp::Stamp;

/// The parts in use.
pub struct Live {
    foundation: Foundation,
    /// Held while new settings are put in its place.
    assembly: tokio::sync::Mutex<Assembly>,
    gateway: CurrentGateway,
    served: Arc<ArcSwap<Served>>,
    certificate: Option<Arc<Certificate>>,
    /// For connections.
    door: Arc<Door>,
    /// Tells of new settings.
    renewed: watch::Sender<()>,
}

impl Live {
    pub(super) fn new(
        foundation: Foundation,
        assembly: Assembly,
        gateway: CurrentGateway,
        served: Arc<ArcSwap<Served>>,
        certificate: Option<Arc<Certificate>>,
        door: Arc<Door>,
    ) -> Self {
        let refusals = assembly.config.log.refusals;
        let live = Self {
            foundation,
            gateway,
            served,
            certificate,
            door,
            renewed: watch::Sender::new(()),
            assembly: tokio::sync::Mutex::new(assembly),
        };
        live.show_mode(live.gateway.load().gate.mode(), refusals);
        live.foundation.families.reloads.began(live.foundation.outside.clock.now());
        live
    }

    pub(super) fn certificate(&self) -> Option<Arc<Certificate>> {
        self.certificate.clone()
    }

    /// Puts `config` in force: requests that begin from here on are served under it, those that have
    /// begun end as they began. What takes a restart is not looked at.
    ///
    /// # Errors
    /// When something it names cannot be used; nothing has changed then.
    pub async fn apply(&self, config: Config) -> Result<(), StartError> {
        let mut current = self.assembly.lock().await;
        let certificate = match &config.listen.tls {
            Some(files) if self.certificate.is_some() => Some(Loaded::read(files.clone())?),
            _ => None,
        };
        let renewal = current.keyring.renewal().await;
        let keyring = renewed(&renewal, &config, &self.foundation.outside)?;
        let next = self.foundation.assemble(config, keyring, Some(&current))?;
        // From here on nothing can fail.
        renewal.commit(&next.keyring);
        if let (Some(certificate), Some(loaded)) = (&self.certificate, certificate) {
            certificate.replace(loaded);
        }
        self.door.renew(door_rules(&next.config));
        self.show_mode(next.config.mode, next.config.log.refusals);
        self.served.store(Arc::clone(&next.served));
        self.gateway.store(Arc::clone(&next.gateway));
        *current = next;
        self.renewed.send_replace(());
        Ok(())
    }

    fn show_mode(&self, mode: Mode, refusals: RefusalLines) {
        let is_observing = mode == Mode::Observe;
        let families = &self.foundation.families;
        families.observing.set(i64::from(is_observing));
        families.requests.lines.limit(refusals == RefusalLines::Limited);
        if is_observing {
            warn!("observe mode: nothing is refused, unverified requests reach the homeserver");
        }
    }

    /// Keeps fresh what requests will need, under the settings in force, for as long as it is waited
    /// for.
    pub(super) async fn keep_fresh(&self) {
        let mut renewed = self.renewed.subscribe();
        loop {
            renewed.borrow_and_update();
            let keyring = self.assembly.lock().await.keyring.clone();
            let gateway = self.gateway.load_full();
            let publishing = async {
                if let Some(publisher) = &gateway.key_server.publisher {
                    publisher.keep_fresh().await;
                }
            };
            let work = async {
                let (refreshing, preparing) = (keyring.refresh_ahead(), gateway.gate.prepare());
                tokio::join!(keyring.probe(), refreshing, publishing, preparing);
            };
            tokio::select! {
                () = work => {}
                changed = renewed.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// Changes what is logged, to a filter as the setting `log.filter` has it.
pub type SetLogFilter = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Reads the settings again and puts them in force.
pub(super) struct Reloader {
    live: Arc<Live>,
    sources: Sources,
    set_log_filter: SetLogFilter,
    /// The settings in force. Held while they are read again.
    settings: tokio::sync::Mutex<Settings>,
    /// The settings file when it was last read.
    seen: Mutex<Option<Stamp>>,
}

/// Why the last good settings stay in force.
enum NotReloaded {
    /// They cannot be read.
    Wrong(ConfigErrors),
    /// What they name cannot be used.
    Unusable(StartError),
    /// These changes cannot be made in place.
    RestartNeeded(Changes),
}

impl Reloader {
    /// Over `live`, where `settings` from `sources` are in force.
    pub(super) fn new(
        live: Arc<Live>,
        sources: Sources,
        settings: Settings,
        set_log_filter: SetLogFilter,
    ) -> Self {
        let seen = Mutex::new(Stamp::of(sources.path()));
        let settings = tokio::sync::Mutex::new(settings);
        Self { live, sources, set_log_filter, settings, seen }
    }

    /// Reads the settings again. Whatever is wrong with them, the last good ones stay in force. What
    /// came of it, for the service manager.
    pub(super) async fn reload(&self) -> &'static str {
        let mut in_force = self.settings.lock().await;
        *lock(&self.seen) = Stamp::of(self.sources.path());
        let reloaded = match Config::load_with_settings(&self.sources) {
            Ok((config, settings)) => self.put_in_force(config, settings, &mut in_force).await,
            Err(errors) => Err(NotReloaded::Wrong(errors)),
        };
        let outcome = match &reloaded {
            Ok(_) => ReloadOutcome::Applied,
            Err(NotReloaded::Wrong(_) | NotReloaded::Unusable(_)) => ReloadOutcome::Refused,
            Err(NotReloaded::RestartNeeded(_)) => ReloadOutcome::RestartNeeded,
        };
        // Counted first: whoever reads the line finds it in the metrics.
        let foundation = &self.live.foundation;
        foundation.families.reloads.reloaded(outcome, foundation.outside.clock.now());
        log(&reloaded);
        match outcome {
            ReloadOutcome::Applied => "Settings reloaded",
            ReloadOutcome::Refused => "Settings not reloaded: they are wrong, see the log",
            ReloadOutcome::RestartNeeded => "Settings not reloaded: they take a restart",
        }
    }

    /// What has changed, once it is in force.
    async fn put_in_force(
        &self,
        config: Config,
        settings: Settings,
        in_force: &mut Settings,
    ) -> Result<Changes, NotReloaded> {
        let changes = Changes::between(in_force, &settings);
        let restart = changes.needing_restart();
        if !restart.is_empty() {
            return Err(NotReloaded::RestartNeeded(restart));
        }
        let filter = config.log.filter.clone();
        self.live.apply(config).await.map_err(NotReloaded::Unusable)?;
        // The settings have been checked, so that this cannot fail.
        if let Err(error) = (self.set_log_filter)(&filter) {
            error!(error, "log.filter is not changed");
        }
        *in_force = settings;
        Ok(changes)
    }

    /// Looks at the settings file at this interval, and reloads when it has changed and is still the
    /// same at the next look: an editor may be half done with it. Runs for ever.
    pub(super) async fn watch(&self, interval: Duration) {
        let mut last = *lock(&self.seen);
        loop {
            tokio::time::sleep(interval).await;
            let now = Stamp::of(self.sources.path());
            if now == last && now != *lock(&self.seen) {
                self.reload().await;
            }
            last = now;
        }
    }
}

fn log(reloaded: &Result<Changes, NotReloaded>) {
    match reloaded {
        Ok(changes) if changes.is_empty() => {
            info!("settings reloaded: they are the same; the files they name have been read again");
        }
        Ok(changes) => info!(%changes, "settings reloaded"),
        Err(NotReloaded::Wrong(errors)) => {
            error!("settings not reloaded, the last good ones stay in force:\n{errors}");
        }
        Err(NotReloaded::Unusable(error)) => {
            error!(%error, "settings not reloaded, the last good ones stay in force");
        }
        Err(NotReloaded::RestartNeeded(changes)) => error!(
            %changes,
            "settings not reloaded, the last good ones stay in force: these take a restart; \
             SIGUSR2 restarts without losing a request where listen.handover is set"
        ),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
