//! The scenes: who is connected, what they do, and what is reported of it.

use serde_json::{Map, Value, json};

use crate::engine::{Engine, Role, Until};
use crate::options::{Options, Scenario};
use crate::socket::now;
use crate::usage::{self, Usage, rounded};

/// The channel of scenes that have one.
const ROOM: &str = "room0";
/// Messages a second of the log's scene, where none are asked for: its publishers must not depend on
/// how fast the log is.
const LOG_RATE: f64 = 1000.0;
/// What is left to settle before memory is read, in nanoseconds.
const SETTLING: u64 = 1_000_000_000;

type Report = Map<String, Value>;

/// Plays the scene; returns its report, one JSON object. Losses, violations and refusals are in it,
/// under `faults`; an error is what kept the scene from being played.
pub fn run(options: &Options) -> Result<Value, String> {
    check(options)?;
    let mut report = Map::new();
    report.insert("label".into(), options.label.clone().into());
    report.insert("scenario".into(), options.scenario.name().into());
    let mut engine = Engine::new(options)?;
    if options.crowd > 0 {
        for member in 0..options.crowd {
            engine.add(Role::Idle, Some(&format!("crowd{member}")));
        }
        engine.connect()?;
        report.insert("crowd".into(), options.crowd.into());
    }
    match options.scenario {
        Scenario::Idle => idle(options, &mut engine, &mut report)?,
        Scenario::Connect => connect(options, &mut engine, &mut report)?,
        _ => traffic(options, &mut engine, &mut report)?,
    }
    let (resident, highest) = usage::memory(options.server)?;
    report.insert("rss_kib".into(), resident.into());
    report.insert("rss_highest_kib".into(), highest.into());
    let faults = engine.faults;
    report.insert(
        "faults".into(),
        json!({
            "lost": faults.lost,
            "surplus": faults.surplus,
            "out_of_order": faults.out_of_order,
            "malformed": faults.malformed,
            "unanswered": faults.unanswered,
            "refused": faults.refused,
            "gone": faults.gone,
        }),
    );
    report.insert("clean".into(), faults.none().into());
    Ok(Value::Object(report))
}

fn check(options: &Options) -> Result<(), String> {
    let nobody = match options.scenario {
        Scenario::Everyone => options.publishers < 2,
        Scenario::Idle => options.connections < 2 && options.traffic > 0,
        Scenario::Connect => options.connections == 0,
        _ => options.listeners == 0,
    };
    if nobody {
        return Err(
            "nobody would receive anything: give more --listeners, more --connections, or \
                    two --publishers at least where everyone publishes"
                .into(),
        );
    }
    if options.stalled > 0 && options.scenario != Scenario::Fanout {
        return Err("--stalled belongs to fanout".into());
    }
    if options.scenario == Scenario::Log && !options.dialect.answers() {
        return Err(format!("{:?} has no log", options.dialect));
    }
    Ok(())
}

/// What a phase used.
struct Used {
    server: Usage,
    own: Usage,
    /// Seconds that the processors were busy, and that the host took from them.
    machine: (f64, f64),
}

/// Plays a phase and reads what it used.
fn measured(
    options: &Options,
    engine: &mut Engine,
    phase: impl FnOnce(&mut Engine) -> Result<(), String>,
) -> Result<Used, String> {
    let own = std::process::id();
    let (machine, server) = (usage::machine()?, Usage::of(options.server)?);
    let before = Usage::of(own)?;
    phase(engine)?;
    let (own, server) = (Usage::of(own)?.since(before), Usage::of(options.server)?.since(server));
    let later = usage::machine()?;
    Ok(Used { server, own, machine: (later.0 - machine.0, later.1 - machine.1) })
}

fn publish(options: &Options, engine: &mut Engine, until: Until) -> Result<(), String> {
    if options.rate > 0.0 {
        engine.publish_at(options.rate, options.burst, until)
    } else {
        engine.publish_in_a_loop(options.window, until)
    }
}

fn traffic(options: &Options, engine: &mut Engine, report: &mut Report) -> Result<(), String> {
    let mut options = options.clone();
    if options.scenario == Scenario::Log && options.rate == 0.0 {
        options.rate = LOG_RATE;
    }
    let options = &options;
    populate(options, engine);
    engine.connect()?;
    engine.restart_counts();
    if options.fill > 0 {
        engine.publish_in_a_loop(options.window, Until::Sent(options.fill))?;
    }
    let duration = options.duration.as_nanos() as u64;
    publish(options, engine, Until::Elapsed(options.warmup.as_nanos() as u64))?;
    let mut without = None;
    if options.scenario == Scenario::Log {
        engine.restart_counts();
        let used =
            measured(options, engine, |engine| publish(options, engine, Until::Elapsed(duration)))?;
        without = Some((used.server.seconds(), engine.counts.deliveries));
    }
    engine.restart_counts();
    let used = measured(options, engine, |engine| {
        if without.is_some() {
            engine.read_the_log()?;
        }
        publish(options, engine, Until::Elapsed(duration))
    })?;
    told(options, engine, &used, report);
    if let Some((without, deliveries)) = without {
        told_of_the_log(engine, used.server.seconds() - without, report);
        let each = rounded(without * 1e6 / deliveries.max(1) as f64, 4);
        report.insert("us_per_delivery_before".into(), each.into());
    }
    Ok(())
}

fn populate(options: &Options, engine: &mut Engine) {
    let everything = options.dialect.everything();
    let rooms = || (0..options.channels).map(|room| format!("room{room}"));
    match options.scenario {
        Scenario::Many => {
            for room in rooms() {
                let publisher = engine.add_publisher(&room);
                for _ in 0..options.listeners {
                    engine.add_listener(&room, publisher, 1);
                }
            }
        }
        Scenario::Wildcard => {
            for room in rooms() {
                engine.add_publisher(&room);
            }
            for _ in 0..options.listeners {
                engine.add_listener(everything, 0, options.channels);
            }
        }
        Scenario::Everyone => engine.add_speakers(ROOM, options.publishers),
        _ => {
            for _ in 0..options.publishers {
                engine.add_publisher(ROOM);
            }
            for _ in 0..options.listeners {
                engine.add_listener(ROOM, 0, options.publishers);
            }
            for _ in 0..options.stalled {
                engine.add(Role::Stalled, Some(ROOM));
            }
            if options.scenario == Scenario::Log {
                for _ in 0..options.readers {
                    engine.add(Role::Reader, None);
                }
            }
        }
    }
}

fn told(options: &Options, engine: &Engine, used: &Used, report: &mut Report) {
    let counts = engine.counts;
    let seconds = counts.seconds();
    let deliveries = counts.deliveries.max(1) as f64;
    let busy = used.machine.0;
    add(
        report,
        json!({
            "size": options.size,
            "rate": options.rate,
            "burst": options.burst,
            "window": options.window,
            "seconds": rounded(seconds, 3),
            "published": counts.published,
            "deliveries": counts.deliveries,
            "deliveries_per_s": (counts.deliveries as f64 / seconds).round(),
            "answers": counts.answers,
            "bytes_per_delivery": rounded(counts.bytes as f64 / deliveries, 1),
            "us_per_delivery": rounded(used.server.seconds() * 1e6 / deliveries, 4),
            "generator_us_per_delivery": rounded(used.own.seconds() * 1e6 / deliveries, 4),
            "delay_us": engine.delays.report(),
            "late_us": engine.lateness.report(),
            "orders": engine.orders(),
            "stalled": options.stalled,
            "stalled_gone": engine.stalled_gone,
            "server": used.server.report(),
            "machine_busy_s": rounded(busy, 2),
            "others_busy_s": rounded((busy - used.server.seconds() - used.own.seconds()).max(0.0), 2),
            "stolen_s": rounded(used.machine.1, 2),
        }),
    );
}

fn told_of_the_log(engine: &Engine, more: f64, report: &mut Report) {
    let counts = engine.counts;
    let logs = counts.logs.max(1) as f64;
    add(
        report,
        json!({
            "logs": counts.logs,
            "logs_per_s": (counts.logs as f64 / counts.seconds()).round(),
            "bytes_per_log": (counts.log_bytes as f64 / logs).round(),
            "us_per_log": rounded(more * 1e6 / logs, 2),
            "log_delay_us": engine.log_delays.report(),
        }),
    );
}

fn idle(options: &Options, engine: &mut Engine, report: &mut Report) -> Result<(), String> {
    let opens = options.open || options.traffic > 0;
    let per_connection = |kib: u64, before: u64| {
        rounded((kib as f64 - before as f64) / options.connections as f64, 3)
    };
    let memory = || usage::memory(options.server).map(|memory| memory.0);
    let before = memory()?;
    let mut listeners = options.connections;
    if options.traffic > 0 {
        // One of them.
        engine.add_publisher(ROOM);
        listeners -= 1;
    }
    for _ in 0..listeners {
        if options.traffic > 0 {
            engine.add_listener(ROOM, 0, 1);
        } else {
            engine.add(Role::Idle, opens.then_some(ROOM));
        }
    }
    let connecting = measured(options, engine, |engine| engine.connect().map(drop))?;
    engine.rest(SETTLING)?;
    let at_rest = memory()?;
    let from = now();
    let used = measured(options, engine, |engine| engine.rest(options.rest.as_nanos() as u64))?;
    let share = used.server.cpu as f64 / (now() - from).max(1) as f64;
    add(
        report,
        json!({
            "connections": options.connections,
            "open": opens,
            "rss_before_kib": before,
            "idle_cpu_share": rounded(share, 6),
        }),
    );
    if options.connections > 0 {
        let each = connecting.server.seconds() * 1e6 / options.connections as f64;
        report.insert("us_per_connection".into(), rounded(each, 2).into());
        report.insert("rss_per_connection_kib".into(), per_connection(at_rest, before).into());
    }
    if options.traffic > 0 {
        engine.restart_counts();
        engine.publish_in_a_loop(1, Until::Sent(options.traffic))?;
        engine.rest(SETTLING)?;
        add(
            report,
            json!({
                "traffic": options.traffic,
                "deliveries": engine.counts.deliveries,
                "rss_per_connection_after_kib": per_connection(memory()?, before),
            }),
        );
    }
    Ok(())
}

fn connect(options: &Options, engine: &mut Engine, report: &mut Report) -> Result<(), String> {
    for _ in 0..options.connections {
        engine.add(Role::Idle, options.open.then_some(ROOM));
    }
    engine.restart_counts();
    let mut seconds = 0.0;
    let used = measured(options, engine, |engine| {
        seconds = engine.connect()?;
        Ok(())
    })?;
    let connections = options.connections as f64;
    add(
        report,
        json!({
            "connections": options.connections,
            "open": options.open,
            "concurrency": options.concurrency,
            "connections_per_s": (connections / seconds).round(),
            "us_per_connection": rounded(used.server.seconds() * 1e6 / connections, 2),
            "generator_us_per_connection": rounded(used.own.seconds() * 1e6 / connections, 2),
            "delay_us": engine.delays.report(),
            "server": used.server.report(),
        }),
    );
    Ok(())
}

fn add(report: &mut Report, more: Value) {
    if let Value::Object(more) = more {
        report.extend(more);
    }
}
