//! SYN cookies are at hand a moment after the agent is ready: until then listeners do without.

use std::thread;

use super::faults::Act;
use super::runtime::Runtime;
use crate::io::causes::with_causes;
use crate::io::datapath::CookiesLoaded;
use crate::io::message::Message;
use crate::model::agent::Event;

const COOKIES: Act = Act::needed("answer SYNs with cookies");

impl Runtime {
    /// Begins to fetch what SYN cookies need, if a service may want them; lets services use them when it is there.
    pub(super) async fn look_at_cookies(&mut self) {
        if !self.agent.misses_cookies() {
            return;
        }
        if self.datapath.has_cookies() {
            tracing::info!("SYN cookies are at hand");
            return self.happened(Event::CookiesReady).await;
        }
        let Some(late) = self.datapath.late_cookies() else { return };
        let messages = self.messages.clone();
        // Not one of those that are waited for when the agent stops.
        let started = thread::Builder::new().name("cookies".to_owned()).spawn(move || {
            let loaded = late.load().map_err(|error| with_causes(&error));
            // It fails when the agent is stopping, and then nobody wants to know.
            drop(messages.blocking_send(Message::CookiesLoaded(loaded)));
        });
        self.faults.note(COOKIES, started.map(drop).map_err(|error| with_causes(&error)));
    }

    pub(super) async fn cookies_loaded(&mut self, loaded: Result<CookiesLoaded, String>) {
        let noted = loaded.map(|loaded| self.datapath.note_cookies(&loaded));
        self.faults.note(COOKIES, noted);
        self.look_at_cookies().await;
    }
}
