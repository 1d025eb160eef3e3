//! sim (temporary driver)
use mokv::sim::{plan::Plan, run, trace::Trace};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let from: u64 = args[1].parse().unwrap();
    let to: u64 = args[2].parse().unwrap();
    let ms: u64 = args[3].parse().unwrap();
    let verbose = args.len() > 4;
    #[cfg(planted)]
    if std::env::var("PLANTED").is_ok() {
        use mokv::planted::{Bug, plant};
        std::panic::set_hook(Box::new(|_| {}));
        let only = std::env::var("PLANTED").unwrap();
        let next = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        let Some(bug) = Bug::ALL.get(at) else { break };
                        if only != "all" && bug.name() != only {
                            continue;
                        }
                        plant(Some(*bug));
                        let mut found = None;
                        let start = std::time::Instant::now();
                        for seed in from..to {
                            let outcome = run(Plan::draw(seed, ms), Trace::silent());
                            if let Some(v) = outcome.violation {
                                found = Some((seed, v));
                                break;
                            }
                        }
                        match found {
                            Some((seed, v)) => {
                                let d: String = v.detail.chars().take(110).collect();
                                println!(
                                    "{:32} {:5} {:.1}s {}: {}",
                                    bug.name(),
                                    seed,
                                    start.elapsed().as_secs_f64(),
                                    v.property,
                                    d
                                )
                            }
                            None => println!(
                                "{:32} NOT CAUGHT {:.1}s  ({} / {})",
                                bug.name(),
                                start.elapsed().as_secs_f64(),
                                bug.class(),
                                bug.catcher()
                            ),
                        }
                        plant(None);
                    }
                });
            }
        });
        return;
    }
    let start = std::time::Instant::now();
    let mut sim = 0;
    std::panic::set_hook(Box::new(move |info| {
        if verbose {
            eprintln!("{info}")
        }
    }));
    let mut bad = 0;
    let mut events = 0;
    for seed in from..to {
        let trace = if verbose {
            Trace::readable(Some(|line| println!("{line}")))
        } else {
            Trace::silent()
        };
        let plan = Plan::draw(seed, ms);
        let outcome = run(plan, trace);
        sim += outcome.simulated_ms;
        events += outcome.tally.events;
        if verbose {
            println!("{}", outcome.plan);
            println!("{:?} hash {:x}", outcome.tally, outcome.trace_hash);
        }
        if let Some(violation) = outcome.violation {
            bad += 1;
            println!("seed {seed}: {violation} (at {} ms)", outcome.simulated_ms);
        }
    }
    let t = start.elapsed().as_secs_f64();
    println!(
        "{} seeds, {bad} bad, {} sim s in {t:.1} s: {:.0}x, {} events {:.2} us/event",
        to - from,
        sim / 1000,
        sim as f64 / 1000.0 / t,
        events,
        t * 1e6 / events as f64
    );
}
