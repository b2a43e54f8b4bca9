//! `weir up`: a mesh on a terminal. It turns arguments into [`mesh::Settings`](crate::mesh::Settings), shows what becomes of the
//! events while the mesh runs, and stops it in order when it is asked to.

mod table;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use router::ViewStatus;
use weir_broker::{Config, Data};

use crate::args::Up;
use crate::interrupt::Interrupt;
use crate::mesh::{Books, Company, KafkaAt, Mesh, Product, RegistryAt, Settings};
use crate::output::{Out, say};
use crate::registry::credentials;
use crate::{Exit, Failure};

/// Time between two tables on a terminal.
const REPAINT: Duration = Duration::from_secs(1);
/// Time between two tables that are not painted over each other.
const BLOCK: Duration = Duration::from_secs(5);
/// Time between two looks at signals.
const TICK: Duration = Duration::from_millis(50);

/// Runs the mesh until it is interrupted or its time is over.
///
/// # Errors
/// [`Failure`] when a service cannot start or ends by itself. What was received is then still committed or undone.
pub fn run(arguments: &Up) -> Result<Exit, Failure> {
    let interrupt = Interrupt::listen()?;
    let settings = settings(arguments)?;
    let Some(mut mesh) = Mesh::start_unless(&settings, &|| interrupt.asked())? else { return Ok(Exit::Done) };
    let mut out = Out::new();
    let shown = watch(&mesh, arguments, &interrupt, &mut out);
    say("draining; Ctrl-C again ends at once");
    let (books, stopped) = mesh.end();
    let told = tell(&books, &mut out);
    // A service that ended by itself says more than the stopping of the others.
    shown.and(stopped).and(told)?;
    Ok(Exit::Done)
}

fn settings(arguments: &Up) -> Result<Settings, Failure> {
    let kafka = match &arguments.kafka {
        Some(bootstrap) => {
            KafkaAt::Running { bootstrap: bootstrap.clone(), properties: arguments.kafka_properties.clone() }
        }
        None => {
            let data = match arguments.ephemeral {
                true => Data::Ephemeral(arguments.temporary.clone()),
                false => Data::Folder(arguments.data.join("broker")),
            };
            KafkaAt::Embedded(Config {
                listen: arguments.broker_listen,
                flush: arguments.flush.into(),
                ..Config::new(data)
            })
        }
    };
    let registry = match &arguments.registry {
        Some(url) => RegistryAt::Running(url.clone(), credentials(arguments.registry_credentials.as_deref())?),
        None => RegistryAt::Own(arguments.registry_listen),
    };
    let company = Company { rate: arguments.rate, broken: arguments.broken, seed: arguments.seed };
    Ok(Settings {
        kafka,
        registry,
        enforcer_listen: arguments.enforcer_listen,
        router_listen: arguments.router_listen,
        router_state: match arguments.ephemeral {
            true => Data::Ephemeral(arguments.temporary.clone()),
            false => Data::Folder(arguments.data.join("router")),
        },
        lane: arguments.lane,
        contracts: arguments.contracts.clone(),
        company: (company.rate > 0).then_some(company),
    })
}

/// What became of everything.
fn tell(books: &Books, out: &mut Out) -> Result<(), Failure> {
    let Books { sent, received, accepted, warned, quarantined, unsettled, products, views } = books;
    out.line(table(products, products, 1.0, views))?;
    out.line(format_args!(
        "sent={sent} received={received} accepted={accepted} warned={warned} quarantined={quarantined} unsettled={unsettled}"
    ))?;
    out.flush()?;
    Ok(())
}

/// Shows what happens until the end is asked for.
fn watch(mesh: &Mesh, arguments: &Up, interrupt: &Interrupt, out: &mut Out) -> Result<(), Failure> {
    let started = Instant::now();
    let ends = arguments.seconds.map(|seconds| started + Duration::from_secs(seconds));
    say(format_args!("kafka     {}", mesh.bootstrap()));
    say(format_args!("registry  {}", mesh.registry()));
    say(format_args!("enforcer  http://{}/metrics", mesh.enforcer()));
    say(format_args!("router    http://{}/views", mesh.router()));
    say(format_args!("lane      {}", mesh.lane()));
    let screen = Screen::open(arguments.headless);
    if arguments.headless {
        out.line("ready")?;
        out.flush()?;
    }
    let (mut before, mut shown) = (Vec::new(), started);
    while !interrupt.asked() && ends.is_none_or(|end| Instant::now() < end) {
        if let Some(failure) = mesh.failure() {
            return Err(failure);
        }
        if screen.period().is_some_and(|period| shown.elapsed() >= period) {
            let products = mesh.products();
            let mut table = table(&products, &before, shown.elapsed().as_secs_f64(), &mesh.views());
            let waits = mesh.waits_for();
            if !waits.is_empty() {
                table.push_str(&format!("\nwaits for {waits}"));
            }
            (before, shown) = (products, Instant::now());
            screen.show(&table, out)?;
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}

/// The products and, where there are any, the views below them.
fn table(products: &[Product], before: &[Product], seconds: f64, views: &[ViewStatus]) -> String {
    let products = table::products(products, before, seconds);
    if views.is_empty() { products } else { format!("{products}\n\n{}", table::views(views)) }
}

/// Where the live table goes.
enum Screen {
    /// Painted over itself.
    Terminal(ProgressBar),
    /// One below the other.
    Blocks,
    /// Nowhere.
    Headless,
}

impl Screen {
    fn open(headless: bool) -> Screen {
        if headless {
            return Screen::Headless;
        }
        if !std::io::stdout().is_terminal() {
            return Screen::Blocks;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Screen::Terminal(bar)
    }

    fn period(&self) -> Option<Duration> {
        match self {
            Screen::Terminal(_) => Some(REPAINT),
            Screen::Blocks => Some(BLOCK),
            Screen::Headless => None,
        }
    }

    fn show(&self, table: &str, out: &mut Out) -> Result<(), Failure> {
        match self {
            Screen::Terminal(bar) => {
                // A line that is wider than the terminal takes two of its rows, and what no row is left for is not shown.
                let (_, columns) = Term::stdout().size();
                bar.set_message(table::cut(table, usize::from(columns)));
                bar.tick();
            }
            Screen::Blocks => {
                out.line(format_args!("{table}\n"))?;
                out.flush()?;
            }
            Screen::Headless => {}
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Screen::Terminal(bar) = self {
            bar.finish_and_clear();
        }
    }
}
