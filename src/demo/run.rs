//! Puts the demo together: upstreams, configuration, server, and what is printed of it.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::Path;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::scene::{KEY, Scene};
use super::show::{News, Style};
use super::{DemoError, Upstreams};
use crate::control::Ended;
use crate::server::{self, Line, Options};
use crate::telemetry::Sink;

/// Where the panel listens if nobody else does.
const PANEL_PORT: u16 = 8081;

/// Runs the demo until Ctrl-C or SIGTERM.
///
/// # Errors
/// Whatever keeps it from starting.
pub fn run() -> Result<(), DemoError> {
    let style = Style {
        colour: io::stdout().is_terminal(),
    };
    // Whoever has set a log up already keeps it; the demo then shows calls only.
    let _ = tracing_subscriber::registry()
        .with(News { style })
        .try_init();
    let upstreams = Upstreams::start(PANEL_PORT)?;
    let scene = Scene::set(&upstreams)?;
    let options = Options {
        source: Some(scene.file()),
        access: Sink::Observer(Box::new(move |line| println!("{}", style.call(line)))),
        signals: true,
        line: Line::default(),
    };
    let running = server::start(scene.config()?, options)?;
    for data in running.data_addresses() {
        let places = [*data, running.admin_address(), upstreams.panel()];
        println!("{}", introduction(places, &scene.file()));
    }
    match running.wait() {
        Ended::Panicked => Err(DemoError::Panicked),
        Ended::Drained | Ended::DrainTimedOut | Ended::Stopped => Ok(()),
    }
}

fn introduction([data, admin, panel]: [SocketAddr; 3], file: &Path) -> String {
    format!(
        r#"srpd {version}, with embedded upstreams behind it:
  smart      vendor-us (us), vendor-de (de), then the backstop aloomu (au)
  fast       fleet-per (au, two endpoints), vendor-us (us), then aloomu (au)
  sovereign  aloomu (au), and nobody else

base URL       http://{data}/v1
key            {KEY}
state          http://{admin}/srp/v1/providers, http://{admin}/metrics
configuration  {file}

Ask with curl:
  curl -N http://{data}/v1/chat/completions -H "authorization: Bearer {KEY}" \
    -H "content-type: application/json" \
    -d '{{"model":"smart","stream":true,"messages":[{{"role":"user","content":"What is sovereign?"}}]}}'

Or from Python, with the openai package as it is:
  from openai import OpenAI
  client = OpenAI(base_url="http://{data}/v1", api_key="{KEY}")
  ask = [{{"role": "user", "content": "What is sovereign?"}}]
  print(client.chat.completions.create(model="smart", messages=ask).choices[0].message.content)

Break a provider and ask again; nobody notices but the lines below:
  curl -X POST http://{panel}/demo/vendor-us/down
  (also vendor-de, fleet-per, fleet-per-1, fleet-per-2, aloomu; also /slow, /429 and /up)

Keep it in the country: add  -H "X-Sovereign-Residency: au-only"  and break aloomu: the answer is
a clean rejection, whatever runs abroad.

Each call, as it ends (Ctrl-C ends the demo):
"#,
        file = file.display(),
        version = env!("CARGO_PKG_VERSION"),
    )
}
