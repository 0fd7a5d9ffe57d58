//! Rows from the history's steps: what a restart reads in place of a day of frames.

use super::{Row, Series};
use crate::history::{Metric, Sums};

impl Series {
    /// Adds a part of what is known of a step, by its index. The batches that were open then are not known.
    pub fn restore(&mut self, index: u64, sums: &Sums) {
        let step_ms = self.step_ms;
        if let Some(row) = self.row_mut(index) {
            let known = row.covered_ms > 0.0;
            row.restore(sums);
            self.known += usize::from(!known && row.covered_ms > 0.0);
        }
        if sums.covered_ms > 0.0 {
            let end = forebay_shared::Timestamp((index + 1).saturating_mul(step_ms).saturating_sub(1));
            self.heard_at = self.heard_at.max(Some(end));
        }
    }
}

impl Row {
    fn restore(&mut self, sums: &Sums) {
        let add = |to: &mut Option<f64>, metric| {
            if let Some(more) = sums.sum(metric) {
                *to.get_or_insert(0.0) += more;
            }
        };
        let counted = |metric| sums.sum(metric).unwrap_or(0.0);
        self.covered_ms += sums.covered_ms;
        add(&mut self.cpu_us, Metric::Cpu);
        add(&mut self.memory_byte_ms, Metric::Memory);
        add(&mut self.io_bytes, Metric::Io);
        add(&mut self.waiting_ms, Metric::Waiting);
        add(&mut self.in_service_ms, Metric::InService);
        self.periods += sums.periods;
        self.throttled_periods += sums.throttled_periods;
        self.arrivals += counted(Metric::Arrivals);
        self.arrived_bytes += counted(Metric::ArrivedBytes);
        self.arrived_weight += sums.arrived_weight;
        self.served += counted(Metric::Served);
        self.served_weight += sums.served_weight;
        if let Some(wait) = sums.oldest_wait_ms {
            let wait = wait / 1000.0;
            self.oldest_wait = Some(self.oldest_wait.map_or(wait, |longest| longest.max(wait)));
        }
        self.tapped |= sums.sum(Metric::Arrivals).is_some();
    }
}
