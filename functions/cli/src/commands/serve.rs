//! `serve`: the HTTP API, and the runner behind it.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use adapters::ids::SnowflakeIds;
use anyhow::Context as _;
use api::http::{Api, Door, router};
use api::stored::Stored;
use clap::Args as ClapArgs;
use engine_core::playbook::support::unsupported;
use engine_core::ports::Catalog;
use tokio::net::TcpListener;

use super::stdout;
use crate::args::{StoreArgs, ToolArgs};
use crate::ending::{Ending, invalid};
use crate::local::{Local, Silent, runtime};
use crate::place::readers;
use crate::render::note;
use crate::serve::{Credentials, Taken, Waiting};

/// Serves the HTTP API, and runs what it is asked to run
///
/// Executions of the store that have not ended go on. Ctrl-C or a TERM signal stops: running calls have a
/// few seconds to finish, and what is left goes on with the next start. Nobody is asked for a password: let
/// only those reach the address who may run programs as you. Credentials that are posted are kept in the
/// store, encrypted with the key in `NOETL_MASTER_KEY` (or in the file that `NOETL_MASTER_KEY_FILE` names;
/// make one with `openssl rand -base64 32`); in `:memory:` they end with the process and need no key.
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    /// The port to listen on; 0 lets the system choose one
    #[arg(long, value_name = "PORT", default_value_t = 8082)]
    port: u16,
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = address)]
    host: IpAddr,
    #[command(flatten)]
    place: StoreArgs,
    #[command(flatten)]
    tools: ToolArgs,
}

fn address(text: &str) -> Result<IpAddr, String> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    let expected = "an address is written as 127.0.0.1, 0.0.0.0 or ::1, or is `localhost`";
    text.parse().map_err(|_no_address| expected.to_owned())
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let files = args.tools.secrets()?;
    let embedded = args.place.store.open()?;
    let credentials = Arc::new(Credentials::new(files, &embedded)?);
    let local = Local::with_secrets(embedded, &args.tools, Arc::new(Silent), credentials.clone())?;
    let (local, waiting) = (Arc::new(local), Arc::new(Waiting::default()));
    let runtime = runtime()?;
    let ending = runtime.block_on(async {
        let listener = listen(SocketAddr::new(args.host, args.port)).await?;
        let api = api(&local, waiting.clone(), credentials);
        let door = if args.host.is_loopback() { Door::Loopback } else { Door::Network };
        let served = local.serve(listener, router(api, door), waiting);
        served.await.map(|()| Ending::Completed)
    });
    // Calls that did not finish in time are left behind.
    runtime.shutdown_background();
    ending
}

/// Listens, and says where.
async fn listen(wanted: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(wanted).await.with_context(|| {
        format!("`{wanted}` cannot be listened on; choose another port with `--port`")
    });
    let listener = listener.map_err(invalid)?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        note(format_args!(
            "warning: whoever reaches {address} can run programs as you: there is no authentication"
        ));
    }
    let mut out = stdout();
    writeln!(out, "listening on http://{address}")?;
    out.flush()?;
    Ok(listener)
}

fn api(local: &Arc<Local>, waiting: Arc<Waiting>, credentials: Arc<Credentials>) -> Api {
    let embedded = &local.embedded;
    let catalog: Arc<dyn Catalog> = embedded.catalog.clone();
    Api {
        readers: readers(embedded),
        catalog,
        refused: unsupported,
        directory: Arc::new(Stored {
            catalog: embedded.catalog.clone(),
            executions: embedded.store.clone(),
        }),
        credentials,
        inputs: Arc::new(Taken::new(embedded.events.clone(), waiting)),
        ids: Arc::new(SnowflakeIds::new(embedded.ports().clock)),
    }
}
