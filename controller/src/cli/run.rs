//! `composed run`: the controller, until a signal ends it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::args::{Common, Run};
use super::session::{CONVERGED, INVALID, Session, UNREACHABLE, fail};
use crate::api;
use crate::board::Board;
use crate::controller::Controller;
use crate::engine::EngineError;
use crate::source::watch::watch as watch_files;

/// An engine that does not answer at the start is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Runs the controller.
pub async fn run(args: Run, common: &Common) -> anyhow::Result<ExitCode> {
    let board = Arc::new(Board::default());
    let (stop, stopped) = watch::channel(false);
    on_signal(stop)?;
    tokio::spawn(serve_unix(Arc::clone(&board), common.socket.clone()));
    if let Some(address) = args.listen {
        if !address.ip().is_loopback() {
            let why =
                format!("--listen {address}: the status has no authentication, so only a loopback address is taken");
            return Ok(fail(INVALID, &why));
        }
        let board = Arc::clone(&board);
        tokio::spawn(async move {
            if let Err(error) = api::serve_tcp(board, address).await {
                tracing::error!(%address, %error, "the status is not served there");
            }
        });
    }
    let session = match open(common, &board, stopped.clone()).await {
        Ok(Some(session)) => session,
        Ok(None) => return Ok(ExitCode::from(CONVERGED)),
        Err(error) => return Ok(fail(UNREACHABLE, &error)),
    };
    let (readings, received) = mpsc::channel(1);
    tokio::spawn(watch_files(args.dir, readings));
    tracing::info!(engine = session.engine.describe(), socket = %common.socket.display(), "composed runs");
    let controller = Controller {
        engine: session.engine,
        senses: session.senses,
        clock: session.clock,
        state: session.state,
        board,
        confirm_deletion: args.confirm_deletion,
    };
    controller.run(received, stopped).await;
    drop(std::fs::remove_file(&common.socket));
    Ok(ExitCode::from(CONVERGED))
}

/// Waits for an engine; `None` if the wait was ended by a signal. What will not get better by waiting is an error.
async fn open(
    common: &Common,
    board: &Board,
    mut stopped: watch::Receiver<bool>,
) -> Result<Option<Session>, EngineError> {
    loop {
        match Session::open(common).await {
            Ok(session) => return Ok(Some(session)),
            Err(error @ EngineError::Rejected { .. }) => return Err(error),
            Err(error) => {
                let text = error.to_string();
                if board.set_health(|health| health.blocked = Some(text.clone())) {
                    tracing::warn!("{text}");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(ASK_AGAIN) => {}
            _ = stopped.wait_for(|stop| *stop) => return Ok(None),
        }
    }
}

async fn serve_unix(board: Arc<Board>, path: std::path::PathBuf) {
    if let Err(error) = api::serve_unix(board, &path).await {
        tracing::error!(socket = %path.display(), %error, "the status is not served there; give another --socket");
    }
}

fn on_signal(stop: watch::Sender<bool>) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping; what was begun is safe to leave");
        stop.send_replace(true);
    });
    Ok(())
}
