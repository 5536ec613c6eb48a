//! `shanraq up`: the quick start. A node, a made-up bank's payments, a trial balance, and then it serves.

use crate::commands::import::{Summary, opening, payments_file};
use crate::commands::serve::{open, runtime, stop_signal};
use crate::commands::trial_balance::{is_balanced, json_of, print_table, trials};
use crate::commands::verify;
use crate::config::{Config, LogConfig};
use crate::port::GrpcPort;
use crate::remote::Remote;
use anyhow::{Context, Result, ensure};
use clap::Args;
use payments::{Mapping, demo};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Start a node, settle a bundled payments file on the first run, print the trial balance, and serve.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// The data directory.
    #[arg(long, default_value = "shanraq-data")]
    dir: PathBuf,
    /// Address and port for gRPC and REST; port 0 takes a free one. Default: 127.0.0.1:7400, with --once a free port.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// End after the job: exit with 0 only if everything balances and verifies.
    #[arg(long)]
    once: bool,
    /// Print one JSON object on stdout instead of text.
    #[arg(long)]
    json: bool,
}

/// Left in the data directory when the bundled files are booked.
const MARKER: &str = "demo-imported";

/// Runs the command; false when something does not balance or verify.
pub fn run(args: &UpArgs) -> Result<bool> {
    let mut config = Config {
        log: LogConfig {
            level: "warn".to_owned(),
            json: false,
        },
        ..Config::default()
    };
    config.node.directory.clone_from(&args.dir);
    match args.listen {
        Some(listen) => config.server.listen = listen,
        None if args.once => config.server.listen.set_port(0),
        None => {}
    }
    config.check()?;
    crate::log::start(&config.log)?;
    let node = open(&config)?;
    let runtime = runtime()?;
    let listener = runtime.block_on(TcpListener::bind(config.server.listen));
    let listener =
        listener.with_context(|| format!("--listen: cannot listen on {}", config.server.listen))?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async move { drop(stopped.await) };
    let server = runtime.spawn(api::serve(node.clone(), listener, config.api_config(), stopped));

    let settled = settle(&args.dir, address)?;
    if !args.json {
        settled.print(address, &args.dir);
    }
    if !args.once {
        if args.json {
            println!("{}", settled.to_json(address));
        }
        runtime.block_on(async {
            stop_signal()?.await;
            anyhow::Ok(())
        })?;
    }
    let _ = stop.send(());
    runtime.block_on(server)??;
    node.stop();
    drop(node);
    if !args.once {
        return Ok(true);
    }
    let report = verify::verify(&args.dir, None)?;
    if args.json {
        let mut value = settled.to_json(address);
        value["verify"] = verify::to_json(&report);
        println!("{value}");
    } else {
        println!();
        verify::print(&report);
    }
    Ok(settled.balanced() && report.is_ok())
}

/// What came of the bundled files.
struct Settled {
    imports: Vec<Summary>,
    trials: Vec<wire::v1::TrialBalanceReply>,
}

/// Books the bundled files if that was not done yet, over the same socket as any client, and asks for the trial
/// balance.
fn settle(directory: &Path, address: SocketAddr) -> Result<Settled> {
    let mut port = GrpcPort::new(Remote::connect(&address.to_string())?);
    let marker = directory.join(MARKER);
    let mut imports = Vec::new();
    if !marker.exists() {
        let mapping = Mapping::parse(demo::MAPPING_TOML, "the bundled mapping")?;
        let balances = opening(demo::OPENING_CSV, "opening.csv", &mapping, &mut port)?;
        ensure!(
            balances.refused == 0,
            "an opening balance of the bundled file was refused"
        );
        imports.push(balances);
        let reports = directory.join("reports");
        for (name, bytes) in [
            ("payments.xml", demo::PAYMENTS_XML),
            ("rents.csv", demo::RENTS_CSV),
        ] {
            imports.push(payments_file(bytes, name, &mapping, &mut port, &reports)?.complete()?);
        }
        std::fs::write(
            &marker,
            "the bundled files are booked; importing them again would change nothing\n",
        )?;
    }
    Ok(Settled {
        imports,
        trials: trials(&mut port.into_remote(), None)?,
    })
}

impl Settled {
    fn balanced(&self) -> bool {
        !self.trials.is_empty() && self.trials.iter().all(is_balanced)
    }

    fn print(&self, address: SocketAddr, directory: &Path) {
        if self.imports.is_empty() {
            println!("the bundled payments were booked on an earlier run");
        }
        self.imports.iter().for_each(Summary::print);
        print_table(&self.trials);
        println!("\ndata   {}", directory.display());
        println!("REST   http://{address}/v1   (description: http://{address}/openapi.json)");
        println!("gRPC   {address}   (shanraq.v1.Ledger)");
        println!("health http://{address}/healthz   /readyz   /metrics");
    }

    fn to_json(&self, address: SocketAddr) -> Value {
        json!({
            "address": address.to_string(),
            "imports": self.imports.iter().map(Summary::to_json).collect::<Vec<_>>(),
            "balanced": self.balanced(),
            "trial_balance": self.trials.iter().map(json_of).collect::<Vec<_>>(),
        })
    }
}
