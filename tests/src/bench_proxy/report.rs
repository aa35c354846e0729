//! What the bench found out.

use std::fmt;

use serde::Serialize;

/// One kind of work.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    pub name: &'static str,
    /// What the figures are for one of.
    pub per: &'static str,
    /// CPU time of lb.
    pub cpu_us: f64,
    /// The cheapest of the others.
    pub best_peer: &'static str,
    pub peer_cpu_us: f64,
    /// `cpu_us / peer_cpu_us`.
    pub ratio: f64,
    /// Everybody's medians.
    pub all: Vec<Median>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Median {
    pub proxy: &'static str,
    pub cpu_us: f64,
    /// Done in a second of the clock, with client and origin on the other core.
    pub rate: f64,
}

/// Resident memory that one idle TLS connection adds.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    pub proxy: &'static str,
    pub kib: f64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub cases: Vec<Case>,
    pub memory: Vec<Memory>,
}

/// One proxy's measurements of one case.
pub struct Figures {
    proxy: &'static str,
    costs: Vec<f64>,
    rates: Vec<f64>,
}

impl Figures {
    pub fn new(proxy: &'static str) -> Self {
        Self { proxy, costs: Vec::new(), rates: Vec::new() }
    }

    pub fn add(&mut self, cost: f64, rate: f64) {
        self.costs.push(cost);
        self.rates.push(rate);
    }

    fn median(self) -> Median {
        Median { proxy: self.proxy, cpu_us: median(self.costs), rate: median(self.rates) }
    }
}

impl Report {
    /// `figures` begin with lb's.
    pub fn add(&mut self, name: &'static str, per: &'static str, figures: Vec<Figures>) {
        let all: Vec<_> = figures.into_iter().map(Figures::median).collect();
        let Some((ours, peers)) = all.split_first() else { return };
        let best = peers.iter().min_by(|a, b| a.cpu_us.total_cmp(&b.cpu_us));
        let Some(best) = best else { return };
        self.cases.push(Case {
            name,
            per,
            cpu_us: ours.cpu_us,
            best_peer: best.proxy,
            peer_cpu_us: best.cpu_us,
            ratio: ours.cpu_us / best.cpu_us,
            all,
        });
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = ["CPU µs per", "lb", "nginx", "HAProxy"];
        let [per, lb, nginx, haproxy] = titles;
        writeln!(f, "{:<14} {per:<11} {lb:>8} {nginx:>8} {haproxy:>8}  ratio  rates", "case")?;
        for case in &self.cases {
            write!(f, "{:<14} {:<11}", case.name, case.per)?;
            for median in &case.all {
                write!(f, " {:>8.1}", median.cpu_us)?;
            }
            write!(f, "  {:>5.2} ", case.ratio)?;
            for median in &case.all {
                write!(f, " {:.0}", median.rate)?;
            }
            writeln!(f)?;
        }
        for Memory { proxy, kib } in &self.memory {
            writeln!(f, "KiB per idle TLS connection, {proxy}: {kib:.1}")?;
        }
        Ok(())
    }
}
