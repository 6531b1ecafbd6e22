//! `vrrp`: looks at the virtual routers, and lets go of one.

use lb_common::api::{Release, RouterChange, VrrpStatus};

use super::{Answer, Context};
use crate::args::vrrp::{RouterHistory, VrrpVerb};
use crate::error::Error;
use crate::render::vrrp as text;

pub(super) async fn vrrp(verb: VrrpVerb, context: &Context) -> Result<Answer, Error> {
    match verb {
        VrrpVerb::Status => {
            let status: VrrpStatus = context.client.get("/v1/vrrp").await?;
            context.answer(&status, |look| text::status(&status, look))
        }
        VrrpVerb::History(wanted) => history(&wanted, context).await,
        VrrpVerb::Release { router } => {
            let release = Release { router };
            let status: VrrpStatus = context.client.send("/v1/vrrp/release", &release).await?;
            context.answer(&status, |look| text::status(&status, look))
        }
    }
}

/// The name is not checked: the history may tell of routers that are gone.
async fn history(wanted: &RouterHistory, context: &Context) -> Result<Answer, Error> {
    let mut changes: Vec<RouterChange> = context.client.get("/v1/vrrp/history").await?;
    changes.retain(|change| wanted.router.as_ref().is_none_or(|name| *name == change.router));
    let older = changes.len().saturating_sub(wanted.limit.unwrap_or(usize::MAX));
    let latest = changes.split_off(older);
    context.answer(&latest, |look| text::history(&latest, look))
}
