//! Single packets.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use lb_common::api::{DropSamples, Explanation, MadePacket};
use serde::Deserialize;

use super::{Answer, Body, Params};
use crate::io::message::{Call, Core};

pub(super) fn routes() -> Router<Core> {
    Router::new().route("/v1/drops/samples", get(samples)).route("/v1/explain", post(explain))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SampleParams {
    after: Option<u64>,
}

async fn samples(
    State(core): State<Core>,
    Params(SampleParams { after }): Params<SampleParams>,
) -> Answer<DropSamples> {
    core.ask(|reply| Call::DropSamples(after, reply)).await.into()
}

async fn explain(State(core): State<Core>, Body(packet): Body<MadePacket>) -> Answer<Explanation> {
    core.ask(|reply| Call::Explain(packet, reply)).await.into()
}
