//! sim (temporary driver)
use mokv::sim::{plan::Plan, run, trace::Trace};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let from: u64 = args[1].parse().unwrap();
    let to: u64 = args[2].parse().unwrap();
    let ms: u64 = args[3].parse().unwrap();
    let verbose = args.len() > 4;
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
