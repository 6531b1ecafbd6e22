//! The API: HTTP with JSON over a Unix socket, for `lb-ctl`, dashboards and `curl --unix-socket`.
//!
//! Every route puts one [`Call`](super::message::Call) to the core loop and renders its answer; nothing is
//! decided here. The types are those of `lb_common::api`.

mod routes;
mod socket;
mod wire;

use tokio::net::UnixListener;
use tokio::sync::watch;

pub use routes::router;
pub use socket::{BindError, SocketFile, bind};

use super::message::Core;

/// Serves the API until `stop` turns true or its sender is gone.
pub async fn serve(listener: UnixListener, core: Core, mut stop: watch::Receiver<bool>) {
    let stopped = async move {
        // An error means that the sender is gone, and so is the agent.
        drop(stop.wait_for(|stop| *stop).await);
    };
    if let Err(error) = axum::serve(listener, router(core)).with_graceful_shutdown(stopped).await {
        tracing::error!("serve the API: {error}");
    }
}
